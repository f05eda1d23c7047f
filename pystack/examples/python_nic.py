"""A NIC written in Python: an asyncio loop carries the frames, over any stream.

The Stack calls `transmit` on whichever thread is inside it, and under its lock: all it does is to
hand the frame to the loop. The loop gives incoming frames to `deliver`, which never blocks.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

import pystack
from pystack.nic import Layer

QUEUE = 1000  # frames on their way out; more are dropped, as by any NIC


class Tunnel:
    """IP packets over an asyncio stream, each behind its length in 16 bits."""

    mtu = 1400
    layer = Layer.IP

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue(QUEUE)

    def bind(self, deliver: Callable[[bytes], None]) -> None:
        """The Stack says where incoming packets go."""
        self._deliver = deliver

    def transmit(self, frame: bytes) -> bool | None:
        """The Stack sends a packet."""
        with suppress(RuntimeError):  # the loop is closed: the wire is cut
            self._loop.call_soon_threadsafe(self._put, frame)
        return True

    def _put(self, frame: bytes) -> None:
        with suppress(asyncio.QueueFull):
            self._outgoing.put_nowait(frame)

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carries packets both ways until the stream ends."""
        sending = asyncio.create_task(self._send(writer))
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                packet = await reader.readexactly(size)
                with suppress(OSError):  # ENOBUFS, the Stack is behind; EBADF, it is closed
                    self._deliver(packet)
        sending.cancel()
        with suppress(asyncio.CancelledError, ConnectionError):
            await sending

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        while True:
            frame = await self._outgoing.get()
            writer.write(len(frame).to_bytes(2, "big") + frame)
            await writer.drain()


async def talk() -> None:
    """Two Stacks, joined by a stream: here a pair of UNIX sockets."""
    near, far = (Tunnel(asyncio.get_running_loop()) for _ in range(2))
    streams = [await asyncio.open_connection(sock=end) for end in socket.socketpair()]
    carrying = [
        asyncio.create_task(tunnel.run(*stream))
        for tunnel, stream in zip((near, far), streams, strict=True)
    ]
    with pystack.Stack() as a, pystack.Stack() as b:
        a.attach(near, "10.0.0.1/24")
        b.attach(far, "10.0.0.2/24")
        # Blocking calls go to a thread: this one carries the frames meanwhile.
        print(await asyncio.to_thread(a.ping, "10.0.0.2", timeout=10))
        with b.active():
            server = await asyncio.start_server(shout, "10.0.0.2", 7)
        with a.active():
            reader, writer = await asyncio.open_connection("10.0.0.2", 7)
        writer.write(b"hello through python\n")
        print((await reader.readline()).decode(), end="")
        writer.close()
        await writer.wait_closed()
        server.close()
        # Closing a Stack waits until its peer has acknowledged everything: a blocking call, too.
        await asyncio.to_thread(a.close)
        await asyncio.to_thread(b.close)
    for _reader, writer in streams:
        writer.close()
    await asyncio.gather(*carrying)


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back one line in capitals."""
    writer.write((await reader.readline()).upper())
    await writer.drain()
    writer.close()
    await writer.wait_closed()


def main() -> None:
    """Runs it."""
    asyncio.run(talk())


if __name__ == "__main__":
    main()
