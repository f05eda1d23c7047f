"""Waiting for a socket in an event loop, whether it is the kernel's or a Stack's.

Rules: the kernel's sockets are the loop's own to watch. All those of one Stack that are waited for
in one loop share a `Notifier`, which is there as long as one of them is: so they cost no descriptor
each. Where there can be no Notifier (a World, another process's Stack), a socket's descriptor does.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import os
import socket
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from pystack._native import StackHandle
from pystack.dial.watching import watching
from pystack.errors import StackPanic
from pystack.sockets import Socket
from pystack.sockets.notifier import ENDED, READ, WRITE, Notifier

__all__ = ["Side", "connect", "side_of"]

_READS, _WRITES = READ | ENDED, WRITE | ENDED
_HAS_NONE = (errno.EREMOTE, errno.EOPNOTSUPP)


class Side(Protocol):
    """A socket that a loop waits for: its callbacks are called as those of `add_reader` are."""

    def on_readable(self, callback: Callable[[], Any] | None) -> None:
        """Has it called as long as there is something to read; None: no more."""

    def on_writable(self, callback: Callable[[], Any] | None) -> None:
        """The same of room to send."""

    def stop(self) -> None:
        """Calls nothing any more; before the socket is closed. May be called again."""


def side_of(one: Any, loop: asyncio.AbstractEventLoop) -> Side:
    """For a socket of the kernel's or a Stack's, on the loop's thread.

    Raises:
        OSError: EMFILE, a Stack's needs a descriptor, and there is none left; EBADF, it is closed.
        StackPanic: The engine has failed.
    """
    if isinstance(one, Socket):
        try:
            return _StackSide(_shared(one._ps_handle, loop), one)
        except OSError as error:
            if error.errno not in _HAS_NONE:
                raise
    return _LoopSide(one, loop)


async def connect(one: Any, address: tuple[Any, ...]) -> None:
    """Connects a socket of the kernel's or a Stack's, made non-blocking, to an address.

    Args:
        one: The socket. It stays open, whatever happens.
        address: As its `connect` takes it, without a name in it.

    Raises:
        OSError: What connect(2) says; EMFILE as `side_of`.
        StackPanic: The engine has failed.
    """
    loop = asyncio.get_running_loop()
    one.setblocking(False)
    if not isinstance(one, Socket):
        await loop.sock_connect(one, address)
        return
    try:
        one.connect(address)
    except (BlockingIOError, InterruptedError):
        pass
    else:
        return
    over = loop.create_future()
    side = side_of(one, loop)
    try:
        side.on_writable(lambda: None if over.done() else over.set_result(None))
        await over
    finally:
        side.stop()
    error = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, f"connect to {address[0]} port {address[1]}: {os.strerror(error)}")


class _LoopSide:
    """One that the loop watches by its descriptor."""

    __slots__ = ("_fd", "_loop", "_reads", "_writes")

    def __init__(self, one: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = watching(loop)
        self._fd = one.fileno()
        self._reads = self._writes = False

    def on_readable(self, callback: Callable[[], Any] | None) -> None:
        if callback is not None:
            self._loop.add_reader(self._fd, callback)
        elif self._reads:
            self._loop.remove_reader(self._fd)
        self._reads = callback is not None

    def on_writable(self, callback: Callable[[], Any] | None) -> None:
        if callback is not None:
            self._loop.add_writer(self._fd, callback)
        elif self._writes:
            self._loop.remove_writer(self._fd)
        self._writes = callback is not None

    def stop(self) -> None:
        self.on_readable(None)
        self.on_writable(None)


class _Shared:
    """The Notifier of one Stack in one loop."""

    def __init__(self, handle: StackHandle, loop: asyncio.AbstractEventLoop) -> None:
        self.handle, self.loop = handle, loop
        self.sides: dict[int, _StackSide] = {}
        self.notifier = Notifier(handle)
        # In no flow's context: it outlives the first.
        contextvars.Context().run(loop.add_reader, self.notifier.fileno(), self._ring)

    def _ring(self) -> None:
        try:
            ready = self.notifier.take()
        except (OSError, StackPanic):
            for each in self.sides.values():  # which hears it from its socket
                self.loop.call_soon(each.tell, ENDED)
            self.end()
            return
        # Where a callback raises, the loop is told by this one, and the others are told next time.
        for number, mask in ready:
            side = self.sides.get(number)
            if side is not None:
                side.tell(mask)

    def leave(self, number: int) -> None:
        del self.sides[number]
        self.notifier.forget(number)
        if not self.sides:
            self.end()

    def end(self) -> None:
        """Nobody is told anything any more."""
        fd = self.notifier.fileno()
        if fd < 0:
            return
        if not self.loop.is_closed():
            self.loop.remove_reader(fd)
        self.notifier.close()
        if _all.get((id(self.loop), self.handle)) is self:
            del _all[id(self.loop), self.handle]


class _StackSide:
    """One that is watched together with others."""

    __slots__ = ("_number", "_shared", "reads", "writes")

    def __init__(self, shared: _Shared, one: Socket) -> None:
        self.reads: Callable[[], Any] | None = None
        self.writes: Callable[[], Any] | None = None
        self._shared = shared
        self._number = -1  # it is stopped
        try:
            if one._ps_number in shared.sides:  # whose interest `watch` would take away
                raise RuntimeError(f"{one!r} is waited for already: stop that first")
            number = shared.notifier.watch(one, 0)
        except BaseException:
            if not shared.sides:
                shared.end()
            raise
        self._number = number
        shared.sides[number] = self

    def on_readable(self, callback: Callable[[], Any] | None) -> None:
        self._want(callback, self.writes)

    def on_writable(self, callback: Callable[[], Any] | None) -> None:
        self._want(self.reads, callback)

    def _want(self, reads: Callable[[], Any] | None, writes: Callable[[], Any] | None) -> None:
        if self._number < 0:
            return
        interest = (READ if reads is not None else 0) | (WRITE if writes is not None else 0)
        before = (READ if self.reads is not None else 0) | (WRITE if self.writes is not None else 0)
        self.reads, self.writes = reads, writes
        if interest == before:
            return
        try:
            self._shared.notifier.change(self._number, interest)
        except (OSError, StackPanic):  # the Stack has ended: its socket says so
            self._shared.loop.call_soon(self.tell, ENDED)

    def tell(self, mask: int) -> None:
        if mask & _READS and self.reads is not None:
            self.reads()
        if mask & _WRITES and self.writes is not None:
            self.writes()

    def stop(self) -> None:
        self.reads = self.writes = None
        number, self._number = self._number, -1
        if number >= 0:
            self._shared.leave(number)


# Kept by their sides, and by the loop.
_all: weakref.WeakValueDictionary[tuple[int, StackHandle], _Shared] = weakref.WeakValueDictionary()


def _shared(handle: StackHandle, loop: asyncio.AbstractEventLoop) -> _Shared:
    found = _all.get((id(loop), handle))
    if found is None:
        found = _all[id(loop), handle] = _Shared(handle, loop)
    return found
