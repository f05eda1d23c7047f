"""ICMP, groups 1 and 3: echo, and messages that a Host answers or ignores (RFC 792, RFC 1122)."""

from __future__ import annotations

import socket

from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._ip4 import (
    dying,
    is_alive,
    is_dropped,
    is_fragment,
    reply_to,
)
from pystack.lab.catalogue._mutants import altering, answering, computed, hiding, mending
from pystack.lab.mutant import Mutant
from pystack.lab.packets import icmp, ipv4, payload
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level, Unable

case = group("ICMP", rfc="RFC 1122")

ECHO = "3.2.2.6"


def _is_icmp(frame: Packet) -> bool:
    return bool(frame.haslayer(IP)) and frame[IP].proto == 1


def _echo_back(frame: Packet) -> Packet:
    """An echo reply to whatever came."""
    return reply_to(frame, ICMP(type=0, id=0x5053, seq=1) / Raw(b"pystack"))


ANSWERS_ALL = answering(_is_icmp, _echo_back, "answers every ICMP message with an echo reply")


@case(
    "ICMP-1.1",
    "An echo request is answered with an echo reply",
    section=ECHO,
    mutant=altering(ICMP, "numbers its replies itself", seq=1),
)
def echo(lab: Tester) -> None:
    """Every host has an echo server.

    1. The tester sends an echo request.
    2. The Host answers, with the same identifier and sequence number.
    """
    lab.send(lab.echo(identifier=0x1234, sequence=7))
    lab.expect(ipv4(src=lab.host4, dst=lab.tester4) / icmp(type=0, code=0, id=0x1234, seq=7))


@case(
    "ICMP-1.2",
    "The data of an echo request is in the reply, all of it",
    section=ECHO,
    mutant=Mutant(
        "cuts the data",
        outgoing=lambda frame: (
            computed(Ether(bytes(frame)[:-1])) if frame.haslayer(ICMP) else frame
        ),
    ),
)
def echo_data(lab: Tester) -> None:
    """Data of each length comes back as it went.

    1. The tester sends echo requests with no data, with one octet, and with 1400.
    2. Each reply has the request's data.
    """
    for size in (1400, 1, 0):
        data = bytes(index % 253 for index in range(size))
        lab.send(lab.ip() / ICMP(type=8, id=size, seq=1) / Raw(data))
        lab.expect(icmp(type=0, id=size) / payload(data))


@case(
    "ICMP-1.3",
    "The checksum of an echo reply is right",
    rfc="RFC 792",
    section="Echo or Echo Reply Message",
    mutant=altering(ICMP, "sends a wrong checksum", exact=True, chksum=0x1234),
)
def echo_checksum(lab: Tester) -> None:
    """Look at the reply's checksum, for an even and an odd number of octets.

    1. The tester sends two echo requests.
    2. Both replies have the sum that is due.
    """
    for data in (b"even", b"odd"):
        lab.send(lab.echo(data=data))
        reply = lab.expect(icmp(type=0))[ICMP]
        again = reply.copy()
        del again.chksum
        due = ICMP(bytes(again)).chksum
        lab.check(reply.chksum == due, f"checksum {due:#06x}", f"{reply.chksum:#06x}")


@case(
    "ICMP-1.4",
    "A message with a wrong checksum is dropped",
    section="3.2.2",
    mutant=mending(ICMP, "does not verify the checksum"),
)
def wrong_checksum(lab: Tester) -> None:
    """What was damaged on the way is not answered.

    1. The tester sends an echo request whose checksum is wrong.
    2. No reply comes; a right request after it is answered.
    """
    is_dropped(lab, lab.ip() / ICMP(type=8, id=1, seq=1, chksum=0x0BAD) / Raw(b"pystack"))


@case(
    "ICMP-1.5",
    "A reply comes from the address that the request was sent to",
    section=ECHO,
    mutant=altering(IP, "answers from another address", src="192.0.2.99"),
)
def reply_source(lab: Tester) -> None:
    """The tester's table of requests has the address that it sent to.

    1. The tester sends an echo request.
    2. The source of the reply is the request's destination.
    """
    lab.send(lab.echo())
    found = lab.expect(icmp(type=0))[IP].src
    lab.check(found == lab.host4, lab.host4, found)


