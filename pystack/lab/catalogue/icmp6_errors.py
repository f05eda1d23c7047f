"""ICMPv6, group 3: what errors are about, and what none may be about (RFC 4443 2.4)."""

from __future__ import annotations

from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6ND_Redirect,
    ICMPv6ParamProblem,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._ip6 import (
    ALL_NODES,
    DESTINATION,
    UDP_CLOSED,
    answering_with,
    options,
    packed,
    quoted,
    quotes,
    unanswered,
)
from pystack.lab.catalogue._mutants import altering, computed
from pystack.lab.catalogue.ip6 import UNASSIGNED
from pystack.lab.catalogue.ip6_options import REPORT
from pystack.lab.mutant import Mutant
from pystack.lab.packets import destination_unreachable6, ipv6
from pystack.lab.tester import BROADCAST, Tester
from pystack.lab.verdict import Level, Unable

case = group("ICMPV6-3", rfc="RFC 4443")


ANSWERS_UDP = answering_with(
    lambda sent: ICMPv6DestUnreach(code=4) / Raw(sent), "answers every datagram with an error"
)
REPORTS_OPTIONS = answering_with(
    lambda sent: ICMPv6ParamProblem(code=2, ptr=42) / Raw(sent),
    "reports unknown options in any packet",
    next_header=DESTINATION,
)


def _datagram(lab: Tester, data: bytes = b"anybody?", **fields: str) -> Packet:
    """A datagram to a closed port."""
    return lab.ip6(**fields) / UDP(sport=4000, dport=UDP_CLOSED) / Raw(data)


def _cut(size: int) -> Mutant:
    def change(frame: Packet) -> Packet:
        if not frame.haslayer(ICMPv6DestUnreach):
            return frame
        inner = bytes(frame)[62:][:size]
        frame[ICMPv6DestUnreach].remove_payload()
        return computed(frame / Raw(inner))

    return Mutant(f"quotes {size} octets", outgoing=change)


@case(
    "ICMPV6-3.1",
    "An error quotes as much of a large packet as fits into 1280 octets",
    section="2.4 (c)",
    mutant=_cut(500),
)
def quotes_much(lab: Tester) -> None:
    """Have the Host report a packet that does not fit into the error.

    1. The tester sends 1400 bytes to a closed port.
    2. The Host's error has 1280 octets, and quotes the packet from its first one.
    """
    sent = _datagram(lab, bytes(range(250)) * 5 + bytes(150))
    lab.send(sent)
    found = lab.expect(destination_unreachable6(code=4))
    lab.check(found[IPv6].plen == 1240, "an error of 1280 octets", found[IPv6].plen + 40)
    lab.check(bytes(sent).startswith(quoted(found)), "the packet in it", found.summary())


@case(
    "ICMPV6-3.2",
    "An error quotes all of a small packet, and nothing else",
    section="2.4 (c)",
    mutant=_cut(56),
)
def quotes_all(lab: Tester) -> None:
    """Have the Host report a packet that fits into the error.

    1. The tester sends 100 bytes to a closed port.
    2. The Host's error quotes the whole packet, octet by octet.
    """
    sent = _datagram(lab, bytes(range(100)))
    lab.send(sent)
    found = lab.expect(destination_unreachable6(code=4))
    lab.check(quoted(found) == bytes(sent), f"all {len(bytes(sent))} octets", quoted(found).hex())


@case(
    "ICMPV6-3.3",
    "An error message leads to no error",
    section="2.4 (e.1)",
    mutant=REPORTS_OPTIONS,
)
def none_about_errors(lab: Tester) -> None:
    """Or two hosts would answer each other for ever.

    1. The tester sends a destination unreachable behind an unknown option that wants a report.
    2. No error comes.
    """
    about = bytes(IPv6(src=lab.host6, dst=lab.tester6) / UDP(sport=1, dport=2))
    upper = bytes(lab.ip6() / ICMPv6DestUnreach(code=4) / Raw(about))[40:]
    unanswered(lab, packed(lab, options(REPORT), upper=upper))


@case(
    "ICMPV6-3.4",
    "A redirect leads to no error",
    section="2.4 (e.2)",
    mutant=REPORTS_OPTIONS,
)
def none_about_redirects(lab: Tester) -> None:
    """A redirect counts as an error here.

    1. The tester sends a redirect behind an unknown option that wants a report.
    2. No error comes.
    """
    message = ICMPv6ND_Redirect(tgt="2001:db8:9::1", dst="2001:db8:9::1")
    upper = bytes(lab.ip6(src=lab.tester_ll, hlim=255) / message)[40:]
    sent = packed(lab, options(REPORT), upper=upper, src=lab.tester_ll, hlim=255)
    unanswered(lab, sent)


@case(
    "ICMPV6-3.5",
    "A packet to a group leads to no port unreachable",
    section="2.4 (e.3)",
    mutant=ANSWERS_UDP,
)
def none_about_multicast(lab: Tester) -> None:
    """All members of a group would answer at once.

    1. The tester sends ff02::1 a datagram to a closed port.
    2. No error comes.
    """
    unanswered(lab, _datagram(lab, dst=ALL_NODES))


@case(
    "ICMPV6-3.6",
    "A packet to a group with an unknown next header is not reported",
    section="2.4 (e.3)",
    mutant=answering_with(
        lambda sent: ICMPv6ParamProblem(code=1, ptr=6) / Raw(sent),
        "reports unknown headers in any packet",
        next_header=UNASSIGNED,
    ),
)
def no_header_of_multicast(lab: Tester) -> None:
    """Only unknown options are an exception.

    1. The tester sends ff02::1 a packet whose next header is 200.
    2. No error comes.
    """
    unanswered(lab, packed(lab, nh=UNASSIGNED, dst=ALL_NODES))


