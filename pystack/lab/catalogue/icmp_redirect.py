"""ICMP, groups 4 and 5: redirects, to hosts and from routers (RFC 792, RFC 1122, RFC 1812)."""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._ip4 import has_ip, is_alive, option, program, with_header
from pystack.lab.catalogue._mutants import altering, answering, computed, dropping, hiding
from pystack.lab.host import HostSocket
from pystack.lab.mutant import Mutant
from pystack.lab.packets import ether, icmp, inner_ipv4, ipv4
from pystack.lab.plan import Topology
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("ICMP", rfc="RFC 1122")

RFC, SECTION = "RFC 1122", "3.2.2.2"
FAR, FURTHER = "198.51.100.9", "198.51.100.10"
OTHER, OTHER_MAC = "192.0.2.77", "02:00:5e:00:53:77"


def is_redirect(frame: Packet) -> bool:
    """Whether a frame carries a redirect."""
    return bool(frame.haslayer(ICMP)) and frame[ICMP].type == 5


def first_hop(lab: Tester, sock: HostSocket, destination: str = FAR) -> Packet:
    """A datagram of the Host's program to an address, wherever it is sent first."""
    sock.sendto(b"far away", (destination, 4000))
    return lab.expect(ipv4(dst=destination, proto=17))


def redirected(lab: Tester, sock: HostSocket, code: int = 1, **fields: Any) -> None:
    """Makes the Host send by its router, which says that 192.0.2.77 is the better one.

    Args:
        lab: The case's tester.
        sock: The program's.
        code: 1 for the host, 0 for the network.
        fields: Others of the redirect: gw, chksum; src: its sender.
    """
    lab.own(OTHER, OTHER_MAC)
    lab.learn(OTHER)
    with lab.preamble("a datagram by way of the router"):
        quoted = first_hop(lab, sock)
        lab.check(quoted.dst == lab.tester_mac, lab.tester_mac, quoted.dst)
    source = fields.pop("src", lab.tester4)
    message = ICMP(**{"type": 5, "code": code, "gw": OTHER, **fields})
    lab.send(lab.ip(src=source) / message / Raw(bytes(quoted[IP])[:28]))
    lab.run(100)


def goes_to(lab: Tester, sock: HostSocket, mac: str, destination: str = FAR) -> None:
    """The program's next datagram goes to this hardware address."""
    found = first_hop(lab, sock, destination)
    lab.check(found.dst == mac, f"a frame to {mac}", f"one to {found.dst}")


@case(
    "ICMP-4.1",
    "A host that is redirected sends by the new router",
    section=SECTION,
    mutant=hiding(is_redirect, "ignores redirects"),
)
def redirect(lab: Tester) -> None:
    """The first router knows a better one.

    1. The Host's program sends to 198.51.100.9; the datagram goes to the router.
    2. The router sends a redirect for this host to 192.0.2.77, which quotes the datagram.
    3. The program's next datagram to 198.51.100.9 goes to 192.0.2.77.
    """
    sock, _port = program(lab)
    redirected(lab, sock)
    goes_to(lab, sock, OTHER_MAC)


def _to_the_other(frame: Packet) -> Packet:
    if has_ip(frame) and frame[IP].dst == FURTHER:
        frame.dst = OTHER_MAC
    return frame


@case(
    "ICMP-4.2",
    "A redirect for a network is taken as one for the host",
    section="3.3.1.2",
    level=Level.SHOULD,
    mutant=Mutant("redirects the whole network", outgoing=_to_the_other),
)
def network_redirect(lab: Tester) -> None:
    """How large the network is the redirect does not say.

    1. The Host's program sends to 198.51.100.9 by its router, which sends a redirect for the
       network to 192.0.2.77.
    2. The program's next datagram to 198.51.100.9 goes to 192.0.2.77.
    3. One to 198.51.100.10 goes to the router.
    """
    sock, _port = program(lab)
    redirected(lab, sock, code=0)
    goes_to(lab, sock, OTHER_MAC)
    goes_to(lab, sock, lab.tester_mac, FURTHER)


def _from_the_router(frame: Packet) -> Packet:
    return with_header(frame, src="192.0.2.1") if is_redirect(frame) else frame


