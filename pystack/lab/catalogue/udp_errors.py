"""UDP: closed ports, errors for the program, addresses (RFC 1122 4.1, RFC 4443)."""

from __future__ import annotations

import socket

from scapy.layers.inet import ICMP, IP, UDP, UDPerror
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._mutants import (
    altering,
    answering,
    computed,
    hiding,
    mending,
    unreachable,
)
from pystack.lab.catalogue._udp import bound, expect_datagram, expect_no_datagram, family_of
from pystack.lab.mutant import Mutant
from pystack.lab.packets import (
    at_least,
    destination_unreachable6,
    icmp,
    inner_ipv4,
    ipv4,
    ipv6,
    payload,
    udp,
)
from pystack.lab.tester import BROADCAST, Tester
from pystack.lab.verdict import Level

case = group("UDP", rfc="RFC 1122")

UNCHECKED = mending(UDP, "does not verify the checksum")
CLOSED = 9  # discard: nobody is there


# --- closed ports --------------------------------------------------------------------------------


@case(
    "UDP-4.1",
    "A datagram to a closed port is answered with port unreachable",
    section="4.1.3.1",
    level=Level.SHOULD,
    mutant=altering(ICMP, "says host unreachable instead", code=1),
)
def port_unreachable(lab: Tester) -> None:
    """Send to a closed port.

    1. The tester sends a datagram to port 9.
    2. The Host answers with an ICMP destination unreachable, code 3.
    """
    lab.send(lab.udp(4000, CLOSED))
    lab.expect(ipv4(src=lab.host4, dst=lab.tester4) / icmp(type=3, code=3))


@case(
    "UDP-4.2",
    "A datagram over IPv6 to a closed port is answered with port unreachable",
    rfc="RFC 4443",
    section="3.1",
    level=Level.SHOULD,
    mutant=altering(ICMPv6DestUnreach, "says address unreachable instead", code=3),
)
def port_unreachable6(lab: Tester) -> None:
    """Send to a closed port.

    1. The tester sends a datagram to port 9.
    2. The Host answers with an ICMPv6 destination unreachable, code 4.
    """
    lab.resolve(6)
    lab.send(lab.udp6(4000, CLOSED))
    lab.expect(ipv6(src=lab.host6, dst=lab.tester6) / destination_unreachable6(code=4))


@case(
    "UDP-4.3",
    "Port unreachable quotes the header and eight bytes of the datagram",
    section="3.2.2",
    mutant=altering(UDPerror, "quotes other ports", exact=True, sport=1),
)
def quotation(lab: Tester) -> None:
    """Look at what the error says that it is about.

    1. The tester sends a datagram from port 4000 to port 9, with its own identification.
    2. The error quotes IP's header, with that identification, and both ports.
    """
    lab.send(lab.ip(id=0x4D2) / UDP(sport=4000, dport=CLOSED) / Raw(b"data"))

    def quoted(packet: Packet) -> bool:
        inner = IP(bytes(packet[ICMP].payload))
        return bool(inner.id == 0x4D2 and bytes(inner.payload)[:4] == b"\x0f\xa0\x00\x09")

    found = lab.expect(icmp(type=3, code=3) / inner_ipv4(src=lab.tester4, dst=lab.host4))
    lab.check(quoted(found), "the datagram's identification and ports", found.summary())


ANSWERS_ALL = answering(
    lambda frame: bool(frame.haslayer(UDP)), unreachable, "answers every datagram with an error"
)


@case(
    "UDP-4.4",
    "A broadcast datagram to a closed port is not answered",
    section="3.2.2",
    mutant=ANSWERS_ALL,
)
def no_error_for_broadcast(lab: Tester) -> None:
    """An error is never sent about a broadcast, or all hosts would answer at once.

    1. The tester sends a datagram to port 9 of 255.255.255.255, then of 192.0.2.255.
    2. No ICMP error comes.
    """
    for destination in ("255.255.255.255", str(lab.port.network4.broadcast_address)):
        lab.send(lab.ip(dst=destination) / UDP(sport=4000, dport=CLOSED) / Raw(b"all"))
    lab.expect_nothing(icmp(type=3))


@case(
    "UDP-4.5",
    "A datagram that came in a broadcast frame is not answered with an error",
    section="3.2.2",
    mutant=ANSWERS_ALL,
)
def no_error_for_link_broadcast(lab: Tester) -> None:
    """The frame's address counts, even where the packet's is the Host's own.

    1. The tester sends a datagram to port 9 of the Host's address, in a broadcast frame.
    2. No ICMP error comes.
    """
    lab.send(Ether(src=lab.tester_mac, dst=BROADCAST) / lab.udp(4000, CLOSED))
    lab.expect_nothing(icmp(type=3))


