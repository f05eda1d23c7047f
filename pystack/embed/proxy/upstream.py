"""Where flows go: what an upstream can do, and how one is named."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from pystack.sockets.early import kernel_socket

__all__ = ["Channel", "Upstream", "connect_kernel", "parse_upstream", "read_exactly"]


class Channel(Protocol):
    """A way for datagrams to one address and port, and back."""

    def send(self, data: bytes) -> None:
        """Sends one. It may be lost, as any datagram.

        Raises:
            OSError: What the network says of an earlier one: ECONNREFUSED.
        """

    def listen(self, received: Callable[[bytes], None], failed: Callable[[OSError], None]) -> None:
        """From now on each datagram that comes is handed over, and each error."""

    def close(self) -> None:
        """Ends it; may be called again."""


class Upstream(Protocol):
    """Takes flows to where they are for. Errors are `OSError` with the errno that a program sees.

    What one can't carry is EOPNOTSUPP: the source is told that it is prohibited.
    """

    async def connect(self, host: str, port: int) -> socket.socket:
        """A connected stream socket of the kernel's, non-blocking, to an address and port.

        Raises:
            OSError: ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EACCES, as they are told to the
                source; any other is silence.
        """

    async def datagrams(self, host: str, port: int) -> Channel:
        """A way for datagrams."""

    async def echo(self, host: str, data: bytes, ttl: int) -> None:
        """Returns when an echo reply with the same data has come.

        Raises:
            OSError: EHOSTUNREACH and others: what the network said. ETIMEDOUT, ENOBUFS: silence.
        """

    async def close(self) -> None:
        """Gives back what it holds; what is connected goes on."""


def parse_upstream(text: str) -> Upstream:
    """An upstream by its name.

    Args:
        text: ``direct``, ``socks5://[user:password@]host:port`` or
            ``http://[user:password@]host:port``. IPv6 addresses stand in brackets; special
            characters of user and password are percent-encoded (RFC 3986).

    Raises:
        ValueError: It is none of these; the message says what is wrong.
    """
    from pystack.embed.proxy.direct import Direct  # noqa: PLC0415 - they stand on this module
    from pystack.embed.proxy.http_connect import HttpConnect  # noqa: PLC0415
    from pystack.embed.proxy.socks5 import Socks5  # noqa: PLC0415

    if text == "direct":
        return Direct()
    parts = urlsplit(text)
    kinds: dict[str, tuple[type[Socks5] | type[HttpConnect], int]] = {
        "socks5": (Socks5, 1080),
        "socks5h": (Socks5, 1080),
        "http": (HttpConnect, 8080),
    }
    if parts.scheme not in kinds or not parts.hostname:
        raise ValueError(
            f"no upstream: {text!r}; say direct, socks5://host:port or http://host:port"
        )
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"an upstream ends with its port: {text!r}")
    kind, port = kinds[parts.scheme]
    try:
        port = parts.port or port
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None
    user = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    return kind(parts.hostname, port, user=user, password=password)


async def connect_kernel(host: str, port: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A socket of the kernel's, connected and non-blocking; a name's addresses are tried in turn.

    Raises:
        OSError: What connect(2) says, of the last address.
        socket.gaierror: There is no such name.
    """
    loop = asyncio.get_running_loop()
    version = 6 if ":" in host else 4
    where: list[tuple[int, tuple[Any, ...]]] = []
    try:
        socket.inet_pton(socket.AF_INET6 if version == 6 else socket.AF_INET, host)
        where.append((socket.AF_INET6 if version == 6 else socket.AF_INET, (host, port)))
    except OSError:
        found = await loop.getaddrinfo(host, port, type=kind)
        where += [(int(one[0]), one[4]) for one in found]
    last: OSError | None = None
    for family, address in where:
        made = kernel_socket(family, kind)
        try:
            made.setblocking(False)
            if kind == socket.SOCK_STREAM:
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await loop.sock_connect(made, address)
            else:
                made.connect(address)
        except OSError as error:
            made.close()
            last = error
        except BaseException:
            made.close()
            raise
        else:
            return made
    assert last is not None
    raise last


async def read_exactly(connection: socket.socket, size: int) -> bytes:
    """So many bytes.

    Raises:
        ConnectionResetError: The stream ended before.
    """
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        more = await loop.sock_recv(connection, size - len(data))
        if not more:
            raise ConnectionResetError("the proxy closed the connection")
        data += more
    return data
