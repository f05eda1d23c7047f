"""IPv6, group 1: the fields of the header (RFC 8200 3)."""

from __future__ import annotations

import socket

from scapy.layers.inet import UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6ParamProblem, IPv6
from scapy.packet import Packet, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._ip6 import (
    HEADER,
    NONE,
    alive,
    answering_with,
    packed,
    quotes,
    silence,
    unanswered,
)
from pystack.lab.catalogue._mutants import SILENT, altering, computed, hiding, mending
from pystack.lab.catalogue._udp import bound
from pystack.lab.mutant import Mutant
from pystack.lab.packets import at_least, echo_reply6, ipv6, parameter_problem6, payload, udp, where
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("IPV6-1", rfc="RFC 8200", section="3")

UNASSIGNED = 200  # no protocol has this number


def _is_echo(frame: Packet) -> bool:
    return bool(frame.haslayer(ICMPv6EchoRequest))


@case(
    "IPV6-1.1",
    "A packet of another version is dropped",
    aliases=("v6lc:1.1.1",),
    mutant=Mutant(
        "does not look at the version",
        incoming=lambda frame: (
            bytes(frame)[:14] + bytes((0x60 | bytes(frame)[14] & 0xF,)) + bytes(frame)[15:]
            if frame.type == 0x86DD
            else frame
        ),
    ),
)
def version(lab: Tester) -> None:
    """Say that it is another protocol, in a frame of IPv6's type.

    1. The tester sends echo requests that are right but for their version: 0, 4, 5, 7 and 15.
    2. None is answered.
    """
    lab.resolve(6)
    for number in (0, 4, 5, 7, 15):
        whole = bytearray(bytes(lab.frame_for(lab.echo6(sequence=number))))
        whole[14] = number << 4 | whole[14] & 0xF
        lab.send(bytes(whole))
    silence(lab)


@case(
    "IPV6-1.2",
    "A traffic class that is not zero changes nothing for the receiver",
    section="7",
    aliases=("v6lc:1.1.2",),
    mutant=hiding(
        lambda frame: _is_echo(frame) and frame[IPv6].tc != 0, "drops what has a traffic class"
    ),
)
def traffic_class(lab: Tester) -> None:
    """Set the traffic class.

    1. The tester sends an echo request whose traffic class is 0xb8.
    2. The Host answers it.
    """
    request: Packet = lab.echo6()
    request.tc = 0xB8
    lab.send(request)
    lab.expect(echo_reply6(seq=1))


@case(
    "IPV6-1.3",
    "The program may choose the traffic class",
    section="7",
    mutant=altering(IPv6, "sends all packets with a traffic class of 0", tc=0),
)
def chosen_traffic_class(lab: Tester) -> None:
    """Set the traffic class of a socket and look.

    1. The Host's program sets IPV6_TCLASS to 0x28 and sends a datagram.
    2. Its traffic class is 0x28.
    """
    sock, _port = bound(lab, family=6)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0x28)
    sock.sendto(b"data", (lab.tester6, 4000))
    lab.expect(ipv6(tc=0x28) / udp(dport=4000))


@case(
    "IPV6-1.4",
    "A flow label that is not zero changes nothing for the receiver",
    rfc="RFC 6437",
    section="2",
    aliases=("v6lc:1.1.3",),
    mutant=hiding(
        lambda frame: _is_echo(frame) and frame[IPv6].fl != 0, "drops what has a flow label"
    ),
)
def flow_label(lab: Tester) -> None:
    """Set the flow label.

    1. The tester sends an echo request whose flow label is 0x34567.
    2. The Host answers it.
    """
    request: Packet = lab.echo6()
    request.fl = 0x34567
    lab.send(request)
    lab.expect(echo_reply6(seq=1))


@case(
    "IPV6-1.5",
    "What a program sends has a flow label, another for another flow",
    rfc="RFC 6437",
    level=Level.SHOULD,
    mutant=altering(IPv6, "gives all packets the same flow label", fl=0x12345),
)
def sent_flow_label(lab: Tester) -> None:
    """Look at the flow labels of three flows.

    1. The Host's program sends two datagrams to each of three ports.
    2. Both of one flow have the same label, which is not zero.
    3. The three labels are not all the same.
    """
    sock, _port = bound(lab, family=6)
    labels = []
    for number in (4000, 4001, 4002):
        pair = []
        for _ in range(2):
            sock.sendto(b"data", (lab.tester6, number))
            pair.append(lab.expect(ipv6(fl=at_least(1)) / udp(dport=number))[IPv6].fl)
        lab.check(pair[0] == pair[1], "one label for one flow", pair)
        labels.append(pair[0])
    lab.check(len(set(labels)) > 1, "different labels for different flows", labels)


def _longer(frame: Packet) -> Packet:
    """An echo request as if all of the frame belonged to it."""
    if not _is_echo(frame):
        return frame
    raw = bytes(frame)[14 + HEADER :]
    old = frame[ICMPv6EchoRequest]
    request = ICMPv6EchoRequest(id=old.id, seq=old.seq, data=raw[8:])
    again: Packet = frame.copy()
    again[IPv6].remove_payload()
    return computed(again / request)


@case(
    "IPV6-1.6",
    "What follows the payload length is not part of the packet",
    aliases=("v6lc:1.1.5",),
    mutant=Mutant("takes the frame's length for the packet's", incoming=_longer),
)
def bytes_after_the_packet(lab: Tester) -> None:
    """A frame may be longer than its packet.

    1. The tester sends an echo request with 7 bytes of data, and 9 bytes more behind the packet.
    2. The Host answers with the 7 bytes alone.
    """
    lab.send(bytes(lab.frame_for(lab.echo6(data=b"pystack"))) + b"trailing!")
    reply = lab.expect(echo_reply6(seq=1))
    lab.check(reply[IPv6].plen == 15, "a reply with 7 bytes of data", reply[IPv6].plen - 8)
    lab.check(reply[ICMPv6EchoReply].data == b"pystack", "the same data", reply.summary())


