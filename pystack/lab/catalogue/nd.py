"""Neighbor Discovery, group 1: asking for a neighbour's hardware address (RFC 4861 7.2.2)."""

from __future__ import annotations

import itertools
import socket

from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._mutants import SILENT, altering, dropping
from pystack.lab.catalogue._nd import (
    FAR,
    NEW_MAC,
    STRANGER,
    advertisement,
    asks_for,
)
from pystack.lab.mutant import Mutant
from pystack.lab.packets import (
    destination_unreachable6,
    echo_reply6,
    echo_request6,
    ether,
    inner_ipv6,
    ipv6,
    layer,
    neighbour_solicitation,
    udp,
)
from pystack.lab.plan import Topology
from pystack.lab.tester import Tester, multicast_mac, solicited_node
from pystack.lab.verdict import Level

case = group("ND-1", rfc="RFC 4861", section="7.2.2")

BEYOND = "2001:db8:2::77"  # nobody, on the second wire of a router


def _solicits(frame: Packet) -> bool:
    return bool(frame.haslayer(ICMPv6ND_NS))


NO_SOLICITATION = dropping(_solicits, "asks nobody")
SENDS_AT_ONCE_AGAIN = Mutant(
    "sends each solicitation twice", outgoing=lambda frame: [frame] * (1 + _solicits(frame))
)


def _without_option(frame: Packet) -> Packet:
    if not frame.haslayer(ICMPv6NDOptSrcLLAddr) or not _solicits(frame):
        return frame
    packet = frame[IPv6].copy()
    packet[ICMPv6ND_NS].remove_payload()
    del packet.plen, packet[ICMPv6ND_NS].cksum
    changed: Packet = Ether(src=frame.src, dst=frame.dst) / packet
    return changed


def _number(frame: Packet) -> int:
    """Which echo request an error is about."""
    return int(frame[ICMPv6EchoRequest].seq)


def _about_the_first(frame: Packet) -> bool:
    return bool(
        frame.haslayer(ICMPv6DestUnreach)
        and frame.haslayer(ICMPv6EchoRequest)
        and frame[ICMPv6EchoRequest].seq == 1
    )


def _spent(times: list[float]) -> str:
    return ", ".join(f"{after - before:.2f}" for before, after in itertools.pairwise(times)) + " s"


@case(
    "ND-1.1",
    "A packet to a neighbour that is not known begins with a solicitation to its group",
    aliases=("v6lc:2.1.5",),
    mutant=altering(ICMPv6ND_NS, "asks for the router instead of the target", tgt="2001:db8:1::1"),
)
def asks_first(lab: Tester) -> None:
    """Have the Host send to a neighbour that it knows nothing of.

    1. The Host pings 2001:db8:1::77.
    2. A neighbour solicitation for that address goes to its solicited-node group and to the
       hardware address of that group.
    """
    lab.host.ping(STRANGER)
    group = solicited_node(STRANGER)
    lab.expect(
        ether(src=lab.host_mac, dst=multicast_mac(group))
        / ipv6(dst=group)
        / neighbour_solicitation(tgt=STRANGER, code=0)
    )


@case(
    "ND-1.2",
    "A solicitation has the hop limit 255",
    section="4.3",
    mutant=altering(IPv6, "sends with the hop limit 64", hlim=64),
)
def hop_limit(lab: Tester) -> None:
    """Its receiver drops what has another: it may have come through a router.

    1. The Host pings 2001:db8:1::77.
    2. The solicitation's hop limit is 255.
    """
    lab.host.ping(STRANGER)
    found = lab.expect(asks_for(STRANGER))
    lab.check(found[IPv6].hlim == 255, "hop limit 255", found[IPv6].hlim)


@case(
    "ND-1.3",
    "A solicitation to a group tells its sender's hardware address",
    section="4.3",
    mutant=Mutant("leaves the option out", outgoing=_without_option),
)
def source_option(lab: Tester) -> None:
    """A host that is asked need not ask back.

    1. The Host pings 2001:db8:1::77.
    2. The solicitation has a source link-layer address option with the Host's address.
    """
    lab.host.ping(STRANGER)
    lab.expect(
        asks_for(STRANGER) / layer(ICMPv6NDOptSrcLLAddr, lladdr=lab.host_mac),
        but_not=asks_for(STRANGER),
    )


@case(
    "ND-1.4",
    "A solicitation comes from the address that the waiting packet comes from",
    level=Level.SHOULD,
    mutant=altering(
        IPv6, "asks from its link-local address", src=lambda source: "fe80::5eff:fe00:5302"
    ),
)
def same_source(lab: Tester) -> None:
    """The answer to the packet will go there: the neighbour learns what it needs.

    1. The Host has a second address. A program sends a datagram from it to 2001:db8:1::77, and
       another from the first one to 2001:db8:1::78.
    2. Each solicitation comes from the address of its datagram.
    """
    second, other = "2001:db8:1::22", "2001:db8:1::78"
    lab.host.add_address(f"{second}/64")
    for source, target in ((second, STRANGER), (lab.host6, other)):
        sock = lab.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.bind((source, 0))
        sock.sendto(b"x", (target, 4000))
        lab.expect(ipv6(src=source) / asks_for(target), but_not=asks_for(target))


