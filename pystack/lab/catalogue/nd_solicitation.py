"""Neighbor Discovery, group 2: solicitations that come (RFC 4861 7.2.3, 7.2.4)."""

from __future__ import annotations

from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._mutants import altering, answering, computed, hiding
from pystack.lab.catalogue._nd import (
    ALL_NODES,
    NEW_MAC,
    STRANGER,
    STRANGER_MAC,
    asks_for,
    goes_to,
    ignores,
    reachable,
    solicitation,
    state,
)
from pystack.lab.mutant import Mutant
from pystack.lab.packets import (
    Match,
    echo_request6,
    ether,
    ipv6,
    layer,
    neighbour_advertisement,
    neighbour_solicitation,
)
from pystack.lab.plan import Topology
from pystack.lab.tester import Tester, multicast_mac, solicited_node
from pystack.lab.verdict import Level

case = group("ND-2", rfc="RFC 4861", section="7.2.4")

RFC, RECEIVED = "RFC 4861", "7.2.3"


DEAF = hiding(lambda frame: bool(frame.haslayer(ICMPv6ND_NS)), "does not see solicitations")


def _answer(frame: Packet) -> Packet:
    """What a Host would send that answers whatever looks like a solicitation."""
    return (
        Ether(src="02:00:5e:00:53:02", dst=frame.src)
        / IPv6(src="2001:db8:1::2", dst="2001:db8:1::1", hlim=255)
        / ICMPv6ND_NA(tgt="2001:db8:1::2", S=1, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr="02:00:5e:00:53:02")
    )


ANSWERS_ALL = answering(
    lambda frame: bool(frame.haslayer(IPv6)) and frame.dst.startswith("33:33:ff"),
    _answer,
    "answers whatever comes to its group",
)


ANSWERS_UNICAST_TOO = answering(
    lambda frame: bool(frame.haslayer(ICMPv6ND_NS)), _answer, "answers every solicitation"
)


def answered(lab: Tester, **fields: int) -> Match:
    """The advertisement that answers the tester."""
    return (
        ether(src=lab.host_mac, dst=lab.tester_mac)
        / ipv6(src=lab.host6, dst=lab.tester6)
        / neighbour_advertisement(tgt=lab.host6, **fields)
    )


@case(
    "ND-2.1",
    "A solicitation for the Host's address is answered, with the hop limit 255",
    aliases=("v6lc:2.1.8",),
    mutant=altering(IPv6, "answers with the hop limit 64", hlim=64),
)
def is_answered(lab: Tester) -> None:
    """Ask for the Host's address, as any neighbour would.

    1. The tester solicits the Host's address at its solicited-node group.
    2. The Host advertises it to the tester alone, from that address, with the hop limit 255.
    """
    lab.send(solicitation(lab))
    found = lab.expect(answered(lab, code=0))
    lab.check(found[IPv6].hlim == 255, "hop limit 255", found[IPv6].hlim)


@case(
    "ND-2.2",
    "What answers a solicitation has the flag S",
    mutant=altering(ICMPv6ND_NA, "leaves the flag out", S=0),
)
def solicited_flag(lab: Tester) -> None:
    """By it the other one knows that its own packets arrive.

    1. The tester solicits the Host's address, from its own.
    2. The advertisement has S set.
    """
    lab.send(solicitation(lab))
    lab.expect(answered(lab, S=1), but_not=answered(lab))


@case(
    "ND-2.3",
    "What answers a solicitation has the flag O",
    level=Level.SHOULD,
    mutant=altering(ICMPv6ND_NA, "leaves the flag out", O=0),
)
def override_flag(lab: Tester) -> None:
    """An address that is the Host's alone is nobody else's.

    1. The tester solicits the Host's address.
    2. The advertisement has O set.
    """
    lab.send(solicitation(lab))
    lab.expect(answered(lab, O=1), but_not=answered(lab))


@case(
    "ND-2.4",
    "A host's advertisement has the flag R clear",
    mutant=altering(ICMPv6ND_NA, "says that it is a router", R=1),
)
def no_router_flag(lab: Tester) -> None:
    """A host that does not forward is no router.

    1. The tester solicits the Host's address.
    2. The advertisement has R clear.
    """
    lab.send(solicitation(lab))
    lab.expect(answered(lab, R=0), but_not=answered(lab))


@case(
    "ND-2.5",
    "A router's advertisement has the flag R",
    mutant=altering(ICMPv6ND_NA, "says that it is no router", R=0),
    topology=Topology.ROUTER,
)
def router_flag(lab: Tester) -> None:
    """Otherwise hosts that know it as a router would remove it from their list.

    1. The tester solicits the address of a Host that forwards.
    2. The advertisement has R set.
    """
    lab.send(solicitation(lab))
    lab.expect(answered(lab, R=1), but_not=answered(lab))


