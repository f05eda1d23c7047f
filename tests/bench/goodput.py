"""Goodput over loss: Linux in the process beside the machine's kernel, and beside lwIP.

``PYTHONPATH=tests/support .venv/bin/python tests/bench/goodput.py`` sends, for so many seconds,
from the kernel to a Stack and from the Stack to the kernel, by turns over the same impaired TAP
with the same seed: root, for it makes network namespaces. With ``--virtual``: from Stack to Stack
in virtual time, each engine to itself, without root and however loaded the machine is.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from namespace import namespace
from rich.console import Console
from rich.table import Table

import pystack
from pystack.hypercalls import ManualClock
from pystack.nic import Impairment, Nic, Tap, impair

KERNEL, STACK, PORT = "10.0.0.1", "10.0.0.2", 8000
MEMORY_BYTES = 256 << 20
PIECE = bytes(1 << 16)
QUANTUM_S = 0.0002
LOSSES, ROUND_TRIPS_S = (0.0, 0.01, 0.02, 0.05), (0.02, 0.1)


@dataclass(frozen=True)
class Cell:
    """One transfer's wire and congestion control.

    Attributes:
        loss: Probability, of the frames with data; acknowledgements aren't lost.
        round_trip: Seconds.
        rate: Bits per second.
        congestion: The algorithm's name; "": the engine's own.
        seconds: How long.
        engine: The Stack's.
        seed: The wire's and the Stack's.
    """

    loss: float
    round_trip: float
    rate: int
    congestion: str
    seconds: float
    engine: str
    seed: int

    def wire(self, loss: float) -> Impairment:
        # A queue of 100 ms or so, and what is on its way.
        frames = round(self.rate * (self.round_trip / 2 + 0.1) / 12_000)
        return Impairment(loss, delay=self.round_trip / 2, rate=self.rate, queue_frames=frames)


def control(sock: Any, cell: Cell) -> None:
    if cell.congestion:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, cell.congestion.encode())


def even_out(net: pystack.Stack, cell: Cell) -> None:
    """Has Linux in the Stack grow its buffers as far as the machine's, whatever its memory."""
    if cell.engine.startswith("linux"):
        for name in ("tcp_rmem", "tcp_wmem"):
            net.sysctl[f"net.ipv4.{name}"] = Path("/proc/sys/net/ipv4", name).read_text().strip()


def push(sender: Any) -> None:
    """All that it takes now."""
    with contextlib.suppress(BlockingIOError):
        while True:
            sender.send(PIECE)


