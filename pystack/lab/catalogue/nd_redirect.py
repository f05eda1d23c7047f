"""Neighbor Discovery, group 7: redirects (RFC 4861 8)."""

from __future__ import annotations

from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_Redirect,
    ICMPv6NDOptDstLLAddr,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._mutants import computed, hiding, mending
from pystack.lab.catalogue._nd import (
    EMPTY_OPTION,
    FAR,
    R2,
    R2_MAC,
    STRANGER,
    STRANGER_MAC,
    UNKNOWN_OPTION,
    asks_for,
    configured,
    goes_to,
    redirect,
    shortened,
    state,
)
from pystack.lab.mutant import Mutant
from pystack.lab.packets import echo_request6, ether, ipv6
from pystack.lab.plan import Topology, link_local
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level, Unable

case = group("ND-7", rfc="RFC 4861", section="8.1")

RFC, SECTION = "RFC 4861", "8.3"
BARE = Topology.BARE
DEAF = hiding(lambda frame: bool(frame.haslayer(ICMPv6ND_Redirect)), "does not see redirects")
ROUTER = "fe80::5eff:fe00:5301"


def _right(frame: Packet) -> Packet:
    """A redirect as it would be right."""
    if not frame.haslayer(ICMPv6ND_Redirect) and frame.src != STRANGER_MAC:
        return frame
    return computed(
        Ether(src=frame.src, dst=frame.dst)
        / IPv6(src=ROUTER, dst="2001:db8:1:0:0:5eff:fe00:5302", hlim=255)
        / ICMPv6ND_Redirect(tgt=R2, dst=FAR)
        / ICMPv6NDOptDstLLAddr(lladdr=R2_MAC)
    )


BELIEVES_ALL = Mutant("believes every redirect", incoming=_right)


def _confirmed(frame: Packet) -> Packet:
    return computed(
        Ether(src=R2_MAC, dst=frame.dst)
        / IPv6(src=R2, dst="fe80::5eff:fe00:5302", hlim=255)
        / ICMPv6ND_NA(tgt=R2, R=1, S=1, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=R2_MAC)
    )


