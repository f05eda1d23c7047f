"""Bytes between two connected stream sockets, on an event loop, whosever they are."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from contextlib import suppress
from typing import Any

__all__ = ["abort", "relay"]

_PIECE_BYTES = 256 << 10
_PIECES_AT_ONCE = 4  # before others have their turn
_AT_ONCE = struct.pack("ii", 1, 0)
_LATER = (BlockingIOError, InterruptedError)


def abort(one: Any) -> None:
    """Closes a connection with a reset."""
    with suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    one.close()


class _Way:
    """One direction."""

    # Of all directions: what is in it between a read and a write is there for one call alone.
    _shared = memoryview(bytearray(_PIECE_BYTES))

    def __init__(self, loop: asyncio.AbstractEventLoop, source: Any, target: Any, end: Any) -> None:
        self._loop, self._source, self._target, self._end = loop, source, target, end
        self._left = b""  # what the target had no room for
        self.ended = False
        loop.add_reader(source, self._read)

    def _read(self) -> None:
        try:
            for _ in range(_PIECES_AT_ONCE):
                size = self._source.recv_into(self._shared)
                if size == 0:
                    self._finish()
                    return
                sent = self._send(self._shared[:size])
                if sent < size:
                    self._left = bytes(self._shared[sent:size])
                    self._loop.remove_reader(self._source)
                    self._loop.add_writer(self._target, self._write)
                    return
        except _LATER:
            return
        except OSError as error:
            self._end(error)

    def _send(self, data: memoryview | bytes) -> int:
        try:
            return int(self._target.send(data))
        except _LATER:
            return 0

    def _write(self) -> None:
        try:
            self._left = self._left[self._send(self._left) :]
        except OSError as error:
            self._end(error)
            return
        if not self._left:
            self._loop.remove_writer(self._target)
            self._loop.add_reader(self._source, self._read)

    def _finish(self) -> None:
        self._loop.remove_reader(self._source)
        self.ended = True
        try:
            self._target.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                self._end(error)
                return
        self._end(None)

    def stop(self) -> None:
        """Leaves the loop."""
        self._loop.remove_reader(self._source)
        self._loop.remove_writer(self._target)


async def relay(left: Any, right: Any) -> None:
    """Carries bytes both ways until both sides have ended; takes the sockets over.

    What one side can't take yet waits in the other's kernel or Stack. An end of data passes as
    one, and the other way goes on; a reset passes as a reset. So does cancelling.
    """
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    ways: list[_Way] = []

    def end(error: OSError | None) -> None:
        if not done.done() and (error is not None or all(way.ended for way in ways)):
            done.set_result(error)

    left.setblocking(False)
    right.setblocking(False)
    is_clean = False
    try:
        ways += [_Way(loop, left, right, end), _Way(loop, right, left, end)]
        is_clean = await done is None
    finally:
        for way in ways:
            way.stop()
        for one in (left, right):
            if is_clean:
                one.close()
            else:
                abort(one)
