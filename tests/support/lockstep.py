"""Two stacks that move in lockstep under one virtual clock: no threads, no waiting, no luck."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from socket import AF_INET, SOCK_STREAM
from typing import Any

import pystack
from pystack.hypercalls import ManualClock
from pystack.nic import Nic
from pystack.sockets import Socket

PORT = 80


@dataclass
class Lockstep:
    """Two hosts on a wire. ``run`` moves both until a condition holds or virtual time is up."""

    clock: ManualClock
    client: pystack.Stack
    server: pystack.Stack

    def run(
        self,
        until: Callable[[], bool] = lambda: False,
        *,
        seconds: float = 300.0,
        stride: float = 0.02,
    ) -> bool:
        """Alternates the stacks, and lets time pass when neither has anything to do at once.

        Args:
            until: What to wait for.
            seconds: The most virtual time that may pass.
            stride: How much of it passes at a time.

        Returns:
            Whether the condition came to hold.
        """
        spent = 0.0
        while spent < seconds:
            for _ in range(4):
                self.client.step()
                self.server.step()
            if until():
                return True
            self.clock.advance(stride)
            spent += stride
        return until()

    def listen(self) -> Socket:
        """A non-blocking listener on the server."""
        listener = self.server.socket(AF_INET, SOCK_STREAM)
        try:
            listener.setblocking(False)
            listener.bind(("10.0.0.2", PORT))
            listener.listen(16)
        except BaseException:
            listener.close()
            raise
        return listener


@contextmanager
def lockstep(
    memory_limit: int = 64 << 20,
    engines: tuple[str, str] = ("lwip", "lwip"),
    wrap: Callable[[Nic], Nic] = lambda nic: nic,
    **of_client: Any,
) -> Iterator[Lockstep]:
    """A `Lockstep` for the block; its stacks, the client's first, are closed at the end.

    `wrap` may put something around the client's end of the wire; what else is given is for the
    client's Stack.
    """
    clock = ManualClock()
    left, right = pystack.nic.wire()
    options: Any = {"threaded": False, "clock": clock, "memory_limit": memory_limit}
    with (
        pystack.Stack(engine=engines[0], seed=1, **options, **of_client) as client,
        pystack.Stack(engine=engines[1], seed=2, **options) as server,
    ):
        client.attach(wrap(left), "10.0.0.1/24", "fd00::1/64")
        server.attach(right, "10.0.0.2/24", "fd00::2/64")
        pair = Lockstep(clock, client, server)
        pair.run(seconds=5)  # duplicate address detection, router solicitations
        yield pair
