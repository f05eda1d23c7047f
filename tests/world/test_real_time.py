"""The same scenarios in virtual and in real time, and what only real time has."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

import pystack
from pystack import nic
from pystack._native import world as native
from pystack.world import DeadlockError, Fault, Host, OutsideWorldWarning, World, threads

_libc = ctypes.CDLL(None)


def machines_clock() -> float:
    """`time.monotonic`, which no World answers here."""
    now = (ctypes.c_long * 2)()  # struct timespec
    assert _libc.clock_gettime(time.CLOCK_MONOTONIC, now) == 0
    return now[0] + now[1] / 1e9


# --- the same scenario ----------------------------------------------------------------------------


def echo(_world: World, left: Host, right: Host) -> object:
    """Threads: TCP over losses."""

    def serve() -> None:
        with socket.create_server(("", 80)) as listener:
            connection, _peer = listener.accept()
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data.upper())

    right.thread(serve)
    with left.sockets.create_connection(("right", 80)) as sock:
        sock.sendall(b"hello" * 2000)
        sock.shutdown(socket.SHUT_WR)
        got = b"".join(iter(lambda: sock.recv(4096), b""))
    return got[:5], len(got)


def talk(world: World, left: Host, right: Host) -> object:
    """asyncio, with timeouts that pass and that don't."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        writer.close()

    async def serve() -> None:
        async with await asyncio.start_server(answer, "", 80) as server:
            await server.serve_forever()

    async def ask() -> tuple[bytes, float]:
        await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection("right", 80)
        writer.write(b"hello\n")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(reader.readline(), 0.001)
        line = await reader.readline()
        writer.close()
        return line, asyncio.get_running_loop().time()

    async def main() -> object:
        right.spawn(serve())
        return await left.run(ask())

    return world.run(main())


def wait_with_trio(world: World, left: Host, right: Host) -> object:
    """trio."""
    trio = pytest.importorskip("trio")

    async def say(stream: Any) -> None:
        async with stream:
            await stream.send_all(b"hello")

    async def serve() -> None:
        await trio.serve_tcp(say, 80)

    async def ask() -> bytes:
        await trio.sleep(0.02)
        async with await trio.open_tcp_stream("right", 80) as stream:
            return bytes(await stream.receive_some(5))

    async def main() -> tuple[bytes, float]:
        async with trio.open_nursery() as nursery:
            right.start_soon(nursery, serve)
            said = await left.run(ask())
            nursery.cancel_scope.cancel()
        return said, trio.current_time()

    return world.run_trio(main)


