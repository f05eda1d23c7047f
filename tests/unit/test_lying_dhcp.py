"""DHCP servers that lie, err or refuse, and what the client makes of it (RFC 2131)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import lab_hosts
import pytest
from scapy.layers.dhcp import BOOTP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from pystack.lab.catalogue import _dhcp as dhcp
from pystack.lab.catalogue._dhcp import (
    ACK,
    COOKIE,
    DISCOVER,
    DNS,
    FIXED,
    LEASE,
    LEASED,
    MASK,
    NAK,
    OFFER,
    OVERLOAD,
    REQUEST,
    ROUTER,
    SERVER,
    T1,
    T2,
    TYPE,
    Server,
    encoded,
    packed,
    seconds,
)
from pystack.lab.plan import Topology
from pystack.lab.tester import BROADCAST, Tester

FOREVER = 0xFFFFFFFF
OTHER = "192.0.2.77"
ALL = "255.255.255.255"


@pytest.fixture
def lab() -> Iterator[Tester]:
    host = lab_hosts.kind_of("lwip").make()
    try:
        with lab_hosts.tester_of(host, Topology.BARE) as tester:
            yield tester
    finally:
        host.stop()


def lease_of(lab: Tester) -> Any:
    host: Any = lab.host
    return host._interfaces[0].lease


def serve(lab: Tester, server: Server, for_s: float, second: int = ACK) -> list[tuple[int, int]]:
    """Answers everything for a time; when which messages came, by seconds from now."""
    began, heard = lab.now, []
    while lab.now - began < for_s:
        for frame in lab.collect(dhcp.any_message(), 1000, at_most=1):
            server.request = frame
            kind = dhcp.kind_of(frame)
            heard.append((round(lab.now - began), kind))
            server.reply(OFFER if kind == DISCOVER else second)
    return heard


# --- the lease's times ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("t1", "t2"),
    [
        (700, 800), (600, 600), (600, None), (FOREVER, FOREVER), (None, 600), (None, FOREVER),
        (FOREVER, None), (550, 525), (None, 200), (0, 525), (0, 0),
    ],
)  # fmt: skip
def test_times_out_of_order_are_the_usual_ones(lab: Tester, t1: int | None, t2: int | None) -> None:
    server = Server(lab, lease_s=600)
    server.extra = [(code, seconds(at)) for code, at in ((T1, t1), (T2, t2)) if at is not None]
    server.bind()
    assert (lease_of(lab).renew_s, lease_of(lab).rebind_s) == (300, 525)
    heard = serve(lab, server, 640)
    assert [kind for _, kind in heard] == [REQUEST, REQUEST]
    assert server.holds()


@pytest.mark.parametrize(
    ("lease", "renew", "rebind"),
    [(0x7FFFFFFF, 0x3FFFFFFF, 0x6FFFFFFF), (0xFFFFFFFE, 0x7FFFFFFF, 0xDFFFFFFE), (16, 8, 14)],
)
def test_times_of_long_and_short_leases(lab: Tester, lease: int, renew: int, rebind: int) -> None:
    Server(lab, lease_s=lease).bind()
    found = lease_of(lab)
    assert (found.lease_s, found.renew_s, found.rebind_s) == (lease, renew, rebind)


def test_a_lease_for_ever_is_not_ended_by_the_one_before(lab: Tester) -> None:
    server = Server(lab, lease_s=120)
    server.bind()
    server.expect(REQUEST, 70)
    server.lease_s = FOREVER
    server.reply(ACK)
    lab.run(200_000)
    assert lease_of(lab).lease_s is None
    assert server.holds()


@pytest.mark.parametrize("lease", [0, 1, 2, 3, None])
def test_a_lease_of_hardly_any_time(lab: Tester, lease: int | None) -> None:
    dhcp.checking(lab, False)
    server = Server(lab, lease_s=lease or 0)
    server.start()
    options = [(c, v) for c, v in server.usual(ACK) if c != LEASE or lease is not None]
    heard = 0
    began = lab.now
    while lab.now - began < 100:
        for frame in lab.collect(dhcp.any_message(), 1000, at_most=1):
            server.request = frame
            heard += 1
            if dhcp.kind_of(frame) == DISCOVER:
                server.reply(OFFER)
            else:
                server.reply(ACK, options=options)
    # None, or of no time: a minute. Else about two exchanges a lease, and no more.
    assert 2 <= heard <= (12 if not lease else 4 * 100 / lease)


# --- refusals -------------------------------------------------------------------------------------


def test_a_server_that_always_refuses_is_left_alone_longer_and_longer(lab: Tester) -> None:
    server = Server(lab)
    server.start()
    heard = serve(lab, server, 300, NAK)
    asked = [at for at, kind in heard if kind == DISCOVER]
    pauses = [later - earlier for earlier, later in pairwise(asked)]
    # 4, 8, 16, 32 and 64 seconds, give or take one (RFC 2131 4.1), and the exchange itself.
    assert len(pauses) >= 6
    for i, found in enumerate(pauses):
        assert abs(found - min(4 << i, 64)) <= 2


def test_another_servers_word_is_not_taken(lab: Tester) -> None:
    server = Server(lab)
    server.requested()
    by_another = [(c, packed(OTHER) if c == SERVER else v) for c, v in server.usual(ACK)]
    server.reply(ACK, options=by_another)
    server.reply(NAK, options=[(TYPE, bytes((NAK,))), (SERVER, packed(OTHER))])
    server.reply(ACK, yiaddr="192.0.2.51")
    server.reply(ACK, xid=1)
    server.reply(ACK, chaddr=b"\2\0\0\0\0\1")
    server.reply(ACK, op=1)
    assert not server.has(3)
    server.reply(ACK)
    assert server.has()
    server.reply(ACK, options=[*server.usual(ACK), (15, b"evil.example")])
    assert lease_of(lab).domain == ""


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"])
def test_what_no_host_can_have_is_not_asked_for(lab: Tester, address: str) -> None:
    server = Server(lab)
    server.discovered()
    server.reply(OFFER, yiaddr=address)
    lab.expect_nothing(dhcp.message(REQUEST), 2000)


# --- options --------------------------------------------------------------------------------------


def offer(server: Server, *more: tuple[int, bytes], end: bool = True) -> bytes:
    """An OFFER's options: the usual ones, then others."""
    usual = [(TYPE, b"\2"), (SERVER, packed(server.address)), (LEASE, seconds(3600))]
    return COOKIE + encoded([*usual, *more], end=end)


