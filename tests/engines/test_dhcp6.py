"""Stateless DHCPv6 (RFC 9915) in sequences, by a router and servers that the test is."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from link import ALL_NODES, ALL_NODES_MAC, MAC, ROUTER, ROUTER_MAC, Link, link, servers
from scapy.all import Ether, ICMPv6ND_RA, IPv6, Raw
from scapy.layers.dhcp6 import DHCP6_InfoRequest
from scapy.layers.inet import UDP

from pystack.interface import InterfaceFlag

SERVER_ID, CLIENT_ID, ELAPSED, ASKED, DNS = 2, 1, 8, 6, 23
HOST = "fe80::ff:fe00:2"
OTHER = "2001:db8::99"


pytestmark = pytest.mark.sanitize


@pytest.fixture
def wire(engine: str) -> Iterator[Link]:
    with link(engine=engine) as made:
        made.run(3)
        yield made


def advertise(it: Link, *, other: int, hops: int = 255, source: str = ROUTER) -> None:
    head = Ether(src=ROUTER_MAC, dst=ALL_NODES_MAC) / IPv6(src=source, dst=ALL_NODES, hlim=hops)
    it.send(head / ICMPv6ND_RA(O=other))


def questions(it: Link) -> list[Any]:
    """What has been asked since the last look: the messages to servers, as bytes."""
    found = [one for one in it.sent() if DHCP6_InfoRequest in one]
    assert all(one[IPv6].dst == "ff02::1:2" and one[UDP].dport == 547 for one in found)
    return [bytes(one[UDP].payload) for one in found]


def option(code: int, value: bytes, size: int | None = None) -> bytes:
    return struct.pack(">HH", code, len(value) if size is None else size) + value


def options(message: bytes) -> dict[int, bytes]:
    found, at = {}, 4
    while at < len(message):
        code, size = struct.unpack_from(">HH", message, at)
        found[code] = message[at + 4 : at + 4 + size]
        at += 4 + size
    return found


def reply(
    it: Link,
    asked: bytes,
    *servers: str,
    kind: int = 7,
    transaction: bytes = b"",
    who: bytes = option(SERVER_ID, b"\0\3\0\1" + bytes(6)),
    port: int = 547,
    more: bytes = b"",
) -> None:
    """A server's answer, which repeats who has asked."""
    client = options(asked).get(CLIENT_ID)
    said = b"".join(socket.inet_pton(socket.AF_INET6, one) for one in servers)
    body = bytes((kind,)) + (transaction or asked[1:4]) + who
    body += option(CLIENT_ID, client) if client is not None else b""
    body += (option(DNS, said) if said else b"") + more
    head = Ether(src=ROUTER_MAC, dst=MAC) / IPv6(src=ROUTER, dst=HOST)
    it.send(head / UDP(sport=port, dport=546) / Raw(body))
    it.run(0.5)


def asked(it: Link) -> bytes:
    """Has the Stack ask; what it says."""
    it.interface.dhcp6()
    it.run(1)
    advertise(it, other=1)
    it.run(1.2)
    (question,) = questions(it)
    return bytes(question)


def nameservers(it: Link) -> list[str]:
    return [str(one) for one in it.net.nameservers]


def test_a_router_says_that_servers_know_more(wire: Link) -> None:
    wire.sent()
    before = wire.router_solicitations
    wire.interface.dhcp6()
    assert wire.interface.flags & InterfaceFlag.DHCP6
    wire.run(1)
    assert questions(wire) == []
    assert wire.router_solicitations > before
    advertise(wire, other=0)
    wire.run(10)
    assert questions(wire) == []
    advertise(wire, other=1)
    wire.run(1.2)
    (question,) = questions(wire)
    wanted = options(question)[ASKED]
    assert DNS in struct.unpack(f">{len(wanted) // 2}H", wanted)
    reply(wire, question, "2001:db8::53", "fd00::53")
    assert nameservers(wire) == ["2001:db8::53", "fd00::53"]
    wire.run(60)
    assert questions(wire) == []
    wire.interface.dhcp6(False)
    assert nameservers(wire) == []
    assert not wire.interface.flags & InterfaceFlag.DHCP6
    advertise(wire, other=1)
    wire.run(3)
    assert questions(wire) == []


