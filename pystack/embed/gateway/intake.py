"""How fast new flows are taken, so that a flood of them leaves the others their time.

A new flow costs a thousand times what a packet of an open one does. What isn't taken waits in the
Stack, where there is room for some thousands and the oldest are forgotten, at next to no cost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from pystack.embed.proxy import Forwarder
from pystack.intercept import Intercept

__all__ = ["Pace", "take"]

_BURST = 1024
_RATE = 4000.0  # a second, sustained
_BUSY_RATE = 150.0  # the same, while open flows are busy
_BUSY_BYTES = 1 << 20  # a second: what busy flows move at least
_LOOK_S = 0.05


class Pace:
    """When the next flow may be taken.

    Args:
        moved: Gives the bytes that have passed the interface so far.
        clock: Gives seconds that only grow.
    """

    def __init__(
        self, moved: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._moved, self._clock = moved, clock
        self._tokens = float(_BURST)
        self._looked, self._bytes = clock(), moved()
        self._rate = _RATE

    def wait_s(self) -> float:
        """Counts a flow; for how long to wait before the next one."""
        now = self._clock()
        since = now - self._looked
        if since >= _LOOK_S:
            moved = self._moved()
            is_busy = moved - self._bytes > _BUSY_BYTES * since
            self._rate = _BUSY_RATE if is_busy else _RATE
            self._tokens = min(self._tokens + since * self._rate, _BURST)
            self._looked, self._bytes = now, moved
        self._tokens -= 1
        return 0.0 if self._tokens >= 0 else max(_LOOK_S, -self._tokens / self._rate)


async def take(taken: Intercept, forwarder: Forwarder, pace: Pace) -> None:
    """Hands flows to a forwarder, in time, until the Intercept is closed or this is cancelled."""
    async for flow in taken:
        forwarder.start(flow)
        wait = pace.wait_s()
        if wait > 0:
            await asyncio.sleep(wait)
