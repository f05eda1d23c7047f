"""Snapshots of Stacks: futures of one connection, each byte for byte."""

from __future__ import annotations

import errno
import gc
import os
import resource
import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from children import Child

import pystack

pytestmark = pytest.mark.sanitize


class Pair:
    """Two Stacks on a wire, under a clock turned by hand, with a connection."""

    def __init__(self, engine: str) -> None:
        self.clock = pystack.hypercalls.ManualClock(start=1)
        left, right = pystack.nic.wire()
        self.frames: list[bytes] = []
        self.lose_every = 0  # of what `a` sends
        options: Any = {"engine": engine, "clock": self.clock, "threaded": False}
        self.a = pystack.Stack(seed=1, frame_out=self, **options)
        self.b = pystack.Stack(seed=2, **options)
        self.a.attach(left, "10.0.0.1/24")
        self.b.attach(right, "10.0.0.2/24")
        self.listener = self.b.sockets.create_server(("10.0.0.2", 80))
        self.client = self.a.socket()
        self.client.setblocking(False)
        self.client.connect_ex(("10.0.0.2", 80))
        self.run()
        self.server, _peer = self.listener.accept()
        self.server.setblocking(False)

    def frame_out(self, _interface: int, frame: bytes) -> bool:
        self.frames.append(frame)
        return not self.lose_every or len(self.frames) % self.lose_every > 0

    def run(self, rounds: int = 100) -> None:
        for _ in range(rounds):
            self.a.step()
            self.b.step()
            self.clock.advance(0.01)

    def settle(self) -> None:
        """Until nothing is on the wire: its frames are in no snapshot."""
        for _ in range(200):
            count = len(self.frames)
            for _step in range(4):
                self.b.step()
                self.a.step()
            if count == len(self.frames):
                return
        pytest.fail("they never come to rest while the clock stands still")

    def snapshot(self) -> tuple[pystack.Snapshot, pystack.Snapshot]:
        return self.a.snapshot(), self.b.snapshot()

    def restore(self, snapshots: tuple[pystack.Snapshot, pystack.Snapshot]) -> None:
        self.a.restore(snapshots[0])
        self.b.restore(snapshots[1])
        self.frames.clear()

    def carry(self, data: bytes) -> bytes:
        got, left = b"", data
        for _ in range(500):
            with suppress(BlockingIOError):
                left = left[self.client.send(left) :] if left else b""
            self.run(1)
            try:
                got += self.server.recv(1 << 20)
            except BlockingIOError:
                continue
            if len(got) == len(data):
                break
        return got

    def close(self) -> None:
        for each in (self.client, self.server, self.listener, self.a, self.b):
            each.close()


@pytest.fixture
def pair(engine: str) -> Iterator[Pair]:
    made = Pair(engine)
    yield made
    made.close()


def test_two_futures_of_a_connection(pair: Pair) -> None:
    assert pair.carry(b"before") == b"before"
    pair.run()
    acked = pair.client.tcp_info().bytes_acked
    assert acked in {6, 7}  # Linux counts the SYN
    snapshots = pair.snapshot()
    moment = pair.clock.now_us()
    seen = {}
    for data in (b"one" * 9000, b"another" * 7000, b"one" * 9000):
        pair.restore(snapshots)
        assert pair.clock.now_us() == moment
        assert pair.client.tcp_info().bytes_acked == acked
        assert pair.carry(data) == data
        pair.run()  # nothing is left on the wire, whose frames no snapshot has
        assert seen.setdefault(data, list(pair.frames)) == pair.frames
    assert len(seen) == 2


def test_what_was_unread_and_unsent_comes_back(pair: Pair) -> None:
    pair.client.send(b"unread")
    pair.run()
    snapshots = pair.snapshot()
    for _ in range(3):
        assert pair.server.recv(100) == b"unread"
        with pytest.raises(BlockingIOError):
            pair.server.recv(100)
        pair.restore(snapshots)


def test_descriptors_follow(pair: Pair) -> None:
    poll = select.poll()
    poll.register(pair.server.fileno(), select.POLLIN)
    snapshots = pair.snapshot()
    assert poll.poll(0) == []
    pair.client.send(b"x")
    pair.run()
    assert poll.poll(0) != []
    pair.restore(snapshots)
    assert poll.poll(0) == []


