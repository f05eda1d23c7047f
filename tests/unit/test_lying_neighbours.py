"""Neighbours that reflect, contradict or flood AutoIP, mDNS and DHCPv6, and the lack of memory."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import lab_hosts
import pytest
from name_server import name, record
from scapy.layers.dhcp6 import DHCP6_InfoRequest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_RA, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from pystack.lab.catalogue import _autoip as autoip
from pystack.lab.packets import where
from pystack.lab.plan import Topology
from pystack.lab.tester import Tester

MDNS = 5353
GROUP, GROUP_MAC = "224.0.0.251", "01:00:5e:00:00:fb"
OTHER = "192.0.2.7"
A, SRV, ANY = 1, 33, 255
PRINTER = name("printer.local")


def started(topology: Topology) -> Iterator[Tester]:
    host = lab_hosts.kind_of("lwip").make()
    try:
        with lab_hosts.tester_of(host, topology) as tester:
            yield tester
    finally:
        host.stop()


@pytest.fixture
def bare() -> Iterator[Tester]:
    yield from started(Topology.BARE)


@pytest.fixture
def lab() -> Iterator[Tester]:
    yield from started(Topology.HOST)


def stack_of(lab: Tester) -> Any:
    host: Any = lab.host
    return host.stack


def interface_of(lab: Tester) -> Any:
    host: Any = lab.host
    return host._interfaces[0]


# --- AutoIP ---------------------------------------------------------------------------------------


def test_conflicts_without_end_cost_an_address_a_minute(bare: Tester) -> None:
    autoip.start(bare)
    tried: list[tuple[float, str]] = []
    while len(tried) < 14:
        probe = bare.expect(autoip.probe(), 70_000)
        address = probe[ARP].pdst
        if not tried or tried[-1][1] != address:
            tried.append((float(probe.time), address))
        bare.send(autoip.conflict(address))
    assert len({address for _, address in tried}) == len(tried)
    pauses = [later - earlier for (earlier, _), (later, _) in pairwise(tried)]
    assert min(pauses[autoip.MAX_CONFLICTS :]) >= autoip.RATE_LIMIT_S - 1


def test_what_a_switch_reflects_is_no_conflict(bare: Tester) -> None:
    autoip.start(bare)
    address = ""
    for frame in bare.collect(autoip.probe() | autoip.announcement(), 15_000):
        address = address or frame[ARP].pdst
        assert frame[ARP].pdst == address
        bare.send(bytes(frame))
        bare.send(
            Ether(dst="ff:ff:ff:ff:ff:ff")
            / ARP(op=2, hwsrc=autoip.HOST_MAC, psrc=address, pdst=address)
        )
    assert autoip.holds(bare, address)


# --- mDNS -----------------------------------------------------------------------------------------


def multicast(lab: Tester, message: bytes, source: str = OTHER, port: int = MDNS) -> None:
    """Sends a message to the group."""
    lab.send(
        Ether(src=lab.tester_mac, dst=GROUP_MAC)
        / IP(src=source, dst=GROUP, ttl=255)
        / UDP(sport=port, dport=MDNS)
        / Raw(message)
    )


def response(*records: bytes) -> bytes:
    return struct.pack(">6H", 0, 0x8400, 0, len(records), 0, 0) + b"".join(records)


def query(*questions: tuple[bytes, int], identifier: int = 0) -> bytes:
    head = struct.pack(">6H", identifier, 0, len(questions), 0, 0, 0)
    return head + b"".join(owner + struct.pack(">2H", kind, 1) for owner, kind in questions)


def from_responder(answers: bool) -> Any:
    """A message of the responder's on IPv4: an answer, or a probe."""

    def matches(frame: Packet) -> bool:
        if not (frame.haslayer(UDP) and frame.haslayer(IP) and frame[UDP].sport == MDNS):
            return False
        return bool(bytes(frame[UDP].payload)[2] & 0x80) is answers

    return where("an answer" if answers else "a probe", matches)


def announced(lab: Tester) -> None:
    """Starts the responder, and waits until it has its name."""
    interface_of(lab).mdns("printer")
    lab.expect(from_responder(True), 5000)
    lab.drain(3000)


def answers_for(lab: Tester, owner: bytes) -> bool:
    """Whether a question for a name is answered within a second."""
    lab.drain(1500)
    multicast(lab, query((owner, A)))
    return bool(lab.collect(from_responder(True), 1000, at_most=1))


def own(lab: Tester, ttl_zero: bool = False, address: str = "") -> bytes:
    data = bytes(int(part) for part in (address or lab.host4).split("."))
    whole = record(PRINTER, A, data, cls=0x8001)
    return whole.replace(struct.pack(">I", 3600), bytes(4)) if ttl_zero else whole


@pytest.mark.parametrize("probing", [True, False], ids=["probing", "announced"])
@pytest.mark.parametrize(
    ("said", "renamed"),
    [("own", False), ("goodbye", False), ("another", True)],
)
def test_a_reflected_record_is_no_conflict(
    lab: Tester, probing: bool, said: str, renamed: bool
) -> None:
    if probing:
        interface_of(lab).mdns("printer")
        lab.expect(from_responder(False), 2000)
    else:
        announced(lab)
    address = lab.host4 if said == "own" else "192.0.2.66"
    claim = response(own(lab, said == "goodbye", address))
    multicast(lab, claim)
    if renamed and not probing:
        # The conflict is answered by probing again, which fails.
        lab.expect(from_responder(False), 3000)
        multicast(lab, claim)
    lab.drain(6000)
    assert answers_for(lab, PRINTER) is not renamed
    assert answers_for(lab, name("printer-2.local")) is renamed


