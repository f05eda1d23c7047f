"""`Socks5`: a SOCKS5 proxy is the upstream (RFC 1928, RFC 1929)."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Callable

from pystack.embed.proxy.direct import KernelChannel
from pystack.embed.proxy.upstream import (
    Channel,
    checked_device,
    connect_kernel,
    read_exactly,
    spelled,
)

__all__ = ["Socks5", "pack_address"]

_VERSION, _CONNECT, _ASSOCIATE = 5, 1, 3
_IPV4, _NAME, _IPV6 = 1, 3, 4
# RFC 1928 6. "TTL expired" is what servers say of a connect that timed out.
_REPLIES = {
    2: (errno.EACCES, "not allowed by its rules"),
    3: (errno.ENETUNREACH, "network unreachable"),
    4: (errno.EHOSTUNREACH, "host unreachable"),
    5: (errno.ECONNREFUSED, "connection refused"),
    6: (errno.ETIMEDOUT, "TTL expired"),
    7: (errno.EOPNOTSUPP, "command not supported"),
    8: (errno.EAFNOSUPPORT, "address type not supported"),
}


def pack_address(host: str, port: int) -> bytes:
    """ATYP, DST.ADDR and DST.PORT of an address, or of a name.

    Raises:
        OSError: EINVAL, it is neither.
    """
    host = spelled(host, port)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        return bytes([_NAME, len(name)]) + name + struct.pack("!H", port)
    kind = _IPV4 if address.version == 4 else _IPV6
    return bytes([kind]) + address.packed + struct.pack("!H", port)


class Socks5:
    """Flows leave by a SOCKS5 proxy: TCP by CONNECT, UDP by UDP ASSOCIATE.

    Args:
        host: The proxy's address or name, resolved by the system.
        port: Its port.
        user: The user's name; None: none is offered.
        password: The password (RFC 1929).
        device: The kernel's device that leads to the proxy; see `Direct`.

    Raises:
        ValueError: A user or password of more than 255 bytes, or one of them alone.
    """

    def __init__(
        self,
        host: str,
        port: int = 1080,
        *,
        user: str | None = None,
        password: str | None = None,
        device: str | None = None,
    ) -> None:
        if (user is None) != (password is None):
            raise ValueError("give both user and password, or neither")
        self._login: tuple[bytes, bytes] | None = None
        if user is not None and password is not None:
            self._login = user.encode(), password.encode()
            if not all(0 < len(one) < 256 for one in self._login):
                raise ValueError("user and password have 1 to 255 bytes each (RFC 1929)")
        self.host, self.port, self._device = host, port, checked_device(device)

    async def connect(self, host: str, port: int) -> socket.socket:
        """See `Upstream`.

        Raises:
            OSError: EINVAL too: the host is neither an address nor a name.
        """
        address = pack_address(host, port)
        connection = await self._open()
        try:
            await self._ask(connection, _CONNECT, address)
        except BaseException:
            connection.close()
            raise
        return connection

    async def datagrams(self, host: str, port: int) -> Channel:
        """See `Upstream`. Each has a connection to the proxy, as RFC 1928 7 asks for.

        Raises:
            OSError: EINVAL too: the host is neither an address nor a name. EPROTO: the proxy names
                a relay that can't be.
        """
        address = pack_address(host, port)
        connection = await self._open()
        try:
            relay, relay_port = await self._ask(connection, _ASSOCIATE, pack_address("0.0.0.0", 0))
            relay = self._relay_of(relay, relay_port)
            if relay in ("0.0.0.0", "::"):  # "where you found me"
                relay = str(connection.getpeername()[0])
            datagrams = await connect_kernel(relay, relay_port, socket.SOCK_DGRAM, self._device)
        except BaseException:
            connection.close()
            raise
        return _Relay(connection, KernelChannel(datagrams), address)

    async def echo(self, host: str, data: bytes, ttl: int) -> None:
        """SOCKS5 carries no echo requests.

        Raises:
            OSError: EOPNOTSUPP.
        """
        raise OSError(errno.EOPNOTSUPP, "SOCKS5 carries no ICMP")

    async def close(self) -> None:
        """See `Upstream`."""

    async def _open(self) -> socket.socket:
        """A connection to the proxy that has agreed on who we are."""
        try:
            connection = await connect_kernel(self.host, self.port, device=self._device)
        except OSError as error:
            raise OSError(errno.ENETUNREACH, f"the proxy {self!r}: {error}") from error
        loop = asyncio.get_running_loop()
        try:
            methods = b"\0" if self._login is None else b"\0\2"
            await loop.sock_sendall(connection, bytes([_VERSION, len(methods)]) + methods)
            version, method = await read_exactly(connection, 2)
            if version != _VERSION:
                raise OSError(errno.EPROTO, f"{self!r} is no SOCKS5 proxy")
            if method == 2 and self._login is not None:
                user, password = self._login
                await loop.sock_sendall(
                    connection,
                    b"\1" + bytes([len(user)]) + user + bytes([len(password)]) + password,
                )
                if (await read_exactly(connection, 2))[1] != 0:
                    raise PermissionError(errno.EACCES, f"{self!r} refused user and password")
            elif method != 0:
                raise PermissionError(errno.EACCES, f"{self!r} wants another user, or any")
        except BaseException:
            connection.close()
            raise
        return connection

    async def _ask(
        self, connection: socket.socket, command: int, address: bytes
    ) -> tuple[str, int]:
        """Sends a request; the address that the reply names."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(connection, bytes([_VERSION, command, 0]) + address)
        version, reply, _reserved, kind = await read_exactly(connection, 4)
        if version != _VERSION:
            raise OSError(errno.EPROTO, f"{self!r} answers by another version: {version}")
        if reply != 0:
            code, text = _REPLIES.get(reply, (errno.EHOSTUNREACH, f"failure {reply}"))
            raise OSError(code, f"{self!r}: {text}")
        if kind == _NAME:
            size = (await read_exactly(connection, 1))[0]
            host = (await read_exactly(connection, size)).decode("ascii", "replace")
        elif kind in (_IPV4, _IPV6):
            packed = await read_exactly(connection, 4 if kind == _IPV4 else 16)
            host = str(ipaddress.ip_address(packed))
        else:
            raise OSError(errno.EPROTO, f"{self!r} answers with an address of type {kind}")
        return host, struct.unpack("!H", await read_exactly(connection, 2))[0]

    def _relay_of(self, host: str, port: int) -> str:
        """An address, or a name that the system resolves, of a reply's."""
        if port == 0:
            raise OSError(errno.EPROTO, f"{self!r} names a relay without a port")
        try:
            return spelled(host, port)
        except OSError:
            raise OSError(errno.EPROTO, f"{self!r} names a relay that can't be: {host!r}") from None

    def __repr__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"<Socks5 {host}:{self.port}>"


