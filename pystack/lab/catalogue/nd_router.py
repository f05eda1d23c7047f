"""Neighbor Discovery, group 5: routers that advertise themselves (RFC 4861 6.1.2, 6.3)."""

from __future__ import annotations

from typing import Any

from scapy.layers.inet6 import (
    ICMPv6ND_RA,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._mutants import (
    answering,
    computed,
    dropping,
    hiding,
    mending,
)
from pystack.lab.catalogue._nd import (
    ALL_NODES,
    EMPTY_OPTION,
    FAR,
    R2,
    R2_MAC,
    UNKNOWN_OPTION,
    asks_for,
    configured,
    formed,
    goes_to,
    has_address,
    listening,
    prefix,
    router_advertisement_of,
    shortened,
)
from pystack.lab.mutant import Mutant
from pystack.lab.packets import (
    echo_request6,
    ether,
    ipv6,
)
from pystack.lab.plan import Topology
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("ND-5", rfc="RFC 4861", section="6.1.2")

RFC, RECEIVED = "RFC 4861", "6.3.4"


BARE = Topology.BARE


DEAF = hiding(lambda frame: bool(frame.haslayer(ICMPv6ND_RA)), "does not see advertisements")


def believing(words: str, **fields: Any) -> Mutant:
    """A Host to whom every advertisement has these fields."""
    return mending(ICMPv6ND_RA, words, **fields)


def no_router(lab: Tester) -> None:
    """Makes sure that nothing is sent by the tester as a router, nor anybody asked for."""
    lab.drain(100)
    try:
        lab.host.ping(FAR)
    except OSError:  # no route to host
        return
    lab.expect_nothing(ipv6(dst=FAR) | asks_for(FAR), 700)


def not_believed(lab: Tester, wrong: Packet) -> None:
    """An advertisement that is wrong makes no router of the tester and gives no address."""
    listening(lab)
    lab.send(wrong)
    lab.run(300)
    no_router(lab)
    lab.check(not has_address(lab, formed(lab), 2000), "no address", lab.host.addresses())
    lab.send(router_advertisement_of(lab, options=(prefix(),)))
    lab.check(has_address(lab, formed(lab)), f"then {formed(lab)}", lab.host.addresses())


@case(
    "ND-5.6",
    "What is not on the link is sent to the router that has advertised itself",
    section=RECEIVED,
    aliases=("v6lc:2.2.13",),
    mutant=DEAF,
    topology=BARE,
)
def default_router(lab: Tester) -> None:
    """A router lifetime that is not zero makes a default router.

    1. The tester advertises itself as a router, with a prefix that gives the Host an address.
    2. What the Host sends to 2001:db8:ff::9 goes to the tester.
    """
    listening(lab)
    lab.send(router_advertisement_of(lab, options=(prefix(),)))
    has_address(lab, formed(lab))
    goes_to(lab, lab.tester_mac)


@case(
    "ND-5.7",
    "The hardware address that an advertisement gives is used, without asking for it",
    section=RECEIVED,
    level=Level.SHOULD,
    mutant=Mutant(
        "asks all the same",
        incoming=lambda frame: _without_mac(frame) if frame.haslayer(ICMPv6ND_RA) else frame,
    ),
    topology=BARE,
)
def router_mac(lab: Tester) -> None:
    """It goes into the table, as stale.

    1. The tester advertises itself as a router, with its hardware address.
    2. The Host sends by it; its link-local address is not solicited before that, nor answered for.
    """
    with lab.silent():
        configured(lab)
        lab.host.ping(FAR)
        lab.expect(
            ether(dst=lab.tester_mac) / ipv6(dst=FAR) / echo_request6(),
            but_not=asks_for(lab.tester_ll),
        )


def _without_mac(frame: Packet) -> Packet:
    rest = frame[ICMPv6NDOptSrcLLAddr].payload.copy()
    frame[ICMPv6ND_RA].remove_payload()
    return computed(frame / rest)


@case(
    "ND-5.8",
    "A router that advertises a lifetime of zero is no default router",
    section=RECEIVED,
    aliases=("v6lc:2.2.13",),
    mutant=believing("does not look at the lifetime", routerlifetime=1800),
    topology=BARE,
)
def no_lifetime(lab: Tester) -> None:
    """What else it advertises counts.

    1. The tester advertises a prefix, and a router lifetime of 0. The Host has an address of it.
    2. What is not on the link is not sent to the tester.
    """
    configured(lab, routerlifetime=0)
    no_router(lab)


@case(
    "ND-5.9",
    "A router that advertises a lifetime of zero is used no more",
    section=RECEIVED,
    aliases=("v6lc:2.2.13",),
    mutant=believing("does not look at the lifetime", routerlifetime=1800),
    topology=BARE,
)
def withdrawn(lab: Tester) -> None:
    """It ceases to be a router at once.

    1. The tester is the Host's router.
    2. It advertises a lifetime of 0. What is not on the link is not sent to it any more.
    """
    configured(lab)
    goes_to(lab, lab.tester_mac)
    lab.send(router_advertisement_of(lab, routerlifetime=0))
    no_router(lab)


@case(
    "ND-5.10",
    "A router whose lifetime is over is used no more",
    section="6.3.5",
    aliases=("v6lc:2.2.13",),
    mutant=believing("does not look at the lifetime", routerlifetime=1800),
    topology=BARE,
)
def lifetime_ends(lab: Tester) -> None:
    """The lifetime is in seconds.

    1. The tester advertises a prefix, then a router lifetime of 4 seconds. The Host sends by it.
    2. Six seconds later it does not.
    """
    configured(lab)
    lab.send(router_advertisement_of(lab, routerlifetime=4))
    goes_to(lab, lab.tester_mac)
    lab.drain(6000)
    no_router(lab)


@case(
    "ND-5.11",
    "A router advertisement from a global address is dropped",
    aliases=("v6lc:2.2.12",),
    mutant=mending(IPv6, "does not look at the source", src=lambda source: "fe80::5eff:fe00:5301"),
    topology=BARE,
)
def not_link_local(lab: Tester) -> None:
    """Routers are known by their link-local addresses.

    1. The tester advertises itself as a router, and a prefix, from 2001:db8:1::1.
    2. The Host does not send by it and forms no address. With the right source it does.
    """
    not_believed(lab, router_advertisement_of(lab, lab.tester6, options=(prefix(),)))


@case(
    "ND-5.12",
    "A router advertisement that has come through a router is dropped",
    aliases=("v6lc:2.2.12",),
    mutant=mending(IPv6, "does not look at the hop limit", hlim=255),
    topology=BARE,
)
def wrong_hop_limit(lab: Tester) -> None:
    """A hop limit of 255 proves that it comes from a neighbour.

    1. The tester advertises itself and a prefix with the hop limit 254: to no effect.
    2. With 255 the Host forms an address.
    """
    not_believed(lab, router_advertisement_of(lab, options=(prefix(),), hlim=254))


@case(
    "ND-5.13",
    "A router advertisement with a wrong checksum is dropped",
    aliases=("v6lc:2.2.12",),
    mutant=mending(ICMPv6ND_RA, "does not look at the checksum"),
    topology=BARE,
)
def wrong_checksum(lab: Tester) -> None:
    """As any ICMPv6 message.

    1. The tester advertises itself and a prefix with a checksum that is off by one: to no effect.
    2. With the right one the Host forms an address.
    """
    wrong = computed(router_advertisement_of(lab, options=(prefix(),)))
    wrong[ICMPv6ND_RA].cksum ^= 1
    not_believed(lab, wrong)


@case(
    "ND-5.14",
    "A router advertisement with a code is dropped",
    aliases=("v6lc:2.2.12",),
    mutant=believing("does not look at the code", code=0),
    topology=BARE,
)
def wrong_code(lab: Tester) -> None:
    """There is no code but 0.

    1. The tester advertises itself and a prefix with the code 1: to no effect.
    2. With 0 the Host forms an address.
    """
    not_believed(lab, router_advertisement_of(lab, options=(prefix(),), code=1))


@case(
    "ND-5.15",
    "A router advertisement with an option of length zero is dropped, all of it",
    section="4.6",
    aliases=("v6lc:2.2.12",),
    mutant=Mutant(
        "takes what stands before it",
        incoming=lambda frame: (
            computed(Ether(bytes(frame)[:-8]))
            if frame.haslayer(ICMPv6ND_RA) and bytes(frame).endswith(bytes(8))
            else frame
        ),
    ),
    topology=BARE,
)
def empty_option(lab: Tester) -> None:
    """What stands before it does not count either.

    1. The tester advertises itself and a prefix, and after that an option of length 0: to no
       effect.
    2. Without it the Host forms an address.
    """
    not_believed(lab, router_advertisement_of(lab, options=(prefix(), EMPTY_OPTION)))


@case(
    "ND-5.16",
    "A router advertisement that is cut short is dropped",
    aliases=("v6lc:2.2.12",),
    mutant=Mutant(
        "makes up what is missing",
        incoming=lambda frame: (
            computed(
                Ether(src=frame.src, dst=frame.dst)
                / IPv6(src="fe80::5eff:fe00:5301", dst=ALL_NODES, hlim=255)
                / ICMPv6ND_RA()
                / prefix()
            )
            if frame.haslayer(IPv6) and frame[IPv6].plen == 12
            else frame
        ),
    ),
    topology=BARE,
)
def too_short(lab: Tester) -> None:
    """Its header has sixteen octets.

    1. The tester sends the first twelve octets of an advertisement, with a right checksum: to no
       effect.
    2. With a whole one the Host forms an address.
    """
    not_believed(lab, shortened(router_advertisement_of(lab), 12))


@case(
    "ND-5.17",
    "A router's option that is not known is passed over",
    mutant=hiding(
        lambda frame: bytes(UNKNOWN_OPTION) in bytes(frame), "drops what has unknown options"
    ),
    topology=BARE,
)
def unknown_option(lab: Tester) -> None:
    """Later versions will have others.

    1. The tester advertises an option of type 200, and a prefix after it.
    2. The Host forms an address.
    """
    listening(lab)
    lab.send(router_advertisement_of(lab, options=(UNKNOWN_OPTION, prefix())))
    lab.check(has_address(lab, formed(lab)), formed(lab), lab.host.addresses())


@case(
    "ND-5.19",
    "Of two routers the one whose hardware address is known is preferred",
    section="6.3.6",
    level=Level.SHOULD,
    mutant=dropping(lambda frame: frame.dst == R2_MAC, "sends to the first one only"),
    topology=BARE,
)
def reachable_preferred(lab: Tester) -> None:
    """A router that answers no solicitation is no good.

    1. The tester advertises itself as a router without its hardware address, and answers no
       solicitation. Another router does it with its own.
    2. What the Host sends goes to the other, be it after asking for the first in vain.
    """
    listening(lab)
    with lab.silent():
        lab.send(router_advertisement_of(lab, options=(prefix(),), with_mac=False))
        lab.need(has_address(lab, formed(lab)), "the Host has an address")
        lab.send(router_advertisement_of(lab, R2, R2_MAC))
        lab.run(300)
        lab.drain()
        lab.host.ping(FAR)
        if lab.collect(ether(dst=R2_MAC) / ipv6(dst=FAR), 4000, at_most=1):
            return
        lab.host.ping(FAR)
        lab.expect(ether(dst=R2_MAC) / ipv6(dst=FAR), 500)


@case(
    "ND-5.20",
    "Of two routers the one of higher preference is used",
    rfc="RFC 4191",
    section="3.1",
    level=Level.SHOULD,
    mutant=believing("does not look at the preference", prf=0),
    topology=BARE,
)
def preference(lab: Tester) -> None:
    """Two bits of the advertisement say how good a router is.

    1. The tester advertises itself as a router of low preference, another one itself of high.
    2. What the Host sends goes to the other.
    3. The tester takes the high preference, and the other the low one: it goes to the tester.
    """
    configured(lab, prf=3)
    lab.own(R2, R2_MAC)
    lab.send(router_advertisement_of(lab, R2, R2_MAC, prf=1))
    lab.run(200)
    goes_to(lab, R2_MAC)
    lab.send(router_advertisement_of(lab, prf=1))
    lab.send(router_advertisement_of(lab, R2, R2_MAC, prf=3))
    lab.run(200)
    goes_to(lab, lab.tester_mac)


@case(
    "ND-5.21",
    "Without a router nobody is taken to be on the link",
    rfc="RFC 5942",
    section="4",
    mutant=answering(
        lambda frame: bool(frame.haslayer(ICMPv6ND_RA)),
        lambda frame: (
            Ether(src="02:00:5e:00:53:02", dst="33:33:ff:00:00:09")
            / IPv6(src="fe80::5eff:fe00:5302", dst="ff02::1:ff00:9", hlim=255)
            / _solicitation_for(FAR)
        ),
        "looks for everybody on the link",
    ),
    topology=BARE,
)
def nobody_on_link(lab: Tester) -> None:
    """RFC 2461 had it so, and sent a host's packets to whomever claimed the address.

    1. The tester advertises a prefix for addresses alone (A set, L clear) and no router.
    2. The Host sends to an address of that prefix and to one of another: nobody is solicited.
    """
    address = configured(lab, prefix(L=0), routerlifetime=0)
    lab.need(bool(address), "the Host has an address")
    lab.send(router_advertisement_of(lab, options=(prefix(L=0),), routerlifetime=0))
    for target in (FAR, "2001:db8:1::77"):
        try:
            lab.host.ping(target)
        except OSError:  # no route to host
            continue
    lab.expect_nothing(asks_for(FAR) | asks_for("2001:db8:1::77"), 700)


def _solicitation_for(target: str) -> Packet:
    from scapy.layers.inet6 import ICMPv6ND_NS  # noqa: PLC0415

    return ICMPv6ND_NS(tgt=target)
