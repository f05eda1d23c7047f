"""Transports for httpx: a client's requests leave through its own Stack.

``httpx.Client(transport=Transport(net))``, ``httpx.AsyncClient(transport=AsyncTransport(net))``.
Nothing is put in the place of the module `socket`; names are asked of the Stack's name servers, and
https is verified as usual.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpcore
import httpx

from pystack.dial.streams import started_tls
from pystack.embed.ending import in_time
from pystack.stack import Stack

__all__ = ["AsyncTransport", "Transport"]

_CLOSING_S = 1.0  # for what a peer doesn't read
_EXTRA = {"client_addr": "sockname", "server_addr": "peername"}


@contextmanager
def _told(timed_out: type[Exception], failed: type[Exception]) -> Iterator[None]:
    """Errors as httpcore has them."""
    try:
        yield
    except (TimeoutError, asyncio.TimeoutError) as error:
        raise timed_out(str(error)) from error
    except (OSError, EOFError) as error:
        raise failed(str(error)) from error


def _set(sock: Any, options: Iterable[Any] | None, close: Callable[[], None]) -> None:
    """Sets a new connection's options, and closes it when that fails."""
    try:
        for option in options or ():
            sock.setsockopt(*option)
    except BaseException:
        close()
        raise


def _use(transport: Any, backend: Any) -> None:
    """Has a transport's pool of connections use another network."""
    if not hasattr(transport._pool, "_network_backend"):
        raise RuntimeError(f"httpcore {httpcore.__version__} keeps its network backend elsewhere")
    transport._pool._network_backend = backend


# --- threads -------------------------------------------------------------------------------------


class _Stream(httpcore.NetworkStream):
    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _told(httpcore.ReadTimeout, httpcore.ReadError):
            self._sock.settimeout(timeout)
            return bytes(self._sock.recv(max_bytes))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _told(httpcore.WriteTimeout, httpcore.WriteError):
            self._sock.settimeout(timeout)
            self._sock.sendall(buffer)

    def close(self) -> None:
        self._sock.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        try:
            with _told(httpcore.ConnectTimeout, httpcore.ConnectError):
                self._sock.settimeout(timeout)
                return _Stream(ssl_context.wrap_socket(self._sock, server_hostname=server_hostname))
        except BaseException:
            self.close()
            raise

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object":
            return self._sock if isinstance(self._sock, ssl.SSLSocket) else None
        if info == "client_addr":
            return self._sock.getsockname()
        if info == "server_addr":
            return self._sock.getpeername()
        if info == "is_readable":
            poll = select.poll()
            poll.register(self._sock, select.POLLIN)
            return bool(poll.poll(0))
        return self._sock if info == "socket" else None


class _Backend(httpcore.NetworkBackend):
    def __init__(self, net: Stack) -> None:
        self._net = net

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        own = None if local_address is None else (local_address, 0)
        with _told(httpcore.ConnectTimeout, httpcore.ConnectError):
            sock = self._net.sockets.create_connection((host, port), timeout, source_address=own)
            _set(sock, socket_options, sock.close)
        return _Stream(sock)


class Transport(httpx.HTTPTransport):
    """`httpx.HTTPTransport` on a Stack, which stays the caller's to close.

    Args:
        net: The Stack.
        options: As `httpx.HTTPTransport`: verify, cert, http2, limits, proxy, local_address,
            retries, socket_options.
    """

    def __init__(self, net: Stack, **options: Any) -> None:
        super().__init__(**options)
        _use(self, _Backend(net))


# --- tasks ---------------------------------------------------------------------------------------


class _AsyncStream(httpcore.AsyncNetworkStream):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _told(httpcore.ReadTimeout, httpcore.ReadError):
            return await in_time(self._reader.read(max_bytes), timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _told(httpcore.WriteTimeout, httpcore.WriteError):
            self._writer.write(buffer)
            await in_time(self._writer.drain(), timeout)

    async def aclose(self) -> None:
        if self._writer.get_extra_info("ssl_object") is not None:
            self._writer.transport.abort()  # HTTP says itself where an answer ends
        self._writer.close()
        with suppress(OSError, EOFError, asyncio.TimeoutError):
            await in_time(self._writer.wait_closed(), _CLOSING_S)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            with _told(httpcore.ConnectTimeout, httpcore.ConnectError):
                secure = started_tls(self._writer, ssl_context, server_hostname)
                return _AsyncStream(*await in_time(secure, timeout))
        except BaseException:
            self._writer.close()
            raise

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return self._reader.at_eof() or self._writer.is_closing()
        return self._writer.get_extra_info(_EXTRA.get(info, info))


class _AsyncBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, net: Stack) -> None:
        self._net = net

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        own = None if local_address is None else (local_address, 0)
        with _told(httpcore.ConnectTimeout, httpcore.ConnectError):
            opening = self._net.open_connection(host, port, local_addr=own)
            reader, writer = await in_time(opening, timeout)
            sock: Any = writer.get_extra_info("socket")
            _set(sock, socket_options, writer.transport.abort)
        return _AsyncStream(reader, writer)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class AsyncTransport(httpx.AsyncHTTPTransport):
    """`httpx.AsyncHTTPTransport` on a Stack, which stays the caller's to close; in asyncio alone.

    Args:
        net: The Stack.
        options: As `httpx.AsyncHTTPTransport`: those of `Transport`.
    """

    def __init__(self, net: Stack, **options: Any) -> None:
        super().__init__(**options)
        _use(self, _AsyncBackend(net))
