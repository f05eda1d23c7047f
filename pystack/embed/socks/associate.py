"""UDP ASSOCIATE: datagrams of one client, in and out of a Stack (RFC 1928 7)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import OrderedDict
from typing import Any

from pystack.embed.socks.dialer import Dialer
from pystack.embed.socks.messages import unwrap_datagram, wrap_datagram
from pystack.sockets import Socket
from pystack.sockets.early import kernel_socket
from pystack.stack import Stack

__all__ = ["Association"]

_LARGEST = 65535
_IN_A_ROW = 32
_MOST_NAMES = 64  # that are remembered, and that are looked up at once
_AGAIN = (BlockingIOError, InterruptedError)


class Association:
    """The relay of one client; lives as long as the connection that asked for it.

    Datagrams from another address than the client's are ignored; its port is that of the first one.

    Args:
        net: The Stack.
        dialer: Resolves names.
        connection: The client's connection: the relay is at the same address of ours.
    """

    def __init__(self, net: Stack, dialer: Dialer, connection: socket.socket) -> None:
        self._net, self._dialer = net, dialer
        self._loop = asyncio.get_running_loop()
        self._client = connection.getpeername()[0]
        self._peer: tuple[Any, ...] | None = None
        self._inside: dict[int, Socket] = {}
        self._names: OrderedDict[tuple[str, int], tuple[int, tuple[Any, ...]]] = OrderedDict()
        self._lookups: set[asyncio.Task[None]] = set()
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
            found = await self._dialer.resolve(host, port, int(socket.SOCK_DGRAM))
        except (OSError, asyncio.TimeoutError):
            return  # lost, as a datagram to nobody is
        if not found:
            return
        self._names[host, port] = found[0]
        if len(self._names) > _MOST_NAMES:
            self._names.popitem(last=False)
        self._send_to(*found[0], data)

    def _send_to(self, family: int, address: tuple[Any, ...], data: bytes) -> None:
        try:
            inside = self._inside.get(family)
            if inside is None:
                inside = self._inside[family] = self._net.socket(family, socket.SOCK_DGRAM)
                inside.setblocking(False)
                self._loop.add_reader(inside.fileno(), self._from_stack, inside)
            inside.sendto(data, address)
        except OSError:
            return  # no room, no route, too large: lost

    def _from_stack(self, inside: Socket) -> None:
        for _ in range(_IN_A_ROW):
            try:
                data, source = inside.recvfrom(_LARGEST)
            except _AGAIN:
                return
            except OSError:
                if self._net.closed:
                    self._loop.remove_reader(inside.fileno())
                return
            peer = self._peer
            if peer is None or source is None:
                return
            with contextlib.suppress(OSError):  # no room: lost
                self._outside.sendto(wrap_datagram(source, data), peer)

    def close(self) -> None:
        """Ends it."""
        for task in list(self._lookups):
            task.cancel()
        self._loop.remove_reader(self._outside.fileno())
        self._outside.close()
        while self._inside:
            inside = self._inside.popitem()[1]
            self._loop.remove_reader(inside.fileno())
            inside.close()
