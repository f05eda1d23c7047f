"""UDP: delivery, checksums, lengths, what the program may choose (RFC 768, 1122 4.1, 8200 8.1)."""

from __future__ import annotations

import socket
from typing import Any

from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._mutants import (
    SILENT,
    altering,
    computed,
    dropping,
    hiding,
    mending,
)
from pystack.lab.catalogue._udp import (
    bound,
    expect_datagram,
    expect_no_datagram,
    sum_is_right,
)
from pystack.lab.mutant import Mutant
from pystack.lab.packets import (
    icmp,
    ipv4,
    payload,
    udp,
    where,
)
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("UDP", rfc="RFC 768")

DEAF = hiding(lambda frame: bool(frame.haslayer(UDP)), "takes no UDP datagrams")
UNCHECKED = mending(UDP, "does not verify the checksum")
UNMEASURED = mending(UDP, "does not look at the length")


def _wrong_data(frame: Packet) -> Packet:
    if frame.haslayer(UDP) and frame.haslayer(Raw):
        frame[Raw].load = bytes((frame[Raw].load[0] ^ 1,)) + frame[Raw].load[1:]
    return computed(frame)


SPOILT = Mutant("spoils the first byte of what arrives", incoming=_wrong_data)


# --- delivery ------------------------------------------------------------------------------------


def _datagram(
    lab: Tester, family: int, source: int, port: int, data: bytes, **fields: Any
) -> Packet:
    """The tester's datagram over IPv4 or IPv6."""
    make = lab.udp if family == 4 else lab.udp6
    return make(source, port, data, **fields)


def _tester(lab: Tester, family: int) -> str:
    return lab.tester4 if family == 4 else lab.tester6


@case(
    "UDP-1.1",
    "A datagram to a port in use is given to its program",
    section="User Interface",
    mutant=SPOILT,
    family=4,
)
@case(
    "UDP-1.2",
    "A datagram over IPv6 is given to its program",
    section="User Interface",
    mutant=SPOILT,
    family=6,
)
def delivered(lab: Tester, family: int) -> None:
    """Send a datagram to a socket.

    1. The Host's program binds a datagram socket.
    2. The tester sends a datagram to it.
    3. The program receives the same data.
    """
    sock, port = bound(lab, family=family)
    lab.send(_datagram(lab, family, 4000, port, b"one datagram"))
    expect_datagram(lab, sock, b"one datagram")


@case(
    "UDP-1.3",
    "A datagram without data is delivered as one",
    section="Fields: Length",
    mutant=DEAF,
)
def empty_datagram(lab: Tester) -> None:
    """The least length is eight: a header alone.

    1. The tester sends a datagram of length 8.
    2. The program receives a datagram of no bytes.
    """
    sock, port = bound(lab)
    lab.send(lab.ip() / UDP(sport=4000, dport=port))
    expect_datagram(lab, sock, b"")


@case(
    "UDP-1.4",
    "The program learns the sender's address and port",
    section="User Interface",
    mutant=mending(UDP, "forgets the sender's port", sport=1),
)
def sender_is_told(lab: Tester) -> None:
    """Look at whom the program is told that a datagram came from.

    1. The tester sends a datagram from port 4321.
    2. The program is told the tester's address, and 4321.
    """
    sock, port = bound(lab)
    lab.send(lab.udp(4321, port, b"who?"))
    sender = expect_datagram(lab, sock, b"who?")
    lab.check(sender[:2] == (lab.tester4, 4321), f"{lab.tester4} port 4321", sender)


@case(
    "UDP-1.5",
    "A datagram that fills a frame is delivered whole",
    section="Fields: Length",
    mutant=hiding(lambda frame: len(frame) > 1400, "takes no frame of full length"),
)
def full_frame(lab: Tester) -> None:
    """Send as much as one frame can hold.

    1. The tester sends 1472 bytes of data, which with both headers is the MTU.
    2. The program receives all of them.
    """
    data = bytes(range(256)) * 5 + bytes(192)
    sock, port = bound(lab)
    lab.send(lab.udp(4000, port, data))
    expect_datagram(lab, sock, data)


