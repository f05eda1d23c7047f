"""Loops of asyncio's own, in threads of a World's hosts."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
import time

import pytest

from pystack.world import World


async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write((await reader.read()).upper())
    writer.close()


async def serve() -> None:
    async with await asyncio.start_server(upper, "", 80) as server:
        await server.serve_forever()


async def ask(name: str) -> bytes:
    await asyncio.sleep(3600)
    reader, writer = await asyncio.open_connection(name, 80)  # looked up in another thread
    writer.write(b"hello")
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


def test_each_host_may_run_one() -> None:
    got = []
    with World() as world:
        client, server = world.host("client"), world.host("server")
        world.link(client, server, delay="20ms")
        server.thread(asyncio.run, serve())
        client.thread(lambda: got.append(asyncio.run(ask("server")))).join()
        assert 3600 < world.now < 3601
        assert not world.failures
    assert got == [b"HELLO"]


def test_a_pool_that_is_left_ends_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    with World() as world:
        pool = concurrent.futures.ThreadPoolExecutor(2)
        assert pool.submit(time.sleep, 3600).result() is None
        assert world.now == 3600
    assert not caplog.records
    pool.shutdown()


@pytest.mark.parametrize("crashes", [True, False])
def test_its_tasks_end_with_the_host(crashes: bool, caplog: pytest.LogCaptureFixture) -> None:
    ended: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(await reader.readexactly(1))
            await reader.read()
        finally:
            ended.append("answer")
            writer.close()

    async def tick() -> None:
        try:
            while True:
                await asyncio.sleep(1)
        finally:
            ended.append("tick")

    async def stay() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("stay")
            await asyncio.sleep(3600)  # for which there is no power

    async def main() -> None:
        async with await asyncio.start_server(answer, "", 80):
            await asyncio.gather(tick(), stay())

    def run() -> None:
        asyncio.run(main())

    with World() as world:
        client, server = world.host("client"), world.host("server")
        world.link(client, server, delay="20ms")
        server.service(run)
        world.sleep(1)
        with client.sockets.create_connection(("server", 80)) as sock:
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"
            if crashes:
                server.crash()
                world.sleep(2)
                assert sorted(ended) == ["answer", "stay", "tick"]
            assert not world.failures
    assert sorted(ended) == ["answer", "stay", "tick"]
    gc.collect()
    assert not caplog.records  # of a "Task was destroyed but it is pending", say


def test_threads_of_the_world_wake_one() -> None:
    ended = []

    async def wait() -> None:
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        threading.Timer(60, loop.call_soon_threadsafe, [event.set]).start()
        await event.wait()
        ended.append(time.monotonic())
        await asyncio.to_thread(time.sleep, 60)
        ended.append(time.monotonic())

    with World() as world:
        began = time.monotonic()
        world.host("one").thread(asyncio.run, wait()).join()
    assert [round(each - began) for each in ended] == [60, 120]
