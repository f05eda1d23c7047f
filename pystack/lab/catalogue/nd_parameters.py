"""Neighbor Discovery, group 6: what else routers advertise: prefixes, MTU, hop limit (6.3.4)."""

from __future__ import annotations

import socket

from scapy.layers.inet6 import (
    ICMPv6ND_RA,
    ICMPv6NDOptMTU,
    ICMPv6NDOptPrefixInfo,
    IPv6,
)
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._mutants import altering, computed, hiding, mending
from pystack.lab.catalogue._nd import (
    ELSEWHERE,
    FAR,
    ON_LINK,
    asks_for,
    configured,
    formed,
    goes_to,
    has_address,
    listening,
    mtu,
    prefix,
    router_advertisement_of,
    seen_prefixes,
)
from pystack.lab.mutant import Mutant
from pystack.lab.packets import ipv6, udp
from pystack.lab.plan import Topology
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("ND-6", rfc="RFC 4861", section="6.3.4")

BARE = Topology.BARE
NEIGHBOUR = "2001:db8:2::77"  # in another prefix


def _without(kind: type[Packet], words: str) -> Mutant:
    """A Host that does not see the option at an advertisement's end."""

    def change(frame: Packet) -> Packet:
        option = frame.lastlayer()
        if not isinstance(option, kind):
            return frame
        before = option.underlayer
        if before is not None:
            before.remove_payload()
        return computed(frame)

    return Mutant(words, incoming=change)


def asked_for(lab: Tester, target: str) -> None:
    """What the Host sends to this address is sent on the link."""
    lab.drain()
    lab.host.ping(target)
    lab.expect(asks_for(target), 1500, but_not=ipv6(dst=target))


@case(
    "ND-6.1",
    "A host with an address of an on-link prefix is a neighbour",
    aliases=("v6lc:2.1.1",),
    mutant=seen_prefixes("does not look at the flag L", L=0),
    topology=BARE,
)
def on_link(lab: Tester) -> None:
    """The flag L says so.

    1. The tester advertises 2001:db8:1::/64 with L and A set.
    2. The Host pings 2001:db8:1::77, and asks for it.
    """
    configured(lab)
    asked_for(lab, ON_LINK)


@case(
    "ND-6.2",
    "A host with an address of a prefix without the flag L is reached by the router",
    aliases=("v6lc:2.1.3",),
    mutant=seen_prefixes("takes every prefix to be on the link", L=1),
    topology=BARE,
)
def not_on_link(lab: Tester) -> None:
    """Without it the prefix says nothing, even about addresses that the Host forms of it.

    1. The tester advertises 2001:db8:1::/64 with A set and L clear.
    2. The Host pings 2001:db8:1::77: it is sent to the router.
    """
    configured(lab, prefix(L=0))
    goes_to(lab, lab.tester_mac, ON_LINK)


@case(
    "ND-6.3",
    "A prefix of another length than 64 can be on the link",
    section="4.6.2",
    mutant=seen_prefixes("takes all prefixes to have 64 bits", prefixlen=64),
    topology=BARE,
)
def other_length(lab: Tester) -> None:
    """Lengths are 0 to 128. That addresses are formed of 64 bits only is another matter.

    1. The tester advertises 2001:db8:1::/64 for addresses, and 2001:db8:2::/47 and
       2001:db8:5:0:8000::/65 as on the link.
    2. The Host asks for 2001:db8:3::77, and for 2001:db8:5::8000:0:0:77; 2001:db8:5::77 is sent
       to the router.
    """
    configured(
        lab,
        prefix(),
        prefix(ELSEWHERE, prefixlen=47, A=0),
        prefix("2001:db8:5:0:8000::", prefixlen=65, A=0),
    )
    asked_for(lab, "2001:db8:3::77")
    asked_for(lab, "2001:db8:5:0:8000::77")
    goes_to(lab, lab.tester_mac, "2001:db8:5::77")


