"""How a Stack's cost grows: what one costs, what a connection costs, and what many others cost it.

All of it is in one process, with two Stacks and a wire in memory: neither root nor a
NIC is needed.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pystack
from pystack.bench.worker import Here, Worker

__all__ = ["Figure", "scale"]

CREATIONS = 100
STACKS = 1000
BUSY = 50
TURNS = 2000
REPEATS = 9
LISTENERS = 8  # one end has 28,000 ports for each of these
WITHIN_S = 600.0


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        name: Its key.
        title: What it is.
        value: How much.
        unit: Of what; "" for a ratio.
        digits: After the point, when it is shown.
    """

    name: str
    title: str
    value: float
    unit: str
    digits: int = 0


def _resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _creation(here: Here) -> list[Figure]:
    del here
    times = []
    for _ in range(CREATIONS):
        started = time.perf_counter()
        with pystack.Stack():
            times.append(time.perf_counter() - started)
    gc.collect()
    before = _resident()
    with ExitStack() as kept:
        for _ in range(STACKS):
            kept.enter_context(pystack.Stack()).socket().close()
        each = (_resident() - before) / STACKS
    return [
        Figure("create", "a Stack is created in", statistics.median(times) * 1e3, "ms", 2),
        Figure("stacks", "Stacks in one process", STACKS, ""),
        Figure("stack", f"memory per Stack, of {STACKS:,} in one process", each / 1024, "KiB"),
    ]


def _turn(client: Any, server: Any) -> None:
    client.send(bytes(64))
    server.recv(64)
    server.send(bytes(64))
    client.recv(64)


def _cost(pairs: list[tuple[Any, Any]]) -> float:
    """Processor time of a request and its answer, in microseconds: all threads of both ends."""
    found = []
    for _ in range(REPEATS):
        started = time.process_time()
        for number in range(TURNS):
            _turn(*pairs[number % BUSY])
        found.append((time.process_time() - started) / TURNS * 1e6)
    return statistics.median(found)


def _connections(here: Here, count: int) -> list[Figure]:
    del here
    with ExitStack() as kept:
        wires = pystack.nic.wire(1500)
        nets = []
        for number, wire in enumerate(wires, 1):
            net = kept.enter_context(pystack.Stack())
            net.attach(wire, f"192.0.2.{number}/24")
            nets.append(net.sockets)
        client, server = nets
        listeners = [
            kept.enter_context(server.create_server(("192.0.2.2", 0))) for _ in range(LISTENERS)
        ]

        def opened(number: int) -> tuple[Any, Any]:
            listener = listeners[number % LISTENERS]
            return client.create_connection(listener.getsockname()), listener.accept()[0]

        pairs = [opened(number) for number in range(BUSY)]
        _cost(pairs)  # to warm up
        gc.collect()
        few, before = _cost(pairs), _resident()
        gc.disable()  # or it goes through all of them, again and again
        started = time.perf_counter()
        pairs += [opened(number) for number in range(BUSY, count)]
        seconds, grown = time.perf_counter() - started, _resident() - before
        many = _cost(pairs)
        started = time.process_time()
        time.sleep(2)
        idle = (time.process_time() - started) / 2
        for pair in pairs:
            for one in pair:
                one.close()
        gc.enable()
    each = grown / (count - BUSY) / 2
    return [
        Figure("opened", "connections open on one Stack", count, ""),
        Figure("memory", f"memory per end of a connection, of {count:,}", each / 1024, "KiB", 2),
        Figure("open", "opening them, both ends in one thread", count / seconds, "1/s"),
        Figure("few", f"processor time of a turn, {BUSY} open", few, "µs", 2),
        Figure("many", f"the same with {count:,} open", many, "µs", 2),
        Figure("growth", "ratio of the two", many / few, "", 2),
        Figure("idle", "processor time of both Stacks with all idle", idle * 100, "%", 1),
    ]


def scale(
    count: int = 50_000, progress: Callable[[str], None] = lambda _text: None
) -> list[Figure]:
    """Measures how cost grows; half a minute.

    Args:
        count: How many connections are open in the end.
        progress: Is told of each step before it is done.

    Raises:
        ValueError: Too few or too many connections.
        WorkerError: Something failed, such as memory.
    """
    if not 2 * BUSY <= count <= 28_000 * LISTENERS:
        raise ValueError(f"from {2 * BUSY} to {28_000 * LISTENERS} connections, not {count}")
    with Worker() as worker:
        progress("scale: Stacks")
        worker.tell(_creation)
        figures: list[Figure] = worker.answer(WITHIN_S)
        progress(f"scale: {count} connections")
        worker.tell(_connections, count)
        return figures + list(worker.answer(WITHIN_S))
