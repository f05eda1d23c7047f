"""How many bytes may wait at each UDP flow, where all flows together have a number of them."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any, Protocol

from pystack.errors import StackPanic
from pystack.sockets import Socket

__all__ = ["LEAST", "MOST", "Rooms", "Roomy", "give_room"]

LEAST = 2048  # bytes: a datagram of a full frame fits whatever else is there
MOST = 2 << 20


class Roomy(Protocol):
    """What keeps datagrams that wait."""

    def set_room(self, size: int) -> None:
        """From now on it keeps so many bytes; more that come then are lost."""


def give_room(one: Any, size: int) -> None:
    """Sets both buffers of a socket, the kernel's or a Stack's; who uses it hears of an error.

    The kernel gets twice as much, for it counts its own bookkeeping, and allows what it allows.
    """
    size = size if isinstance(one, Socket) else 2 * size
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        with suppress(OSError, StackPanic):
            one.setsockopt(socket.SOL_SOCKET, option, size)


class Rooms:
    """Shares bytes among flows: each has the same room, and half of it where they are too many.

    One flow alone has `MOST`. The room is halved, for all of them, as soon as they could have more
    than the total, and doubled when they would have no more than half of it: so of a thousand flows
    that come and go few have theirs changed. It is never less than `LEAST`.

    Args:
        total: Bytes of all flows together.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._flows: set[Roomy] = set()
        self.each = MOST
        self._fit()

    def enter(self, flow: Roomy) -> None:
        """A flow begins, and is told its room; so are the others where theirs has changed."""
        self._flows.add(flow)
        if not self._fit():
            flow.set_room(self.each)

    def leave(self, flow: Roomy) -> None:
        """A flow has ended; nothing where it has before."""
        self._flows.discard(flow)
        self._fit()

    def _fit(self) -> bool:
        """Whether everybody has another room now."""
        count, each = max(len(self._flows), 1), self.each
        while each > LEAST and count * each > self._total:
            each = max(each // 2, LEAST)
        while each < MOST and count * each * 4 <= self._total:
            each = min(each * 2, MOST)
        if each == self.each:
            return False
        self.each = each
        for flow in self._flows:
            flow.set_room(each)
        return True
