"""asyncio's own transports and servers in another library's loop, such as uvloop's.

Such a loop's transports read and write descriptors themselves, which no Stack's socket has. But it
watches a descriptor and calls back, as any loop. That is all that asyncio's transports need of one:
`LentLoop` is asyncio's, without a selector and a turn of its own.
"""

from __future__ import annotations

import asyncio
import selectors
from asyncio import selector_events
from collections.abc import Callable
from typing import Any

from pystack.dial.watching import Watcher

__all__ = ["LentLoop", "can_watch"]


def can_watch(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a loop has `add_reader`: that of Windows has none."""
    try:
        loop.remove_reader(-1)
    except NotImplementedError:
        return False
    except (OSError, ValueError):
        pass  # there is no such descriptor
    return True


# What the loop does in the place of `LentLoop`'s own methods.
_LENT = (
    "call_at",
    "call_exception_handler",
    "call_later",
    "call_soon",
    "call_soon_threadsafe",
    "create_future",
    "create_task",
    "get_debug",
    "is_closed",
    "is_running",
    "run_in_executor",
    "time",
)


class LentLoop(selector_events.BaseSelectorEventLoop):
    """Makes asyncio's transports and servers, which run in the loop that it stands before.

    Args:
        loop: The loop that runs.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._lender = loop
        self._watcher = Watcher(loop)
        super().__init__(selector=_Watched(self._watcher))  # type: ignore[arg-type]
        for name in _LENT:
            setattr(self, name, getattr(loop, name))

    def _make_self_pipe(self) -> None:
        """Nobody wakes it."""

    def _check_closed(self) -> None:
        if self.is_closed():
            raise RuntimeError("Event loop is closed")

    def __del__(self, _warn: object = None) -> None:
        """It holds nothing, and so has nothing to close."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} before {self._lender!r}>"

    def _add_reader(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:
        self._watcher.add_reader(_number(fd), callback, *args)

    def _remove_reader(self, fd: Any) -> bool:
        return self._watcher.remove_reader(_number(fd))

    def _add_writer(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:
        self._watcher.add_writer(_number(fd), callback, *args)

    def _remove_writer(self, fd: Any) -> bool:
        return self._watcher.remove_writer(_number(fd))


class _Watched:
    """In the place of a selector, which is asked only by transports that tell about themselves."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def get_key(self, number: int) -> selectors.SelectorKey:
        """See `selectors.BaseSelector.get_key`."""
        return selectors.SelectorKey(number, number, self._watcher.events(number), None)


def _number(fd: Any) -> int:
    return int(fd if isinstance(fd, int) else fd.fileno())
