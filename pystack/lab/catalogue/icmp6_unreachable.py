"""ICMPv6, group 5: errors about packets that can't be delivered or forwarded (RFC 4443 3)."""

from __future__ import annotations

import socket

from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
)
from scapy.packet import Packet, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._ip6 import quotes
from pystack.lab.catalogue._mutants import altering, computed, hiding
from pystack.lab.catalogue._udp import expect_datagram
from pystack.lab.host import HostSocket
from pystack.lab.mutant import Mutant
from pystack.lab.packets import (
    destination_unreachable6,
    ipv6,
    packet_too_big,
    time_exceeded6,
    udp,
)
from pystack.lab.plan import Topology
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("ICMPV6-5", rfc="RFC 4443", section="3.1")

NOBODY = "2001:db8:2::77"  # on the second wire, where nobody answers for it
NOWHERE = "2001:db8:9::9"  # there is no route to it
BEYOND = "2001:db8:2::1"  # the tester on the second wire


def _datagram(lab: Tester, data: bytes = b"pystack", **fields: object) -> Packet:
    return lab.ip6(**fields) / UDP(sport=4000, dport=4001) / Raw(data)


def _forwards(lab: Tester, **fields: object) -> None:
    """Makes sure that the Host forwards at all."""
    with lab.preamble("forwarding"):
        lab.send(_datagram(lab, dst=BEYOND))
        lab.expect(udp(dport=4001), 3000, port=1)


# --- what a router says --------------------------------------------------------------------------


@case(
    "ICMPV6-5.1",
    "A packet without a route is answered with destination unreachable, code 0",
    level=Level.SHOULD,
    topology=Topology.ROUTER,
    mutant=altering(ICMPv6DestUnreach, "says that the address is unreachable", code=3),
)
def no_route(lab: Tester) -> None:
    """Send a router what it has no route for.

    1. The tester sends a datagram to 2001:db8:9::9.
    2. The Host answers with a destination unreachable, code 0, that quotes it.
    """
    _forwards(lab)
    sent = _datagram(lab, dst=NOWHERE)
    lab.send(sent)
    lab.expect(ipv6(dst=lab.tester6) / destination_unreachable6(code=0) / quotes(sent))


@case(
    "ICMPV6-5.2",
    "A packet that has no hops left is answered with time exceeded, code 0",
    section="3.3",
    aliases=("v6lc:5.1.5",),
    topology=Topology.ROUTER,
    mutant=altering(ICMPv6TimeExceeded, "says that reassembly took too long", code=1),
)
def no_hops_left(lab: Tester) -> None:
    """Send a router what may go no further.

    1. The tester sends datagrams to the second wire whose hop limit is 1, then 0.
    2. The Host answers each with a time exceeded, code 0, that quotes it.
    3. None comes out on the second wire.
    """
    _forwards(lab)
    for left in (1, 0):
        sent = _datagram(lab, dst=BEYOND, hlim=left)
        lab.send(sent)
        lab.expect(ipv6(dst=lab.tester6) / time_exceeded6(code=0))
    lab.expect_nothing(udp(dport=4001), 200, port=1)


@case(
    "ICMPV6-5.3",
    "A packet that is too big for the next link is answered with packet too big",
    section="3.2",
    aliases=("v6lc:5.1.4",),
    topology=Topology.ROUTER,
    mutant=altering(ICMPv6PacketTooBig, "gives the first link's MTU", mtu=1500),
)
def too_big(lab: Tester) -> None:
    """Send a router what it would have to cut, which no router may.

    1. The second wire gets an MTU of 1280.
    2. The tester sends a datagram of 1400 bytes to it.
    3. The Host answers with a packet too big, MTU 1280, that quotes it.
    4. Nothing comes out on the second wire.
    """
    lab.host.set_mtu(1280, 1)
    _forwards(lab)
    sent = _datagram(lab, bytes(1352), dst=BEYOND)
    lab.send(sent)
    lab.expect(ipv6(dst=lab.tester6) / packet_too_big(code=0, mtu=1280) / quotes(sent))
    lab.expect_nothing(ipv6(dst=BEYOND), 200, port=1)


@case(
    "ICMPV6-5.4",
    "A packet that would leave its source's scope is answered with code 2",
    level=Level.SHOULD,
    topology=Topology.ROUTER,
    mutant=altering(ICMPv6DestUnreach, "says that there is no route", code=0),
)
def beyond_scope(lab: Tester) -> None:
    """Send a router a packet that may not leave its link.

    1. The tester sends a datagram from its link-local address to the second wire.
    2. The Host answers with a destination unreachable, code 2.
    """
    _forwards(lab)
    sent = _datagram(lab, src=lab.tester_ll, dst=BEYOND)
    lab.send(sent)
    lab.expect(ipv6(dst=lab.tester_ll) / destination_unreachable6(code=2) / quotes(sent))


@case(
    "ICMPV6-5.5",
    "A packet whose next hop can't be resolved is answered with code 3",
    level=Level.SHOULD,
    aliases=("talk:ICMPv6-5.5",),
    topology=Topology.ROUTER,
    mutant=altering(ICMPv6DestUnreach, "says that there is no route", code=0),
)
def address_unreachable(lab: Tester) -> None:
    """There is a route, and a link, but no host on it with the address.

    1. The tester sends a datagram to 2001:db8:2::77 on the second wire, for which nobody answers.
    2. The Host solicits the neighbour there.
    3. When it gives up, it answers with a destination unreachable, code 3, that quotes the
       datagram.
    """
    _forwards(lab)
    sent = _datagram(lab, dst=NOBODY)
    lab.send(sent)
    lab.expect(
        ipv6(dst=lab.tester6) / destination_unreachable6(code=3) / quotes(sent),
        7000,
        but_not=destination_unreachable6(),
    )


