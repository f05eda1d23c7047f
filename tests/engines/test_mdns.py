"""The mDNS responder (RFC 6762) in sequences, beside neighbours that the test is."""

from __future__ import annotations

import errno
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from link import MAC, Link, link
from pair import LEFT, LEFT6, RIGHT, RIGHT6, pair
from scapy.all import IP, Ether, IPv6, Raw
from scapy.layers.inet import UDP

import pystack
from pystack.interface import InterfaceFlag

A, PTR, AAAA, HINFO, ANY = 1, 12, 28, 13, 255
OURS, OURS6, OTHER = "10.0.0.2", "fd00::2", "10.0.0.3"
GROUP, GROUP_MAC = "224.0.0.251", "01:00:5e:00:00:fb"
GROUP6, GROUP6_MAC = "ff02::fb", "33:33:00:00:00:fb"
OTHER_MAC = "02:00:00:00:00:03"


def name(text: str) -> bytes:
    return b"".join(bytes((len(one),)) + one.encode() for one in text.split(".")) + b"\0"


PRINTER, SECOND = name("printer.local"), name("printer-2.local")


def record(owner: bytes, kind: int, data: bytes, ttl: int = 120, cls: int = 0x8001) -> bytes:
    return owner + struct.pack(">HHIH", kind, cls, ttl, len(data)) + data


def address(text: str, owner: bytes = PRINTER, **fields: int) -> bytes:
    return record(owner, A, socket.inet_aton(text), **fields)


def response(*records: bytes, code: int = 0) -> bytes:
    return struct.pack(">6H", 0, 0x8400 | code, 0, len(records), 0, 0) + b"".join(records)


def query(
    *asked: tuple[bytes, int],
    known: tuple[bytes, ...] = (),
    wanted: tuple[bytes, ...] = (),
    unicast: bool = False,
    identifier: int = 0,
) -> bytes:
    head = struct.pack(">6H", identifier, 0, len(asked), len(known), len(wanted), 0)
    cls = 0x8001 if unicast else 1
    body = b"".join(owner + struct.pack(">HH", kind, cls) for owner, kind in asked)
    return head + body + b"".join(known) + b"".join(wanted)


def say(it: Link, message: bytes, source: str = OTHER, port: int = 5353, mac: str = "") -> None:
    """Sends a message to the group."""
    head = Ether(src=mac or OTHER_MAC, dst=GROUP_MAC) / IP(src=source, dst=GROUP, ttl=255)
    it.send(head / UDP(sport=port, dport=5353) / Raw(message))


class Heard:
    """A message of the responder's; names are compared as they stand, pointers and all."""

    def __init__(self, packet: Any) -> None:
        self.packet = packet
        self.payload = bytes(packet[UDP].payload)
        self.identifier, flags, *self.counts = struct.unpack_from(">6H", self.payload)
        self.is_response = bool(flags & 0x8000)
        self.v4 = IP in packet
        self.to = packet[IP].dst if self.v4 else packet[IPv6].dst

    def holds(self, data: bytes) -> bool:
        return data in self.payload


def heard(it: Link) -> list[Heard]:
    """What it has said since the last look."""
    found = [one for one in it.sent() if UDP in one and one[UDP].sport == 5353]
    said = [Heard(one) for one in found]
    for one in said:
        hops = one.packet[IP].ttl if one.v4 else one.packet[IPv6].hlim
        assert hops == 255 or one.to not in (GROUP, GROUP6)
    return said


def answers(it: Link, text: str = OURS, *, v4: bool = True) -> list[Heard]:
    """Those of them that say an address."""
    data = socket.inet_aton(text)
    return [one for one in heard(it) if one.is_response and one.v4 is v4 and one.holds(data)]


def probes(it: Link, label: str = "printer") -> list[Heard]:
    text = bytes((len(label),)) + label.encode()
    return [one for one in heard(it) if not one.is_response and one.v4 and one.holds(text)]


pytestmark = pytest.mark.sanitize


@pytest.fixture
def wire(engine: str) -> Iterator[Link]:
    with link(f"{OURS}/24", f"{OURS6}/64", engine=engine) as made:
        yield made


def announced(it: Link) -> None:
    """Starts the responder, and waits until it has its name."""
    it.interface.mdns("printer")
    it.run(5)
    assert answers(it)


def answers_for(it: Link, owner: bytes, kind: int = A) -> bool:
    """Whether a question is answered within a second."""
    it.run(2)
    heard(it)
    say(it, query((owner, kind)))
    it.run(1)
    return bool(answers(it))