@case(
    "UDP-1.6",
    "A datagram in fragments is delivered whole",
    rfc="RFC 1122",
    section="3.3.2",
    mutant=hiding(lambda frame: bool(frame.haslayer(IP)) and frame[IP].frag > 0, "drops fragments"),
)
def in_fragments(lab: Tester) -> None:
    """Send more than one frame can hold.

    1. The tester sends 5000 bytes of data in four fragments.
    2. The program receives all of them.
    """
    data = bytes(range(250)) * 20
    sock, port = bound(lab)
    for piece in fragment(lab.udp(4000, port, data), 1480):  # type: ignore[no-untyped-call]
        lab.send(piece)
    expect_datagram(lab, sock, data)


@case(
    "UDP-1.7",
    "A datagram whose source port is zero is delivered",
    section="Fields: Source Port",
    mutant=hiding(
        lambda frame: bool(frame.haslayer(UDP)) and frame[UDP].sport == 0, "drops source port 0"
    ),
)
def source_port_zero(lab: Tester) -> None:
    """The source port is optional; zero says that there is none.

    1. The tester sends a datagram with source port 0.
    2. The program receives it.
    """
    sock, port = bound(lab)
    lab.send(lab.udp(0, port, b"no reply, please"))
    expect_datagram(lab, sock, b"no reply, please")


# --- checksums -----------------------------------------------------------------------------------


@case(
    "UDP-2.1",
    "A datagram with a wrong checksum is dropped without a word",
    rfc="RFC 1122",
    section="4.1.3.4",
    mutant=UNCHECKED,
    family=4,
)
@case(
    "UDP-2.2",
    "A datagram over IPv6 with a wrong checksum is dropped",
    rfc="RFC 8200",
    section="8.1",
    mutant=UNCHECKED,
    family=6,
)
def wrong_checksum(lab: Tester, family: int) -> None:
    """Send a datagram that was damaged on the way.

    1. The tester sends a datagram to a bound port with a wrong checksum.
    2. The program receives nothing.
    """
    sock, port = bound(lab, family=family)
    lab.send(_datagram(lab, family, 4000, port, b"damaged", chksum=0x1234))
    expect_no_datagram(lab, sock)


@case(
    "UDP-2.3",
    "A datagram over IPv4 without a checksum is delivered",
    section="Fields: Checksum",
    level=Level.SHOULD,
    mutant=hiding(
        lambda frame: bool(frame.haslayer(UDP)) and frame[UDP].chksum == 0,
        "drops datagrams without a checksum",
    ),
)
def no_checksum(lab: Tester) -> None:
    """A checksum of zero says that the sender made none.

    1. The tester sends a datagram over IPv4 whose checksum field is zero.
    2. The program receives it.
    """
    sock, port = bound(lab)
    lab.send(lab.udp(4000, port, b"unchecked", chksum=0))
    expect_datagram(lab, sock, b"unchecked")


@case(
    "UDP-2.4",
    "A datagram over IPv6 without a checksum is dropped",
    rfc="RFC 8200",
    section="8.1",
    mutant=UNCHECKED,
)
def no_checksum6(lab: Tester) -> None:
    """Over IPv6 the checksum is not optional.

    1. The tester sends a datagram over IPv6 whose checksum field is zero.
    2. The program receives nothing.
    """
    sock, port = bound(lab, family=6)
    lab.send(lab.udp6(4000, port, b"unchecked", chksum=0))
    expect_no_datagram(lab, sock)


@case(
    "UDP-2.5",
    "A datagram whose checksum is for another address is dropped",
    section="Fields: Checksum",
    mutant=UNCHECKED,
)
def pseudo_header(lab: Tester) -> None:
    """The checksum covers the addresses of IP's header too.

    1. The tester makes a datagram to another host, 192.0.2.3, checksum and all.
    2. The tester changes its destination to the Host, and IP's checksum with it.
    3. The program receives nothing.
    """
    sock, port = bound(lab)
    elsewhere = lab.ip(dst="192.0.2.3") / UDP(sport=4000, dport=port) / Raw(b"data")
    there = IP(bytes(elsewhere))
    there.dst = lab.host4
    del there.chksum
    lab.send(there)
    expect_no_datagram(lab, sock)


