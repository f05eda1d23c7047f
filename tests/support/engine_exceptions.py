"""What an engine does otherwise than tests/engines asks, by the test's name, with the reason.

One that passes nevertheless is a failure, so that this list says what is so.
"""

from __future__ import annotations

# tests/engines/test_snapshot.py
_SNAPSHOTS = (
    "test_two_futures_of_a_connection",
    "test_what_was_unread_and_unsent_comes_back",
    "test_descriptors_follow",
    "test_a_thousand_restores_cost_no_memory",
    "test_snapshots_of_several_moments",
    "test_sockets_have_to_be_the_same",
    "test_what_is_refused",
    "test_a_branch_in_the_middle_of_a_transfer",
    "test_a_branch_while_losses_are_repaired",
    "test_a_branch_inside_one_stack",
    "test_memory_that_was_never_used_is_not_touched",
    "test_a_child_that_shares_the_stack_stands_in_the_way_until_it_ends",
    "test_a_child_has_no_use_for_its_parent_s_snapshot",
    "test_a_stack_that_moves_by_itself_is_restored_under_its_thread",
    "test_the_same_memory_of_python_s",
    # tests/engines/test_dhcp6.py, test_dhcp6_lease.py, test_mdns.py, test_services.py
    "test_a_snapshot_comes_back_to_the_exchange",
    "test_a_snapshot_comes_back_to_the_exchange_of_dhcp6",
    "test_a_snapshot_comes_back_to_the_question",
    "test_a_snapshot_comes_back_to_the_probes",
)

# tests/engines/test_lying_dhcp.py
_STATION = "takes frames to any station that its NIC passes on"
_HARDWARE = "doesn't look at the hardware's type"

EXCEPTIONS: dict[str, dict[str, str]] = {
    "lwip": {
        "test_a_little_memory_is_refused": "its state is in its image: 312 bytes of arena do",
        "test_a_clock_that_jumps_over_the_end_ends_the_lease": "counts a lease in ticks",
        "test_an_interface_that_comes_up_again_asks_whether_the_address_is_right": "waits for T1",
        "test_what_is_not_for_it_is_not_believed[lwip-to another station]": _STATION,
        "test_nor_when_a_lease_is_asked_for[lwip-to another station]": _STATION,
        "test_what_is_not_for_it_is_not_believed[lwip-of another hardware]": _HARDWARE,
        "test_nor_when_a_lease_is_asked_for[lwip-of another hardware]": _HARDWARE,
        "test_what_is_no_conflict[lwip-error-probing]": "reads responses that say an error",
        "test_who_stops_says_goodbye": "says none",
        "test_what_a_name_has_not_is_said_at_once": "has no NSEC",
        "test_routers_configure_an_interface": "solicits routers before slaac() is called",
    },
    "gvisor": {
        "test_a_child_makes_a_stack_of_its_own": "Go's threads don't come along over fork()",
        "test_what_a_stack_gives_up_is_reset": "it forgets its connections without a word",
        **dict.fromkeys(_SNAPSHOTS, "its state is in Go's heap, which all its Stacks share"),
    },
    # What is not written yet, says so; such a line goes with the change that writes it.
    "linux": {
        "test_time_wait_ends_and_keepalive_speaks": "Linux has no tcp_msl_ms: 60 s are compiled in",
    },
}