def test_a_server_that_a_router_has_told_of_is_in_the_list_once(wire: Link) -> None:
    wire.interface.slaac()
    wire.interface.dhcp6()
    wire.run(1)
    wire.sent()
    wire.advertise(servers("2001:db8::53"), O=1)
    wire.run(1.2)
    (question,) = questions(wire)
    reply(wire, question, "2001:db8::53", "fd00::53")
    assert nameservers(wire) == ["2001:db8::53", "fd00::53"]


LIES: dict[str, dict[str, Any]] = {
    "of another's transaction": {"transaction": b"\1\2\3"},
    "by nobody": {"who": b""},
    "from another port": {"port": 546},
    "an advertisement": {"kind": 2},
    "a relayed one": {"kind": 13},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_not_believed_and_the_truth_is(wire: Link, lie: str) -> None:
    question = asked(wire)
    reply(wire, question, OTHER, **LIES[lie])
    assert nameservers(wire) == []
    reply(wire, question, "2001:db8::53")
    assert nameservers(wire) == ["2001:db8::53"]
    reply(wire, question, OTHER)  # too late: it was answered
    assert nameservers(wire) == ["2001:db8::53"]


@pytest.mark.parametrize(
    "more",
    [
        option(DNS, socket.inet_pton(socket.AF_INET6, OTHER), size=17),
        option(DNS, socket.inet_pton(socket.AF_INET6, OTHER), size=0xFFFF),
        option(DNS, b"\1\2\3"),
        option(DNS, b""),
        b"\0\x17\0",
        option(DNS, bytes(16)),
        option(DNS, socket.inet_pton(socket.AF_INET6, "ff02::53")),
    ],
    ids=["cut", "far cut", "odd", "empty", "no length", "nobody", "a group"],
)
def test_what_is_no_name_server_is_none(wire: Link, more: bytes) -> None:
    reply(wire, asked(wire), more=more)
    assert nameservers(wire) == []


@pytest.mark.parametrize(
    "how", [{"hops": 64}, {"source": "2001:db8::1"}], ids=["from afar", "without a link's address"]
)
def test_what_is_no_router_is_not_heard(wire: Link, how: dict[str, Any]) -> None:
    wire.interface.dhcp6()
    advertise(wire, other=1, **how)
    wire.run(10)
    assert questions(wire) == []


def test_a_silent_server_is_asked_ever_more_rarely(wire: Link) -> None:
    asked(wire)
    counts = []
    for _ in range(4):
        wire.run(60)
        counts.append(len(questions(wire)))
    assert 3 <= counts[0] <= 7
    assert counts[0] > counts[-1]
    assert counts[-1] <= 2


def test_a_router_that_takes_it_back_ends_the_question(wire: Link) -> None:
    asked(wire)
    advertise(wire, other=0)
    questions(wire)
    wire.run(120)
    assert questions(wire) == []


def test_a_link_that_is_back_may_be_another(wire: Link) -> None:
    reply(wire, asked(wire), "2001:db8::53")
    wire.interface.up = False
    wire.run(5)
    wire.interface.up = True
    wire.run(6)
    advertise(wire, other=1)
    wire.run(3)
    found = questions(wire)
    assert found
    reply(wire, found[-1], "2001:db8::54")
    assert nameservers(wire) == ["2001:db8::54"]


def test_a_clock_that_jumps_loses_nothing(wire: Link) -> None:
    asked(wire)
    wire.clock.advance(1_000_000)
    wire.run(3)
    found = questions(wire)
    assert 1 <= len(found) <= 3
    reply(wire, found[-1], "2001:db8::53")
    assert nameservers(wire) == ["2001:db8::53"]


def test_a_detach_while_asking_leaves_nothing(wire: Link) -> None:
    question = asked(wire)
    wire.interface.detach()
    reply(wire, question, OTHER)
    wire.run(30)
    assert questions(wire) == []
    assert nameservers(wire) == []


def test_the_clients_port_has_to_be_free(wire: Link) -> None:
    with wire.net.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other:
        other.bind(("::", 546))
        with pytest.raises(OSError) as raised:
            wire.interface.dhcp6()
        assert raised.value.errno == errno.EADDRINUSE
    assert not wire.interface.flags & InterfaceFlag.DHCP6
    wire.interface.dhcp6()


def test_a_snapshot_comes_back_to_the_question(wire: Link) -> None:
    question = asked(wire)
    moment = wire.net.snapshot()
    for server in ("2001:db8::53", "2001:db8::54"):
        reply(wire, question, server)
        assert nameservers(wire) == [server]
        wire.net.restore(moment)
        assert nameservers(wire) == []
