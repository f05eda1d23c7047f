"""Names and connections on a Stack, for a server that runs on asyncio's loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pystack.embed.ending import in_time
from pystack.embed.readiness import connect
from pystack.embed.socks.turns import Turns, household
from pystack.sockets import Socket
from pystack.stack import Stack

__all__ = ["Dialer"]

# Lookups at once, for connections and for datagrams: a flood of the latter holds up no connection.
_LOOKUPS = {int(socket.SOCK_STREAM): 32, int(socket.SOCK_DGRAM): 16}
_NOT_THE_LAST = 5.0  # seconds for one of several addresses


def closed() -> OSError:
    """Why a lookup is given up."""
    return ConnectionAbortedError(errno.ECONNABORTED, "the server was closed meanwhile")


class Dialer:
    """Resolves names and connects, through a Stack. How clients share lookups: see `Turns`.

    Args:
        net: The Stack.
        timeout: Seconds for a name, and for all its addresses together.
    """

    def __init__(self, net: Stack, timeout: float) -> None:
        self._net = net
        self._timeout = timeout
        self._pools: dict[int, ThreadPoolExecutor] = {}
        self._turns: dict[int, Turns] = {}

    async def resolve(
        self, host: str, port: int, kind: int, client: str
    ) -> list[tuple[int, tuple[Any, ...]]]:
        """Families and socket addresses of an address, or of a name as the Stack's resolver has it.

        Args:
            host: An address or a name.
            port: The port.
            kind: SOCK_STREAM or SOCK_DGRAM.
            client: Who asks, by address.

        Raises:
            socket.gaierror: There is no such name, or can't be.
            asyncio.TimeoutError: Nobody said so in time.
            OSError: ECONNABORTED, the Dialer was closed meanwhile.
        """
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            try:
                found = await in_time(self._look_up(host, port, kind, client), self._timeout)
            except ValueError as error:  # among them UnicodeError: no IDNA makes a name of it
                raise socket.gaierror(socket.EAI_NONAME, f"{host!r}: {error}") from None
            return [(int(family), tuple(where)) for family, _k, _p, _n, where in found]
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        return [(int(family), (str(address), port))]

    async def _look_up(self, host: str, port: int, kind: int, client: str) -> list[Any]:
        """Asks in a thread, as soon as the client may have one more.

        A lookup that nobody waits for any more has its thread until it ends: so long it counts.
        """
        who = household(client)
        turns = self._turns.setdefault(kind, Turns(_LOOKUPS[kind]))
        await turns.enter(who)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Any]] = loop.create_future()

        def over() -> None:
            turns.leave(who)
            if answer.done():
                return
            if asked.cancelled():
                answer.set_exception(closed())
            elif (error := asked.exception()) is not None:
                answer.set_exception(error)
            else:
                answer.set_result(asked.result())

        def tell(_done: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and its turns forgotten
                loop.call_soon_threadsafe(over)

        try:
            if self._turns.get(kind) is not turns:  # closed, just as its turn had come
                raise closed()
            asked = self._pool(kind).submit(self._net.sockets.getaddrinfo, host, port, type=kind)
        except BaseException:  # no thread left
            turns.leave(who)
            raise
        asked.add_done_callback(tell)
        try:
            return await answer
        finally:
            asked.cancel()  # where nobody waits any more, and it hasn't begun

    def _pool(self, kind: int) -> ThreadPoolExecutor:
        if kind not in self._pools:
            self._pools[kind] = ThreadPoolExecutor(_LOOKUPS[kind], "pystack-socks-lookup")
        return self._pools[kind]

    async def connect(self, host: str, port: int, client: str) -> Socket:
        """A connected, non-blocking socket of the Stack's; a name's addresses are tried in turn.

        Args:
            host: An address or a name.
            port: The port.
            client: Who asks, by address.

        Raises:
            OSError: What connect(2) says, of the last address.
            asyncio.TimeoutError: No answer in time.
        """
        return await in_time(self._connect(host, port, client), self._timeout)

    async def _connect(self, host: str, port: int, client: str) -> Socket:
        where = await self.resolve(host, port, int(socket.SOCK_STREAM), client)
        last: Exception = OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
        for number, (family, address) in enumerate(where):
            is_last = number == len(where) - 1
            try:
                return await self._attempt(family, address, None if is_last else _NOT_THE_LAST)
            except (OSError, asyncio.TimeoutError) as error:
                last = error
        raise last

    async def _attempt(
        self, family: int, address: tuple[Any, ...], timeout: float | None
    ) -> Socket:
        made = self._net.socket(family, socket.SOCK_STREAM)
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await in_time(connect(made, address), timeout)
        except BaseException:
            made.close()
            raise
        return made

    def close(self) -> None:
        """Gives back the threads; what waits for one fails. May be used again.

        Lookups that have a thread end by themselves.
        """
        while self._turns:
            self._turns.popitem()[1].close(closed)
        while self._pools:
            self._pools.popitem()[1].shutdown(wait=False, cancel_futures=True)
