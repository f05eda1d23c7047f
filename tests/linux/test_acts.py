"""What the engine linux says of its timers, by the setting that a World asks for (acts.c)."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from growth import need
from link import MAC, Link, link
from scapy.all import IP, Ether, IPv6, Raw
from scapy.layers.inet6 import IPv6ExtHdrFragment

OURS, PEER, PEER_MAC = "192.0.2.1", "192.0.2.2", "02:00:00:00:00:03"


@pytest.fixture
def wire() -> Iterator[Link]:
    need("linux")
    with link(f"{OURS}/24", "2001:db8::1/64", engine="linux") as made:
        made.run(20)
        yield made


def acts(wire: Link) -> bool:
    return bool(wire.net.sysctl["pystack.acts_alone"])


def test_a_stack_at_rest_does_nothing(wire: Link) -> None:
    assert not acts(wire)
    assert "pystack.acts_alone" not in list(wire.net.sysctl)
    with wire.net.sockets.create_server((OURS, 80)), wire.net.socket() as one:
        assert one
        assert not acts(wire)


def test_neighbours_that_are_asked_for(wire: Link) -> None:
    with wire.net.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"", (PEER, 9))
        assert acts(wire)
        wire.run(5)
        assert not acts(wire)


def test_a_connection_that_is_tried(wire: Link) -> None:
    wire.net.neighbours.add(PEER, PEER_MAC, wire.interface)
    with wire.net.socket() as one:
        one.setblocking(False)
        one.connect_ex((PEER, 9))
        assert acts(wire)
    wire.run(1)
    assert not acts(wire)


def test_an_address_that_is_checked(wire: Link) -> None:
    for address in ("2001:db8::9/64", "192.0.2.9/24"):
        wire.interface.addresses.add(address, detect=True)
        assert acts(wire)
        wire.run(20)
        assert not acts(wire)


def test_routers_that_are_looked_for(wire: Link) -> None:
    wire.interface.slaac()
    assert acts(wire)
    wire.interface.slaac(False)
    assert not acts(wire)


@pytest.mark.parametrize("version", [4, 6])
def test_a_datagram_in_pieces(wire: Link, version: int) -> None:
    wire.net.neighbours.add(PEER, PEER_MAC, wire.interface)
    head = Ether(src=PEER_MAC, dst=MAC)
    if version == 4:
        piece = IP(src=PEER, dst=OURS, flags="MF", id=7, proto=17) / Raw(bytes(64))
    else:
        source = IPv6(src="2001:db8::2", dst="2001:db8::1")
        piece = source / IPv6ExtHdrFragment(m=1, id=7, nh=17) / Raw(bytes(64))
    wire.send(head / piece)
    assert acts(wire)
    wire.run(90, step=1)
    assert not acts(wire)


def test_packets_that_wait_in_a_queue(wire: Link) -> None:
    wire.net.neighbours.add(PEER, PEER_MAC, wire.interface)
    wire.interface.qdisc("netem", delay=10.0)
    with wire.net.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"", (PEER, 9))
    assert acts(wire)
    wire.run(11)
    assert not acts(wire)
