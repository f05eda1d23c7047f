"""TCP, UDP and ICMP between an engine and itself, and that engine and lwIP."""

from __future__ import annotations

import errno
import hashlib
import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from failing import fails_with
from lockstep import PORT, Lockstep, lockstep
from pair import LEFT, RIGHT, RIGHT6, Pair, pair

import pystack
from pystack.hypercalls import ManualClock
from pystack.nic import Impairment

DATA = hashlib.shake_256(b"pystack").digest(3 << 20)
SUM = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def steps(engines: tuple[str, str]) -> Iterator[Lockstep]:
    with lockstep(engines=engines) as it:
        yield it


@pytest.fixture
def both(engines: tuple[str, str]) -> Iterator[Pair]:
    with pair(engines=engines) as it:
        yield it


def accepted(it: Lockstep, listener: Any) -> Any:
    found: list[Any] = []

    def look() -> bool:
        try:
            found.append(listener.accept()[0])
        except BlockingIOError:
            return False
        return True

    assert it.run(look)
    found[0].setblocking(False)
    return found[0]


def carry(it: Lockstep, source: Any, sink: Any) -> str:
    """Sends DATA from one to the other; gives the hash of what arrives."""
    digest, sent, received = hashlib.sha256(), 0, 0

    def move() -> bool:
        nonlocal sent, received
        try:
            sent += source.send(DATA[sent : sent + (1 << 18)])
        except BlockingIOError:
            pass
        try:
            part = sink.recv(1 << 20)
        except BlockingIOError:
            return False
        received += len(part)
        digest.update(part)
        return received == len(DATA)

    assert it.run(move, stride=0.001)
    return digest.hexdigest()


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "10.0.0.2"), (socket.AF_INET6, "fd00::2")]
)
def test_tcp_in_virtual_time(steps: Lockstep, family: int, host: str) -> None:
    listener = steps.server.socket(family)
    client = steps.client.socket(family)
    for each in (listener, client):
        each.setblocking(False)
    listener.bind((host, PORT))
    listener.listen(4)
    assert client.connect_ex((host, PORT)) == errno.EINPROGRESS
    server = accepted(steps, listener)
    assert carry(steps, client, server) == SUM
    assert carry(steps, server, client) == SUM
    client.shutdown(socket.SHUT_WR)
    assert steps.run(lambda: server.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"")
    for each in (client, server, listener):
        each.close()


@pytest.mark.parametrize("v6", [False, True])
def test_tcp_in_threads(both: Pair, v6: bool) -> None:
    client, server = both.connected(v6)
    digest = hashlib.sha256()

    def read() -> None:
        while part := server.recv(1 << 18):
            digest.update(part)

    reader = threading.Thread(target=read)
    reader.start()
    client.sendall(DATA)
    client.shutdown(socket.SHUT_WR)
    reader.join(60)
    assert digest.hexdigest() == SUM
    server.sendall(b"back")
    assert client.recv(10) == b"back"
    client.close()
    server.close()


def test_tcp_over_a_wire_that_loses(engines: tuple[str, str]) -> None:
    clock = ManualClock()
    left, right = pystack.nic.wire()
    bad = pystack.nic.impair(left, Impairment(loss=0.03), Impairment(loss=0.03), seed=11)
    options: Any = {"threaded": False, "clock": clock}
    with (
        pystack.Stack(engine=engines[0], seed=1, **options) as client,
        pystack.Stack(engine=engines[1], seed=2, **options) as server,
    ):
        client.attach(bad, "10.0.0.1/24")
        server.attach(right, "10.0.0.2/24")
        it = Lockstep(clock, client, server)
        it.run(seconds=5)
        listener = it.listen()
        peer = client.socket()
        peer.setblocking(False)
        peer.connect_ex(("10.0.0.2", PORT))
        other = accepted(it, listener)
        assert carry(it, peer, other) == SUM
        if engines[0] != "lwip":
            assert client.counters()["tcp.retransmitted_segments"] > 10
        for each in (peer, other, listener):
            each.close()


@pytest.mark.parametrize("v6", [False, True])
def test_udp(both: Pair, v6: bool) -> None:
    family, host = (socket.AF_INET6, RIGHT6) if v6 else (socket.AF_INET, RIGHT)
    with both.left.socket(family, socket.SOCK_DGRAM) as a:
        with both.right.socket(family, socket.SOCK_DGRAM) as b:
            b.bind((host, 0))
            for each in (a, b):
                each.settimeout(60)
            for size in (0, 1, 1000, 5000, 60000):
                a.sendto(DATA[:size], b.getsockname())
                data, peer = b.recvfrom(65536)
                assert data == DATA[:size]
                b.sendto(b"ok", peer)
                assert a.recv(10) == b"ok"


