"""Signals, and threads that give up neither their turn nor themselves."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from pystack.world import Host, World


def interrupt() -> None:
    time.sleep(1)  # until the main thread waits
    os.kill(os.getpid(), signal.SIGINT)


def sleep_on() -> None:
    interrupt()
    while True:
        time.sleep(1)


def spin() -> None:
    interrupt()
    while True:
        pass


def poll() -> None:
    interrupt()
    while True:
        threading.Event().wait(0)


def accepts(_world: World, host: Host) -> None:
    with host.sockets.create_server(("", 80)) as listener:
        listener.accept()


def receives(_world: World, host: Host) -> None:
    with host.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(1e6)
        sock.recv(1)


def sleeps(_world: World, _host: Host) -> None:
    time.sleep(1e6)


def locks(_world: World, _host: Host) -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def runs(world: World, host: Host) -> None:
    world.run(host.run(asyncio.sleep(1e6)))


def runs_trio(world: World, _host: Host) -> None:
    trio = pytest.importorskip("trio")
    world.run_trio(trio.sleep, 1e6)


@pytest.mark.parametrize(
    ("waits", "goes_on"),
    [
        *((waits, sleep_on) for waits in (accepts, receives, sleeps, locks, runs, runs_trio)),
        *((waits, spin) for waits in (accepts, sleeps, runs_trio)),
        *((waits, poll) for waits in (sleeps, runs, runs_trio)),
    ],
)
def test_ctrl_c_reaches_the_main_thread(
    waits: Callable[[World, Host], None], goes_on: Callable[[], None]
) -> None:
    with World() as world:
        one, other = world.host("a"), world.host("b")
        world.link(one, other)
        thread = other.thread(goes_on)
        with pytest.raises(KeyboardInterrupt):
            waits(world, one)
        assert world.now < 1e5
    thread.join(60)
    assert not thread.is_alive()


@contextmanager
def handled(what: Callable[[], object]) -> Iterator[None]:
    """Calls something whenever SIGUSR1 comes."""

    def handler(_number: int, _frame: FrameType | None) -> None:
        what()

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def exchange(world: World, meanwhile: Callable[[], object]) -> str:
    """Threads that compete for turns at the same moments, while something else is done."""
    one, other = world.host("a"), world.host("b")
    world.link(one, other, delay="1ms", loss=0.1)
    order: list[int] = []

    def count(number: int) -> None:
        for _each in range(30):
            time.sleep(0.01)
            order.append(number)
            if number == 0:
                meanwhile()

    threads = [host.thread(count, n) for n, host in enumerate([one, other, one])]
    one.ping("b", count=5)
    for thread in threads:
        thread.join()
    return f"{order} {world.trace} {world.tape}"


def test_looks_for_signals_change_nothing() -> None:
    came: list[int] = []

    def compute() -> None:
        end = time.thread_time() + 0.006
        while time.thread_time() < end:
            pass

    def signal_itself() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        compute()

    found = []
    with handled(lambda: came.append(1)):
        for meanwhile in (int, compute, signal_itself):
            with World(seed=3, schedule="random", trace=True) as world:
                found.append(exchange(world, meanwhile))
    assert came
    assert found[0] == found[1] == found[2]


def test_a_handler_may_wait_in_the_world() -> None:
    """Its own wait takes nothing from the one that it interrupts."""
    with World() as world:
        slept: list[float] = []

        def sleep() -> None:
            time.sleep(5)
            slept.append(world.now)

        def tick() -> None:
            time.sleep(1)
            os.kill(os.getpid(), signal.SIGUSR1)
            while not slept:
                time.sleep(1)

        with handled(sleep):
            world.host("a").thread(tick)
            time.sleep(1e5)
        assert len(slept) == 1
        assert world.now == 1e5


def test_a_thread_that_wakes_the_first_during_a_look_keeps_its_turn() -> None:
    """What it does next comes before the World's time goes on."""
    looks: list[int] = []
    slept: list[float] = []

    def look() -> None:
        looks.append(1)
        while not woken.is_set():
            pass

    def wake_and_compute(world: World) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        while not looks:
            pass
        woken.set()
        end = time.thread_time() + 0.1
        while time.thread_time() < end:
            pass
        time.sleep(1)
        slept.append(world.now)

    with World() as world, handled(look):
        woken = threading.Event()
        thread = world.host("a").thread(wake_and_compute, world)
        woken.wait()
        time.sleep(10)
        thread.join()
    assert looks
    assert slept == [1.0]


def test_signal_handlers_of_asyncio() -> None:
    async def wait() -> float:
        done = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, done.set)
        await done.wait()
        return asyncio.get_running_loop().time()

    def tick() -> None:
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGUSR1)
        while True:
            time.sleep(1)

    with World() as world:
        host = world.host("a")

        async def main() -> float:
            host.thread(tick)
            return await wait()

        assert world.run(main()) < 1e6


def test_a_thread_that_catches_all_is_named_with_its_line() -> None:
    stop: list[int] = []

    def catch_until_stopped() -> None:
        while not stop:
            try:
                time.sleep(1)
            except BaseException:
                pass

    with pytest.warns(RuntimeWarning, match=r"'stubborn' is at .*test_signals.py:\d+"):
        with World() as world:
            thread = world.host("a").thread(catch_until_stopped, name="stubborn")
            world.sleep(1)
    stop.append(1)  # it sleeps in real time from now on
    thread.join()


def test_a_task_that_catches_all_is_named_with_its_line() -> None:
    async def catch_all() -> None:
        while True:
            try:
                await asyncio.sleep(1)
            except BaseException as error:
                if isinstance(error, GeneratorExit):
                    raise

    tasks: list[asyncio.Task[None]] = []

    async def main(host: Host) -> None:
        tasks.append(host.spawn(catch_all(), name="stubborn"))
        await asyncio.sleep(1)

    with pytest.warns(RuntimeWarning, match=r"'a: stubborn' waits at .*test_signals.py:\d+"):
        with World() as world:
            world.run(main(world.host("a")))
    tasks[0].get_coro().close()
    tasks[0]._log_destroy_pending = False  # type: ignore[attr-defined]


@pytest.mark.parametrize("ends", [True, False])
def test_a_thread_that_spins_ends_with_its_world(ends: bool) -> None:
    """Also where it calls sockets that fail, and never waits."""
    stop: list[int] = []
    caught: tuple[type[BaseException], ...] = () if ends else (SystemExit,)

    def call_in_vain(sock: socket.socket) -> None:
        while not stop:
            try:
                sock.recv(1, socket.MSG_DONTWAIT)
            except OSError:
                pass

    def spin_on(host: Host) -> None:
        with host.socket(type=socket.SOCK_DGRAM) as sock:
            interrupt()
            while not stop:
                try:
                    call_in_vain(sock)
                except caught:
                    pass

    def close(world: World) -> Any:
        with world:
            host = world.host("a")
            thread = host.thread(spin_on, host, name="stubborn")
            with pytest.raises(KeyboardInterrupt):
                time.sleep(2)
        return thread

    if ends:
        thread = close(World())
    else:
        with pytest.warns(RuntimeWarning, match=r"'stubborn' is at .*test_signals.py:\d+"):
            thread = close(World())
    stop.append(1)
    thread.join()