@case(
    "ICMP-4.3",
    "A redirect not from the router in use is ignored",
    section=SECTION,
    level=Level.SHOULD,
    mutant=Mutant("does not look whom a redirect is from", incoming=_from_the_router),
)
def redirect_from_a_stranger(lab: Tester) -> None:
    """Else any station could turn the traffic to itself.

    1. The Host's program sends to 198.51.100.9 by its router.
    2. 192.0.2.66, which is no router of the Host's, sends a redirect to 192.0.2.77.
    3. The program's next datagram goes to the router.
    """
    sock, _port = program(lab)
    redirected(lab, sock, src="192.0.2.66")
    goes_to(lab, sock, lab.tester_mac)


def _to_a_neighbour(frame: Packet) -> Packet:
    if is_redirect(frame):
        frame[ICMP].gw = OTHER
        return computed(frame)
    return frame


@case(
    "ICMP-4.4",
    "A redirect to a router that is on another network is ignored",
    section=SECTION,
    level=Level.SHOULD,
    mutant=Mutant("does not look where the new router is", incoming=_to_a_neighbour),
)
def redirect_off_link(lab: Tester) -> None:
    """A router that can't be reached is none.

    1. The Host's program sends to 198.51.100.9 by its router, which redirects it to 203.0.113.77.
    2. The program's next datagram goes to the router.
    """
    sock, _port = program(lab)
    redirected(lab, sock, gw="203.0.113.77")
    goes_to(lab, sock, lab.tester_mac)


def _right_sum(frame: Packet) -> Packet:
    return computed(frame) if is_redirect(frame) else frame


@case(
    "ICMP-4.5",
    "A redirect whose checksum is wrong is ignored",
    rfc="RFC 792",
    section="Redirect Message",
    level=Level.SHOULD,
    mutant=Mutant("does not verify a redirect's checksum", incoming=_right_sum),
)
def redirect_checksum(lab: Tester) -> None:
    """The new router's address may be what was damaged.

    1. The Host's program sends to 198.51.100.9 by its router, which redirects it with a wrong
       checksum.
    2. The program's next datagram goes to the router.
    """
    sock, _port = program(lab)
    redirected(lab, sock, chksum=0x0BAD)
    goes_to(lab, sock, lab.tester_mac)


def _redirect_back(frame: Packet) -> Packet:
    return (
        Ether(src=frame.dst, dst=frame.src)
        / IP(src="192.0.2.2", dst=frame[IP].src)
        / ICMP(type=5, code=1, gw=OTHER)
        / Raw(bytes(frame[IP])[:28])
    )


@case(
    "ICMP-4.6",
    "A host sends no redirect",
    section=SECTION,
    level=Level.SHOULD,
    mutant=answering(has_ip, _redirect_back, "redirects without being a router"),
)
def host_does_not_redirect(lab: Tester) -> None:
    """Redirects are for routers to send.

    1. The tester sends packets to the Host's hardware address that are for 198.51.100.9 and for
       192.0.2.77.
    2. No redirect comes; an echo request is answered.
    """
    lab.own(OTHER, OTHER_MAC)
    for destination in (FAR, OTHER):
        lab.send(lab.ip(dst=destination) / UDP(sport=4000, dport=4000) / Raw(b"x"))
    lab.expect_nothing(icmp(type=5), 300)
    is_alive(lab)


# --- routers -------------------------------------------------------------------------------------

REDIRECTS_ALL = answering(
    lambda frame: has_ip(frame) and not frame[IP].dst.startswith("192.0.2."),
    _redirect_back,
    "redirects whatever it forwards",
)
ROUTER = ("RFC 1812", "5.2.7.2")


def far_by_the_other(lab: Tester) -> None:
    """Gives the Host a route to 198.51.100.0/25 by way of 192.0.2.77, on the first wire."""
    lab.own(OTHER, OTHER_MAC)
    lab.learn(OTHER)
    lab.resolve()
    lab.host.add_route("198.51.100.0/25", OTHER)


def through(lab: Tester, **fields: Any) -> Packet:
    """A datagram that the Host is to forward to 198.51.100.9."""
    return lab.ip(**{"dst": FAR, "id": 0x792, **fields}) / UDP(sport=4000, dport=4000) / Raw(b"x")


@case(
    "ICMP-5.1",
    "A router that sends a packet back where it came from tells the sender of the better one",
    rfc="RFC 792",
    section="Redirect Message",
    aliases=("talk:redirect-792-p13",),
    topology=Topology.ROUTER,
    mutant=dropping(is_redirect, "sends no redirects"),
)
def router_redirects(lab: Tester) -> None:
    """The sender and the next router are neighbours: the way by the Host is one too many.

    1. The Host routes 198.51.100.0/25 by way of 192.0.2.77, which is on the tester's network.
    2. The tester, 192.0.2.1, sends a datagram to 198.51.100.9 by way of the Host.
    3. A redirect comes to the tester from the Host's address, names 192.0.2.77, and quotes the
       datagram.
    """
    far_by_the_other(lab)
    lab.send(through(lab))
    lab.expect(
        ether(dst=lab.tester_mac)
        / ipv4(src=lab.host4, dst=lab.tester4)
        / icmp(type=5, gw=OTHER)
        / inner_ipv4(src=lab.tester4, dst=FAR, id=0x792)
    )