@pytest.mark.parametrize("host", [RIGHT, RIGHT6])
def test_ping(both: Pair, host: str) -> None:
    result = both.left.ping(host, count=3, interval=0.01)
    assert result.received == 3
    assert result.replies[0].ttl == 64


def test_ping_of_oneself(engine: str) -> None:
    with pystack.Stack(engine=engine) as net:
        assert net.ping("127.0.0.1")
        assert net.ping("::1")


def test_refused_and_in_use(both: Pair) -> None:
    with pytest.raises(ConnectionRefusedError):
        both.left.sockets.create_connection((RIGHT, 9), 10)
    with both.left.sockets.create_server((LEFT, 0)) as listener:
        with both.left.socket() as second:
            with fails_with(errno.EADDRINUSE):
                second.bind(listener.getsockname())
            with fails_with(errno.EADDRNOTAVAIL):
                second.bind(("192.0.2.1", 0))
        listener.close()
        with fails_with(errno.EBADF):
            listener.accept()


def test_a_failed_connect_leaves_the_socket_usable(both: Pair) -> None:
    with both.left.socket() as client, both.right.sockets.create_server((RIGHT, 0)) as listener:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Without a timeout: after one Linux would tell the next connect ECONNABORTED.
        with pytest.raises(ConnectionRefusedError):
            client.connect((RIGHT, 9))
        client.connect(listener.getsockname())
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        listener.accept()[0].close()


def test_udp_hears_of_a_closed_port(both: Pair) -> None:
    with both.left.socket(socket.AF_INET, socket.SOCK_DGRAM) as a:
        a.settimeout(60)
        a.connect((RIGHT, 9))
        a.send(b"anybody?")
        with pytest.raises(ConnectionRefusedError):
            a.recv(10)


def test_a_reset_is_told(both: Pair) -> None:
    client, server = both.connected()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    server.close()
    with pytest.raises(ConnectionResetError):
        client.recv(10)
    client.close()


def test_select_on_descriptors(both: Pair) -> None:
    client, server = both.connected()
    assert select.select([client], [client], [], 0) == ([], [client], [])
    server.send(b"x")
    assert select.select([client], [], [], 60)[0] == [client]
    assert client.recv(10) == b"x"
    assert select.select([client], [], [], 0)[0] == []
    client.setblocking(False)
    # Until the peer has no room either: an acknowledgement on its way makes it writable again.
    while select.select([], [client], [], 0.2)[1]:
        with pytest.raises(BlockingIOError):
            while True:
                client.send(DATA)
    left = len(DATA)
    server.settimeout(0.3)
    with pytest.raises(TimeoutError):
        while left:
            server.recv(1 << 20)
    assert select.select([], [client], [], 60)[1] == [client]
    client.close()
    server.close()


def test_peek_and_truncation(both: Pair) -> None:
    with both.left.socket(socket.AF_INET, socket.SOCK_DGRAM) as a:
        with both.right.socket(socket.AF_INET, socket.SOCK_DGRAM) as b:
            b.bind((RIGHT, 0))
            b.settimeout(60)
            a.sendto(b"datagram", b.getsockname())
            assert b.recv(4, socket.MSG_PEEK) == b"data"
            data, _ancillary, flags, _peer = b.recvmsg(4)
            assert data == b"data"
            assert flags & socket.MSG_TRUNC
            client, server = both.connected()
            client.sendall(b"stream")
            assert server.recv(3, socket.MSG_PEEK) == b"str"
            assert server.recv(10) == b"stream"
            client.close()
            server.close()


def test_multicast(both: Pair) -> None:
    group = "239.1.2.3"
    with both.left.socket(socket.AF_INET, socket.SOCK_DGRAM) as a:
        with both.right.socket(socket.AF_INET, socket.SOCK_DGRAM) as b:
            b.bind(("", 5000))
            b.settimeout(60)
            member = socket.inet_aton(group) + socket.inet_aton(RIGHT)
            b.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            with fails_with(errno.EADDRINUSE):
                b.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            a.sendto(b"all", (group, 5000))
            assert b.recv(10) == b"all"
            b.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, member)
