"""Stateless address autoconfiguration, groups 1 and 2: duplicates (RFC 4862 5.3, 5.4)."""

from __future__ import annotations

from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._mutants import altering, answering, computed, dropping, hiding, mending
from pystack.lab.catalogue._nd import (
    ALL_NODES,
    STRANGER_MAC,
    advertisement,
    formed,
    has_address,
    prefix,
    router_advertisement_of,
    solicitation,
    useful,
)
from pystack.lab.host import Service
from pystack.lab.mutant import Mutant
from pystack.lab.packets import (
    echo_reply6,
    ether,
    ipv6,
    neighbour_advertisement,
    neighbour_solicitation,
    router_solicitation,
)
from pystack.lab.plan import Topology
from pystack.lab.tester import Tester, multicast_mac, solicited_node
from pystack.lab.verdict import Level

case = group("SLAAC", rfc="RFC 4862")

NEW = "2001:db8:1::5"
BARE = Topology.BARE


def _probes(frame: Packet) -> bool:
    return bool(frame.haslayer(ICMPv6ND_NS)) and frame[IPv6].src == "::"


NO_PROBE = dropping(_probes, "asks nobody whether an address is free")
DEAF = hiding(
    lambda frame: bool(frame.haslayer(ICMPv6ND_NA)) or _probes(frame),
    "does not notice that another host has the address",
)


def _na(frame: Packet) -> Packet:
    target = frame[ICMPv6ND_NS].tgt
    return computed(
        Ether(src="02:00:5e:00:53:02", dst=frame.src)
        / IPv6(src=target, dst=frame[IPv6].src, hlim=255)
        / ICMPv6ND_NA(tgt=target, S=1, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr="02:00:5e:00:53:02")
    )


def probing(lab: Tester, address: str = NEW) -> Packet:
    """The Host is given an address, and asks whether it is free; its solicitation."""
    lab.host.add_address(f"{address}/64", detect=True)
    with lab.preamble("the Host looks for duplicates"):
        return lab.expect(ipv6(src="::") / neighbour_solicitation(tgt=address), 2500)


def claim(lab: Tester, address: str = NEW) -> Packet:
    """Another host claims an address."""
    return advertisement(lab, address, mac=STRANGER_MAC, destination=ALL_NODES, O=1)


def not_assigned(lab: Tester, address: str = NEW) -> None:
    """Makes sure that the Host does not use an address, two seconds later."""
    lab.run(2000)
    lab.check(not useful(lab, address), f"not {address}", lab.host.addresses())
    lab.drain()
    lab.send(solicitation(lab, address))
    lab.expect_nothing(neighbour_advertisement(tgt=address), 300)


@case(
    "SLAAC-1.1",
    "Whether an address is free is asked from no address, at its solicited-node group",
    section="5.4.2",
    aliases=("v6lc:3.1.1",),
    mutant=altering(IPv6, "asks from its link-local address", src="fe80::5eff:fe00:5302"),
)
def probe(lab: Tester) -> None:
    """Give the Host an address, and have it look for duplicates.

    1. A solicitation for the address comes, from :: to its solicited-node group, with the hop
       limit 255.
    """
    lab.host.add_address(f"{NEW}/64", detect=True)
    group = solicited_node(NEW)
    lab.expect(
        ether(dst=multicast_mac(group))
        / ipv6(src="::", dst=group, hlim=255)
        / neighbour_solicitation(tgt=NEW, code=0),
        2500,
        but_not=neighbour_solicitation(tgt=NEW),
    )


@case(
    "SLAAC-1.2",
    "A solicitation from no address has no hardware address in it",
    rfc="RFC 4861",
    section="4.3",
    aliases=("v6lc:3.1.1",),
    mutant=Mutant(
        "puts its own into it",
        outgoing=lambda frame: (
            computed(frame / ICMPv6NDOptSrcLLAddr(lladdr=frame.src)) if _probes(frame) else frame
        ),
    ),
)
def no_option(lab: Tester) -> None:
    """Nobody has to answer to there, nor may anybody learn from it.

    1. The Host looks for duplicates of an address: no source link-layer address option.
    """
    found = probing(lab)
    lab.check(not found.haslayer(ICMPv6NDOptSrcLLAddr), "no such option", found.summary())


@case(
    "SLAAC-1.3",
    "It is asked once, unless the interface is set up to ask more",
    section="5.1",
    mutant=Mutant("asks twice", outgoing=lambda frame: [frame] * (2 if _probes(frame) else 1)),
)
def once(lab: Tester) -> None:
    """DupAddrDetectTransmits is 1.

    1. The Host looks for duplicates of an address; in four seconds there is one solicitation.
    """
    lab.host.add_address(f"{NEW}/64", detect=True)
    found = len(lab.collect(ipv6(src="::") / neighbour_solicitation(tgt=NEW), 4000))
    lab.check(found == 1, "one solicitation", found)


