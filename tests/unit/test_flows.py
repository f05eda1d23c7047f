"""As many flows as there are descriptors: each costs one, and what comes beyond is refused."""

from __future__ import annotations

import os
import resource
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import pystack
from pystack.embed.gateway import Gateway
from pystack.embed.proxy.forwarder import Forwarder
from pystack.sockets.notifier import READ, WRITE, Notifier

PATIENCE_S = 60.0
HOST = "192.0.2.2"  # is this machine's loopback to the guest
OTHERS = 400  # descriptors that are no flow's, at most
SHARED = 4  # what the flows of each Stack have together: a notifier, an epoll of the driver's
MOST_BYTES = 64 * 1024  # of a flow's memory: two Stacks' sockets, and the gateway's tasks
# Echoes whatever comes by TCP or UDP, on ports that it prints, until its input ends.
ECHO = """
import resource, selectors, socket, sys
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
datagrams.bind(("127.0.0.1", 0))
waiting = selectors.DefaultSelector()
for one in (listener, datagrams, sys.stdin):
    waiting.register(one, selectors.EVENT_READ)
print(listener.getsockname()[1], datagrams.getsockname()[1], flush=True)
while True:
    for key, _ in waiting.select():
        one = key.fileobj
        if one is sys.stdin:
            sys.exit()
        try:
            if one is listener:
                waiting.register(listener.accept()[0], selectors.EVENT_READ)
            elif one is datagrams:
                datagrams.sendto(*datagrams.recvfrom(1000))
            elif data := one.recv(1000):
                one.sendall(data)
            else:
                raise ConnectionResetError
        except OSError:
            if one not in (listener, datagrams):
                waiting.unregister(one)
                one.close()
"""


def descriptors() -> int:
    listing = Path("/proc/self/fd")
    return len(list(listing.iterdir())) if listing.exists() else 0


def resident_bytes() -> int:
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * resource.getpagesize() if pages.exists() else 0


def until(holds: Callable[[], bool]) -> None:
    """Waits until something holds, for want of an event that says so."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


@contextmanager
def limited_to(count: int) -> Iterator[None]:
    """The soft limit of descriptors meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextmanager
def fixed_limit() -> Iterator[None]:
    """No more descriptors than a few above those there are, however much a process would like."""
    with limited_to(descriptors() + 10), pytest.MonkeyPatch.context() as patch:
        patch.setattr("pystack.embed.proxy.forwarder.raise_descriptor_limit", lambda: None)
        yield


