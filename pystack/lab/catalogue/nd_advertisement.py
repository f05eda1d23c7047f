"""Neighbor Discovery, group 3: what advertisements do to an entry (RFC 4861 7.2.5)."""

from __future__ import annotations

from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6NDOptDstLLAddr,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._mutants import computed, hiding
from pystack.lab.catalogue._nd import (
    ALL_NODES,
    NEW_MAC,
    R2,
    R2_MAC,
    STRANGER,
    STRANGER_MAC,
    advertisement,
    asks_for,
    configured,
    goes_to,
    reachable,
    router_advertisement_of,
    solicitation,
    state,
)
from pystack.lab.mutant import Mutant
from pystack.lab.packets import echo_request6, ether, ipv6
from pystack.lab.plan import Topology
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("ND-3", rfc="RFC 4861", section="7.2.5")


DEAF = hiding(lambda frame: bool(frame.haslayer(ICMPv6ND_NA)), "does not see advertisements")


def seen_as(words: str, **fields: int) -> Mutant:
    """A Host to whom every advertisement of a new hardware address's has these flags."""

    def change(frame: Packet) -> Packet:
        if frame.haslayer(ICMPv6ND_NA) and frame.src in (NEW_MAC, STRANGER_MAC):
            for name, value in fields.items():
                setattr(frame[ICMPv6ND_NA], name, value)
            return computed(frame)
        return frame

    return Mutant(words, incoming=change)


def asking(lab: Tester) -> None:
    """The Host has something for 2001:db8:1::77, and asks for it."""
    lab.host.ping(STRANGER)
    with lab.preamble("the Host asks"):
        lab.expect(asks_for(STRANGER))


def stale(lab: Tester) -> None:
    """The Host has a stale entry for 2001:db8:1::77, from its solicitation."""
    lab.send(solicitation(lab, source=STRANGER, mac=STRANGER_MAC))
    lab.drain(100)
    found = state(lab, STRANGER)
    lab.need(found[0] == STRANGER_MAC and found[1] in ("stale", "delay"), f"stale, not {found}")


def is_in(lab: Tester, address: str, mac: str, *states: str) -> None:
    """Makes sure of an entry's hardware address and state."""
    lab.run(150)
    until = lab.now + 0.8  # on a loaded machine
    found = state(lab, address)
    while not (found[0] == mac and found[1] in states) and lab.now < until:
        lab.run(50)
        found = state(lab, address)
    lab.check(found[0] == mac and found[1] in states, f"{mac}, {' or '.join(states)}", found)


@case(
    "ND-3.1",
    "An unexpected advertisement makes no entry",
    level=Level.SHOULD,
    aliases=("v6lc:2.1.16",),
    mutant=Mutant(
        "learns from all that it sees",
        incoming=lambda frame: (
            [frame, _as_solicitation(frame)] if frame.haslayer(ICMPv6ND_NA) else frame
        ),
    ),
)
def no_entry(lab: Tester) -> None:
    """There is no need of an entry for whom nothing is to be sent to.

    1. An advertisement of 2001:db8:1::77's comes to the Host.
    2. Its table has nothing of that address.
    """
    lab.send(advertisement(lab, STRANGER, mac=STRANGER_MAC, S=1, O=1))
    lab.run(200)
    lab.check(state(lab, STRANGER) == ("", ""), "no entry", state(lab, STRANGER))


def _as_solicitation(frame: Packet) -> Packet:
    from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr  # noqa: PLC0415

    return computed(
        Ether(src=frame.src, dst=frame.dst)
        / IPv6(src=frame[ICMPv6ND_NA].tgt, dst="2001:db8:1::2", hlim=255)
        / ICMPv6ND_NS(tgt="2001:db8:1::2")
        / ICMPv6NDOptSrcLLAddr(lladdr=frame.src)
    )


@case(
    "ND-3.2",
    "A neighbour that answers the Host's solicitation is reachable",
    aliases=("v6lc:2.1.17",),
    mutant=seen_as("takes it for unsolicited", S=0),
)
def solicited(lab: Tester) -> None:
    """The flag S says that the Host's own packet has arrived.

    1. The Host asks for 2001:db8:1::77.
    2. The answer has S set: the entry is reachable.
    """
    asking(lab)
    lab.send(advertisement(lab, STRANGER, mac=STRANGER_MAC, S=1, O=1))
    is_in(lab, STRANGER, STRANGER_MAC, "reachable")