@case(
    "ICMPV6-3.7",
    "A packet in a multicast frame leads to no error",
    section="2.4 (e.4)",
    mutant=ANSWERS_UDP,
)
def none_about_multicast_frames(lab: Tester) -> None:
    """The frame's address counts, even where the packet's is the Host's own.

    1. The tester sends a datagram to a closed port at the Host's address, in a frame to
       33:33:00:00:00:01.
    2. No error comes.
    """
    frame = Ether(src=lab.tester_mac, dst="33:33:00:00:00:01", type=0x86DD)
    unanswered(lab, frame / _datagram(lab))


@case(
    "ICMPV6-3.8",
    "A packet in a broadcast frame leads to no error",
    section="2.4 (e.5)",
    mutant=ANSWERS_UDP,
)
def none_about_broadcast_frames(lab: Tester) -> None:
    """As for multicast.

    1. The tester sends a datagram to a closed port at the Host's address, in a broadcast
       frame.
    2. No error comes.
    """
    frame = Ether(src=lab.tester_mac, dst=BROADCAST, type=0x86DD)
    unanswered(lab, frame / _datagram(lab))


@case(
    "ICMPV6-3.9",
    "A packet from the unspecified address leads to no error",
    section="2.4 (e.6)",
    mutant=ANSWERS_UDP,
)
def none_to_unspecified(lab: Tester) -> None:
    """Nobody could receive it.

    1. The tester sends a datagram from :: to a closed port.
    2. No error comes.
    """
    unanswered(lab, _datagram(lab, src="::"))


@case(
    "ICMPV6-3.10",
    "A packet from a multicast address leads to no error",
    section="2.4 (e.6)",
    mutant=ANSWERS_UDP,
)
def none_to_groups(lab: Tester) -> None:
    """An error goes to one node.

    1. The tester sends a datagram from ff02::1 to a closed port.
    2. No error comes.
    """
    unanswered(lab, _datagram(lab, src=ALL_NODES))


@case(
    "ICMPV6-3.11",
    "An error about a packet has the address that the packet was for as its source",
    section="2.2 (a)",
    mutant=altering(IPv6, "reports from its first address", src="2001:db8:1::2"),
)
def source_of_error(lab: Tester) -> None:
    """Send to an address that is not the Host's first one.

    1. The Host gets 2001:db8:1::22 as a second address.
    2. The tester sends a datagram to a closed port of it; the error comes from it.
    3. The same for the Host's link-local address, from a global one.
    """
    lab.host.add_address("2001:db8:1::22/64")
    lab.drain(2500 if lab.host.virtual else 200)
    for asked in ("2001:db8:1::22", lab.host_ll):
        sent = _datagram(lab, dst=asked)
        lab.send(sent)
        lab.expect(ipv6(src=asked, dst=lab.tester6) / destination_unreachable6() / quotes(sent))


@case(
    "ICMPV6-3.12",
    "The rate of errors is limited",
    section="2.4 (f)",
    mutant=ANSWERS_UDP,
)
def rate(lab: Tester) -> None:
    """Give reason for many errors at once.

    1. The tester sends 150 datagrams to a closed port, one right after the other.
    2. At least one error comes, but not 150.
    """
    lab.resolve(6)
    for name, value in (("net.ipv6.icmp.ratelimit", 1000), ("net.ipv6.icmp.ratemask", 1)):
        try:
            lab.host.sysctl(name, value)
        except (Unable, OSError):  # one that has its limit without such tunables
            continue
    frame = bytes(lab.frame_for(_datagram(lab)))
    for _ in range(150):
        lab.send(frame)
    found = lab.collect(destination_unreachable6(), 300)
    lab.check(1 <= len(found) < 150, "fewer than 150 errors, but some", len(found))


@case(
    "ICMPV6-3.13",
    "The unused field of a destination unreachable is zero",
    section="3.1",
    mutant=Mutant(
        "leaves something in the unused field",
        outgoing=lambda frame: (
            bytes(frame)[:58] + b"\0\0\x05\0" + bytes(frame)[62:]
            if frame.haslayer(ICMPv6DestUnreach)
            else frame
        ),
    ),
)
def unused_is_zero(lab: Tester) -> None:
    """Look at what nobody looks at.

    1. The tester sends a datagram to a closed port.
    2. The four octets behind the error's checksum are zero.
    """
    lab.send(_datagram(lab))
    found = bytes(lab.expect(destination_unreachable6(code=4)))
    lab.check(found[58:62] == bytes(4), "four octets of zero", found[58:62].hex())


@case(
    "ICMPV6-3.14",
    "To a link-local address port unreachable comes from there",
    section="3.1",
    level=Level.SHOULD,
    aliases=("v6lc:5.1.3",),
    mutant=altering(ICMPv6DestUnreach, "says that there is no route", code=0),
)
def port_unreachable(lab: Tester) -> None:
    """Send to a closed port, at the link-local address.

    1. The tester sends a datagram to a closed port, from its link-local address to the
       Host's.
    2. The Host answers from its link-local address with a destination unreachable, code 4.
    """
    sent = _datagram(lab, src=lab.tester_ll, dst=lab.host_ll)
    lab.send(sent)
    lab.expect(
        ipv6(src=lab.host_ll, dst=lab.tester_ll) / destination_unreachable6(code=4) / quotes(sent)
    )
