"""Forwarding of IPv4: what a router changes, what it drops, what it says (RFC 1812 4, 5)."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from scapy.utils import checksum as checksum_of

from pystack.lab.case import group
from pystack.lab.catalogue._forward import (
    DATA,
    ELSEWHERE,
    FAR,
    HOST_MACS,
    NEAR,
    TESTER_MACS,
    blind,
    carries,
    expect_forwarded,
    expect_not_forwarded,
    forwards,
    from_near,
    outward,
    quoting,
    ready,
    sourced,
    to_host,
)
from pystack.lab.catalogue._mutants import altering, dropping, hiding, mending
from pystack.lab.mutant import Mutant
from pystack.lab.packets import arp, ether, icmp, ipv4
from pystack.lab.plan import Topology
from pystack.lab.tester import Tester

RFC = "RFC 1812"
STANDS_STILL = dropping(from_near, "forwards nothing")

routed = group("FWD", rfc=RFC, topology=Topology.ROUTER)


# --- what is forwarded, and how -------------------------------------------------------------------


@routed(
    "FWD-1.1",
    "A packet for another network is sent on to it",
    section="5.2.1",
    mutant=STANDS_STILL,
)
def forwarded(lab: Tester) -> None:
    """Send one through the router.

    1. The tester sends a datagram from its first wire to its address on the second.
    2. It comes there, from the router's hardware address on that wire to the tester's.
    """
    ready(lab)
    lab.send(outward())
    found = expect_forwarded(lab)
    lab.check(found.src == lab.other.host_mac, f"from {lab.other.host_mac}", found.src)
    lab.check(found.dst == lab.other.tester_mac, f"to {lab.other.tester_mac}", found.dst)


@routed(
    "FWD-1.2",
    "The time to live is one less",
    section="5.3.1",
    mutant=forwards("does not count its hop", ttl=lambda ttl: ttl + 1),
)
def ttl_decremented(lab: Tester) -> None:
    """Send one through the router.

    1. The tester sends a datagram with a time to live of 33.
    2. It comes with 32.
    """
    ready(lab)
    lab.send(outward(ttl=33))
    found = expect_forwarded(lab)[IP].ttl
    lab.check(found == 32, "a time to live of 32", found)


@routed(
    "FWD-1.3",
    "The header's checksum is right after the change",
    section="4.2.2.5",
    mutant=altering(IP, "does not carry the one", exact=True, chksum=lambda chksum: chksum ^ 1),
)
def checksum(lab: Tester) -> None:
    """An update of the old checksum has its edges, at 0xfeff and above.

    1. The tester sends datagrams whose checksums are 0xfefe, 0xfeff, 0xff00, 0xfffe and 0.
    2. They come, each with the checksum that its header ought to have.
    """
    ready(lab)
    for number, wanted in enumerate((0xFEFE, 0xFEFF, 0xFF00, 0xFFFE, 0x0000)):
        data = DATA + bytes((number,))
        plain = IP(bytes(outward(data, id=0)))
        # The identification makes up for the difference, in ones' complement.
        identity = (~wanted & 0xFFFF) - (~plain.chksum & 0xFFFF)
        packet = IP(bytes(outward(data, id=identity % 0xFFFF)))
        packet.chksum = wanted if packet.chksum in (0, 0xFFFF) else packet.chksum
        lab.send(packet)
        found = expect_forwarded(lab, data)[IP]
        again = IP(bytes(found))
        del again.chksum
        right = IP(bytes(again)).chksum
        lab.check(found.chksum == right, f"checksum {right:#06x}", f"{found.chksum:#06x}")


@routed(
    "FWD-1.4",
    "All else stays as it was",
    rfc="RFC 791",
    section="2.4",
    mutant=forwards("clears the type of service", tos=0),
)
def unchanged(lab: Tester) -> None:
    """A router has no business with the rest.

    1. The tester sends a datagram with a type of service of 0xb8, an identification, the flag DF
       and a UDP checksum that is wrong.
    2. It comes the same but for time to live and header checksum.
    """
    ready(lab)
    sent = outward(tos=0xB8, id=0x1234, flags="DF")
    sent[UDP].chksum = 0x1111
    lab.send(sent)
    found, wanted = expect_forwarded(lab)[IP], IP(bytes(sent))
    for name in ("tos", "id", "flags", "frag", "proto", "src", "dst", "len"):
        before, after = wanted.getfieldval(name), found.getfieldval(name)
        lab.check(before == after, f"{name} {before}", after)
    left = bytes(found.payload)[: len(wanted.payload)]
    lab.check(left == bytes(wanted.payload), "the same data", left.hex())


@routed(
    "FWD-1.5",
    "A packet waits while its next hop's hardware address is asked for",
    section="3.3.2",
    mutant=dropping(from_near, "drops what it can't send at once"),
)
def waits_for_arp(lab: Tester) -> None:
    """It is neither lost nor refused.

    1. The tester sends a datagram through the router, which has not heard of the next hop yet.
    2. The router asks for it by ARP, and sends the datagram on when it knows; nothing comes back.
    """
    lab.learn(NEAR)
    lab.send(outward())
    with lab.preamble("an ARP request"):
        lab.expect(arp(op=1, pdst=FAR), port=1)
    expect_forwarded(lab)
    lab.expect_nothing(icmp(), 100)


@routed(
    "FWD-1.6",
    "The route with the longest prefix is taken",
    section="5.2.4.3",
    mutant=Mutant(
        "takes the first route",
        outgoing=lambda frame: _to(frame, "02:00:5e:00:53:17") if from_near(frame) else frame,
    ),
)
def longest_prefix(lab: Tester) -> None:
    """Of all that match.

    1. The router has routes for 198.51.100.0/24, 198.51.100.128/25 and 198.51.100.192/26, by three
       next hops.
    2. A packet to 198.51.100.130 goes to the second of them.
    """
    hops = ("203.0.113.7", "203.0.113.8", "203.0.113.9")
    networks = ("198.51.100.0/24", "198.51.100.128/25", "198.51.100.192/26")
    for number, (network, hop) in enumerate(zip(networks, hops, strict=True)):
        lab.own(hop, f"02:00:5e:00:53:{17 + number}", 1)
        lab.host.add_route(network, hop, 1)
    lab.learn(NEAR)
    lab.send(to_host(outward(dst="198.51.100.130")))
    found = expect_forwarded(lab).dst
    lab.check(found == "02:00:5e:00:53:18", "02:00:5e:00:53:18", found)


def _to(frame: Packet, mac: str) -> Packet:
    frame.dst = mac
    return frame


# --- what is no packet ----------------------------------------------------------------------------


@routed(
    "FWD-2.1",
    "A packet with a wrong header checksum is dropped",
    section="5.2.2",
    mutant=mending(IP, "does not verify the checksum"),
)
def wrong_checksum(lab: Tester) -> None:
    """It may be for another host.

    1. The tester sends a datagram through the router whose header checksum is wrong.
    2. It does not come, and nothing comes back. A right one after it does.
    """
    ready(lab)
    lab.send(to_host(outward(chksum=0x1234)))
    lab.expect_nothing(icmp(), 100)
    expect_not_forwarded(lab)


def _of_five_words(frame: Packet) -> bytes:
    raw = bytearray(bytes(frame))
    if raw[12:14] == b"\x08\x00":
        raw[14], raw[24:26] = 0x45, b"\0\0"
        raw[24:26] = checksum_of(bytes(raw[14:34])).to_bytes(2, "big")
    return bytes(raw)


@routed(
    "FWD-2.2",
    "A packet whose header length is less than five is dropped",
    section="5.2.2",
    mutant=Mutant("does not look at the header's length", incoming=_of_five_words),
)
def short_header(lab: Tester) -> None:
    """There is no such header.

    1. The tester sends a packet through the router with a header length of four words.
    2. It does not come.
    """
    ready(lab)
    lab.send(to_host(outward(ihl=4)))
    expect_not_forwarded(lab)


@routed(
    "FWD-2.3",
    "A packet of another version is not forwarded",
    section="5.2.2",
    mutant=mending(IP, "does not look at the version", version=4),
)
def wrong_version(lab: Tester) -> None:
    """The frame's type says IPv4, and the packet something else.

    1. The tester sends a packet through the router whose version is 5.
    2. It does not come.
    """
    ready(lab)
    lab.send(to_host(outward(version=5)))
    expect_not_forwarded(lab)


@routed(
    "FWD-2.4",
    "A packet that claims to be longer than its frame is dropped",
    section="5.2.2",
    mutant=mending(IP, "does not look at the length"),
)
def too_long(lab: Tester) -> None:
    """Something is missing.

    1. The tester sends a packet through the router whose total length is 400, in a shorter frame.
    2. It does not come.
    """
    ready(lab)
    lab.send(to_host(outward(len=400)))
    expect_not_forwarded(lab)


# --- time to live ---------------------------------------------------------------------------------


@routed(
    "FWD-3.1",
    "A packet that has no hop left is not forwarded, and its sender is told",
    section="5.3.1",
    mutant=altering(ICMP, "gives the wrong reason", code=1),
)
def ttl_one(lab: Tester) -> None:
    """What traceroute lives on.

    1. The tester sends a datagram through the router with a time to live of 1.
    2. A time exceeded with code 0 comes back that quotes it, header and eight octets. The datagram
       does not come out.
    """
    ready(lab)
    lab.send(outward(ttl=1))
    error = lab.expect(ipv4(dst=NEAR) / icmp(type=11, code=0) / quoting(NEAR, FAR))
    quoted = bytes(error[ICMP].payload)
    lab.check(len(quoted) >= 28, "28 octets of it", len(quoted))
    lab.check(quoted[20:24] == b"\x0f\xa0\x0f\xa1", "its ports", quoted[20:24].hex())
    expect_not_forwarded(lab)


@routed(
    "FWD-3.2",
    "A packet that has come without a hop left is not forwarded",
    section="5.3.1",
    mutant=blind("does not look at the time to live", sourced(NEAR), ttl=64),
)
def ttl_zero(lab: Tester) -> None:
    """It should not have been sent at all.

    1. The tester sends a datagram through the router with a time to live of 0.
    2. It does not come.
    """
    ready(lab)
    lab.send(outward(ttl=0))
    expect_not_forwarded(lab)


@routed(
    "FWD-3.3",
    "A packet to the router itself may have come by its last hop",
    section="4.2.2.9",
    mutant=hiding(
        lambda frame: bool(frame.haslayer(IP)) and frame[IP].ttl <= 1,
        "drops what comes with a time to live of one",
    ),
)
def ttl_one_for_router(lab: Tester) -> None:
    """The field is for forwarding alone.

    1. The tester sends echo requests to the router with a time to live of 1, to its address on each
       of the two wires.
    2. Both are answered.
    """
    ready(lab)
    for number, target in enumerate((lab.host4, lab.other.host4), 1):
        lab.send(to_host(IP(src=NEAR, dst=target, ttl=1) / ICMP(type=8, id=9, seq=number)))
        lab.expect(ipv4(src=target) / icmp(type=0, seq=number))


@routed(
    "FWD-3.4",
    "An ICMP error comes from an address of the interface that it leaves by",
    section="4.3.2.4",
    mutant=altering(IP, "gives its other address", src="203.0.113.2"),
)
def error_source(lab: Tester) -> None:
    """So that traceroute shows the path.

    1. The tester sends datagrams with a time to live of 1 into both wires, for the other.
    2. The time exceeded comes from 192.0.2.2 on the first wire, from 203.0.113.2 on the second.
    """
    ready(lab)
    lab.send(outward(ttl=1))
    lab.expect(ipv4(src=lab.host4) / icmp(type=11))
    lab.send(outward(ttl=1, src=FAR, dst=NEAR), 1)
    lab.expect(ipv4(src=lab.other.host4) / icmp(type=11), port=1)


# --- what can't be reached ------------------------------------------------------------------------


@routed(
    "FWD-4.1",
    "Without a route the sender is told that the network is unreachable",
    section="4.3.3.1",
    mutant=altering(ICMP, "says that the host is", code=1),
)
def no_route(lab: Tester) -> None:
    """The router has no default route.

    1. The tester sends a datagram to 198.51.100.1.
    2. A destination unreachable with code 0 comes back.
    """
    ready(lab)
    lab.send(to_host(outward(dst=ELSEWHERE)))
    lab.expect(ipv4(dst=NEAR) / icmp(type=3, code=0) / quoting(NEAR, ELSEWHERE))


@routed(
    "FWD-4.2",
    "When the last hop does not answer the sender is told that the host is unreachable",
    section="4.3.3.1",
    mutant=altering(ICMP, "says that the network is", code=0),
)
def no_neighbour(lab: Tester) -> None:
    """Nobody has the address.

    1. The tester sends a datagram to 203.0.113.77, which nobody answers for.
    2. A destination unreachable with code 1 comes back within ten seconds.
    """
    ready(lab)
    lab.send(outward(dst="203.0.113.77"))
    lab.expect(ipv4(dst=NEAR) / icmp(type=3, code=1) / quoting(NEAR, "203.0.113.77"), 10_000)


def _small(lab: Tester) -> None:
    ready(lab)
    lab.host.set_mtu(576, 1)


@routed(
    "FWD-4.3",
    "A packet that is too large for the next wire is cut into fragments",
    section="4.2.2.7",
    mutant=dropping(
        lambda frame: from_near(frame) and frame[IP].frag > 0, "loses all fragments but the first"
    ),
)
def fragmented(lab: Tester) -> None:
    """Unless it forbids that.

    1. The second wire's MTU is 576. The tester sends a datagram of 1200 octets through the router.
    2. It comes in fragments of at most 576, with its identification, that make it whole.
    """
    _small(lab)
    data = bytes(range(200)) * 6
    sent = IP(bytes(outward(data, id=0x4321)))
    lab.send(sent)
    whole = bytearray(len(sent.payload))
    got = 0
    while got < len(whole):
        piece = lab.expect(ipv4(src=NEAR, id=0x4321), port=1)[IP]
        lab.check(piece.len <= 576, "at most 576 octets", piece.len)
        body = bytes(piece.payload)[: piece.len - 20]
        whole[8 * piece.frag : 8 * piece.frag + len(body)] = body
        got += len(body)
        more = 8 * piece.frag + len(body) < len(whole)
        lab.check(("MF" in piece.flags) == more, f"more fragments: {more}", piece.flags)
    lab.check(bytes(whole) == bytes(sent.payload), "the datagram", whole[:40].hex())


@routed(
    "FWD-4.4",
    "A fragment that is too large is cut into smaller ones, in their place",
    section="4.2.2.7",
    mutant=forwards("forgets where a fragment belongs", frag=0),
)
def fragment_of_fragment(lab: Tester) -> None:
    """Offsets and the flag MF go on from those of the fragment.

    1. The second wire's MTU is 576. The tester sends a fragment of 1000 octets with an offset of
       800 and the flag MF.
    2. All that comes has the flag, and the last ends where the fragment ended.
    """
    _small(lab)
    sent = IP(src=NEAR, dst=FAR, id=0x77, flags="MF", frag=100, proto=17) / Raw(bytes(1000))
    lab.send(sent)
    at = 800
    while at < 1800:
        piece = lab.expect(ipv4(src=NEAR, id=0x77), port=1)[IP]
        lab.check(8 * piece.frag == at, f"offset {at}", 8 * piece.frag)
        lab.check("MF" in piece.flags, "the flag MF", piece.flags)
        at += piece.len - 20
    lab.check(at == 1800, "an end at 1800", at)


@routed(
    "FWD-4.5",
    "If it forbids that, its sender is told that it would have had to be",
    section="4.3.3.1",
    mutant=altering(ICMP, "says something else", code=1),
)
def dont_fragment(lab: Tester) -> None:
    """The flag DF.

    1. The second wire's MTU is 576. The tester sends a datagram of 1200 octets with DF through it.
    2. A destination unreachable with code 4 comes back. Nothing of the datagram comes out.
    """
    _small(lab)
    lab.send(outward(DATA * 45, flags="DF"))
    lab.expect(ipv4(dst=NEAR) / icmp(type=3, code=4) / quoting(NEAR, FAR))
    expect_not_forwarded(lab)


@routed(
    "FWD-4.6",
    "That error says how large a packet may be",
    rfc="RFC 1191",
    section="4",
    mutant=altering(ICMP, "does not say how large", nexthopmtu=0),
)
def next_hop_mtu(lab: Tester) -> None:
    """Else the sender would have to guess.

    1. The second wire's MTU is 576. The tester sends a datagram of 1200 octets with DF through it.
    2. The destination unreachable with code 4 has 576 in its next-hop MTU.
    """
    _small(lab)
    lab.send(outward(DATA * 45, flags="DF"))
    with lab.preamble("fragmentation needed"):
        error = lab.expect(ipv4(dst=NEAR) / icmp(type=3, code=4))
    lab.check(error[ICMP].nexthopmtu == 576, "a next-hop MTU of 576", error[ICMP].nexthopmtu)


@routed(
    "FWD-4.7",
    "Fragments are forwarded as they come",
    section="5.2.6",
    mutant=dropping(
        lambda frame: from_near(frame) and "MF" in frame[IP].flags, "waits for the rest"
    ),
)
def no_reassembly(lab: Tester) -> None:
    """The others may go another way.

    1. The tester sends the last fragment of a datagram through the router, then the first one.
    2. Each comes at once, before the other is sent.
    """
    ready(lab)
    last: Packet = IP(src=NEAR, dst=FAR, id=0x55, frag=2, proto=17) / Raw(b"the last")
    first: Packet = IP(src=NEAR, dst=FAR, id=0x55, flags="MF", proto=17) / Raw(b"the first one...")
    for packet in (last, first):
        lab.send(packet)
        lab.expect(ipv4(src=NEAR, id=0x55, frag=packet.frag, flags=packet.flags), port=1)


# --- redirects ------------------------------------------------------------------------------------

BETTER, BETTER_MAC = "192.0.2.7", "02:00:5e:00:53:07"


def _around(lab: Tester) -> None:
    """A route by another router, on the wire that the tester's packets come by."""
    lab.own(BETTER, BETTER_MAC)
    ready(lab)
    lab.host.add_route("198.51.100.0/24", BETTER, 0)
    lab.learn(BETTER)


