"""How fast Worlds are: frames in real time, many hosts, and time in which nothing happens."""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Callable
from typing import Any

from pystack.bench.scale import Figure
from pystack.bench.worker import Here, Worker
from pystack.world import World

__all__ = ["worlds"]

ROUNDS = 3
BULK_S = 5.0  # of real time
HOSTS, EACH_BYTES = 100, 1_000_000
BUILT = 1000
IDLE, DAY_S = 1000, 86_400
WITHIN_S = 300.0


def _real() -> float:
    """Seconds of real time; `time.perf_counter` is the World's inside of one."""
    return time.clock_gettime(time.CLOCK_MONOTONIC_RAW)


def _bulk(seconds: float, low_water: int) -> float:
    """Frames a second of processor time, of one connection over a plain link."""
    with World(seed=1) as world:
        left, right = world.host("left"), world.host("right")
        world.link(left, right, delay="1ms", rate="1Gbit/s")

        def take() -> None:
            buffer = bytearray(1 << 20)
            with socket.create_server(("", 80)) as listener:
                connection, _peer = listener.accept()
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, low_water)
                with connection:
                    while connection.recv_into(buffer):
                        pass

        right.thread(take)
        with left.sockets.create_connection(("right", 80)) as sock:
            data = bytes(1 << 20)
            sock.sendall(data)
            started, before = time.process_time(), world.counts()[1]
            while time.process_time() < started + seconds:
                sock.sendall(data)
            return (world.counts()[1] - before) / (time.process_time() - started)


def _frames(here: Here, seconds: float) -> list[Figure]:
    """Frames arrive one by one, so that a reader is woken for each, or for many."""
    del here
    titles = {65536: "for each 64 KiB", 1: "for each frame"}
    return [
        Figure(
            f"frames_{low_water}",
            f"frames over a plain link, the reader is woken {often}",
            statistics.median(_bulk(seconds / 2 / ROUNDS, low_water) for _each in range(ROUNDS)),
            "1/s",
        )
        for low_water, often in titles.items()
    ]


def _router(here: Here) -> list[Figure]:
    """Everybody fetches from one server, through one router."""
    del here
    started = _real()
    with World(seed=1) as world:
        net = world.internet(HOSTS + 1, rate="20Mbit/s", delay="10ms", queue=200)
        server, *clients = net.hosts
        net.links[0].change(rate="1Gbit/s")

        def serve() -> None:
            with socket.create_server(("", 80), backlog=HOSTS) as listener:
                while True:
                    server.thread(answer, listener.accept()[0])

        def answer(connection: Any) -> None:
            with connection:
                connection.sendall(bytes(EACH_BYTES))

        def fetch() -> None:
            with socket.create_connection((server.name, 80)) as sock:
                sizes.append(sum(map(len, iter(lambda: sock.recv(65536), b""))))

        sizes: list[int] = []
        server.thread(serve)
        for thread in [client.thread(fetch) for client in clients]:
            thread.join()
        passed, frames = world.now, world.counts()[1]
        if sizes != [EACH_BYTES] * HOSTS:
            raise RuntimeError(f"{len(sizes)} of {HOSTS} hosts have fetched {sum(sizes)} bytes")
    took = _real() - started
    return [
        Figure("router", f"{HOSTS} hosts fetch 1 MB each through one router", took, "s", 2),
        Figure("router_frames", "frames of that", frames, ""),
        Figure("router_time", "the World's time meanwhile", passed, "s", 2),
    ]


def _built(here: Here) -> list[Figure]:
    """Hosts on switches, without anything running on them."""
    del here
    started = _real()
    with World(seed=1) as world:
        lan = world.switch("lan", networks=("10.128.0.0/16", "fd80::/64"))
        for number in range(BUILT):
            world.link(world.host(f"h{number}"), lan)
        built = _real() - started
    return [
        Figure("built", f"{BUILT:,} hosts on a switch built in", built, "s", 2),
        Figure("closed", "and closed in", _real() - started - built, "s", 2),
    ]


def _idle(here: Here) -> list[Figure]:
    """A day in which nothing happens on many connections."""
    del here
    with World(seed=1) as world:
        left, right = world.host("left"), world.host("right")
        world.link(left, right, delay="1ms")
        listener = right.sockets.create_server(("", 80), backlog=IDLE)
        kept = []
        for _each in range(IDLE):
            kept.append(left.sockets.create_connection(("right", 80)))
            kept.append(listener.accept()[0])
        world.sleep(120)
        started = _real()
        world.sleep(DAY_S)
        took = _real() - started
        for one in (*kept, listener):
            one.close()
    return [Figure("day", f"a day with {IDLE:,} idle connections", took, "s", 2)]


def worlds(
    seconds: float = BULK_S, progress: Callable[[str], None] = lambda _text: None
) -> list[Figure]:
    """Measures Worlds; half a minute.

    Args:
        seconds: How long frames go over a plain link.
        progress: Is told of each step before it is done.

    Raises:
        WorkerError: Something failed, such as memory.
    """
    figures: list[Figure] = []
    for text, step, arguments in (
        ("a plain link", _frames, (seconds,)),
        ("a router", _router, ()),
        ("building", _built, ()),
        ("a day", _idle, ()),
    ):
        progress(f"worlds: {text}")
        with Worker() as worker:  # each its own, so that none has the memory of another's Stacks
            worker.tell(step, *arguments)
            figures += worker.answer(WITHIN_S)
    return figures
