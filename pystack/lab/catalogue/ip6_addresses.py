"""IPv6, group 2: which addresses are answered, used and forwarded (RFC 4291, RFC 6724)."""

from __future__ import annotations

import socket

from scapy.layers.inet import UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.packet import Packet, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._ip6 import ALL_NODES, unanswered
from pystack.lab.catalogue._mutants import altering, computed, hiding, mending
from pystack.lab.catalogue._udp import bound, expect_no_datagram
from pystack.lab.mutant import Mutant
from pystack.lab.packets import echo_reply6, echo_request6, ipv6, udp
from pystack.lab.plan import Topology
from pystack.lab.tester import Tester, solicited_node
from pystack.lab.verdict import Level

case = group("IPV6-2", rfc="RFC 4291")

HOST, TESTER, LINK_LOCAL = "2001:db8:1::2", "2001:db8:1::1", "fe80::5eff:fe00:5302"
BEYOND = "2001:db8:2::1"  # the tester's address on the second wire

FOR_ITSELF = mending(IPv6, "takes every packet for its own", dst=HOST)
FROM_TESTER = mending(IPv6, "takes every packet for the tester's", src=TESTER)


def _request(lab: Tester, **fields: str) -> Packet:
    return lab.ip6(**fields) / ICMPv6EchoRequest(id=1, seq=1, data=b"pystack")


def _at_the_port_of_all(frame: Packet) -> Packet:
    if frame.haslayer(UDP) and frame[IPv6].dst == "::1":
        frame[IPv6].dst = HOST
        return computed(frame)
    return frame


def _to_all_nodes(frame: Packet) -> Packet:
    if frame.haslayer(IPv6) and frame[IPv6].dst in ("ff00::1", "ff10::1"):
        frame[IPv6].dst = ALL_NODES
        return computed(frame)
    return frame


@case(
    "IPV6-2.1",
    "A packet from a multicast address is dropped",
    section="2.7",
    mutant=FROM_TESTER,
)
def multicast_source(lab: Tester) -> None:
    """Nobody can be at such an address.

    1. The tester sends an echo request whose source is ff02::1.
    2. No reply comes, to whatever address.
    """
    unanswered(lab, _request(lab, src=ALL_NODES))


@case(
    "IPV6-2.2",
    "An echo request from the unspecified address is not answered",
    section="2.5.2",
    mutant=FROM_TESTER,
)
def unspecified_source(lab: Tester) -> None:
    """There is nobody to answer to.

    1. The tester sends an echo request whose source is ::.
    2. No reply comes, to whatever address.
    """
    unanswered(lab, _request(lab, src="::"))


@case(
    "IPV6-2.3",
    "A packet to the unspecified address is dropped",
    section="2.5.2",
    mutant=FOR_ITSELF,
)
def unspecified_destination(lab: Tester) -> None:
    """It is nobody's address, and may be no destination.

    1. The tester sends the Host an echo request whose destination is ::.
    2. No reply comes.
    """
    unanswered(lab, _request(lab, dst="::"))


@case(
    "IPV6-2.4",
    "A packet from the wire to the loopback address is dropped",
    section="2.5.3",
    mutant=FOR_ITSELF,
)
def loopback_destination(lab: Tester) -> None:
    """Only a node itself can send to its loopback address.

    1. The tester sends the Host an echo request whose destination is ::1.
    2. No reply comes.
    """
    unanswered(lab, _request(lab, dst="::1"))


@case(
    "IPV6-2.5",
    "A program that waits at the loopback address hears nobody from the wire",
    section="2.5.3",
    mutant=Mutant(
        "takes ::1 from the wire for its own address",
        incoming=_at_the_port_of_all,
    ),
)
def loopback_is_closed(lab: Tester) -> None:
    """The same for a datagram, and a program that is there.

    1. The Host's program binds a datagram socket to any address.
    2. The tester sends a datagram to its port of ::1.
    3. The program receives nothing.
    """
    sock, port = bound(lab, family=6, address="::")
    lab.send(lab.ip6(dst="::1") / UDP(sport=4000, dport=port) / Raw(b"from outside"))
    expect_no_datagram(lab, sock)