@pytest.mark.timeout(600)  # sanitized, on a busy machine
def test_a_thousand_restores_cost_no_memory(pair: Pair) -> None:
    snapshots = pair.snapshot()
    used = pair.a.arena.statistics()
    for _ in range(1000):
        pair.client.send(b"x" * 3000)
        pair.run(2)
        pair.restore(snapshots)
    assert pair.a.arena.statistics() == used
    assert pair.carry(b"after") == b"after"


def test_snapshots_of_several_moments(pair: Pair) -> None:
    first = pair.snapshot()
    opening = pair.client.tcp_info().bytes_acked
    pair.carry(b"x" * 50_000)
    pair.run()
    second = pair.snapshot()
    acked = pair.client.tcp_info().bytes_acked
    assert acked == opening + 50_000
    pair.restore(first)
    assert pair.client.tcp_info().bytes_acked == opening
    pair.restore(second)
    assert pair.client.tcp_info().bytes_acked == acked
    del second
    gc.collect()
    pair.restore(first)
    assert pair.carry(b"again") == b"again"


def test_sockets_have_to_be_the_same(pair: Pair) -> None:
    snapshot = pair.a.snapshot()
    with pair.a.socket(), pytest.raises(OSError, match="opened since") as refused:
        pair.a.restore(snapshot)
    assert refused.value.errno == errno.EBUSY
    pair.a.restore(snapshot)
    pair.client.close()
    with pytest.raises(OSError, match="closed since") as refused:
        pair.a.restore(snapshot)
    assert refused.value.errno == errno.ESTALE


def test_what_is_refused(pair: Pair) -> None:
    snapshot = pair.a.snapshot()
    assert "bytes at" in repr(snapshot)
    with pytest.raises(OSError, match="of another Stack") as refused:
        pair.b.restore(snapshot)
    assert refused.value.errno == errno.EXDEV
    extra = pair.a.attach(pystack.nic.wire()[0], "10.0.1.1/24")
    with pytest.raises(OSError, match="NICs") as refused:
        pair.a.restore(snapshot)
    assert refused.value.errno == errno.ENODEV
    extra.detach()
    pair.a.restore(snapshot)
    pair.a.close()
    with pytest.raises(OSError, match="closed"):
        pair.a.restore(snapshot)


# --- in the middle of something ------------------------------------------------------------------


def step_and_read(it: Pair, rounds: int) -> list[bytes]:
    """What the server reads in so many rounds of 10 ms, empty where nothing came."""
    got = []
    for _ in range(rounds):
        it.run(1)
        try:
            got.append(it.server.recv(1 << 20))
        except BlockingIOError:
            got.append(b"")
    return got


def test_a_branch_in_the_middle_of_a_transfer(pair: Pair) -> None:
    """Data that wasn't sent yet, a window that is full, and an answer that is unread."""
    data = bytes(range(256)) * 40_000
    sent = pair.client.send(data)
    pair.server.send(b"unread")
    pair.run(3)
    pair.settle()
    snapshots = pair.snapshot()
    pair.frames.clear()
    futures = []
    for _ in range(3):
        got = step_and_read(pair, 300)
        futures.append((got, pair.client.recv(100), pair.client.tcp_info(), list(pair.frames)))
        pair.restore(snapshots)
    assert b"".join(futures[0][0]) == data[:sent]
    assert futures[0][1] == b"unread"
    assert futures[0] == futures[1] == futures[2]


@pytest.mark.timeout(600)  # sanitized, on a busy machine
def test_a_branch_while_losses_are_repaired(pair: Pair) -> None:
    sent = pair.client.send(bytes(400_000))
    pair.lose_every = 3
    pair.run(2)
    pair.settle()
    snapshots = pair.snapshot()
    pair.frames.clear()
    futures = []
    for _ in range(2):
        got = step_and_read(pair, 6000)
        futures.append((b"".join(got), pair.client.tcp_info(), list(pair.frames)))
        pair.restore(snapshots)
    assert len(futures[0][0]) == sent
    assert futures[0][1].total_retransmits > 10
    assert futures[0] == futures[1]