@case(
    "ND-3.3",
    "An unsolicited advertisement during resolution does not prove reachability",
    aliases=("v6lc:2.1.17",),
    mutant=seen_as("takes every advertisement for an answer", S=1),
)
def unsolicited_while_asking(lab: Tester) -> None:
    """Its hardware address will do to send the packet; the entry is stale.

    1. The Host asks for 2001:db8:1::77.
    2. An advertisement comes with S clear. The packet that waited is sent.
    3. The entry is stale, or in delay as a packet was sent.
    """
    asking(lab)
    lab.send(advertisement(lab, STRANGER, mac=STRANGER_MAC, O=1))
    lab.expect(ether(dst=STRANGER_MAC) / ipv6(dst=STRANGER) / echo_request6(), 700)
    is_in(lab, STRANGER, STRANGER_MAC, "stale", "delay")


@case(
    "ND-3.4",
    "An answer that has no hardware address leaves the question open",
    level=Level.SHOULD,
    aliases=("v6lc:2.1.17",),
    mutant=Mutant(
        "takes the frame's source instead",
        incoming=lambda frame: (
            computed(frame / ICMPv6NDOptDstLLAddr(lladdr=frame.src))
            if frame.haslayer(ICMPv6ND_NA) and not frame.haslayer(ICMPv6NDOptDstLLAddr)
            else frame
        ),
    ),
)
def without_option(lab: Tester) -> None:
    """There is nothing in it that the Host could send by.

    1. The Host asks for 2001:db8:1::77.
    2. An answer comes without the option. No packet is sent; the next answer has it, and then
       the packet comes.
    """
    asking(lab)
    lab.send(advertisement(lab, STRANGER, mac=STRANGER_MAC, S=1, O=1, options=()))
    lab.expect_nothing(ipv6(dst=STRANGER) / echo_request6(), 200)
    lab.send(advertisement(lab, STRANGER, mac=STRANGER_MAC, S=1, O=1))
    lab.expect(ether(dst=STRANGER_MAC) / ipv6(dst=STRANGER) / echo_request6())


@case(
    "ND-3.5",
    "Another's claim without O makes a reachable neighbour stale",
    aliases=("v6lc:2.1.18",),
    mutant=hiding(lambda frame: frame.src == NEW_MAC, "takes no notice"),
)
def no_override_reachable(lab: Tester) -> None:
    """Which of the two is right is to be found out; what is known stays meanwhile.

    1. The tester is reachable.
    2. An advertisement for its address gives another hardware address, with O clear.
    3. The entry has the old hardware address and is stale.
    """
    reachable(lab)
    lab.send(advertisement(lab, mac=NEW_MAC))
    is_in(lab, lab.tester6, lab.tester_mac, "stale")


@case(
    "ND-3.6",
    "Another's claim without O changes nothing about a stale neighbour",
    aliases=("v6lc:2.1.19",),
    mutant=seen_as("does not look at O", O=1),
)
def no_override_stale(lab: Tester) -> None:
    """Without the flag it must not update what there is, solicited or not.

    1. 2001:db8:1::77 is known and stale.
    2. Advertisements for it give another hardware address, with O clear, S clear and set.
    3. What the Host sends goes where it went.
    """
    stale(lab)
    for solicited_flag in (0, 1):
        lab.send(advertisement(lab, STRANGER, mac=NEW_MAC, S=solicited_flag))
    lab.run(100)
    goes_to(lab, STRANGER_MAC, STRANGER)


@case(
    "ND-3.7",
    "An unsolicited advertisement with O gives a new hardware address, and is no proof",
    aliases=("v6lc:2.1.18",),
    mutant=seen_as("takes every advertisement for an answer", S=1),
)
def override(lab: Tester) -> None:
    """The neighbour has changed its hardware address; the entry becomes stale.

    1. The tester is reachable.
    2. An advertisement to the Host gives another hardware address, with O set and S clear.
    3. The entry has it, and is stale.
    """
    reachable(lab)
    lab.send(advertisement(lab, mac=NEW_MAC, O=1))
    is_in(lab, lab.tester6, NEW_MAC, "stale")