@case(
    "ND-2.6",
    "What answers a solicitation to the group has the Host's hardware address",
    mutant=altering(ICMPv6NDOptDstLLAddr, "gives another's", lladdr=STRANGER_MAC),
)
def target_option(lab: Tester) -> None:
    """It is what was asked for.

    1. The tester solicits the Host's address at its group.
    2. The advertisement has a target link-layer address option with the Host's.
    """
    lab.send(solicitation(lab))
    lab.expect(
        answered(lab) / layer(ICMPv6NDOptDstLLAddr, lladdr=lab.host_mac), but_not=answered(lab)
    )


@case(
    "ND-2.7",
    "A solicitation that was sent to the Host's own address is answered",
    aliases=("v6lc:2.1.8",),
    mutant=hiding(
        lambda frame: bool(frame.haslayer(ICMPv6ND_NS)) and not frame.dst.startswith("33:33"),
        "sees only what comes to its group",
    ),
)
def unicast(lab: Tester) -> None:
    """So a neighbour makes sure that the Host is still there.

    1. The tester solicits the Host's address at that very address.
    2. The Host answers.
    """
    lab.send(solicitation(lab, destination=lab.host6))
    lab.expect(answered(lab, S=1))


@case(
    "ND-2.8",
    "A solicitation to the Host's own address needs no hardware address in it",
    section="4.3",
    aliases=("v6lc:2.1.8",),
    mutant=hiding(
        lambda frame: (
            bool(frame.haslayer(ICMPv6ND_NS)) and not frame.haslayer(ICMPv6NDOptSrcLLAddr)
        ),
        "drops what has no option",
    ),
)
def unicast_without_option(lab: Tester) -> None:
    """The option has to be there if the solicitation goes to a group; else it may be missing.

    1. The tester solicits the Host's address at that address, without the option.
    2. The Host answers, when it has asked for the tester's hardware address if it has to.
    """
    lab.send(solicitation(lab, destination=lab.host6, options=()))
    lab.expect(answered(lab, S=1), 1500)


@case(
    "ND-2.9",
    "The link-local address is answered for from itself",
    mutant=altering(IPv6, "answers from its global address", src=lambda source: "2001:db8:1::2"),
)
def link_local(lab: Tester) -> None:
    """The source is an address of the interface; the solicitor of this one expects it.

    1. The tester solicits the Host's link-local address.
    2. The advertisement comes from there.
    """
    lab.send(solicitation(lab, lab.host_ll, source=lab.tester_ll))
    lab.expect(
        ipv6(src=lab.host_ll, dst=lab.tester_ll) / neighbour_advertisement(tgt=lab.host_ll, S=1)
    )


@case(
    "ND-2.10",
    "A solicitation without a source is answered to the all-nodes group, without S",
    mutant=altering(ICMPv6ND_NA, "sets S in every answer", S=1),
)
def for_detection(lab: Tester) -> None:
    """Another host is about to take the Host's address, and asks first.

    1. The tester solicits the Host's address from the unspecified address.
    2. The Host advertises it to ff02::1, with S clear and its hardware address.
    """
    lab.send(solicitation(lab, source="::", options=()))
    lab.expect(
        ether(dst=multicast_mac(ALL_NODES))
        / ipv6(dst=ALL_NODES, hlim=255)
        / neighbour_advertisement(tgt=lab.host6, S=0)
        / layer(ICMPv6NDOptDstLLAddr, lladdr=lab.host_mac)
    )


@case(
    "ND-2.11",
    "A solicitation for another host's address is not answered",
    section=RECEIVED,
    mutant=ANSWERS_UNICAST_TOO,
)
def not_for_us(lab: Tester) -> None:
    """Only the owner of the address answers. Other addresses may have the same group.

    1. The tester solicits an address whose last three octets are those of the Host's.
    2. No advertisement comes.
    """
    ignores(lab, solicitation(lab, "2001:db8:1::1:0:2", destination=solicited_node(lab.host6)))


@case(
    "ND-2.22",
    "A solicitor is known from then on, but not known to be reachable",
    section=RECEIVED,
    aliases=("v6lc:2.1.8",),
    mutant=DEAF,
)
def makes_entry(lab: Tester) -> None:
    """The new entry is stale. As the answer was sent by it, it may be past that, in delay.

    1. The tester's link-local address, unknown so far, solicits the Host's address.
    2. The Host's table has it with its hardware address, as stale or delay.
    """
    lab.send(solicitation(lab, source=lab.tester_ll))
    lab.run(200)
    found = state(lab, lab.tester_ll)
    lab.check(
        found[0] == lab.tester_mac and found[1] in ("stale", "delay"),
        f"{lab.tester_mac}, stale or delay",
        found,
    )


