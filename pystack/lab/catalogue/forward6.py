"""Forwarding of IPv6: what a router changes and what it says (RFC 8200, RFC 4443)."""

from __future__ import annotations

from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    PadN,
)
from scapy.packet import Packet, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._forward import (
    DATA,
    ELSEWHERE6,
    FAR6,
    NEAR6,
    blind,
    expect_forwarded,
    expect_not_forwarded,
    forwards,
    from_near,
    outward6,
    quoting,
    ready6,
    sourced,
    to_host,
)
from pystack.lab.catalogue._mutants import altering, computed, dropping, hiding
from pystack.lab.mutant import Mutant
from pystack.lab.packets import (
    destination_unreachable6,
    echo_reply6,
    ipv6,
    packet_too_big,
    time_exceeded6,
)
from pystack.lab.plan import Topology
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

RFC = "RFC 8200"
STANDS_STILL = dropping(from_near, "forwards nothing")

routed = group("FWD", rfc=RFC, topology=Topology.ROUTER)


# --- what is forwarded, and how -------------------------------------------------------------------


@routed(
    "FWD-8.1",
    "An IPv6 packet for another network is sent on to it",
    section="2",
    mutant=STANDS_STILL,
)
def forwarded(lab: Tester) -> None:
    """Send one through the router.

    1. The tester sends a datagram from its first wire to its address on the second.
    2. It comes there, from the router's hardware address on that wire to the tester's.
    """
    ready6(lab)
    lab.send(outward6())
    found = expect_forwarded(lab)
    lab.check(found.src == lab.other.host_mac, f"from {lab.other.host_mac}", found.src)
    lab.check(found.dst == lab.other.tester_mac, f"to {lab.other.tester_mac}", found.dst)


@routed(
    "FWD-8.2",
    "The hop limit is one less",
    section="3",
    mutant=forwards("does not count its hop", IPv6, hlim=lambda hlim: hlim + 1),
)
def hop_limit(lab: Tester) -> None:
    """Send one through the router.

    1. The tester sends a datagram with a hop limit of 33.
    2. It comes with 32.
    """
    ready6(lab)
    lab.send(outward6(hlim=33))
    found = expect_forwarded(lab)[IPv6].hlim
    lab.check(found == 32, "a hop limit of 32", found)


@routed(
    "FWD-8.3",
    "The flow label is not changed",
    rfc="RFC 6437",
    section="3",
    mutant=forwards("clears the flow label", IPv6, fl=0),
)
def flow_label(lab: Tester) -> None:
    """It is between the ends.

    1. The tester sends a datagram with the flow label 0xabcde and the traffic class 0xb8.
    2. It comes with the same.
    """
    ready6(lab)
    lab.send(outward6(fl=0xABCDE, tc=0xB8))
    found = expect_forwarded(lab)[IPv6]
    lab.check(found.fl == 0xABCDE, "flow label 0xabcde", hex(found.fl))
    lab.check(found.tc == 0xB8, "traffic class 0xb8", hex(found.tc))


@routed(
    "FWD-8.4",
    "What the packet carries is not touched",
    section="3",
    mutant=forwards("mends the checksum", UDP, chksum=None),
)
def payload_unchanged(lab: Tester) -> None:
    """Not even a checksum that is wrong.

    1. The tester sends a datagram through the router whose UDP checksum is 0x1111.
    2. It comes as it was, the checksum included.
    """
    ready6(lab)
    sent = outward6()
    sent[UDP].chksum = 0x1111
    lab.send(sent)
    found, wanted = expect_forwarded(lab)[IPv6], IPv6(bytes(sent))
    lab.check(bytes(found.payload) == bytes(wanted.payload), "the same data", found.summary())


