"""What is far away, and what goes on for ever without waking anybody."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time

import pytest
from growth import need

from pystack.errors import DeadlockError
from pystack.world import World

DAY = 86400


def test_a_frame_may_be_on_its_way_for_longer_than_a_month() -> None:
    with World(seed=1) as world:
        near, far = world.host("near"), world.host("far")
        world.link(near, far, delay=400 * DAY)
        end, mine = far.interfaces[-1], near.interfaces[-1]
        address = next(one.ip for one in end.addresses.list() if one.ip.version == 4)
        near.neighbours.add(address, str(end.mac), mine)  # ARP doesn't wait so long
        came: list[bytes] = []

        def receive() -> None:
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                sock.bind(("", 9))
                came.append(sock.recv(100))

        thread = far.thread(receive)
        world.sleep(1)
        with near.socket(type=socket.SOCK_DGRAM) as sock:
            sock.sendto(b"hello", ("far", 9))
        thread.join()
        assert came == [b"hello"]
        assert int(world.now) == 400 * DAY + 1


@pytest.mark.parametrize("engine", ["lwip", "linux", "gvisor"])
def test_so_may_its_answer_while_timers_of_the_stacks_run(engine: str) -> None:
    need(engine)
    with World(seed=1) as world:
        near, far = (world.host(name, engine=engine) for name in ("near", "far"))
        world.link(near, far, delay=40 * DAY)
        addresses = {}
        for one, other in ((near, far), (far, near)):
            end, mine = other.interfaces[-1], one.interfaces[-1]
            ip = next(each.ip for each in end.addresses.list() if each.ip.version == 4)
            one.neighbours.add(ip, str(end.mac), mine)
            addresses[other] = str(ip)

        def answer() -> None:
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                sock.bind(("", 9))
                sock.sendto(*sock.recvfrom(100))

        far.thread(answer)
        world.sleep(1)
        with near.socket(type=socket.SOCK_DGRAM) as sock:
            sock.sendto(b"hello", (addresses[far], 9))
            assert sock.recv(100) == b"hello"
        assert int(world.now) == 80 * DAY + 1


def test_keep_alives_that_wake_nobody_are_no_life() -> None:
    with World(seed=1) as world:
        near, far = world.host("near"), world.host("far")
        world.link(near, far)

        def serve() -> None:
            with socket.create_server(("", 80)) as listener, listener.accept()[0] as sock:
                sock.recv(1)

        def ask() -> None:
            with socket.create_connection(("far", 80)) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                sock.recv(1)

        far.thread(serve)
        thread = near.thread(ask)
        with pytest.raises(DeadlockError, match="serve' waits at"):
            thread.join()
        assert world.now > 365 * DAY


def test_a_loop_s_timer_may_be_a_year_away() -> None:
    """Where a float has no nanoseconds any more, of which asyncio thinks."""
    took: list[float] = []

    async def wait() -> None:
        loop = asyncio.get_running_loop()
        began, over = loop.time(), loop.create_future()
        loop.call_later(400 * DAY, over.set_result, None)
        await over
        await asyncio.sleep(0.25)
        took.append(loop.time() - began)

    with World(seed=1) as world:
        world.run(wait())
        world.host("a").thread(asyncio.run, wait()).join()
    assert took == pytest.approx([400 * DAY + 0.25] * 2, abs=1e-5)


def test_a_clock_tells_its_resolution() -> None:
    outside = time.get_clock_info("monotonic")
    with World():
        for name in ("time", "monotonic", "perf_counter"):
            assert time.get_clock_info(name).resolution == 1e-6
        assert time.get_clock_info("process_time").resolution < 1e-6
        with pytest.raises(ValueError, match="unknown clock"):
            time.get_clock_info("sundial")
    assert time.get_clock_info("monotonic") == outside


def test_a_signal_may_come_last_of_all() -> None:
    """Its handler runs before it is said that nothing can happen."""
    for _ in range(20):  # it may also come before the last
        with World() as world:
            woken = threading.Event()

            def wake(*_: object, woken: threading.Event = woken) -> None:
                woken.set()

            before = signal.signal(signal.SIGUSR1, wake)
            try:

                def call() -> None:
                    time.sleep(3)
                    os.kill(os.getpid(), signal.SIGUSR1)

                world.host("a").thread(call)
                woken.wait()
                assert world.now >= 3
                with pytest.raises(DeadlockError):
                    threading.Event().wait()
            finally:
                signal.signal(signal.SIGUSR1, before)


def test_a_signal_may_come_last_of_all_to_a_loop() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, woken.set)
        try:
            await asyncio.to_thread(os.kill, os.getpid(), signal.SIGUSR1)
            await woken.wait()
        finally:
            loop.remove_signal_handler(signal.SIGUSR1)

    for _ in range(20):
        with World() as world:
            world.run(main())