@case(
    "ICMP-1.6",
    "An echo request larger than the MTU, in fragments, is answered",
    section="3.3.2",
    level=Level.SHOULD,
    mutant=hiding(is_fragment, "does not put fragments together"),
)
def echo_in_fragments(lab: Tester) -> None:
    """What a host can reassemble should not be limited; the reply may have to be cut again.

    1. The tester sends an echo request with 2000 octets in two fragments.
    2. The Host's reply comes, in fragments or not, and has as many octets.
    """
    whole = bytes(ICMP(type=8, id=9, seq=1) / Raw(bytes(2000)))
    lab.send(lab.ip(id=77, flags="MF", proto=1) / Raw(whole[:1480]))
    lab.send(lab.ip(id=77, frag=185, proto=1) / Raw(whole[1480:]))
    total = 0
    while total < len(whole):
        packet = lab.expect(ipv4(src=lab.host4, proto=1))[IP]
        total += packet.len - 4 * packet.ihl
    lab.check(total == len(whole), f"{len(whole)} octets", total)


@case(
    "ICMP-1.7",
    "An echo request to a broadcast address is not answered from that address",
    section=ECHO,
    mutant=answering(
        _is_icmp,
        lambda frame: _from(_echo_back(frame), "192.0.2.255"),
        "answers from the broadcast address",
    ),
)
def broadcast_echo(lab: Tester) -> None:
    """No packet has a broadcast address as its source.

    1. The tester sends an echo request to the network's broadcast address.
    2. If there is a reply, it comes from the Host's own address.
    """
    lab.send(lab.ip(dst="192.0.2.255") / ICMP(type=8, id=1, seq=1))
    for packet in lab.collect(icmp(type=0), 500):
        lab.check(packet[IP].src == lab.host4, lab.host4, packet[IP].src)


def _from(frame: Packet, source: str) -> Packet:
    frame[IP].src = source
    return computed(frame)


@case(
    "ICMP-1.8",
    "An unsolicited echo reply is not answered",
    rfc="RFC 792",
    section="Echo or Echo Reply Message",
    level=Level.SHOULD,
    mutant=ANSWERS_ALL,
)
def unsolicited_reply(lab: Tester) -> None:
    """A reply is passed to the waiting program, and that is all.

    1. The tester sends an echo reply.
    2. Nothing of ICMP comes; an echo request after it is answered.
    """
    is_dropped(lab, lab.ip() / ICMP(type=0, id=1, seq=1) / Raw(b"pystack"))


@case(
    "ICMP-1.9",
    "An echo request with a code that is not zero is not taken for another message",
    rfc="RFC 792",
    section="Echo or Echo Reply Message",
    level=Level.MAY,
    mutant=answering(
        _is_icmp,
        lambda frame: reply_to(frame, ICMP(type=12)),
        "answers with a parameter problem",
    ),
)
def echo_code(lab: Tester) -> None:
    """The code is zero in all that exists, and no error is sent about an ICMP message that asks.

    1. The tester sends an echo request with code 9.
    2. What comes, if anything, is an echo reply; a right request after it is answered.
    """
    lab.send(lab.ip() / ICMP(type=8, code=9, id=1, seq=1))
    lab.expect_nothing(icmp(type=lambda kind: kind != 0), 200)
    is_alive(lab)


@case(
    "ICMP-1.10",
    "An echo request that is cut off after its type is dropped",
    rfc="RFC 792",
    section="Echo or Echo Reply Message",
    level=Level.SHOULD,
    mutant=ANSWERS_ALL,
)
def truncated_echo(lab: Tester) -> None:
    """Identifier and sequence number are what a reply is told by.

    1. The tester sends an ICMP message of four octets: type 8, code 0, and its right checksum.
    2. Nothing comes; a right request after it is answered.
    """
    is_dropped(lab, lab.ip(proto=1) / Raw(b"\x08\x00\xf7\xff"))


@case(
    "ICMP-1.11",
    "The TTL of a reply is a new one",
    section="3.2.1.7",
    level=Level.SHOULD,
    mutant=altering(IP, "answers with the request's TTL", ttl=1),
)
def reply_ttl(lab: Tester) -> None:
    """A reply has its own way to go.

    1. The tester sends an echo request that has come with a TTL of 1.
    2. The reply's TTL is at least 32.
    """
    lab.send(lab.ip(ttl=1) / ICMP(type=8, id=1, seq=1))
    found = lab.expect(icmp(type=0))[IP].ttl
    lab.check(found >= 32, "a TTL of at least 32", found)


