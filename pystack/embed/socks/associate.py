"""UDP ASSOCIATE: datagrams of one client, in and out of a Stack (RFC 1928 7)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import OrderedDict
from functools import partial
from typing import Any

from pystack.embed.readiness import Side, side_of
from pystack.embed.socks.dialer import Dialer
from pystack.embed.socks.messages import unwrap_datagram, wrap_datagram
from pystack.errors import StackPanic
from pystack.sockets import Socket
from pystack.sockets.early import kernel_socket
from pystack.stack import Stack

__all__ = ["Association"]

_LARGEST = 65535
_IN_A_ROW = 32
_MOST_NAMES = 64  # that are remembered, and datagrams that wait for a name
_LOOKUPS = 4  # at once: the others' names are looked up, too
_AGAIN = (BlockingIOError, InterruptedError)


class Association:
    """The relay of one client; lives as long as the connection that asked for it.

    Datagrams from another address than the client's are ignored; its port is that of the first one.
    Where the Stack is closed or fails the client's connection ends.

    Args:
        net: The Stack.
        dialer: Resolves names.
        connection: The client's connection: the relay is at the same address of ours.
    """

    def __init__(self, net: Stack, dialer: Dialer, connection: socket.socket) -> None:
        self._net, self._dialer = net, dialer
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._client = connection.getpeername()[0]
        self._peer: tuple[Any, ...] | None = None
        self._inside: dict[int, tuple[Socket, Side]] = {}
        self._names: OrderedDict[tuple[str, int], tuple[int, tuple[Any, ...]]] = OrderedDict()
        self._lookups: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(_LOOKUPS)
        self._outside = kernel_socket(connection.family, socket.SOCK_DGRAM)
        try:
            self._outside.setblocking(False)
            self._outside.bind((connection.getsockname()[0], 0, *connection.getsockname()[2:]))
        except BaseException:
            self._outside.close()
            raise
        self._loop.add_reader(self._outside.fileno(), self._from_client)

    @property
    def address(self) -> tuple[Any, ...]:
        """Where the client sends its datagrams."""
        return tuple(self._outside.getsockname())

    def _from_client(self) -> None:
        for _ in range(_IN_A_ROW):
            if self._outside.fileno() < 0:  # ended by the datagram before
                return
            try:
                packet, sender = self._outside.recvfrom(_LARGEST)
            except _AGAIN:
                return
            except OSError:
                continue  # an ICMP error about what we sent to the client
            if sender[0] != self._client or self._peer not in (None, sender):
                continue
            self._peer = sender
            unwrapped = unwrap_datagram(packet)
            if unwrapped is not None:
                self._send(*unwrapped)

    def _send(self, host: str, port: int, data: bytes) -> None:
        known = self._names.get((host, port))
        if known is None and len(self._lookups) < _MOST_NAMES:
            task = self._loop.create_task(self._look_up(host, port, data))
            self._lookups.add(task)
            task.add_done_callback(self._lookups.discard)
        elif known is not None:
            self._send_to(*known, data)

    async def _look_up(self, host: str, port: int, data: bytes) -> None:
        try:
            async with self._room:
                known = self._names.get((host, port))  # by a datagram before this one
                if known is None:
                    known = await self._resolve(host, port)
        except (OSError, asyncio.TimeoutError):
            return  # lost, as a datagram to nobody is
        except StackPanic:
            self._end()
            return
        if known is not None:
            self._send_to(*known, data)

    async def _resolve(self, host: str, port: int) -> tuple[int, tuple[Any, ...]] | None:
        found = await self._dialer.resolve(host, port, int(socket.SOCK_DGRAM), self._client)
        if not found:
            return None
        self._names[host, port] = found[0]
        if len(self._names) > _MOST_NAMES:
            self._names.popitem(last=False)
        return found[0]

    def _send_to(self, family: int, address: tuple[Any, ...], data: bytes) -> None:
        try:
            self._socket(family).sendto(data, address)
        except OSError:
            return  # no room, no route, too large: lost
        except StackPanic:
            self._end()

    def _socket(self, family: int) -> Socket:
        """The Stack's socket of a family, from the first datagram on."""
        if family not in self._inside:
            made = self._net.socket(family, socket.SOCK_DGRAM)
            try:
                made.setblocking(False)
                self._inside[family] = made, side_of(made, self._loop)
            except BaseException:  # no descriptor left
                made.close()
                raise
            self._inside[family][1].on_readable(partial(self._from_stack, made))
        return self._inside[family][0]

    def _from_stack(self, inside: Socket) -> None:
        for _ in range(_IN_A_ROW):
            try:
                data, source = inside.recvfrom(_LARGEST)
            except _AGAIN:
                return
            except OSError:
                if self._net.closed:
                    self._end()
                return
            except StackPanic:
                self._end()
                return
            peer = self._peer
            if peer is None or source is None:
                return
            with contextlib.suppress(OSError):  # no room: lost
                self._outside.sendto(wrap_datagram(source, data), peer)

    def _end(self) -> None:
        """Ends it, and the client's connection, for there is no Stack any more."""
        self.close()
        with contextlib.suppress(OSError):  # the client has ended it
            self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends it. May be called again."""
        if self._outside.fileno() < 0:
            return
        for task in list(self._lookups):
            task.cancel()
        self._loop.remove_reader(self._outside.fileno())
        self._outside.close()
        while self._inside:
            inside, side = self._inside.popitem()[1]
            side.stop()
            with contextlib.suppress(OSError, StackPanic):  # its Stack is gone
                inside.close()