@case(
    "UDP-4.6",
    "A multicast datagram to a closed port is not answered",
    section="3.2.2",
    mutant=ANSWERS_ALL,
)
def no_error_for_multicast(lab: Tester) -> None:
    """An error is never sent about a multicast.

    1. The tester sends a datagram to port 9 of 224.0.0.1, the group of all hosts.
    2. No ICMP error comes.
    """
    lab.send(lab.ip(dst="224.0.0.1", ttl=1) / UDP(sport=4000, dport=CLOSED) / Raw(b"all"))
    lab.expect_nothing(icmp(type=3))


@case(
    "UDP-4.7",
    "A datagram with a wrong checksum to a closed port is not answered",
    section="4.1.3.4",
    mutant=UNCHECKED,
)
def no_error_for_damage(lab: Tester) -> None:
    """What is damaged is dropped without a word, whatever port it names.

    1. The tester sends a datagram with a wrong checksum to port 9.
    2. No ICMP error comes.
    """
    lab.send(lab.udp(4000, CLOSED, b"damaged", chksum=0x1234))
    lab.expect_nothing(icmp(type=3))


# --- errors for the program ----------------------------------------------------------------------


def _refusal(lab: Tester, sent: Packet) -> Packet:
    if sent.haslayer(IP):
        return lab.ip() / ICMP(type=3, code=3) / Raw(bytes(sent[IP])[:28])
    return lab.ip6() / ICMPv6DestUnreach(code=4) / Raw(bytes(sent[IPv6]))


def _redirected(frame: Packet) -> Packet:
    if frame.haslayer(ICMP) and frame[ICMP].type == 3:
        raw = bytearray(bytes(frame[ICMP].payload))
        raw[22:24] = (4000).to_bytes(2, "big")
        frame[ICMP].remove_payload()
        return computed(frame / Raw(bytes(raw)))
    return frame


ERRORS_LOST = hiding(
    lambda frame: bool(frame.haslayer(ICMP) or frame.haslayer(ICMPv6DestUnreach)),
    "drops ICMP errors",
)


@case(
    "UDP-5.1",
    "Port unreachable is passed on to the program",
    section="4.1.3.3",
    mutant=ERRORS_LOST,
    family=4,
)
@case(
    "UDP-5.2",
    "Port unreachable over IPv6 is passed on to the program",
    rfc="RFC 4443",
    section="3.1",
    mutant=ERRORS_LOST,
    family=6,
)
def error_is_told(lab: Tester, family: int) -> None:
    """Refuse what a connected socket sends.

    1. The Host's program connects a datagram socket to the tester, and sends.
    2. The tester answers with an ICMP or ICMPv6 port unreachable.
    3. The program is told that the connection was refused.
    """
    sock = lab.socket(family_of(family), socket.SOCK_DGRAM)
    sock.connect((lab.tester4 if family == 4 else lab.tester6, 4000))
    sock.send(b"hello?")
    with lab.preamble("the program's datagram"):
        sent = lab.expect(udp(dport=4000))
    lab.send(_refusal(lab, sent))
    try:
        got = lab.until(lambda: sock.recv(100), 1000, "the program to be told")
    except ConnectionRefusedError:
        return
    lab.check(False, "ConnectionRefusedError for the program", repr(got))


@case(
    "UDP-5.3",
    "Port unreachable about another's datagram is not the program's",
    section="4.1.3.3",
    mutant=Mutant(
        "takes every error for its own",
        incoming=_redirected,
    ),
)
def error_of_another(lab: Tester) -> None:
    """Refuse a datagram that this socket did not send.

    1. The Host's program connects a datagram socket to port 4000 of the tester, and sends.
    2. The tester sends a port unreachable about a datagram to its port 4001.
    3. The program is told nothing, and receives the next datagram.
    """
    sock = lab.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((lab.tester4, 4000))
    sock.send(b"hello?")
    with lab.preamble("the program's datagram"):
        sent = lab.expect(udp(dport=4000))
    other: Packet = sent.copy()
    other[UDP].dport = 4001
    lab.send(_refusal(lab, computed(other)))
    lab.send(lab.udp(4000, sent[UDP].sport, b"here"))
    expect_datagram(lab, sock, b"here")


# --- addresses -----------------------------------------------------------------------------------


