"""UDP_GRO beside the kernel: datagrams that are received as one, and what they were."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from compare import agree, outcome
from declared import by_arena
from hypothesis import given, settings
from hypothesis import strategies as st

import pystack

UDP, SEGMENT, GRO = socket.IPPROTO_UDP, 103, 104
SOL, IP, IPV6 = socket.SOL_SOCKET, socket.IPPROTO_IP, socket.IPPROTO_IPV6
LOCAL = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
FAMILIES = pytest.mark.parametrize(
    "family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"]
)
DATA = random.Random(1).randbytes(65_000)


@pytest.fixture(scope="module")
def net() -> Iterator[pystack.Stack]:
    with pystack.Stack() as made:
        yield made


def compare(net: pystack.Stack, function: Callable[..., Any], *arguments: Any) -> None:
    agree(lambda: function(socket, *arguments), lambda: function(net.sockets, *arguments))


def opened(module: Any, family: int) -> Any:
    sock = module.socket(family, socket.SOCK_DGRAM)
    sock.bind((LOCAL[family], 0))
    sock.settimeout(0)
    return sock


def everything(sock: Any, size: int = 70_000) -> list[Any]:
    found = []
    while (one := outcome(lambda: sock.recvmsg(size, 200)[:3]))[0] == "returns":
        found.append(one[1])
    return found


def segmented(module: Any, family: int) -> Any:
    """What one send was cut into comes as one, with the size of the pieces."""
    found = []
    with opened(module, family) as sock, opened(module, family) as peer:
        sock.setsockopt(UDP, GRO, 1)
        for size, part in ((350, 100), (300, 100), (100, 100), (101, 100), (64, 1), (60_000, 1400)):
            peer.setsockopt(UDP, SEGMENT, part)
            peer.sendto(DATA[:size], sock.getsockname())
            found.append(everything(sock))
            peer.sendto(DATA[:size], sock.getsockname())
            found.append((everything(sock, 120), outcome(sock.recv, 1)))
            peer.sendto(DATA[:size], sock.getsockname())
            found.append((outcome(sock.recv, 10, socket.MSG_PEEK), everything(sock)))
        return found


@FAMILIES
def test_segmented(net: pystack.Stack, family: int) -> None:
    compare(net, segmented, family)


def among_others(module: Any, family: int) -> Any:
    with opened(module, family) as sock, opened(module, family) as peer:
        sock.setsockopt(UDP, GRO, 1)
        for key in ((IP, 12), (IP, 13), (IPV6, 51)):
            outcome(sock.setsockopt, *key, 1)
        peer.setsockopt(UDP, SEGMENT, 100)
        peer.sendto(DATA[:350], sock.getsockname())
        one = everything(sock)
        peer.sendto(DATA[:350], sock.getsockname())
        sock.setsockopt(UDP, GRO, 0)  # what waits stays as it is, and isn't told of any more
        return one, everything(sock), sock.getsockopt(UDP, GRO)


@FAMILIES
def test_among_others(net: pystack.Stack, family: int) -> None:
    compare(net, among_others, family)


def test_without(net: pystack.Stack) -> None:
    """Who doesn't ask for it gets each of them."""
    with opened(net.sockets, socket.AF_INET) as sock, opened(net.sockets, socket.AF_INET) as peer:
        peer.setsockopt(UDP, SEGMENT, 100)
        peer.sendto(DATA[:350], sock.getsockname())
        assert [len(sock.recv(1000)) for _ in range(4)] == [100, 100, 100, 50]


def parts(received: Any) -> list[bytes]:
    """The datagrams that it was."""
    data, items, flags, _ = received
    assert not flags
    if not items:
        return [data]
    ((level, kind, size),) = items
    assert (level, kind) == (UDP, GRO)
    step = int.from_bytes(size, "little")
    assert len(data) > step
    assert len(data) <= 65535
    assert len(data) <= 64 * step
    return [data[at : at + step] for at in range(0, len(data), step)]


SENDS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.one_of(st.sampled_from([0, 1, 100, 1400]), st.integers(0, 3000)),
        st.integers(1, 70),
    ),
    max_size=12,
)


@given(SENDS, st.integers(1, 5))
@settings(max_examples=200, deadline=None)
@pytest.mark.slow
def test_nothing_is_mixed(sends: list[tuple[int, int, int]], pause: int) -> None:
    """Whoever sends what, in whatever order: each datagram is whole, in its order, and its own
    sender's. Datagrams that wait are coalesced here, whereas Linux does so as they come.
    """
    with pystack.Stack() as net:
        if "net.core.rmem_max" in net.sysctl:
            net.sysctl["net.core.rmem_max"] = 8 << 20
        sock = opened(net.sockets, socket.AF_INET)
        sock.setsockopt(SOL, socket.SO_RCVBUF, 4 << 20)
        sock.setsockopt(UDP, GRO, 1)
        peers = [opened(net.sockets, socket.AF_INET) for _ in range(3)]
        sent: list[tuple[Any, bytes]] = []
        came: list[tuple[Any, bytes]] = []

        def read() -> None:
            while True:
                try:
                    received = sock.recvmsg(70_000, 100)
                except BlockingIOError:
                    return
                came.extend((received[3], part) for part in parts(received))

        for number, (who, size, count) in enumerate(sends):
            for _ in range(count):
                data = DATA[len(sent) % 100 :][:size]
                peers[who].sendto(data, sock.getsockname())
                sent.append((peers[who].getsockname(), data))
            if number % pause == 0:
                read()
        read()
        for one in (sock, *peers):
            one.close()
        assert came == sent


@by_arena
def test_the_buffer_is_bounded() -> None:
    """Coalesced ones take their room in the receive buffer, and give it back."""
    with pystack.Stack() as net:
        sock, peer = (opened(net.sockets, socket.AF_INET) for _ in "ab")
        before = net.arena.used_bytes
        sock.setsockopt(SOL, socket.SO_RCVBUF, 20_000)
        sock.setsockopt(UDP, GRO, 1)
        for _ in range(500):
            peer.sendto(DATA[:500], sock.getsockname())
        assert net.arena.used_bytes < before + 80_000
        assert 30 < sum(len(parts(sock.recvmsg(70_000, 100))) for _ in range(1)) <= 64
        while outcome(sock.recv, 70_000)[0] == "returns":
            pass
        assert net.arena.used_bytes == before
        sock.close()
        peer.close()