@routed(
    "FWD-5.1",
    "A host that had better use another router is told so",
    section="5.2.7.2",
    mutant=altering(ICMP, "names itself", gw="192.0.2.2"),
)
def redirect(lab: Tester) -> None:
    """Both routers are its neighbours.

    1. The router's route to 198.51.100.0/24 is by 192.0.2.7.
    2. The tester, 192.0.2.1, sends a datagram for there to the router.
    3. A redirect for the host (code 1) comes back that names 192.0.2.7.
    """
    _around(lab)
    lab.send(to_host(outward(dst=ELSEWHERE)))
    lab.expect(
        ipv4(src=lab.host4, dst=NEAR) / icmp(type=5, code=1, gw=BETTER) / quoting(NEAR, ELSEWHERE)
    )


@routed(
    "FWD-5.2",
    "What leads to a redirect is forwarded all the same",
    rfc="RFC 792",
    section="Redirect Message",
    mutant=STANDS_STILL,
)
def redirected_is_forwarded(lab: Tester) -> None:
    """The redirect is advice for the next packet.

    1. The router's route to 198.51.100.0/24 is by 192.0.2.7, on the wire that the packet comes by.
    2. The tester's datagram for there goes to 192.0.2.7, with one hop less.
    """
    _around(lab)
    lab.send(to_host(outward(dst=ELSEWHERE, ttl=20)))
    lab.expect(ether(dst=BETTER_MAC) / ipv4(src=NEAR, dst=ELSEWHERE, ttl=19))


@routed(
    "FWD-5.3",
    "A source that is no neighbour of the better router gets no redirect",
    section="5.2.7.2",
    mutant=Mutant(
        "tells everybody",
        answer=lambda frame: (
            Ether(src=HOST_MACS[0], dst=TESTER_MACS[0])
            / IP(src="192.0.2.2", dst=frame[IP].src)
            / ICMP(type=5, code=1, gw=BETTER)
            / bytes(frame[IP])[:28]
            if frame.haslayer(UDP)
            else None
        ),
    ),
)
def no_redirect(lab: Tester) -> None:
    """It could not follow it.

    1. The router's route to 198.51.100.0/24 is by 192.0.2.7, that to 198.18.0.0/15 by the tester.
    2. A datagram from 198.18.0.1 comes to the router, for 198.51.100.1.
    3. It is forwarded, and no redirect comes.
    """
    _around(lab)
    lab.host.add_route("198.18.0.0/15", NEAR, 0)
    lab.send(to_host(outward(src="198.18.0.1", dst=ELSEWHERE)))
    lab.expect(ether(dst=BETTER_MAC) / carries(), but_not=icmp(type=5))
    lab.expect_nothing(icmp(type=5), 300)