@case(
    "IPV6-2.6",
    "A packet from the wire with the loopback address as source is dropped",
    section="2.5.3",
    level=Level.MAY,
    mutant=mending(IPv6, "does not look at the source", src=TESTER),
)
def loopback_source(lab: Tester) -> None:
    """Such a packet may be on no wire; a host that accepts it takes a stranger for itself.

    1. The Host's program binds a datagram socket.
    2. The tester sends it a datagram whose source is ::1.
    3. The program receives nothing.
    """
    sock, port = bound(lab, family=6)
    lab.send(lab.ip6(src="::1") / UDP(sport=4000, dport=port) / Raw(b"from myself"))
    expect_no_datagram(lab, sock)


@case(
    "IPV6-2.7",
    "The group of all nodes is the Host's too",
    section="2.8",
    mutant=hiding(
        lambda frame: frame.dst == "33:33:00:00:00:01", "is no member of the group of all nodes"
    ),
)
def all_nodes(lab: Tester) -> None:
    """Send to ff02::1.

    1. The tester sends an echo request to ff02::1.
    2. The Host answers it, from one of its addresses.
    """
    lab.send(_request(lab, dst=ALL_NODES))
    reply = lab.expect(ipv6(dst=lab.tester6) / echo_reply6())
    lab.check(reply[IPv6].src in (lab.host6, lab.host_ll), "the Host's address", reply[IPv6].src)


@case(
    "IPV6-2.8",
    "The solicited-node group of each address is the Host's too",
    section="2.8",
    mutant=hiding(
        lambda frame: (
            bool(frame.haslayer(ICMPv6EchoRequest)) and frame[IPv6].dst.startswith("ff02::1:ff")
        ),
        "takes solicitations alone from its solicited-node group",
    ),
)
def solicited_nodes(lab: Tester) -> None:
    """Send to the groups of both of the Host's addresses.

    1. The tester sends an echo request to the solicited-node group of the Host's global address.
    2. The Host answers it.
    3. The same with its link-local address.
    """
    for address in (lab.host6, lab.host_ll):
        lab.send(_request(lab, dst=solicited_node(address)))
        lab.expect(ipv6(dst=lab.tester6) / echo_reply6())


@case(
    "IPV6-2.9",
    "A packet to a group that was not joined is dropped",
    section="2.8",
    mutant=FOR_ITSELF,
)
def foreign_group(lab: Tester) -> None:
    """Send to a group without members.

    1. The tester sends an echo request to ff02::1234.
    2. No reply comes.
    """
    unanswered(lab, _request(lab, dst="ff02::1234"))


@case(
    "IPV6-2.10",
    "A packet to a group of the reserved scope 0 is dropped",
    section="2.7",
    mutant=Mutant("does not look at a group's scope", incoming=_to_all_nodes),
)
def reserved_scope(lab: Tester) -> None:
    """A scope of zero is reserved.

    1. The tester sends echo requests to ff00::1 and ff10::1.
    2. No reply comes.
    """
    unanswered(lab, _request(lab, dst="ff00::1"), _request(lab, dst="ff10::1"))


@case(
    "IPV6-2.11",
    "A host drops packets for other hosts",
    rfc="RFC 8200",
    section="2",
    mutant=FOR_ITSELF,
)
def for_somebody_else(lab: Tester) -> None:
    """Send a host what it would have to forward.

    1. The tester sends the Host's MAC echo requests for 2001:db8:1::77 and for 2001:db8:9::77.
    2. Neither a reply nor an error comes, and they are not sent on.
    """
    unanswered(lab, _request(lab, dst="2001:db8:1::77"), _request(lab, dst="2001:db8:9::77"))
    lab.send(_request(lab, dst="2001:db8:9::77"))
    lab.expect_nothing(echo_request6())


@case(
    "IPV6-2.12",
    "To a link-local address the Host answers from its link-local address",
    section="2.5.6",
    mutant=altering(IPv6, "answers from its global address", src=HOST),
)
def link_local(lab: Tester) -> None:
    """Ask the Host's link-local address.

    1. The tester sends an echo request from its link-local address to the Host's.
    2. The Host answers from the address that was asked.
    """
    lab.send(_request(lab, src=lab.tester_ll, dst=lab.host_ll))
    lab.expect(ipv6(src=lab.host_ll, dst=lab.tester_ll) / echo_reply6())