@case(
    "ND-2.23",
    "A solicitation from another hardware address changes the entry",
    section=RECEIVED,
    level=Level.SHOULD,
    aliases=("v6lc:2.1.10",),
    mutant=hiding(lambda frame: frame.src == NEW_MAC, "keeps what it has"),
)
def updates_entry(lab: Tester) -> None:
    """What is cached and differs is replaced.

    1. The Host knows the tester and has pinged it.
    2. A solicitation comes from the tester's address, with another hardware address.
    3. What the Host sends to the tester goes there.
    """
    lab.host.ping(lab.tester6)
    with lab.preamble("the Host pings"):
        lab.expect(ether(dst=lab.tester_mac) / echo_request6())
    lab.send(solicitation(lab, mac=NEW_MAC))
    lab.run(100)
    with lab.silent():
        goes_to(lab, NEW_MAC, lab.tester6)


@case(
    "ND-2.24",
    "An entry whose hardware address a solicitation has changed is stale",
    section=RECEIVED,
    aliases=("v6lc:2.1.10",),
    mutant=hiding(lambda frame: frame.src == NEW_MAC, "takes what it has for reachable still"),
)
def update_is_stale(lab: Tester) -> None:
    """That the neighbour was reachable at its old hardware address proves nothing.

    1. The Host has pinged the tester: its entry is reachable.
    2. A solicitation comes from the tester's address, with another hardware address.
    3. The entry is stale, or in delay as the answer was sent.
    """
    reachable(lab)
    lab.send(solicitation(lab, mac=NEW_MAC))
    lab.run(200)
    found = state(lab, lab.tester6)
    lab.check(found in ((NEW_MAC, "stale"), (NEW_MAC, "delay")), f"{NEW_MAC}, stale", found)


@case(
    "ND-2.25",
    "A solicitation from the known address leaves the entry reachable",
    section="appendix C",
    aliases=("v6lc:2.1.10",),
    mutant=Mutant(
        "takes every solicitation for a change",
        incoming=lambda frame: (
            [frame, computed(_moved(frame))] if frame.haslayer(ICMPv6ND_NS) else frame
        ),
    ),
)
def same_address(lab: Tester) -> None:
    """Nothing is new about a solicitation with the hardware address that is known.

    1. The Host has pinged the tester: its entry is reachable.
    2. The tester solicits the Host's address.
    3. The entry is still reachable.
    """
    reachable(lab)
    lab.send(solicitation(lab))
    lab.run(200)
    found = state(lab, lab.tester6)
    lab.check(found == (lab.tester_mac, "reachable"), f"{lab.tester_mac}, reachable", found)


def _moved(frame: Packet) -> Packet:
    other: Packet = frame.copy()
    if other.haslayer(ICMPv6NDOptSrcLLAddr):
        other[ICMPv6NDOptSrcLLAddr].lladdr = NEW_MAC
    return other


@case(
    "ND-2.26",
    "A solicitation without a source makes no entry",
    section=RECEIVED,
    mutant=Mutant(
        "puts the solicitor into its table",
        incoming=lambda frame: (
            [frame, _as_stranger(frame)]
            if frame.haslayer(ICMPv6ND_NS) and frame[IPv6].src == "::"
            else frame
        ),
    ),
)
def no_entry(lab: Tester) -> None:
    """The unspecified address is nobody's.

    1. The tester solicits the Host's address from ::, and is answered.
    2. The Host's table has nothing new.
    """
    before = {one.address for one in lab.host.neighbours()}
    lab.send(solicitation(lab, source="::", options=(), mac=STRANGER_MAC))
    with lab.preamble("the Host answers"):
        lab.expect(neighbour_advertisement(tgt=lab.host6))
    lab.run(100)
    new = {
        one.address for one in lab.host.neighbours() if not one.address.startswith("ff")
    } - before
    lab.check(not new, "no new entry", new)


def _as_stranger(frame: Packet) -> Packet:
    return computed(
        Ether(src=frame.src, dst=frame.dst)
        / IPv6(src=STRANGER, dst=frame[IPv6].dst, hlim=255)
        / ICMPv6ND_NS(tgt=frame[ICMPv6ND_NS].tgt)
        / ICMPv6NDOptSrcLLAddr(lladdr=frame.src)
    )


@case(
    "ND-2.27",
    "A solicitation of the neighbour that the Host asks for lets its packet go",
    section="appendix C",
    aliases=("v6lc:2.1.9",),
    mutant=DEAF,
)
def completes(lab: Tester) -> None:
    """It has the hardware address that the packet waits for.

    1. The Host pings 2001:db8:1::77, and asks for it.
    2. No advertisement comes, but a solicitation from that address.
    3. The echo request is sent, before the Host would have asked again.
    """
    lab.host.ping(STRANGER)
    with lab.preamble("the Host asks"):
        lab.expect(asks_for(STRANGER))
    lab.send(solicitation(lab, source=STRANGER, mac=STRANGER_MAC))
    lab.expect(
        ether(dst=STRANGER_MAC) / ipv6(dst=STRANGER) / echo_request6(),
        700,
        but_not=neighbour_solicitation(tgt=STRANGER),
    )
