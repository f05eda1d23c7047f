"""Listeners whose connections, or datagrams, go on from a socket of the other side."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from pystack.embed.ending import ended
from pystack.embed.proxy import pump
from pystack.embed.proxy.rooms import Rooms, give_room
from pystack.embed.readiness import Side, side_of
from pystack.errors import StackPanic

__all__ = ["MOST_FLOWS", "DatagramForward", "StreamForward"]

MOST_FLOWS = 4096  # of one forward
_ACCEPTED_AT_ONCE = 64
_PAUSE_S = 0.1
_DATAGRAMS_AT_ONCE = 64
_IDLE_S = 60.0  # of a flow of datagrams
_LARGEST = 0xFFFF
_AT_ONCE = struct.pack("ii", 1, 0)


def abort(one: Any) -> None:
    """Closes a connection with a reset."""
    with suppress(OSError, StackPanic):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    one.close()


# Where a StackPanic is caught below, whoever uses the Stack is told of it: here there is nothing to
# read or to send any more.


class StreamForward:
    """Accepts connections, and relays each to one of the other side's.

    Args:
        listener: The listening socket, taken over.
        connect: Makes the other connection, for a peer's address.
    """

    def __init__(self, listener: Any, connect: Callable[[Any], Awaitable[Any]]) -> None:
        self._listener, self._connect = listener, connect
        self._loop = asyncio.get_running_loop()
        self._flows: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._side = side_of(listener, self._loop)
        self._side.on_readable(self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                one, peer = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except StackPanic:
                self._side.stop()
                return
            except OSError:  # descriptors or memory are used up: the backlog waits
                self._side.on_readable(None)
                self._pause = self._loop.call_later(_PAUSE_S, self._go_on)
                return
            if len(self._flows) >= MOST_FLOWS:
                abort(one)
                continue
            task = self._loop.create_task(self._carry(one, peer))
            self._flows.add(task)
            task.add_done_callback(partial(self._ended, one))

    def _ended(self, one: Any, task: asyncio.Task[None]) -> None:
        self._flows.discard(task)
        one.close()  # of a task that was cancelled before it began

    def _go_on(self) -> None:
        self._side.on_readable(self._accept)

    async def _carry(self, one: Any, peer: Any) -> None:
        try:
            other = await self._connect(peer)
        except (OSError, asyncio.TimeoutError, StackPanic):
            abort(one)
            return
        except BaseException:
            abort(one)
            raise
        # There is no descriptor left, or the Stack has failed: both are reset.
        with suppress(OSError, StackPanic):
            await pump(one, other)

    async def close(self) -> None:
        """Stops listening, and resets what goes on."""
        if self._pause is not None:
            self._pause.cancel()
        self._side.stop()
        self._listener.close()
        await ended(self._flows)


class _Flow:
    """The other side's socket for one peer, which it owns.

    Attributes:
        used: When it was last, by the loop's time.
    """

    def __init__(self, one: Any, side: Side, rooms: Rooms) -> None:
        self.socket, self.side, self._rooms = one, side, rooms
        self.used = 0.0
        rooms.enter(self)

    def set_room(self, size: int) -> None:
        """See `Roomy`."""
        give_room(self.socket, size)

    def end(self) -> None:
        """Closes the socket."""
        self._rooms.leave(self)
        self.side.stop()
        self.socket.close()


class DatagramForward:
    """Passes datagrams on from a socket a peer, and their answers back.

    Args:
        listener: The bound socket, taken over.
        open_flow: Makes the other side's connected socket, for a peer's address.
        rooms: Says how many bytes may wait at each of those.
    """

    def __init__(self, listener: Any, open_flow: Callable[[Any], Any], rooms: Rooms) -> None:
        self._listener, self._open_flow, self._rooms = listener, open_flow, rooms
        self._loop = asyncio.get_running_loop()
        self._flows: dict[Any, _Flow] = {}  # the one used last stands last
        self._sweep: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._side = side_of(listener, self._loop)
        self._side.on_readable(self._read)

    def _read(self) -> None:
        for _ in range(_DATAGRAMS_AT_ONCE):
            try:
                data, peer = self._listener.recvfrom(_LARGEST)
            except StackPanic:
                self._side.stop()
                return
            except OSError as error:  # or an ICMP error, of an answer's
                if error.errno in (errno.EAGAIN, errno.EINTR, errno.EBADF):
                    return
                continue
            flow = self._flow(peer)
            if flow is None:
                continue
            try:
                flow.send(data)
            except OSError:  # there is no room, and it's lost, as on any wire
                pass
            except StackPanic:
                self._end(peer)

    def _flow(self, peer: Any) -> Any:
        flow = self._flows.pop(peer, None)
        if flow is None:
            if len(self._flows) >= MOST_FLOWS:
                self._end(next(iter(self._flows)))
            try:
                one = self._open_flow(peer)
            except (OSError, StackPanic):
                return None
            try:
                one.setblocking(False)
                side = side_of(one, self._loop)
            except (OSError, StackPanic):
                one.close()
                return None
            flow = _Flow(one, side, self._rooms)
            side.on_readable(partial(self._answer, flow, peer))
        self._flows[peer] = flow
        flow.used = self._loop.time()
        if self._sweep is None:
            self._sweep = self._loop.call_later(_IDLE_S, self._end_idle)
        return flow.socket

    def _answer(self, flow: _Flow, peer: Any) -> None:
        for _ in range(_DATAGRAMS_AT_ONCE):
            try:
                data = flow.socket.recv(_LARGEST)
            except StackPanic:
                self._end(peer)
                return
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EINTR, errno.EBADF):
                    return
                continue  # nobody listens there, or not yet: told to the socket, not to the peer
            try:
                self._listener.sendto(data, peer)
            except OSError:
                pass
            except StackPanic:
                self._end(peer)
                return
            flow.used = self._loop.time()

    def _end_idle(self) -> None:
        self._sweep = None
        before = self._loop.time() - _IDLE_S
        for peer in [peer for peer, flow in self._flows.items() if flow.used <= before]:
            self._end(peer)
        if self._flows:
            self._sweep = self._loop.call_later(_IDLE_S / 4, self._end_idle)

    def _end(self, peer: Any) -> None:
        flow = self._flows.pop(peer, None)
        if flow is not None:
            flow.end()

    async def close(self) -> None:
        """Stops listening, and forgets the flows."""
        if self._sweep is not None:
            self._sweep.cancel()
        self._side.stop()
        self._listener.close()
        for peer in list(self._flows):
            self._end(peer)