def test_a_name_is_probed_for_then_announced_then_answered_for(wire: Link) -> None:
    wire.interface.mdns("printer.local")
    assert wire.interface.flags & InterfaceFlag.MDNS
    wire.run(5)
    said = heard(wire)
    for v4 in (True, False):
        kinds = [one.is_response for one in said if one.v4 is v4]
        assert kinds[:3] == [False] * 3
        assert 1 <= len(kinds[3:]) <= 3
        assert all(kinds[3:])
    assert all(one.to in (GROUP, GROUP6) for one in said)
    probe = next(one for one in said if one.v4)
    assert probe.counts[0] >= 1  # asks for the name
    assert probe.counts[2] >= 1  # and says what it wants
    assert probe.holds(struct.pack(">HH", ANY, 0x8001))  # by unicast, if it is somebody's
    assert probe.holds(socket.inet_aton(OURS))
    assert answers_for(wire, PRINTER)
    assert answers_for(wire, name("PRINTER.local"))
    assert answers_for(wire, PRINTER, ANY)
    assert not answers_for(wire, SECOND)
    wire.interface.mdns(None)
    assert not wire.interface.flags & InterfaceFlag.MDNS
    assert not answers_for(wire, PRINTER)


def test_an_address_is_answered_for_in_reverse(wire: Link) -> None:
    announced(wire)
    wire.run(2)
    heard(wire)
    say(wire, query((name("2.0.0.10.in-addr.arpa"), PTR)))
    wire.run(1)
    assert any(one.is_response and one.holds(b"\x07printer") for one in heard(wire))
    say(wire, query((name("9.0.0.10.in-addr.arpa"), PTR)))
    wire.run(1)
    assert heard(wire) == []


def test_questions_over_ipv6_are_answered_there(wire: Link) -> None:
    announced(wire)
    wire.run(2)
    heard(wire)
    head = Ether(src=OTHER_MAC, dst=GROUP6_MAC) / IPv6(src="fe80::3", dst=GROUP6, hlim=255)
    wire.send(head / UDP(sport=5353, dport=5353) / Raw(query((PRINTER, AAAA))))
    wire.run(1)
    said = heard(wire)
    assert said
    assert not any(one.v4 for one in said)
    assert any(one.holds(socket.inet_pton(socket.AF_INET6, OURS6)) for one in said)


def test_who_has_the_name_keeps_it(wire: Link) -> None:
    wire.interface.mdns("printer")
    wire.run(0.4)
    assert probes(wire)
    say(wire, response(address(OTHER)))
    wire.run(5)
    assert probes(wire, "printer-2")
    assert answers_for(wire, SECOND)
    assert not answers_for(wire, PRINTER)


def test_names_that_others_have_are_passed_one_by_one(wire: Link) -> None:
    wire.interface.mdns("printer")
    for label in ("printer", "printer-2", "printer-3"):
        wire.run(0.4)
        say(wire, response(address(OTHER, name(f"{label}.local"))))
    wire.run(6)
    assert answers_for(wire, name("printer-4.local"))


def test_a_name_that_is_claimed_later_is_probed_for_again(wire: Link) -> None:
    announced(wire)
    say(wire, response(address(OTHER)))
    wire.run(0.6)
    assert probes(wire)
    wire.run(5)
    assert answers_for(wire, PRINTER)  # nobody has answered the probes
    say(wire, response(address(OTHER)))
    wire.run(0.6)
    say(wire, response(address(OTHER)))
    wire.run(6)
    assert answers_for(wire, SECOND)
    assert not answers_for(wire, PRINTER)


@pytest.mark.parametrize("probing", [True, False], ids=["probing", "announced"])
@pytest.mark.parametrize(
    "message",
    [
        response(address(OURS)),
        response(address(OTHER, ttl=0)),
        response(address(OTHER, SECOND)),
        response(address(OTHER, cls=3)),
        response(address(OTHER), code=3),
        response(address(OTHER))[:-2],
        query((PRINTER, ANY), wanted=(address(OURS),)),
    ],
    ids=["own", "goodbye", "another name", "class", "error", "cut", "own probe"],
)
def test_what_is_no_conflict(wire: Link, probing: bool, message: bytes) -> None:
    if probing:
        wire.interface.mdns("printer")
        wire.run(0.4)
    else:
        announced(wire)
    say(wire, message)
    wire.run(6)
    assert answers_for(wire, PRINTER)
    assert not answers_for(wire, SECOND)


