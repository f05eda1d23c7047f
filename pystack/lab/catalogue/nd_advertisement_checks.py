"""Neighbor Discovery, of group 3: advertisements that are dropped, or are not (RFC 4861 7.1.2)."""

from __future__ import annotations

from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6NDOptDstLLAddr,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._mutants import computed, hiding, mending
from pystack.lab.catalogue._nd import (
    ALL_NODES,
    EMPTY_OPTION,
    NEW_MAC,
    UNKNOWN_OPTION,
    advertisement,
    reachable,
    shortened,
)
from pystack.lab.catalogue.nd_advertisement import is_in
from pystack.lab.mutant import Mutant
from pystack.lab.tester import Tester

case = group("ND-3", rfc="RFC 4861", section="7.1.2")


@case(
    "ND-3.12",
    "An advertisement to a group that has S set is dropped",
    aliases=("v6lc:2.1.15",),
    mutant=Mutant(
        "does not look at where it was sent",
        incoming=lambda frame: (
            computed(frame)
            if not frame.haslayer(ICMPv6ND_NA) or frame[ICMPv6ND_NA].S == 0
            else _to_host(frame)
        ),
    ),
)
def solicited_to_all(lab: Tester) -> None:
    """An answer is sent to the solicitor.

    1. The tester is reachable.
    2. An advertisement to ff02::1 gives another hardware address, with S and O set.
    3. The entry is what it was.
    """
    wrong_is_ignored(lab, advertisement(lab, mac=NEW_MAC, destination=ALL_NODES, S=1, O=1))


def _to_host(frame: Packet) -> Packet:
    frame[IPv6].dst = "2001:db8:1::2"
    return computed(frame)


def wrong_is_ignored(lab: Tester, *wrong: Packet | bytes) -> None:
    """A wrong advertisement changes nothing about the tester, which is reachable."""
    reachable(lab)
    for one in wrong:
        lab.send(one)
    is_in(lab, lab.tester6, lab.tester_mac, "reachable")
    lab.send(advertisement(lab, mac=NEW_MAC, S=1, O=1))
    is_in(lab, lab.tester6, NEW_MAC, "reachable")


@case(
    "ND-3.13",
    "An advertisement that has come through a router is dropped",
    aliases=("v6lc:2.1.15",),
    mutant=mending(IPv6, "does not look at the hop limit", hlim=255),
)
def wrong_hop_limit(lab: Tester) -> None:
    """A hop limit of 255 proves that it comes from a neighbour.

    1. The tester is reachable.
    2. An advertisement with the hop limit 254 gives another hardware address: nothing changes.
    3. One that is right is taken.
    """
    wrong_is_ignored(lab, advertisement(lab, mac=NEW_MAC, S=1, O=1, hlim=254))


@case(
    "ND-3.14",
    "An advertisement with a wrong checksum is dropped",
    aliases=("v6lc:2.1.15",),
    mutant=mending(ICMPv6ND_NA, "does not look at the checksum"),
)
def wrong_checksum(lab: Tester) -> None:
    """As any ICMPv6 message.

    1. The tester is reachable.
    2. An advertisement whose checksum is off by one gives another hardware address: nothing
       changes.
    3. One that is right is taken.
    """
    wrong = computed(advertisement(lab, mac=NEW_MAC, S=1, O=1))
    wrong[ICMPv6ND_NA].cksum ^= 1
    wrong_is_ignored(lab, wrong)


@case(
    "ND-3.15",
    "An advertisement with a code is dropped",
    aliases=("v6lc:2.1.15",),
    mutant=mending(ICMPv6ND_NA, "does not look at the code", code=0),
)
def wrong_code(lab: Tester) -> None:
    """There is no code but 0.

    1. The tester is reachable.
    2. An advertisement with the code 1 gives another hardware address: nothing changes.
    3. One that is right is taken.
    """
    wrong_is_ignored(lab, advertisement(lab, mac=NEW_MAC, S=1, O=1, code=1))


def _takes_the_good_part(frame: Packet) -> Packet:
    option = frame.getlayer(ICMPv6NDOptDstLLAddr)
    if option is not None and frame.haslayer(ICMPv6ND_NA):
        option.remove_payload()
        return computed(frame)
    return frame


