"""IPv4, group 1: the header (RFC 791, RFC 1122 3.2.1)."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Padding, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._ip4 import (
    dying,
    echo_of,
    fragments_of,
    has_ip,
    is_dropped,
    program,
    reply_to,
)
from pystack.lab.catalogue._mutants import altering, answering, hiding, mending
from pystack.lab.mutant import Mutant
from pystack.lab.packets import icmp
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("IP-1", rfc="RFC 791", section="3.1")

RFC = "RFC 1122"
REPLY = icmp(type=0)


def _has_wrong_length(frame: Packet) -> bool:
    return has_ip(frame) and (frame[IP].ihl < 5 or 14 + 4 * frame[IP].ihl > len(bytes(frame)))


ECHOES = answering(
    _has_wrong_length,
    lambda frame: reply_to(frame, ICMP(type=0, id=0x5053, seq=1)),
    "does not look at the header's length",
)


@case(
    "IP-1.1",
    "A packet whose version is not 4 is dropped silently",
    rfc=RFC,
    section="3.2.1.1",
    mutant=mending(IP, "does not look at the version", version=4),
)
def version(lab: Tester) -> None:
    """The type of the frame says IPv4, and the header says otherwise.

    1. The tester sends echo requests whose version is 0, 5 and 15.
    2. No answer comes, and no error; a right request after each is answered.
    """
    for number in (0, 5, 15):
        is_dropped(lab, echo_of(lab, version=number))


@case(
    "IP-1.2",
    "A packet with a wrong header checksum is dropped silently",
    rfc=RFC,
    section="3.2.1.2",
    mutant=mending(IP, "does not verify the header's checksum"),
)
def checksum(lab: Tester) -> None:
    """A header that was damaged says nothing that can be trusted.

    1. The tester sends echo requests whose checksum is off by one, is zero, and is all ones.
    2. No answer comes, and no error; a right request after each is answered.
    """
    right = IP(bytes(echo_of(lab))).chksum
    for wrong in (right ^ 1, 0, 0xFFFF):
        is_dropped(lab, echo_of(lab, chksum=wrong))


@case(
    "IP-1.3",
    "The header checksum of what the Host sends is right",
    mutant=altering(IP, "sends a wrong checksum", exact=True, chksum=0x1234),
)
def own_checksum(lab: Tester) -> None:
    """Routers drop what has a wrong one.

    1. The tester sends an echo request.
    2. The reply's header has the sum that is due.
    """
    lab.send(lab.echo())
    reply = lab.expect(REPLY)[IP]
    again = reply.copy()
    del again.chksum
    due = IP(bytes(again)).chksum
    lab.check(reply.chksum == due, f"{due:#06x}", f"{reply.chksum:#06x}")


@case(
    "IP-1.4",
    "A header length of less than five words is an error",
    mutant=ECHOES,
)
def header_length_small(lab: Tester) -> None:
    """A header has no less than its fixed part.

    1. The tester sends packets whose header length is 4 words, and 0.
    2. No answer comes.
    """
    for words in (4, 0):
        is_dropped(lab, echo_of(lab, ihl=words))


@case(
    "IP-1.5",
    "A header length past the packet's end is an error",
    mutant=ECHOES,
)
def header_length_large(lab: Tester) -> None:
    """Half of such a header is not there.

    1. The tester sends a packet of 35 octets whose header length is 15 words.
    2. No answer comes.
    """
    is_dropped(lab, echo_of(lab, ihl=15))


@case(
    "IP-1.6",
    "A total length past the frame's end is an error",
    mutant=mending(IP, "does not look at the total length"),
)
def total_length_large(lab: Tester) -> None:
    """The packet was cut on its way.

    1. The tester sends an echo request that says that it has 100 octets more than it has.
    2. No answer comes.
    """
    is_dropped(lab, echo_of(lab, len=135))


@case(
    "IP-1.7",
    "A total length shorter than the header is an error",
    mutant=mending(IP, "does not look at the total length"),
)
def total_length_small(lab: Tester) -> None:
    """Such a packet ends before it begins.

    1. The tester sends echo requests that say that they have 19 octets, and 0.
    2. No answer comes.
    """
    for length in (19, 0):
        is_dropped(lab, echo_of(lab, len=length))


def _up_to_the_end(frame: Packet) -> Packet:
    """The frame as if the packet went on to its end."""
    if not frame.haslayer(Padding):
        return frame
    message = bytes(frame[ICMP])[:9] + bytes(frame[Padding])
    header = Ether(src=frame.src, dst=frame.dst) / IP(src=frame[IP].src, dst=frame[IP].dst)
    return header / ICMP(type=8, id=1, seq=1) / Raw(message[8:])


@case(
    "IP-1.8",
    "What stands in a frame after the packet is not the packet's",
    mutant=Mutant("takes the frame's length for the packet's", incoming=_up_to_the_end),
)
def trailer(lab: Tester) -> None:
    """The total length says where the packet ends, not the frame.

    1. The tester sends an echo request with one octet of data, in a frame with octets after it.
    2. The reply has one octet of data.
    """
    request = lab.ip() / ICMP(type=8, id=1, seq=1) / Raw(b"x")
    lab.send(bytes(lab.frame_for(request)) + b"\xee" * 17)
    found = lab.expect(REPLY)[IP].len
    lab.check(found == 29, "29 octets", found)


@case(
    "IP-1.9",
    "Two datagrams in fragments do not have the same identification",
    rfc="RFC 6864",
    section="4.3",
    mutant=altering(IP, "gives all datagrams one identification", id=7),
)
def identification(lab: Tester) -> None:
    """Fragments of two datagrams that share one would be put together.

    1. The Host's program sends four datagrams that take fragments.
    2. Each datagram's identification is another.
    """
    sock, _port = program(lab)
    numbers = [fragments_of(lab, sock, bytes(2000))[0][IP].id for _ in range(4)]
    lab.check(len(set(numbers)) == 4, "no identification twice", numbers)


@case(
    "IP-1.10",
    "A packet with the reserved flag set is taken as one without",
    level=Level.MAY,
    mutant=hiding(
        lambda frame: has_ip(frame) and frame[IP].flags.evil, "drops packets with the reserved flag"
    ),
)
def reserved_flag(lab: Tester) -> None:
    """The flag is to be zero, and nobody says what it is for.

    1. The tester sends an echo request with it.
    2. The Host answers.
    """
    lab.send(echo_of(lab, flags="evil"))
    lab.expect(REPLY)


@case(
    "IP-1.11",
    "The type of service does not matter to what a host takes",
    rfc="RFC 2474",
    section="3",
    level=Level.SHOULD,
    mutant=hiding(lambda frame: has_ip(frame) and frame[IP].tos, "drops packets with a precedence"),
)
def type_of_service(lab: Tester) -> None:
    """A value that means nothing to the receiver is taken as the default.

    1. The tester sends echo requests with several values of the field.
    2. Each is answered.
    """
    for value in (0x10, 0xB8, 0xE0, 0xFF):
        lab.send(echo_of(lab, tos=value))
        lab.expect(REPLY)


@case(
    "IP-1.12",
    "A packet with a TTL of one or zero that has arrived is taken",
    rfc=RFC,
    section="3.2.1.7",
    mutant=hiding(
        lambda frame: has_ip(frame) and frame[IP].ttl < 2, "drops packets whose TTL is used up"
    ),
)
def used_up_ttl(lab: Tester) -> None:
    """The TTL is for routers.

    1. The tester sends echo requests with a TTL of 1 and of 0.
    2. Both are answered.
    """
    for ttl in (1, 0):
        lab.send(echo_of(lab, ttl=ttl))
        lab.expect(REPLY)


@case(
    "IP-1.13",
    "Nothing is sent with a TTL of zero",
    rfc=RFC,
    section="3.2.1.7",
    mutant=altering(IP, "sends packets with a TTL of 0", ttl=0),
)
def own_ttl(lab: Tester) -> None:
    """It would be worth nothing to the next router.

    1. The Host pings the tester, and the tester pings the Host.
    2. Neither packet of the Host's has a TTL of 0.
    """
    lab.host.ping(lab.tester4)
    found = [lab.expect(icmp(type=8))[IP].ttl]
    lab.send(lab.echo())
    found.append(lab.expect(REPLY)[IP].ttl)
    lab.check(all(found), "a TTL of at least 1", found)


@case(
    "IP-1.14",
    "What the Host sends has a TTL that is enough for the Internet",
    rfc=RFC,
    section="3.2.1.7",
    level=Level.SHOULD,
    mutant=altering(IP, "sends packets with a TTL of 8", ttl=8),
)
def large_ttl(lab: Tester) -> None:
    """A fixed TTL has to be larger than the longest path; 64 is what is recommended today.

    1. The Host pings the tester.
    2. The request's TTL is 32 at least, about the longest path there is.
    """
    lab.host.ping(lab.tester4)
    found = lab.expect(icmp(type=8))[IP].ttl
    lab.check(found >= 32, "at least 32", found)


@case(
    "IP-1.15",
    "The version of what the Host sends is 4, and the lengths are right",
    mutant=altering(IP, "counts the frame's header, too", exact=True, len=lambda size: size + 14),
)
def own_lengths(lab: Tester) -> None:
    """Look at the header of a reply with 33 octets of data.

    1. The tester sends an echo request.
    2. The reply's version is 4, its header has five words, and its total length is 61.
    """
    lab.send(echo_of(lab, bytes(33)))
    found = lab.expect(REPLY)[IP]
    seen = (found.version, found.ihl, found.len)
    lab.check(seen == (4, 5, 61), "version 4, 5 words, 61 octets", seen)


@case(
    "IP-1.16",
    "The reserved flag of what the Host sends is zero",
    mutant=altering(IP, "sets the reserved flag", flags=lambda flags: int(flags) | 4),
)
def own_reserved_flag(lab: Tester) -> None:
    """The bit must be zero.

    1. The tester sends an echo request.
    2. The reply does not have the flag, nor is it a fragment.
    """
    lab.send(lab.echo())
    found = lab.expect(REPLY)[IP]
    lab.check(not found.flags.evil, "the reserved flag zero", found.flags)
    lab.check(not found.flags.MF and found.frag == 0, "no fragment", found.flags)


@case(
    "IP-1.17",
    "A frame that ends within the header is dropped",
    rfc=RFC,
    section="1.2.2",
    level=Level.SHOULD,
    mutant=dying(
        lambda frame: frame.type == 0x0800 and len(bytes(frame)) < 34, "falls over short headers"
    ),
)
def cut_header(lab: Tester) -> None:
    """A header has twenty octets at least.

    1. The tester sends frames that end 1, 8 and 19 octets after the packet's beginning.
    2. No answer comes; a right request after them is answered.
    """
    whole = bytes(lab.frame_for(lab.echo()))
    for size in (1, 8, 19):
        is_dropped(lab, whole[: 14 + size], 50)