class _Follower:
    """Sends by the second router once a redirect has been seen."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """None has been seen."""
        self._redirected = False

    def incoming(self, frame: Packet) -> Packet:
        """Looks out for one."""
        self._redirected |= bool(frame.haslayer(ICMPv6ND_Redirect))
        return frame

    def __call__(self, frame: Packet) -> Packet:
        if self._redirected and frame.haslayer(IPv6) and frame[IPv6].dst == FAR:
            frame.dst = R2_MAC
        return frame


_follower = _Follower()
FOLLOWER = Mutant("follows redirects as hosts do", outgoing=_follower, incoming=_follower.incoming)


def followed(lab: Tester) -> None:
    """What the Host sends to 2001:db8:ff::9 goes to the second router."""
    goes_to(lab, R2_MAC)


def by_router(lab: Tester) -> None:
    """The Host has an address, and sends to 2001:db8:ff::9 by the tester."""
    configured(lab)
    lab.own(R2, R2_MAC)
    with lab.preamble("the Host sends by the router"):
        goes_to(lab, lab.tester_mac)


def not_followed(lab: Tester, wrong: Packet) -> None:
    """A redirect that is wrong changes nothing."""
    by_router(lab)
    lab.send(wrong)
    lab.run(150)
    goes_to(lab, lab.tester_mac)


@case(
    "ND-7.1",
    "A redirect of the router's to a better one is followed",
    section=SECTION,
    level=Level.SHOULD,
    aliases=("v6lc:2.3.2",),
    mutant=DEAF,
    topology=BARE,
)
def to_router(lab: Tester) -> None:
    """The router knows the way better than the Host does.

    1. The Host sends to 2001:db8:ff::9 by the tester, its router.
    2. The tester redirects it to another router, whose hardware address it gives.
    3. What the Host sends there goes to that one; what it sends elsewhere to the tester.
    """
    by_router(lab)
    lab.send(redirect(lab))
    lab.run(150)
    followed(lab)
    goes_to(lab, lab.tester_mac, "2001:db8:ff::10")


@case(
    "ND-7.2",
    "A redirect to the destination itself makes it a neighbour",
    section="8",
    level=Level.SHOULD,
    mutant=DEAF,
    topology=BARE,
)
def on_link(lab: Tester) -> None:
    """The router knows that it is on the link.

    1. The Host sends to 2001:db8:ff::9 by the tester, its router.
    2. The tester redirects it to 2001:db8:ff::9 itself, and gives a hardware address.
    3. What the Host sends there goes to that hardware address.
    """
    by_router(lab)
    lab.send(redirect(lab, FAR, mac=STRANGER_MAC))
    lab.run(150)
    goes_to(lab, STRANGER_MAC)


@case(
    "ND-7.3",
    "A redirect about a destination that is new to the Host is followed",
    section=SECTION,
    level=Level.SHOULD,
    mutant=DEAF,
    topology=BARE,
)
def new_destination(lab: Tester) -> None:
    """An entry is made if there is none; a Host may have forgotten it.

    1. The Host has the tester as its router, and sends to 2001:db8:ff::9 by it.
    2. The tester redirects it to another router about 2001:db8:ff::10.
    3. What the Host sends to 2001:db8:ff::10 goes to that one.
    """
    by_router(lab)
    lab.send(redirect(lab, about="2001:db8:ff::10"))
    lab.run(150)
    goes_to(lab, R2_MAC, "2001:db8:ff::10")


@case(
    "ND-7.4",
    "A redirect without a hardware address is followed, and the better router asked for",
    section=SECTION,
    level=Level.SHOULD,
    mutant=DEAF,
    topology=BARE,
)
def without_option(lab: Tester) -> None:
    """The option may be missing.

    1. The Host sends to 2001:db8:ff::9 by the tester, its router.
    2. The tester redirects it to another router without telling its hardware address.
    3. The Host asks for that router, and sends to it.
    """
    by_router(lab)
    lab.send(redirect(lab, options=()))
    lab.run(150)
    lab.drain()
    lab.host.ping(FAR)
    lab.expect(asks_for(R2), 1000, but_not=ether(dst=lab.tester_mac) / ipv6(dst=FAR))
    lab.expect(ether(dst=R2_MAC) / ipv6(dst=FAR) / echo_request6())


@case(
    "ND-7.5",
    "The better router is known, but not known to be reachable",
    section=SECTION,
    mutant=Mutant(
        "takes it for reachable",
        incoming=lambda frame: (
            [frame, _confirmed(frame)] if frame.haslayer(ICMPv6ND_Redirect) else frame
        ),
    ),
    topology=BARE,
)
def target_is_stale(lab: Tester) -> None:
    """The entry that the option makes is stale.

    1. The tester, the Host's router, redirects it to another router whose hardware address it
       gives.
    2. The Host's table has that router with this address, as stale.
    """
    by_router(lab)
    lab.send(redirect(lab))
    lab.run(150)
    found = state(lab, R2)
    if found == ("", ""):
        raise Unable(f"{lab.host.name} makes no entry of a redirect")
    lab.check(found == (R2_MAC, "stale"), f"{R2_MAC}, stale", found)


@case(
    "ND-7.6",
    "A redirect with options that are not known is followed",
    level=Level.SHOULD,
    mutant=hiding(
        lambda frame: bytes(UNKNOWN_OPTION) in bytes(frame), "drops what has unknown options"
    ),
    topology=BARE,
)
def unknown_option(lab: Tester) -> None:
    """Later versions will have others.

    1. The tester, the Host's router, redirects it; an option of type 200 comes before the
       hardware address.
    2. What the Host sends goes to the other router.
    """
    by_router(lab)
    other, mac = link_local("02:00:5e:00:53:33"), "02:00:5e:00:53:33"
    own = ICMPv6NDOptDstLLAddr(lladdr=mac)
    lab.send(redirect(lab, other, "2001:db8:ff::11", options=(UNKNOWN_OPTION, own)))
    lab.run(150)
    goes_to(lab, mac, "2001:db8:ff::11")


@case(
    "ND-7.7",
    "A redirect that has come through a router is dropped",
    aliases=("v6lc:2.3.3",),
    mutant=BELIEVES_ALL,
    topology=BARE,
)
def wrong_hop_limit(lab: Tester) -> None:
    """A hop limit of 255 proves that it comes from a neighbour.

    1. The tester, the Host's router, redirects it with the hop limit 254.
    2. What the Host sends still goes to the tester.
    """
    not_followed(lab, redirect(lab, hlim=254))


@case(
    "ND-7.8",
    "A redirect with a wrong checksum is dropped",
    aliases=("v6lc:2.3.3",),
    mutant=mending(ICMPv6ND_Redirect, "does not look at the checksum"),
    topology=BARE,
)
def wrong_checksum(lab: Tester) -> None:
    """As any ICMPv6 message.

    1. The tester, the Host's router, redirects it with a checksum that is off by one.
    2. What the Host sends still goes to the tester.
    """
    by_router(lab)
    wrong = computed(redirect(lab))
    wrong[ICMPv6ND_Redirect].cksum ^= 1
    lab.send(wrong)
    lab.run(150)
    goes_to(lab, lab.tester_mac)


@case(
    "ND-7.9",
    "A redirect with a code is dropped",
    aliases=("v6lc:2.3.3",),
    mutant=mending(ICMPv6ND_Redirect, "does not look at the code", code=0),
    topology=BARE,
)
def wrong_code(lab: Tester) -> None:
    """There is no code but 0.

    1. The tester, the Host's router, redirects it with the code 1.
    2. What the Host sends still goes to the tester.
    """
    not_followed(lab, redirect(lab, code=1))


@case(
    "ND-7.10",
    "A redirect that is cut short is dropped",
    aliases=("v6lc:2.3.3",),
    mutant=BELIEVES_ALL,
    topology=BARE,
)
def too_short(lab: Tester) -> None:
    """Its forty octets end with the destination.

    1. The tester, the Host's router, sends the first thirty-two octets of a redirect, with a
       right checksum.
    2. What the Host sends still goes to the tester.
    """
    short = shortened(redirect(lab), 32)
    short.src = STRANGER_MAC
    not_followed(lab, short)


@case(
    "ND-7.11",
    "A redirect with an option of length zero is dropped",
    section="4.6",
    aliases=("v6lc:2.3.3",),
    mutant=BELIEVES_ALL,
    topology=BARE,
)
def empty_option(lab: Tester) -> None:
    """Where the next option begins can't be told.

    1. The tester, the Host's router, redirects it, with an option of length 0 at the end.
    2. What the Host sends still goes to the tester.
    """
    own = ICMPv6NDOptDstLLAddr(lladdr=R2_MAC)
    not_followed(lab, redirect(lab, options=(own, EMPTY_OPTION)))


@case(
    "ND-7.12",
    "A redirect from a global address is dropped",
    aliases=("v6lc:2.3.3",),
    mutant=BELIEVES_ALL,
    topology=BARE,
)
def not_link_local(lab: Tester) -> None:
    """Routers are known by their link-local addresses.

    1. A redirect comes from 2001:db8:1::1, the global address of the Host's router.
    2. What the Host sends still goes to the tester.
    """
    not_followed(lab, redirect(lab, source=lab.tester6))


@case(
    "ND-7.13",
    "A redirect not from the first-hop router is dropped",
    aliases=("v6lc:2.3.3",),
    mutant=BELIEVES_ALL,
    topology=BARE,
)
def not_first_hop(lab: Tester) -> None:
    """Any host of the link could draw to itself what others send.

    1. A redirect comes from a link-local address that is not that of the Host's router.
    2. What the Host sends still goes to the tester.
    """
    not_followed(lab, redirect(lab, source=R2))


@case(
    "ND-7.14",
    "A redirect to a global address other than the destination is dropped",
    aliases=("v6lc:2.3.3",),
    mutant=BELIEVES_ALL,
    topology=BARE,
)
def wrong_target(lab: Tester) -> None:
    """The better first hop is a router's link-local address, or the destination itself.

    1. The tester, the Host's router, redirects it to 2001:db8:1::77 about 2001:db8:ff::9.
    2. What the Host sends still goes to the tester.
    """
    not_followed(lab, redirect(lab, STRANGER, mac=STRANGER_MAC))


@case(
    "ND-7.15",
    "A redirect about a group is dropped",
    mutant=Mutant(
        "looks for whom the group is redirected to",
        answer=lambda frame: (
            computed(
                Ether(src="02:00:5e:00:53:02", dst="33:33:ff:00:53:22")
                / IPv6(src="fe80::5eff:fe00:5302", dst="ff02::1:ff00:5322", hlim=255)
                / ICMPv6ND_NS(tgt=R2)
            )
            if frame.haslayer(ICMPv6ND_Redirect)
            else None
        ),
    ),
    topology=BARE,
)
def about_group(lab: Tester) -> None:
    """What is for a group is sent to the group's hardware address.

    1. The tester, the Host's router, redirects it about ff0e::1:2:3 to another router.
    2. What the Host sends to the group goes where it always did, and its table has no such router.
    """
    by_router(lab)
    lab.send(redirect(lab, about="ff0e::1:2:3"))
    lab.run(150)
    lab.check(state(lab, R2) == ("", ""), "no entry", state(lab, R2))
    sock = lab.socket(10, 2)
    sock.sendto(b"group", ("ff0e::1:2:3", 4000))
    lab.expect(
        ether(dst="33:33:00:02:00:03") / ipv6(dst="ff0e::1:2:3"),
        but_not=asks_for(R2) | ether(dst=R2_MAC),
    )


@case(
    "ND-7.16",
    "A router does not follow redirects",
    section="8.2",
    mutant=FOLLOWER,
    topology=Topology.ROUTER,
)
def router(lab: Tester) -> None:
    """Its routing table is managed otherwise.

    1. The Host forwards to 2001:db8:ff::/48 by the tester's link-local address on the second wire.
    2. That redirects it to another router there, whose hardware address it gives.
    3. What the Host forwards still goes to the tester.
    """
    gateway = lab.other.tester_link_local
    lab.host.add_route("2001:db8:ff::/48", gateway, 1)
    lab.resolve(6)
    forwarded = lab.ip6(dst=FAR) / lab.echo6().payload
    by_tester = ether(dst=lab.other.tester_mac) / ipv6(dst=FAR)
    with lab.preamble("the Host forwards"):
        lab.send(forwarded)
        lab.expect(by_tester, 1500, port=1)
    packet = redirect(lab, source=gateway, destination=lab.other.host_link_local)
    packet.src, packet.dst = lab.other.tester_mac, lab.other.host_mac
    lab.send(packet, 1)
    lab.run(150)
    lab.send(forwarded)
    lab.expect(by_tester, 1500, port=1, but_not=ipv6(dst=FAR))