@case(
    "UDP-6.1",
    "A datagram from a multicast address is dropped",
    section="4.1.3.6",
    mutant=mending(IP, "sees all packets as the tester's", src="192.0.2.1"),
)
def multicast_source(lab: Tester) -> None:
    """Nobody can be at such an address.

    1. The tester sends a datagram whose source is 224.0.0.5.
    2. The program receives nothing.
    """
    sock, port = bound(lab)
    lab.send(lab.ip(src="224.0.0.5") / UDP(sport=4000, dport=port) / Raw(b"data"))
    expect_no_datagram(lab, sock)


@case(
    "UDP-6.2",
    "A datagram from a broadcast address is dropped",
    section="4.1.3.6",
    mutant=mending(IP, "sees all packets as the tester's", src="192.0.2.1"),
)
def broadcast_source(lab: Tester) -> None:
    """Nobody can be at such an address.

    1. The tester sends datagrams whose source is 255.255.255.255, then 192.0.2.255.
    2. The program receives nothing.
    """
    sock, port = bound(lab)
    for source in ("255.255.255.255", str(lab.port.network4.broadcast_address)):
        lab.send(lab.ip(src=source) / UDP(sport=4000, dport=port) / Raw(b"data"))
    expect_no_datagram(lab, sock)


@case(
    "UDP-6.3",
    "A datagram goes out with an address of the interface as its source",
    section="4.1.3.6",
    mutant=altering(IP, "gives a foreign source address", src="192.0.2.77"),
)
def own_source(lab: Tester) -> None:
    """Look at the source of what a socket sends that was not bound to an address.

    1. The Host's program sends a datagram from an unbound socket.
    2. Its source is the interface's address, and its source port is not zero.
    """
    sock = lab.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.sendto(b"data", (lab.tester4, 4000))
    lab.expect(
        ipv4(src=lab.host4, dst=lab.tester4) / udp(sport=at_least(1), dport=4000) / payload(b"data")
    )


@case(
    "UDP-6.4",
    "A broadcast datagram is given to the program that waits for it",
    section="3.3.6",
    mutant=hiding(
        lambda frame: frame.dst == BROADCAST and bool(frame.haslayer(UDP)), "drops broadcasts"
    ),
)
def broadcast_is_delivered(lab: Tester) -> None:
    """Send to both broadcast addresses.

    1. The Host's program binds a datagram socket to any address.
    2. The tester sends to 255.255.255.255, then to 192.0.2.255.
    3. The program receives both.
    """
    sock, port = bound(lab, address="")
    for destination in ("255.255.255.255", str(lab.port.network4.broadcast_address)):
        lab.send(lab.ip(dst=destination) / UDP(sport=4000, dport=port) / Raw(b"to all"))
        expect_datagram(lab, sock, b"to all")


@case(
    "UDP-6.5",
    "A datagram to a group is given to the program that joined it",
    rfc="RFC 1112",
    section="7.1",
    mutant=hiding(
        lambda frame: bool(frame.haslayer(UDP)) and frame[IP].dst == "239.1.2.3", "drops multicast"
    ),
)
def group_member(lab: Tester) -> None:
    """Join a group and send to it.

    1. The Host's program joins 239.1.2.3.
    2. The tester sends a datagram to the group.
    3. The program receives it.
    """
    sock, port = bound(lab, address="")
    member = socket.inet_aton("239.1.2.3") + socket.inet_aton(lab.host4)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    lab.send(lab.ip(dst="239.1.2.3", ttl=1) / UDP(sport=4000, dport=port) / Raw(b"members"))
    expect_datagram(lab, sock, b"members")


def _as_its_own(frame: Packet) -> Packet:
    if frame.haslayer(UDP):
        frame.dst, frame[IP].dst = "02:00:5e:00:53:02", "192.0.2.2"
    return computed(frame)


@case(
    "UDP-6.6",
    "A datagram to a group that was not joined is dropped",
    rfc="RFC 1112",
    section="7.2",
    mutant=Mutant("sees all packets as its own", incoming=_as_its_own),
)
def not_a_member(lab: Tester) -> None:
    """Send to a group without members.

    1. The Host's program binds a datagram socket to any address and joins nothing.
    2. The tester sends a datagram to 239.1.2.3.
    3. The program receives nothing.
    """
    sock, port = bound(lab, address="")
    lab.send(
        Ether(src=lab.tester_mac, dst="01:00:5e:01:02:03")
        / lab.ip(dst="239.1.2.3", ttl=1)
        / UDP(sport=4000, dport=port)
        / Raw(b"members")
    )
    expect_no_datagram(lab, sock)