@case(
    "ND-3.8",
    "An advertisement with O to all nodes does the same",
    section="7.2.6",
    mutant=hiding(lambda frame: frame.dst.startswith("33:33"), "does not see what is for all"),
)
def override_to_all(lab: Tester) -> None:
    """So a node makes a new hardware address known.

    1. The tester is reachable.
    2. An advertisement to ff02::1 gives another hardware address, with O set.
    3. The entry has it, and is stale.
    """
    reachable(lab)
    lab.send(advertisement(lab, mac=NEW_MAC, destination=ALL_NODES, O=1))
    is_in(lab, lab.tester6, NEW_MAC, "stale")


@case(
    "ND-3.9",
    "An answer with O gives a new hardware address, and proof",
    aliases=("v6lc:2.1.19",),
    mutant=seen_as("takes it for unsolicited", S=0),
)
def override_solicited(lab: Tester) -> None:
    """S and O together leave no doubt.

    1. 2001:db8:1::77 is known and stale.
    2. An answer gives another hardware address, with both flags.
    3. The entry has it, and is reachable.
    """
    stale(lab)
    lab.send(advertisement(lab, STRANGER, mac=NEW_MAC, S=1, O=1))
    is_in(lab, STRANGER, NEW_MAC, "reachable")


@case(
    "ND-3.10",
    "An answer with the hardware address that is known makes a neighbour reachable",
    aliases=("v6lc:2.1.19",),
    mutant=seen_as("takes it for unsolicited", S=0),
)
def confirms(lab: Tester) -> None:
    """O does not matter, as nothing would change; nor does the option, which may be missing.

    1. 2001:db8:1::77 is known and stale.
    2. An answer comes with S set, O clear and no option.
    3. The entry is reachable.
    """
    stale(lab)
    lab.send(advertisement(lab, STRANGER, mac=STRANGER_MAC, S=1, options=()))
    is_in(lab, STRANGER, STRANGER_MAC, "reachable")


@case(
    "ND-3.11",
    "An unsolicited advertisement is no proof that a neighbour is reachable",
    section="7.3.1",
    aliases=("v6lc:2.1.19",),
    mutant=seen_as("takes every advertisement for an answer", S=1),
)
def no_proof(lab: Tester) -> None:
    """It shows that packets arrive from there, not that they arrive there.

    1. 2001:db8:1::77 is known and stale.
    2. It advertises what is known already, with S clear and O set.
    3. The entry is not reachable.
    """
    stale(lab)
    lab.send(advertisement(lab, STRANGER, mac=STRANGER_MAC, O=1))
    is_in(lab, STRANGER, STRANGER_MAC, "stale", "delay")


@case(
    "ND-3.19",
    "A router that says it is one no more is no router any more",
    aliases=("v6lc:2.1.21",),
    mutant=Mutant(
        "does not look at R",
        incoming=lambda frame: _router_still(frame) if frame.haslayer(ICMPv6ND_NA) else frame,
    ),
    topology=Topology.BARE,
)
def router_no_more(lab: Tester) -> None:
    """It has stopped forwarding, and says so with R clear.

    1. The tester has advertised itself as a router, another router itself after that.
    2. The one that the Host sends to by its own choice advertises its address with R clear.
    3. What the Host sends from then on goes to the other.
    """
    configured(lab)
    lab.own(R2, R2_MAC)
    lab.send(router_advertisement_of(lab, R2, R2_MAC))
    lab.drain(200)
    lab.host.ping("2001:db8:ff::9")
    with lab.preamble("the Host sends by a router"):
        found = lab.expect(ipv6(dst="2001:db8:ff::9") / echo_request6())
    routers = {lab.tester_mac: lab.tester_ll, R2_MAC: R2}
    lab.need(found.dst in routers, f"it is sent to one of the routers, not to {found.dst}")
    (other,) = set(routers) - {found.dst}
    lab.send(advertisement(lab, routers[found.dst], mac=found.dst, destination=ALL_NODES, R=0, O=1))
    lab.run(200)
    goes_to(lab, other)


def _router_still(frame: Packet) -> Packet:
    frame[ICMPv6ND_NA].R = 1
    return computed(frame)
