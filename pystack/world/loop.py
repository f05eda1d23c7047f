"""asyncio in a World: a stock loop whose time is the World's and that never sleeps."""

from __future__ import annotations

import asyncio
import concurrent.futures
import selectors
from collections.abc import Callable, Mapping
from typing import Any

from pystack._native import TurnBell, WorldClock
from pystack.world.schedule import ReadyQueue, TaskNumbers
from pystack.world.waits import of_coroutines

__all__ = ["WorldLoop", "WorldSelector"]

# So many rounds of the loop cancelled tasks have to end in.
_FAREWELLS = 20_000


class WorldSelector(selectors.BaseSelector):
    """A selector that moves the World on where another would sleep.

    Args:
        clock: The World's.

    Attributes:
        patience: After how many calls of `select` it loses patience; None: never.
        lose_patience: What it calls then.
    """

    def __init__(self, clock: WorldClock) -> None:
        self._clock = clock
        self._inner = selectors.DefaultSelector()
        self._woken = False
        self.patience: int | None = None
        self.lose_patience: Callable[[], object] = int

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """As any selector's."""
        return self._inner.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """As any selector's."""
        return self._inner.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """As any selector's."""
        return self._inner.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """As any selector's."""
        return self._inner.get_map()

    def close(self) -> None:
        """As any selector's."""
        self._inner.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready; the clock moves on until something is, or the time is over.

        Args:
            timeout: Seconds of the World's clock; None: for ever.

        Raises:
            DeadlockError: Nothing can ever be.
        """
        if self.patience is not None:
            self.patience -= 1
            if self.patience < 0:
                self.lose_patience()
                timeout = 0
        until_us = None if timeout is None else self._clock.after_us(timeout)
        found = self._inner.select(0)
        while not found:
            in_time = self._clock.wait(until_us, shows=self._shows)
            found = self._inner.select(0)
            if not in_time or self._woken:
                break
        self._woken = False
        return found

    def _shows(self) -> bool:
        return bool(self._inner.select(0))

    def wake(self, bell: TurnBell) -> None:
        """Ends the wait of the thread of this bell, though nothing may be ready."""
        self._woken = True
        bell.ring()


class WorldLoop(asyncio.SelectorEventLoop):
    """asyncio's own selector loop in a World.

    Args:
        clock: The World's.
        executor: Runs what is given to the default executor, in threads of the World.
        chooses: Whether the World's schedule, or its tape, says which task is next.
    """

    def __init__(
        self,
        clock: WorldClock,
        executor: concurrent.futures.ThreadPoolExecutor,
        chooses: bool = False,
    ) -> None:
        self._own_selector = WorldSelector(clock)
        super().__init__(self._own_selector)
        self._clock = clock
        self._bell = TurnBell(clock.turn())
        self._numbers = TaskNumbers()
        if chooses:
            self._ready = ReadyQueue(clock, self._numbers)
        self.set_default_executor(executor)

    def time(self) -> float:
        """Seconds of the World's clock."""
        return self._clock.now()

    def create_task(self, coro: Any, **named: Any) -> asyncio.Task[Any]:
        """As any loop's; tasks are known by their order, too."""
        task = super().create_task(coro, **named)
        self._numbers.add(task)
        return task

    def tasks(self) -> list[asyncio.Task[Any]]:
        """Those that have not ended, in the order of their making."""
        return sorted(asyncio.all_tasks(self), key=self._numbers.of)

    def cancel_all(self) -> list[str]:
        """Cancels the tasks that have not ended, waits for them, and tells what they raise.

        Returns:
            Those that go on all the same, and where.
        """
        tasks = self.tasks()
        for task in tasks:
            task.cancel()
        everything = asyncio.gather(*tasks, return_exceptions=True)
        everything.add_done_callback(lambda _done: self.stop())
        self._own_selector.patience = _FAREWELLS
        self._own_selector.lose_patience = self.stop
        self.run_forever()
        self._own_selector.patience = None
        for task in tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                self.call_exception_handler(
                    {"message": "a task failed", "exception": task.exception(), "task": task}
                )
        left = [task for task in tasks if not task.done()]
        return of_coroutines((task.get_name(), task.get_coro()) for task in left)

    def _write_to_self(self) -> None:
        super()._write_to_self()  # type: ignore[misc]
        # In virtual time a thread from outside doesn't wake it: when would that be?
        if self._clock.is_real or self._clock.takes_part():
            self._own_selector.wake(self._bell)

    def close(self) -> None:
        """As any loop's."""
        super().close()
        self._bell.silence()
