"""`HttpConnect`: an HTTP proxy is the upstream, by CONNECT (RFC 9110 9.3.6)."""

from __future__ import annotations

import asyncio
import base64
import errno
import re
import socket

from pystack.embed.proxy.upstream import Channel, checked_device, connect_kernel, spelled

__all__ = ["HttpConnect"]

_STATUS_CODE = re.compile(r"[1-5][0-9][0-9]")  # RFC 9110 15
_MOST = 16384  # bytes of a response's head
# What a status means for who wanted to connect; others: host unreachable.
_STATUS = {
    401: errno.EACCES,
    403: errno.EACCES,
    405: errno.EACCES,
    407: errno.EACCES,
    408: errno.ETIMEDOUT,
    504: errno.ETIMEDOUT,
}


class HttpConnect:
    """TCP flows leave by an HTTP proxy. It carries neither datagrams nor echo requests.

    Args:
        host: The proxy's address or name, resolved by the system.
        port: Its port.
        user: The user's name, for basic authentication (RFC 7617); None: none.
        password: The password.
        device: The kernel's device that leads to the proxy; see `Direct`.

    Raises:
        ValueError: User or password alone, or a colon in the user's name.
    """

    def __init__(
        self,
        host: str,
        port: int = 8080,
        *,
        user: str | None = None,
        password: str | None = None,
        device: str | None = None,
    ) -> None:
        if (user is None) != (password is None):
            raise ValueError("give both user and password, or neither")
        if user is not None and ":" in user:
            raise ValueError(f"a user's name has no colon (RFC 7617 2): {user!r}")
        self.host, self.port, self._device = host, port, checked_device(device)
        self._login = ""
        if user is not None:
            token = base64.b64encode(f"{user}:{password}".encode()).decode()
            self._login = f"Proxy-Authorization: Basic {token}\r\n"

    async def connect(self, host: str, port: int) -> socket.socket:
        """See `Upstream`.

        Raises:
            OSError: EINVAL too: the host is neither an address nor a name.
        """
        told = spelled(host, port)
        try:
            connection = await connect_kernel(self.host, self.port, device=self._device)
        except OSError as error:
            raise OSError(errno.ENETUNREACH, f"the proxy {self!r}: {error}") from error
        try:
            await self._ask(connection, f"[{told}]:{port}" if ":" in told else f"{told}:{port}")
        except BaseException:
            connection.close()
            raise
        return connection

    async def _ask(self, connection: socket.socket, authority: str) -> None:
        loop = asyncio.get_running_loop()
        request = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{self._login}\r\n"
        await loop.sock_sendall(connection, request.encode("ascii"))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            # Byte by byte at its end, for what follows is the destination's.
            waiting = await self._peek(connection)
            end = (head + waiting).find(b"\r\n\r\n")
            size = len(waiting) if end < 0 else end + 4 - len(head)
            head += await loop.sock_recv(connection, size)
            if len(head) > _MOST:
                raise OSError(errno.EPROTO, f"{self!r}: a response's head of over {_MOST} bytes")
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        if (
            len(words) < 2
            or not words[0].startswith("HTTP/1.")
            or not _STATUS_CODE.fullmatch(words[1])
        ):
            raise OSError(errno.EPROTO, f"{self!r} is no HTTP proxy")
        status = int(words[1])
        if not 200 <= status < 300:
            raise OSError(
                _STATUS.get(status, errno.EHOSTUNREACH), f"{self!r}: {' '.join(words[1:])}"
            )

    async def _peek(self, connection: socket.socket) -> bytes:
        """What waits to be read, and stays; at least a byte."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                data = connection.recv(4096, socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                ready = loop.create_future()
                loop.add_reader(connection.fileno(), _done, ready)
                try:
                    await ready
                finally:
                    loop.remove_reader(connection.fileno())
                continue
            if not data:
                raise ConnectionResetError(f"{self!r} closed the connection")
            return data

    async def datagrams(self, host: str, port: int) -> Channel:
        """HTTP CONNECT carries no datagrams.

        Raises:
            OSError: EOPNOTSUPP.
        """
        raise OSError(errno.EOPNOTSUPP, "HTTP CONNECT carries no UDP")

    async def echo(self, host: str, data: bytes, ttl: int) -> None:
        """HTTP CONNECT carries no echo requests.

        Raises:
            OSError: EOPNOTSUPP.
        """
        raise OSError(errno.EOPNOTSUPP, "HTTP CONNECT carries no ICMP")

    async def close(self) -> None:
        """See `Upstream`."""

    def __repr__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"<HttpConnect {host}:{self.port}>"


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
