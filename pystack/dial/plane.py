"""`Dialing`: the calls of asyncio that make connections, on a Stack's sockets.

Nothing is put in the place of the module `socket`: a loop gets sockets that are connected or bound
already. Names are asked of the Stack's name servers, in the loop's executor.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
import ssl as tls
from collections.abc import Callable
from typing import Any

from pystack._native.address import Address
from pystack.dial.echo import ping
from pystack.dial.lent import LentLoop, can_watch
from pystack.dial.race import first_connected, interleaved
from pystack.dial.servers import Servers
from pystack.errors import OffStackError
from pystack.probe import PingResult, named
from pystack.sockets import Socket, SocketModule
from pystack.sockets.resolve import AddressInfo

__all__ = ["Dialing", "own_loop", "stack_loop"]

_DELAY_S = 0.25  # between two attempts to connect (RFC 8305 8)
_LIMIT = 1 << 16


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def own_loop() -> Any:  # whose types know the kernel's sockets alone
    """The running loop, if its transports call the sockets they are given.

    Raises:
        OffStackError: It is another library's, that reads and writes descriptors itself.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.SelectorEventLoop):
        raise OffStackError(
            f"{type(loop).__module__}.{type(loop).__name__} reads and writes descriptors itself",
            "Run this in asyncio's own loop, or httpx (pystack.embed.httpx) and net.aio in any.",
        )
    return loop


def stack_loop() -> Any:
    """What makes transports and servers of a Stack's sockets in the running loop.

    Raises:
        OffStackError: The loop watches no descriptors.
    """
    loop = asyncio.get_running_loop()
    if isinstance(loop, asyncio.SelectorEventLoop):
        return loop
    if not can_watch(loop):
        raise OffStackError(
            f"{type(loop).__module__}.{type(loop).__name__} has no add_reader",
            "Run this in asyncio.SelectorEventLoop.",
        )
    return LentLoop(loop)