@contextmanager
def echoing() -> Iterator[tuple[int, int]]:
    """The ports of an echo server in a process of its own, which has descriptors of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            stream, datagrams = map(int, server.stdout.readline().split())
            yield stream, datagrams
        finally:
            server.stdin.close()
            server.wait(PATIENCE_S)


@contextmanager
def guest_of() -> Iterator[tuple[Gateway, pystack.Stack]]:
    ours, theirs = pystack.nic.wire(queue_frames=16384)
    with Gateway(ours, host_loopback=HOST, nameservers=()) as gateway, pystack.Stack() as guest:
        guest.linger = 0.5
        guest.attach(theirs, "10.0.2.100/24", gateway="10.0.2.2")
        yield gateway, guest


class Ends:
    """A guest's sockets, waited for by a notifier: they need no descriptors."""

    def __init__(self, guest: pystack.Stack) -> None:
        self.guest = guest
        self.waiting = Notifier(guest._handle)
        self.bell = select.poll()
        self.bell.register(self.waiting, select.POLLIN)
        self.all: list[Any] = []

    def open(self, kind: int, count: int, port: int) -> None:
        numbers: dict[int, Any] = {}
        for _ in range(count):
            one = self.guest.socket(socket.AF_INET, kind)
            one.setblocking(False)
            self.all.append(one)
            one.connect_ex((HOST, port))
            numbers[self.waiting.watch(one, WRITE)] = one
        for one in self.each(numbers):
            assert one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0

    def each(self, numbers: dict[int, Any]) -> Iterator[Any]:
        """Each of the sockets, once, as soon as it is ready: the next within PATIENCE_S."""
        deadline = time.monotonic() + PATIENCE_S
        left = dict(numbers)
        while left:
            assert time.monotonic() < deadline, f"{len(left)} of {len(numbers)} are left"
            self.bell.poll(1000)
            for number, _ in self.waiting.take():
                self.waiting.change(number, 0)
                yield left.pop(number)
                deadline = time.monotonic() + PATIENCE_S

    def exchange(self, word: bytes) -> None:
        """Each sends a word, all of them before any reads its answer."""
        numbers = {}
        for place, one in enumerate(self.all):
            one.send(b"%s %d" % (word, place))
            numbers[self.waiting.watch(one, READ)] = one
        places = {one: place for place, one in enumerate(self.all)}
        for one in self.each(numbers):
            assert one.recv(1000) == b"%s %d" % (word, places[one])

    def close(self) -> None:
        for one in self.all:
            one.close()
        self.all.clear()


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_flow_costs_one_descriptor(count: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < count + OTHERS:
        pytest.skip(f"the hard limit of descriptors is {hard}")
    with limited_to(count + OTHERS), echoing() as (port, _), guest_of() as (gateway, guest):
        ends = Ends(guest)
        ends.open(socket.SOCK_STREAM, 1, port)  # what is made once is there
        ends.exchange(b"before")
        before, resident = descriptors(), resident_bytes()
        began = time.monotonic()
        ends.open(socket.SOCK_STREAM, count, port)
        opened = time.monotonic()
        ends.exchange(b"word")
        until(lambda: gateway.statistics().connections == count + 1)
        assert descriptors() - before <= count + SHARED
        grown = (resident_bytes() - resident) / count
        print(
            f"{count} flows, opened in {opened - began:.1f} s, a word each in"
            f" {time.monotonic() - opened:.1f} s, {grown:.0f} bytes each"
        )
        assert grown < MOST_BYTES
        ends.close()
        until(lambda: gateway.statistics().connections == 0)
        until(lambda: descriptors() <= before + SHARED)
        assert gateway.statistics().exhausted == 0
        ends.open(socket.SOCK_STREAM, 1, port)
        ends.exchange(b"after")
        ends.close()
        ends.waiting.close()


def test_a_flow_of_datagrams_costs_one_descriptor() -> None:
    count = 500
    with limited_to(count + OTHERS), echoing() as (_, port), guest_of() as (gateway, guest):
        batches = [Ends(guest) for _ in range(5)]  # so many at once as a socket's queue holds
        before = descriptors()
        for ends in batches:
            ends.open(socket.SOCK_DGRAM, count // len(batches), port)
            ends.exchange(b"word")
        until(lambda: gateway.statistics().datagram_flows == count)
        assert descriptors() - before <= count + SHARED
        for ends in batches:
            ends.close()
            ends.waiting.close()
        assert gateway.statistics().exhausted == 0


def test_without_descriptors_a_flow_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    with echoing() as (port, datagrams), guest_of() as (gateway, guest), ExitStack() as cleanup:
        ends = Ends(guest)
        ends.open(socket.SOCK_STREAM, 3, port)
        ends.exchange(b"before")
        cleanup.enter_context(fixed_limit())
        taken: list[int] = []
        cleanup.callback(lambda: [os.close(one) for one in taken])
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(os.dup(0))
        for round_ in range(3):
            with pytest.raises(ConnectionRefusedError):
                guest.sockets.create_connection((HOST, port), timeout=PATIENCE_S)
            assert gateway.statistics().exhausted == round_ + 1
        with guest.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.settimeout(PATIENCE_S)
            one.connect((HOST, datagrams))
            one.send(b"word")
            with pytest.raises(OSError, match="No route to host"):
                one.recv(100)
        assert gateway.statistics().exhausted == 4
        assert gateway.statistics().refused == 4
        ends.exchange(b"those that are open go on")
        os.close(taken.pop())
        ends.open(socket.SOCK_STREAM, 1, port)
        ends.exchange(b"after")
        ends.close()
        ends.waiting.close()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1, "it is told once"
    assert "flows are refused for now" in said[0]
    assert "ulimit -n" in said[0]


def test_the_soft_limit_is_raised_where_needed() -> None:
    with echoing() as (port, _), guest_of() as (gateway, guest):
        ends = Ends(guest)
        ends.open(socket.SOCK_STREAM, 1, port)
        with limited_to(descriptors() + 5):
            ends.open(socket.SOCK_STREAM, 20, port)
            ends.exchange(b"word")
            assert gateway.statistics().exhausted == 0
            ends.close()
            until(lambda: gateway.statistics().connections == 0)
        ends.waiting.close()


def test_a_snapshot_is_taken_while_flows_come_and_go() -> None:
    with pystack.Stack() as net:
        forwarder, stopped = Forwarder(net), threading.Event()
        flows: dict[Any, float] = forwarder._quiet

        def churn() -> None:
            while not stopped.is_set():
                for one in [object() for _ in range(100)]:
                    flows[one] = 1.0
                flows.clear()

        between, thread = sys.getswitchinterval(), threading.Thread(target=churn)
        sys.setswitchinterval(1e-6)
        thread.start()
        try:
            looks, seen, until = 0, 0, time.monotonic() + 60
            while (looks < 5000 or seen < 100) and time.monotonic() < until:
                looks += 1
                seen += forwarder.statistics().datagram_flows > 0
        finally:
            sys.setswitchinterval(between)
            stopped.set()
            thread.join()
        assert seen >= 100
        assert forwarder.statistics().datagram_flows == 0
