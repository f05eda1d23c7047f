"""ARP, group 3: what is answered and what is not (RFC 826, Packet Reception)."""

from __future__ import annotations

from scapy.layers.inet import IP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Padding

from pystack.lab.case import group
from pystack.lab.catalogue._mutants import altering, answering, dropping, hiding, is_arp
from pystack.lab.mutant import Mutant
from pystack.lab.packets import Match, arp, ether, ipv4
from pystack.lab.tester import BROADCAST, Tester
from pystack.lab.verdict import Level

case = group("ARP-3", rfc="RFC 826", section="Packet Reception")

NO_REPLY = dropping(is_arp, "sends no ARP")
STRANGER = "192.0.2.77"
STRANGER_MAC = "02:00:5e:00:53:77"


def _reply_anyway(frame: Packet) -> Packet:
    """What a Host would send that answers every ARP packet."""
    asked = frame[ARP]
    return Ether(src="02:00:5e:00:53:02", dst=frame.src) / ARP(
        op=2, hwsrc="02:00:5e:00:53:02", psrc="192.0.2.2", hwdst=frame.src, pdst=asked.psrc
    )


ANSWERS_ALL = answering(is_arp, _reply_anyway, "answers every ARP packet")


ANSWERS_NONSENSE = answering(
    lambda frame: frame.type == 0x0806,
    lambda frame: (
        Ether(src="02:00:5e:00:53:02", dst=frame.src)
        / ARP(op=2, psrc="192.0.2.2", pdst="192.0.2.1")
    ),
    "does not look at the lengths",
)


def replied(lab: Tester) -> Match:
    """Any reply of the Host's."""
    return arp(op=2, psrc=lab.host4)


def _seen_as(**fields: int) -> Mutant:
    def change(frame: Packet) -> Packet:
        for name, value in fields.items():
            if frame.haslayer(ARP):
                setattr(frame[ARP], name, value)
        return frame

    return Mutant("does not look at " + ", ".join(fields), incoming=change)


@case(
    "ARP-3.1",
    "A request for the Host's address is answered with its hardware address",
    mutant=NO_REPLY,
)
def request_is_answered(lab: Tester) -> None:
    """Ask for the Host's address, as any neighbour would.

    1. The tester broadcasts an ARP request for the Host's IPv4 address.
    2. The Host answers the tester alone, with its own hardware address.
    """
    lab.send(lab.arp_request())
    lab.expect(
        ether(src=lab.host_mac, dst=lab.tester_mac)
        / arp(
            op=2,
            hwtype=1,
            ptype=0x0800,
            hwsrc=lab.host_mac,
            psrc=lab.host4,
            hwdst=lab.tester_mac,
            pdst=lab.tester4,
        )
    )


@case(
    "ARP-3.2",
    "A request with an unknown hardware type is not answered",
    aliases=("talk:ARP-3.2",),
    mutant=_seen_as(hwtype=1),
)
def unknown_hardware_type(lab: Tester) -> None:
    """Ask with a hardware type that is not the wire's.

    1. The tester broadcasts an ARP request for the Host's address, right in all but its hardware
       type, which is an unassigned one.
    2. No reply comes.
    """
    lab.send(lab.arp_request(hwtype=0x0FFF, hwlen=6, plen=4))
    lab.expect_nothing(replied(lab))


@case(
    "ARP-3.3",
    "A request for another protocol's address is not answered",
    mutant=_seen_as(ptype=0x0800),
)
def unknown_protocol(lab: Tester) -> None:
    """Ask for the address of a protocol that the Host does not speak.

    1. The tester broadcasts a request whose protocol type is 0x0809, and whose addresses have four
       octets as IPv4's.
    2. No reply comes.
    """
    lab.send(lab.arp_request(ptype=0x0809, hwlen=6, plen=4))
    lab.expect_nothing(replied(lab))


@case(
    "ARP-3.4",
    "A request with a wrong hardware address length is not answered",
    level=Level.MAY,
    mutant=ANSWERS_NONSENSE,
)
def wrong_hardware_length(lab: Tester) -> None:
    """Checking the lengths is optional in words; an answer to nonsense is still wrong.

    1. The tester broadcasts a request that says that hardware addresses have 5 octets.
    2. No reply comes.
    """
    lab.send(Ether(dst=BROADCAST, src=lab.tester_mac, type=0x0806) / _raw(lab, hwlen=5))
    lab.expect_nothing(replied(lab))