@case(
    "ND-3.16",
    "An advertisement with an option of length zero is dropped",
    section="4.6",
    aliases=("v6lc:2.1.15",),
    mutant=Mutant("takes what stands before it", incoming=_takes_the_good_part),
)
def empty_option(lab: Tester) -> None:
    """Where the next option begins can't be told.

    1. The tester is reachable.
    2. An advertisement gives another hardware address, and has an option of length 0 after it:
       nothing changes.
    3. One that is right is taken.
    """
    own = ICMPv6NDOptDstLLAddr(lladdr=NEW_MAC)
    wrong_is_ignored(lab, advertisement(lab, mac=NEW_MAC, S=1, O=1, options=(own, EMPTY_OPTION)))


@case(
    "ND-3.17",
    "An advertisement that is cut short is dropped",
    aliases=("v6lc:2.1.15",),
    mutant=Mutant(
        "makes up what is missing",
        incoming=lambda frame: (
            computed(
                Ether(src=NEW_MAC, dst=frame.dst)
                / IPv6(src="2001:db8:1::1", dst="2001:db8:1::2", hlim=255)
                / ICMPv6ND_NA(tgt="2001:db8:1::1", S=1, O=1)
                / ICMPv6NDOptDstLLAddr(lladdr=NEW_MAC)
            )
            if frame.src == NEW_MAC
            else frame
        ),
    ),
)
def too_short(lab: Tester) -> None:
    """Its twenty-four octets end with the target.

    1. The tester is reachable.
    2. An advertisement comes that ends after twenty octets, with a right checksum: nothing changes.
    3. One that is right is taken.
    """
    wrong_is_ignored(lab, shortened(advertisement(lab, mac=NEW_MAC, S=1, O=1), 20))


@case(
    "ND-3.18",
    "An advertisement's option that is not known is passed over",
    mutant=hiding(
        lambda frame: bytes(UNKNOWN_OPTION) in bytes(frame), "drops what has unknown options"
    ),
)
def unknown_option(lab: Tester) -> None:
    """Later versions will have others.

    1. The tester is reachable.
    2. An answer gives another hardware address after an option of type 200.
    3. The entry has it.
    """
    reachable(lab)
    own = ICMPv6NDOptDstLLAddr(lladdr=NEW_MAC)
    lab.send(advertisement(lab, mac=NEW_MAC, S=1, O=1, options=(UNKNOWN_OPTION, own)))
    is_in(lab, lab.tester6, NEW_MAC, "reachable")


@case(
    "ND-3.20",
    "An advertisement that came in fragments is dropped",
    rfc="RFC 6980",
    section="5",
    aliases=("v6lc:2.1.23",),
    mutant=Mutant(
        "puts the fragments together",
        incoming=lambda frame: (
            computed(
                Ether(src=NEW_MAC, dst=frame.dst)
                / IPv6(src="2001:db8:1::1", dst="2001:db8:1::2", hlim=255)
                / ICMPv6ND_NA(tgt="2001:db8:1::1", S=1, O=1)
                / ICMPv6NDOptDstLLAddr(lladdr=NEW_MAC)
            )
            if frame.haslayer(IPv6ExtHdrFragment)
            else frame
        ),
    ),
)
def fragmented(lab: Tester) -> None:
    """What guards a link looks at whole messages; a fragmented one would get past it.

    1. The tester is reachable.
    2. An advertisement in two fragments gives another hardware address: nothing changes.
    3. A whole one is taken.
    """
    message = bytes(computed(advertisement(lab, mac=NEW_MAC, S=1, O=1))[ICMPv6ND_NA])
    wrong_is_ignored(
        lab,
        *(
            Ether(src=NEW_MAC, dst=lab.host_mac)
            / IPv6(src=lab.tester6, dst=lab.host6, hlim=255)
            / IPv6ExtHdrFragment(nh=58, offset=offset // 8, m=int(offset == 0), id=78)
            / Raw(part)
            for offset, part in ((0, message[:24]), (24, message[24:]))
        ),
    )
