"""IPv6, group 4: options of both kinds, known and unknown (RFC 8200 4.2)."""

from __future__ import annotations

from scapy.layers.inet6 import ICMPv6ParamProblem
from scapy.packet import Packet, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._ip6 import (
    ALL_NODES,
    DESTINATION,
    HOP_BY_HOP,
    answering_with,
    options,
    packed,
    quotes,
    seeing,
    unanswered,
)
from pystack.lab.catalogue._mutants import altering, hiding
from pystack.lab.mutant import Mutant
from pystack.lab.packets import echo_reply6, ipv6, parameter_problem6
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("IPV6-4", rfc="RFC 8200", section="4.2")


# The option for experiments (RFC 4727), with each of the four pairs of bits in front.
SKIP, DROP, REPORT, REPORT_UNICAST = (
    bytes((0x1E | bits,)) + b"\x04pyst" for bits in (0, 64, 128, 192)
)


def _has(option: bytes) -> Mutant:
    return hiding(lambda frame: option in bytes(frame), "drops it without a word")


def _skips(option: bytes) -> Mutant:
    return seeing(option, SKIP, "skips all unknown options")


def _reports(kind: int) -> Mutant:
    return answering_with(
        lambda sent: ICMPv6ParamProblem(code=2, ptr=42) / Raw(sent),
        "reports all unknown options",
        next_header=kind,
    )


def _processed(lab: Tester, sent: Packet) -> None:
    lab.send(sent)
    lab.expect(echo_reply6(seq=1), but_not=parameter_problem6())


def _reported(lab: Tester, sent: Packet, pointer: int) -> None:
    lab.send(sent)
    lab.expect(
        ipv6(dst=lab.tester6) / parameter_problem6(code=2, ptr=pointer) / quotes(sent),
        but_not=parameter_problem6() | echo_reply6(),
    )


# --- destination options -------------------------------------------------------------------------


@case(
    "IPV6-4.1",
    "Pad1 and PadN are taken among destination options",
    aliases=("v6lc:1.2.8",),
    mutant=hiding(lambda frame: bytes(6) in bytes(frame)[56:62], "drops what has Pad1"),
)
def padding(lab: Tester) -> None:
    """Fill a header with padding of both kinds.

    1. The tester sends an echo request behind six Pad1; the Host answers.
    2. The same behind one PadN of 6 octets, and behind a PadN of 2.
    """
    for content in (bytes(6), b"\x01\x04" + bytes(4), b"\x01\0" + SKIP[:1] + b"\x02py"):
        _processed(lab, packed(lab, options(content)))


@case(
    "IPV6-4.2",
    "An unknown destination option of type 00 is skipped",
    mutant=_has(SKIP),
)
def skipped(lab: Tester) -> None:
    """The two highest bits of an option's type say what a node does that doesn't know it.

    1. The tester sends an echo request behind an unknown option whose two highest bits are 00.
    2. The Host answers it.
    """
    _processed(lab, packed(lab, options(SKIP)))


@case(
    "IPV6-4.3",
    "An unknown destination option of type 01 drops the packet",
    mutant=_skips(DROP),
)
def dropped(lab: Tester) -> None:
    """The packet is dropped, and nobody told.

    1. The tester sends an echo request behind an unknown option whose two highest bits are 01.
    2. Neither a reply nor an error comes.
    """
    unanswered(lab, packed(lab, options(DROP)))


@case(
    "IPV6-4.4",
    "An unknown destination option of type 10 is reported",
    mutant=altering(ICMPv6ParamProblem, "points to the option's length", ptr=43),
)
def reported(lab: Tester) -> None:
    """The packet is dropped, and its sender told.

    1. The tester sends an echo request behind an unknown option whose two highest bits are 10.
    2. The Host answers with a parameter problem, code 2, pointer 42: the option's type.
    """
    _reported(lab, packed(lab, options(REPORT)), 42)


