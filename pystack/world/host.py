"""Hosts: Stacks in a World, with what runs on them."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import functools
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pystack._native import WorldClock
from pystack.stack import Stack

__all__ = ["Host"]

_T = TypeVar("_T")


class HostsWorld(Protocol):
    """What a host asks of its World."""

    clock: WorldClock
    names_file: Path

    @property
    def closed(self) -> bool:
        """Whether it has ended, or is about to."""
        ...

    def start(self, thread: threading.Thread) -> None:
        """Starts a thread that takes part in it."""
        ...


class Host(Stack):
    """A Stack in a World; made by `World.host`. Everything of `Stack` is here, too.

    What runs on it, tasks and threads, has its sockets in the place of the module `socket`.

    Attributes:
        name: By which the others find it.
        world: Where it is.
    """

    _own_attributes = Stack._own_attributes | {"name", "world"}

    def __init__(self, world: HostsWorld, name: str, **options: Any) -> None:
        super().__init__(clock=world.clock, threaded=False, **options)
        self.name = name
        self.world = world
        self.sockets.hosts = world.names_file

    def spawn(
        self, coroutine: Coroutine[Any, Any, _T], *, name: str | None = None
    ) -> asyncio.Task[_T]:
        """Starts a task on this host; inside `World.run`.

        Args:
            coroutine: What it runs: `asyncio.open_connection` and all else in it use this host.
            name: The task's.

        Raises:
            RuntimeError: No loop is running.
        """
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        block = self.active()
        context.run(block.__enter__)
        named = f"{self.name}: {name or getattr(coroutine, '__qualname__', 'task')}"
        task: asyncio.Task[_T] = context.run(
            functools.partial(loop.create_task, coroutine, name=named)
        )
        task.add_done_callback(lambda _task: context.run(block.__exit__, None, None, None))
        return task

    async def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Runs a coroutine on this host to its end; from a task, or by `World.run`."""
        return await self.spawn(coroutine)

    def thread(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        name: str | None = None,
        daemon: bool = True,
    ) -> threading.Thread:
        """Starts a thread on this host, for code that blocks.

        Threads of a World take turns: one runs until it waits.

        Args:
            function: What it calls.
            arguments: With what.
            name: The thread's.
            daemon: As `threading.Thread` has it.
        """

        def on_this_host() -> None:
            try:
                with self.active():
                    function(*arguments)
            except OSError as error:
                # Its World has ended under it, as the machine of a process that loses power.
                if not self.world.closed or error.errno != errno.EBADF:
                    raise

        made = threading.Thread(
            target=on_this_host, name=name or f"{self.name}: {function.__qualname__}", daemon=daemon
        )
        self.world.start(made)
        return made

    def __repr__(self) -> str:
        return f"<Host {self.name}>"
