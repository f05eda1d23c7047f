"""IPv6's neighbours, routers and addresses on a hostile link (RFC 4861, RFC 4862)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from link import ALL_NODES_MAC, MAC, ROUTER, ROUTER_MAC, Link, link, prefix
from scapy.all import (
    UDP,
    Ether,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_Redirect,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptRedirectedHdr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    Raw,
)

import pystack
from pystack.hypercalls import ManualClock
from pystack.interface import AddressOrigin
from pystack.tables import NeighbourState, RouteOrigin

OURS, PEER, OTHER = "fd00::2", "fd00::1", "fd00::77"
PEER_MAC, NEW_MAC, OTHER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:99", "02:00:00:00:00:77"
FAR, FAR_TOO = "2001:db8::9", "2001:db8::10"
SECOND_ROUTER, SECOND_MAC = "fe80::9", "02:00:00:00:00:09"


@pytest.fixture
def it() -> Iterator[Link]:
    with link(f"{OURS}/64") as made:
        yield made


def advertisement(
    target: str = PEER, mac: str = PEER_MAC, flags: str = "SO", to: str = OURS
) -> Any:
    return (
        Ether(src=mac, dst=MAC)
        / IPv6(src=target, dst=to, hlim=255)
        / ICMPv6ND_NA(tgt=target, S="S" in flags, O="O" in flags, R="R" in flags)
        / ICMPv6NDOptDstLLAddr(lladdr=mac)
    )


def solicitation(source: str, mac: str) -> Any:
    return (
        Ether(src=mac, dst=MAC)
        / IPv6(src=source, dst=OURS, hlim=255)
        / ICMPv6ND_NS(tgt=OURS)
        / ICMPv6NDOptSrcLLAddr(lladdr=mac)
    )


def datagram(it: Link, to: str = PEER, port: int = 9, data: bytes = b"x") -> None:
    with it.net.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.sendto(data, (to, port))


def went_to(it: Link) -> list[str]:
    return [str(frame.dst) for frame in it.sent() if UDP in frame]


def known(it: Link) -> dict[str, str]:
    return {str(one.address): one.mac for one in it.net.neighbours}


def meet(it: Link, address: str = PEER, mac: str = PEER_MAC) -> None:
    """The Stack asks for a neighbour, and is answered."""
    datagram(it, address)
    it.send(advertisement(address, mac))
    assert went_to(it) == [mac]


# --- reachability -----------------------------------------------------------------------------


def test_a_changed_hardware_address_is_found(it: Link) -> None:
    meet(it)
    it.run(60)
    took = 0
    for second in range(20):
        datagram(it)
        for frame in it.sent():
            if UDP in frame and frame.dst == PEER_MAC:
                took = second
            if ICMPv6ND_NS in frame and frame[IPv6].dst.startswith("ff02:"):
                it.send(advertisement(mac=NEW_MAC, to=frame[IPv6].src))
        it.run(1)
    assert known(it) == {PEER: NEW_MAC}
    assert took <= 9


@pytest.mark.parametrize("said", [1, 0xFFFFFFFF])
def test_an_advertised_retransmission_time_is_within_reason(it: Link, said: int) -> None:
    it.advertise(retranstimer=said)
    datagram(it, OTHER)
    it.sent()
    it.run(130, 1)
    asked = [frame for frame in it.sent() if ICMPv6ND_NS in frame]
    assert 1 <= len(asked) <= 3
    assert [one.state for one in it.net.neighbours if str(one.address) == OTHER] == (
        [] if said == 1 else [NeighbourState.INCOMPLETE]
    )


# --- who is believed --------------------------------------------------------------------------


@pytest.mark.parametrize("mac", [ALL_NODES_MAC, "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"])
def test_a_group_of_stations_is_no_neighbour(it: Link, mac: str) -> None:
    it.send(solicitation(OTHER, mac))
    assert {one.state for one in it.net.neighbours} == {NeighbourState.INCOMPLETE}  # for the answer
    meet(it)
    it.send(advertisement(mac=mac, flags="O"))
    datagram(it)
    assert went_to(it) == [PEER_MAC]


def test_we_are_no_neighbour_of_our_own(it: Link) -> None:
    it.send(solicitation(OURS, OTHER_MAC))
    assert OURS not in known(it)


# --- floods -----------------------------------------------------------------------------------


def test_what_is_in_use_survives_a_flood_of_askers(it: Link) -> None:
    meet(it)
    it.run(1)
    datagram(it)
    datagram(it, OTHER, data=b"waits")
    before = it.net.arena.used_bytes
    for number in range(600):
        source = f"fd00::1:{number:x}"
        ping = IPv6(src=source, dst=OURS) / ICMPv6EchoRequest() / Raw(bytes(1000))
        it.send(solicitation(source, OTHER_MAC), Ether(src=OTHER_MAC, dst=MAC) / ping)
        if number % 50 == 0:
            it.sent()
    it.sent()
    assert len(known(it)) <= 127
    assert it.net.arena.used_bytes - before < 1 << 16
    datagram(it)
    assert went_to(it) == [PEER_MAC]
    it.send(advertisement(OTHER, OTHER_MAC))
    assert went_to(it) == [OTHER_MAC]


def test_destinations_in_use_survive_a_flood_of_others(it: Link) -> None:
    """A redirect is one that is remembered with them."""
    it.net.neighbours.add(SECOND_ROUTER, SECOND_MAC, it.interface)
    it.advertise()
    datagram(it, FAR)
    assert went_to(it) == [ROUTER_MAC]
    it.send(redirect(FAR))
    for number in range(300):
        if number % 10 == 0:
            datagram(it, FAR)
        ping = IPv6(src=f"2001:db8:1::{number:x}", dst=OURS) / ICMPv6EchoRequest()
        it.send(Ether(src=ROUTER_MAC, dst=MAC) / ping)
        it.clock.advance(0.3)
    it.sent()
    datagram(it, FAR)
    assert went_to(it) == [SECOND_MAC]


def test_a_known_router_survives_a_flood_of_others(it: Link) -> None:
    it.advertise()
    datagram(it, FAR)
    assert went_to(it) == [ROUTER_MAC]
    for number in range(300):
        it.advertise(source=f"fe80::1:{number:x}", mac=OTHER_MAC)
    routers = [one for one in it.net.routes if one.origin is RouteOrigin.RA]
    assert ROUTER in [str(one.gateway) for one in routers]
    assert len(routers) <= 16
    datagram(it, FAR)
    assert went_to(it) == [ROUTER_MAC]


def test_a_router_that_is_not_there_makes_room_for_one_that_is(it: Link) -> None:
    for number in range(40):
        it.advertise(source=f"fe80::1:{number:x}", mac=OTHER_MAC)
    for _ in range(300):  # each is tried, and found to be silent
        datagram(it, FAR)
        it.run(1, 0.5)
    it.advertise()
    assert ROUTER in [str(one.gateway) for one in it.net.routes if one.origin is RouteOrigin.RA]


def test_prefixes_leave_room_for_the_users_own_addresses() -> None:
    with link(f"{OURS}/64", slaac=True) as it:
        for number in range(100):
            it.advertise(prefix(f"2001:db8:{number:x}::", autonomous=1))
        it.run(3)
        made = [one for one in it.interface.addresses if one.origin is AddressOrigin.SLAAC]
        assert len(made) == 16
        for number in range(10):
            it.interface.addresses.add(f"fd00::3:{number:x}/64")


def test_what_waits_for_an_address_is_bounded_in_bytes(it: Link) -> None:
    it.net.sysctl["net.ipv6.neigh.unres_qlen_bytes"] = 8192
    before = it.net.arena.used_bytes
    for number in range(20):
        datagram(it, data=bytes([number]) + bytes(1200))
    assert it.net.arena.used_bytes - before < 16384
    it.send(advertisement())
    got = [bytes(frame[UDP].payload)[0] for frame in it.sent() if UDP in frame]
    assert got == list(range(20 - len(got), 20))
    assert 4 <= len(got) <= 7


def test_what_waits_is_bounded_for_all_neighbours(it: Link) -> None:
    it.net.sysctl["net.ipv6.neigh.unres_qlen_bytes"] = 4096
    before = it.net.arena.used_bytes
    with pytest.raises(OSError, match="buffer space"):
        for number in range(120):
            for _ in range(3):
                datagram(it, f"fd00::1:{number:x}", data=bytes(1000))
    assert it.net.arena.used_bytes - before < 16 * 4096 * 2


# --- redirects --------------------------------------------------------------------------------


def redirect(destination: str, quoted: Any = None) -> Any:
    packet = (
        Ether(src=ROUTER_MAC, dst=MAC)
        / IPv6(src=ROUTER, dst=OURS, hlim=255)
        / ICMPv6ND_Redirect(tgt=SECOND_ROUTER, dst=destination)
        / ICMPv6NDOptDstLLAddr(lladdr=SECOND_MAC)
    )
    return packet if quoted is None else packet / ICMPv6NDOptRedirectedHdr(pkt=quoted)


def test_a_redirect_about_what_was_never_sent_is_not_followed(it: Link) -> None:
    it.advertise()
    it.send(redirect(FAR, IPv6(src=OURS, dst=FAR) / UDP(sport=5000, dport=9) / b"x"))
    datagram(it, FAR)
    assert went_to(it) == [ROUTER_MAC]
    assert SECOND_ROUTER not in known(it)


@pytest.mark.parametrize(
    "quotes",
    ["ours", "a port of nobody's", "another's", "another destination", "half a header"],
)
def test_what_a_redirect_quotes_has_to_be_ours(it: Link, quotes: str) -> None:
    it.advertise()
    with it.net.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind((OURS, 5000))
        sock.sendto(b"x", (FAR, 9))
        assert went_to(it) == [ROUTER_MAC]
        right = IPv6(src=OURS, dst=FAR) / UDP(sport=5000, dport=9) / b"x"
        quoted = {
            "ours": right,
            "a port of nobody's": IPv6(src=OURS, dst=FAR) / UDP(sport=5001, dport=9) / b"x",
            "another's": IPv6(src="fd00::3", dst=FAR) / UDP(sport=5000, dport=9) / b"x",
            "another destination": IPv6(src=OURS, dst=FAR_TOO) / UDP(sport=5000, dport=9) / b"x",
            "half a header": Raw(bytes(right)[:24]),
        }[quotes]
        it.send(redirect(FAR, quoted))
        sock.sendto(b"x", (FAR, 9))
        assert went_to(it) == [SECOND_MAC if quotes == "ours" else ROUTER_MAC]


# --- two links --------------------------------------------------------------------------------


def test_a_destination_has_a_next_hop_on_each_link() -> None:
    clock = ManualClock(1000.0)
    with pystack.Stack(threaded=False, clock=clock, seed=1) as net:
        links = []
        for number in (1, 2):
            ours, theirs = pystack.nic.wire()
            made = Link(net, clock, net.attach(ours, f"fd00:{number}::2/64"), theirs)
            net.neighbours.add(f"fe80::{number}", f"02:00:00:00:01:0{number}", made.interface)
            links.append(made)
        links[0].run(5)
        for number, made in enumerate(links, 1):
            made.advertise(source=f"fe80::{number}", mac=f"02:00:00:00:01:0{number}")
        for _ in range(2):
            for number, made in enumerate(links, 1):
                made.sent()
                with net.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
                    sock.setsockopt(socket.SOL_SOCKET, 25, made.interface.name.encode())
                    sock.sendto(b"x", (FAR, 9))
                assert went_to(made) == [f"02:00:00:00:01:0{number}"]
