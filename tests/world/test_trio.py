"""trio in a World: its clock, sockets and threads are the World's."""

from __future__ import annotations

import errno
import functools
import threading
import time
from pathlib import Path

import pytest
import trio

import pystack
from pystack.errors import DeadlockError
from pystack.world import Host, World


async def echo(stream: trio.SocketStream) -> None:
    async with stream:
        async for data in stream:
            await stream.send_all(data.upper())


async def serve() -> None:
    await trio.serve_listeners(echo, await trio.open_tcp_listeners(80, host="0.0.0.0"))


def pair(world: World, **options: object) -> tuple[Host, Host]:
    client, server = world.host("client"), world.host("server")
    world.link(client, server, delay="20ms", **options)
    return client, server


def test_an_echo_an_hour_later() -> None:
    with World() as world:
        client, server = pair(world)

        async def ask() -> tuple[bytes, float]:
            await trio.sleep(3600)
            stream = await trio.open_tcp_stream("server", 80)
            await stream.send_all(b"hello")
            answer = await stream.receive_some()
            began = trio.current_time()
            with trio.move_on_after(50) as scope:
                await stream.receive_some()
            assert scope.cancelled_caught
            await stream.aclose()
            return answer, trio.current_time() - began

        async def main() -> tuple[bytes, float]:
            async with trio.open_nursery() as nursery:
                server.start_soon(nursery, serve)
                found = await client.run(ask())
                nursery.cancel_scope.cancel()
            return found

        began = time.perf_counter()
        assert world.run_trio(main) == (b"HELLO", 50.0)
        assert world.now == pytest.approx(3600 + 0.12 + 50, abs=0.1)
        assert time.perf_counter() == pytest.approx(began + world.now, abs=0.01)


def test_threads_of_trio_take_part() -> None:
    with World() as world:

        def work() -> tuple[float, bool]:
            time.sleep(5)
            there = threading.current_thread() is not threading.main_thread()
            trio.from_thread.run(trio.sleep, 2)
            return time.monotonic(), there

        async def main() -> tuple[float, bool]:
            return await trio.to_thread.run_sync(work)

        began = world.now
        moment, there = world.run_trio(main)
        assert there
        assert world.now - began == pytest.approx(7)
        assert moment - time.monotonic() == pytest.approx(0, abs=0.001)


def test_a_crash_ends_the_hosts_tasks_and_no_others() -> None:
    with World() as world:
        client, server = pair(world)

        async def ask() -> None:
            stream = await trio.open_tcp_stream("server", 80)
            await stream.receive_some()

        async def main() -> list[str]:
            seen = []
            async with trio.open_nursery() as nursery:
                server.start_soon(nursery, serve)
                nursery.start_soon(later)
                with pytest.raises(ConnectionAbortedError, match="client has crashed"):
                    await client.run(ask())
                seen.append("client")
            seen.append("server")
            server.restart()
            return seen

        async def later() -> None:
            await trio.sleep(60)
            client.crash()
            server.crash()

        assert world.run_trio(main) == ["client", "server"]


def test_a_deadlock_names_the_tasks() -> None:
    with World() as world:
        _client, server = pair(world)

        async def never() -> None:
            await trio.Event().wait()

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                server.start_soon(nursery, serve)
                nursery.start_soon(never)

        with pytest.raises(DeadlockError) as caught:
            world.run_trio(main)
        text = str(caught.value)
        assert "'server: serve' waits at" in text
        assert f"{Path(__file__)}:{never.__code__.co_firstlineno + 1} (never)" in text
        assert "TrioToken" not in text


def test_an_error_ends_it_as_it_ends_trio() -> None:
    with World() as world:

        async def main() -> None:
            await trio.sleep(1)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            world.run_trio(main)
        with pytest.raises(OSError, match="not open") as caught:
            World().run_trio(main)
        assert caught.value.errno == errno.EBADF


def test_one_seed_is_one_capture(tmp_path: Path) -> None:
    def run(file: Path, seed: int) -> bytes:
        with World(seed=seed) as world:
            client, server = pair(world, loss=0.05, capture=file)

            async def ask() -> None:
                stream = await trio.open_tcp_stream("server", 80)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stream.send_all, bytes(100_000))
                    left = 100_000
                    while left:
                        left -= len(await stream.receive_some())
                await stream.aclose()

            async def main() -> None:
                async with trio.open_nursery() as nursery:
                    server.start_soon(nursery, serve)
                    for _ in range(3):
                        await client.run(ask())
                    nursery.cancel_scope.cancel()

            world.run_trio(main)
        return file.read_bytes()

    first, second, other = (run(tmp_path / f"{i}.pcapng", seed) for i, seed in enumerate((1, 1, 2)))
    assert len(first) > 500_000
    assert first == second != other


def test_trio_outside_a_world_in_a_block_of_active() -> None:
    with pystack.Stack() as net, net.active():

        async def main() -> bytes:
            async with trio.open_nursery() as nursery:
                listeners = await nursery.start(
                    functools.partial(trio.serve_tcp, echo, 0, host="127.0.0.1")
                )  # type: list[trio.SocketListener]
                port = listeners[0].socket.getsockname()[1]
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                await stream.send_all(b"hello")
                answer = await stream.receive_some()
                await stream.aclose()
                assert any(one.local[1] == port for one in net.connections())
                nursery.cancel_scope.cancel()
            return bytes(answer)

        assert trio.run(main) == b"HELLO"
