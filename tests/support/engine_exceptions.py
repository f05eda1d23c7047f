"""What an engine does otherwise than tests/engines asks, by the test's name, with the reason.

One that passes nevertheless is a failure, so that this list says what is so.
"""

from __future__ import annotations

EXCEPTIONS: dict[str, dict[str, str]] = {
    "lwip": {
        "test_a_little_memory_is_refused": "its state is in its image: 312 bytes of arena do",
        "test_routers_configure_an_interface": "solicits routers before slaac() is called",
    },
    "gvisor": {
        "test_a_child_makes_a_stack_of_its_own": "Go's threads don't come along over fork()",
        "test_what_a_stack_gives_up_is_reset": "it forgets its connections without a word",
    },
    # What is not written yet, says so; such a line goes with the change that writes it.
    "linux": {
        "test_time_wait_ends_and_keepalive_speaks": "Linux has no tcp_msl_ms: 60 s are compiled in",
    },
}

# Files of tests that an engine hasn't been brought to pass yet: not run on it.
NOT_YET: dict[str, dict[str, str]] = {
    "gvisor": dict.fromkeys(
        ("test_hypercalls.py", "test_memory.py", "test_signals.py", "test_snapshot.py"),
        "not yet brought to pass on gvisor",
    ),
}