@routed(
    "FWD-8.5",
    "Routers ignore extension headers for the destination",
    section="4",
    mutant=Mutant(
        "answers for the destination",
        incoming=lambda frame: None if frame.haslayer(IPv6ExtHdrDestOpt) else frame,
    ),
)
def destination_options(lab: Tester) -> None:
    """Nor complained about.

    1. The tester sends a packet through the router with an unknown destination option
       whose type asks for an error, and an unknown protocol behind it.
    2. It comes, with both headers as they were. Nothing comes back.
    """
    ready6(lab)
    option = IPv6ExtHdrDestOpt(options=[PadN(otype=0x9E, optdata=b"\1\2\3\4")], nh=253)
    lab.send(to_host(IPv6(src=NEAR6, dst=FAR6) / option / Raw(DATA)))
    found = expect_forwarded(lab)[IPv6]
    same = bytes(found.payload) == bytes(option / Raw(DATA))
    lab.check(same, "the headers as they were", bytes(found.payload).hex())
    lab.expect_nothing(destination_unreachable6(), 100)


@routed(
    "FWD-8.6",
    "A packet with padding for every hop is forwarded",
    section="4.3",
    mutant=Mutant(
        "drops what has a hop-by-hop header",
        incoming=lambda frame: None if frame.haslayer(IPv6ExtHdrHopByHop) else frame,
    ),
)
def hop_by_hop(lab: Tester) -> None:
    """The header that routers may inspect.

    1. The tester sends a datagram through the router with a hop-by-hop header that has padding
       in it.
    2. It comes, with the header.
    """
    ready6(lab)
    header = IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0\0\0\0")])
    lab.send(to_host(IPv6(src=NEAR6, dst=FAR6) / header / UDP(sport=4000, dport=4001) / Raw(DATA)))
    found = expect_forwarded(lab)
    lab.check(bool(found.haslayer(IPv6ExtHdrHopByHop)), "the header", found.summary())


@routed(
    "FWD-8.7",
    "Fragments of IPv6 packets are forwarded as they come",
    section="4.5",
    mutant=dropping(
        lambda frame: from_near(frame) and bool(frame.haslayer(IPv6ExtHdrFragment)),
        "waits for the rest",
    ),
)
def fragments(lab: Tester) -> None:
    """Only the destination puts them together.

    1. The tester sends the last fragment of a packet through the router.
    2. It comes.
    """
    ready6(lab)
    header = IPv6ExtHdrFragment(offset=3, m=0, id=0x1234, nh=17)
    lab.send(to_host(IPv6(src=NEAR6, dst=FAR6) / header / Raw(DATA)))
    expect_forwarded(lab)


# --- hop limit and size ---------------------------------------------------------------------------


@routed(
    "FWD-9.1",
    "An IPv6 packet that has no hop left is not forwarded, and its sender is told",
    rfc="RFC 4443",
    section="3.3",
    mutant=altering(ICMPv6TimeExceeded, "gives the wrong reason", code=1),
)
def last_hop(lab: Tester) -> None:
    """What traceroute lives on.

    1. The tester sends a datagram through the router with a hop limit of 1.
    2. A time exceeded with code 0 comes back that quotes it. The datagram does not come out.
    """
    ready6(lab)
    lab.send(outward6(hlim=1))
    lab.expect(ipv6(src=lab.host6, dst=NEAR6) / time_exceeded6(code=0) / quoting(NEAR6, FAR6))
    expect_not_forwarded(lab, family=6)


@routed(
    "FWD-9.2",
    "An IPv6 packet that has come without a hop left is not forwarded",
    rfc="RFC 4443",
    section="3.3",
    mutant=blind("does not look at the hop limit", sourced(NEAR6), hlim=64),
)
def no_hop(lab: Tester) -> None:
    """It should not have been sent at all.

    1. The tester sends a datagram through the router with a hop limit of 0.
    2. It does not come.
    """
    ready6(lab)
    lab.send(outward6(hlim=0))
    expect_not_forwarded(lab, family=6)