def test_a_response_from_another_port_is_none(wire: Link) -> None:
    wire.interface.mdns("printer")
    wire.run(0.4)
    say(wire, response(address(OTHER)), port=5354)
    wire.run(6)
    assert answers_for(wire, PRINTER)


@pytest.mark.parametrize(("theirs", "wait"), [("10.0.0.200", True), ("10.0.0.1", False)])
def test_of_two_that_probe_the_later_records_win(wire: Link, theirs: str, wait: bool) -> None:
    """Who loses waits a second, by which the winner has announced itself (8.2)."""
    wire.interface.mdns("printer")
    wire.run(0.4)
    assert probes(wire)
    later = record(PRINTER, AAAA, b"\xff" * 16) if wait else b""
    wanted = (address(theirs), later) if later else (address(theirs),)
    say(wire, query((PRINTER, ANY), wanted=wanted))
    wire.run(0.7)
    assert bool(probes(wire)) is not wait
    wire.run(6)
    assert answers_for(wire, PRINTER)


def test_who_knows_the_answer_is_not_told(wire: Link) -> None:
    announced(wire)
    wire.run(2)
    heard(wire)
    say(wire, query((PRINTER, A), known=(address(OURS, cls=1),)))
    wire.run(1)
    assert answers(wire) == []
    say(wire, query((PRINTER, A), known=(address(OURS, cls=1, ttl=30),)))  # for too short a time
    wire.run(1)
    assert answers(wire)


def test_a_flood_of_questions_is_answered_once_a_second(wire: Link) -> None:
    announced(wire)
    wire.run(2)
    heard(wire)
    for _ in range(200):
        say(wire, query((PRINTER, A)))
        wire.clock.advance(0.01)
    wire.run(0.5)
    assert 1 <= len(answers(wire)) <= 4


def test_who_knows_ordinary_dns_alone_is_answered_so(wire: Link) -> None:
    announced(wire)
    wire.run(2)
    heard(wire)
    wire.net.neighbours.add(OTHER, OTHER_MAC, wire.interface)
    say(wire, query((PRINTER, A), identifier=0x1234), port=4000)
    wire.run(1)
    found = answers(wire)
    assert len(found) == 1
    (said,) = found
    assert (said.to, said.packet[UDP].dport, said.identifier) == (OTHER, 4000, 0x1234)
    assert said.packet[Ether].dst == OTHER_MAC
    assert said.holds(PRINTER + struct.pack(">HH", A, 1))


@pytest.mark.parametrize(
    "owner",
    [
        b"\xc0\x0c",
        b"\1x\xc0\x0c",
        b"\xc0\xff",
        b"\xc0\0",
        (b"\x3f" + b"x" * 63) * 5 + b"\0",
        b"\x40x\0",
        b"\x07printer\x05local",
        b"",
    ],
    ids=range(8),
)
def test_broken_messages_end_nothing(wire: Link, owner: bytes) -> None:
    announced(wire)
    say(wire, query((owner, ANY), (PRINTER, A)))
    say(wire, query((owner, ANY))[: 12 + len(owner)])
    say(wire, response(record(owner, A, b"\1\2\3\4")))
    say(wire, response(record(PRINTER, PTR, owner)))
    say(wire, struct.pack(">6H", 0, 0, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF))
    say(wire, b"\0" * 5)
    wire.run(5)
    assert answers_for(wire, PRINTER)


def test_a_link_that_is_back_may_have_another_of_the_name(wire: Link) -> None:
    announced(wire)
    wire.interface.up = False
    wire.run(5)
    heard(wire)
    wire.interface.up = True
    for _ in range(20):
        wire.run(0.1)
        if probes(wire):
            break
    say(wire, response(address(OTHER)))
    wire.run(6)
    assert answers_for(wire, SECOND)


def test_a_new_address_is_answered_for(wire: Link) -> None:
    announced(wire)
    wire.interface.addresses.remove(OURS)
    wire.interface.addresses.add("10.0.0.77/24")
    wire.run(5)
    heard(wire)
    say(wire, query((PRINTER, A)))
    wire.run(1)
    assert answers(wire, "10.0.0.77")


def test_more_addresses_than_one_message_holds(wire: Link) -> None:
    label = "p" * 63
    added = [socket.inet_pton(socket.AF_INET6, f"fd00::1:{number}") for number in range(20)]
    for one in added:
        wire.interface.addresses.add(f"{socket.inet_ntop(socket.AF_INET6, one)}/64")
    wire.run(3)
    wire.interface.mdns(label)
    wire.run(6)
    heard(wire)
    say(wire, query((name(f"{label}.local"), AAAA)))
    wire.run(1)
    said = heard(wire)
    assert all(len(one.packet[IP]) <= 1500 for one in said)
    assert all(any(each.holds(one) for each in said) for one in added)


