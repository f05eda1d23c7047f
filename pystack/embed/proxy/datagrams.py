"""Datagrams of one flow, between a Stack's socket and an upstream's channel."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable

from pystack.embed.proxy.direct import KernelChannel
from pystack.embed.proxy.rooms import Rooms
from pystack.embed.proxy.upstream import Channel
from pystack.embed.readiness import Side, side_of
from pystack.errors import StackPanic
from pystack.intercept import UdpFlow
from pystack.sockets import Socket
from pystack.sockets.relay import carry_in, carry_out

__all__ = ["DatagramRelay"]

_LARGEST = 65535
_IN_A_ROW = 32
_AT_ONCE = 128  # of those that Python has no part in
_MOST_EARLY = 64  # replies that wait until the flow is accepted
_AGAIN = (BlockingIOError, InterruptedError)


class DatagramRelay:
    """Carries the datagrams of a UDP flow; owns the channel, and the flow's socket.

    Args:
        flow: Undecided.
        channel: Where they go.
        rooms: Says how many bytes may wait here, on either side.

    Attributes:
        done: Is done when it has ended.
        quiet: Set to 0 whenever a datagram goes by; a time-out may count it up.
    """

    def __init__(self, flow: UdpFlow, channel: Channel, rooms: Rooms) -> None:
        self.loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self.loop.create_future()
        self.quiet = 0
        self._flow = flow
        self._channel = channel
        self._rooms = rooms
        self._room = 0
        self._inside: Socket | None = None
        self._side: Side | None = None
        self._early: list[bytes] = []
        self._early_bytes = 0
        self._verdict: asyncio.Future[None] = self.loop.create_future()
        rooms.enter(self)

    def set_room(self, size: int) -> None:
        """See `Roomy`."""
        self._room = size
        resize = getattr(self._channel, "set_room", None)  # a channel of a user's may have none
        if resize is not None:
            resize(size)
        if self._inside is not None:
            with contextlib.suppress(OSError, StackPanic):  # who reads it hears of that
                self._inside.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    async def open(self, grace: float) -> None:
        """Sends the first datagram, and accepts the flow if that comes to nothing bad.

        Args:
            grace: Seconds that the network has to complain.

        Raises:
            OSError: What it said; the flow is undecided. ECONNABORTED: the flow is gone.
        """
        self._channel.listen(self._on_reply, self._on_error)
        self._channel.send(self._flow.data)
        over, _left = await asyncio.wait([self._verdict], timeout=grace)
        if over:
            self._verdict.result()
        else:
            self._verdict.cancel()
        self._inside = self._flow.accept()
        self._inside.setblocking(False)
        self._inside.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._room)
        self._inside.recv(_LARGEST)  # the first, which has gone
        for data in self._early:
            self._deliver(data)
        self._early.clear()
        if self._inside is None:
            raise ConnectionAbortedError(errno.ECONNABORTED, "the flow is gone")
        self._side = side_of(self._inside, self.loop)
        if isinstance(self._channel, KernelChannel):
            self._side.on_readable(self._carry_out)
            self._channel.hand_over(self._carry_in)
        else:
            self._side.on_readable(self._on_readable)

    def _on_reply(self, data: bytes) -> None:
        self.quiet = 0
        if self._inside is not None:
            self._deliver(data)
            return
        fits = not self._early or self._early_bytes + len(data) <= self._room
        if fits and len(self._early) < _MOST_EARLY:
            self._early.append(data)
            self._early_bytes += len(data)
        if not self._verdict.done():
            self._verdict.set_result(None)

    def _on_error(self, error: OSError) -> None:
        if not self._verdict.done():
            self._verdict.set_exception(error)
        elif self._inside is not None and error.errno != errno.EMSGSIZE:
            self.abort()  # the next datagram is a new flow, and hears of it

    def _deliver(self, data: bytes) -> None:
        assert self._inside is not None
        try:
            self._inside.send(data)
        except _AGAIN:
            return  # lost, as a full queue loses it
        except (OSError, StackPanic) as error:
            if getattr(error, "errno", None) != errno.EMSGSIZE:
                self.abort()

    def _on_readable(self) -> None:
        self.quiet = 0
        for _ in range(_IN_A_ROW):
            if self._inside is None:
                return
            try:
                data = self._inside.recv(_LARGEST)
            except _AGAIN:
                return
            except (OSError, StackPanic):
                self.abort()
                return
            try:
                self._channel.send(data)
            except OSError as error:
                self._on_error(error)

    # --- where both ends are sockets ---------------------------------------------------------

    def _carry_out(self) -> None:
        self._carry(carry_out)

    def _carry_in(self) -> None:
        self._carry(carry_in)

    def _carry(self, way: Callable[[Socket, int, int], tuple[int, int]]) -> None:
        assert isinstance(self._channel, KernelChannel)
        self.quiet = 0
        if self._inside is None:
            return
        try:
            _count, code = way(self._inside, self._channel.fileno(), _AT_ONCE)
        except (OSError, StackPanic):
            self.abort()
            return
        if code:
            self._on_error(OSError(code, os.strerror(code)))

    def abort(self) -> None:
        """Ends it; nothing where it has ended."""
        self._rooms.leave(self)
        if self._side is not None:
            self._side.stop()
            self._side = None
        if not self._verdict.done():
            self._verdict.cancel()
        self._channel.close()
        if self._inside is not None:
            with contextlib.suppress(OSError, StackPanic):  # its Stack may be gone
                self._inside.close()
            self._inside = None
        if not self.done.done():
            self.done.set_result(None)
