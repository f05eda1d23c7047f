"""Who goes on next, of several threads or tasks that may."""

from __future__ import annotations

import asyncio
import itertools
import weakref
from collections import deque
from dataclasses import dataclass
from typing import Any

from pystack._native import WorldClock, ffi, lib

__all__ = ["MOST_CHOICES", "Pct", "ReadyQueue", "set_schedule"]

MOST_CHOICES, _MOST_CHANGES = int(lib.PS_MOST_CHOICES), int(lib.PS_MOST_CHANGES)


@dataclass(frozen=True)
class Pct:
    """A schedule by priorities: the seed gives each thread and task one, and the highest goes on.

    At some moments the one that would be next gets the lowest instead, so that a fault for which
    `changes + 1` steps have to happen in one order is found with a known probability (Burckhardt
    and others, "A randomized scheduler with probabilistic guarantees of finding bugs", 2010).

    Attributes:
        changes: At how many moments, 0 to 16;
        steps: drawn from the first so many choices.
    """

    changes: int = 3
    steps: int = 1000

    def __post_init__(self) -> None:
        if not 0 <= self.changes <= _MOST_CHANGES:
            raise ValueError(f"there are 0 to {_MOST_CHANGES} changes, not {self.changes}")
        if self.steps < 1:
            raise ValueError(f"changes are among the first steps, 1 or more, not {self.steps}")


def set_schedule(clock: WorldClock, schedule: str | Pct, seed: int) -> bool:
    """Sets which is next, of several that may go on.

    Args:
        clock: The World's.
        schedule: "fifo", "random", "pct" or a `Pct`.
        seed: From which it is drawn.

    Returns:
        Whether the order is ever another than the first's in, first out.

    Raises:
        ValueError: No such schedule.
    """
    if isinstance(schedule, str) and schedule not in ("fifo", "random", "pct"):
        raise ValueError(
            f'a schedule is "fifo", "random", "pct" or a pystack.world.Pct, not {schedule!r}'
        )
    pct = schedule if isinstance(schedule, Pct) else Pct()
    kinds = {"fifo": lib.PS_SCHEDULE_FIFO, "random": lib.PS_SCHEDULE_RANDOM}
    kind = kinds.get(schedule, lib.PS_SCHEDULE_PCT) if isinstance(schedule, str) else None
    kind = lib.PS_SCHEDULE_PCT if kind is None else kind
    lib.ps_world_schedule(clock.pointer, kind, seed, pct.changes, pct.steps)
    return bool(kind != lib.PS_SCHEDULE_FIFO)


class TaskNumbers:
    """The order in which a loop's tasks were made, on which no address has a say."""

    def __init__(self) -> None:
        self._found: weakref.WeakKeyDictionary[asyncio.Task[Any], int] = weakref.WeakKeyDictionary()
        self._count = 0

    def add(self, task: asyncio.Task[Any]) -> None:
        """The next one."""
        self._count += 1
        self._found[task] = self._count

    def of(self, task: asyncio.Task[Any]) -> int:
        """A task's number; one made by a factory of the user's gets its own now."""
        if task not in self._found:
            self.add(task)
        return self._found[task]


class ReadyQueue(deque[Any]):
    """asyncio's queue of handles, from which the World's tape takes the next one.

    It chooses among the steps of tasks in front of the first callback: callbacks keep their order,
    and no step overtakes one, for asyncio's transports rely on that.

    Args:
        clock: The World's.
        numbers: Of the loop's tasks.
    """

    def __init__(self, clock: WorldClock, numbers: TaskNumbers) -> None:
        super().__init__()
        self._clock = clock
        self._numbers = numbers

    def _actor(self, handle: Any) -> int | None:
        """The number of the task of which it is a step; None: it is none."""
        owner = getattr(getattr(handle, "_callback", None), "__self__", None)
        if not isinstance(owner, asyncio.Task):
            return None
        return self._numbers.of(owner)

    def popleft(self) -> Any:
        """The next one."""
        actors = []
        for handle in itertools.islice(self, MOST_CHOICES):
            actor = self._actor(handle)
            if actor is None:
                break
            actors.append(actor)
        if len(actors) < 2:
            return super().popleft()
        numbers = ffi.new("uint64_t[]", actors)
        place = lib.ps_tape_next(self._clock.pointer, numbers, len(actors))
        if place == 0:
            return super().popleft()
        self.rotate(-place)
        handle = super().popleft()
        self.rotate(place)
        return handle