def test_who_is_not_on_the_link_is_not_answered_by_a_router(wire: Link) -> None:
    announced(wire)
    wire.run(2)
    heard(wire)
    wire.net.routes.add("default", "10.0.0.1", wire.interface)
    say(wire, query((PRINTER, A), identifier=7), port=4000, source="192.0.2.1")
    wire.run(1)
    assert [one for one in heard(wire) if one.to == "192.0.2.1"] == []


def test_a_clock_that_jumps_loses_nothing(wire: Link) -> None:
    wire.interface.mdns("printer")
    wire.run(0.4)
    wire.clock.advance(1_000_000)
    wire.run(3)
    assert answers_for(wire, PRINTER)


@pytest.mark.parametrize("after", [0.4, 5], ids=["probing", "announced"])
def test_a_detach_leaves_nothing(wire: Link, after: float) -> None:
    wire.interface.mdns("printer")
    wire.run(after)
    wire.interface.detach()
    wire.run(1)
    heard(wire)
    wire.run(100)
    assert heard(wire) == []


def test_the_port_may_be_shared_and_not_be_anothers(wire: Link) -> None:
    with wire.net.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("", 5353))
        with pytest.raises(OSError) as raised:
            wire.interface.mdns("printer")
        assert raised.value.errno == errno.EADDRINUSE
    assert not wire.interface.flags & InterfaceFlag.MDNS
    announced(wire)


def test_a_name_is_one_label(wire: Link) -> None:
    for wrong in ("", "two.labels", ".local"):
        with pytest.raises(ValueError, match=r"\.local"):
            wire.interface.mdns(wrong)


def test_who_stops_says_goodbye(wire: Link) -> None:
    announced(wire)
    heard(wire)
    wire.interface.mdns(None)
    (said,) = answers(wire)
    assert said.holds(record(PRINTER, A, socket.inet_aton(OURS), ttl=0))


def test_what_a_name_has_not_is_said_at_once(wire: Link) -> None:
    announced(wire)
    wire.run(2)
    heard(wire)
    say(wire, query((PRINTER, HINFO)))
    wire.run(1)
    assert [one.counts for one in heard(wire)] == [[0, 1, 0, 0]]


def test_a_snapshot_comes_back_to_the_probes(wire: Link) -> None:
    wire.interface.mdns("printer")
    wire.run(0.4)
    moment = wire.net.snapshot()
    futures = []
    for _ in range(2):
        heard(wire)
        wire.run(4)
        futures.append([one.payload for one in heard(wire)])
        assert answers_for(wire, PRINTER)
        wire.interface.mdns(None)
        wire.net.restore(moment)
    assert futures[0] == futures[1]
    assert futures[0]


def test_two_find_each_other(engines: tuple[str, str]) -> None:
    with pair(engines=engines) as it:
        it.left_interface.mdns("left")
        it.right_interface.mdns("right")
        ends = ((it.left, "right", RIGHT, RIGHT6), (it.right, "left", LEFT, LEFT6))
        for net, other, where, where6 in ends:
            for family, wanted in ((socket.AF_INET, where), (socket.AF_INET6, where6)):
                found: list[str] = []
                for _ in range(20):
                    with suppress(socket.gaierror):
                        addresses = net.resolve(f"{other}.local", family, timeout=2)
                        found = [str(one) for one in addresses if not one.is_link_local]
                    if found:
                        break
                assert found == [wanted]
            both = {str(one) for one in net.resolve(f"{other}.local")}
            assert {where, where6} <= both


def test_an_end_ends_who_asks(engine: str) -> None:
    raised: list[BaseException] = []

    def ask(net: pystack.Stack) -> None:
        try:
            net.resolve("nobody.local", timeout=60)
        except OSError as error:
            raised.append(error)

    ours, _theirs = pystack.nic.wire()
    net = pystack.Stack(engine=engine)
    try:
        net.attach(ours, f"{OURS}/24", mac=MAC).mdns("printer")
        asker = threading.Thread(target=ask, args=(net,))
        asker.start()
        asker.join(0.3)
    finally:
        net.close(linger=0)
    asker.join(30)
    assert not asker.is_alive()
    assert raised