@case(
    "IPV6-2.13",
    "A router does not forward packets with a link-local source",
    section="2.5.6",
    topology=Topology.ROUTER,
    mutant=mending(IPv6, "does not look at the scope of the source", src=TESTER),
)
def link_local_stays(lab: Tester) -> None:
    """Link-local means that it stays on the link.

    1. The Host forwards an echo request of the tester's global address to the second wire.
    2. The tester sends the same one from its link-local address.
    3. It does not come out on the second wire.
    """
    with lab.preamble("forwarding"):
        lab.send(_request(lab, dst=BEYOND))
        lab.expect(echo_request6(), 3000, port=1)
    lab.send(_request(lab, src=lab.tester_ll, dst=BEYOND))
    lab.expect_nothing(echo_request6(), port=1)


@case(
    "IPV6-2.14",
    "A router does not forward packets from the unspecified address",
    section="2.5.2",
    topology=Topology.ROUTER,
    mutant=mending(IPv6, "does not look at the source", src=TESTER),
)
def unspecified_stays(lab: Tester) -> None:
    """A packet without a sender's address may not leave the link.

    1. The Host forwards an echo request of the tester's global address to the second wire.
    2. The tester sends the same one from the address ::.
    3. It does not come out on the second wire.
    """
    with lab.preamble("forwarding"):
        lab.send(_request(lab, dst=BEYOND))
        lab.expect(echo_request6(), 3000, port=1)
    lab.send(_request(lab, src="::", dst=BEYOND))
    lab.expect_nothing(echo_request6(), port=1)


@case(
    "IPV6-2.15",
    "A router does not forward packets from the loopback address",
    section="2.5.3",
    topology=Topology.ROUTER,
    mutant=mending(IPv6, "does not look at the source", src=TESTER),
)
def loopback_stays(lab: Tester) -> None:
    """Such a packet may not leave its node.

    1. The Host forwards an echo request of the tester's global address to the second wire.
    2. The tester sends the same one from ::1, and one to ::1.
    3. Neither comes out on the second wire.
    """
    with lab.preamble("forwarding"):
        lab.send(_request(lab, dst=BEYOND))
        lab.expect(echo_request6(), 3000, port=1)
    lab.send(_request(lab, src="::1", dst=BEYOND))
    lab.send(_request(lab, dst="::1"))
    lab.expect_nothing(echo_request6(), port=1)


@case(
    "IPV6-2.16",
    "A datagram to a global address has a global source",
    rfc="RFC 6724",
    section="5, rule 2",
    mutant=altering(IPv6, "sends from its link-local address", src=LINK_LOCAL),
)
def global_source(lab: Tester) -> None:
    """Look at the source of what an unbound socket sends.

    1. The Host's program sends a datagram to the tester's global address.
    2. Its source is the Host's global address.
    """
    sock = lab.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.sendto(b"data", (lab.tester6, 4000))
    lab.expect(ipv6(src=lab.host6, dst=lab.tester6) / udp(dport=4000))


@case(
    "IPV6-2.17",
    "Of two global addresses the one with the longest matching prefix is the source",
    rfc="RFC 6724",
    section="5, rule 8",
    level=Level.SHOULD,
    mutant=altering(IPv6, "always sends from its first address", src=HOST),
)
def longest_match(lab: Tester) -> None:
    """Give the Host an address that is nearer to the destination.

    1. The Host gets 2001:db8:4::2 as a second address.
    2. The Host's program sends a datagram to 2001:db8:4:1::1, which is behind the router.
    3. Its source is the second address.
    4. A datagram to the tester's own address still has the first one.
    """
    lab.host.add_address("2001:db8:4::2/64")
    lab.drain(2500 if lab.host.virtual else 200)
    sock = lab.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.sendto(b"data", ("2001:db8:4:1::1", 4000))
    lab.expect(ipv6(src="2001:db8:4::2", dst="2001:db8:4:1::1") / udp(dport=4000))
    again = lab.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    again.sendto(b"data", (lab.tester6, 4001))
    lab.expect(ipv6(src=lab.host6, dst=lab.tester6) / udp(dport=4001))
