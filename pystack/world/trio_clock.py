"""trio in a World: its clock is the World's, which moves on where trio would sleep."""

from __future__ import annotations

import math
import queue
from collections.abc import Awaitable, Callable, MutableSequence
from typing import Any, TypeVar

import trio
from trio import _threads
from trio._core import _entry_queue, _run, _thread_cache

from pystack._native import TurnBell, WorldClock, ffi, lib
from pystack.errors import DeadlockError
from pystack.sockets.patch import Place, patched
from pystack.world import waits
from pystack.world.schedule import MOST_CHOICES

__all__ = ["run"]

_T = TypeVar("_T")


class _TrioClock(trio.abc.Clock, trio.abc.Instrument):
    """The World's clock for trio.

    trio asks how long it may sleep when no task can run. The World moves on inside that question,
    and the answer is always "not at all": then trio looks at its descriptors, and asks again.

    Attributes:
        scope: Around the main task; cancelled by a deadlock.
        deadlock: What waits, once nothing can ever happen.
    """

    def __init__(self, clock: WorldClock) -> None:
        self._clock = clock
        self._has_looked = False
        self.scope = trio.CancelScope()
        self.deadlock: str | None = None

    def start_clock(self) -> None:
        """The World's runs already."""

    def current_time(self) -> float:
        """Seconds of the World's clock."""
        return self._clock.now()

    def task_scheduled(self, _task: Any) -> None:
        """A task will run, after which descriptors may be ready that weren't."""
        self._has_looked = False

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Moves the World on until something happens, or to the deadline."""
        now = self._clock.now()
        if not self._has_looked or deadline <= now:
            self._has_looked = True
            return 0.0
        self._has_looked = False
        try:
            until = None if deadline == math.inf else self._clock.after_us(deadline - now)
            self._clock.wait(until, shows=_nothing)
        except DeadlockError as error:
            if self.deadlock is not None:
                raise  # nor does the main task end
            self.deadlock = str(error)
            root = trio.lowlevel.current_root_task()
            tasks = [] if root is None else _tasks_below(root)
            self.deadlock += "".join(f"\n  {line}" for line in waits.of_coroutines(tasks))
            self.scope.cancel()
        return 0.0


def _nothing() -> bool:
    """Handlers of signals wake trio by `run_sync_soon`."""
    return False


def _tasks_below(root: Any) -> list[tuple[str, Any]]:
    """The tasks below one, by name, with their coroutines."""
    found = []
    for nursery in root.child_nurseries:
        for task in sorted(nursery.child_tasks, key=lambda task: str(task.name)):
            found += [(task.name, task.coro), *_tasks_below(task)]
    return found


def _thread_places() -> dict[Place, Any]:
    """Has trio's worker threads be threads of the World, and wait for their answers in it."""

    def with_queue(original: Any) -> Any:
        def __init__(self: Any, *arguments: Any, **named: Any) -> None:  # noqa: N807
            original(self, *arguments, **named)
            # trio has taken the class at its import; the object is frozen.
            object.__setattr__(self, "queue", queue.SimpleQueue())

        return __init__

    places: dict[Place, Any] = {
        (kind, "__init__"): with_queue(kind.__init__) for kind in (_threads.Run, _threads.RunSync)
    }
    # Threads that idle in the process's cache take part in no World, or in another.
    places[_thread_cache, "THREAD_CACHE"] = _thread_cache.ThreadCache()
    return places


class _Order:
    """In the place of trio's own chance, which orders a batch of tasks that may run.

    trio takes the batch from its end.

    Args:
        clock: The World's, whose tape chooses.
    """

    def __init__(self, clock: WorldClock) -> None:
        self._clock = clock

    def random(self) -> float:
        """Below a half, which turns a batch around: first come, first served."""
        return 0.0

    def shuffle(self, x: MutableSequence[Any]) -> None:
        """Has the tape choose each, of those that are left."""
        left = list(x)
        order = []
        while left:
            numbers = ffi.new("uint64_t[]", [task._counter for task in left[:MOST_CHOICES]])
            place = 0
            if len(numbers) > 1:
                place = lib.ps_tape_next(self._clock.pointer, numbers, len(numbers))
            order.append(left.pop(place))
        x[:] = reversed(order)


def run(
    clock: WorldClock,
    chooses: bool,
    function: Callable[..., Awaitable[_T]],
    *arguments: Any,
) -> _T:
    """See `World.run_trio`.

    Args:
        clock: The World's.
        chooses: Whether its schedule or tape says which task is next; else first come, first
            served.
        function: What to run.
        arguments: With what.
    """
    trio_clock = _TrioClock(clock)
    bell = TurnBell(clock.turn())
    run_sync_soon = _entry_queue.EntryQueue.run_sync_soon

    def wake_trio(self: Any, *given: Any, **named: Any) -> None:
        run_sync_soon(self, *given, **named)
        # Another thread of the World's, which trio waits for; or a signal's handler.
        if clock.is_real or clock.takes_part():
            bell.ring()

    async def main() -> _T:
        with trio_clock.scope:
            return await function(*arguments)
        raise DeadlockError(trio_clock.deadlock)

    places: dict[Place, Any] = {(_entry_queue.EntryQueue, "run_sync_soon"): wake_trio}
    places |= _thread_places()
    places[_run, "_r"] = _Order(clock)
    places[_run, "_ALLOW_DETERMINISTIC_SCHEDULING"] = chooses
    try:
        with patched(places):
            return trio.run(main, clock=trio_clock, instruments=[trio_clock])
    finally:
        bell.silence()
