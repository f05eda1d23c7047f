"""When nothing goes on any more: events to wait for where a test would sleep and hope.

Both are asked of the kernel's sockets and of a Stack's alike.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

LOCAL = "127.0.0.1"
BOUND_S = 60.0  # of waits that are never that long
ROUNDS = 4  # an answer's answer's answer has arrived
LOOK_S = 0.004
LOOKS = 4  # so often in turn a thread is found as it was


def settle(module: Any) -> None:
    """Waits until what is on its way on loopback has arrived, and the answers to it.

    Loopback is a queue, with the kernel one of each processor: what was sent before a datagram is
    there when the datagram is.
    """
    allowed = os.sched_getaffinity(0)  # of this thread
    queues = [{one} for one in allowed] if module is socket else [allowed]
    try:
        with module.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.bind((LOCAL, 0))
            one.settimeout(BOUND_S)
            for _ in range(ROUNDS):
                for queue in queues:
                    if queue != allowed:
                        os.sched_setaffinity(0, queue)
                    one.sendto(b"", one.getsockname())
                    one.recv(1)
    finally:
        os.sched_setaffinity(0, allowed)


def _seen(thread: threading.Thread) -> tuple[str, str] | None:
    """A thread's state, and how often it has stopped; None: it has ended."""
    try:
        status = Path(f"/proc/self/task/{thread.native_id}/status").read_text("ascii")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return fields["State"][0], fields["voluntary_ctxt_switches"]


def waits(thread: threading.Thread) -> bool:
    """Whether a thread waits in a call, as soon as that can be told; False: it has ended.

    A thread that is about to call is running, or wants Python's lock, which it asks for again and
    again. One that waits is asleep each time that it is looked at, and has not been awake between.
    """
    end = time.monotonic() + BOUND_S
    before, alike = _seen(thread), 1
    while thread.is_alive():
        assert time.monotonic() < end, "a thread neither ends nor waits"
        time.sleep(LOOK_S)  # without Python's lock
        now = _seen(thread)
        if now is None:
            thread.join(BOUND_S)
            break
        alike = alike + 1 if now == before and now[0] == "S" else 1
        before = now
        if alike == LOOKS:
            return True
    return False