@case(
    "ICMP-5.2",
    "A packet that leads to a redirect is forwarded all the same",
    rfc="RFC 792",
    section="Redirect Message",
    topology=Topology.ROUTER,
    mutant=dropping(
        lambda frame: has_ip(frame) and frame[IP].dst == FAR, "redirects instead of forwarding"
    ),
)
def forwarded_all_the_same(lab: Tester) -> None:
    """The redirect is for the next packet.

    1. As for ICMP-5.1, the tester sends a datagram to 198.51.100.9 by way of the Host.
    2. The datagram goes to the hardware address of 192.0.2.77, with a TTL that is one less.
    """
    far_by_the_other(lab)
    lab.send(through(lab, ttl=20))
    lab.expect(ether(dst=OTHER_MAC) / ipv4(src=lab.tester4, dst=FAR, ttl=19, id=0x792))


@case(
    "ICMP-5.3",
    "A router redirects for the host, never for the network",
    rfc=ROUTER[0],
    section=ROUTER[1],
    topology=Topology.ROUTER,
    mutant=altering(ICMP, "redirects for the network", code=0),
)
def code_of_redirect(lab: Tester) -> None:
    """Without classes of addresses nobody knows which network is meant.

    1. As for ICMP-5.1, the tester sends a datagram to 198.51.100.9 by way of the Host.
    2. The redirect's code is 1 or 3.
    """
    far_by_the_other(lab)
    lab.send(through(lab))
    found = lab.expect(icmp(type=5))[ICMP].code
    lab.check(found in (1, 3), "code 1 or 3", found)


@case(
    "ICMP-5.4",
    "A router does not redirect a source outside the next router's network",
    rfc=ROUTER[0],
    section=ROUTER[1],
    topology=Topology.ROUTER,
    mutant=REDIRECTS_ALL,
)
def sender_is_far(lab: Tester) -> None:
    """The sender could not reach the other router, and so has no use for its address.

    1. The Host routes 198.51.100.0/25 by way of 192.0.2.77, and 198.51.100.128/25 by way of the
       tester.
    2. A datagram from 198.51.100.200 to 198.51.100.9 comes by way of the tester.
    3. It is forwarded to 192.0.2.77; no redirect comes.
    """
    far_by_the_other(lab)
    lab.host.add_route("198.51.100.128/25", lab.tester4)
    lab.send(through(lab, src="198.51.100.200"))
    lab.expect(ether(dst=OTHER_MAC) / ipv4(dst=FAR), but_not=icmp(type=5))
    lab.expect_nothing(icmp(type=5), 300)


@case(
    "ICMP-5.5",
    "A router does not redirect for what leaves by another wire",
    rfc=ROUTER[0],
    section=ROUTER[1],
    topology=Topology.ROUTER,
    mutant=REDIRECTS_ALL,
)
def other_wire(lab: Tester) -> None:
    """Then the Host is the way.

    1. The tester sends a datagram to 203.0.113.1 by way of the Host.
    2. It is forwarded to the other wire; no redirect comes.
    """
    lab.learn(lab.other.tester4, port=1)
    lab.send(through(lab, dst=lab.other.tester4))
    lab.expect(ipv4(dst=lab.other.tester4), port=1)
    lab.expect_nothing(icmp(type=5), 300)


@case(
    "ICMP-5.6",
    "A router does not redirect for a packet with a source route",
    rfc=ROUTER[0],
    section=ROUTER[1],
    topology=Topology.ROUTER,
    mutant=REDIRECTS_ALL,
)
def source_routed(lab: Tester) -> None:
    """A source that chooses the route wants that route.

    1. As for ICMP-5.1, the tester sends a datagram to 198.51.100.9 by way of the Host, but with a
       loose source route that goes on from there to 198.51.100.10.
    2. No redirect comes, whether it is forwarded or not; an echo request is answered.
    """
    far_by_the_other(lab)
    lab.send(through(lab, options=option(131, 7, 4, 198, 51, 100, 10)))
    lab.expect_nothing(icmp(type=5), 300)
    is_alive(lab)