@case(
    "ICMP-1.12",
    "The program's echo request is a right one",
    section=ECHO,
    level=Level.SHOULD,
    mutant=altering(ICMP, "sends another type", type=13),
)
def ping(lab: Tester) -> None:
    """There is a way to send an echo request from the Host (an application interface for it).

    1. The Host pings the tester.
    2. An echo request with code 0 comes, from the Host's address, with a right checksum.
    """
    lab.resolve()
    lab.host.ping(lab.tester4)
    request = lab.expect(ipv4(src=lab.host4, dst=lab.tester4) / icmp(type=8, code=0))[ICMP]
    again = request.copy()
    del again.chksum
    lab.check(ICMP(bytes(again)).chksum == request.chksum, "a right checksum", request.chksum)


@case(
    "ICMP-3.1",
    "A message of an unknown type is discarded silently",
    section="3.2.2",
    mutant=ANSWERS_ALL,
)
def unknown_type(lab: Tester) -> None:
    """What is not known is no reason for an error.

    1. The tester sends ICMP messages of types 2, 44 and 252.
    2. Nothing of ICMP comes; an echo request after each is answered.
    """
    for kind in (2, 44, 252):
        is_dropped(lab, lab.ip() / ICMP(type=kind) / Raw(bytes(8)), 100)


@case(
    "ICMP-3.2",
    "An address mask request is not answered by a host that is no authority",
    section="3.2.2.9",
    mutant=ANSWERS_ALL,
)
def address_mask(lab: Tester) -> None:
    """A wrong mask does more harm than none.

    1. The tester sends an address mask request.
    2. No address mask reply comes; an echo request after it is answered.
    """
    is_dropped(lab, lab.ip() / ICMP(type=17, id=1, seq=1, addr_mask="0.0.0.0"))


@case(
    "ICMP-3.3",
    "An information request is not answered",
    section="3.2.2.7",
    level=Level.SHOULD,
    mutant=ANSWERS_ALL,
)
def information(lab: Tester) -> None:
    """The message is obsolete.

    1. The tester sends an information request.
    2. Nothing comes; an echo request after it is answered.
    """
    is_dropped(lab, lab.ip() / ICMP(type=15, id=1, seq=1))


@case(
    "ICMP-3.4",
    "A timestamp request is answered right, or not at all",
    section="3.2.2.8",
    level=Level.MAY,
    mutant=answering(
        _is_icmp,
        lambda frame: reply_to(frame, ICMP(type=14, id=99, seq=99)),
        "answers with another identifier",
    ),
)
def timestamp(lab: Tester) -> None:
    """The message is optional, but if implemented it works like an echo.

    1. The tester sends a timestamp request.
    2. A reply, if one comes, has its identifier and sequence number. An echo request after it is
       answered.
    """
    lab.send(lab.ip() / ICMP(type=13, id=5, seq=6))
    for packet in lab.collect(icmp(type=14), 500):
        found = (packet[ICMP].id, packet[ICMP].seq)
        lab.check(found == (5, 6), "identifier 5, sequence number 6", found)
    is_alive(lab)


def _as_port_unreachable(frame: Packet) -> Packet:
    if frame.haslayer(ICMP) and frame[ICMP].type == 4:
        frame[ICMP].type, frame[ICMP].code = 3, 3
        return computed(frame)
    return frame


@case(
    "ICMP-3.5",
    "A source quench is ignored by UDP",
    rfc="RFC 6633",
    section="5",
    mutant=Mutant("tells its programs of source quenches", incoming=_as_port_unreachable),
)
def source_quench(lab: Tester) -> None:
    """Source quench is obsolete: a sender of one is up to something else.

    1. The Host's program connects a UDP socket to the tester and sends a datagram.
    2. The tester sends a source quench that quotes it.
    3. The program can send another datagram, which comes.
    """
    sock = lab.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((lab.tester4, 4000))
    sock.send(b"first")
    quoted = lab.expect(ipv4(proto=17))[IP]
    lab.send(lab.ip() / ICMP(type=4) / Raw(bytes(quoted)[:28]))
    lab.run(100)
    try:
        sock.send(b"second")
    except OSError as error:
        lab.check(False, "the program to go on sending", error)
    lab.expect(ipv4(proto=17) / payload(b"second"))


def _is_unreachable(frame: Packet) -> bool:
    return bool(frame.haslayer(ICMP)) and frame[ICMP].type == 3