def compete(world: World, _left: Host, _right: Host) -> object:
    """Threads whose turn the seed chooses, locks, queues, and the standard library's clocks."""
    order: list[tuple[int, float, float]] = []
    lock = threading.Lock()

    def count(number: int) -> None:
        for _each in range(5):
            time.sleep(0.003)
            with lock:
                order.append((number, time.time(), time.perf_counter()))
                time.sleep(0.0005)

    threads = [threading.Thread(target=count, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return order, world.choose("what", "abc")


def crash(world: World, left: Host, right: Host) -> object:
    """Power fails at a moment, by a fault of the plan."""

    def serve() -> None:
        with socket.create_server(("", 80)) as listener:
            while True:
                listener.accept()[0].close()

    right.service(serve)
    outcome: list[str] = []
    for _each in range(5):
        try:
            left.sockets.create_connection(("right", 80), 0.03).close()
        except OSError as error:
            outcome.append(type(error).__name__)
        else:
            outcome.append("connected")
        world.sleep(0.01)
    return outcome


SCENARIOS = [echo, talk, wait_with_trio, compete, crash]


def play(scenario: Callable[[World, Host, Host], object], **options: Any) -> tuple[object, ...]:
    if scenario is crash:
        options["faults"] = [Fault("crash", "right", at=0.05, lasts=0.04)]
    with World(seed=5, trace=True, schedule="random", **options) as world:
        left, right = world.host("left"), world.host("right")
        world.link(left, right, delay="5ms", rate="20Mbit/s", loss=0.03, jitter="1ms")
        result = scenario(world, left, right)
        took = world.now
    return result, took, [str(each) for each in world.trace], str(world.tape)


@pytest.mark.sanitize
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_both_times_have_the_same_frames(
    scenario: Callable[[World, Host, Host], object],
) -> None:
    virtual = play(scenario)
    began = machines_clock()
    real = play(scenario, time="real")
    took = machines_clock() - began
    assert real == virtual
    assert took >= real[1] > 0.01


# --- the pace -------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["fifo", "random"])
def test_the_clock_is_never_ahead_of_the_machines(schedule: str) -> None:
    before = machines_clock()
    with World(time="real", schedule=schedule) as world:
        ahead = []

        def look() -> None:
            for _each in range(20):
                time.sleep(0.002)
                ahead.append(world.now - (machines_clock() - before))

        threads = [threading.Thread(target=look) for _each in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert machines_clock() - before >= 0.04
    assert max(ahead) <= 0
    assert len(ahead) == 60


def test_a_late_world_leaves_nothing_out_and_catches_up() -> None:
    with World(time="real") as world:
        ticks: list[float] = []

        def tick() -> None:
            for _each in range(10):
                time.sleep(0.01)
                ticks.append(world.now)

        thread = threading.Thread(target=tick)
        thread.start()
        world.sleep(0.005)
        until = machines_clock() + 0.07
        while machines_clock() < until:  # it computes: the World's clock stands still
            assert world.now == pytest.approx(0.005, abs=1e-5)
        assert world.behind >= 0.06
        thread.join()
        while world.behind > 0.001:  # what was due is not waited for: each takes less than that
            world.sleep(0.005)
    assert ticks == pytest.approx([number / 100 for number in range(1, 11)])


def test_in_virtual_time_a_world_is_not_behind() -> None:
    with World() as world:
        world.sleep(5)
        assert world.behind == 0


# --- signals --------------------------------------------------------------------------------------


@contextlib.contextmanager
def signal_comes(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """In a tenth of a second, which is not the World's."""

    def kill() -> None:
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    threads.start_outside(kill, ())
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def wait_for_a_lock(_world: World) -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def run_a_loop(world: World) -> None:
    world.run(asyncio.sleep(1000))


@pytest.mark.parametrize("wait", [lambda world: world.sleep(1000), wait_for_a_lock, run_a_loop])
@pytest.mark.parametrize("other_waits_longer", [False, True])
def test_ctrl_c_ends_a_wait(wait: Callable[[World], None], other_waits_longer: bool) -> None:
    with World(time="real") as world:
        # Who moves the World, and sleeps for it, is the one that began to wait last.
        world.host("a").thread(time.sleep, 2000)
        if other_waits_longer:
            world.sleep(0.001)
        with pytest.raises(KeyboardInterrupt), signal_comes(signal.default_int_handler):
            wait(world)
        assert world.now < 100


def test_a_handler_that_does_not_raise_changes_nothing() -> None:
    seen = []

    def handler(_number: int, _frame: FrameType | None) -> None:
        seen.append(world.now)

    with World(time="real") as world, signal_comes(handler):
        world.sleep(0.3)
        assert world.now == pytest.approx(0.3, abs=1e-5)
        while not seen:  # on a machine that is very busy
            world.sleep(0.01)
    assert seen[0] > 0


# --- nothing can happen, and something from outside -----------------------------------------------


def test_a_deadlock_is_told() -> None:
    with World(time="real") as world, pytest.raises(DeadlockError, match="nothing can ever"):
        wait_for_a_lock(world)


def test_what_comes_from_outside_is_waited_for(monkeypatch: Any) -> None:
    monkeypatch.setattr(native, "SILENCE_S", 0.01)
    began = machines_clock()
    with World(time="real") as world:
        assert world.outside(time.sleep, 0.1) is None
        assert 0.01 < world.now <= machines_clock() - began


# --- from outside ---------------------------------------------------------------------------------


@pytest.mark.sanitize
def test_a_stack_outside_talks_with_a_host() -> None:
    inside, outside = nic.wire()
    with pystack.Stack() as peer, World(time="real") as world:
        peer.attach(outside, "192.0.2.2/24")
        host = world.host("host")
        host.attach(inside, "192.0.2.1/24")
        hosts = world.host("hidden"), world.switch("lan")
        world.link(hosts[0], hosts[1])

        def serve() -> None:
            with socket.create_server(("", 80)) as listener:
                connection, _peer = listener.accept()
                with connection:
                    connection.sendall(connection.recv(100).upper())

        def ask() -> bytes:
            with peer.sockets.create_connection(("192.0.2.1", 80), 60) as sock:
                sock.sendall(b"hello")
                return sock.recv(100)

        host.thread(serve)
        assert world.outside(ask) == b"HELLO"
        with pytest.raises(OSError, match="not supported") as caught:
            threads_end(world)
            world.snapshot()
        assert caught.value.errno == errno.EOPNOTSUPP


def threads_end(world: World) -> None:
    for thread in threading.enumerate():
        if getattr(thread, "_ps_clock", None) is world.clock:
            thread.join()


@pytest.mark.sanitize
def test_a_stack_outside_is_on_a_switch() -> None:
    inside, outside = nic.wire()
    with pystack.Stack() as peer, World(time="real") as world:
        peer.attach(outside, "10.0.0.9/24")
        host, lan = world.host("host"), world.switch("lan")
        world.link(host, lan, delay="5ms")
        lan.attach(inside)
        assert (
            world.outside(lambda: peer.ping("10.0.0.1", count=1, timeout=60)).replies[0].rtt_ms
            >= 10
        )
        with pytest.raises(OSError, match="NIC is in use"):
            lan.attach(inside)
    with pytest.raises(OSError, match="World has ended"):
        lan.attach(inside)


def test_a_switch_is_attached_to_inside_and_has_an_end() -> None:
    with World(time="real") as world:
        lan = world.switch("lan")
        ends = [nic.wire()[0] for _each in range(129)]
        with pytest.raises(RuntimeError, match="in a thread of the World"):
            world.outside(lan.attach, ends[0])
        for end in ends[:128]:
            lan.attach(end)
        with pytest.raises(OSError, match="128 NICs from outside at most") as caught:
            lan.attach(ends[128])
        assert caught.value.errno == errno.EMFILE
        with pytest.raises(OSError, match="128 NICs from outside at most"):
            world.host("a").attach(ends[128], "192.0.2.1/24")
        with pytest.raises(ValueError, match="carries IP packets"):
            lan.attach(nic.wire(layer=nic.Layer.IP)[0])


def test_an_asyncio_loop_outside_carries_frames() -> None:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    made: list[nic.Async] = []
    framing = nic.Framing.LENGTH16

    async def carry() -> None:
        stream = await asyncio.open_unix_connection(sock=left)
        made.append(nic.Async(*stream, layer=nic.Layer.ETHERNET, framing=framing))
        await made[0].wait_closed()

    with (
        pystack.Stack() as peer,
        nic.Descriptor(right, framing=framing) as end,
        World(time="real") as world,
    ):
        lan = world.switch("lan")
        world.link(world.host("host"), lan, delay="5ms")
        loop = threading.Thread(target=world.outside, args=(asyncio.run, carry()))
        loop.start()
        while not made:
            world.sleep(0.001)
        lan.attach(made[0])
        peer.attach(end, "10.0.0.9/24")
        assert (
            world.outside(lambda: peer.ping("10.0.0.1", count=1, timeout=60)).replies[0].rtt_ms
            >= 10
        )
        peer.close()
        end.close()  # the stream's end
        loop.join()


def test_a_flood_from_outside_does_not_stop_the_clock() -> None:
    inside, outside = nic.wire()
    frame = b"\xff" * 6 + b"\x02" + bytes(5) + b"\x88\xb5" + bytes(1000)
    with World(time="real") as world:
        world.switch("lan").attach(inside)
        done = threading.Event()

        sent = 0

        def flood() -> None:
            nonlocal sent
            while not done.is_set():
                with contextlib.suppress(OSError):  # the queue is full
                    outside.send(frame)
                sent += 1

        thread = threading.Thread(target=world.outside, args=(flood,))
        thread.start()
        began, ticks = machines_clock() - world.behind, 0
        while ticks < 10 or sent < 100:
            time.sleep(0.005)
            ticks += 1
        took = machines_clock() - began
        done.set()
        thread.join()
    assert took >= 0.0499


def test_a_loop_is_woken_from_outside() -> None:
    with World(time="real") as world:
        host = world.host("a")

        async def main() -> int:
            loop = asyncio.get_running_loop()
            done = loop.create_future()

            def answer() -> int:
                time.sleep(0.02)
                loop.call_soon_threadsafe(done.set_result, 7)
                return 1

            both = await asyncio.gather(done, asyncio.to_thread(world.outside, answer))
            return sum(both)

        assert world.run(host.run(main())) == 8


def test_outside_is_the_machines() -> None:
    def look() -> tuple[int, str, bool]:
        with socket.socket() as sock, warnings.catch_warnings():
            warnings.simplefilter("error", OutsideWorldWarning)
            sock.bind(("127.0.0.1", 0))
            told = subprocess.run(
                [sys.executable, "-c", "print('hello')"], check=True, capture_output=True, text=True
            )
            while len(ticks) < 2:  # the World goes on meanwhile
                time.sleep(0.001)
            before, now = machines_clock(), time.monotonic()
            return sock.fileno(), told.stdout, before <= now <= machines_clock()

    ticks: list[float] = []

    def tick() -> None:
        while True:
            time.sleep(0.005)
            ticks.append(world.now)

    with World(time="real") as world:
        world.host("a").thread(tick)
        number, said, is_machines = world.outside(look)
        assert number >= 0
        assert (said, is_machines) == ("hello\n", True)
        with pytest.raises(ZeroDivisionError):
            world.outside(lambda: 1 // 0)


def test_the_world_may_end_before_what_is_outside() -> None:
    go_on, ended = threading.Event(), threading.Event()

    def wait() -> None:
        go_on.wait(60)
        ended.set()

    with World(time="real") as world:
        world.host("a").thread(world.outside, wait)
        world.sleep(0.01)
    go_on.set()
    assert ended.wait(60)


# --- what needs the other time --------------------------------------------------------------------


def test_virtual_time_has_no_outside() -> None:
    with World() as world:
        with pytest.raises(OSError, match=r"World\(time='real'\)") as caught:
            world.outside(int)
        assert caught.value.errno == errno.EOPNOTSUPP
        inside, outside = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with outside, nic.Descriptor(inside) as end:
            for attach in (world.switch("lan").attach, world.host("a").attach):
                with pytest.raises(OSError, match=r"World\(time='real'\)"):
                    attach(end)


def test_a_snapshot_goes_back_in_real_time_too() -> None:
    with World(time="real") as world:
        left, right = world.host("left"), world.host("right")
        world.link(left, right, delay="5ms")
        left.ping("right")
        moment, before = world.snapshot(), world.now
        world.sleep(0.05)
        world.restore(moment)
        assert world.now == before
        began = machines_clock() - world.behind
        assert left.ping("right").replies[0].rtt_ms == pytest.approx(10, abs=0.5)
        assert machines_clock() - began >= 0.009


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"time": "slow"}, "'virtual' or 'real', not 'slow'"),
        ({"wires": "string"}, "'memory' or 'tap', not 'string'"),
        ({"wires": "tap", "time": "virtual"}, "no virtual time"),
    ],
)
def test_what_there_is_not_is_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        World(**options)
