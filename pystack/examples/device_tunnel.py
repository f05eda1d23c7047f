"""A tunnel to a device: IPv6 packets come in by a pipe, connections go out by `dial`.

The surface of pymobiledevice3's user-space tunnel, which carries such packets through a USB cable.
No root, and as many tunnels as devices, whatever their addresses. The device here is a Stack, too.
"""

from __future__ import annotations

import asyncio
import socket

import pystack
from pystack.nic import Async


class DeviceTunnel:
    """A host's end of a tunnel: what `asyncio.open_connection` is, `dial` is to the device."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str, mtu: int
    ) -> None:
        self._net = pystack.Stack()
        self._net.attach(Async(reader, writer, mtu), f"{address}/64")
        self.dial = self._net.open_connection
        self.ping = self._net.aio.ping

    async def __aenter__(self) -> DeviceTunnel:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._net.aio.close()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A service of the device's: sends back one line."""
    writer.write(b"the device got " + await reader.readline())
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def main() -> None:
    """Two devices with the same address, each in its own tunnel."""
    for name in ("red", "blue"):
        here, there = [await asyncio.open_connection(sock=end) for end in socket.socketpair()]
        async with pystack.Stack() as device, DeviceTunnel(*here, "fd00::2", 16000) as tunnel:
            device.attach(Async(*there, 16000), "fd00::1/64")
            server = await device.start_server(answer, "fd00::1", 62078)
            print((await tunnel.ping("fd00::1")).received, "answer to a ping")
            reader, writer = await tunnel.dial("fd00::1", 62078)
            writer.write(f"hello, {name}\n".encode())
            print((await reader.readline()).decode(), end="")
            writer.close()
            server.close()


if __name__ == "__main__":
    asyncio.run(main())
