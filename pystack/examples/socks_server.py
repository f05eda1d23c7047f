"""A SOCKS5 server of the kernel's whose connections leave through a Stack.

Any program that knows SOCKS5 or HTTP CONNECT can have a Stack's network that way; here it is a few
lines of asyncio.
"""

from __future__ import annotations

import asyncio
import socket
import threading

import pystack
from pystack.embed.socks import SocksServer


def greet(listener: pystack.sockets.Socket) -> None:
    """Greets one client, on the far Stack."""
    connection, peer = listener.accept()
    with connection:
        connection.sendall(f"hello, {peer[0]}\n".encode())


async def by_socks(proxy: tuple[str, int], host: str, port: int) -> str:
    """What a server says at once, by a SOCKS5 proxy (RFC 1928)."""
    reader, writer = await asyncio.open_connection(*proxy)
    writer.write(b"\5\1\0\5\1\0\1" + socket.inet_aton(host) + port.to_bytes(2, "big"))
    await reader.readexactly(12)  # no password is wanted; succeeded
    said = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return said.decode().strip()


async def main() -> None:
    """Asks a server of another Stack, from the kernel's side."""
    ours, theirs = pystack.nic.wire()
    with pystack.Stack() as net, pystack.Stack() as far:
        net.attach(ours, "10.0.0.1/24")
        far.attach(theirs, "10.0.0.2/24")
        with far.sockets.create_server(("10.0.0.2", 80)) as listener:
            thread = threading.Thread(target=greet, args=(listener,))
            thread.start()
            async with SocksServer(net, port=0) as server:
                print(await by_socks(server.address, "10.0.0.2", 80))
            thread.join()


if __name__ == "__main__":
    asyncio.run(main())