@case(
    "UDP-2.6",
    "A datagram that is sent has a right checksum",
    rfc="RFC 1122",
    section="4.1.3.4",
    mutant=altering(UDP, "sends no checksum", exact=True, chksum=0),
    family=4,
)
@case(
    "UDP-2.7",
    "A datagram that is sent over IPv6 has a right checksum",
    rfc="RFC 8200",
    section="8.1",
    mutant=altering(UDP, "sends no checksum", exact=True, chksum=0),
    family=6,
)
def sent_checksum(lab: Tester, family: int) -> None:
    """Look at the checksum of what the program sends, with data of an odd length.

    1. The Host's program sends five bytes to the tester.
    2. Their datagram has a checksum, and the right one.
    """
    sock, _port = bound(lab, family=family)
    sock.sendto(b"three", (_tester(lab, family), 4000))
    found = lab.expect(udp(dport=4000) / payload(b"three"))
    lab.check(sum_is_right(found), "the right checksum", hex(found[UDP].chksum))


def _two_bytes_that_sum_to_zero(network: Packet, sport: int, dport: int) -> bytes:
    """Data of two bytes that make a datagram's checksum come out as zero."""
    bare = network / UDP(sport=sport, dport=dport) / Raw(b"\0\0")
    parsed = type(network)(bytes(bare))
    return int(parsed[UDP].chksum).to_bytes(2, "big")


@case(
    "UDP-2.8",
    "A checksum that comes out as zero is sent as all ones",
    section="Fields: Checksum",
    mutant=altering(UDP, "sends a zero checksum", exact=True, chksum=0),
)
def zero_sum(lab: Tester) -> None:
    """Choose data for which the sum is zero, which on the wire would mean that there is none.

    1. The Host's program sends two bytes that make the checksum zero.
    2. The checksum in the datagram is 0xffff.
    """
    sock, port = bound(lab)
    network = IP(src=lab.host4, dst=lab.tester4)
    data = _two_bytes_that_sum_to_zero(network, port, 4000)
    sock.sendto(data, (lab.tester4, 4000))
    lab.expect(udp(dport=4000, chksum=0xFFFF) / payload(data))


@case(
    "UDP-2.9",
    "A checksum over IPv6 that comes out as zero is sent as all ones",
    rfc="RFC 8200",
    section="8.1",
    mutant=altering(UDP, "sends a zero checksum", exact=True, chksum=0),
)
def zero_sum6(lab: Tester) -> None:
    """The same over IPv6, where a datagram with a zero checksum would be dropped.

    1. The Host's program sends two bytes that make the checksum zero.
    2. The checksum in the datagram is 0xffff.
    """
    sock, port = bound(lab, family=6)
    network = IPv6(src=lab.host6, dst=lab.tester6)
    data = _two_bytes_that_sum_to_zero(network, port, 4000)
    sock.sendto(data, (lab.tester6, 4000))
    lab.expect(udp(dport=4000, chksum=0xFFFF) / payload(data))


# --- lengths -------------------------------------------------------------------------------------


@case(
    "UDP-3.1",
    "A datagram whose length is less than its header is dropped",
    section="Fields: Length",
    mutant=UNMEASURED,
)
def length_too_small(lab: Tester) -> None:
    """The least length there can be is eight.

    1. The tester sends a datagram whose length field says 7, without a checksum.
    2. The program receives nothing.
    """
    sock, port = bound(lab)
    lab.send(lab.udp(4000, port, b"data", len=7, chksum=0))
    expect_no_datagram(lab, sock)


@case(
    "UDP-3.2",
    "A datagram that claims more bytes than there are is dropped",
    section="Fields: Length",
    mutant=UNMEASURED,
)
def length_too_large(lab: Tester) -> None:
    """The length may not reach beyond the packet's end.

    1. The tester sends 4 bytes of data with a length field of 100, without a checksum.
    2. The program receives nothing.
    """
    sock, port = bound(lab)
    lab.send(lab.udp(4000, port, b"data", len=100, chksum=0))
    expect_no_datagram(lab, sock)


def _length_of_packet(frame: Packet) -> Packet:
    """The datagram as if it went on to the packet's end."""
    if frame.haslayer(UDP):
        frame[UDP].len = frame[IP].len - 4 * frame[IP].ihl
    return frame


@case(
    "UDP-3.3",
    "What follows a datagram's length is no data of it",
    section="Fields: Length",
    level=Level.SHOULD,
    mutant=Mutant("takes the packet's length for the datagram's", incoming=_length_of_packet),
)
def bytes_after_the_length(lab: Tester) -> None:
    """IP's packet may be longer than the datagram in it.

    1. The tester sends 8 bytes of data with a length field of 12, without a checksum.
    2. The program receives the first 4 bytes, or nothing; never the rest.
    """
    sock, port = bound(lab)
    lab.send(lab.udp(4000, port, b"dataREST", len=12, chksum=0))
    lab.run(200)
    try:
        got = sock.recv(100)
    except BlockingIOError:
        return
    lab.check(got == b"data", "4 bytes for the program", repr(got))