class Dialing:
    """asyncio on one Stack: see `pystack.Stack.aio`.

    Any number of Stacks may be used in one loop, and one Stack in several loops and threads.
    """

    def __init__(self, stack: Any) -> None:
        self._stack = stack
        self._sockets: SocketModule = stack.sockets

    # --- names and paths ---------------------------------------------------------------------

    async def resolve(
        self, name: str, family: int = 0, *, timeout: float | None = 30.0
    ) -> list[Address]:
        """Finds the addresses of a host name, as `Stack.resolve`, whose errors it raises."""
        ask = functools.partial(self._stack.resolve, name, family, timeout=timeout)
        found: list[Address] = await asyncio.get_running_loop().run_in_executor(None, ask)
        return found

    async def ping(
        self,
        destination: Address | str,
        *,
        count: int = 1,
        size: int = 56,
        interval: float = 1.0,
        timeout: float = 1.0,
        ttl: int | None = None,
    ) -> PingResult:
        """Sends echo requests and awaits the answers, as `Stack.ping`, whose errors it raises."""
        name = named(destination)
        found = await self.addresses(name, None, type=socket.SOCK_RAW)
        address = name if _is_literal(name) else str(found[0][4][0])
        return await ping(
            self._sockets,
            address,
            count=count,
            size=size,
            interval=interval,
            timeout=timeout,
            ttl=ttl,
        )

    async def addresses(
        self, host: str | None, port: int | None, **options: Any
    ) -> list[AddressInfo]:
        """As a loop's `getaddrinfo`, by the hosts file and the Stack's name servers.

        Args:
            host: A name or an address.
            port: A port.
            options: As `socket.getaddrinfo`: family, type, proto, flags.

        Raises:
            socket.gaierror: As getaddrinfo(3).
        """
        ask = functools.partial(self._sockets.getaddrinfo, host, port, **options)
        if host is None or _is_literal(host):
            return ask()
        return await asyncio.get_running_loop().run_in_executor(None, ask)

    # --- clients -----------------------------------------------------------------------------

    async def connect(
        self,
        host: str,
        port: int,
        *,
        family: int = 0,
        local_addr: tuple[str, int] | None = None,
        happy_eyeballs_delay: float | None = _DELAY_S,
        interleave: int = 1,
    ) -> Socket:
        """A connected, non-blocking TCP socket, for a library that takes one.

        Args:
            host: A name or an address.
            port: Its port.
            family: `socket.AF_INET` or `AF_INET6`; 0: either.
            local_addr: What to bind it to.
            happy_eyeballs_delay: Seconds after which the next address of a name is tried beside
                those before (RFC 8305 5); None: when they have failed.
            interleave: How many addresses of the first family come before the other's turn.

        Raises:
            socket.gaierror: There is no such name.
            OSError: As connect(2); of several addresses, one that names each.
        """
        kind = socket.SOCK_STREAM
        found = await self.addresses(host, port, family=family, type=kind)
        own: list[AddressInfo] = []
        if local_addr is not None:
            own = await self.addresses(*local_addr, family=family, type=kind)
        ordered = interleaved(found, interleave) if interleave else found
        attempts = [functools.partial(self._connect, one, own) for one in ordered]
        return await first_connected(attempts, happy_eyeballs_delay, Socket.close)

    async def _connect(self, to: AddressInfo, own: list[AddressInfo]) -> Socket:
        family, kind, protocol, _name, address = to
        sock = self._sockets.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            if own:
                mine = next((one for one in own if one[0] == family), None)
                if mine is None:
                    raise OSError(f"no matching local address with {family=} found")
                sock.bind(mine[4])
            loop: Any = asyncio.get_running_loop()
            await loop.sock_connect(sock, address)
        except BaseException:
            sock.close()
            raise
        return sock

    async def create_connection(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str,
        port: int,
        *,
        ssl: tls.SSLContext | bool | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        **options: Any,
    ) -> tuple[asyncio.Transport, Any]:
        """As a loop's `create_connection`, on the Stack.

        Args:
            protocol_factory: Makes the protocol.
            host: A name or an address.
            port: Its port.
            ssl: A context for TLS; True: the default one, which verifies the server.
            server_hostname: The name to verify; None: `host`.
            ssl_handshake_timeout: Seconds for the handshake; None: 60.
            options: As `connect`.

        Raises:
            OffStackError: The loop watches no descriptors (Windows's).
            ssl.SSLError: The handshake failed.
            OSError: As `connect`.
        """
        loop = stack_loop()
        if server_hostname is None and ssl:
            server_hostname = host
        sock = await self.connect(host, port, **options)
        try:
            made: tuple[asyncio.Transport, Any] = await loop.create_connection(
                protocol_factory,
                sock=sock,
                ssl=ssl or None,
                server_hostname=server_hostname,
                ssl_handshake_timeout=ssl_handshake_timeout,
            )
        except BaseException:
            sock.close()
            raise
        return made

    async def open_connection(
        self, host: str, port: int, *, limit: int = _LIMIT, **options: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """As `asyncio.open_connection`, on the Stack.

        Args:
            host: A name or an address.
            port: Its port.
            limit: Bytes that a reader's buffer holds.
            options: As `create_connection`.

        Raises:
            OSError: As `create_connection`.
        """
        loop = stack_loop()
        reader = asyncio.StreamReader(limit=limit, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await self.create_connection(lambda: protocol, host, port, **options)
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    # --- servers -----------------------------------------------------------------------------

    async def create_server(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | None = None,
        port: int = 0,
        *,
        family: int = 0,
        backlog: int = 100,
        ssl: tls.SSLContext | None = None,
        reuse_port: bool = False,
        ssl_handshake_timeout: float | None = None,
        start_serving: bool = True,
    ) -> asyncio.AbstractServer:
        """As a loop's `create_server`, on the Stack.

        Args:
            protocol_factory: Makes a protocol for each connection.
            host: A name or an address; None: all of the Stack's.
            port: 0: a free one, the same for all addresses.
            family: `socket.AF_INET` or `AF_INET6`; 0: both.
            backlog: Connections that may wait to be accepted.
            ssl: A context for TLS.
            reuse_port: SO_REUSEPORT.
            ssl_handshake_timeout: Seconds for a handshake; None: 60.
            start_serving: Whether it accepts connections at once.

        Raises:
            OffStackError: The loop watches no descriptors (Windows's).
            OSError: As bind(2) and listen(2).
        """
        loop = stack_loop()
        if isinstance(ssl, bool):
            raise TypeError("ssl argument must be an SSLContext or None")
        found = await self.addresses(
            host or None, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listeners: list[Socket] = []
        servers = Servers()
        try:
            for one in dict.fromkeys((one[0], one[4]) for one in found):
                address: Any = one[1]
                if port == 0 and listeners:
                    chosen = listeners[0].getsockname()[1]
                    address = (address[0], chosen, *address[2:])
                sock = self._sockets.create_server(
                    address, family=one[0], backlog=backlog, reuse_port=reuse_port
                )
                listeners.append(sock)
            for sock in listeners:
                servers.add(
                    await loop.create_server(
                        protocol_factory,
                        sock=sock,
                        backlog=backlog,
                        ssl=ssl,
                        ssl_handshake_timeout=ssl_handshake_timeout,
                        start_serving=start_serving,
                    )
                )
        except BaseException:
            servers.close()
            for sock in listeners:
                sock.close()
            raise
        return servers.simplest()

    async def start_server(
        self,
        handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
        host: str | None = None,
        port: int = 0,
        *,
        limit: int = _LIMIT,
        **options: Any,
    ) -> asyncio.AbstractServer:
        """As `asyncio.start_server`, on the Stack.

        Args:
            handle: Called, or awaited in a task, with each connection's reader and writer.
            host: A name or an address; None: all of the Stack's.
            port: 0: a free one.
            limit: Bytes that a reader's buffer holds.
            options: As `create_server`.

        Raises:
            OSError: As `create_server`.
        """
        loop = stack_loop()

        def protocol() -> asyncio.StreamReaderProtocol:
            reader = asyncio.StreamReader(limit=limit, loop=loop)
            return asyncio.StreamReaderProtocol(reader, handle, loop=loop)

        return await self.create_server(protocol, host, port, **options)

    # --- datagrams ---------------------------------------------------------------------------

    async def datagram_endpoint(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        local_addr: tuple[str, int] | None = None,
        remote_addr: tuple[str, int] | None = None,
        *,
        family: int = 0,
        reuse_port: bool = False,
        allow_broadcast: bool = False,
    ) -> tuple[asyncio.DatagramTransport, Any]:
        """As a loop's `create_datagram_endpoint`, on the Stack.

        Args:
            protocol_factory: Makes the protocol.
            local_addr: What to bind the socket to; None: a free port of any address.
            remote_addr: What to connect it to; None: any peer.
            family: `socket.AF_INET` or `AF_INET6`; 0: of the addresses, or AF_INET without one.
            reuse_port: SO_REUSEPORT.
            allow_broadcast: SO_BROADCAST.

        Raises:
            OffStackError: The loop watches no descriptors (Windows's).
            OSError: As bind(2) and connect(2).
        """
        loop, kind = stack_loop(), socket.SOCK_DGRAM
        mine = theirs = None
        if remote_addr is not None:
            theirs = (await self.addresses(*remote_addr, family=family, type=kind))[0]
            family = theirs[0]
        if local_addr is not None:
            mine = (await self.addresses(*local_addr, family=family, type=kind))[0]
            family = mine[0]
        sock = self._sockets.socket(family or socket.AF_INET, kind)
        try:
            sock.setblocking(False)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if allow_broadcast:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            if mine is not None:
                sock.bind(mine[4])
            if theirs is not None:
                sock.connect(theirs[4])
            made: tuple[asyncio.DatagramTransport, Any] = await loop.create_datagram_endpoint(
                protocol_factory, sock=sock
            )
        except BaseException:
            sock.close()
            raise
        return made

    # --- life --------------------------------------------------------------------------------

    async def close(self, *, linger: float | None = None, abrupt: bool = False) -> None:
        """Closes the Stack, as `Stack.close`, while the loop goes on; ``async with`` does that.

        The wires of a `nic.Async` that nothing else holds end with it. When the task is cancelled
        meanwhile, the Stack is closed all the same.

        Args:
            linger: See `Stack.close`.
            abrupt: See `Stack.close`.
        """
        end = functools.partial(self._stack.close, linger=linger, abrupt=abrupt)
        ends = [one for nic in self._stack._handle.kept.values() for one in nic._ends()]
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, end))
        for one in ends:
            await one()