@case(
    "ND-1.5",
    "The packet that had to wait is sent when the advertisement has come",
    aliases=("v6lc:2.1.2",),
    mutant=dropping(
        lambda frame: bool(frame.haslayer(UDP)) and frame.dst == NEW_MAC, "forgets the packet"
    ),
)
def queued(lab: Tester) -> None:
    """At least one packet waits for each neighbour.

    1. A program sends a datagram to 2001:db8:1::77, and the Host asks for it.
    2. The advertisement comes; the datagram is sent to the address that it gave.
    """
    sock = lab.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.sendto(b"first", (STRANGER, 4000))
    lab.expect(asks_for(STRANGER))
    lab.send(advertisement(lab, STRANGER, mac=NEW_MAC, S=1, O=1))
    lab.expect(ether(dst=NEW_MAC) / ipv6(dst=STRANGER) / udp(dport=4000))


@case(
    "ND-1.6",
    "Of several packets that wait for a neighbour's advertisement the latest is sent",
    level=Level.SHOULD,
    aliases=("v6lc:2.1.2",),
    mutant=dropping(
        lambda frame: bool(frame.haslayer(UDP)) and frame[UDP].len == 8 + 3,
        "keeps the oldest packets",
    ),
)
def latest_is_kept(lab: Tester) -> None:
    """What finds no place takes that of the oldest.

    1. A program sends three datagrams to 2001:db8:1::77, while the Host asks for it.
    2. The advertisement comes; the third datagram is sent.
    """
    sock = lab.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    for number in (1, 2, 3):
        sock.sendto(bytes(number), (STRANGER, 4000))
    lab.expect(asks_for(STRANGER))
    lab.send(advertisement(lab, STRANGER, mac=NEW_MAC, S=1, O=1))
    lab.expect(ipv6(dst=STRANGER) / udp(dport=4000, len=8 + 3))


@case(
    "ND-1.7",
    "A neighbour that is silent is asked for three times",
    aliases=("v6lc:2.1.5",),
    mutant=SENDS_AT_ONCE_AGAIN,
)
def three_times(lab: Tester) -> None:
    """MAX_MULTICAST_SOLICIT is 3.

    1. The Host pings 2001:db8:1::77, once. Nobody answers.
    2. In six seconds there are three solicitations.
    """
    lab.host.ping(STRANGER)
    found = len(lab.collect(asks_for(STRANGER), 6000))
    lab.check(found == 3, "three solicitations", found)


@case(
    "ND-1.8",
    "Solicitations for one neighbour are a second apart",
    aliases=("v6lc:2.1.5",),
    mutant=SENDS_AT_ONCE_AGAIN,
)
def one_a_second(lab: Tester) -> None:
    """RetransTimer is a second unless a router says otherwise. It is a limit, too.

    1. At a moment of no timer's, the Host pings 2001:db8:1::77. Nobody answers.
    2. The solicitations come about a second apart.
    """
    lab.run(370)
    lab.host.ping(STRANGER)
    times = [float(one.time) for one in lab.collect(asks_for(STRANGER), 4000)]
    lab.need(len(times) >= 2, "the Host asks again")
    good = all(0.9 <= after - before <= 1.6 for before, after in itertools.pairwise(times))
    lab.check(good, "about a second between two solicitations", _spent(times))


@case(
    "ND-1.9",
    "Many packets that wait for one neighbour make no more solicitations",
    mutant=Mutant(
        "asks five times at once", outgoing=lambda frame: [frame] * (5 if _solicits(frame) else 1)
    ),
)
def no_flood(lab: Tester) -> None:
    """At most one solicitation each RetransTimer, whatever there is to send.

    1. A program sends twenty datagrams in a second to 2001:db8:1::77. Nobody answers.
    2. In that time there are one or two solicitations.
    """
    sock = lab.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    for _ in range(20):
        sock.sendto(b"x", (STRANGER, 4000))
        lab.run(45)
    found = len(lab.collect(asks_for(STRANGER), 0))
    lab.check(1 <= found <= 2, "one or two solicitations", found)


@case(
    "ND-1.10",
    "A router reports a packet whose next hop can't be found: address unreachable",
    mutant=altering(
        IPv6, "reports nothing", dst=lambda to: "2001:db8:1::dead" if to.endswith(":1::1") else to
    ),
    topology=Topology.ROUTER,
)
def unreachable(lab: Tester) -> None:
    """The sender must be told: code 3.

    1. The tester sends an echo request through the Host to 2001:db8:2::77, whom nobody knows.
    2. The Host asks three times without an answer, then sends the tester a destination
       unreachable with code 3 about that packet.
    """
    lab.resolve(6)
    lab.send(lab.ip6(dst=BEYOND) / lab.echo6().payload)
    with lab.preamble("the Host looks for the next hop"):
        lab.expect(asks_for(BEYOND), 1500, port=1)
    lab.expect(
        ipv6(dst=lab.tester6)
        / destination_unreachable6(code=3)
        / inner_ipv6(src=lab.tester6, dst=BEYOND),
        5000,
    )


