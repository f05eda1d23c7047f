"""200 connections that come and go over a bad wire, half of them with TLS, for a long time.

`PYSTACK_SOAK_SECONDS=1800 pytest -s -m slow tests/stress/test_soak.py` is the long run; it prints
the process's memory once a minute. With `PYSTACK_SOAK_ON=kernel` the same program runs on the
kernel's sockets (without a bad wire), to compare with: what the C library keeps free in its
arenas grows for half an hour with both.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import random
import resource
import socket
import ssl
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import trustme

import pystack
from pystack.nic import Impairment, impair

SECONDS = float(os.environ.get("PYSTACK_SOAK_SECONDS", "20"))
TASKS, THREADS = 150, 50
ON_KERNEL = os.environ.get("PYSTACK_SOAK_ON") == "kernel"
SERVER = "127.0.0.1" if ON_KERNEL else "10.0.0.2"
FAULTS = Impairment(
    loss=0.01,
    reorder=0.02,
    corrupt=0.01,
    duplicate=0.01,
    delay=0.005,
    jitter=0.003,
    rate=200_000_000,
)
SIZES = (1, 100, 1000, 20_000, 100_000)
MOST_PAUSE = 4.0  # seconds between two messages of a connection
PAGE_BYTES = resource.getpagesize()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


class _MallInfo(ctypes.Structure):
    """What mallinfo2(3) tells."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def heap_bytes() -> tuple[int, int]:
    """What is in use of the C library's heap, and what it keeps free; 0: it doesn't tell."""
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo is None:
        return 0, 0
    mallinfo.restype = _MallInfo
    told = mallinfo()
    return int(told.uordblks + told.hblkhd), int(told.fordblks)


def held_bytes() -> int:
    """The process's memory without what the C library keeps for later."""
    return resident_bytes() - heap_bytes()[1]


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and the client's."""
    authority = trustme.CA()
    server, client = (
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        ssl.create_default_context(),
    )
    authority.issue_cert(SERVER).configure_cert(server)
    authority.configure_trust(client)
    return server, client


class Tally:
    """What all connections did, and the first that went wrong."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connections = self.bytes = 0
        self.failures: list[BaseException] = []

    def exchanged(self, count: int) -> None:
        with self.lock:
            self.bytes += count

    def connected(self) -> None:
        with self.lock:
            self.connections += 1


async def converse(
    number: int, port: int, tls: ssl.SSLContext | None, more: Callable[[], bool], tally: Tally
) -> None:
    """One client of asyncio's: connection after connection, each with a few messages."""
    chance = random.Random(number)
    while more():
        reader, writer = await asyncio.open_connection(SERVER, port, ssl=tls)
        tally.connected()
        for _ in range(chance.randrange(1, 6)):
            message = chance.randbytes(chance.choice(SIZES))
            writer.write(message)
            await writer.drain()
            assert await reader.readexactly(len(message)) == message
            tally.exchanged(len(message))
            await asyncio.sleep(chance.random() * MOST_PAUSE)
        writer.close()
        await writer.wait_closed()


def talk(
    number: int,
    connect: Callable[[], Any],
    tls: ssl.SSLContext | None,
    more: Callable[[], bool],
    tally: Tally,
) -> None:
    """The same with blocking calls."""
    chance = random.Random(-number)
    try:
        while more():
            with connect() as plain:
                sock = plain if tls is None else tls.wrap_socket(plain, server_hostname=SERVER)
                tally.connected()
                for _ in range(chance.randrange(1, 6)):
                    message = chance.randbytes(chance.choice(SIZES))
                    sock.sendall(message)
                    got = bytearray()
                    while len(got) < len(message):
                        piece = sock.recv(65536)
                        assert piece, "the connection ended early"
                        got += piece
                    assert got == message
                    tally.exchanged(len(message))
                    time.sleep(chance.random() * MOST_PAUSE)
                sock.close()
    except BaseException as error:
        tally.failures.append(error)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    finally:
        writer.close()
        await writer.wait_closed()


