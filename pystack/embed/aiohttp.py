"""A connector for aiohttp: a session's requests leave through its own Stack.

``aiohttp.ClientSession(connector=Connector(net))``. Nothing is put in the place of the module
`socket`; names are asked of the Stack's name servers, and https is verified as usual. A server:
``aiohttp.web.SockSite(runner, net.sockets.create_server(...))``.
"""

from __future__ import annotations

import socket
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from pystack.dial.plane import own_loop
from pystack.stack import Stack

__all__ = ["Connector"]


class _Resolver(AbstractResolver):
    """Names by a Stack's name servers."""

    def __init__(self, net: Stack) -> None:
        self._net = net

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._net.aio.addresses(host, port, family=family, type=socket.SOCK_STREAM)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _type, protocol, _name, address in found
        ]

    async def close(self) -> None:
        """The Stack stays the caller's."""


class Connector(aiohttp.TCPConnector):
    """`aiohttp.TCPConnector` on a Stack, which stays the caller's to close.

    Args:
        net: The Stack.
        options: As `aiohttp.TCPConnector` but for resolver and socket_factory: ssl, limit,
            happy_eyeballs_delay, ...

    Raises:
        OffStackError: The running loop is not asyncio's own.
    """

    def __init__(self, net: Stack, **options: Any) -> None:
        own_loop()
        make: Any = net.sockets.socket  # no type of the kernel's
        super().__init__(
            resolver=_Resolver(net),
            socket_factory=lambda info: make(info[0], info[1], info[2]),
            **options,
        )