@case(
    "ND-6.4",
    "A prefix whose lifetime is over is not on the link any more",
    section="6.3.5",
    aliases=("v6lc:2.1.4",),
    mutant=seen_prefixes("does not look at the lifetime", validlifetime=3600),
    topology=BARE,
)
def lifetime_ends(lab: Tester) -> None:
    """The valid lifetime is in seconds.

    1. The tester advertises 2001:db8:2::/64 as on the link for 3 seconds.
    2. Five seconds later the Host sends to 2001:db8:2::77 by the router.
    """
    configured(lab, prefix(), prefix(ELSEWHERE, 3, 3, A=0))
    lab.drain(5000)
    goes_to(lab, lab.tester_mac, NEIGHBOUR)


@case(
    "ND-6.5",
    "A prefix that is advertised with a lifetime of zero is not on the link any more",
    mutant=seen_prefixes("does not look at the lifetime", validlifetime=3600),
    topology=BARE,
)
def withdrawn(lab: Tester) -> None:
    """So a router takes it back.

    1. The tester advertises 2001:db8:2::/64 as on the link, then with a lifetime of 0.
    2. The Host sends to 2001:db8:2::77 by the router.
    """
    configured(lab, prefix(), prefix(ELSEWHERE, A=0))
    lab.send(router_advertisement_of(lab, options=(prefix(ELSEWHERE, 0, 0, A=0),)))
    lab.run(1100)
    goes_to(lab, lab.tester_mac, NEIGHBOUR)


@case(
    "ND-6.6",
    "A prefix that an advertisement leaves out stays on the link",
    mutant=Mutant(
        "forgets what is not said again",
        incoming=lambda frame: (
            computed(frame / prefix(ELSEWHERE, 0, 0, A=0))
            if frame.haslayer(ICMPv6ND_RA) and not frame.haslayer(ICMPv6NDOptPrefixInfo)
            else frame
        ),
    ),
    topology=BARE,
)
def left_out(lab: Tester) -> None:
    """An advertisement may be a part of what there is to say.

    1. The tester advertises 2001:db8:2::/64 as on the link, then sends an advertisement without
       prefixes.
    2. The Host pings 2001:db8:2::77, and asks for it.
    """
    configured(lab, prefix(), prefix(ELSEWHERE, A=0))
    lab.send(router_advertisement_of(lab))
    lab.run(1100)
    asked_for(lab, NEIGHBOUR)


@case(
    "ND-6.7",
    "A prefix is on the link for a Host that has no address of it, too",
    rfc="RFC 5942",
    section="3",
    mutant=_without(ICMPv6NDOptPrefixInfo, "sees one prefix only"),
    topology=BARE,
)
def without_address(lab: Tester) -> None:
    """What is on the link and what addresses there are have nothing to do with each other.

    1. The tester advertises 2001:db8:1::/64 for addresses, and 2001:db8:2::/64 as on the link
       (A clear).
    2. The Host pings 2001:db8:2::77, and asks for it.
    """
    configured(lab, prefix(), prefix(ELSEWHERE, A=0))
    asked_for(lab, NEIGHBOUR)


@case(
    "ND-6.8",
    "The hop limit that is advertised is that of the Host's packets",
    level=Level.SHOULD,
    mutant=mending(ICMPv6ND_RA, "takes it for unspecified", chlim=0),
    topology=BARE,
)
def hop_limit(lab: Tester) -> None:
    """If it is not zero.

    1. The tester advertises the hop limit 37.
    2. A program's datagram has the hop limit 37.
    3. It advertises 0, which says nothing. A datagram has the hop limit 37 still.
    """
    configured(lab, chlim=37)
    for _ in range(2):
        sock = lab.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.sendto(b"far", (FAR, 4000))
        found = lab.expect(ipv6(dst=FAR) / udp(dport=4000), 1500)
        lab.check(found[IPv6].hlim == 37, "hop limit 37", found[IPv6].hlim)
        lab.send(router_advertisement_of(lab, chlim=0))
        lab.run(200)


def _sends(lab: Tester, size: int) -> int:
    """The length of the longest IPv6 packet that a program's datagram becomes."""
    sock = lab.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.sendto(bytes(size), (FAR, 4000))
    found = lab.collect(ipv6(dst=FAR), 700)
    lab.need(bool(found), "the datagram is sent")
    return max(40 + int(one[IPv6].plen) for one in found)


