"""What forwarding costs: a Gateway whose flows share a notifier, beside one with descriptors.

    python tests/bench/flows.py [SECONDS] [ROUNDS] [--instructions]

The Gateway is in a process of its own, whose processor time counts; the guest is a Stack in this
one, and what flows go to is the kernel's loopback. Each round runs both kinds, first one and then
the other in turn, for one bulk flow each way, and for 200 flows that exchange small messages; what
is printed are medians and ratios.
"""

from __future__ import annotations

import multiprocessing
import re
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pystack
from pystack.embed import readiness
from pystack.embed.gateway import Gateway, wire_from_descriptor
from pystack.embed.proxy import datagrams, pump

HOST = "192.0.2.2"  # is this machine's loopback to the guest
MTU = 65500
MESSAGE, MANY = 64, 200
BLOCK = bytes(1 << 18)
KINDS = ("descriptors", "notifier")


def gateway(kind: str, end: socket.socket, talk: Any) -> None:
    """Runs one, and tells of its processor time when asked."""
    if kind == "descriptors":
        pump.side_of = datagrams.side_of = readiness._LoopSide  # type: ignore[attr-defined]
    nic = wire_from_descriptor(end.detach(), mtu=MTU)
    with Gateway(nic, host_loopback=HOST, mtu=MTU):
        talk.send(None)
        while talk.recv():
            used = resource.getrusage(resource.RUSAGE_SELF)
            talk.send(used.ru_utime + used.ru_stime)


def serve(listener: socket.socket) -> None:
    """First byte of a connection: b"<" gives, b">" takes, b"=" echoes."""
    waiting = selectors.DefaultSelector()
    waiting.register(listener, selectors.EVENT_READ)
    kinds: dict[socket.socket, bytes] = {}
    while True:
        for key, _ in waiting.select():
            one: Any = key.fileobj
            try:
                if one is listener:
                    made, _ = listener.accept()
                    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    waiting.register(made, selectors.EVENT_READ)
                elif one not in kinds:
                    kinds[one] = one.recv(1)
                    one.setblocking(False)
                    if kinds[one] == b"<":
                        waiting.modify(one, selectors.EVENT_WRITE)
                elif kinds[one] == b"<":
                    one.send(BLOCK)
                else:
                    data = one.recv(1 << 18)
                    if not data:
                        raise ConnectionResetError
                    if kinds[one] == b"=":
                        one.send(data)
            except OSError:
                waiting.unregister(one)
                kinds.pop(one, None)
                one.close()


def taken(net: pystack.Stack, port: int, seconds: float, begin: Callable[[], object]) -> float:
    """Bytes a second that one flow brings."""
    with net.sockets.create_connection((HOST, port), timeout=10) as one:
        one.sendall(b"<")
        one.recv(1)
        begin()
        total, began = 0, time.monotonic()
        while time.monotonic() < began + seconds:
            total += len(one.recv(1 << 18))
        return total / (time.monotonic() - began)


def given(net: pystack.Stack, port: int, seconds: float, begin: Callable[[], object]) -> float:
    """Bytes a second that one flow takes away."""
    with net.sockets.create_connection((HOST, port), timeout=10) as one:
        one.sendall(b">")
        begin()
        total, began = 0, time.monotonic()
        while time.monotonic() < began + seconds:
            one.sendall(BLOCK)
            total += len(BLOCK)
        return total / (time.monotonic() - began)


def exchanged(net: pystack.Stack, port: int, seconds: float, begin: Callable[[], object]) -> float:
    """Bytes a second that many flows carry there and back, in small messages in turn."""
    ends = [net.sockets.create_connection((HOST, port), timeout=10) for _ in range(MANY)]
    for one in ends:
        one.sendall(b"=")
    begin()
    total, began = 0, time.monotonic()
    while time.monotonic() < began + seconds:
        for one in ends:
            one.sendall(bytes(MESSAGE))
        for one in ends:
            got = 0
            while got < MESSAGE:
                got += len(one.recv(MESSAGE - got))
        total += MESSAGE * MANY
    rate = total / (time.monotonic() - began)
    for one in ends:
        one.close()
    return rate


