"""TLS begun on a connection that is open already, as after STARTTLS or CONNECT."""

from __future__ import annotations

import asyncio
import ssl

from pystack.dial.plane import stack_loop

__all__ = ["started_tls"]


class _Secure(asyncio.StreamWriter):
    """Keeps the writer below it, which would close the connection if it were collected."""

    below: asyncio.StreamWriter


async def started_tls(
    writer: asyncio.StreamWriter, context: ssl.SSLContext, server_hostname: str | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The reader and writer that take a connection's place; the client's side.

    As `asyncio.StreamWriter.start_tls`, which Python 3.10 doesn't have.

    Raises:
        ssl.SSLError: The handshake failed; the connection is closed.
        OSError: The connection failed.
    """
    loop = stack_loop()
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    await writer.drain()
    transport = await loop.start_tls(
        writer.transport, protocol, context, server_hostname=server_hostname
    )
    if transport is None:
        raise ConnectionResetError("the connection was closed in the handshake")
    protocol.connection_made(transport)
    secure = _Secure(transport, protocol, reader, loop)
    secure.below = writer
    return reader, secure