@case(
    "SLAAC-1.4",
    "An unclaimed address is used a second after that",
    section="5.4",
    aliases=("v6lc:3.1.1",),
    mutant=Mutant(
        "never dares",
        incoming=lambda frame: (
            None if frame.haslayer(ICMPv6ND_NS) and frame[ICMPv6ND_NS].tgt == NEW else frame
        ),
    ),
)
def is_used(lab: Tester) -> None:
    """RetransTimer after the last solicitation it is unique.

    1. The Host looks for duplicates of an address, and nobody answers.
    2. It has the address two seconds later, and answers for it.
    """
    probing(lab)
    lab.check(has_address(lab, NEW, 2500), NEW, lab.host.addresses())
    lab.send(solicitation(lab, NEW))
    lab.expect(neighbour_advertisement(tgt=NEW, S=1))


@case(
    "SLAAC-1.5",
    "While it is not known to be free an address is not answered for",
    section="5.4.3",
    aliases=("v6lc:3.1.4",),
    mutant=answering(
        lambda frame: bool(frame.haslayer(ICMPv6ND_NS)), _na, "answers for it at once"
    ),
)
def tentative_is_silent(lab: Tester) -> None:
    """Resolving it must yield its rightful holder, if there is one.

    1. The Host looks for duplicates of an address.
    2. The tester solicits it from its own address: no answer within half a second.
    3. Later, when the address is in use, the answer comes.
    """
    probing(lab)
    lab.send(solicitation(lab, NEW))
    lab.expect_nothing(neighbour_advertisement(tgt=NEW), 500)
    lab.need(has_address(lab, NEW, 2500), "the Host has the address after all")
    lab.send(solicitation(lab, NEW))
    lab.expect(neighbour_advertisement(tgt=NEW, S=1))


@case(
    "SLAAC-1.6",
    "While it is not known to be free packets to an address are dropped",
    section="5.4",
    mutant=answering(
        lambda frame: bool(frame.haslayer("ICMPv6EchoRequest")),
        lambda frame: computed(
            Ether(src="02:00:5e:00:53:02", dst=frame.src)
            / IPv6(src=frame[IPv6].dst, dst=frame[IPv6].src)
            / ICMPv6EchoReply(id=frame["ICMPv6EchoRequest"].id, seq=1)
        ),
        "uses it at once",
    ),
)
def tentative_receives_nothing(lab: Tester) -> None:
    """It is not assigned to the interface yet.

    1. The Host looks for duplicates of an address.
    2. The tester pings it: no answer within half a second.
    3. Later, when the address is in use, the answer comes.
    """
    lab.resolve(6)
    probing(lab)
    request = lab.ip6(dst=NEW) / lab.echo6().payload
    lab.send(request)
    lab.expect_nothing(ipv6(src=NEW) / echo_reply6(), 500)
    lab.need(has_address(lab, NEW, 2500), "the Host has the address after all")
    lab.send(request)
    lab.expect(ipv6(src=NEW) / echo_reply6())


@case(
    "SLAAC-1.7",
    "An address that another host advertises is not used",
    section="5.4.4",
    aliases=("v6lc:3.1.2",),
    mutant=DEAF,
)
def advertised(lab: Tester) -> None:
    """The holder defends it.

    1. The Host looks for duplicates of an address.
    2. Another host advertises it to all nodes.
    3. The Host does not have the address, and does not answer for it.
    """
    probing(lab)
    lab.send(claim(lab))
    not_assigned(lab)


@case(
    "SLAAC-1.8",
    "An address that another host advertises to the Host's group alone is not used",
    section="5.4.4",
    mutant=DEAF,
)
def advertised_to_group(lab: Tester) -> None:
    """Where the advertisement was sent does not matter: it has the address as its target.

    1. The Host looks for duplicates of an address.
    2. A host advertises it to the address's solicited-node group, in a frame for the Host alone.
    3. The Host does not have the address.
    """
    probing(lab)
    packet = claim(lab)
    packet[IPv6].dst = solicited_node(NEW)
    packet.dst = lab.host_mac
    lab.send(packet)
    not_assigned(lab)


@case(
    "SLAAC-1.9",
    "An address that another host probes for is not used",
    section="5.4.3",
    aliases=("v6lc:3.1.3",),
    mutant=DEAF,
)
def also_probed(lab: Tester) -> None:
    """Two have chosen the same address at the same time: neither gets it.

    1. The Host looks for duplicates of an address.
    2. A solicitation for it comes from ::, and another hardware address.
    3. The Host does not have the address.
    """
    probing(lab)
    lab.send(solicitation(lab, NEW, source="::", options=(), mac=STRANGER_MAC))
    not_assigned(lab)