def test_a_record_of_another_type_is_no_conflict(lab: Tester) -> None:
    announced(lab)
    multicast(lab, response(record(PRINTER, 47, b"\xc0\x0c\0\4\x40\0\0\x08", cls=0x8001)))
    assert not lab.collect(from_responder(False), 3000)


def test_a_flood_of_questions_is_answered_once_a_second(lab: Tester) -> None:
    announced(lab)
    for _ in range(200):
        multicast(lab, query((PRINTER, A)))
        lab.run(10)
    assert 1 <= len(lab.collect(from_responder(True), 0)) <= 3


def test_a_flood_does_not_put_an_answer_off(lab: Tester) -> None:
    """Two questions in one message are answered after a delay, which must not begin anew."""
    announced(lab)
    for _ in range(50):
        multicast(lab, query((PRINTER, A), (PRINTER, ANY)))
        lab.run(10)
    assert lab.collect(from_responder(True), 0)


LOOP = struct.pack(">H", 0xC00C)


@pytest.mark.parametrize(
    "owner",
    [
        LOOP,
        b"\1x" + LOOP,
        struct.pack(">H", 0xC0FF),
        struct.pack(">H", 0xC000),
        b"\x3f" + b"x" * 63,
        (b"\x3f" + b"x" * 63) * 5 + b"\0",
        b"\x40x\0",
        b"\x07printer\x05local",
        b"",
    ],
    ids=range(9),
)
def test_broken_names_are_dropped(lab: Tester, owner: bytes) -> None:
    announced(lab)
    multicast(lab, query((owner, ANY), (PRINTER, A)))
    multicast(lab, query((owner, ANY))[: 12 + len(owner)])
    multicast(lab, response(record(owner, A, b"\1\2\3\4")))
    multicast(lab, response(record(PRINTER, SRV, b"\0" * 6 + owner)))
    multicast(lab, response(own(lab))[:-2])
    assert answers_for(lab, PRINTER)


# --- DHCPv6 ---------------------------------------------------------------------------------------


def configured(lab: Tester) -> Packet:
    """Has a router tell the Host to ask for its configuration; the request."""
    interface = interface_of(lab)
    interface.slaac()
    interface.dhcp6()
    lab.run(3000)
    lab.send(
        Ether(src=lab.tester_mac, dst="33:33:00:00:00:01")
        / IPv6(src=lab.tester_ll, dst="ff02::1", hlim=255)
        / ICMPv6ND_RA(O=1)
    )
    return lab.expect(
        where("an Information-request", lambda p: p.haslayer(DHCP6_InfoRequest)), 5000
    )


def option6(code: int, data: bytes, size: int | None = None) -> bytes:
    return struct.pack(">2H", code, len(data) if size is None else size) + data


SERVER_ID = option6(2, b"\0\3\0\1\2\0\0\0\0\1")
NAMES = bytes.fromhex("20010db8000000000000000000000053")
EVIL_NAMES = bytes.fromhex("20010db8000000000000000000000666")


def test_a_reply_of_dhcpv6_is_a_servers_and_ours(lab: Tester) -> None:
    request = configured(lab)
    asked = bytes(request[UDP].payload)

    def reply(options: bytes, kind: int = 7, ident: bytes = asked[1:4], port: int = 547) -> None:
        lab.send(
            Ether(src=lab.tester_mac, dst=lab.host_mac)
            / IPv6(src=lab.tester_ll, dst=request[IPv6].src)
            / UDP(sport=port, dport=546)
            / Raw(bytes((kind,)) + ident + options)
        )
        lab.run(20)

    ours = asked[4:18]  # who asked stands first
    assert ours == option6(1, b"\0\3\0\1" + bytes.fromhex(lab.host_mac.replace(":", "")))
    evil = ours + option6(23, EVIL_NAMES)
    reply(evil)
    reply(SERVER_ID + evil[len(ours) :])
    reply(SERVER_ID + evil, port=5353)
    reply(SERVER_ID + evil, ident=b"abc")
    reply(SERVER_ID + evil, kind=2)
    reply(SERVER_ID[:7])
    assert list(stack_of(lab).nameservers) == []
    # What is whole counts; what is longer than the message does not, nor what follows.
    reply(SERVER_ID + ours + option6(23, NAMES) + option6(24, b"x", 999) + evil)
    assert [str(one) for one in stack_of(lab).nameservers] == ["2001:db8::53"]
    reply(SERVER_ID + evil)
    assert [str(one) for one in stack_of(lab).nameservers] == ["2001:db8::53"]


# --- no memory ------------------------------------------------------------------------------------


def test_the_responder_goes_on_when_there_was_no_memory(lab: Tester) -> None:
    """A truncated question waits in memory, for a timer."""
    announced(lab)
    stack = stack_of(lab)
    roomy = stack.arena.limit_bytes
    stack.arena.set_limit(stack.arena.used_bytes)
    truncated = bytearray(query((PRINTER, A)))
    truncated[2] |= 2
    for _ in range(100):
        multicast(lab, bytes(truncated))
        lab.run(100)
    stack.arena.set_limit(roomy)
    assert answers_for(lab, PRINTER)


def test_a_failed_allocation_holds_up_nothing(lab: Tester) -> None:
    """Each allocation in turn fails while a question is taken, and while it is answered."""
    announced(lab)
    truncated = bytearray(query((PRINTER, A), (PRINTER, ANY)))
    truncated[2] |= 2
    for message in (query((PRINTER, A)), query((PRINTER, A), (PRINTER, ANY)), bytes(truncated)):
        for after in range(12):
            stack_of(lab).arena.fail_allocations(after=after, count=2)
            multicast(lab, message)
            lab.run(600)
            stack_of(lab).arena.fail_allocations(after=0, count=0)
            lab.run(2000)
    assert answers_for(lab, PRINTER)
    interface_of(lab).mdns(None)