@case(
    "IPV6-4.5",
    "An unknown destination option of type 10 is reported to the sender of a multicast too",
    mutant=_has(REPORT),
)
def reported_multicast(lab: Tester) -> None:
    """An exception to the rule that no error is about a multicast.

    1. The tester sends ff02::1 an echo request behind an unknown option, two highest bits 10.
    2. The Host answers with a parameter problem, code 2, pointer 42.
    """
    _reported(lab, packed(lab, options(REPORT), dst=ALL_NODES), 42)


@case(
    "IPV6-4.6",
    "An unknown destination option of type 11 is reported",
    mutant=altering(ICMPv6ParamProblem, "says that it was a header's field", code=0),
)
def reported_unicast(lab: Tester) -> None:
    """As type 10, for a packet to one node.

    1. The tester sends an echo request behind an unknown option whose two highest bits are 11.
    2. The Host answers with a parameter problem, code 2, pointer 42.
    """
    _reported(lab, packed(lab, options(REPORT_UNICAST)), 42)


@case(
    "IPV6-4.7",
    "An unknown destination option of type 11 in a multicast is not reported",
    mutant=_reports(DESTINATION),
)
def not_reported_multicast(lab: Tester) -> None:
    """As type 01, for a packet to a group.

    1. The tester sends ff02::1 an echo request behind an unknown option, two highest bits 11.
    2. Neither a reply nor an error comes.
    """
    unanswered(lab, packed(lab, options(REPORT_UNICAST), dst=ALL_NODES))


@case(
    "IPV6-4.8",
    "The unknown option is pointed to wherever it stands",
    mutant=altering(ICMPv6ParamProblem, "points to the first option", ptr=42),
)
def pointer(lab: Tester) -> None:
    """Put the option behind others, and its header behind another.

    1. The tester sends Pad1, PadN of 3 octets and an option that is to be skipped, then the
       unknown one, type 10: the pointer is 54.
    2. The same behind a header of eight octets: the pointer is 62.
    """
    content = b"\0" + b"\x01\x03" + bytes(3) + SKIP + REPORT
    _reported(lab, packed(lab, options(content)), 54)
    _reported(lab, packed(lab, options(), options(content)), 62)


@case(
    "IPV6-4.9",
    "Options are processed in the order in which they stand",
    aliases=("v6lc:1.2.5",),
    mutant=_reports(DESTINATION),
)
def in_order(lab: Tester) -> None:
    """The first unknown option decides.

    1. The tester sends two unknown options, of the types 00, 10 and 01: the second one is
       reported, pointer 48.
    2. The tester sends three of the types 00, 01 and 10: nothing comes.
    """
    _reported(lab, packed(lab, options(SKIP, REPORT, DROP)), 48)
    unanswered(lab, packed(lab, options(SKIP, DROP, REPORT)))


@case(
    "IPV6-4.10",
    "An option that reaches beyond its header is not skipped",
    mutant=seeing(b"\x1e\x20pyst", SKIP, "does not look at an option's length"),
)
def beyond_the_header(lab: Tester) -> None:
    """Have an option claim more than its header has.

    1. The tester sends an echo request behind an option of type 00 whose length is 32, in a
       header of 8 octets.
    2. No reply comes; an error may.
    """
    for kind in (DESTINATION, HOP_BY_HOP):
        lab.send(packed(lab, options(b"\x1e\x20pyst", kind=kind)))
    lab.expect_nothing(echo_reply6(), 300)
    _processed(lab, packed(lab))


# --- hop-by-hop options --------------------------------------------------------------------------