class _Relay:
    """Datagrams to one address by a proxy's relay; ends with the connection that asked for it."""

    def __init__(self, connection: socket.socket, channel: KernelChannel, address: bytes) -> None:
        self._connection = connection
        self._channel = channel
        self._header = b"\0\0\0" + address
        self._loop = asyncio.get_running_loop()
        self._failed: Callable[[OSError], None] | None = None
        self._loop.add_reader(connection.fileno(), self._on_control)

    def send(self, data: bytes) -> None:
        """See `Channel`."""
        self._channel.send(self._header + data)

    def set_room(self, size: int) -> None:
        """See `KernelChannel`."""
        self._channel.set_room(size)

    def listen(self, received: Callable[[bytes], None], failed: Callable[[OSError], None]) -> None:
        """See `Channel`."""
        self._failed = failed

        def unwrap(data: bytes) -> None:
            content = _content(data)
            if content is not None:
                received(content)

        self._channel.listen(unwrap, failed)

    def _on_control(self) -> None:
        try:
            if self._connection.recv(4096):
                return  # nothing is said there any more
            error = OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as raised:
            error = raised
        self._loop.remove_reader(self._connection.fileno())
        if self._failed is not None:
            self._failed(error)

    def close(self) -> None:
        """See `Channel`."""
        self._failed = None
        self._channel.close()
        if self._connection.fileno() >= 0:
            self._loop.remove_reader(self._connection.fileno())
        self._connection.close()


def _content(data: bytes) -> bytes | None:
    """A datagram without its header (RFC 1928 7); None: it has none, or is a fragment."""
    if len(data) < 4 or data[2] != 0:
        return None
    sizes = {_IPV4: 4, _IPV6: 16, _NAME: 1 + data[4] if len(data) > 4 else 0}
    if data[3] not in sizes:
        return None
    end = 4 + sizes[data[3]] + 2
    return data[end:] if len(data) >= end else None
