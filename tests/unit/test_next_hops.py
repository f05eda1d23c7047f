"""Where IPv6 packets go first, after what decides it has changed (RFC 4861 6.3.5, 7.2.5)."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from link import MAC, ROUTER, ROUTER_MAC, Link, link, prefix
from scapy.all import (
    UDP,
    Ether,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    IPv6,
)

NEIGHBOUR, NEIGHBOUR_MAC = "2001:db8:77::5", "02:00:00:00:00:77"
SECOND_ROUTER, SECOND_MAC = "fe80::9", "02:00:00:00:00:09"
MACS = {NEIGHBOUR: NEIGHBOUR_MAC, ROUTER: ROUTER_MAC, SECOND_ROUTER: SECOND_MAC}


def advertisement(target: str, to: str, flags: str = "SO", mac: str | None = None) -> Ether:
    return (
        Ether(src=MACS[target], dst=MAC)
        / IPv6(src=target, dst=to, hlim=255)
        / ICMPv6ND_NA(tgt=target, S="S" in flags, O="O" in flags, R="R" in flags)
        / ICMPv6NDOptDstLLAddr(lladdr=mac or MACS[target])
    )


@pytest.fixture
def it() -> Iterator[Link]:
    with link("fd00::2/64") as made:
        made.advertise()
        yield made


def first_hop(it: Link) -> str:
    """To which station a datagram to the neighbour goes."""
    with it.net.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", (NEIGHBOUR, 9))
    for _ in range(3):
        for frame in it.sent():
            if UDP in frame:
                return str(frame.dst)
            if ICMPv6ND_NS in frame and frame[ICMPv6ND_NS].tgt in MACS:
                asked = frame[ICMPv6ND_NS].tgt
                flags = "SO" if asked == NEIGHBOUR else "SOR"
                it.send(advertisement(asked, frame[IPv6].src, flags))
    raise AssertionError("nothing was sent")


def prefix_comes(it: Link) -> None:
    it.advertise(prefix("2001:db8:77::"))


def address_comes(it: Link) -> None:
    it.interface.addresses.add("2001:db8:77::1/64")
    it.run(3)


def address_in_use_at_once(it: Link) -> None:
    it.interface.addresses.add("2001:db8:77::1/64", detect=False)


@pytest.mark.parametrize("change", [prefix_comes, address_comes, address_in_use_at_once])
def test_what_comes_on_the_link_is_sent_there(it: Link, change: Callable[[Link], None]) -> None:
    assert first_hop(it) == ROUTER_MAC
    change(it)
    assert first_hop(it) == NEIGHBOUR_MAC


def test_a_prefix_that_goes_leaves_the_router(it: Link) -> None:
    it.advertise(prefix("2001:db8:77::"))
    assert first_hop(it) == NEIGHBOUR_MAC
    it.advertise(prefix("2001:db8:77::", valid=0))
    assert first_hop(it) == ROUTER_MAC


def test_a_prefix_that_ends_leaves_the_router(it: Link) -> None:
    it.advertise(prefix("2001:db8:77::", valid=10))
    assert first_hop(it) == NEIGHBOUR_MAC
    it.run(11)
    assert first_hop(it) == ROUTER_MAC


def test_an_infinite_prefix_does_not_end(it: Link) -> None:
    it.advertise(prefix("2001:db8:77::", valid=0xFFFFFFFF))
    it.clock.advance(100)
    assert first_hop(it) == NEIGHBOUR_MAC


def test_an_address_that_goes_takes_its_network_along(it: Link) -> None:
    it.interface.addresses.add("2001:db8:77::1/64", detect=False)
    assert first_hop(it) == NEIGHBOUR_MAC
    it.interface.addresses.remove("2001:db8:77::1/64")
    assert first_hop(it) == ROUTER_MAC


def test_a_route_comes_and_goes(it: Link) -> None:
    assert first_hop(it) == ROUTER_MAC
    it.net.routes.add("2001:db8:77::/64", SECOND_ROUTER, interface=it.interface)
    assert first_hop(it) == SECOND_MAC
    it.net.routes.delete("2001:db8:77::/64")
    assert first_hop(it) == ROUTER_MAC


@pytest.mark.parametrize("way", ["says so", "lifetime", "is a host", "deleted"])
def test_a_router_that_leaves_is_left(it: Link, way: str) -> None:
    it.advertise(lifetime=20)
    it.advertise(source=SECOND_ROUTER, mac=SECOND_MAC, prf=3)  # low: the first one is used
    assert first_hop(it) == ROUTER_MAC
    if way == "says so":
        it.advertise(lifetime=0)
    elif way == "lifetime":
        it.run(21)
    elif way == "is a host":
        it.send(advertisement(ROUTER, "ff02::1", "O"))
    else:
        it.net.neighbours.delete(ROUTER, it.interface)
    assert first_hop(it) == SECOND_MAC
