"""Bulk between two Stacks on a wire, engine beside engine: by the clock, and by processor time.

``.venv/bin/python tests/bench/wire_engines.py [--rounds N] [--seconds S] [ENGINE ...]``. Each round
measures every engine once; a ratio is to the first engine, by the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import threading
import time
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

import pystack

BLOCK = 1 << 18
LEFT, RIGHT = "192.0.2.1", "192.0.2.2"


@dataclass(frozen=True)
class Rate:
    """Gbit/s of the clock's, and Gbit a second of processor time."""

    by_clock: float
    by_processor: float


def measure(engine: str, mtu: int, seconds: float) -> Rate:
    """One transfer in one direction, with both ends in this process."""
    wires = pystack.nic.wire(mtu)
    with pystack.Stack(engine=engine) as sender, pystack.Stack(engine=engine) as receiver:
        sender.attach(wires[0], f"{LEFT}/24")
        receiver.attach(wires[1], f"{RIGHT}/24")
        with (
            receiver.sockets.create_server((RIGHT, 0)) as listener,
            sender.sockets.create_connection(listener.getsockname()) as client,
            listener.accept()[0] as server,
        ):
            got = 0

            def take() -> None:
                nonlocal got
                buffer = bytearray(BLOCK)
                while count := server.recv_into(buffer):
                    got += count

            reader = threading.Thread(target=take)
            data = bytes(BLOCK)
            processor, began = time.process_time(), time.perf_counter()
            reader.start()
            while time.perf_counter() < began + seconds:
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            reader.join()
            gbit = got * 8 / 1e9
            return Rate(
                gbit / (time.perf_counter() - began), gbit / (time.process_time() - processor)
            )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("engines", nargs="*", default=["lwip", "linux"])
    arguments = parser.parse_args()
    table = Table("MTU", "engine", "Gbit/s", "ratio", "Gbit by processor", "ratio")
    for mtu in (65500, 1500):
        found: dict[str, list[Rate]] = {engine: [] for engine in arguments.engines}
        for _ in range(arguments.rounds):
            for engine, rates in found.items():
                rates.append(measure(engine, mtu, arguments.seconds))
        first = found[arguments.engines[0]]
        for engine, rates in found.items():
            pairs = list(zip(rates, first, strict=True))
            table.add_row(
                str(mtu),
                engine,
                f"{statistics.median(one.by_clock for one in rates):.1f}",
                f"{statistics.median(one.by_clock / base.by_clock for one, base in pairs):.2f}",
                f"{statistics.median(one.by_processor for one in rates):.1f}",
                f"{statistics.median(a.by_processor / b.by_processor for a, b in pairs):.2f}",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