@pytest.mark.parametrize(
    "area",
    [
        pytest.param(lambda s: offer(s, end=False), id="no END"),
        pytest.param(lambda s: offer(s, end=False).ljust(64, b"\0"), id="padding, no END"),
        pytest.param(lambda s: offer(s, (ROUTER, b"")), id="a router of no bytes"),
        pytest.param(lambda s: offer(s, (MASK, b"")), id="a mask of no bytes"),
        pytest.param(lambda s: offer(s, (T1, b"\0\1"), (T2, b"1")), id="short times"),
        pytest.param(lambda s: offer(s, (DNS, b"12345")), id="a part of a name server"),
        pytest.param(lambda s: offer(s, (OVERLOAD, b"")), id="an overload of no bytes"),
        pytest.param(lambda s: offer(s, (OVERLOAD, b"\7")), id="an overload of nothing known"),
        pytest.param(lambda s: offer(s, (OVERLOAD, b"\3")), id="overloaded with padding"),
        pytest.param(lambda s: offer(s, end=False) + b"\3", id="a code at the end"),
        pytest.param(lambda s: offer(s, end=False) + b"\3\xff123", id="longer than the message"),
        pytest.param(lambda s: offer(s, *[(43, bytes(255))] * 4), id="long options"),
    ],
)
def test_one_wrong_option_is_left_out(lab: Tester, area: Any) -> None:
    server = Server(lab)
    server.discovered()
    server.reply(OFFER, area=area(server))
    server.expect(REQUEST, 2)


@pytest.mark.parametrize("mask", ["0.0.0.0", "255.0.255.0", "0.0.0.255"])
@pytest.mark.parametrize("router", ["0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1"])
def test_masks_and_routers_that_are_none(lab: Tester, mask: str, router: str) -> None:
    server = Server(lab)
    server.requested()
    usual = [(c, packed(mask) if c == MASK else v) for c, v in server.usual(ACK)]
    server.reply(ACK, options=[*usual, (ROUTER, packed(router))])
    assert server.has()
    assert lab.host.addresses()[0] == f"{LEASED}/24"  # the class's
    assert lease_of(lab).gateway is None


def test_options_end_where_their_field_ends(lab: Tester) -> None:
    """The last option of `file` would take its bytes from the options behind it."""
    server = Server(lab)
    server.requested()
    router = bytes((ROUTER, 4)) + packed("192.0.2.200")
    field = (bytes(127 - len(router)) + router + bytes((MASK,))).ljust(128, b"\4")
    assert len(field) == 128
    usual = [(c, v) for c, v in server.usual(ACK) if c != MASK]
    server.reply(ACK, options=[*usual, (OVERLOAD, b"\1")], file=field)
    assert server.has()
    assert lab.host.addresses()[0] == f"{LEASED}/24"  # the class's
    assert str(lease_of(lab).gateway) == "192.0.2.200"


def test_a_message_in_pieces(lab: Tester) -> None:
    """An option of which only the first byte is in one fragment, and whose length leads further."""
    server = Server(lab)
    asked = server.discovered()
    area = offer(server, (43, bytes(200)), (44, bytes(200)), end=False) + b"\x2b\xff"
    head = BOOTP(op=2, xid=asked[BOOTP].xid, yiaddr=LEASED, chaddr=bytes(asked[BOOTP].chaddr))
    datagram = bytes(head)[:FIXED] + area
    payload = bytes(IP(src=server.address, dst=ALL) / UDP(sport=67, dport=68) / Raw(datagram))[20:]
    for at in range(0, len(payload), 8):
        part = payload[at : at + 8]
        more = int(at + 8 < len(payload))
        piece = IP(src=server.address, dst=ALL, id=7, flags=more, frag=at // 8, proto=17)
        lab.send(Ether(src=lab.tester_mac, dst=BROADCAST) / piece / Raw(part))
    server.expect(REQUEST, 2)