@routed(
    "FWD-9.3",
    "An IPv6 packet to the router itself may have come by its last hop",
    section="3",
    level=Level.SHOULD,
    mutant=hiding(
        lambda frame: bool(frame.haslayer(ICMPv6EchoRequest)) and frame[IPv6].hlim <= 1,
        "drops what comes with a hop limit of one",
    ),
)
def last_hop_for_router(lab: Tester) -> None:
    """The field is for forwarding alone, even at zero.

    1. The tester sends echo requests to the router with hop limits of 1 and of 0.
    2. Both are answered.
    """
    ready6(lab)
    for limit in (1, 0):
        lab.send(lab.ip6(hlim=limit) / ICMPv6EchoRequest(id=9, seq=limit))
        lab.expect(echo_reply6(id=9, seq=limit))


def _small(lab: Tester) -> None:
    ready6(lab)
    lab.host.set_mtu(1280, 1)


LARGE = DATA * 52


@routed(
    "FWD-9.4",
    "The sender of a packet too large for the next wire is told how large it may be",
    rfc="RFC 4443",
    section="3.2",
    mutant=altering(ICMPv6PacketTooBig, "gives the MTU of the wire that it came by", mtu=1500),
)
def too_big(lab: Tester) -> None:
    """A router must.

    1. The second wire's MTU is 1280. The tester sends a datagram of 1400 octets through the router.
    2. A packet too big comes back, with code 0 and an MTU of 1280, and quotes the datagram.
    """
    _small(lab)
    lab.send(outward6(LARGE))
    lab.expect(
        ipv6(src=lab.host6, dst=NEAR6) / packet_too_big(code=0, mtu=1280) / quoting(NEAR6, FAR6)
    )


@routed(
    "FWD-9.5",
    "A router cuts no IPv6 packet into fragments",
    section="4.5",
    mutant=Mutant(
        "fragments as it does for IPv4",
        incoming=lambda frame: (
            [_piece(frame, LARGE[:800]), _piece(frame, LARGE[800:])]
            if frame.haslayer(UDP) and len(bytes(frame)) > 1300
            else frame
        ),
    ),
)
def no_fragments(lab: Tester) -> None:
    """Only the source may.

    1. The second wire's MTU is 1280. The tester sends a datagram of 1400 octets through the router.
    2. Nothing comes out. A smaller one does.
    """
    _small(lab)
    lab.send(outward6(LARGE))
    expect_not_forwarded(lab, DATA, family=6)


def _piece(frame: Packet, data: bytes) -> Packet:
    """A part of a datagram, as a separate packet."""
    piece: Packet = frame.copy()
    piece[Raw].load = data
    return computed(piece)


@routed(
    "FWD-9.6",
    "An error quotes as much as fits into 1280 octets",
    rfc="RFC 4443",
    section="2.4",
    mutant=Mutant(
        "quotes the whole packet",
        outgoing=lambda frame: (
            computed(frame / Raw(bytes(120))) if frame.haslayer(ICMPv6PacketTooBig) else frame
        ),
    ),
)
def quoted_size(lab: Tester) -> None:
    """That goes through everywhere.

    1. The second wire's MTU is 1280. The tester sends a datagram of 1400 octets through the router.
    2. The packet too big has at most 1280 octets, and more than 1200.
    """
    _small(lab)
    lab.send(outward6(LARGE))
    with lab.preamble("packet too big"):
        error = lab.expect(packet_too_big())
    size = error[IPv6].plen + 40
    lab.check(1200 < size <= 1280, "1201 to 1280 octets", size)


@routed(
    "FWD-9.7",
    "Without a route the sender of an IPv6 packet is told so",
    rfc="RFC 4443",
    section="3.1",
    level=Level.SHOULD,
    mutant=altering(ICMPv6DestUnreach, "says that the address is", code=3),
)
def no_route(lab: Tester) -> None:
    """The router has no default route.

    1. The tester sends a datagram to 2001:db8:9::1.
    2. A destination unreachable with code 0 comes back.
    """
    ready6(lab)
    lab.send(to_host(outward6(dst=ELSEWHERE6)))
    lab.expect(ipv6(dst=NEAR6) / destination_unreachable6(code=0) / quoting(NEAR6, ELSEWHERE6))