@case(
    "IPV6-1.7",
    "A packet that is shorter than its payload length is dropped",
    mutant=Mutant("does not look at the payload length", incoming=_longer),
)
def payload_length_too_large(lab: Tester) -> None:
    """Claim more than there is.

    1. The tester sends an echo request whose payload length is 8 more than what follows.
    2. It is not answered.
    """
    request: Packet = lab.echo6(data=b"pystack!")
    request.plen = 8 + 8 + 8
    unanswered(lab, request)


@case(
    "IPV6-1.8",
    "What follows the next header 59 is ignored",
    section="4.7",
    aliases=("v6lc:1.1.6",),
    mutant=answering_with(
        lambda sent: ICMPv6ParamProblem(code=1, ptr=6) / Raw(sent),
        "takes 59 for an unknown header",
        next_header=NONE,
    ),
)
def no_next_header(lab: Tester) -> None:
    """Say that nothing follows.

    1. The tester sends a packet with next header 59 and an echo request behind it.
    2. Neither a reply nor an error comes.
    """
    unanswered(lab, packed(lab, nh=NONE))


@case(
    "IPV6-1.9",
    "An unrecognised next header is answered with parameter problem, code 1",
    section="4",
    level=Level.SHOULD,
    aliases=("v6lc:1.1.7",),
    mutant=altering(ICMPv6ParamProblem, "points to the wrong octet", ptr=40),
)
def unrecognised_next_header(lab: Tester) -> None:
    """Send an unknown protocol.

    1. The tester sends a packet whose next header is 200.
    2. The Host answers with a parameter problem, code 1, pointer 6: the next header field.
    3. It quotes the packet.
    """
    sent = packed(lab, nh=UNASSIGNED)
    lab.send(sent)
    lab.expect(
        ipv6(src=lab.host6, dst=lab.tester6) / parameter_problem6(code=1, ptr=6) / quotes(sent)
    )


@case(
    "IPV6-1.10",
    "A hop limit of zero is no reason for the destination to drop a packet",
    level=Level.SHOULD,
    aliases=("v6lc:1.1.8",),
    mutant=hiding(
        lambda frame: _is_echo(frame) and frame[IPv6].hlim == 0, "drops what has no hops left"
    ),
)
def hop_limit_zero(lab: Tester) -> None:
    """Send a packet that may go no further, to where it has to go.

    1. The tester sends an echo request whose hop limit is 0.
    2. The Host answers it, with hops left in the reply.
    """
    request: Packet = lab.echo6()
    request.hlim = 0
    lab.send(request)
    lab.expect(ipv6(hlim=at_least(1)) / echo_reply6(seq=1))


@case(
    "IPV6-1.11",
    "A packet that ends within the header does no harm",
    mutant=SILENT,
)
def cut_header(lab: Tester) -> None:
    """Send frames that end too early.

    1. The tester sends frames with the first 0, 1, 20 and 39 bytes of an echo request in them.
    2. The Host still answers a whole one.
    """
    whole = bytes(lab.frame_for(lab.echo6()))
    for size in (0, 1, 20, 39):
        lab.send(whole[: 14 + size])
    alive(lab)


@case(
    "IPV6-1.12",
    "The program may choose the hop limit",
    rfc="RFC 3493",
    section="5.1",
    level=Level.SHOULD,
    mutant=altering(IPv6, "sends all packets with a hop limit of 64", hlim=64),
)
def chosen_hop_limit(lab: Tester) -> None:
    """Set the hop limit of a socket and look.

    1. The Host's program sets IPV6_UNICAST_HOPS to 17 and sends a datagram.
    2. Its hop limit is 17.
    """
    sock, _port = bound(lab, family=6)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 17)
    sock.sendto(b"data", (lab.tester6, 4000))
    lab.expect(ipv6(hlim=17) / udp(dport=4000))


@case(
    "IPV6-1.13",
    "A packet that fills the smallest MTU of IPv6 is sent whole",
    section="5",
    mutant=Mutant(
        "sends nothing of more than 1000 octets",
        outgoing=lambda frame: None if len(frame) > 1000 else frame,
    ),
)
def smallest_mtu(lab: Tester) -> None:
    """Send 1280 octets, which every path has to carry.

    1. The Host's program sends 1232 bytes of data.
    2. They come in one packet without a fragment header.
    """
    data = bytes(range(256)) * 4 + bytes(208)
    sock, _port = bound(lab, family=6)
    sock.sendto(data, (lab.tester6, 4000))
    lab.expect(ipv6(plen=1240, nh=17) / udp(dport=4000) / payload(data))


@case(
    "IPV6-1.14",
    "A datagram's checksum covers the addresses of IPv6's header",
    section="8.1",
    mutant=mending(UDP, "does not verify the checksum"),
)
def pseudo_header(lab: Tester) -> None:
    """Make a checksum for other addresses.

    1. The tester makes a datagram to port 9 of another host, checksum and all.
    2. It sends the datagram to port 9 of the Host, with that checksum.
    3. No port unreachable comes: the datagram is damaged.
    """
    upper = bytes(lab.ip6(dst="2001:db8:1::99") / UDP(sport=4000, dport=9) / Raw(b"data"))[HEADER:]
    damaged = packed(lab, upper=upper, nh=17)
    unanswered(lab, damaged)
    lab.send(lab.udp6(4000, 9))
    lab.expect(where("an ICMPv6 error", lambda frame: bytes(frame)[20:21] == b"\x3a"))