def test_a_branch_inside_one_stack(engine: str) -> None:
    clock = pystack.hypercalls.ManualClock(start=1)
    data = bytes(range(256)) * 4000
    with pystack.Stack(engine=engine, clock=clock, seed=4, threaded=False) as net:
        with net.sockets.create_server(("127.0.0.1", 0)) as listener:
            client = net.sockets.create_connection(listener.getsockname(), 5)
            server, _peer = listener.accept()
        with client, server:
            for each in (client, server):
                each.setblocking(False)
            sent = client.send(data)
            snapshot = net.snapshot()
            futures = []
            for _ in range(3):
                parts = []
                for _round in range(200):
                    net.step()
                    clock.advance(0.01)
                    try:
                        parts.append(server.recv(1 << 20))
                    except BlockingIOError:
                        parts.append(b"")
                info = client.tcp_info()
                futures.append((parts, info, [(one.state, one.local) for one in net.connections()]))
                net.restore(snapshot)
    assert b"".join(futures[0][0]) == data[:sent]
    assert futures[0] == futures[1] == futures[2]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's account of pages")
def test_memory_that_was_never_used_is_not_touched(engine: str) -> None:
    """An engine may take a large block at the start, of which it uses little."""
    with pystack.Stack(engine=engine, threaded=False) as net:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        snapshot = net.snapshot()
        copied = snapshot.size_bytes // resource.getpagesize()
        net.restore(snapshot)
        net.restore(snapshot)
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert faults < copied + 1000


# --- other processes -----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork beside threads
@pytest.mark.skipif(sys.platform != "linux", reason="Linux's packets in sequence")
def test_a_child_that_shares_the_stack_stands_in_the_way_until_it_ends(engine: str) -> None:
    reader, writer = os.pipe()
    with pystack.Stack(engine=engine) as net:
        with net.sockets.create_server(("127.0.0.1", 0)) as listener:
            client = net.sockets.create_connection(listener.getsockname(), 10)
            server, _peer = listener.accept()
        with client, server:
            snapshot = net.snapshot()
            client.send(b"for the child")
            child = Child(lambda: (server.recv(100), os.read(reader, 1)))
            for call in (net.snapshot, lambda: net.restore(snapshot)):
                with pytest.raises(OSError, match="other processes") as refused:
                    call()
                assert refused.value.errno == errno.EBUSY
            os.write(writer, b"x")
            assert child.result() == (b"for the child", b"x")
            deadline = time.monotonic() + 60
            while True:
                try:
                    net.restore(snapshot)
                    break
                except OSError:
                    assert time.monotonic() < deadline, "the child has ended"
                    time.sleep(0.01)
            server.setblocking(False)
            with pytest.raises(BlockingIOError):
                server.recv(100)
            client.send(b"again")
            server.settimeout(10)
            assert server.recv(100) == b"again"
    os.close(reader)
    os.close(writer)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_has_no_use_for_its_parent_s_snapshot(engine: str) -> None:
    with pystack.Stack(engine=engine, threaded=False) as net:
        snapshot = net.snapshot()
        with pytest.raises(OSError) as refused:
            Child(lambda: net.restore(snapshot)).result()
        assert refused.value.errno == errno.EOWNERDEAD
        net.restore(snapshot)
        assert net.ping("127.0.0.1")


def test_a_stack_that_moves_by_itself_is_restored_under_its_thread(engine: str) -> None:
    with pystack.Stack(engine=engine) as net:
        with net.sockets.create_server(("127.0.0.1", 0)) as listener:
            snapshot = net.snapshot()
            for _ in range(20):
                client = net.sockets.create_connection(listener.getsockname(), 10)
                server, _peer = listener.accept()
                with client, server:
                    client.sendall(b"x" * 50_000)
                net.restore(snapshot)
                assert [one.state.name for one in net.connections()] == ["LISTEN"]


def test_the_same_memory_of_python_s(engine: str) -> None:
    class Ledger:
        def allocate(self, size: int) -> bytearray:
            return bytearray(size)

        def free(self, memory: bytearray) -> None:
            del memory

    with pystack.Stack(engine=engine, threaded=False, memory=Ledger()) as net:
        with net.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 7))
            snapshot = net.snapshot()
            for _ in range(3):
                sock.sendto(b"x", ("127.0.0.1", 7))
                assert sock.recv(10) == b"x"
                sock.sendto(b"y", ("127.0.0.1", 7))
                net.restore(snapshot)
                sock.setblocking(False)
                with pytest.raises(BlockingIOError):
                    sock.recv(10)
                sock.setblocking(True)
