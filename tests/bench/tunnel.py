"""The host's end of a tunnel of IPv6 packets: a Stack behind nic.Async beside PyPI's pmd-pytcp.

    .venv/bin/python tests/bench/tunnel.py [--rounds 5] [--mtu 16000]

Both get their packets from an asyncio loop, by the same two functions, over the same pair of
sockets; the device at the other end is a Stack in another process. They take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from pytcp_tunnel import pytcp_tunnel

import pystack
from pystack.nic import Async, Descriptor, Layer

HOST, DEVICE, PORT = "fd00::2", "fd00::1", 1000
BYTES = {"pystack": 256 << 20, "pmd-pytcp": 16 << 20}
EXCHANGES, MESSAGE = 300, bytes(64)
Dial = Callable[[], Awaitable[tuple[Callable[[bytes], Any], Callable[[int], Awaitable[bytes]]]]]


def device(fd: int, mtu: int) -> None:
    """The other process: sends what it is asked for, takes what it is told of, or gives it back."""
    net, part = pystack.Stack(), bytes(1 << 20)
    net.attach(Descriptor(fd, layer=Layer.IP, mtu=mtu), f"{DEVICE}/64")
    listener = net.sockets.create_server((DEVICE, PORT), family=socket.AF_INET6)

    def serve(sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            told = sock.recv(9, socket.MSG_WAITALL)
            kind, size = told[:1], int.from_bytes(told[1:], "big")
            for _ in range(size // len(part) if kind == b"d" else 0):
                sock.sendall(part)
            while size > 0 and kind == b"u":
                size -= len(sock.recv(1 << 20))
            while kind == b"e" and (data := sock.recv(1 << 16)):
                sock.sendall(data)
            sock.sendall(b"!")

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()
    net.close(abrupt=True)


@asynccontextmanager
async def by_pystack(near: socket.socket, mtu: int) -> AsyncIterator[Dial]:
    loop = asyncio.get_running_loop()
    wire = Async(lambda: loop.sock_recv(near, 1 << 16), lambda p: loop.sock_sendall(near, p), mtu)
    async with pystack.Stack() as net:
        net.attach(wire, f"{HOST}/64")

        async def dial() -> Any:
            reader, writer = await net.open_connection(DEVICE, PORT, limit=1 << 18)

            async def send(data: bytes) -> None:
                writer.write(data)
                await writer.drain()

            return send, reader.read

        yield dial
    wire.close()
    await wire.wait_closed()


@asynccontextmanager
async def by_pytcp(near: socket.socket, mtu: int) -> AsyncIterator[Dial]:
    loop = asyncio.get_running_loop()
    async with pytcp_tunnel(
        lambda: loop.sock_recv(near, 1 << 16),
        lambda p: loop.sock_sendall(near, p),
        HOST,
        DEVICE,
        mtu,
    ) as theirs:

        async def dial() -> Any:
            made = theirs.socket(theirs.AF_INET6, theirs.SOCK_STREAM)
            await made.connect((DEVICE, PORT))
            return made.send, made.recv

        yield dial


async def measure(dial: Dial, size: int) -> dict[str, float]:
    figures = {}
    send, receive = await dial()
    await send(b"e" + bytes(8))
    times = []
    for _ in range(EXCHANGES):
        began, got = time.perf_counter(), 0
        await send(MESSAGE)
        while got < len(MESSAGE):
            got += len(await receive(1 << 16))
        times.append(time.perf_counter() - began)
    figures["round trip, us"] = statistics.median(times) * 1e6
    send, receive = await dial()
    began, got = time.perf_counter(), 0
    await send(b"d" + size.to_bytes(8, "big"))
    while got < size:
        got += len(await receive(1 << 18))
    figures["download, MB/s"] = size / (time.perf_counter() - began) / 1e6
    send, receive = await dial()
    began, part = time.perf_counter(), bytes(1 << 16)
    await send(b"u" + size.to_bytes(8, "big"))
    for _ in range(size // len(part)):
        await send(part)
    await receive(1)
    figures["upload, MB/s"] = size / (time.perf_counter() - began) / 1e6
    return figures


async def turn(way: Any, size: int, mtu: int) -> dict[str, float]:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in (near, far):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 6 << 20)
    near.setblocking(False)
    words = [sys.executable, __file__, "--device", str(far.fileno()), "--mtu", str(mtu)]
    child = subprocess.Popen(
        words, pass_fds=[far.fileno()], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    far.close()
    try:
        assert child.stdout is not None
        child.stdout.readline()
        async with way(near, mtu) as dial:
            return await measure(dial, size)
    finally:
        child.communicate(b"")
        near.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mtu", type=int, default=16000)
    parser.add_argument("--device", type=int)
    words = parser.parse_args()
    if words.device is not None:
        device(words.device, words.mtu)
        return
    ways = {"pystack": by_pystack, "pmd-pytcp": by_pytcp}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(words.rounds):
        for name, way in ways.items():
            found[name].append(asyncio.run(turn(way, BYTES[name], words.mtu)))
    for figure in found["pystack"][0]:
        ours, theirs = (statistics.median(one[figure] for one in found[name]) for name in ways)
        print(f"{figure:16} {ours:9.1f} {theirs:9.1f}  x {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