@case(
    "SLAAC-1.10",
    "A Host's own solicitation that comes back is not another host's",
    rfc="RFC 7527",
    section="4.2",
    level=Level.SHOULD,
    mutant=Mutant(
        "takes it for another's",
        incoming=lambda frame: solicitation_of_another(frame) if _probes(frame) else frame,
    ),
)
def looped_back(lab: Tester) -> None:
    """A switch or a cable may send it back. A nonce in it tells whose it is.

    1. The Host looks for duplicates of an address; its frame comes back as it was.
    2. The Host has the address three seconds later.
    """
    found = probing(lab)
    lab.send(bytes(found))
    lab.check(has_address(lab, NEW, 3000 if lab.host.virtual else 4000), NEW, lab.host.addresses())


def solicitation_of_another(frame: Packet) -> Packet:
    """The same solicitation without anything that identifies the sender."""
    return computed(
        Ether(src=STRANGER_MAC, dst=frame.dst)
        / IPv6(src="::", dst=frame[IPv6].dst, hlim=255)
        / ICMPv6ND_NS(tgt=frame[ICMPv6ND_NS].tgt)
    )


@case(
    "SLAAC-1.11",
    "An advertisement that has come through a router takes no address away",
    rfc="RFC 4861",
    section="7.1.2",
    mutant=mending(IPv6, "does not look at the hop limit", hlim=255),
)
def wrong_hop_limit(lab: Tester) -> None:
    """Nobody from elsewhere has a say in it.

    1. The Host looks for duplicates of an address.
    2. An advertisement of it comes with the hop limit 254.
    3. The Host has the address two seconds later.
    """
    probing(lab)
    wrong = claim(lab)
    wrong[IPv6].hlim = 254
    lab.send(wrong)
    lab.check(has_address(lab, NEW, 2500), NEW, lab.host.addresses())


# --- group 2: the link-local address ------------------------------------------------------------


@case(
    "SLAAC-2.1",
    "The link-local address is looked for before it is used",
    section="5.4",
    aliases=("v6lc:3.1.1",),
    mutant=NO_PROBE,
    topology=BARE,
)
def link_local_probe(lab: Tester) -> None:
    """Have the interface configure itself.

    1. A solicitation comes from :: for the link-local address that the hardware address makes.
    2. The Host has it two seconds later.
    """
    lab.host.service(Service.SLAAC)
    lab.expect(
        ipv6(src="::", dst=solicited_node(lab.host_ll)) / neighbour_solicitation(tgt=lab.host_ll),
        3000,
    )
    lab.check(has_address(lab, lab.host_ll, 3000), lab.host_ll, lab.host.addresses())


@case(
    "SLAAC-2.2",
    "Nothing comes from the link-local address before it is known to be free",
    section="5.4",
    aliases=("v6lc:2.2.1",),
    mutant=altering(IPv6, "sends from it at once", src=lambda source: "fe80::5eff:fe00:5302"),
    topology=BARE,
)
def not_used_before(lab: Tester) -> None:
    """A router solicitation or a listener report may well be due, from no address.

    1. The interface configures itself: the link-local address is looked for.
    2. Until 0.9 seconds after that nothing comes from it.
    """
    lab.host.service(Service.SLAAC)
    lab.expect(ipv6(src="::") / neighbour_solicitation(tgt=lab.host_ll), 3000)
    lab.expect_nothing(ipv6(src=lab.host_ll), 900)


@case(
    "SLAAC-2.3",
    "A link-local address that another host has is not used",
    section="5.4.5",
    aliases=("v6lc:3.1.2",),
    mutant=DEAF,
    topology=BARE,
)
def link_local_taken(lab: Tester) -> None:
    """As any other.

    1. The interface configures itself; somebody advertises the link-local address.
    2. The Host has it not, and nothing comes from it.
    """
    lab.host.service(Service.SLAAC)
    lab.collect(ipv6(src="::") / neighbour_solicitation(tgt=lab.host_ll), 3000, at_most=1)
    lab.send(claim(lab, lab.host_ll))
    lab.run(50)
    lab.drain()
    lab.expect_nothing(ipv6(src=lab.host_ll), 2500)
    lab.check(not useful(lab, lab.host_ll), f"not {lab.host_ll}", lab.host.addresses())


@case(
    "SLAAC-2.4",
    "An interface whose hardware address makes a duplicate link-local address is disabled",
    section="5.4.5",
    level=Level.SHOULD,
    aliases=("v6lc:3.1.2",),
    mutant=DEAF,
    topology=BARE,
)
def disabled(lab: Tester) -> None:
    """Two stations with one hardware address: nothing good can come of going on.

    1. The interface configures itself; somebody advertises the link-local address.
    2. From then on no router solicitation comes, and no address is formed of a prefix that a
       router advertises.
    """
    lab.host.service(Service.SLAAC)
    lab.collect(ipv6(src="::") / neighbour_solicitation(tgt=lab.host_ll), 3000, at_most=1)
    lab.send(claim(lab, lab.host_ll))
    lab.run(50)
    lab.drain()
    lab.send(router_advertisement_of(lab, options=(prefix(),)))
    lab.expect_nothing(router_solicitation() | neighbour_solicitation(), 5000)
    lab.check(not useful(lab, formed(lab)), f"not {formed(lab)}", lab.host.addresses())
