"""The workloads of a client and a server: the same code on every way's sockets.

Each half takes blocking sockets without a timeout, as a plain program would have them: in CPython
a timeout costs a system call per operation. The caller of the halves watches the clock.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pystack

__all__ = ["WORKLOADS", "Ends", "Metric", "Workload"]

BLOCK = 1 << 18
BUFFER = 1 << 20
MESSAGE = bytes(64)
WARM_UP = 50
IDLE = 500
QUIET_S = 3.0
Address = Any  # of a socket: what getsockname() gives
Found = dict[str, float]


@dataclass(frozen=True)
class Ends:
    """The sockets of one end.

    Attributes:
        sockets: The module `socket`, or what stands in for it.
        host: The end's own address.
        congestion: Which congestion control the kernel's sockets take; None: the machine's default.
        stack: Whose the sockets are; None: the kernel's.
    """

    sockets: Any
    host: str
    congestion: str | None = None
    stack: pystack.Stack | None = None

    def _controlled(self, made: Any) -> Any:
        if self.congestion is not None and self.sockets is socket:
            name = self.congestion.encode()
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name)
        return made

    def listen(self) -> Any:
        """A listening socket on a free port."""
        return self._controlled(self.sockets.create_server((self.host, 0), backlog=128))

    def connect(self, address: Address) -> Any:
        """A connection that sends without delay."""
        made = self._controlled(self.sockets.create_connection(address))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def datagrams(self) -> Any:
        """A UDP socket on a free port."""
        made = self.sockets.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((self.host, 0))
        return made


@dataclass(frozen=True)
class Metric:
    """A figure that a workload finds.

    Attributes:
        name: Its key.
        title: Its column's head, with the unit.
        more: More of it is better; else less is.
        digits: After the point, when it is shown.
        samples: The key of how many samples it rests on; "": it is a rate of what was counted.
        needed: How many samples a round should have, for the figure to mean something: a hundred
            for a median, ten above a percentile.
    """

    name: str
    title: str
    more: bool
    digits: int = 0
    samples: str = ""
    needed: int = 0


@dataclass(frozen=True)
class Workload:
    """Something that two ends do.

    Attributes:
        name: For the command line.
        about: What it is, in a line.
        metrics: What it finds.
        open: Makes the server's socket.
        serve: The server's half: its socket, and the seconds that the client goes on for.
        ask: The client's half: its end, where the server is, and for how many seconds to go on.
    """

    name: str
    about: str
    metrics: tuple[Metric, ...]
    open: Callable[[Ends], Any]
    serve: Callable[[Any, float], Found]
    ask: Callable[[Ends, Address, float], Found]


def _serve_bulk(listener: Any, seconds: float) -> Found:
    del seconds
    connection, _peer = listener.accept()
    buffer = bytearray(BUFFER)
    with connection:
        connection.recv_into(buffer)
        started, total = time.perf_counter(), 0
        while count := connection.recv_into(buffer):
            total += count
        return {"bulk": total * 8 / (time.perf_counter() - started) / 1e9}


def _ask_bulk(ends: Ends, address: Address, seconds: float) -> Found:
    block = bytes(BLOCK)
    with ends.connect(address) as client:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            client.sendall(block)
        client.shutdown(socket.SHUT_WR)
        client.recv(1)  # until the other end has it all
    return {}


def _echo(connection: Any) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := connection.recv(64):
        connection.sendall(data)


def _turns(client: Any, seconds: float) -> list[float]:
    """The time of each request and its answer, in microseconds, sorted."""
    times: list[float] = []
    now = time.perf_counter()
    end = now + seconds
    while now < end or len(times) <= WARM_UP:
        client.sendall(MESSAGE)
        client.recv(64)
        before, now = now, time.perf_counter()
        times.append((now - before) * 1e6)
    return sorted(times[WARM_UP:])


def _serve_turns(listener: Any, seconds: float) -> Found:
    del seconds
    connection, _peer = listener.accept()
    with connection:
        _echo(connection)
    return {}


def _ask_turns(ends: Ends, address: Address, seconds: float) -> Found:
    with ends.connect(address) as client:
        times = _turns(client, seconds)
    return {
        "p50": statistics.median(times),
        "p99": times[len(times) * 99 // 100],
        "turns": len(times),
    }


def _serve_idle(listener: Any, seconds: float) -> Found:
    del seconds
    kept = [listener.accept()[0] for _ in range(IDLE)]
    connection, _peer = listener.accept()
    with connection:
        _echo(connection)
    for one in kept:
        one.close()
    return {}


def _ask_idle(ends: Ends, address: Address, seconds: float) -> Found:
    kept = [ends.connect(address) for _ in range(IDLE)]
    with ends.connect(address) as client:
        times = _turns(client, seconds)
    for one in kept:
        one.close()
    return {"busy": statistics.median(times), "busy_turns": len(times)}


def _serve_connections(listener: Any, seconds: float) -> Found:
    del seconds
    while True:
        connection, _peer = listener.accept()
        with connection:
            word = connection.recv(1)
            connection.sendall(word)
            if word == b".":
                return {}


def _ask_connections(ends: Ends, address: Address, seconds: float) -> Found:
    def once(word: bytes) -> None:
        with ends.connect(address) as client:
            client.sendall(word)
            client.recv(1)

    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        once(b"x")
        count += 1
    found = count / (time.perf_counter() - started)
    once(b".")
    return {"connections": found, "opened": count}


def _serve_messages(listener: Any, seconds: float) -> Found:
    del seconds
    connection, _peer = listener.accept()
    with connection:
        total = len(connection.recv(64))
        started = time.perf_counter()
        while data := connection.recv(4096):
            total += len(data)
        return {"messages": total / len(MESSAGE) / (time.perf_counter() - started) / 1e3}


def _ask_messages(ends: Ends, address: Address, seconds: float) -> Found:
    with ends.connect(address) as client:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for _ in range(64):
                client.sendall(MESSAGE)
        client.shutdown(socket.SHUT_WR)
        client.recv(1)
    return {}


def _serve_datagrams(server: Any, seconds: float) -> Found:
    buffer = bytearray(2048)
    server.recv_into(buffer)
    started = last = time.perf_counter()
    server.settimeout(seconds + QUIET_S)
    count = 0
    with contextlib.suppress(TimeoutError):  # none of the last ones has come
        while server.recv_into(buffer) == len(MESSAGE):  # the last ones are shorter
            last = time.perf_counter()
            count += 1
    return {"datagrams": count / (last - started) / 1e3}


def _ask_datagrams(ends: Ends, address: Address, seconds: float) -> Found:
    with ends.datagrams() as client:
        client.connect(address)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for _ in range(64):
                client.send(MESSAGE)
        with contextlib.suppress(ConnectionRefusedError):  # the server has closed
            for _ in range(20):  # one of them will get through
                time.sleep(0.005)
                client.send(b".")
    return {}


WORKLOADS = {
    one.name: one
    for one in (
        Workload(
            "bulk",
            "one connection, as much as goes through",
            (Metric("bulk", "bulk, Gbit/s", more=True, digits=3),),
            Ends.listen,
            _serve_bulk,
            _ask_bulk,
        ),
        Workload(
            "latency",
            "64-byte requests and answers, one after the other",
            (
                Metric("p50", "round trip p50, µs", False, 1, "turns", 100),
                Metric("p99", "round trip p99, µs", False, 1, "turns", 1000),
            ),
            Ends.listen,
            _serve_turns,
            _ask_turns,
        ),
        Workload(
            "idle",
            f"the same beside {IDLE} idle connections",
            (Metric("busy", f"p50 beside {IDLE} idle, µs", False, 1, "busy_turns", 100),),
            Ends.listen,
            _serve_idle,
            _ask_idle,
        ),
        Workload(
            "connections",
            "connections opened, used for a byte and closed, one after the other",
            (Metric("connections", "connections/s", True, 0, "opened", 100),),
            Ends.listen,
            _serve_connections,
            _ask_connections,
        ),
        Workload(
            "messages",
            "64-byte sends on one connection, without waiting",
            (Metric("messages", "messages, 1000/s", more=True),),
            Ends.listen,
            _serve_messages,
            _ask_messages,
        ),
        Workload(
            "udp",
            "64-byte datagrams that arrive",
            (Metric("datagrams", "UDP, 1000/s", more=True),),
            Ends.datagrams,
            _serve_datagrams,
            _ask_datagrams,
        ),
    )
}