@case(
    "ARP-3.5",
    "A request with a wrong protocol address length is not answered",
    level=Level.MAY,
    mutant=ANSWERS_NONSENSE,
)
def wrong_protocol_length(lab: Tester) -> None:
    """As for the other length.

    1. The tester broadcasts a request that says that IPv4 addresses have 6 octets.
    2. No reply comes.
    """
    lab.send(Ether(dst=BROADCAST, src=lab.tester_mac, type=0x0806) / _raw(lab, plen=6))
    lab.expect_nothing(replied(lab))


def _raw(lab: Tester, hwlen: int = 6, plen: int = 4) -> bytes:
    """A request whose length fields lie; all else stands where it belongs."""
    whole = bytearray(bytes(lab.arp_request(hwlen=6, plen=4)))
    whole[4], whole[5] = hwlen, plen
    return bytes(whole)


@case(
    "ARP-3.6",
    "A request for another host's address is not answered",
    mutant=ANSWERS_ALL,
)
def not_for_us(lab: Tester) -> None:
    """Only the owner of the address answers.

    1. The tester broadcasts a request for an address of the same network that the Host has not.
    2. No reply comes.
    """
    lab.send(lab.arp_request(pdst=STRANGER))
    lab.expect_nothing(arp(op=2))


@case(
    "ARP-3.7",
    "A reply is not answered",
    mutant=ANSWERS_ALL,
)
def reply_is_not_answered(lab: Tester) -> None:
    """An unsolicited reply leads to nothing on the wire.

    1. The tester sends the Host an ARP reply.
    2. The Host sends no reply.
    """
    lab.send(ARP(op=2, hwsrc=lab.tester_mac, psrc=lab.tester4, hwdst=lab.host_mac, pdst=lab.host4))
    lab.expect_nothing(arp(op=2))


@case(
    "ARP-3.8",
    "A packet with an unknown operation is not answered",
    mutant=_seen_as(op=1),
)
def unknown_operation(lab: Tester) -> None:
    """Only a request asks.

    1. The tester broadcasts an ARP packet for the Host's address whose operation is 25.
    2. No reply comes.
    """
    lab.send(lab.arp_request(op=25))
    lab.expect_nothing(replied(lab))


@case(
    "ARP-3.9",
    "A request that was sent to the Host alone is answered",
    rfc="RFC 1122",
    section="2.3.2.1",
    mutant=NO_REPLY,
)
def unicast_request(lab: Tester) -> None:
    """A unicast poll tells its sender whether the neighbour is still there.

    1. The tester sends an ARP request to the Host's own hardware address.
    2. The Host answers it.
    """
    lab.send(Ether(src=lab.tester_mac, dst=lab.host_mac) / lab.arp_request())
    lab.expect(ether(dst=lab.tester_mac) / replied(lab))


@case(
    "ARP-3.10",
    "The sender's addresses become the target's in the reply",
    mutant=altering(ARP, "puts its own address for the target's", pdst="192.0.2.2"),
)
def fields_are_swapped(lab: Tester) -> None:
    """Ask as another neighbour, whose frame comes from that neighbour's hardware address.

    1. A request comes from 192.0.2.77, with its own hardware address.
    2. The reply's target fields are these two, and it goes to that address.
    """
    lab.send(
        Ether(src=STRANGER_MAC, dst=BROADCAST) / lab.arp_request(hwsrc=STRANGER_MAC, psrc=STRANGER)
    )
    lab.expect(ether(dst=STRANGER_MAC) / arp(op=2, hwdst=STRANGER_MAC, pdst=STRANGER))


@case(
    "ARP-3.11",
    "The target's hardware address in a request does not matter",
    mutant=Mutant(
        "answers only requests whose target field is zero",
        incoming=lambda frame: (
            None if is_arp(frame) and frame[ARP].hwdst != "00:00:00:00:00:00" else frame
        ),
    ),
)
def target_hardware_address(lab: Tester) -> None:
    """The field has no meaning in a request.

    1. The tester broadcasts a request with ff:ff:ff:ff:ff:ff in it.
    2. The Host answers.
    """
    lab.send(lab.arp_request(hwdst=BROADCAST))
    lab.expect(replied(lab))


