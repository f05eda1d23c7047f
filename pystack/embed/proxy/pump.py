"""Bytes from one connection to another, both ways.

Rules: what was not delivered is not read on, so that each side's window holds back the other's
sender; an end of stream is passed on when everything before it was; a reset, or any other error, of
one side is a reset of the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from typing import Any, Protocol

from pystack.embed.readiness import Side, side_of
from pystack.errors import StackPanic

__all__ = ["Connection", "Pump", "pump"]

_CHUNK = 256 * 1024
_AGAIN = (BlockingIOError, InterruptedError)
_RESET = struct.pack("ii", 1, 0)


class Connection(Protocol):
    """A stream socket, a Stack's or the kernel's."""

    def fileno(self) -> int: ...  # noqa: D102
    def setblocking(self, flag: bool, /) -> None: ...  # noqa: D102
    def recv(self, size: int, /) -> bytes: ...  # noqa: D102
    def send(self, data: Any, /) -> int: ...  # noqa: D102
    def shutdown(self, how: int, /) -> None: ...  # noqa: D102
    def setsockopt(self, level: int, name: int, value: Any, /) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class _Way:
    """One direction."""

    __slots__ = ("count", "ended", "owner", "pending", "room", "sink", "source", "supply")

    def __init__(
        self, owner: Pump, source: Connection, sink: Connection, supply: Side, room: Side
    ) -> None:
        self.owner = owner
        self.source, self.sink = source, sink
        self.supply, self.room = supply, room
        self.pending: memoryview | None = None
        self.ended = False
        self.count = 0

    def begin(self) -> None:
        self.supply.on_readable(self.on_readable)

    def on_readable(self) -> None:
        owner = self.owner
        owner.quiet = 0
        try:
            data = self.source.recv(_CHUNK)
        except _AGAIN:
            return
        except (OSError, StackPanic) as error:
            owner.fail(error)
            return
        if not data:
            self.end()
            return
        self.carry(data)

    def carry(self, data: bytes) -> None:
        """Passes on what the source has sent."""
        owner = self.owner
        self.count += len(data)
        try:
            sent = self.sink.send(data)
        except _AGAIN:
            sent = 0
        except (OSError, StackPanic) as error:
            owner.fail(error)
            return
        if sent < len(data):
            self.pending = memoryview(data)[sent:]
            self.supply.on_readable(None)
            self.room.on_writable(self.on_writable)

    def on_writable(self) -> None:
        owner = self.owner
        owner.quiet = 0
        pending = self.pending
        if pending is not None:
            try:
                sent = self.sink.send(pending)
            except _AGAIN:
                return
            except (OSError, StackPanic) as error:
                owner.fail(error)
                return
            if sent < len(pending):
                self.pending = pending[sent:]
                return
        self.pending = None
        self.room.on_writable(None)
        self.supply.on_readable(self.on_readable)

    def end(self) -> None:
        """The source has no more."""
        owner = self.owner
        self.ended = True
        self.supply.on_readable(None)
        try:
            self.sink.shutdown(socket.SHUT_WR)
        except (OSError, StackPanic) as error:
            if getattr(error, "errno", None) != errno.ENOTCONN:  # it has ended, too
                owner.fail(error)
                return
        owner.way_ended()


class Pump:
    """Carries bytes between two connections until both directions have ended.

    It owns both sockets from now on, and closes them. Needs a running loop.

    Args:
        left: A stream socket, a Stack's or the kernel's; its connect may be under way.
        right: Another.
        early: What was read from `right` before, and is for `left`.

    Raises:
        OSError: EMFILE, there is no descriptor left to wait by (see `pystack.embed.readiness`);
            both are reset.
        StackPanic: The engine has failed; both are reset.

    Attributes:
        done: Is done when both sockets are closed; its result is None, however they ended.
        error: What ended it early, if anything did; None: both sides ended in order.
        quiet: Set to 0 whenever bytes move; a time-out may count it up.
    """

    __slots__ = (
        "_back",
        "_closed",
        "_left",
        "_right",
        "_sides",
        "_there",
        "done",
        "error",
        "loop",
        "quiet",
    )

    def __init__(self, left: Connection, right: Connection, early: bytes = b"") -> None:
        self.loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self.loop.create_future()
        self.error: OSError | StackPanic | None = None
        self.quiet = 0
        self._closed = False
        self._left, self._right = left, right
        try:
            left.setblocking(False)
            right.setblocking(False)
            one = side_of(left, self.loop)
            try:
                other = side_of(right, self.loop)
            except (OSError, StackPanic):
                one.stop()
                raise
        except (OSError, StackPanic):
            _reset(left, right)
            raise
        self._sides = one, other
        self._there = _Way(self, left, right, one, other)
        self._back = _Way(self, right, left, other, one)
        self._there.begin()
        self._back.begin()
        if early:
            self._back.carry(early)

    @property
    def there(self) -> int:
        """Bytes that `left` has sent so far."""
        return self._there.count

    @property
    def back(self) -> int:
        """Bytes that `right` has sent so far."""
        return self._back.count

    def way_ended(self) -> None:
        """One direction is over, in order."""
        if self._there.ended and self._back.ended:
            self._stop()
            _close(self._left, self._right)
            self._settle()

    def fail(self, error: OSError | StackPanic) -> None:
        """Ends it: both sides are reset."""
        if self._closed:
            return
        self.error = error
        self._stop()
        _reset(self._left, self._right)
        self._settle()

    def abort(self) -> None:
        """Resets both sides; nothing where it has ended."""
        self.fail(OSError(errno.ECONNABORTED, "the pump was stopped"))

    def _stop(self) -> None:
        self._closed = True
        for side in self._sides:
            side.stop()
        self._there.pending = self._back.pending = None

    def _settle(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


def _reset(*connections: Connection) -> None:
    for one in connections:
        with contextlib.suppress(OSError, StackPanic):  # it is gone
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    _close(*connections)


def _close(*connections: Connection) -> None:
    for one in connections:
        with contextlib.suppress(OSError, StackPanic):  # its Stack is gone
            one.close()


async def pump(left: Connection, right: Connection) -> Pump:
    """Carries bytes between two connections; returns when both are closed.

    Where it is cancelled both are reset.

    Args:
        left: See `Pump`.
        right: See `Pump`.
    """
    carrying = Pump(left, right)
    try:
        await carrying.done
    finally:
        carrying.abort()
    return carrying