JOBS: dict[str, Callable[[pystack.Stack, int, float, Callable[[], object]], float]] = {
    "one flow, to the guest": taken,
    "one flow, from it": given,
    f"{MANY} flows, messages": exchanged,
}


def measure(kind: str, port: int, seconds: float) -> dict[str, tuple[float, float]]:
    """For each job bytes a second, and bytes a second of the gateway's processor time."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    talk, their_talk = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=gateway, args=(kind, theirs, their_talk)
    )
    process.start()
    theirs.close()
    their_talk.close()
    talk.recv()
    found = {}
    with pystack.Stack() as net:
        net.attach(
            wire_from_descriptor(ours.detach(), mtu=MTU),
            "10.0.2.100/24", gateway="10.0.2.2", mtu=MTU,
        )  # fmt: skip
        for name, job in JOBS.items():
            talk.send(True)
            before = talk.recv()
            rate = job(net, port, seconds, lambda: None)
            talk.send(True)
            found[name] = rate, rate * seconds / max(talk.recv() - before, 1e-3)
    talk.send(False)
    process.join(20)
    return found


def count(kind: str, port: int, seconds: float) -> dict[str, float]:
    """For each job the gateway's instructions of a byte."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    talk, their_talk = multiprocessing.Pipe()
    with tempfile.TemporaryDirectory() as folder, pystack.Stack() as net:
        out, passed = Path(folder) / "out", [theirs.fileno(), their_talk.fileno()]
        process = subprocess.Popen(
            [
                *("valgrind", "-q", "--tool=callgrind", "--instr-atstart=no"),
                *(f"--callgrind-out-file={out}", sys.executable, __file__),
                *("--gateway", kind, *map(str, passed)),
            ],
            pass_fds=passed,
        )
        theirs.close()
        their_talk.close()
        talk.recv()
        net.attach(
            wire_from_descriptor(ours.detach(), mtu=MTU),
            "10.0.2.100/24", gateway="10.0.2.2", mtu=MTU,
        )  # fmt: skip

        def control(*words: str) -> None:
            subprocess.run(
                ["callgrind_control", *words, str(process.pid)], check=True, capture_output=True
            )

        found = {}
        for name, job in JOBS.items():
            rate = job(net, port, seconds, lambda: control("-i", "on"))
            control("-i", "off")
            control("--dump")
            newest = max(Path(folder).iterdir(), key=lambda one: one.stat().st_mtime_ns)
            total = re.search(r"^totals: (\d+)", newest.read_text("utf-8"), re.MULTILINE)
            assert total is not None
            found[name] = int(total[1]) / (rate * seconds)
        talk.send(False)
        process.wait(60)
    return found


def main(seconds: float = 1.5, rounds: float = 3, instructions: bool = False) -> None:
    """Measures, and prints."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    port = listener.getsockname()[1]
    if instructions:
        old, new = (count(kind, port, seconds) for kind in KINDS)
        for name in JOBS:
            was, is_ = old[name], new[name]
            print(f"{name:24} {was:8.2f} -> {is_:8.2f} instructions a byte: {is_ / was:.3f}")
        return
    found: dict[str, list[dict[str, tuple[float, float]]]] = {kind: [] for kind in KINDS}
    for round_ in range(int(rounds)):
        for kind in KINDS if round_ % 2 == 0 else KINDS[::-1]:
            found[kind].append(measure(kind, port, seconds))
    for name in JOBS:
        for at, what in enumerate(("MB/s", "MB a second of the gateway's processor time")):
            was, is_ = (statistics.median(one[name][at] for one in found[kind]) for kind in KINDS)
            print(f"{name:24} {was / 1e6:8.1f} -> {is_ / 1e6:8.1f} {what}: {is_ / was:.2f}")


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[:1] == ["--gateway"]:
        end, talk = socket.socket(fileno=int(words[2])), Connection(int(words[3]))
        gateway(words[1], end, talk)
    else:
        numbers = [float(one) for one in words if one != "--instructions"]
        main(*numbers, instructions="--instructions" in words)
