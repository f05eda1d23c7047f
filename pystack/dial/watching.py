"""Callbacks for as long as a descriptor is ready, in any event loop.

asyncio's own loops go on calling back while a descriptor has an error. libuv's (uvloop) tell of it
once and let go of the descriptor, whatever is still to be read there, and whatever comes after an
error that is none of the connection's, as ICMP's to a datagram.
"""

from __future__ import annotations

import asyncio
import select
import selectors
from collections.abc import Callable
from functools import partial
from typing import Any

__all__ = ["Watcher", "watching"]


class Watcher:
    """Watches descriptors through a loop, and begins anew where that may have let go of one."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: dict[int, dict[int, Callable[[], object]]] = {}

    def add_reader(self, fd: int, callback: Callable[..., object], /, *args: Any) -> None:
        """See `asyncio.loop.add_reader`."""
        self._add(fd, selectors.EVENT_READ, partial(callback, *args))

    def remove_reader(self, fd: int, /) -> bool:
        """See `asyncio.loop.remove_reader`."""
        self._loop.remove_reader(fd)
        return self._forget(fd, selectors.EVENT_READ)

    def add_writer(self, fd: int, callback: Callable[..., object], /, *args: Any) -> None:
        """See `asyncio.loop.add_writer`."""
        self._add(fd, selectors.EVENT_WRITE, partial(callback, *args))

    def remove_writer(self, fd: int, /) -> bool:
        """See `asyncio.loop.remove_writer`."""
        self._loop.remove_writer(fd)
        return self._forget(fd, selectors.EVENT_WRITE)

    def events(self, fd: int) -> int:
        """What it is watched for, as `selectors` counts events; KeyError: for nothing."""
        return sum(self._calls[fd])

    def _add(self, fd: int, event: int, callback: Callable[[], object]) -> None:
        call = partial(self._call, fd, callback)
        self._calls.setdefault(fd, {})[event] = call
        self._arm(fd, event, call)

    def _arm(self, fd: int, event: int, call: Callable[[], object]) -> None:
        if event == selectors.EVENT_READ:
            self._loop.add_reader(fd, call)
        else:
            self._loop.add_writer(fd, call)

    def _forget(self, fd: int, event: int) -> bool:
        calls = self._calls.get(fd, {})
        was_there = calls.pop(event, None) is not None
        if not calls:
            self._calls.pop(fd, None)
        return was_there

    def _call(self, fd: int, callback: Callable[[], object]) -> None:
        is_let_go = _has_error(fd)  # before it is taken; one that comes meanwhile is told of later
        try:
            callback()
        finally:
            if is_let_go and fd in self._calls:
                self._begin_anew(fd)

    def _begin_anew(self, fd: int) -> None:
        self._loop.remove_reader(fd)
        self._loop.remove_writer(fd)
        for event, call in self._calls[fd].items():
            self._arm(fd, event, call)


def watching(loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop | Watcher:
    """What watches a descriptor in a loop: asyncio's own do so themselves."""
    return loop if isinstance(loop, asyncio.BaseEventLoop) else Watcher(loop)


def _has_error(fd: int) -> bool:
    if not hasattr(select, "poll"):
        return False
    asked = select.poll()
    asked.register(fd, 0)
    return any(events & select.POLLERR for _fd, events in asked.poll(0))
