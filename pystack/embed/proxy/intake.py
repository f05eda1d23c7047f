"""How fast new flows are taken, so that a flood of them leaves the others their time.

A new flow costs a thousand times what a packet of an open one does. Rule: new flows have the time
in which the loop's thread would be idle, and of the time that it works a share. What isn't taken
waits in the Stack, where there is room for some thousands and the oldest are forgotten, at next to
no cost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pystack.intercept import Intercept

__all__ = ["Pace", "take", "thread_times"]

_BURST = 1024
_IDLE_RATE = 8000.0  # for a second of idleness, much of which they then take away
_WORK_RATE = 150.0  # for a second of work: some hundredths of it
_LOOK_S = 0.05
_SCHEDULE = Path("/proc/thread-self/schedstat")


def thread_times() -> tuple[float, float, float]:
    """Of this thread: the seconds so far, those of work, and those that it waited for a processor.

    The last are known on Linux alone, elsewhere they are 0: they seem to be idle.
    """
    try:
        waited = int(_SCHEDULE.read_text("ascii").split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        waited = 0.0
    return time.monotonic(), time.thread_time(), waited


class Pace:
    """When the next flow may be taken. Belongs to one thread.

    Args:
        times: As `thread_times` gives them.
    """

    def __init__(self, times: Callable[[], tuple[float, float, float]] = thread_times) -> None:
        self._times, self._last = times, times()
        self._tokens = float(_BURST)

    def spend(self) -> None:
        """Counts a flow."""
        self._tokens -= 1

    def wait_s(self) -> float:
        """For how long to wait before it may be asked again; 0: the next flow may be taken."""
        now = self._times()
        since, work, waited = (new - old for new, old in zip(now, self._last, strict=True))
        if since >= _LOOK_S:
            idle = max(since - work - waited, 0.0)
            self._tokens += idle * _IDLE_RATE + work * _WORK_RATE
            self._tokens = min(self._tokens, _BURST)
            self._last = now
        return 0.0 if self._tokens >= 1 else _LOOK_S


async def take(taken: Intercept, start: Callable[[Any], object]) -> None:
    """Hands flows to `start`, in time, until the Intercept is closed or this is cancelled."""
    pace = Pace()
    async for flow in taken:
        start(flow)
        pace.spend()
        await asyncio.sleep(0)  # others have their turn between any two
        while not taken.closed and (wait := pace.wait_s()) > 0:
            await asyncio.sleep(wait)
