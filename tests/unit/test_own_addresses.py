"""A Stack with several addresses reaches each of them from each, and sends nothing for it."""

from __future__ import annotations

import errno
import itertools
import socket
import time
from collections.abc import Iterator

import pytest

import pystack

OWN = {
    4: ["10.0.0.2", "10.0.0.9", "10.5.0.9", "127.0.0.1"],
    6: ["fd00::2", "fd00::9", "fd05::9", "::1"],
}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
PAIRS = [
    (version, source, to)
    for version, own in OWN.items()
    for source, to in itertools.product([None, *own], own)
]


@pytest.fixture(scope="module")
def net() -> Iterator[pystack.Stack]:
    left, far = pystack.nic.wire()
    with far, pystack.Stack() as made:
        interface = made.attach(left, "10.0.0.2/24", "fd00::2/64")
        for more in "10.0.0.9/24", "10.5.0.9/24", "fd00::9/64", "fd05::9/96":
            interface.addresses.add(more)
        yield made


@pytest.mark.parametrize(("version", "source", "to"), PAIRS)
def test_each_own_address_from_each(
    net: pystack.Stack, version: int, source: str | None, to: str
) -> None:
    with net.socket(FAMILY[version], socket.SOCK_DGRAM) as taker:
        with net.socket(FAMILY[version], socket.SOCK_DGRAM) as giver:
            taker.bind((to, 0))
            taker.settimeout(30)
            giver.settimeout(30)
            if source is not None:
                giver.bind((source, 0))
            giver.sendto(b"there", taker.getsockname()[:2])
            data, back = taker.recvfrom(9)
            taker.sendto(b"back", back[:2])
            assert (data, back[0], giver.recv(9)) == (b"there", source or to, b"back")
    with net.sockets.create_server((to, 0), family=FAMILY[version]) as listener:
        bound = (source, 0) if source is not None else None
        where = listener.getsockname()[:2]
        with net.sockets.create_connection(where, 5, source_address=bound) as client:
            server, peer = listener.accept()
            with server:
                server.settimeout(30)
                client.sendall(b"there")
                assert (server.recv(9), peer[0]) == (b"there", source or to)


@pytest.mark.parametrize("to", [*OWN[4], *OWN[6]])
def test_an_own_address_answers_ping(net: pystack.Stack, to: str) -> None:
    assert net.ping(to, timeout=30).received == 1


@pytest.fixture(scope="module")
def link_local(net: pystack.Stack) -> tuple[str, int]:
    """An address of the link's, in use, and its scope."""
    [interface] = [each for each in net.interfaces if each.name != "lo"]
    [own] = [each.ip for each in interface.addresses if each.ip.is_link_local]
    deadline = time.monotonic() + 60
    with net.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        while True:
            try:
                probe.bind((str(own), 0, 0, interface.index))
            except OSError as error:
                assert error.errno == errno.EADDRNOTAVAIL
                assert time.monotonic() < deadline
                time.sleep(0.1)
            else:
                return str(own), interface.index


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_from_a_link_nobody_reaches_the_loopback(
    net: pystack.Stack, link_local: tuple[str, int], kind: socket.SocketKind
) -> None:
    with net.socket(socket.AF_INET6, kind) as sock:
        sock.bind((link_local[0], 0, 0, link_local[1]))
        with pytest.raises(OSError) as caught:
            sock.connect(("::1", 9))
        assert caught.value.errno == errno.ENETUNREACH


def test_the_loopback_sends_no_datagram_to_a_link(
    net: pystack.Stack, link_local: tuple[str, int]
) -> None:
    with net.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("::1", 0))
        with pytest.raises(OSError) as caught:
            sock.sendto(b"x", (link_local[0], 9, 0, link_local[1]))
        assert caught.value.errno == errno.ENETUNREACH