@case(
    "ND-1.11",
    "Each packet that waited is reported",
    mutant=dropping(_about_the_first, "reports the last one only"),
    topology=Topology.ROUTER,
)
def each_unreachable(lab: Tester) -> None:
    """There is an error for each packet of the queue.

    1. The tester sends two echo requests through the Host to 2001:db8:2::77.
    2. There are two destination unreachables, one about each.
    """
    lab.resolve(6)
    for number in (1, 2):
        lab.send(lab.ip6(dst=BEYOND) / lab.echo6(sequence=number).payload)
    with lab.preamble("the Host looks for the next hop"):
        lab.expect(asks_for(BEYOND), 1500, port=1)
    found = [_number(lab.expect(destination_unreachable6(code=3) / inner_ipv6(dst=BEYOND), 5000))]
    found.append(_number(lab.expect(destination_unreachable6(code=3) / inner_ipv6(dst=BEYOND))))
    lab.check(sorted(found) == [1, 2], "errors about 1 and 2", found)


@case(
    "ND-1.12",
    "A packet to a group is sent without asking anybody",
    rfc="RFC 2464",
    section="7",
    mutant=altering(Ether, "sends to groups as to everybody", dst="ff:ff:ff:ff:ff:ff"),
)
def multicast(lab: Tester) -> None:
    """A group's hardware address ends with the group's last four octets.

    1. A program sends a datagram to ff0e::1:2:3.
    2. The frame goes to 33:33:00:02:00:03, and nobody is asked.
    """
    sock = lab.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.sendto(b"group", ("ff0e::1:2:3", 4000))
    lab.expect(ether(dst="33:33:00:02:00:03") / udp(dport=4000), but_not=asks_for("ff0e::1:2:3"))


@case(
    "ND-1.13",
    "What is not on the link is sent to the router, and the router asked for",
    section="5.2",
    aliases=("v6lc:2.1.1",),
    mutant=altering(Ether, "sends to another station", dst=NEW_MAC),
)
def router(lab: Tester) -> None:
    """The next hop is asked for, not the destination.

    1. The Host pings 2001:db8:ff::9.
    2. It asks for the router's address, and sends the request there.
    """
    lab.host.ping(FAR)
    lab.expect(asks_for(lab.tester6), but_not=asks_for(FAR))
    lab.expect(ether(dst=lab.tester_mac) / ipv6(dst=FAR) / echo_request6())


@case(
    "ND-1.14",
    "A link-local neighbour is asked for from the link-local address",
    level=Level.SHOULD,
    aliases=("v6lc:2.1.5",),
    mutant=NO_SOLICITATION,
)
def link_local(lab: Tester) -> None:
    """Link-local addresses are on the link, whatever prefixes there are.

    1. The tester's link-local address pings the Host's.
    2. Before it answers, the Host asks for that address from its own link-local one.
    """
    lab.send(lab.ip6(src=lab.tester_ll, dst=lab.host_ll) / lab.echo6().payload)
    lab.expect(ipv6(src=lab.host_ll) / asks_for(lab.tester_ll), but_not=asks_for(lab.tester_ll))
    lab.expect(ether(dst=lab.tester_mac) / ipv6(dst=lab.tester_ll) / echo_reply6())


@case(
    "ND-1.15",
    "A neighbour that was not found is asked for again when there is something to send",
    mutant=SILENT,
)
def tries_again(lab: Tester) -> None:
    """That nobody answered is not for ever.

    1. The Host pings 2001:db8:1::77, and gives up after three solicitations.
    2. Six seconds later it pings again, and asks again; the answer comes, and the request.
    """
    lab.host.ping(STRANGER)
    lab.drain(6000)
    lab.own(STRANGER)
    lab.host.ping(STRANGER)
    lab.expect(asks_for(STRANGER), 500)
    lab.expect(ether(dst=lab.tester_mac) / ipv6(dst=STRANGER) / echo_request6())


@case(
    "ND-1.16",
    "A packet waits for each neighbour, however many there are",
    aliases=("v6lc:2.1.2",),
    mutant=dropping(
        lambda frame: bool(frame.haslayer(UDP)) and frame[UDP].len == 8 + 24,
        "has room for some of them only",
    ),
)
def queue_for_each(lab: Tester) -> None:
    """The queues are the neighbours', one for each.

    1. A program sends a datagram to each of twenty-four neighbours, and all are solicited.
    2. All answer: each gets its datagram.
    """
    sock = lab.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    for number in range(1, 25):
        lab.own(f"2001:db8:1::1:{number:x}", f"02:00:5e:00:54:{number:02x}")
    with lab.silent():
        for number in range(1, 25):
            sock.sendto(bytes(number), (f"2001:db8:1::1:{number:x}", 4000))
    for address, mac in [one for one in lab.owned.items() if "::1:" in one[0]]:
        lab.send(advertisement(lab, address, mac=mac, S=1, O=1))
    found = {one.dst for one in lab.collect(udp(dport=4000), 1500, at_most=24)}
    lab.check(len(found) == 24, "a datagram for each of twenty-four", len(found))
