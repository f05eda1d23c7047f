"""The gain from a second process, when two share an address by the queues of one TAP.

The clients are the kernel's, many at a time; each connection is opened, used for a byte and closed.
One Stack serves them, then two, each in its own process, by turns. On fewer than four cores
the clients take from the servers what a second one would bring; so what a server's second of
processor time is good for is measured, too, which doesn't depend on that.
"""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pystack
from pystack.bench import ways
from pystack.bench.scale import Figure
from pystack.bench.worker import Here, Worker
from pystack.lab.agent.unshare import CLONE_NEWNET

__all__ = ["CORES", "queues"]

CORES = 4  # as many as servers and clients need to be out of each other's way
DEVICE, PORT = "tap0", 80
QUEUES = 3  # one is there to keep the device, and has no Stack
CLIENTS, THREADS = 2, 6
SLACK_S = 30.0


def _device(here: Here) -> None:
    """Makes the device, which stays without a Stack on it."""
    here.cleanup.enter_context(pystack.nic.Tap(DEVICE, queues=QUEUES))
    ways._device_up(here, DEVICE, ways.LEFT)
    # Or the ports are used up: what a client has closed, it may use again after a second.
    Path("/proc/sys/net/ipv4/tcp_tw_reuse").write_text("1")


def _open(here: Here) -> None:
    """Puts a Stack that listens on one of the queues."""
    wire = here.cleanup.enter_context(pystack.nic.Tap(DEVICE, queues=QUEUES))
    net = here.cleanup.enter_context(pystack.Stack())
    net.attach(wire, f"{ways.RIGHT}/{ways.PREFIX}")
    here.kept = here.cleanup.enter_context(
        net.sockets.create_server((ways.RIGHT, PORT), backlog=128)
    )


def _serve(here: Here, seconds: float) -> tuple[float, float]:
    """Connections per second, and per second of the process's own time."""
    listener, count = here.kept, 0
    with here.cleanup.pop_all():
        listener.settimeout(SLACK_S)
        listener.accept()[0].close()
        own, began = time.process_time(), time.perf_counter()
        end = began + seconds
        while time.perf_counter() < end:
            connection, _peer = listener.accept()
            with connection:
                connection.settimeout(SLACK_S)
                connection.sendall(connection.recv(1))
            count += 1
        spent, took = time.process_time() - own, time.perf_counter() - began
    return count / took, count / spent


def _ask(here: Here, seconds: float) -> None:
    """Keeps the servers busy for a while longer than they measure."""
    del here
    end = time.perf_counter() + seconds

    def ask() -> None:
        while time.perf_counter() < end:
            with (
                contextlib.suppress(OSError),  # a server has ended
                socket.create_connection((ways.RIGHT, PORT), 1) as client,
            ):
                client.sendall(b"x")
                client.recv(1)

    threads = [threading.Thread(target=ask) for _ in range(THREADS)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


def _round(servers: list[Worker], clients: list[Worker], seconds: float) -> tuple[float, float]:
    for one in servers:
        one.call(_open)
    for one in servers:
        one.tell(_serve, seconds)
    for one in clients:
        one.tell(_ask, seconds * 1.5)
    found = [one.answer(seconds + SLACK_S) for one in servers]
    for one in clients:
        one.answer(seconds + SLACK_S)
    return sum(each for each, _own in found), statistics.mean(own for _each, own in found)


def queues(
    rounds: int = 5, seconds: float = 1.0, progress: Callable[[str], None] = lambda _text: None
) -> list[Figure]:
    """Measures two Stacks on one TAP against one; takes about rounds x 4 x seconds.

    Args:
        rounds: How often each.
        seconds: How long each time.
        progress: Is told of each step before it is done.

    Raises:
        WorkerError: Not available here (it needs Linux, /dev/net/tun and namespaces).
    """
    with ExitStack() as cleanup:
        keeper, *others = (cleanup.enter_context(Worker()) for _ in range(3 + CLIENTS))
        keeper.call(ways._go_apart)
        keeper.call(_device)
        for one in others:
            one.call(ways._follow, keeper.pid, CLONE_NEWNET)
        servers, clients = others[:2], others[2:]
        one_rate, two_rate, by_rate, by_own = [], [], [], []
        for number in range(rounds):
            progress(f"queues: round {number + 1}: one process")
            rate, own = _round(servers[:1], clients, seconds)
            progress(f"queues: round {number + 1}: two processes")
            rates, owns = _round(servers, clients, seconds)
            one_rate.append(rate)
            two_rate.append(rates)
            by_rate.append(rates / rate)
            by_own.append(2 * owns / own)
    cores = os.cpu_count() or 1
    note = "" if cores >= CORES else f", of {cores} cores with the clients"
    return [
        Figure("one_queue", "connections/s, one process on a TAP", statistics.median(one_rate), ""),
        Figure("two_queues", f"the same, two processes{note}", statistics.median(two_rate), ""),
        Figure("queues", "ratio of the two", statistics.median(by_rate), "", 2),
        Figure(
            "queues_own",
            "the same by the servers' own processor time",
            statistics.median(by_own),
            "",
            2,
        ),
    ]
