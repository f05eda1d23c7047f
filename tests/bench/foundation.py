"""What the foundation costs: a Stack's sockets beside the kernel's, in one interleaved run.

``.venv/bin/python tests/bench/foundation.py [--rounds N]``. Everything on a TAP or veth happens
in network namespaces that the program makes itself; without root those rows are left out.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from namespace import available, namespace

import pystack

SIZE = 128 << 20
BLOCK = 1 << 18
TURNS = 2000
CONNECTIONS = 500

# A pair of ways to open a listener and to connect to it.
Ends = tuple[Callable[[], Any], Callable[[Any], Any]]


def gigabits(ends: Ends) -> float:
    """Bulk from the client to the server, in Gbit/s."""
    listen, connect = ends
    with listen() as listener, connect(listener.getsockname()) as client:
        server, _peer = listener.accept()

        def send() -> None:
            block = bytes(BLOCK)
            for _ in range(SIZE // BLOCK):
                client.sendall(block)

        with server:
            thread = threading.Thread(target=send)
            started = time.perf_counter()
            thread.start()
            buffer, left = bytearray(1 << 20), SIZE
            while left:
                left -= server.recv_into(buffer)
            seconds = time.perf_counter() - started
            thread.join()
    return SIZE * 8 / seconds / 1e9


def round_trip(ends: Ends) -> float:
    """The median of 64-byte requests and answers, in microseconds."""
    listen, connect = ends
    with listen() as listener, connect(listener.getsockname()) as client:
        server, _peer = listener.accept()
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def echo() -> None:
            while data := server.recv(64):
                server.sendall(data)

        with server:
            thread = threading.Thread(target=echo)
            thread.start()
            times = []
            for _ in range(TURNS):
                started = time.perf_counter()
                client.sendall(bytes(64))
                client.recv(64)
                times.append(time.perf_counter() - started)
            client.shutdown(socket.SHUT_WR)
            thread.join()
    return statistics.median(times) * 1e6


def connection_rate(ends: Ends) -> float:
    """Connections opened, used and closed one after the other, a second."""
    listen, connect = ends
    with listen() as listener:

        def serve() -> None:
            for _ in range(CONNECTIONS):
                sock, _peer = listener.accept()
                with sock:
                    sock.sendall(sock.recv(16))

        thread = threading.Thread(target=serve)
        thread.start()
        where = listener.getsockname()
        started = time.perf_counter()
        for _ in range(CONNECTIONS):
            with connect(where) as sock:
                sock.sendall(b"x")
                sock.recv(1)
        seconds = time.perf_counter() - started
        thread.join()
    return CONNECTIONS / seconds


def on(sockets: Any, host: str) -> Callable[[], Any]:
    return lambda: sockets.create_server((host, 0), backlog=64)


def to(sockets: Any) -> Callable[[Any], Any]:
    return lambda address: sockets.create_connection(address, 30)


@contextmanager
def kernel_loopback() -> Iterator[dict[str, Ends]]:
    yield {"kernel, loopback": (on(socket, "127.0.0.1"), to(socket))}


@contextmanager
def stacks(mtu: int) -> Iterator[dict[str, Ends]]:
    left, right = pystack.nic.wire(mtu)
    with pystack.Stack() as a, pystack.Stack() as b:
        a.attach(left, "10.0.0.1/24")
        b.attach(right, "10.0.0.2/24")
        yield {f"stack to stack, MTU {mtu}": (on(b.sockets, "10.0.0.2"), to(a.sockets))}


@contextmanager
def tap() -> Iterator[dict[str, Ends]]:
    with ExitStack() as cleanup:
        place = cleanup.enter_context(namespace())
        wire = cleanup.enter_context(place.call(pystack.nic.Tap, "tap0"))
        place.device("tap0", "10.0.0.1/24")
        net = cleanup.enter_context(pystack.Stack())
        net.attach(wire, "10.0.0.2/24")

        def kernels_server() -> Any:
            return place.call(socket.create_server, ("10.0.0.1", 0))

        def kernels_client(address: Any) -> Any:
            return place.call(socket.create_connection, address, 30)

        yield {
            "kernel to stack, TAP": (on(net.sockets, "10.0.0.2"), kernels_client),
            "stack to kernel, TAP": (kernels_server, to(net.sockets)),
        }


@contextmanager
def veth() -> Iterator[dict[str, Ends]]:
    with namespace() as one, namespace() as two:
        one.run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns",
                two.path)  # fmt: skip
        one.device("v0", "10.0.0.1/24")
        two.device("v1", "10.0.0.2/24")
        yield {
            "kernel to kernel, veth": (
                lambda: two.call(socket.create_server, ("10.0.0.2", 0)),
                lambda address: one.call(socket.create_connection, address, 30),
            )
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    console = Console()
    with ExitStack() as cleanup:
        ways: dict[str, Ends] = {}
        worlds = [kernel_loopback(), stacks(1500), stacks(65500)]
        reason = available()
        if reason is None:
            worlds += [tap(), veth()]
        else:
            console.print(f"Without TAP and veth: {reason}.")
        for one in worlds:
            ways.update(cleanup.enter_context(one))
        found: dict[str, list[list[float]]] = {name: [] for name in ways}
        for _ in track(range(rounds), "rounds", console=console):
            for name, ends in ways.items():
                found[name].append([gigabits(ends), round_trip(ends), connection_rate(ends)])
    base = "kernel to kernel, veth" if reason is None else "kernel, loopback"
    medians = {
        name: [statistics.median(column) for column in zip(*runs, strict=True)]
        for name, runs in found.items()
    }
    table = Table("way", "Gbit/s", "round trip, µs", "connections/s",
                  title=f"medians of {rounds} rounds; in brackets the ratio to {base}")  # fmt: skip
    for name, values in medians.items():
        cells = [
            f"{value:.{digits}f} ({value / reference:.2f})"
            for value, reference, digits in zip(values, medians[base], (2, 1, 0), strict=True)
        ]
        table.add_row(name, *cells)
    console.print(table)


if __name__ == "__main__":
    main()
