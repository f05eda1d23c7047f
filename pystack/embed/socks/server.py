"""`SocksServer`: SOCKS5 and HTTP CONNECT on one port of the kernel's, connections by a Stack.

Rules: nothing is done for a client before it has given the user and password, if they are set; what
takes too long, or is too much, is closed; a reset, an end of stream and back-pressure are carried
through in both directions.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import errno
import hmac
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from numbers import Real
from types import TracebackType
from typing import TypeVar

from pystack._native.values import hinted, text, whole
from pystack.embed.ending import ended, in_time
from pystack.embed.proxy import Pump
from pystack.embed.socks import messages
from pystack.embed.socks.associate import Association
from pystack.embed.socks.dialer import Dialer
from pystack.embed.socks.messages import Client, ProtocolError
from pystack.embed.socks.turns import Places
from pystack.errors import StackPanic
from pystack.sockets import Socket
from pystack.sockets.early import kernel_socket
from pystack.stack import Stack

__all__ = ["SocksServer", "SocksStatistics"]

Self = TypeVar("Self", bound="SocksServer")

_NONE, _PASSWORD, _NO_METHOD = 0, 2, 0xFF
_HEAD = 16384  # bytes of an HTTP request's head
_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: with a reset
_SHORT = 0.1  # seconds to wait where the process has no descriptor left
_HTTP_CODES = {
    errno.EACCES: "403 Forbidden",
    errno.EPERM: "403 Forbidden",
    errno.ETIMEDOUT: "504 Gateway Timeout",
}

_ONLY = (
    "This proxy serves CONNECT and SOCKS5 only, no plain http:// requests.\n"
    "Name it as socks5h://host:port instead of http://host:port.\n"
)


@dataclass
class SocksStatistics:
    """What became of clients so far, and what there is.

    Attributes:
        connections: Connections made for clients.
        associations: UDP associations made.
        failed: Requests that the network refused.
        rejected: Clients that broke the protocol, or gave no or another password.
        crowded_out: Clients that were reset at once, since others at their address had their
            places.
        clients: Clients that are there.
    """

    connections: int = 0
    associations: int = 0
    failed: int = 0
    rejected: int = 0
    crowded_out: int = 0
    clients: int = 0


@hinted
class SocksServer:
    """A proxy server on a port of the kernel's whose connections leave through a Stack.

    It speaks SOCKS5 (RFC 1928: CONNECT and UDP ASSOCIATE, both families, names resolved by the
    Stack; RFC 1929) and HTTP's CONNECT, and tells them apart by the first byte. An asynchronous
    context manager.

    Args:
        net: The Stack.
        host: The kernel's address to listen at. Anyone who can reach it uses the Stack's network:
            unless it is a loopback address, set a password.
        port: Its port; 0: any (see `address`).
        user: The user that clients have to name; None: anybody.
        password: The user's password.
        clients: How many there may be at once; others wait to be accepted.
        per_address: How many of them one address may have, or one /64 of IPv6; more are reset.
            Default: as long as it has fewer than are free; so one alone has half of them, the next
            half of the rest, and somebody else always finds a place. This machine's own loopback
            addresses have all.
        timeout: Seconds for a client's request, for a name, and for a connect.
        idle: Seconds after which a connection on which nothing moves is reset.

    Raises:
        ValueError: User or password alone, or of more than 255 bytes; a count or a time that is
            not positive.
    """

    def __init__(
        self,
        net: Stack,
        host: str = "127.0.0.1",
        port: int = 1080,
        *,
        user: str | None = None,
        password: str | None = None,
        clients: int = 4096,
        per_address: int | None = None,
        timeout: float = 30.0,
        idle: float = 7440.0,
    ) -> None:
        if (user is None) != (password is None):
            raise ValueError("give both user and password, or neither")
        if not isinstance(net, Stack):
            raise TypeError(f"connections leave through a Stack, not {net!r}")
        text(host, "host", "127.0.0.1")
        whole(port, "port", 0, 65535)
        whole(clients, "clients", 1, sys.maxsize)
        if per_address is not None:
            whole(per_address, "per_address", 1, sys.maxsize)
        for name, seconds in (("timeout", timeout), ("idle", idle)):
            if not isinstance(seconds, Real):
                raise TypeError(f"{name} is a number of seconds, not {seconds!r}")
            if not seconds > 0:
                raise ValueError(f"{name} must be over 0 seconds, not {seconds}")
        self._login: bytes | None = None
        if user is not None and password is not None:
            if not all(0 < len(one.encode()) < 256 for one in (user, password)):
                raise ValueError("user and password have 1 to 255 bytes each (RFC 1929)")
            self._login = user.encode() + b"\0" + password.encode()
        self._net = net
        self._where = host, port
        self._most, self._timeout, self._idle = clients, timeout, idle
        self._dialer = Dialer(net, timeout)
        self._counts = SocksStatistics()
        self._tasks: set[asyncio.Task[None]] = set()
        self._per_address = per_address
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens at.

        Raises:
            RuntimeError: It wasn't started, or is closed.
        """
        if self._listener is None:
            raise RuntimeError("the server isn't started: await start(), or use `async with`")
        host, port = self._listener.getsockname()[:2]
        return str(host), int(port)

    def statistics(self) -> SocksStatistics:
        """A snapshot."""
        counts = SocksStatistics(**vars(self._counts))
        counts.clients = len(self._tasks)
        return counts

    async def start(self) -> None:
        """Begins to listen; also once more, after `close`.

        Raises:
            RuntimeError: It listens already.
            OSError: EADDRINUSE and others of bind(2).
        """
        if self._listener is not None:
            raise RuntimeError("the server is started already")
        host, port = self._where
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _kind, _protocol, _name, where = found[0]
        if self._listener is not None:  # by another task meanwhile
            raise RuntimeError("the server is started already")
        listener = kernel_socket(family, socket.SOCK_STREAM)
        try:
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
            listener.listen(1024)
        except OSError as error:
            listener.close()
            raise OSError(error.errno, f"{host}, port {port}: {error.strerror}") from None
        except BaseException:
            listener.close()
            raise
        self._listener = listener
        self._accepting = loop.create_task(self._accept(listener))

    async def run(self) -> None:
        """Starts, and serves until it is cancelled; then ends everything."""
        async with self:
            await asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        """Stops listening, and resets what is open. May be called again."""
        accepting, listener = self._accepting, self._listener
        try:
            if accepting is not None:
                await ended([accepting])  # first: no client comes any more
            await ended(self._tasks)
        finally:
            if listener is not None:
                listener.close()
            if self._listener is listener:  # not another's, started anew
                self._listener = self._accepting = None
                self._dialer.close()

    async def __aenter__(self: Self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # --- clients ---------------------------------------------------------------------------

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        room, places = asyncio.Semaphore(self._most), Places(self._most, self._per_address)

        def left(address: str, task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            places.leave(address)
            room.release()

        while True:
            await room.acquire()
            try:
                connection, address = await _accepted(listener)
            except ConnectionError:
                room.release()
                continue
            except OSError:  # no descriptor left
                room.release()
                await asyncio.sleep(_SHORT)
                continue
            except BaseException:
                room.release()
                raise
            if not places.enter(address):
                self._counts.crowded_out += 1
                room.release()
                _reset(connection)
                continue
            task = loop.create_task(self._serve(connection))
            self._tasks.add(task)
            task.add_done_callback(partial(left, address))

    async def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.setblocking(False)
            try:
                client = Client(connection)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                request = await in_time(self._read_request(client), self._timeout)
                if request is not None:
                    await request(client)
            except (ProtocolError, asyncio.TimeoutError):
                self._counts.rejected += 1
            except (OSError, StackPanic):
                return  # the client is gone, or the Stack

    async def _read_request(self, client: Client) -> Callable[[Client], Awaitable[None]] | None:
        """What a client asks for; None: it was told that it gets nothing."""
        first = await client.read(1)
        if first[0] == messages.VERSION:
            return await self._read_socks(client)
        if not first.isalpha():
            raise ProtocolError(f"neither SOCKS5 nor HTTP begins with {first!r}")
        return await self._read_http(client, first)

    # --- SOCKS5 ----------------------------------------------------------------------------

    async def _read_socks(self, client: Client) -> Callable[[Client], Awaitable[None]] | None:
        methods = await client.read((await client.read(1))[0])
        wanted = _NONE if self._login is None else _PASSWORD
        if wanted not in methods:
            await client.send(bytes([messages.VERSION, _NO_METHOD]))
            raise ProtocolError("the client offers no method that will do")
        await client.send(bytes([messages.VERSION, wanted]))
        if self._login is not None:
            await self._check_login(client)
        version, command, _reserved = await client.read(3)
        if version != messages.VERSION:
            raise ProtocolError(f"a request of version {version}")
        try:
            host, port = await client.read_address()
        except ProtocolError:
            await client.send(messages.reply(messages.NO_SUCH_TYPE))
            raise
        if command == messages.CONNECT:
            return lambda client: self._connect_socks(client, host, port)
        if command == messages.ASSOCIATE:
            return self._associate
        await client.send(messages.reply(messages.NOT_SUPPORTED))
        raise ProtocolError(f"command {command}")

    async def _check_login(self, client: Client) -> None:
        """RFC 1929 2."""
        version, size = await client.read(2)
        user = await client.read(size)
        password = await client.read((await client.read(1))[0])
        right = version == 1 and self._is_login(user + b"\0" + password)
        await client.send(b"\1" + (b"\0" if right else b"\1"))
        if not right:
            raise ProtocolError("another user, or another password")

    def _is_login(self, given: bytes) -> bool:
        return self._login is None or hmac.compare_digest(given, self._login)

    async def _connect_socks(self, client: Client, host: str, port: int) -> None:
        try:
            inside = await self._dialer.connect(host, port, client.address)
        except (OSError, asyncio.TimeoutError, StackPanic) as error:
            self._counts.failed += 1
            await client.send(messages.reply(messages.reply_code(error)))
            return
        await self._carry(client, inside, lambda: messages.reply(0, inside.getsockname()))

    async def _associate(self, client: Client) -> None:
        association = Association(self._net, self._dialer, client.connection)
        try:
            await client.send(messages.reply(0, association.address))
            self._counts.associations += 1
            loop = asyncio.get_running_loop()
            while await loop.sock_recv(client.connection, 4096):
                continue  # nothing is said there any more
        finally:
            association.close()

    # --- HTTP ------------------------------------------------------------------------------

    async def _read_http(
        self, client: Client, first: bytes
    ) -> Callable[[Client], Awaitable[None]] | None:
        """RFC 9110 9.3.6."""
        head = (first + await client.read_head(_HEAD)).decode("latin-1")
        line, *fields = head[:-4].split("\r\n")
        words = line.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            await self._say(client, "400 Bad Request")
            raise ProtocolError("no HTTP request")
        if not self._is_authorized(fields):
            await self._say(
                client, "407 Proxy Authentication Required", 'Proxy-Authenticate: Basic realm="p"'
            )
            raise ProtocolError("no password, or another")
        if words[0] != "CONNECT":
            await self._say(client, "501 Not Implemented", body=_ONLY)
            raise ProtocolError(f"{words[0]} is not CONNECT")
        host, colon, port = words[1].rpartition(":")
        if not colon or not _is_port(port) or not host:
            await self._say(client, "400 Bad Request")
            raise ProtocolError(f"CONNECT to {words[1]!r}")
        return lambda client: self._connect_http(client, host.strip("[]"), int(port))

    def _is_authorized(self, fields: list[str]) -> bool:
        if self._login is None:
            return True
        for field in fields:
            name, _colon, value = field.partition(":")
            scheme, _space, token = value.strip().partition(" ")
            if name.lower() == "proxy-authorization" and scheme.lower() == "basic":
                with contextlib.suppress(binascii.Error, ValueError):
                    given = base64.b64decode(token, validate=True)
                    return self._is_login(given.replace(b":", b"\0", 1))
        return False

    async def _say(self, client: Client, status: str, *fields: str, body: str = "") -> None:
        if body:
            fields += ("Content-Type: text/plain",)
        length = f"Content-Length: {len(body)}"
        lines = [f"HTTP/1.1 {status}", *fields, length, "Connection: close", "", body]
        await client.send("\r\n".join(lines).encode("latin-1"))

    async def _connect_http(self, client: Client, host: str, port: int) -> None:
        try:
            inside = await self._dialer.connect(host, port, client.address)
        except asyncio.TimeoutError:
            self._counts.failed += 1
            await self._say(client, _HTTP_CODES[errno.ETIMEDOUT])
            return
        except (OSError, StackPanic) as error:
            self._counts.failed += 1
            code = getattr(error, "errno", None) or 0
            await self._say(client, _HTTP_CODES.get(code, "502 Bad Gateway"))
            return
        await self._carry(client, inside, lambda: b"HTTP/1.1 200 Connection established\r\n\r\n")

    # --- both ------------------------------------------------------------------------------

    async def _carry(self, client: Client, inside: Socket, answer: Callable[[], bytes]) -> None:
        """Answers the client, and carries bytes until both sides have ended."""
        try:
            await client.send(answer())
        except BaseException:
            inside.close()
            raise
        self._counts.connections += 1
        carrying = Pump(inside, client.connection, client.rest())
        try:
            while not carrying.done.done():
                await asyncio.wait([carrying.done], timeout=min(self._idle, 60.0))
                carrying.quiet += 1
                if carrying.quiet * min(self._idle, 60.0) > self._idle:
                    break
        finally:
            carrying.abort()


async def _accepted(listener: socket.socket) -> tuple[socket.socket, str]:
    """The next client's connection, and its address.

    Before Python 3.13 the loop's `sock_accept` loses one that comes as it is cancelled.
    """
    loop = asyncio.get_running_loop()
    while True:
        try:
            connection, where = listener.accept()
            return connection, str(where[0])
        except (BlockingIOError, InterruptedError):
            ready = loop.create_future()
            loop.add_reader(listener, _wake, ready)
            try:
                await ready
            finally:
                loop.remove_reader(listener)


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is gone
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    connection.close()


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _is_port(text: str) -> bool:
    return text.isdecimal() and len(text) <= 5 and 0 < int(text) < 65536
