"""Two Stacks at the ends of a path with delay, rate and faults, in virtual time: a flow's hours
take seconds, and one seed gives the same figures each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from socket import AF_INET, SOCK_STREAM
from typing import Any

import pystack
from pystack.hypercalls import ManualClock
from pystack.nic import Impaired, Impairment, impair
from pystack.sockets import Socket

SENDER, RECEIVER, PORT = "10.0.0.1", "10.0.0.2", 80
PIECE = memoryview(bytes(1 << 18))


@dataclass
class Path:
    """The two Stacks, the clock that they share, and the wire's faults, at one of its ends."""

    clock: ManualClock
    wire: Impaired
    sender: pystack.Stack
    receiver: pystack.Stack
    at_sender: bool = True
    opened: list[Socket] = field(default_factory=list)

    @property
    def now(self) -> float:
        """Virtual seconds."""
        return self.clock.now_us() / 1e6

    def run(self, until: Callable[[], bool], *, seconds: float = 300.0) -> bool:
        """Lets time pass from event to event. Returns whether `until` came to hold."""
        end = self.now + seconds
        near, far = self.sender, self.receiver
        if not self.at_sender:
            near, far = far, near
        while not until():
            # The end of the wire with the faults takes in what the other one has just sent, and
            # says when that is due.
            near.step()
            due = [far.step(), near.step()]
            if until():
                break
            wait = min([one for one in due if one is not None], default=seconds)
            if self.now + wait > end:
                self.clock.advance(end - self.now)
                near.step(), far.step()
                return until()
            if wait > 0:
                self.clock.advance(wait)
        return True

    def connected(
        self, prepare: Callable[[Socket], None] = lambda _: None
    ) -> tuple[Socket, Socket]:
        """A connection: the sender's socket and the receiver's, closed at the block's end.

        `prepare` sees the one and the listener before.
        """
        with self.receiver.socket(AF_INET, SOCK_STREAM) as listener:
            listener.setblocking(False)
            prepare(listener)
            listener.bind((RECEIVER, PORT))
            listener.listen(1)
            client = self.sender.socket(AF_INET, SOCK_STREAM)
            self.opened.append(client)
            client.setblocking(False)
            prepare(client)
            client.connect_ex((RECEIVER, PORT))
            taken: list[Socket] = []

            def accepted() -> bool:
                try:
                    taken.append(listener.accept()[0])
                except BlockingIOError:
                    return False
                return True

            assert self.run(accepted)
            self.opened += taken
        taken[0].setblocking(False)
        return client, taken[0]

    def transfer(
        self, client: Socket, server: Socket, size: int, *, after: int = 0, seconds: float = 300.0
    ) -> float:
        """Sends `size` bytes. Returns the virtual seconds until the last one is read.

        They count from when `after` bytes have been read.
        """
        begin = self.now
        sent = got = 0

        def done() -> bool:
            nonlocal sent, got, begin
            try:
                while sent < size:
                    sent += client.send(PIECE[: size - sent])
            except BlockingIOError:
                pass
            try:
                while got < size:
                    got += server.recv_into(_SINK)
                    if got <= after:
                        begin = self.now
            except BlockingIOError:
                pass
            return got >= size

        assert self.run(done, seconds=seconds), f"{got} of {size} bytes after {seconds} s"
        return self.now - begin


_SINK = bytearray(1 << 18)


@contextmanager
def path(
    there: Impairment,
    back: Impairment | None = None,
    *,
    mtu: int = 1500,
    seed: int = 1,
    memory_limit: int = 256 << 20,
    engines: tuple[str, str] = ("lwip", "lwip"),
    at_sender: bool = True,
) -> Iterator[Path]:
    """A `Path` for the block.

    Args:
        there: What happens to frames from the sender to the receiver.
        back: What happens to those the other way; None: the same.
        mtu: Of the wire.
        seed: Of the faults and of both Stacks.
        memory_limit: Of each Stack's arena.
        engines: The sender's and the receiver's.
        at_sender: The faults are at the sender's end, which then sees ordinary frames; else at the
            receiver's, and the sender leaves it to the wire to cut its segments.
    """
    clock = ManualClock()
    left, right = pystack.nic.wire(mtu)
    back = there if back is None else back
    wire = (
        impair(left, there, back, seed=seed) if at_sender else impair(right, back, there, seed=seed)
    )
    options: Any = {"threaded": False, "clock": clock, "memory_limit": memory_limit}
    with (
        pystack.Stack(engine=engines[0], seed=seed, **options) as sender,
        pystack.Stack(engine=engines[1], seed=seed + 1, **options) as receiver,
    ):
        sender.attach(wire if at_sender else left, f"{SENDER}/24")
        receiver.attach(right if at_sender else wire, f"{RECEIVER}/24")
        it = Path(clock, wire, sender, receiver, at_sender)
        try:
            yield it
        finally:
            for one in it.opened:
                one.close()
