"""The list of name servers: the user's own, and what a link tells."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from link import MAC, ROUTER, ROUTER_MAC, Link, link, servers
from scapy.all import ARP, BOOTP, DHCP, IP, UDP, Ether, Raw

OWN, OTHER = "192.0.2.53", "2001:db8::53"
SECOND_ROUTER, SECOND_MAC = "fe80::2", "02:00:00:00:00:03"


def listed(it: Link) -> list[str]:
    return [str(one) for one in it.net.nameservers]


@pytest.fixture
def it() -> Iterator[Link]:
    with link("fd00::2/64", slaac=True) as made:
        yield made


def test_a_router_does_not_touch_the_users_own(it: Link) -> None:
    it.net.nameservers = [OWN, OTHER]
    it.advertise(servers(OTHER, "2001:db8::54"))
    assert listed(it) == [OWN, OTHER, "2001:db8::54"]
    it.advertise(servers(OTHER, "2001:db8::54", lifetime=0))
    assert listed(it) == [OWN, OTHER]


def test_nobody_is_listened_to_where_slaac_does_not_run() -> None:
    with link("fd00::2/64") as it:
        it.advertise(servers(OTHER))
        assert listed(it) == []
        it.interface.slaac()
        it.advertise(servers(OTHER))
        assert listed(it) == [OTHER]


def test_a_lifetime_ends_and_is_renewed(it: Link) -> None:
    it.advertise(servers(OTHER, lifetime=60))
    it.advertise(servers("2001:db8::54", lifetime=0xFFFFFFFF))
    it.run(50)
    it.advertise(servers(OTHER, lifetime=60))
    it.run(59)
    assert listed(it) == [OTHER, "2001:db8::54"]
    it.run(2)
    assert listed(it) == ["2001:db8::54"]
    it.advertise(servers("2001:db8::54", lifetime=5))
    it.run(6)
    assert listed(it) == []


@pytest.mark.parametrize("says", ["nothing", "goodbye"])
def test_a_router_that_ceases_to_be_one_takes_its_servers_along(it: Link, says: str) -> None:
    """RFC 8106 5.3.1; what the other router told stays."""
    it.advertise(servers(OTHER, lifetime=6000), lifetime=30)
    it.advertise(servers("2001:db8::54"), source=SECOND_ROUTER, mac=SECOND_MAC)
    if says == "nothing":
        it.run(31)
    else:
        it.advertise(servers(OTHER, lifetime=6000), lifetime=0)
    assert listed(it) == ["2001:db8::54"]


def test_one_router_does_not_take_back_what_another_told(it: Link) -> None:
    it.advertise(servers(OTHER))
    it.advertise(servers(OTHER, lifetime=0), source=SECOND_ROUTER, mac=SECOND_MAC)
    assert listed(it) == [OTHER]


@pytest.mark.parametrize("end", ["detach", "down"])
def test_an_interfaces_servers_go_with_it(it: Link, end: str) -> None:
    it.net.nameservers = [OWN]
    it.advertise(servers("fe80::53", OTHER))
    assert [one.partition("%")[0] for one in listed(it)] == [OWN, "fe80::53", OTHER]
    if end == "detach":
        it.interface.detach()
    else:
        it.interface.up = False
    assert listed(it) == [OWN]


def test_a_link_local_server_keeps_its_interface(it: Link) -> None:
    it.advertise(servers(ROUTER))
    assert listed(it) == [f"{ROUTER}%{it.interface.index}"]
    it.net.nameservers = list(it.net.nameservers)
    it.advertise(servers(ROUTER, lifetime=0))
    assert listed(it) == [f"{ROUTER}%{it.interface.index}"]
    it.net.nameservers = [f"{ROUTER}%{it.interface.name}"]
    assert listed(it) == [f"{ROUTER}%{it.interface.index}"]


def test_a_flood_of_servers_is_bounded_and_leaves_the_users_own(it: Link) -> None:
    it.net.nameservers = [OWN]
    it.advertise(servers(OTHER, lifetime=6000))
    for number in range(200):
        it.advertise(servers(*(f"2001:db8:{number:x}::{one}" for one in range(1, 9)), lifetime=60))
    assert listed(it)[:2] == [OWN, OTHER]  # a full list loses what ends first
    assert len(listed(it)) <= 16
    it.run(61)
    assert listed(it) == [OWN, OTHER]


@pytest.mark.parametrize("bad", ["::", "ff02::fb", "::1"])
def test_what_can_not_be_a_server_is_none(it: Link, bad: str) -> None:
    it.advertise(servers(bad, OTHER))
    assert listed(it) == [OTHER]


def test_half_an_address_makes_no_option(it: Link) -> None:
    """RFC 8106 5.3.1: the length is odd."""
    option = servers(OTHER)
    it.advertise(Raw(b"\x19\x04" + bytes(option)[2:] + bytes(8)), servers("2001:db8::54"))
    assert listed(it) == ["2001:db8::54"]


def test_changes_are_to_the_users_own(it: Link) -> None:
    it.advertise(servers(OTHER))
    chosen = it.net.nameservers
    chosen.append(OWN)
    assert listed(it) == [OWN, OTHER]
    chosen.append("192.0.2.54")
    chosen[0] = "192.0.2.55"
    assert listed(it) == ["192.0.2.55", "192.0.2.54", OTHER]
    with pytest.raises(IndexError):
        del chosen[2]
    del chosen[:]
    assert listed(it) == [OTHER]


def test_an_interface_that_is_not_there_is_no_scope(it: Link) -> None:
    with pytest.raises(OSError, match="no interface"):
        it.net.nameservers = [f"{ROUTER}%eth9"]
    assert listed(it) == []


def lease(it: Link, *name_servers: str, seconds: int = 60) -> None:
    """Answer what the DHCP client asks, until it asks no more."""
    for _ in range(100):
        it.run(0.5)
        for frame in it.sent():
            if ARP in frame and frame[ARP].pdst == "10.9.0.1":
                it.send(
                    Ether(src=ROUTER_MAC, dst=MAC)
                    / ARP(op=2, hwsrc=ROUTER_MAC, psrc="10.9.0.1", hwdst=MAC, pdst="10.9.0.2")
                )
            if DHCP not in frame:
                continue
            options = dict(one for one in frame[DHCP].options if isinstance(one, tuple))
            kind = {1: "offer", 3: "ack"}.get(options["message-type"])
            if kind is None:
                continue
            it.send(
                Ether(src=ROUTER_MAC, dst=MAC)
                / IP(src="10.9.0.1", dst="255.255.255.255")
                / UDP(sport=67, dport=68)
                / BOOTP(op=2, yiaddr="10.9.0.2", xid=frame[BOOTP].xid, chaddr=frame[BOOTP].chaddr)
                / DHCP(options=[
                    ("message-type", kind), ("server_id", "10.9.0.1"), ("lease_time", seconds),
                    ("subnet_mask", "255.255.255.0"), ("name_server", *name_servers), "end",
                ])
            )  # fmt: skip
            if kind == "ack":
                return
    raise AssertionError("no request")


@pytest.mark.parametrize("end", ["given back", "run out", "detach"])
def test_a_leases_servers_go_with_it(end: str) -> None:
    with link() as it:
        it.net.nameservers = [OWN]
        it.interface.dhcp(timeout=0)
        lease(it, "10.9.0.1", "10.9.0.3")
        assert listed(it) == [OWN, "10.9.0.1", "10.9.0.3"]
        assert [str(one) for one in it.interface.lease.dns] == ["10.9.0.1", "10.9.0.3"]
        if end == "given back":
            it.interface.dhcp(False)
        elif end == "run out":
            it.run(62)
        else:
            it.interface.detach()
        assert listed(it) == [OWN]


def test_a_lease_replaces_what_the_lease_before_said() -> None:
    with link() as it:
        it.interface.dhcp(timeout=0)
        lease(it, "10.9.0.1", "10.9.0.3")
        lease(it, "10.9.0.4")  # it is renewed
        assert listed(it) == ["10.9.0.4"]