@case(
    "ND-6.9",
    "An MTU that is advertised is kept to",
    level=Level.SHOULD,
    mutant=_without(ICMPv6NDOptMTU, "does not look at the option"),
    topology=BARE,
)
def link_mtu(lab: Tester) -> None:
    """From 1280 to the link's own.

    1. The tester advertises an MTU of 1300.
    2. A program's datagram of 1400 octets comes in fragments, none longer than 1300.
    """
    configured(lab, prefix(), mtu(1300))
    longest = _sends(lab, 1400)
    lab.check(longest <= 1300, "packets of at most 1300 octets", longest)


@case(
    "ND-6.10",
    "An MTU below 1280 is ignored",
    mutant=Mutant(
        "takes it for 1280",
        incoming=lambda frame: _at_least_1280(frame) if frame.haslayer(ICMPv6NDOptMTU) else frame,
    ),
    topology=BARE,
)
def small_mtu(lab: Tester) -> None:
    """IPv6 needs 1280.

    1. The tester advertises an MTU of 1279.
    2. A program's datagram of 1400 octets comes whole.
    """
    configured(lab, prefix(), mtu(1279))
    longest = _sends(lab, 1400)
    lab.check(longest == 1448, "one packet of 1448 octets", longest)


def _at_least_1280(frame: Packet) -> Packet:
    frame[ICMPv6NDOptMTU].mtu = max(1280, frame[ICMPv6NDOptMTU].mtu)
    return computed(frame)


@case(
    "ND-6.11",
    "An MTU above the link's own is ignored",
    mutant=altering(
        IPv6,
        "sends what is longer than the link takes",
        exact=True,
        plen=lambda length: 1960 if length > 1400 else length,
    ),
    topology=BARE,
)
def large_mtu(lab: Tester) -> None:
    """The link is not asked.

    1. The tester advertises an MTU of 9000.
    2. A program's datagram of 2000 octets comes in fragments, none longer than 1500.
    """
    configured(lab, prefix(), mtu(9000))
    longest = _sends(lab, 2000)
    lab.check(longest <= 1500, "packets of at most 1500 octets", longest)


@case(
    "ND-6.12",
    "An MTU that is advertised can rise again",
    level=Level.SHOULD,
    mutant=Mutant(
        "lowers it for ever",
        incoming=lambda frame: (
            None if frame.haslayer(ICMPv6NDOptMTU) and frame[ICMPv6NDOptMTU].mtu == 1500 else frame
        ),
    ),
    topology=BARE,
)
def mtu_rises(lab: Tester) -> None:
    """The latest advertisement counts.

    1. The tester advertises an MTU of 1300: a program's datagram of 1400 octets comes in fragments.
    2. It advertises 1500: another one comes whole.
    """
    configured(lab, prefix(), mtu(1300))
    longest = _sends(lab, 1400)
    lab.check(longest <= 1300, "at first packets of at most 1300 octets", longest)
    lab.send(router_advertisement_of(lab, options=(mtu(1500),)))
    lab.run(200)
    longest = _sends(lab, 1400)
    lab.check(longest == 1448, "one packet of 1448 octets", longest)


@case(
    "ND-6.13",
    "The link-local prefix is not advertised, and ignored if it is",
    level=Level.SHOULD,
    mutant=hiding(lambda frame: bool(frame.haslayer(ICMPv6ND_RA)), "drops such advertisements"),
    topology=BARE,
)
def link_local_prefix(lab: Tester) -> None:
    """Link-local addresses are on the link whatever anybody says.

    1. The tester advertises fe80::/64 with a lifetime of 0, and 2001:db8:1::/64.
    2. The Host has formed an address of the second, and has its link-local address still.
    """
    listening(lab)
    lab.send(router_advertisement_of(lab, options=(prefix("fe80::", 0, 0), prefix())))
    lab.check(has_address(lab, formed(lab)), formed(lab), lab.host.addresses())
    lab.check(has_address(lab, lab.host_ll, 500), lab.host_ll, lab.host.addresses())
    goes_to(lab, lab.tester_mac)
