"""Virtual time: an idle hour of TCP, with its keepalives, in a moment, and repeatable.

The Stacks have no threads and share one clock, which moves only when it is told to. The same seeds
give the same frames in every run.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pystack
from pystack.hypercalls import ManualClock

LEAST = 0.001  # seconds: time moves, whatever is due


def run(
    clock: ManualClock, stacks: list[pystack.Stack], seconds: float, until: Callable[[], bool]
) -> bool:
    """Lets time pass, from timer to timer, until a condition holds; whether it came to hold."""
    end = clock.now_us() + round(seconds * 1e6)
    while True:
        due: list[float] = []
        for _ in range(4):  # frames and their answers cross the wire in no time
            due = [next_ for net in stacks if (next_ := net.step()) is not None]
        if until():
            return True
        left = (end - clock.now_us()) / 1e6
        if left <= 0:
            return False
        clock.advance(min(left, max(LEAST, min(due, default=left))))


def main() -> None:
    """Connects, idles for an hour, and cuts the wire."""
    clock = ManualClock()
    left, right = pystack.nic.wire()
    with (
        pystack.Stack(clock=clock, seed=1, threaded=False) as a,
        pystack.Stack(clock=clock, seed=2, threaded=False) as b,
    ):
        a.attach(left, "10.0.0.1/24")
        b_end = b.attach(right, "10.0.0.2/24")
        sockets = a.sockets
        listener = b.sockets.create_server(("10.0.0.2", 7))
        client = a.socket()
        client.setblocking(False)  # a call that waits would wait for a clock that stands still
        client.setsockopt(sockets.SOL_SOCKET, sockets.SO_KEEPALIVE, 1)
        client.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_KEEPIDLE, 600)
        with suppress(BlockingIOError):  # the handshake is under way
            client.connect(("10.0.0.2", 7))

        connected = run(clock, [a, b], 5, lambda: client.tcp_info().state.name == "ESTABLISHED")
        print(f"{clock.now_us() / 1e6:.1f} s: connected: {connected}")
        run(clock, [a, b], 3600, lambda: False)
        sent = client.tcp_info().segments_out
        print(f"{clock.now_us() / 1e6:.1f} s: idle for an hour, {sent} segments sent")

        b_end.up = False
        gone = run(
            clock, [a, b], 7200,
            lambda: client.getsockopt(sockets.SOL_SOCKET, sockets.SO_ERROR) != 0,
        )  # fmt: skip
        print(f"{clock.now_us() / 1e6:.1f} s: the peer is found to be gone: {gone}")
        client.close()
        listener.close()


if __name__ == "__main__":
    main()