@case(
    "ARP-3.12",
    "A frame that is padded is answered",
    rfc="RFC 894",
    section="Frame Format",
    mutant=Mutant(
        "drops what has octets after the packet",
        incoming=lambda frame: None if frame.haslayer(Padding) else frame,
    ),
)
def padded(lab: Tester) -> None:
    """Ethernet's smallest frame is larger than ARP's packet.

    1. The tester broadcasts a request, with octets after it to fill the frame.
    2. The Host answers.
    """
    lab.send(bytes(lab.frame_for(lab.arp_request())) + b"\xaa" * 18)
    lab.expect(replied(lab))


@case(
    "ARP-3.13",
    "A request that is cut short is dropped",
    section="Packet format",
    mutant=answering(
        lambda frame: frame.type == 0x0806 and len(bytes(frame)) < 42,
        lambda frame: (
            Ether(src="02:00:5e:00:53:02", dst=frame.src)
            / ARP(op=2, psrc="192.0.2.2", pdst="192.0.2.1")
        ),
        "answers what is cut short",
    ),
)
def truncated(lab: Tester) -> None:
    """The last field is the one that says whose address is wanted.

    1. The tester broadcasts a request without its last four octets, and one with half a header.
    2. No reply comes to either; a whole one after it is answered.
    """
    whole = bytes(lab.frame_for(lab.arp_request()))
    lab.send(whole[:-4])
    lab.send(whole[:20])
    lab.expect_nothing(arp(op=2), 300)
    lab.send(whole)
    lab.expect(replied(lab))


@case(
    "ARP-3.14",
    "Every request is answered, not the first alone",
    mutant=Mutant("answers no second request", outgoing=lambda frame: None),
)
def each_is_answered(lab: Tester) -> None:
    """There is no reason to remember the sender.

    1. The tester asks five times, a tenth of a second apart.
    2. Five replies come.
    """
    for _ in range(5):
        lab.send(lab.arp_request())
        lab.run(100)
    found = len(lab.collect(replied(lab), 300))
    lab.check(found == 5, "five replies", found)


@case(
    "ARP-3.15",
    "A probe for the Host's address is answered",
    rfc="RFC 5227",
    section="2.1.1",
    mutant=NO_REPLY,
)
def probe_is_answered(lab: Tester) -> None:
    """Another host is about to take the Host's address, and asks first (sender address zero).

    1. The tester broadcasts a request for the Host's address, from 0.0.0.0.
    2. The Host answers, and so keeps the other from it.
    """
    lab.send(lab.arp_request(psrc="0.0.0.0"))
    lab.expect(arp(op=2, psrc=lab.host4, hwsrc=lab.host_mac))


def _as_a_station(frame: Packet) -> Packet:
    if is_arp(frame) and frame[ARP].hwsrc == BROADCAST:
        frame[ARP].hwsrc = STRANGER_MAC
    return frame


@case(
    "ARP-3.16",
    "A reply that gives a group's hardware address is not believed",
    rfc="RFC 1812",
    section="3.3.2",
    level=Level.SHOULD,
    mutant=Mutant(
        "believes that a neighbour's address is a group's",
        incoming=_as_a_station,
        outgoing=lambda frame: (
            frame
            if is_arp(frame)
            else Ether(src=frame.src, dst=BROADCAST) / IP(bytes(frame.payload))
        ),
    ),
)
def multicast_reply(lab: Tester) -> None:
    """No station has a group's address as its own, and what is sent there reaches everybody.

    1. The Host pings 192.0.2.77, and is told that it is at ff:ff:ff:ff:ff:ff.
    2. The echo request is not sent to that address.
    """
    lab.host.ping(STRANGER)
    lab.run(100)
    lab.send(ARP(op=2, hwsrc=BROADCAST, psrc=STRANGER, hwdst=lab.host_mac, pdst=lab.host4))
    lab.expect_nothing(ether(dst=BROADCAST) / ipv4(dst=STRANGER))


@case(
    "ARP-3.17",
    "A request from an address of another network is answered",
    level=Level.SHOULD,
    mutant=hiding(
        lambda frame: is_arp(frame) and not frame[ARP].psrc.startswith("192.0.2."),
        "answers its own network alone",
    ),
)
def sender_of_another_network(lab: Tester) -> None:
    """ARP knows nothing of networks: any request on the wire is answered.

    1. A request for the Host's address comes from 198.51.100.77.
    2. The Host answers it.
    """
    lab.send(lab.arp_request(psrc="198.51.100.77"))
    lab.expect(ether(dst=lab.tester_mac) / arp(op=2, psrc=lab.host4, pdst="198.51.100.77"))