@case(
    "IPV6-4.11",
    "Pad1 and PadN are taken among hop-by-hop options",
    mutant=hiding(lambda frame: bytes(6) in bytes(frame)[56:62], "drops what has Pad1"),
)
def hop_padding(lab: Tester) -> None:
    """Fill a header with padding of both kinds.

    1. The tester sends an echo request behind six Pad1; the Host answers.
    2. The same behind one PadN of 6 octets, and behind a PadN of 2.
    """
    for content in (bytes(6), b"\x01\x04" + bytes(4), b"\x01\0" + SKIP[:1] + b"\x02py"):
        _processed(lab, packed(lab, options(content, kind=HOP_BY_HOP)))


@case(
    "IPV6-4.12",
    "An unknown hop-by-hop option of type 00 is skipped",
    mutant=_has(SKIP),
)
def hop_skipped(lab: Tester) -> None:
    """As for destination options.

    1. The tester sends an echo request behind an unknown option whose two highest bits are 00.
    2. The Host answers it.
    """
    _processed(lab, packed(lab, options(SKIP, kind=HOP_BY_HOP)))


@case(
    "IPV6-4.13",
    "An unknown hop-by-hop option of type 01 drops the packet",
    mutant=_skips(DROP),
)
def hop_dropped(lab: Tester) -> None:
    """As for destination options.

    1. The tester sends an echo request behind an unknown option whose two highest bits are 01.
    2. Neither a reply nor an error comes.
    """
    unanswered(lab, packed(lab, options(DROP, kind=HOP_BY_HOP)))


@case(
    "IPV6-4.14",
    "An unknown hop-by-hop option of type 10 is reported",
    mutant=_has(REPORT),
)
def hop_reported(lab: Tester) -> None:
    """As for destination options.

    1. The tester sends an echo request behind an unknown option whose two highest bits are 10.
    2. The Host answers with a parameter problem, code 2, pointer 42: the option's type.
    """
    _reported(lab, packed(lab, options(REPORT, kind=HOP_BY_HOP)), 42)


@case(
    "IPV6-4.15",
    "An unknown hop-by-hop option of type 10 is reported to the sender of a multicast too",
    mutant=_has(REPORT),
)
def hop_reported_multicast(lab: Tester) -> None:
    """As for destination options.

    1. The tester sends ff02::1 an echo request behind an unknown option, two highest bits 10.
    2. The Host answers with a parameter problem, code 2, pointer 42.
    """
    _reported(lab, packed(lab, options(REPORT, kind=HOP_BY_HOP), dst=ALL_NODES), 42)


@case(
    "IPV6-4.16",
    "An unknown hop-by-hop option of type 11 is reported",
    mutant=_skips(REPORT_UNICAST),
)
def hop_reported_unicast(lab: Tester) -> None:
    """As for destination options.

    1. The tester sends an echo request behind an unknown option whose two highest bits are 11.
    2. The Host answers with a parameter problem, code 2, pointer 42.
    """
    _reported(lab, packed(lab, options(REPORT_UNICAST, kind=HOP_BY_HOP)), 42)


@case(
    "IPV6-4.17",
    "An unknown hop-by-hop option of type 11 in a multicast is not reported",
    mutant=_reports(HOP_BY_HOP),
)
def hop_not_reported_multicast(lab: Tester) -> None:
    """As for destination options.

    1. The tester sends ff02::1 an echo request behind an unknown option, two highest bits 11.
    2. Neither a reply nor an error comes.
    """
    unanswered(lab, packed(lab, options(REPORT_UNICAST, kind=HOP_BY_HOP), dst=ALL_NODES))


@case(
    "IPV6-4.18",
    "A router alert is no reason to drop a packet",
    rfc="RFC 2711",
    section="2.1",
    level=Level.SHOULD,
    mutant=hiding(lambda frame: b"\x05\x02\0\0" in bytes(frame), "drops router alerts"),
)
def router_alert(lab: Tester) -> None:
    """Send what routers are to look at, to the destination.

    1. The tester sends an echo request behind a router alert of value 0.
    2. The Host answers it.
    """
    _processed(lab, packed(lab, options(b"\x05\x02\0\0", kind=HOP_BY_HOP)))
