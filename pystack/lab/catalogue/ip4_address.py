"""IPv4, group 2: addresses (RFC 1122 3.2.1.3 and 3.3.6, RFC 1112)."""

from __future__ import annotations

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from pystack.lab.case import case
from pystack.lab.catalogue._ip4 import (
    echo_of,
    has_ip,
    is_alive,
    is_dropped,
    join,
    leave,
    program,
    receives,
    receives_nothing,
)
from pystack.lab.catalogue._mutants import altering, computed, hiding, mending
from pystack.lab.mutant import Mutant
from pystack.lab.packets import icmp, ipv4
from pystack.lab.tester import BROADCAST, Tester
from pystack.lab.verdict import Level

RFC, SECTION = "RFC 1122", "3.2.1.3"
HERE, HERE_MAC = "192.0.2.2", "02:00:5e:00:53:02"
GROUP = "239.1.2.3"


def _for_us(frame: Packet) -> Packet:
    if not has_ip(frame) or frame[IP].dst == HERE:
        return frame
    frame.dst, frame[IP].dst = HERE_MAC, HERE
    return computed(frame)


TAKES_ALL = Mutant("takes what is for others", incoming=_for_us)


@case(
    "IP-2.1",
    "A packet for another host is dropped",
    rfc=RFC,
    section=SECTION,
    mutant=TAKES_ALL,
)
def not_ours(lab: Tester) -> None:
    """It came to the Host's hardware address by mistake.

    1. The tester sends echo requests to another address of the network, and to one far away.
    2. No answer comes, and none is forwarded; one to the Host is answered.
    """
    for destination in ("192.0.2.88", "198.51.100.1"):
        lab.send(echo_of(lab, dst=destination))
    lab.expect_nothing(ipv4(), 300)
    is_alive(lab)


def _invalid_source(number: int, words: str, source: str, level: Level = Level.MUST) -> None:
    def invalid(lab: Tester) -> None:
        is_dropped(lab, echo_of(lab, src=source))

    invalid.__doc__ = f"""Send from an address that no packet comes from.

    1. The tester sends an echo request from {source}.
    2. No answer comes; a request from the tester's own address is answered.
    """
    case(
        f"IP-2.{number}",
        f"A packet from {words} is dropped silently",
        rfc=RFC,
        section=SECTION,
        level=level,
        mutant=mending(IP, "does not look at the source", src="192.0.2.1"),
    )(invalid)


_invalid_source(2, "a loopback address", "127.0.0.1")
_invalid_source(3, "a multicast group", "224.0.0.5")
_invalid_source(4, "the limited broadcast address", "255.255.255.255")
_invalid_source(5, "the network's broadcast address", "192.0.2.255")
# These two are allowed while a host learns its address, as DHCP's do: never in an echo request.
_invalid_source(6, "the unspecified address, 0.0.0.0,", "0.0.0.0", Level.SHOULD)
_invalid_source(7, "a host of this network, 0.0.0.9,", "0.0.0.9", Level.SHOULD)


@case(
    "IP-2.8",
    "A packet to a loopback address that came by a wire is dropped",
    rfc=RFC,
    section=SECTION,
    mutant=TAKES_ALL,
)
def loopback_destination(lab: Tester) -> None:
    """Addresses of 127/8 never appear outside a host.

    1. The tester sends echo requests to 127.0.0.1 and 127.1.2.3.
    2. No answer comes; a request to the Host's own address is answered.
    """
    lab.send(Ether(src=lab.tester_mac, dst=lab.host_mac) / echo_of(lab, dst="127.1.2.3"))
    is_dropped(lab, echo_of(lab, dst="127.0.0.1"))


@case(
    "IP-2.9",
    "Broadcasts of both kinds reach the program",
    rfc=RFC,
    section=SECTION,
    mutant=hiding(
        lambda frame: has_ip(frame) and frame[IP].dst.endswith("255"), "is deaf to broadcasts"
    ),
)
def broadcasts(lab: Tester) -> None:
    """The limited broadcast address and the network's own are the Host's, too.

    1. A program of the Host's is bound to a UDP port at any address.
    2. The tester sends a datagram to each of the two addresses; the program gets both.
    """
    sock, port = program(lab)
    for destination in ("255.255.255.255", "192.0.2.255"):
        data = destination.encode()
        lab.send(lab.ip(dst=destination) / UDP(sport=4000, dport=port) / Raw(data))
        receives(lab, sock, data, f"a datagram to {destination}")


