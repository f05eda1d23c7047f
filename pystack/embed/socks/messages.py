"""What SOCKS5 says (RFC 1928), and what is read from a client."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import struct

__all__ = [
    "ASSOCIATE",
    "CONNECT",
    "IPV4",
    "IPV6",
    "NAME",
    "NOT_SUPPORTED",
    "VERSION",
    "Client",
    "ProtocolError",
    "address_to_bytes",
    "reply",
    "reply_code",
    "unwrap_datagram",
    "wrap_datagram",
]

VERSION = 5
CONNECT, ASSOCIATE = 1, 3
IPV4, NAME, IPV6 = 1, 3, 4
SUCCEEDED, FAILED, NOT_ALLOWED, NOT_SUPPORTED, NO_SUCH_TYPE = 0, 1, 2, 7, 8
_CODES = {
    errno.EACCES: NOT_ALLOWED,
    errno.EPERM: NOT_ALLOWED,
    errno.ENETUNREACH: 3,
    errno.EHOSTUNREACH: 4,
    errno.EHOSTDOWN: 4,
    errno.ECONNREFUSED: 5,
    errno.ETIMEDOUT: 6,
    errno.EAFNOSUPPORT: NO_SUCH_TYPE,
}


class ProtocolError(Exception):
    """A client says something that the protocol doesn't allow."""


class Client:
    """A client's connection, from which messages are read piece by piece.

    Args:
        connection: Of the kernel's, non-blocking.

    Attributes:
        connection: The same.
        address: The host that it comes from.

    Raises:
        OSError: ENOTCONN, it is gone.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.address = str(connection.getpeername()[0])
        self._loop = asyncio.get_running_loop()
        self._waiting = b""  # read, and nobody's yet

    async def read(self, size: int) -> bytes:
        """So many bytes.

        Raises:
            ProtocolError: The client has ended before.
        """
        while len(self._waiting) < size:
            await self._more()
        data, self._waiting = self._waiting[:size], self._waiting[size:]
        return data

    async def read_head(self, most: int) -> bytes:
        """Everything up to an empty line, that included.

        Raises:
            ProtocolError: It is longer than `most` bytes, or the client has ended before.
        """
        while (end := self._waiting.find(b"\r\n\r\n")) < 0:
            if len(self._waiting) > most:
                raise ProtocolError(f"a request's head of over {most} bytes")
            await self._more()
        return await self.read(end + 4)

    async def _more(self) -> None:
        data = await self._loop.sock_recv(self.connection, 4096)
        if not data:
            raise ProtocolError("the client has closed the connection")
        self._waiting += data

    async def send(self, data: bytes) -> None:
        """Sends all of it."""
        await self._loop.sock_sendall(self.connection, data)

    def rest(self) -> bytes:
        """What was read and is the destination's: clients may not wait for the answer."""
        data, self._waiting = self._waiting, b""
        return data

    async def read_address(self) -> tuple[str, int]:
        """ATYP, DST.ADDR and DST.PORT.

        Raises:
            ProtocolError: No such type, or a name that is none.
        """
        kind = (await self.read(1))[0]
        if kind in (IPV4, IPV6):
            host = str(ipaddress.ip_address(await self.read(4 if kind == IPV4 else 16)))
        elif kind == NAME:
            host = _to_name(await self.read((await self.read(1))[0]))
        else:
            raise ProtocolError(f"addresses have no type {kind}")
        return host, int(struct.unpack("!H", await self.read(2))[0])


def _to_name(raw: bytes) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ProtocolError(f"{raw!r} is no name") from None
    if not name or "\0" in name:
        raise ProtocolError(f"{raw!r} is no name")
    return name


def reply_code(error: Exception) -> int:
    """REP for what came of a connect."""
    if isinstance(error, asyncio.TimeoutError | TimeoutError):
        return _CODES[errno.ETIMEDOUT]
    if isinstance(error, socket.gaierror):
        return _CODES[errno.EHOSTUNREACH]
    return _CODES.get(getattr(error, "errno", None) or 0, FAILED)


def address_to_bytes(address: tuple[object, ...]) -> bytes:
    """ATYP, ADDR and PORT of a socket's address."""
    host = ipaddress.ip_address(str(address[0]).partition("%")[0])
    if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped is not None:
        host = host.ipv4_mapped
    kind = IPV4 if host.version == 4 else IPV6
    return bytes([kind]) + host.packed + struct.pack("!H", address[1])


def reply(code: int, address: tuple[object, ...] = ("0.0.0.0", 0)) -> bytes:
    """A reply to a request: REP and BND."""
    return bytes([VERSION, code, 0]) + address_to_bytes(address)


def wrap_datagram(source: tuple[object, ...], data: bytes) -> bytes:
    """A datagram for the client, its source in front (RFC 1928 7)."""
    return b"\0\0\0" + address_to_bytes(source) + data


def unwrap_datagram(packet: bytes) -> tuple[str, int, bytes] | None:
    """Where a client's datagram is to go, and it; None: it is broken, or a fragment."""
    if len(packet) < 5 or packet[2] != 0:
        return None
    kind = packet[3]
    start = 5 if kind == NAME else 4
    size = {IPV4: 4, IPV6: 16, NAME: packet[4]}.get(kind, 0)
    end = start + size
    if size == 0 or len(packet) < end + 2:
        return None
    raw = packet[start:end]
    try:
        host = _to_name(raw) if kind == NAME else str(ipaddress.ip_address(raw))
    except ProtocolError:
        return None
    return host, int(struct.unpack("!H", packet[end : end + 2])[0]), packet[end + 2 :]
