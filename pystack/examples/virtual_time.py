"""Virtual time: an idle hour of TCP, with its keepalives, in a moment, and repeatable.

The Stacks have no threads and share one clock, which moves only when it is told to. The same seeds
give the same frames in every run.
"""

from __future__ import annotations

import socket
from contextlib import suppress

import pystack
from pystack.hypercalls import ManualClock

LEAST = 0.001  # seconds: time moves, whatever is due


def run(clock: ManualClock, stacks: list[pystack.Stack], seconds: float) -> None:
    """Lets so much time pass, from timer to timer."""
    end = clock.now_us() + round(seconds * 1e6)
    while (left := (end - clock.now_us()) / 1e6) > 0:
        due: list[float] = []
        for _ in range(4):  # frames and their answers cross the wire in no time
            due = [next_ for net in stacks if (next_ := net.step()) is not None]
        clock.advance(min(left, max(LEAST, min(due, default=left))))


def main() -> None:
    """Connects, idles for an hour, and cuts the wire."""
    clock, (left, right) = ManualClock(), pystack.nic.wire()
    with (
        pystack.Stack(clock=clock, seed=1, threaded=False) as a,
        pystack.Stack(clock=clock, seed=2, threaded=False) as b,
    ):
        a.attach(left, "10.0.0.1/24")
        far = b.attach(right, "10.0.0.2/24")
        with b.sockets.create_server(("10.0.0.2", 7)), a.socket() as client:
            client.setblocking(False)  # a call that waits would wait for a clock that stands still
            client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 600)
            with suppress(BlockingIOError):  # the handshake is under way
                client.connect(("10.0.0.2", 7))

            run(clock, [a, b], 3600)
            sent = client.tcp_info().segments_out
            print(f"{clock.now_us() / 1e6:.1f} s: idle for an hour, {sent} segments sent")

            far.up = False
            while not client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                run(clock, [a, b], 1)
            print(f"{clock.now_us() / 1e6:.1f} s: the peer is found to be gone")


if __name__ == "__main__":
    main()
