"""Worlds: hosts, links, time, threads and asyncio under one virtual clock."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import queue
import random
import re
import socket
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pystack.world import Conditions, DeadlockError, World


def pair(world: World, **conditions: object):
    left, right = world.host("left"), world.host("right")
    return left, right, world.link(left, right, **conditions)


def serve(host, handle, port: int = 80) -> threading.Thread:
    """Accepts one connection, which `handle` gets."""

    def run() -> None:
        with socket.create_server(("", port)) as listener:
            connection, _peer = listener.accept()
            with connection:
                handle(connection)

    return host.thread(run)


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


# --- links -------------------------------------------------------------------------------------


def test_a_round_trip_takes_twice_the_delay_of_the_link() -> None:
    with World() as world:
        left, _right, _link = pair(world, delay="20ms")
        left.ping("right")
        reply = left.ping("right").replies[0]
        assert reply.rtt_ms == pytest.approx(40, abs=0.5)
        events, frames = world.counts()
        assert frames >= 6  # ARP, and two echoes
        assert events > 0


def test_names_are_found_by_every_host_in_both_families() -> None:
    with World() as world:
        left, right, _link = pair(world)
        found = {entry[4][0] for entry in left.sockets.getaddrinfo("right", 80)}
        assert found == {"10.0.0.2", "fd00::2"}
        assert right.sockets.gethostbyname("left") == "10.0.0.1"


def test_a_rate_takes_its_time_and_a_full_queue_drops() -> None:
    with World() as world:
        left, right, link = pair(world, rate="1Mbit/s", queue=10)
        left.ping("right")
        before = link.counts(left)
        got = []
        taker = right.sockets.socket(type=socket.SOCK_DGRAM)
        taker.bind(("", 9))
        taker.settimeout(1)
        with left.socket(type=socket.SOCK_DGRAM) as sender:
            began = world.now
            for number in range(20):
                sender.sendto(bytes([number]) * 1208, ("right", 9))  # 1250 bytes with its headers
        for _each in range(11):
            got.append(taker.recv(2000)[0])
        # One is being sent and ten wait; 1250 bytes take 10 ms.
        assert got == list(range(11))
        assert world.now - began == pytest.approx(0.110, abs=0.001)
        assert link.counts(left).overflowed - before.overflowed == 9
        with pytest.raises(TimeoutError):
            taker.recv(2000)
        taker.close()


def test_losses_are_the_seeds() -> None:
    def lost(seed: int) -> list[int | None]:
        with World(seed=seed) as world:
            left, _right, link = pair(world, loss=0.3)
            replies = left.ping("right", count=40, interval=0.1, timeout=0.05).replies
            assert link.counts(left).lost > 0
            return [reply.sequence for reply in replies if reply.rtt_ms is None]

    assert lost(1) == lost(1)
    assert lost(1) != lost(2)


def test_bursts_come_together() -> None:
    with World(seed=5) as world:
        left, right, link = pair(world, to_bad=0.02, to_good=0.2)
        taker = right.sockets.socket(type=socket.SOCK_DGRAM)
        taker.bind(("", 9))
        taker.setblocking(False)
        left.ping("right", count=5, timeout=0.1)
        with left.socket(type=socket.SOCK_DGRAM) as sender:
            for number in range(2000):
                sender.sendto(number.to_bytes(2, "big"), ("right", 9))
                world.sleep(0.001)
        got = []
        with pytest.raises(BlockingIOError):
            while True:
                got.append(int.from_bytes(taker.recv(10), "big"))
        taker.close()
        gaps = [after - before - 1 for before, after in itertools.pairwise(got)]
        bursts = [gap for gap in gaps if gap > 0]
        assert link.counts(left).lost > 50
        assert 3 < sum(bursts) / len(bursts) < 8  # 1/to_good is 5


def test_a_link_that_is_down_loses_what_is_on_its_way_and_heals() -> None:
    with World() as world:
        left, right, link = pair(world, delay="10ms")
        server = serve(right, lambda sock: got.append(read_all(sock)))
        got: list[bytes] = []
        sock = left.sockets.create_connection(("right", 80))
        sock.sendall(b"before ")
        world.sleep(0.1)
        link.down()
        sock.sendall(b"meanwhile ")
        world.sleep(30)
        assert link.counts(left).cut_off > 3  # it was sent again and again
        link.up()
        sock.sendall(b"after")
        sock.close()
        server.join()
        assert got == [b"before meanwhile after"]


def test_one_direction_alone_can_be_cut() -> None:
    with World() as world:
        left, right, link = pair(world)
        left.ping("right")
        link.down(right)
        assert left.ping("right").received == 0
        assert link.counts(left).cut_off == 0
        link.up(right)
        assert left.ping("right").received == 1


def test_routers_forward() -> None:
    with World() as world:
        left, middle, right = world.host("left"), world.router("middle"), world.host("right")
        world.link(left, middle, delay="5ms")
        world.link(middle, right, delay="5ms", mtu=1400)
        left.routes.add("0.0.0.0/0", gateway="10.0.0.2")
        right.routes.add("0.0.0.0/0", gateway="10.0.1.1")
        left.ping("10.0.1.2")
        reply = left.ping("10.0.1.2").replies[0]
        assert reply.rtt_ms == pytest.approx(20, abs=0.5)
        got: list[bytes] = []
        server = serve(right, lambda sock: got.append(read_all(sock)))
        sock = left.sockets.create_connection(("10.0.1.2", 80))
        sock.sendall(bytes(100_000))  # the path's MTU is found
        sock.close()
        server.join()
        assert len(got[0]) == 100_000


def test_a_partition_cuts_groups_apart_until_it_heals() -> None:
    with World() as world:
        one, two, three = (world.host(name) for name in ("one", "two", "three"))
        for left, right in ((one, two), (two, three), (one, three)):
            world.link(left, right)
        world.partition([one, two], [three])
        assert one.ping("10.0.0.2").received == 1
        assert one.ping("10.0.2.2", timeout=0.1).received == 0
        with pytest.raises(ValueError, match="two groups"):
            world.partition([one], [one, two])
        world.heal()
        assert one.ping("10.0.2.2").received == 1


def test_a_crashed_host_says_nothing_and_comes_back_without_its_connections() -> None:
    with World() as world:
        left, right, _link = pair(world, delay="10ms")
        sent: list[bytes] = []
        serve(right, lambda sock: sent.append(read_all(sock)))
        sock = left.sockets.create_connection(("right", 80))
        sock.sendall(b"before")
        world.sleep(1)
        before = [one.mac for one in right.interfaces]
        right.crash()
        sock.settimeout(5)
        with pytest.raises(TimeoutError):  # half open: no reset comes
            sock.recv(1)
        right.restart()
        assert [one.mac for one in right.interfaces] == before
        sock.sendall(b"after")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        assert sent == []
        got: list[bytes] = []
        server = serve(right, lambda sock: got.append(read_all(sock)))
        with left.sockets.create_connection(("right", 80)) as again:
            again.sendall(b"anew")
        server.join()
        assert got == [b"anew"]
        sock.close()


def test_a_crash_cancels_what_runs_on_the_host() -> None:
    ended: list[str] = []

    async def wait(name: str) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ended.append(name)

    with World() as world:
        left, right, _link = pair(world)

        async def main() -> None:
            tasks = [left.spawn(wait("left")), right.spawn(wait("right"))]
            await asyncio.sleep(1)
            right.crash()
            await asyncio.sleep(1)
            assert ended == ["right"]
            await tasks[0]

        world.run(main())
        assert world.now == pytest.approx(100)


def test_conditions_that_make_no_sense_are_refused() -> None:
    for wrong in ({"loss": 1.5}, {"delay": "20 parsecs"}, {"rate": "-1"}, {"queue": 0}):
        with pytest.raises(ValueError):
            Conditions(**wrong)
    with World() as world:
        left, _right, link = pair(world)
        with pytest.raises(TypeError):
            link.change(lost=1)
        other = World()
        with pytest.raises(ValueError, match="not in this World"):
            other.link(left, other.host("x"))
        with pytest.raises(RuntimeError, match="another World"), other:
            pass
        other.close()
        with pytest.raises(ValueError, match="neither end"):
            link.down(world.host("far"))


# --- time and threads ----------------------------------------------------------------------------


def test_time_is_the_worlds_and_passes_in_an_instant() -> None:
    began = time.process_time()
    with World(epoch=1e9) as world:
        assert time.time() == pytest.approx(1e9)
        time.sleep(86_400)
        assert world.now == pytest.approx(86_400)
        assert time.time() == pytest.approx(1e9 + 86_400)
        assert time.monotonic() == pytest.approx(86_401)
    assert time.process_time() - began < 30
    assert time.time() > 1.7e9


def test_a_timeout_is_the_worlds() -> None:
    with World() as world:
        left, right, _link = pair(world)
        listener = right.sockets.create_server(("", 80))
        sock = left.sockets.create_connection(("right", 80))
        sock.settimeout(100)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        assert world.now == pytest.approx(100, abs=0.1)
        sock.close()
        listener.close()


def test_threads_take_turns_in_the_order_of_their_moments() -> None:
    with World() as world:
        order: list[str] = []
        host = world.host("one")

        def sleeper(name: str, *times: float) -> None:
            for seconds in times:
                time.sleep(seconds)
                order.append(f"{name}{world.now:g}")

        threads = [host.thread(sleeper, "a", 2, 2, 2), host.thread(sleeper, "b", 3, 1)]
        for thread in threads:
            thread.join()
        assert order == ["a2", "b3", "a4", "b4", "a6"]


def test_the_primitives_of_threading_wait_in_the_worlds_time() -> None:
    with World() as world:
        lock, event, condition = threading.Lock(), threading.Event(), threading.Condition()
        tasks: queue.Queue[int] = queue.Queue(maxsize=1)
        simple: queue.SimpleQueue[int] = queue.SimpleQueue()
        barrier = threading.Barrier(2)
        seen: list[object] = []

        def other() -> None:
            with lock:
                time.sleep(5)
            event.wait()
            seen.append(("event", world.now))
            with condition:
                condition.notify()
            for number in range(3):
                tasks.put(number)
            simple.put(7)
            barrier.wait()

        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(1)
        assert not lock.acquire(timeout=1)
        assert lock.acquire()
        assert world.now == pytest.approx(5)
        assert not event.wait(2)
        with condition:
            event.set()
            assert condition.wait(10)
        time.sleep(1)
        assert [tasks.get() for _each in range(3)] == [0, 1, 2]
        assert simple.get() == 7
        barrier.wait()
        thread.join()
        with pytest.raises(queue.Empty):
            tasks.get(timeout=50)
        assert seen == [("event", 7.0)]
        assert world.now == pytest.approx(58)


def test_a_pool_of_threads_runs_in_the_world() -> None:
    with World() as world:

        def work(number: int) -> float:
            time.sleep(number)
            return world.now

        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            assert list(pool.map(work, (3, 1, 2))) == [3, 1, 2]
            future = pool.submit(work, 10)
            with pytest.raises(concurrent.futures.TimeoutError):
                future.result(timeout=4)
            assert world.now == pytest.approx(7)
        assert world.now == pytest.approx(13)


def test_a_thread_from_outside_is_refused() -> None:
    go = threading.Event()
    takers: list[socket.socket] = []
    told: list[str] = []

    def stray() -> None:
        go.wait()
        with pytest.raises(RuntimeError) as caught:
            takers[0].recv(10)
        told.append(str(caught.value))

    thread = threading.Thread(target=stray)
    thread.start()
    with World() as world:
        taker = world.host("one").sockets.socket(type=socket.SOCK_DGRAM)
        taker.bind(("", 9))
        takers.append(taker)
        go.set()
        thread.join()
        assert "takes no part in the World" in told[0]
        taker.close()


def test_closing_ends_threads_that_wait() -> None:
    ended: list[object] = []
    with World() as world:
        left, right, _link = pair(world)

        def wait(call, *arguments) -> None:
            try:
                call(*arguments)
            except SystemExit as error:
                ended.append(str(error))
                raise

        taker = right.sockets.socket(type=socket.SOCK_DGRAM)
        taker.bind(("", 9))
        left.thread(wait, time.sleep, 1000)
        right.thread(wait, taker.recv, 10)
        time.sleep(1)
    assert ended == ["the host has lost power, or the World has ended"] * 2


def test_closing_ends_threads_that_swallow_its_errors() -> None:
    ended: list[str] = []

    def deaf(sock: socket.socket) -> None:
        try:
            while True:
                try:
                    sock.recv(10)
                except OSError:
                    pass
        finally:
            ended.append("deaf")

    with World() as world:
        host = world.host("one")
        with host.socket(type=socket.SOCK_DGRAM) as taker:
            taker.bind(("", 9))
            thread = host.thread(deaf, taker)
            time.sleep(1)
            world.close()
    thread.join(60)
    assert ended == ["deaf"]


def test_nothing_left_to_happen_is_an_error_that_says_who_waits() -> None:
    with World() as world:
        left, right, _link = pair(world)
        listener = right.sockets.create_server(("", 80))
        sock = left.sockets.create_connection(("right", 80))
        accepted, _peer = listener.accept()
        right.thread(listener.accept, name="acceptor of a second")
        with pytest.raises(DeadlockError) as caught:
            sock.recv(1)
        told = str(caught.value)
        assert re.search(r"thread 'acceptor of a second' waits at .*accept", told), told
        assert re.search(
            r"thread 'MainThread' waits at .*test_world.py:\d+ \(test_nothing", told
        ), told
        for one in (sock, accepted, listener):
            one.close()


def test_a_reader_who_never_reads_is_one_too() -> None:
    with World() as world:
        left, right, _link = pair(world)
        with right.sockets.create_server(("", 80)) as listener:
            sock = left.sockets.create_connection(("right", 80))
            accepted, _peer = listener.accept()
            with sock, accepted, pytest.raises(DeadlockError, match="MainThread"):
                sock.sendall(bytes(8 << 20))  # whose window is probed for ever


def test_two_runs_of_one_seed_are_alike() -> None:
    def run(schedule: str) -> list[object]:
        log: list[object] = []
        with World(seed=9, schedule=schedule) as world:
            left, right, link = pair(world, delay="5ms", jitter="3ms", loss=0.05)

            def worker(number: int) -> None:
                for _each in range(5):
                    time.sleep(random.Random(number).choice([0, 1]))
                    log.append((number, world.now))

            threads = [left.thread(worker, number) for number in range(6)]
            server = serve(right, lambda sock: log.append(len(read_all(sock))))
            sock = left.sockets.create_connection(("right", 80))
            sock.sendall(bytes(300_000))
            sock.close()
            for thread in [*threads, server]:
                thread.join()
            log.append((link.counts(left), world.now))
        return log

    assert run("fifo") == run("fifo")
    assert run("random") == run("random")
    assert run("random") != run("fifo")


def test_two_runs_of_one_seed_give_the_same_capture(tmp_path: Path) -> None:
    def run(name: str, seed: int) -> bytes:
        path = tmp_path / f"{name}.pcapng"
        with World(seed=seed) as world:
            left, right, _link = pair(world, capture=path, delay="3ms", jitter="1ms", loss=0.1)
            server = serve(right, read_all)
            with left.sockets.create_connection(("right", 80)) as sock:
                sock.sendall(bytes(100_000))
            server.join()
        return path.read_bytes()

    first = run("first", 1)
    assert len(first) > 100_000
    assert first == run("second", 1)
    assert first != run("other", 2)


# --- asyncio --------------------------------------------------------------------------------------


def test_streams_of_asyncio_run_unchanged() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read())[::-1])
        writer.close()

    async def server() -> None:
        async with await asyncio.start_server(answer, "", 80) as made:
            await made.serve_forever()

    async def client() -> bytes:
        await asyncio.sleep(3600)
        reader, writer = await asyncio.open_connection("right", 80)
        writer.write(b"hello")
        writer.write_eof()
        got = await reader.read()
        writer.close()
        return got

    with World() as world:
        left, right, _link = pair(world, delay="10ms")

        async def main() -> bytes:
            right.spawn(server())
            return await left.run(client())

        assert world.run(main()) == b"olleh"
        assert world.now == pytest.approx(3600, abs=0.2)


def test_timeouts_of_asyncio_are_the_worlds() -> None:
    with World() as world:

        async def main() -> None:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 500)
            assert world.now == pytest.approx(500)
            loop = asyncio.get_running_loop()
            assert await loop.run_in_executor(None, lambda: (time.sleep(7), world.now)[1]) == 507

        world.run(main())


def test_tasks_that_wait_for_ever_are_named() -> None:
    with World() as world:
        host = world.host("one")

        async def stuck() -> None:
            await asyncio.Event().wait()

        async def main() -> None:
            await host.run(stuck())

        with pytest.raises(DeadlockError, match=r"one: .*stuck.*test_world"):
            world.run(main())


def test_a_web_server_in_a_thread_and_urllib_in_another() -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.path.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    with World() as world:
        left, right, _link = pair(world, delay="30ms")

        def run() -> None:
            with HTTPServer(("", 80), Handler) as server:
                for _each in range(3):
                    server.handle_request()

        server = right.thread(run)
        with left.active():
            for path in ("/a", "/b", "/c"):
                with urllib.request.urlopen(f"http://right{path}") as answer:
                    assert answer.read().decode() == path
        server.join()
        assert 0.3 < world.now < 1
