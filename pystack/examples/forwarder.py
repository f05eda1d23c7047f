"""A Stack's client reaches servers on the machine: a Forwarder connects by the kernel's sockets.

The server is the kernel's, on the loopback; the client believes that it is somewhere else.
"""

from __future__ import annotations

import asyncio
import contextlib

import pystack
from pystack.embed.proxy import Forwarder


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers a line in capital letters."""
    writer.write((await reader.readline()).upper())
    await writer.drain()
    writer.close()


def ask(client: pystack.Stack, host: str, port: int) -> str:
    """What a server says to "hello"."""
    with client.sockets.create_connection((host, port), 10) as asked:
        asked.sendall(b"hello\n")
        return asked.recv(100).decode().strip()


async def main() -> None:
    """Asks a server that is there, and one that isn't."""
    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    ours, theirs = pystack.nic.wire()
    with pystack.Stack() as client, pystack.Stack() as gateway:
        client.attach(ours, "10.0.0.1/24", gateway="10.0.0.2")
        gateway.attach(theirs, "10.0.0.2/24")
        forwarder = Forwarder(gateway, to=lambda flow: ("127.0.0.1", flow.destination[1]))
        running = asyncio.ensure_future(forwarder.run())
        await asyncio.sleep(0)  # it takes flows from its first step on
        print(await asyncio.to_thread(ask, client, "198.51.100.7", port))
        try:
            await asyncio.to_thread(ask, client, "198.51.100.7", 1)
        except ConnectionRefusedError as error:
            print(f"port 1: {error.strerror}")
        counts = forwarder.statistics()
        print(counts.accepted, "accepted,", counts.refused, "refused")
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    server.close()
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
