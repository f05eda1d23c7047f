"""A bulk transfer over a bad wire, both ways, the kernel at the other end: who recovers how fast.

``PYTHONPATH=tests/support .venv/bin/python tests/bench/lossy.py [--rounds N]``, as root, for it
makes a network namespace. Both senders go over the same impaired TAP, in turns.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import threading
import time

from namespace import Namespace, namespace
from rich.console import Console
from rich.progress import track
from rich.table import Table

import pystack
from pystack.nic import Impairment, Tap, impair

KERNEL, STACK, PORT = "10.0.0.1", "10.0.0.2", 8000
SIZE = 10 << 20
WIRES = {
    "5 % lost, 5 % late, 2 % twice": Impairment(loss=0.05, reorder=0.05, duplicate=0.02),
    "1 % lost, 20 ms": Impairment(loss=0.01, delay=0.01),
    "5 % late, 20 ms": Impairment(reorder=0.05, delay=0.01),
}


def transfer(sender: socket.socket, receiver: socket.socket) -> float:
    """Seconds from the first byte sent to the last one read."""
    data = bytes(SIZE)
    begin = time.monotonic()
    thread = threading.Thread(target=sender.sendall, args=(data,))
    thread.start()
    left = SIZE
    while left:
        left -= len(receiver.recv(min(left, 1 << 18)))
    took = time.monotonic() - begin
    thread.join()
    return took


def one(place: Namespace, wire: Impairment, seed: int, algorithm: str) -> tuple[float, float]:
    """Seconds that the Stack took to send, and the kernel."""
    nic = impair(place.call(Tap, "bad0"), wire, wire, seed=seed)
    with pystack.Stack(seed=seed) as net:
        net.attach(nic, f"{STACK}/24")
        place.run("ip", "address", "add", f"{KERNEL}/24", "dev", "bad0")
        place.run("ip", "link", "set", "bad0", "up")
        listener = place.call(socket.create_server, (KERNEL, PORT))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, algorithm.encode())
        with listener, net.sockets.create_connection((KERNEL, PORT), 60) as mine:
            mine.settimeout(None)
            theirs, _ = listener.accept()
            with theirs:
                return transfer(mine, theirs), transfer(theirs, mine)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--congestion", default="reno", help="the kernel's (default: reno)")
    arguments = parser.parse_args()
    rounds, algorithm = arguments.rounds, arguments.congestion
    table = Table(title=f"{SIZE >> 20} MiB, seconds, medians of {rounds} rounds")
    for heading in ("wire", "the Stack sends", f"the kernel sends ({algorithm})", "ratio"):
        table.add_column(heading, justify="left" if heading == "wire" else "right")
    for name, wire in WIRES.items():
        found = []
        for seed in track(range(1, rounds + 1), name, transient=True):
            with namespace() as place:
                found.append(one(place, wire, seed, algorithm))
        ours, kernels = (statistics.median(one[i] for one in found) for i in (0, 1))
        table.add_row(name, f"{ours:.2f}", f"{kernels:.2f}", f"{ours / kernels:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