# --- what a program is told ----------------------------------------------------------------------


def _connected(lab: Tester, address: str) -> HostSocket:
    sock = lab.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.connect((address, 4000))
    return sock


ERRORS_LOST = hiding(
    lambda frame: bool(frame.haslayer(ICMPv6DestUnreach) or frame.haslayer(ICMPv6ParamProblem)),
    "drops errors",
)


def _expect_error(lab: Tester, sock: HostSocket) -> None:
    try:
        got = lab.until(lambda: sock.recv(100), 1000, "the program to be told")
    except OSError:
        return
    lab.check(False, "an error for the program", repr(got))


@case(
    "ICMPV6-5.7",
    "A program is told that nobody listens where it sends",
    mutant=ERRORS_LOST,
)
def refused(lab: Tester) -> None:
    """Refuse what a connected socket sends, in the name of a host behind the router.

    1. The Host's program connects a datagram socket to 2001:db8:9::9, and sends.
    2. The tester answers with a port unreachable from there.
    3. The program is told that the connection was refused.
    """
    sock = _connected(lab, NOWHERE)
    sock.send(b"hello?")
    with lab.preamble("the program's datagram"):
        sent = lab.expect(ipv6(dst=NOWHERE) / udp(dport=4000))
    lab.send(lab.ip6(src=NOWHERE) / ICMPv6DestUnreach(code=4) / Raw(bytes(sent[IPv6])))
    try:
        got = lab.until(lambda: sock.recv(100), 1000, "the program to be told")
    except ConnectionRefusedError:
        return
    lab.check(False, "ConnectionRefusedError for the program", repr(got))


@case(
    "ICMPV6-5.8",
    "A program is told that a router does not let its packets pass",
    mutant=ERRORS_LOST,
)
def prohibited(lab: Tester) -> None:
    """Forbid what a connected socket sends.

    1. The Host's program connects a datagram socket to 2001:db8:9::9, and sends.
    2. The tester, a router, answers with a destination unreachable, code 1: prohibited.
    3. The program is told of an error.
    """
    sock = _connected(lab, NOWHERE)
    sock.send(b"hello?")
    with lab.preamble("the program's datagram"):
        sent = lab.expect(ipv6(dst=NOWHERE) / udp(dport=4000))
    lab.send(lab.ip6() / ICMPv6DestUnreach(code=1) / Raw(bytes(sent[IPv6])))
    _expect_error(lab, sock)


@case(
    "ICMPV6-5.9",
    "A program is told of a parameter problem with its packets",
    section="3.4",
    mutant=ERRORS_LOST,
)
def parameter_problem(lab: Tester) -> None:
    """Say that a host does not speak UDP.

    1. The Host's program connects a datagram socket to the tester, and sends.
    2. The tester answers with a parameter problem, code 1, pointer 6.
    3. The program is told of an error.
    """
    sock = _connected(lab, lab.tester6)
    sock.send(b"hello?")
    with lab.preamble("the program's datagram"):
        sent = lab.expect(ipv6(dst=lab.tester6) / udp(dport=4000))
    lab.send(lab.ip6() / ICMPv6ParamProblem(code=1, ptr=6) / Raw(bytes(sent[IPv6])))
    _expect_error(lab, sock)


def _as_its_own(frame: Packet) -> Packet:
    if frame.haslayer(ICMPv6DestUnreach):
        raw = bytearray(bytes(frame[ICMPv6DestUnreach].payload))
        raw[42:44] = (4000).to_bytes(2, "big")
        frame[ICMPv6DestUnreach].remove_payload()
        return computed(frame / Raw(bytes(raw)))
    return frame


@case(
    "ICMPV6-5.10",
    "An error about another's packet is not the program's",
    mutant=Mutant("takes every error for its own", incoming=_as_its_own),
)
def error_of_another(lab: Tester) -> None:
    """Refuse a datagram that this socket did not send.

    1. The Host's program connects a datagram socket to port 4000 of the tester, and sends.
    2. The tester sends a port unreachable about a datagram to its port 4001.
    3. The program is told nothing, and receives the next datagram.
    """
    sock = _connected(lab, lab.tester6)
    sock.send(b"hello?")
    with lab.preamble("the program's datagram"):
        sent = lab.expect(ipv6(dst=lab.tester6) / udp(dport=4000))
    other: Packet = sent.copy()
    other[UDP].dport = 4001
    lab.send(lab.ip6() / ICMPv6DestUnreach(code=4) / Raw(bytes(computed(other)[IPv6])))
    lab.send(lab.udp6(4000, sent[UDP].sport, b"here"))
    expect_datagram(lab, sock, b"here")


@case(
    "ICMPV6-5.11",
    "An error with a wrong checksum is not told to the program",
    section="2.3",
    mutant=Mutant(
        "does not verify the checksum of errors",
        incoming=lambda frame: computed(frame) if frame.haslayer(ICMPv6DestUnreach) else frame,
    ),
)
def damaged_error(lab: Tester) -> None:
    """Refuse what a connected socket sends, in a message that was damaged on the way.

    1. The Host's program connects a datagram socket to the tester, and sends.
    2. The tester answers with a port unreachable that has a wrong checksum.
    3. The program is told nothing, and receives the next datagram.
    """
    sock = _connected(lab, lab.tester6)
    sock.send(b"hello?")
    with lab.preamble("the program's datagram"):
        sent = lab.expect(ipv6(dst=lab.tester6) / udp(dport=4000))
    lab.send(lab.ip6() / ICMPv6DestUnreach(code=4, cksum=0x1234) / Raw(bytes(sent[IPv6])))
    lab.send(lab.udp6(4000, sent[UDP].sport, b"here"))
    expect_datagram(lab, sock, b"here")