@case(
    "UDP-3.4",
    "A packet too short for a header does no harm",
    section="Format",
    mutant=SILENT,
)
def cut_header(lab: Tester) -> None:
    """Send packets of UDP that end within its header.

    1. The tester sends packets with 0, 1, 4 and 7 bytes behind IP's header.
    2. The Host still answers an echo request.
    """
    for size in (0, 1, 4, 7):
        lab.send(lab.ip(proto=17) / Raw(b"\x10\x00\x00\x09\x00\x08\x00\x00"[:size]))
    lab.send(lab.echo())
    lab.expect(icmp(type=0))


@case(
    "UDP-3.5",
    "A length of zero over IPv6 without a jumbo payload is dropped",
    rfc="RFC 2675",
    section="4",
    mutant=UNMEASURED,
)
def zero_length6(lab: Tester) -> None:
    """A length of zero belongs to jumbograms alone.

    1. The tester sends an ordinary packet with a datagram of length 0 in it.
    2. The program receives nothing.
    """
    sock, port = bound(lab, family=6)
    lab.send(lab.udp6(4000, port, b"data", len=0))
    expect_no_datagram(lab, sock)


# --- what the program may choose -----------------------------------------------------------------


@case(
    "UDP-7.1",
    "The program may choose the time to live",
    rfc="RFC 1122",
    section="4.1.4",
    mutant=altering(IP, "sends all packets with a time to live of 64", ttl=64),
)
def chosen_ttl(lab: Tester) -> None:
    """Set the time to live and look.

    1. The Host's program sets IP_TTL to 17 and sends a datagram.
    2. Its time to live is 17.
    """
    sock, _port = bound(lab)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 17)
    sock.sendto(b"data", (lab.tester4, 4000))
    lab.expect(ipv4(ttl=17) / udp(dport=4000))


@case(
    "UDP-7.2",
    "The program may choose the type of service",
    rfc="RFC 1122",
    section="4.1.4",
    mutant=altering(IP, "sends all packets with a type of service of 0", tos=0),
)
def chosen_tos(lab: Tester) -> None:
    """Set the type of service and look.

    1. The Host's program sets IP_TOS to 0x28 and sends a datagram.
    2. Its type of service is 0x28.
    """
    sock, _port = bound(lab)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x28)
    sock.sendto(b"data", (lab.tester4, 4000))
    lab.expect(ipv4(tos=0x28) / udp(dport=4000))


@case(
    "UDP-7.3",
    "A datagram larger than the MTU goes out in fragments that make it whole",
    rfc="RFC 1122",
    section="3.3.3",
    level=Level.MAY,
    mutant=dropping(
        lambda frame: bool(frame.haslayer(IP)) and frame[IP].frag > 0, "loses fragments"
    ),
)
def sent_in_fragments(lab: Tester) -> None:
    """Have the program send more than one frame can hold.

    1. The Host's program sends 4000 bytes.
    2. They come in fragments of one identification, none above the MTU.
    3. Put together they are one datagram, with the right length and checksum.
    """
    data = bytes(range(250)) * 16
    sock, _port = bound(lab)
    sock.sendto(data, (lab.tester4, 4000))
    whole = bytearray(8 + len(data))
    identities = set()
    have = 0
    fragments = where(
        "a fragment", lambda frame: bool(frame.haslayer(IP)) and frame[IP].proto == 17
    )
    while have < len(whole):
        packet = lab.expect(fragments)[IP]
        lab.check(packet.len <= 1500, "no fragment above the MTU", packet.len)
        identities.add(packet.id)
        body = bytes(packet.payload)[: packet.len - 4 * packet.ihl]
        whole[8 * packet.frag : 8 * packet.frag + len(body)] = body
        have += len(body)
    lab.check(len(identities) == 1, "one identification", identities)
    again: Packet = IP(src=lab.host4, dst=lab.tester4, proto=17) / UDP(bytes(whole))
    lab.check(again[UDP].len == len(whole), f"length {len(whole)}", again[UDP].len)
    lab.check(bytes(whole[8:]) == data, "the data that was sent", "something else")
    framed: Packet = Ether() / again
    lab.check(sum_is_right(framed), "the right checksum", hex(again[UDP].chksum))
