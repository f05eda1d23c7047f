"""Memory that is refused, or that runs out: an error each time, no crash, no hang, nothing lost."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack
from typing import Any

import pytest

import pystack

pytestmark = pytest.mark.sanitize

MIB = 1 << 20
# What a program may be told when there is no memory.
WANT = {errno.ENOMEM, errno.ENOBUFS, errno.ENFILE, errno.EMFILE, errno.EAGAIN}


class Ledger:
    """Memory from Python's heap, counted, of which some is refused."""

    def __init__(self, refused: int | None = None) -> None:
        self.given: dict[int, bytearray] = {}
        self.asked = 0
        self.refused = refused

    def allocate(self, size: int) -> bytearray | None:
        self.asked += 1
        if self.refused is not None and self.asked > self.refused:
            return None
        buffer = bytearray(size)
        self.given[id(buffer)] = buffer
        return buffer

    def free(self, memory: bytearray) -> None:
        del self.given[id(memory)]


def test_it_starts_and_works_with_what_it_gets_or_says_that_it_is_too_little(engine: str) -> None:
    started = []
    for limit in (0, 1000, 100_000, MIB, 4 * MIB, 8 * MIB, 13 * MIB, 21 * MIB, 37 * MIB, 69 * MIB):
        try:
            net = pystack.Stack(engine=engine, memory_limit=limit, threaded=False)
        except OSError as error:
            assert error.errno == errno.ENOMEM
            assert "did not start" in str(error)
            assert not started, "less was enough"
            continue
        with net:
            started.append(limit)
            assert net.arena.used_bytes <= limit
            if limit >= MIB:
                assert net.ping("127.0.0.1")
    assert started


def test_each_allocation_at_the_start_fails_in_turn(engine: str) -> None:
    for refused in range(100):
        ledger = Ledger(refused)
        try:
            net = pystack.Stack(engine=engine, memory=ledger, threaded=False)
        except OSError as error:
            assert error.errno == errno.ENOMEM
        else:
            whole = ledger.asked == len(ledger.given)
            net.close()
            if whole:  # it had all that it asked for
                break
        assert ledger.given == {}
    else:
        pytest.fail("it never had enough")
    assert ledger.given == {}


def test_memory_is_python_s_and_comes_back(engine: str) -> None:
    ledger = Ledger()
    with pystack.Stack(engine=engine, memory=ledger) as net:
        with net.sockets.create_server(("127.0.0.1", 0)) as listener:
            client = net.sockets.create_connection(listener.getsockname(), 60)
            server, _peer = listener.accept()
            with client, server:
                client.sendall(b"x" * 100_000)
                received = 0
                while received < 100_000:
                    received += len(server.recv(65536))
        assert len(ledger.given) == net.arena.live_blocks
    assert ledger.given == {}


@pytest.mark.parametrize("answer", [bytearray(1), b"read only", "text"])
def test_what_is_no_memory_is_an_error(engine: str, answer: Any) -> None:
    class Wrong(Ledger):
        def allocate(self, size: int) -> Any:
            return answer

    with pytest.raises((ValueError, TypeError, BufferError)):
        pystack.Stack(engine=engine, memory=Wrong(), threaded=False)


def test_no_more_blocks_while_it_works(engine: str) -> None:
    """From now on every allocation is refused: what can't go on without says so."""
    with pystack.Stack(engine=engine, threaded=False) as net:
        net.arena.fail_allocations(after=0, count=1 << 40)
        held = []
        for _ in range(1000):
            try:
                held.append(net.socket(type=socket.SOCK_DGRAM))
            except OSError as error:
                assert error.errno in WANT
                break
        for sock in held:
            sock.close()
        net.arena.fail_allocations(after=0, count=0)
        assert net.ping("127.0.0.1")


SMALL = 14 * MIB


def refill(net: pystack.Stack) -> None:
    """All is given back: what worked before works again."""
    net.step()
    assert net.ping("127.0.0.1", timeout=30)
    with net.sockets.create_server(("127.0.0.1", 0)) as listener:
        with net.sockets.create_connection(listener.getsockname(), 60) as client:
            server, _peer = listener.accept()
            with server:
                client.sendall(b"still there")
                assert server.recv(100) == b"still there"


def test_ten_thousand_sockets_in_little_memory(engine: str) -> None:
    with pystack.Stack(engine=engine, threaded=False, memory_limit=SMALL, log=Quiet()) as net:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with ExitStack() as held:
                for _ in range(10_000):
                    try:
                        sock = held.enter_context(net.socket(type=kind))
                        sock.bind(("127.0.0.1", 0))
                    except OSError as error:
                        assert error.errno in WANT
                        break
            refill(net)


def test_connections_that_nobody_reads_in_little_memory(engine: str) -> None:
    with pystack.Stack(engine=engine, threaded=False, memory_limit=SMALL, log=Quiet()) as net:
        with ExitStack() as held:
            listener = held.enter_context(net.sockets.create_server(("127.0.0.1", 0), backlog=64))
            for _ in range(400):
                try:
                    client = net.sockets.create_connection(listener.getsockname(), 2)
                    held.enter_context(client)
                    listener.settimeout(2)
                    held.enter_context(listener.accept()[0])
                    client.setblocking(False)
                    while client.send(bytes(65536)):
                        net.step()
                except BlockingIOError:
                    continue
                except OSError as error:
                    # Lost for want of memory, and tried again in vain.
                    assert error.errno in WANT | {errno.ETIMEDOUT, None, errno.ECONNABORTED}
                    break
        refill(net)


def test_datagrams_that_nobody_reads_in_little_memory(engine: str) -> None:
    with pystack.Stack(engine=engine, threaded=False, memory_limit=SMALL, log=Quiet()) as net:
        with ExitStack() as held:
            for _ in range(300):
                try:
                    sink = held.enter_context(net.socket(type=socket.SOCK_DGRAM))
                    sink.bind(("127.0.0.1", 0))
                    sink.setblocking(False)
                    for _round in range(20):
                        sink.sendto(bytes(60_000), sink.getsockname())
                except OSError as error:
                    assert error.errno in WANT
                    if error.errno != errno.EAGAIN:
                        break
        refill(net)


class Quiet:
    """Takes what an engine says of the memory it lacks."""

    def log(self, level: int, text: str) -> None:
        """Nothing."""
