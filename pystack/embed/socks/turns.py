"""Places that clients share: `Turns`, where they wait for one, and `Places`, where they don't."""

from __future__ import annotations

import asyncio
import ipaddress
import sys
from collections import Counter, deque
from collections.abc import Callable

__all__ = ["Places", "Turns", "household"]

_SITE_BITS = 64  # of an IPv6 address: one host has as many of those as it likes (RFC 8981)


def _plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Without its scope, and of IPv4 where it is mapped."""
    one = ipaddress.ip_address(address.partition("%")[0])
    mapped = one.ipv4_mapped if isinstance(one, ipaddress.IPv6Address) else None
    return one if mapped is None else mapped


def household(address: str) -> str:
    """Who counts as one client: an IPv4 address, however it is written, or a /64 of IPv6."""
    one = _plain(address)
    if isinstance(one, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((one, _SITE_BITS), strict=False))
    return str(one)


class Turns:
    """Places that clients share. Nobody can be made to leave one; so some are kept for who comes.

    A client gets another place while it has fewer than are free: one alone has half of them, the
    next a half of the rest, and so on. A place that is left goes to whoever has the fewest; among
    equals, to who was served longest ago. So a client that has none waits for no more ends than
    there were others that waited when it came.

    Args:
        places: How many.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # the next to be served first

    @property
    def idle(self) -> bool:
        """Whether nobody has a place, or waits for one."""
        return not self._held and not self._waiting

    async def enter(self, client: str) -> None:
        """Waits for a place; who got it calls `leave`."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(turn)
        self._give()
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave(client)  # it came together with the cancellation
            else:
                self._forget(client, turn)
            raise

    def close(self, reason: Callable[[], Exception]) -> None:
        """Those that wait get an exception; what was given is still to be given back."""
        waiting, self._waiting = self._waiting, {}
        for turns in waiting.values():
            for turn in turns:
                if not turn.done():
                    turn.set_exception(reason())

    def leave(self, client: str) -> None:
        """Gives a place back."""
        self._free += 1
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]
        self._give()

    def _forget(self, client: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(client, deque())
        if turn in turns:
            turns.remove(turn)
        if client in self._waiting and not turns:
            del self._waiting[client]

    def _give(self) -> None:
        while True:
            may = [one for one in self._waiting if self._held[one] < self._free]
            if not may:
                return
            client = min(may, key=self._held.__getitem__)
            turns = self._waiting.pop(client)
            turn = turns.popleft()
            if turns:
                self._waiting[client] = turns  # behind the others
            if not turn.done():
                self._free -= 1
                self._held[client] += 1
                turn.set_result(None)


class Places:
    """Who may come in, where there is room for so many. Nobody waits, and nobody is sent away.

    Args:
        places: How many there are.
        each: How many one client may have; None: another one while it has fewer than are free, as
            in `Turns`; this machine itself, all of them.
    """

    def __init__(self, places: int, each: int | None = None) -> None:
        self._free, self._each = places, each
        self._held: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Whether the client at this address may come in, and is in; it calls `leave`."""
        client = household(address)
        most = self._each
        if most is None:
            most = sys.maxsize if _plain(address).is_loopback else self._free
        if self._free < 1 or self._held.get(client, 0) >= most:
            return False
        self._free -= 1
        self._held[client] += 1
        return True

    def leave(self, address: str) -> None:
        """Gives its place back."""
        client = household(address)
        self._free += 1
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]
