"""Neighbor Discovery, of group 2: solicitations that are dropped, or are not (RFC 4861 7.1.1)."""

from __future__ import annotations

from scapy.layers.inet6 import (
    ICMPv6ND_NS,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.packet import Packet, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._mutants import computed, hiding, mending
from pystack.lab.catalogue._nd import (
    ALL_NODES,
    EMPTY_OPTION,
    UNKNOWN_OPTION,
    ignores,
    shortened,
    solicitation,
    still_answers,
)
from pystack.lab.catalogue.nd_solicitation import ANSWERS_ALL, ANSWERS_UNICAST_TOO, answered
from pystack.lab.mutant import Mutant
from pystack.lab.packets import (
    neighbour_advertisement,
)
from pystack.lab.tester import Tester, solicited_node

case = group("ND-2", rfc="RFC 4861", section="7.1.1")


@case(
    "ND-2.12",
    "A solicitation that has come through a router is dropped",
    aliases=("v6lc:2.1.7",),
    mutant=mending(IPv6, "does not look at the hop limit", hlim=255),
)
def wrong_hop_limit(lab: Tester) -> None:
    """A hop limit of 255 proves that it comes from a neighbour.

    1. The tester solicits the Host's address with the hop limit 254.
    2. No advertisement comes; one that is right is answered.
    """
    ignores(lab, solicitation(lab, hlim=254))


@case(
    "ND-2.13",
    "A solicitation with a wrong checksum is dropped",
    aliases=("v6lc:2.1.7",),
    mutant=mending(ICMPv6ND_NS, "does not look at the checksum"),
)
def wrong_checksum(lab: Tester) -> None:
    """As any ICMPv6 message.

    1. The tester solicits the Host's address with a checksum that is off by one.
    2. No advertisement comes; one that is right is answered.
    """
    wrong = computed(solicitation(lab))
    wrong[ICMPv6ND_NS].cksum ^= 1
    ignores(lab, wrong)


@case(
    "ND-2.14",
    "A solicitation with a code is dropped",
    aliases=("v6lc:2.1.7",),
    mutant=mending(ICMPv6ND_NS, "does not look at the code", code=0),
)
def wrong_code(lab: Tester) -> None:
    """There is no code but 0.

    1. The tester solicits the Host's address with the code 1.
    2. No advertisement comes; one that is right is answered.
    """
    ignores(lab, solicitation(lab, code=1))


@case(
    "ND-2.15",
    "A solicitation that is cut short is dropped",
    aliases=("v6lc:2.1.7",),
    mutant=ANSWERS_ALL,
)
def too_short(lab: Tester) -> None:
    """The target is in the last sixteen of its twenty-four octets.

    1. The tester sends the first sixteen octets of a solicitation, with a right checksum.
    2. No advertisement comes; one that is right is answered.
    """
    ignores(lab, shortened(solicitation(lab), 16))


@case(
    "ND-2.16",
    "A solicitation for a group is dropped",
    aliases=("v6lc:2.1.7",),
    mutant=ANSWERS_ALL,
)
def multicast_target(lab: Tester) -> None:
    """A group has no hardware address that anybody could tell.

    1. The tester solicits ff02::1 at the Host's solicited-node group.
    2. No advertisement comes; one that is right is answered.
    """
    ignores(lab, solicitation(lab, ALL_NODES, destination=solicited_node(lab.host6)))


def _drop_last(frame: Packet) -> Packet:
    """A frame without the options of the solicitation in it."""
    if frame.haslayer(ICMPv6ND_NS):
        frame[ICMPv6ND_NS].remove_payload()
        return computed(frame)
    return frame


@case(
    "ND-2.17",
    "A solicitation with an option of length zero is dropped",
    section="4.6",
    aliases=("v6lc:2.1.7",),
    mutant=ANSWERS_UNICAST_TOO,
)
def empty_option(lab: Tester) -> None:
    """Where the next option begins can't be told.

    1. The tester solicits the Host's address, with its own as an option, and another whose
       length is 0.
    2. No advertisement comes; one that is right is answered.
    """
    own = ICMPv6NDOptSrcLLAddr(lladdr=lab.tester_mac)
    ignores(lab, solicitation(lab, options=(own, EMPTY_OPTION)))


@case(
    "ND-2.18",
    "A solicitation from nowhere to the Host's own address is dropped",
    aliases=("v6lc:2.1.7",),
    mutant=ANSWERS_UNICAST_TOO,
)
def unspecified_to_unicast(lab: Tester) -> None:
    """Duplicate address detection asks the solicited-node group.

    1. The tester solicits the Host's address from ::, at that address.
    2. No advertisement comes; one that is right is answered.
    """
    ignores(lab, solicitation(lab, source="::", destination=lab.host6, options=()))


@case(
    "ND-2.19",
    "A solicitation from nowhere that has a hardware address in it is dropped",
    aliases=("v6lc:2.1.7",),
    mutant=Mutant(
        "does not look at the option",
        incoming=lambda frame: (
            _drop_last(frame) if frame.haslayer(ICMPv6ND_NS) and frame[IPv6].src == "::" else frame
        ),
    ),
)
def unspecified_with_option(lab: Tester) -> None:
    """It would be the hardware address of no address.

    1. The tester solicits the Host's address from ::, with a source link-layer address option.
    2. No advertisement comes; one that is right is answered.
    """
    ignores(lab, solicitation(lab, source="::"))


@case(
    "ND-2.20",
    "A solicitation's option that is not known is passed over",
    mutant=hiding(
        lambda frame: bytes(UNKNOWN_OPTION) in bytes(frame), "drops what has unknown options"
    ),
)
def unknown_option(lab: Tester) -> None:
    """Later versions will have others.

    1. The tester solicits the Host's address, with an option of type 200 before its own.
    2. The Host answers.
    """
    own = ICMPv6NDOptSrcLLAddr(lladdr=lab.tester_mac)
    lab.send(solicitation(lab, options=(UNKNOWN_OPTION, own)))
    lab.expect(answered(lab, S=1))


@case(
    "ND-2.21",
    "The field that is reserved does not matter",
    section="4.3",
    mutant=hiding(
        lambda frame: bool(frame.haslayer(ICMPv6ND_NS)) and frame[ICMPv6ND_NS].res != 0,
        "wants it to be zero",
    ),
)
def reserved(lab: Tester) -> None:
    """Its receiver ignores it.

    1. The tester solicits the Host's address with all bits of the reserved field set.
    2. The Host answers.
    """
    lab.send(solicitation(lab, res=0xFFFFFFFF))
    lab.expect(answered(lab, S=1))


@case(
    "ND-2.28",
    "A solicitation that came in fragments is dropped",
    rfc="RFC 6980",
    section="5",
    aliases=("v6lc:2.1.22",),
    mutant=ANSWERS_ALL,
)
def fragmented(lab: Tester) -> None:
    """What guards a link looks at whole messages; a fragmented one would get past it.

    1. The tester sends a solicitation in two fragments.
    2. No advertisement comes; a whole one is answered.
    """
    whole = computed(solicitation(lab, options=(
        ICMPv6NDOptSrcLLAddr(lladdr=lab.tester_mac), UNKNOWN_OPTION)))  # fmt: skip
    message = bytes(whole[ICMPv6ND_NS])
    for offset, part in ((0, message[:24]), (24, message[24:])):
        lab.send(
            IPv6(src=lab.tester6, dst=whole[IPv6].dst, hlim=255)
            / IPv6ExtHdrFragment(nh=58, offset=offset // 8, m=int(offset == 0), id=77)
            / Raw(part)
        )
    lab.expect_nothing(neighbour_advertisement(), 300)
    still_answers(lab)
