"""What a World's Stack calls can't wait in that World: each way to wait ends in words."""

from __future__ import annotations

import asyncio
import errno
import faulthandler
import queue
import random
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pystack
from pystack import nic
from pystack.world import World

FAR = "10.9.0.2"
HANGS_S = 120


@pytest.fixture(autouse=True)
def ends_if_it_hangs() -> Iterator[None]:
    """A thread that holds a Stack's lock and waits can't be ended otherwise."""
    faulthandler.dump_traceback_later(HANGS_S, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def wait_for_a_socket() -> None:
    near, far = socket.socketpair()
    with near, far:
        select.select([near], [], [], 1)


def wait_for_a_thread() -> None:
    thread = threading.Thread(target=time.sleep, args=(1,))
    thread.start()
    thread.join()


WAYS: list[Callable[[], Any]] = [
    lambda: time.sleep(1),
    lambda: threading.Event().wait(),
    lambda: threading.Event().wait(1),
    lambda: queue.Queue[int]().get(),
    lambda: asyncio.run(asyncio.sleep(1)),
    wait_for_a_socket,
    wait_for_a_thread,
]
NAMES = ["sleep", "event", "event in time", "queue", "asyncio", "select", "thread"]


class Once:
    """Answers hypercalls and is a NIC; the first call of each waits once it is armed."""

    mtu = 1500

    def __init__(self, wait: Callable[[], Any]) -> None:
        self.wait, self.armed, self.chance = wait, False, random.Random(1)
        self.raised: list[BaseException] = []

    def happen(self) -> None:
        if not self.armed:
            return
        self.armed = False
        try:
            self.wait()
        except BaseException as error:
            self.raised.append(error)
            raise

    def randbytes(self, size: int) -> bytes:
        self.happen()
        return self.chance.randbytes(size)

    def frame_out(self, _interface: int, _frame: bytes) -> bool:
        self.happen()
        return True

    def bind(self, _deliver: Any) -> None:
        pass

    def transmit(self, _frame: bytes) -> None:
        self.happen()

    def change(self, frame: nic.Frame) -> nic.Frame:
        self.happen()
        return frame


def attach(world: World, place: str, once: Once) -> Any:
    options = {place: once} if place in ("random", "frame_out") else {}
    host = world.host("a", **options)
    if place == "tamper":
        ours, _theirs = nic.wire()
        host.attach(nic.tamper(ours, once.change), "10.9.0.1/24")
    else:
        host.attach(once if place == "transmit" else nic.wire()[0], "10.9.0.1/24")
    return host


def use(host: Any) -> None:
    """Needs a frame out and a random number."""
    with host.sockets.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
        one.setblocking(False)
        one.connect_ex((FAR, 9))


@pytest.mark.parametrize("wait", WAYS, ids=NAMES)
@pytest.mark.parametrize("place", ["random", "frame_out", "transmit", "tamper"])
def test_a_wait_inside_of_a_stack_ends_at_once(place: str, wait: Callable[[], Any]) -> None:
    with World(seed=1) as world:
        once = Once(wait)
        host = attach(world, place, once)
        other = world.host("b")
        other.thread(lambda: time.sleep(3))
        time.sleep(0.1)
        once.armed = True
        with pytest.raises(OSError, match="let a thread of the World wait") as caught:
            use(host)
            time.sleep(1)
            use(host)
        assert caught.value.errno == errno.EDEADLK
        assert caught.value is once.raised[0]
        time.sleep(5)  # the World goes on


@pytest.mark.parametrize("place", ["random", "frame_out", "transmit", "tamper"])
def test_a_thread_started_inside_of_a_stack_waits(place: str) -> None:
    with World(seed=1) as world:
        ended: list[float] = []

        def later() -> None:
            time.sleep(2)
            ended.append(world.now)

        once = Once(lambda: threading.Thread(target=later).start())
        host = attach(world, place, once)
        time.sleep(0.1)
        once.armed = True
        use(host)
        time.sleep(5)
        assert once.raised == []
        assert len(ended) == 1
        assert 2.1 <= ended[0] < 5


def test_a_stack_beside_the_world_may_wait_in_it() -> None:
    with World() as world:
        once = Once(lambda: time.sleep(1))
        with pystack.Stack(threaded=False, clock=pystack.hypercalls.ManualClock(1)) as net:
            net.attach(once, "10.9.0.1/24")
            once.armed = True
            with net.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                one.sendto(b"x", (FAR, 9))
            assert once.raised == []
            assert world.now == 1