class Server:
    """Echoes, with TLS and without, on an event loop of its own thread."""

    def __init__(self, sockets: Any, tls: ssl.SSLContext) -> None:
        self.listeners = [sockets.create_server((SERVER, 0), backlog=250) for _ in range(2)]
        self.plain, self.tls = (one.getsockname()[1] for one in self.listeners)
        self._context = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._over = asyncio.Event()
        self._thread.start()

    async def _serve(self) -> None:
        running: set[asyncio.Task[None]] = set()

        async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            running.add(task)
            task.add_done_callback(running.discard)
            await echo(reader, writer)

        plain, tls = self.listeners
        servers = [
            await asyncio.start_server(serve_one, sock=plain),
            await asyncio.start_server(serve_one, sock=tls, ssl=self._context),
        ]
        await self._over.wait()
        for server in servers:
            server.close()
        await asyncio.gather(*running)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(60)
        assert not self._thread.is_alive()
        self._loop.close()


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 900)
def test_soak(capsys: pytest.CaptureFixture[str]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip("a socket of asyncio's takes two descriptors, and there are too few")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    for_server, for_client = contexts()
    gc.collect()
    descriptors, threads = open_descriptors(), threading.active_count()
    tally, memory = Tally(), []
    begin = time.monotonic()

    def more() -> bool:
        return time.monotonic() < begin + SECONDS and not tally.failures

    def watch() -> None:
        told = begin
        while more():
            time.sleep(1)
            memory.append(held_bytes())
            if time.monotonic() - told >= 60:
                told = time.monotonic()
                used, free = (size / 1e6 for size in heap_bytes())
                with capsys.disabled():
                    print(
                        f"{told - begin:5.0f} s: {resident_bytes() / 1e6:.1f} MB,"
                        f" {used:.1f} MB of heap and {free:.1f} MB free in it,"
                        f" {len(gc.get_objects())} objects,"
                        f" {tally.connections} connections, {tally.bytes / 1e6:.0f} MB",
                        flush=True,
                    )

    left, right = pystack.nic.wire(queue_frames=8192)
    wire = impair(left, FAULTS, FAULTS, seed=7)
    with wire, right, pystack.Stack() as clients, pystack.Stack() as servers:
        at_client: Any = clients.sockets
        at_server: Any = servers.sockets
        if ON_KERNEL:
            at_client = at_server = socket
        else:
            clients.attach(wire, "10.0.0.1/24")
            servers.attach(right, f"{SERVER}/24")
        server = Server(at_server, for_server)

        def connector(port: int) -> Callable[[], Any]:
            return lambda: at_client.create_connection((SERVER, port), 120)

        talkers = [
            threading.Thread(
                target=talk,
                args=(
                    number,
                    connector(server.tls if number % 2 else server.plain),
                    for_client if number % 2 else None,
                    more,
                    tally,
                ),
            )
            for number in range(THREADS)
        ]
        watcher = threading.Thread(target=watch)
        for thread in (watcher, *talkers):
            thread.start()

        async def main() -> None:
            await asyncio.gather(
                *(
                    converse(
                        number,
                        server.tls if number % 2 else server.plain,
                        for_client if number % 2 else None,
                        more,
                        tally,
                    )
                    for number in range(TASKS)
                )
            )

        try:
            with nullcontext() if ON_KERNEL else clients.active():
                asyncio.run(main())
        except BaseException as error:
            tally.failures.append(error)
        for thread in (watcher, *talkers):
            thread.join(180)
        server.close()
        assert tally.failures == []
        assert tally.connections >= TASKS + THREADS
        wait = time.monotonic() + 60
        while threading.active_count() > threads + 2 and time.monotonic() < wait:
            time.sleep(0.05)
    gc.collect()
    assert threading.active_count() == threads
    assert open_descriptors() == descriptors
    assert clients.arena.live_blocks == servers.arena.live_blocks == 0
    # The first third warms up; what comes after stays where it is.
    third = len(memory) // 3
    early, late = (statistics.median(part) for part in (memory[third : 2 * third], memory[-third:]))
    assert late - early < 8e6, f"grew from {early / 1e6:.1f} to {late / 1e6:.1f} MB"