@case(
    "ICMP-3.6",
    "An error with a quotation that is cut off does no harm",
    section="1.2.2",
    level=Level.SHOULD,
    mutant=dying(_is_unreachable, "falls over what an error quotes"),
)
def short_quotation(lab: Tester) -> None:
    """The quotation is what an attacker chooses.

    1. The tester sends destination unreachable messages that quote nothing, half a header, a
       header that says that it has 60 octets, and one that says that it is of version 15.
    2. The Host answers an echo request after each.
    """
    header = bytes(IP(src=lab.host4, dst=lab.tester4, proto=17))
    for quoted in (b"", header[:10], b"\x4f" + header[1:], b"\xf5" + header[1:], header):
        is_dropped(lab, lab.ip() / ICMP(type=3, code=3) / Raw(quoted), 20)


@case(
    "ICMP-3.7",
    "An echo reply is passed to the program that waits for it",
    section=ECHO,
    mutant=hiding(
        lambda frame: bool(frame.haslayer(ICMP)) and frame[ICMP].type == 0,
        "keeps echo replies to itself",
    ),
)
def reply_to_the_program(lab: Tester) -> None:
    """A ping that never hears of the reply is none.

    1. The Host's program opens a raw socket of protocol ICMP; the Host pings the tester, which
       answers.
    2. The program receives the reply, with its data.
    """
    sock = lab.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    lab.host.ping(lab.tester4)
    request = lab.expect(icmp(type=8))[ICMP]
    reply = ICMP(type=0, id=request.id, seq=request.seq) / Raw(bytes(request.payload))
    lab.send(lab.ip() / reply)
    got = lab.until(lambda: sock.recv(65535), 1000, "the program to receive the reply")
    lab.check(got[20:] == bytes(reply), bytes(reply).hex(), got[20:].hex())


def _as_code_3(frame: Packet) -> Packet:
    if _is_unreachable(frame) and frame[ICMP].code != 3:
        frame[ICMP].code = 3
        return computed(frame)
    return frame


@case(
    "ICMP-3.8",
    "A network, host or route that can't be reached is no end of a connection",
    section="3.2.2.1",
    mutant=Mutant("takes each code for port unreachable", incoming=_as_code_3),
)
def only_a_hint(lab: Tester) -> None:
    """Such a message may be about a moment: it is a hint, and no proof.

    1. The Host's program connects a UDP socket to the tester and sends a datagram.
    2. The tester answers with destination unreachable, codes 0, 1 and 5, that quote it.
    3. The program is not told that its peer refused; what the tester sends is received.
    """
    sock = lab.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((lab.tester4, 4000))
    sock.send(b"first")
    port = int(sock.getsockname()[1])
    quoted = bytes(lab.expect(ipv4(proto=17))[IP])[:28]
    for code in (0, 1, 5):
        lab.send(lab.ip() / ICMP(type=3, code=code) / Raw(quoted))
    lab.run(50)
    lab.send(lab.udp(4000, port, b"here I am"))
    for _ in range(5):
        try:
            got = lab.until(lambda: sock.recv(100), 1000, "what the tester sent")
        except ConnectionRefusedError as error:
            lab.check(False, "a hint at most", error)
        except OSError:  # told of what happened: EHOSTUNREACH, ENETUNREACH
            continue
        lab.check(got == b"here I am", "what the tester sent", got)
        return
    lab.check(False, "what the tester sent", "errors alone")


@case(
    "ICMP-3.9",
    "An error whose checksum is wrong is dropped",
    section="3.2.2",
    level=Level.SHOULD,
    mutant=mending(ICMP, "does not verify an error's checksum"),
)
def error_checksum(lab: Tester) -> None:
    """A message damaged on the way says nothing reliable.

    1. The Host's program connects a UDP socket to the tester and sends a datagram.
    2. The tester sends port unreachable about it, with a wrong checksum.
    3. The program can go on sending. A right error is passed to it.
    """
    sock = lab.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((lab.tester4, 4000))
    sock.send(b"first")
    quoted = bytes(lab.expect(ipv4(proto=17))[IP])[:28]
    lab.send(lab.ip() / ICMP(type=3, code=3, chksum=0x0BAD) / Raw(quoted))
    lab.run(100)
    try:
        sock.send(b"second")
    except OSError as error:
        lab.check(False, "the program to go on sending", error)
    lab.send(lab.ip() / ICMP(type=3, code=3) / Raw(quoted))
    lab.run(100)
    try:
        sock.send(b"third")
    except ConnectionRefusedError:
        return
    raise Unable("ICMP errors that are passed to its programs")
