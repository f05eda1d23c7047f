"""Many asyncio clients and many threads on one Stack, over a wire that loses frames."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import resource
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from quick import slow

import pystack
from pystack.nic import Impairment, impair

SECONDS = float(os.environ.get("PYSTACK_LOAD_SECONDS", "60"))
TASKS, THREADS = 500, 50
SERVER = "10.0.0.2"


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seconds", [5, slow(SECONDS)])
@pytest.mark.slow
def test_five_hundred_tasks_and_fifty_threads(seconds: float) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 8192:
        pytest.skip("a socket of asyncio's takes two descriptors, and there are too few")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 8192), hard))
    gc.collect()
    descriptors, threads = open_descriptors(), threading.active_count()
    left, right = pystack.nic.wire(queue_frames=8192)
    lossy = impair(left, Impairment(loss=0.01), Impairment(loss=0.01), seed=5)
    tally = {"tasks": 0, "bytes": 0}
    over = threading.Event()
    failures: list[BaseException] = []
    with lossy, right, pystack.Stack() as clients, pystack.Stack() as servers:
        clients.attach(lossy, "10.0.0.1/24")
        servers.attach(right, f"{SERVER}/24")
        deadline = time.monotonic() + seconds

        echoes: set[asyncio.Task[None]] = set()

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            echoes.add(task)
            task.add_done_callback(echoes.discard)
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        async def ask(number: int, port: int) -> None:
            chance = random.Random(number)
            await asyncio.sleep(chance.random() * 2)
            rounds = 0
            while (time.monotonic() < deadline or rounds < 2) and not failures:
                rounds += 1
                reader, writer = await asyncio.open_connection(SERVER, port)
                for _ in range(chance.randrange(1, 5)):
                    message = chance.randbytes(chance.choice((10, 1000, 20_000)))
                    writer.write(message)
                    await writer.drain()
                    assert await reader.readexactly(len(message)) == message
                    tally["tasks"] += 1
                    tally["bytes"] += len(message)
                writer.close()
                await writer.wait_closed()
                await asyncio.sleep(chance.random() / 2)

        async def main(listener: Any) -> None:
            server = await asyncio.start_server(echo, sock=listener)
            port = listener.getsockname()[1]
            await asyncio.gather(*(ask(number, port) for number in range(TASKS)))
            server.close()
            await server.wait_closed()
            await asyncio.gather(*echoes)  # or the last transports outlive their loop

        def serve(listener: Any) -> None:
            with listener:
                while not over.is_set() and not failures:
                    try:
                        sock, _peer = listener.accept()
                    except TimeoutError:
                        continue
                    threading.Thread(target=answer, args=(sock,)).start()

        def answer(sock: Any) -> None:
            with sock:
                while piece := sock.recv(65536):
                    sock.sendall(piece)

        def talk(number: int, port: int) -> None:
            chance, rounds = random.Random(-number), 0
            try:
                while (time.monotonic() < deadline or rounds < 2) and not failures:
                    rounds += 1
                    with clients.sockets.create_connection((SERVER, port), 60) as sock:
                        message = chance.randbytes(chance.choice((10, 1000, 50_000)))
                        sock.sendall(message)
                        got = bytearray()
                        while len(got) < len(message):
                            piece = sock.recv(65536)
                            assert piece
                            got += piece
                        assert got == message
                        tally["bytes"] += len(message)
                    time.sleep(chance.random() / 5)
            except BaseException as error:
                failures.append(error)

        blocking = servers.sockets.create_server((SERVER, 0), backlog=200)
        blocking.settimeout(0.5)
        port = blocking.getsockname()[1]
        acceptor = threading.Thread(target=serve, args=(blocking,))
        talkers = [threading.Thread(target=talk, args=(n, port)) for n in range(1, THREADS + 1)]
        for thread in (acceptor, *talkers):
            thread.start()
        listener = servers.sockets.create_server((SERVER, 0), backlog=250)
        try:
            with clients.installed():
                asyncio.run(main(listener))
        except BaseException as error:
            failures.append(error)
        for thread in talkers:
            thread.join(90)
        over.set()
        acceptor.join(90)
        assert failures == []
        assert tally["tasks"] > 500
        assert tally["bytes"] > 5_000_000
        wait = time.monotonic() + 60
        while threading.active_count() > threads and time.monotonic() < wait:
            time.sleep(0.05)
    assert threading.active_count() == threads
    gc.collect()
    assert open_descriptors() == descriptors
    assert clients.arena.live_blocks == servers.arena.live_blocks == 0
