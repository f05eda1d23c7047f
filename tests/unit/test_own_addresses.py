"""A Stack with several addresses reaches each of them from each, and sends nothing for it."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator

import pytest

import pystack

OWN = {
    4: ["10.0.0.2", "10.0.0.9", "10.5.0.9", "127.0.0.1"],
    6: ["fd00::2", "fd00::9", "fd05::9"],
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
        for more in "10.0.0.9/24", "10.5.0.9/24", "fd00::9/64", "fd05::9/64":
            interface.addresses.add(more)
        yield made


@pytest.mark.parametrize(("version", "source", "to"), PAIRS)
def test_each_own_address_from_each(
    net: pystack.Stack, version: int, source: str | None, to: str
) -> None:
    with net.socket(FAMILY[version], socket.SOCK_DGRAM) as taker:
        with net.socket(FAMILY[version], socket.SOCK_DGRAM) as giver:
            taker.bind((to, 0))
            taker.settimeout(5)
            giver.settimeout(5)
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
                server.settimeout(5)
                client.sendall(b"there")
                assert (server.recv(9), peer[0]) == (b"there", source or to)


@pytest.mark.parametrize("to", [*OWN[4], *OWN[6]])
def test_an_own_address_answers_ping(net: pystack.Stack, to: str) -> None:
    assert net.ping(to, timeout=5).received == 1