def pull(receiver: Any) -> int:
    """All that is there now, in bytes."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while piece := receiver.recv(1 << 18):
            count += len(piece)
    return count


def transfer(sender: Any, receiver: Any, cell: Cell, wait: Callable[[], float]) -> float:
    """Mbit/s that arrive."""
    control(sender, cell)
    for one in (sender, receiver):
        one.setblocking(False)
    begin = now = wait()
    count = 0
    while now < begin + cell.seconds:
        push(sender)
        count += pull(receiver)
        now = wait()
    return count * 8e-6 / (now - begin)


def beside_the_kernel(cell: Cell, from_stack: bool) -> float:
    """Mbit/s over an impaired TAP."""
    ways = (cell.wire(cell.loss), cell.wire(0))
    with namespace() as place:
        nic = impair(place.call(Tap, "bad0"), *(ways if from_stack else ways[::-1]), seed=cell.seed)
        with pystack.Stack(engine=cell.engine, seed=cell.seed, memory_limit=MEMORY_BYTES) as net:
            even_out(net, cell)
            net.attach(nic, f"{STACK}/24")
            place.run("ip", "address", "add", f"{KERNEL}/24", "dev", "bad0")
            place.run("ip", "link", "set", "bad0", "up")
            listener = place.call(socket.create_server, (KERNEL, PORT))
            with listener, net.sockets.create_connection((KERNEL, PORT), 60) as mine:
                theirs, _ = listener.accept()
                ends = (mine, theirs) if from_stack else (theirs, mine)

                def wait() -> float:
                    time.sleep(0.002)
                    return time.monotonic()

                with theirs:
                    return transfer(*ends, cell, wait)


def in_virtual_time(cell: Cell) -> float:
    """Mbit/s from Stack to Stack."""
    clock = ManualClock()
    left, right = pystack.nic.wire(queue_frames=1 << 16)
    wire: Nic = impair(left, cell.wire(cell.loss), cell.wire(0), seed=cell.seed)
    options: Any = {
        "engine": cell.engine, "threaded": False, "clock": clock, "memory_limit": MEMORY_BYTES,
    }  # fmt: skip
    with pystack.Stack(seed=1, **options) as near, pystack.Stack(seed=2, **options) as far:
        even_out(near, cell)
        even_out(far, cell)
        near.attach(wire, f"{STACK}/24")
        far.attach(right, f"{KERNEL}/24")

        def wait() -> float:
            near.step()
            waits = [far.step(), near.step()]
            clock.advance(max(min([one for one in waits if one is not None] or [1]), QUANTUM_S))
            return clock.now_us() / 1e6

        with (
            far.socket(socket.AF_INET, socket.SOCK_STREAM) as listener,
            near.socket(socket.AF_INET, socket.SOCK_STREAM) as sender,
        ):
            listener.bind((KERNEL, PORT))
            listener.listen()
            for one in (listener, sender):
                one.setblocking(False)
            sender.connect_ex((KERNEL, PORT))
            for _ in range(1_000_000):
                with contextlib.suppress(BlockingIOError):
                    receiver, _peer = listener.accept()
                    break
                wait()
            with receiver:
                return transfer(sender, receiver, cell, wait)


def run(job: tuple[Cell, str]) -> float:
    cell, way = job
    if way == "virtual":
        return in_virtual_time(cell)
    return beside_the_kernel(cell, way == "stack")


def shown(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--engine", default="linux")
    parser.add_argument("--virtual", action="store_true", help="in virtual time, beside lwIP")
    parser.add_argument("--congestion", nargs="+", default=["cubic", "bbr"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of a transfer")
    parser.add_argument("--rate", type=float, default=20.0, help="of the wire, Mbit/s")
    parser.add_argument("--jobs", type=int, default=2, help="transfers at a time")
    given = parser.parse_args()
    if given.virtual:
        columns = [(f"{given.engine}, {one}", given.engine, one, "virtual")
                   for one in given.congestion] + [("lwip", "lwip", "", "virtual")]  # fmt: skip
    else:
        columns = [(f"{who}, {one}", given.engine, one, way) for one in given.congestion
                   for who, way in (("kernel", "kernel"), (given.engine, "stack"))]  # fmt: skip
    rows = list(product(ROUND_TRIPS_S, LOSSES))
    jobs = [
        (Cell(loss, trip, round(given.rate * 1e6), one, given.seconds, engine, seed), way)
        for seed in range(1, given.rounds + 1)
        for trip, loss in rows
        for _, engine, one, way in columns
    ]
    with ProcessPoolExecutor(given.jobs, get_context("spawn")) as executor:
        found = list(executor.map(run, jobs))
    table = Table(title=f"Mbit/s of {given.rate:g}, {given.seconds:g} s, median of {given.rounds}")
    for heading in ("round trip", "loss", *(title for title, *_ in columns)):
        table.add_column(heading, justify="right")
    each = len(rows) * len(columns)
    for i, (trip, loss) in enumerate(rows):
        cells = [
            shown([found[seed * each + i * len(columns) + j] for seed in range(given.rounds)])
            for j in range(len(columns))
        ]
        table.add_row(f"{trip * 1e3:g} ms", f"{loss:.0%}", *cells)
    Console(width=120 if not sys.stdout.isatty() else None).print(table)


if __name__ == "__main__":
    main()