@case(
    "IP-2.10",
    "What the Host sends has one of its own addresses as source",
    rfc=RFC,
    section=SECTION,
    mutant=altering(IP, "sends from the broadcast address", src="192.0.2.255"),
)
def own_source(lab: Tester) -> None:
    """Neither a broadcast address nor a group is ever the source.

    1. The Host pings the tester, its program sends a datagram, and it answers an echo request.
    2. All three come from 192.0.2.2.
    """
    sock, _port = program(lab)
    lab.host.ping(lab.tester4)
    found = [lab.expect(icmp(type=8))[IP].src]
    sock.sendto(b"data", (lab.tester4, 4000))
    found.append(lab.expect(ipv4(proto=17))[IP].src)
    lab.send(lab.echo())
    found.append(lab.expect(icmp(type=0))[IP].src)
    lab.check(found == [lab.host4] * 3, f"{lab.host4} three times", found)


@case(
    "IP-2.11",
    "A second address of the Host's is its own as the first one is",
    rfc=RFC,
    section="3.3.4.1",
    level=Level.MAY,
    mutant=hiding(
        lambda frame: has_ip(frame) and frame[IP].dst == "192.0.2.9", "knows its first address only"
    ),
)
def second_address(lab: Tester) -> None:
    """A host may have several addresses on one network.

    1. The Host gets the address 192.0.2.9, too.
    2. An echo request to it is answered from it.
    """
    lab.host.add_address("192.0.2.9/24")
    lab.drain(200)
    lab.send(echo_of(lab, dst="192.0.2.9"))
    lab.expect(ipv4(src="192.0.2.9") / icmp(type=0))


def _unicast_frame(frame: Packet) -> Packet:
    if has_ip(frame) and frame[IP].dst == HERE:
        frame.dst = HERE_MAC
    return frame


@case(
    "IP-2.12",
    "A packet to the Host alone that came as a broadcast of the link is dropped",
    rfc=RFC,
    section="3.3.6",
    level=Level.SHOULD,
    mutant=Mutant("does not see how the frame was sent", incoming=_unicast_frame),
)
def link_broadcast(lab: Tester) -> None:
    """A broadcast frame with a unicast packet is a mistake.

    1. The tester broadcasts a frame with a datagram to the Host's own address.
    2. The program that is bound to its port receives nothing.
    3. It receives one that was sent to the Host's hardware address.
    """
    sock, port = program(lab)
    packet = lab.ip() / UDP(sport=4000, dport=port) / Raw(b"for one")
    lab.send(Ether(src=lab.tester_mac, dst=BROADCAST) / packet)
    receives_nothing(lab, sock)
    lab.send(packet)
    receives(lab, sock, b"for one")


@case(
    "IP-2.13",
    "A packet to a group that the Host has joined reaches the program",
    rfc="RFC 1112",
    section="7.2",
    mutant=hiding(lambda frame: has_ip(frame) and frame[IP].dst == GROUP, "is deaf to groups"),
)
def joined_group(lab: Tester) -> None:
    """A member gets what is sent to the group.

    1. The Host's program joins 239.1.2.3.
    2. The tester sends a datagram to the group; the program receives it.
    """
    sock, port = program(lab)
    join(lab, sock, GROUP)
    lab.drain(50)
    lab.send(lab.ip(dst=GROUP) / UDP(sport=4000, dport=port) / Raw(b"members"))
    receives(lab, sock, b"members")


@case(
    "IP-2.14",
    "A packet to a group that the Host has left is dropped",
    rfc="RFC 1112",
    section="7.2",
    mutant=TAKES_ALL,
)
def left_group(lab: Tester) -> None:
    """A host that is not a member drops the packet, whatever the hardware let through.

    1. The Host's program joins 239.1.2.3, receives a datagram to it, and leaves it.
    2. The tester sends another one to the group; the program receives nothing, nor does an error
       come. One to the Host itself is received.
    """
    sock, port = program(lab)
    join(lab, sock, GROUP)
    packet = UDP(sport=4000, dport=port) / Raw(b"members")
    lab.send(lab.ip(dst=GROUP) / packet)
    with lab.preamble("a datagram to a group that was joined"):
        receives(lab, sock, b"members")
    leave(lab, sock, GROUP)
    lab.send(lab.ip(dst=GROUP) / packet)
    receives_nothing(lab, sock)
    lab.expect_nothing(icmp(), 0)
    lab.send(lab.udp(4000, port, b"alone"))
    receives(lab, sock, b"alone")


@case(
    "IP-2.15",
    "A packet to the group of all hosts is taken without joining",
    rfc="RFC 1112",
    section="7.2",
    mutant=hiding(
        lambda frame: has_ip(frame) and frame[IP].dst == "224.0.0.1", "is no member of 224.0.0.1"
    ),
)
def all_hosts(lab: Tester) -> None:
    """Every host is a member of 224.0.0.1 from its beginning on.

    1. A program of the Host's is bound to a UDP port at any address, and joins no group.
    2. The tester sends a datagram to 224.0.0.1; the program receives it.
    """
    sock, port = program(lab)
    lab.send(lab.ip(dst="224.0.0.1", ttl=1) / UDP(sport=4000, dport=port) / Raw(b"all"))
    receives(lab, sock, b"all", "a datagram to 224.0.0.1")
