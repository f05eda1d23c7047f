"""ICMP, groups 1 and 3: echo, and messages that a Host answers or ignores (RFC 792, RFC 1122)."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from pystack.lab.case import case
from pystack.lab.catalogue._mutants import altering, answering, computed, mending
from pystack.lab.mutant import Mutant
from pystack.lab.packets import ether, icmp, ipv4, payload
from pystack.lab.tester import BROADCAST, Tester
from pystack.lab.verdict import Level

RFC = "RFC 1122"
ECHO = "3.2.2.6"
NO_ICMP = Mutant("sends no ICMP", outgoing=lambda frame: None if frame.haslayer(ICMP) else frame)


def _is_request(frame: Packet) -> bool:
    return bool(frame.haslayer(IP)) and frame[IP].proto == 1


def _echo_back(frame: Packet) -> Packet:
    """An echo reply to whatever came."""
    return (
        Ether(src="02:00:5e:00:53:02", dst=frame.src)
        / IP(src="192.0.2.2", dst=frame[IP].src)
        / ICMP(type=0, id=0x5053, seq=1)
        / Raw(b"pystack")
    )


ANSWERS_ALL = answering(_is_request, _echo_back, "answers every ICMP message with an echo reply")


@case(
    "ICMP-1.1",
    "An echo request is answered with an echo reply",
    rfc=RFC,
    section=ECHO,
    mutant=NO_ICMP,
    seconds=1,
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
    rfc=RFC,
    section=ECHO,
    mutant=Mutant(
        "cuts the data",
        outgoing=lambda frame: (
            computed(Ether(bytes(frame)[:-1])) if frame.haslayer(ICMP) else frame
        ),
    ),
    seconds=1,
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
    seconds=1,
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
    rfc="RFC 1122",
    section="3.2.2",
    level=Level.MUST,
    mutant=mending(ICMP, "does not verify the checksum"),
    seconds=1,
)
def wrong_checksum(lab: Tester) -> None:
    """What was damaged on the way is not answered.

    1. The tester sends an echo request whose checksum is wrong.
    2. No reply comes.
    """
    lab.send(lab.ip() / ICMP(type=8, id=1, seq=1, chksum=0x0BAD) / Raw(b"pystack"))
    lab.expect_nothing(icmp(type=0))


@case(
    "ICMP-1.5",
    "A reply comes from the address that the request was sent to",
    rfc=RFC,
    section=ECHO,
    mutant=altering(IP, "answers from another address", src="192.0.2.99"),
    seconds=1,
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
    rfc=RFC,
    section=ECHO,
    mutant=Mutant(
        "drops fragments",
        incoming=lambda frame: (
            None if frame.haslayer(IP) and (frame[IP].frag or frame[IP].flags.MF) else frame
        ),
    ),
    seconds=2,
)
def echo_in_fragments(lab: Tester) -> None:
    """The reply to a message that was put together may have to be cut again.

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
    rfc=RFC,
    section=ECHO,
    mutant=answering(
        _is_request,
        lambda frame: _from(_echo_back(frame), "192.0.2.255"),
        "answers from the broadcast address",
    ),
    seconds=1,
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
    "An echo reply that nobody asked for is not answered",
    rfc="RFC 792",
    section="Echo or Echo Reply Message",
    mutant=ANSWERS_ALL,
    seconds=1,
)
def unsolicited_reply(lab: Tester) -> None:
    """A reply is passed to whoever waits, and that is all.

    1. The tester sends an echo reply.
    2. Nothing of ICMP comes.
    """
    lab.send(lab.ip() / ICMP(type=0, id=1, seq=1) / Raw(b"pystack"))
    lab.expect_nothing(icmp())


@case(
    "ICMP-1.9",
    "An echo request with a code that is not zero is not taken for another message",
    rfc="RFC 792",
    section="Echo or Echo Reply Message",
    level=Level.MAY,
    mutant=answering(
        _is_request,
        lambda frame: (
            Ether(src="02:00:5e:00:53:02", dst=frame.src)
            / IP(src="192.0.2.2", dst=frame[IP].src)
            / ICMP(type=12)
        ),
        "answers with a parameter problem",
    ),
    seconds=1,
)
def echo_code(lab: Tester) -> None:
    """The code is zero in all that exists, and no error is sent about an ICMP message that asks.

    1. The tester sends an echo request with code 9.
    2. What comes, if anything, is an echo reply.
    """
    lab.send(lab.ip() / ICMP(type=8, code=9, id=1, seq=1))
    lab.expect_nothing(icmp(type=lambda kind: kind != 0))


@case(
    "ICMP-1.10",
    "An echo request that is cut off after its type is dropped",
    rfc="RFC 792",
    section="Echo or Echo Reply Message",
    mutant=ANSWERS_ALL,
    seconds=1,
)
def truncated_echo(lab: Tester) -> None:
    """Identifier and sequence number are what a reply is told by.

    1. The tester sends an ICMP message of four octets: type 8, code 0, and its right checksum.
    2. Nothing comes.
    """
    lab.send(lab.ip(proto=1) / Raw(b"\x08\x00\xf7\xff"))
    lab.expect_nothing(icmp())


@case(
    "ICMP-1.11",
    "The TTL of a reply is a new one",
    rfc="RFC 1122",
    section="3.2.1.7",
    mutant=altering(IP, "answers with the request's TTL", ttl=1),
    seconds=1,
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
    rfc=RFC,
    section=ECHO,
    aliases=("talk:ping-from-the-stack",),
    mutant=altering(ICMP, "sends another type", type=13),
    seconds=1,
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
    rfc=RFC,
    section="3.2.2",
    mutant=ANSWERS_ALL,
    seconds=1,
)
def unknown_type(lab: Tester) -> None:
    """What is not known is no reason for an error.

    1. The tester sends ICMP messages of types 2, 44 and 252.
    2. Nothing of ICMP comes.
    """
    for kind in (2, 44, 252):
        lab.send(lab.ip() / ICMP(type=kind) / Raw(bytes(8)))
    lab.expect_nothing(icmp())


@case(
    "ICMP-3.2",
    "An address mask request is not answered by a host that is no authority",
    rfc=RFC,
    section="3.2.2.9",
    mutant=ANSWERS_ALL,
    seconds=1,
)
def address_mask(lab: Tester) -> None:
    """A wrong mask does more harm than none.

    1. The tester sends an address mask request.
    2. No address mask reply comes.
    """
    lab.send(lab.ip() / ICMP(type=17, id=1, seq=1, addr_mask="0.0.0.0"))
    lab.expect_nothing(icmp())


@case(
    "ICMP-3.3",
    "An information request is not answered",
    rfc=RFC,
    section="3.2.2.7",
    level=Level.SHOULD,
    mutant=ANSWERS_ALL,
    seconds=1,
)
def information(lab: Tester) -> None:
    """The message is obsolete.

    1. The tester sends an information request.
    2. Nothing comes.
    """
    lab.send(lab.ip() / ICMP(type=15, id=1, seq=1))
    lab.expect_nothing(icmp())


@case(
    "ICMP-3.4",
    "A timestamp request is answered right, or not at all",
    rfc=RFC,
    section="3.2.2.8",
    level=Level.MAY,
    mutant=answering(
        _is_request,
        lambda frame: (
            Ether(src="02:00:5e:00:53:02", dst=frame.src)
            / IP(src="192.0.2.2", dst=frame[IP].src)
            / ICMP(type=14, id=99, seq=99)
        ),
        "answers with another identifier",
    ),
    seconds=1,
)
def timestamp(lab: Tester) -> None:
    """The message is optional, but whoever has it has it as an echo.

    1. The tester sends a timestamp request.
    2. A reply, if one comes, has its identifier and sequence number.
    """
    lab.send(lab.ip() / ICMP(type=13, id=5, seq=6))
    for packet in lab.collect(icmp(type=14), 500):
        found = (packet[ICMP].id, packet[ICMP].seq)
        lab.check(found == (5, 6), "identifier 5, sequence number 6", found)


@case(
    "ICMP-3.5",
    "A source quench does no harm",
    rfc="RFC 6633",
    section="1",
    mutant=Mutant(
        "is silent after a source quench",
        incoming=lambda frame: None if frame.haslayer(ICMP) and frame[ICMP].type == 8 else frame,
    ),
    seconds=1,
)
def source_quench(lab: Tester) -> None:
    """Source quench is deprecated: it is ignored.

    1. The tester sends a source quench that quotes a datagram of the Host's.
    2. Nothing comes of it, and an echo request is answered as before.
    """
    quoted = bytes(IP(src=lab.host4, dst=lab.tester4, proto=17) / Raw(bytes(8)))
    lab.send(lab.ip() / ICMP(type=4) / Raw(quoted))
    lab.expect_nothing(icmp(), 200)
    lab.send(lab.echo())
    lab.expect(icmp(type=0))


@case(
    "ICMP-3.6",
    "An error with a quotation that is cut off does no harm",
    rfc=RFC,
    section="3.2.2",
    mutant=Mutant(
        "falls silent",
        incoming=lambda frame: None if frame.haslayer(ICMP) and frame[ICMP].type == 8 else frame,
    ),
    seconds=1,
)
def short_quotation(lab: Tester) -> None:
    """The quotation is what an attacker chooses.

    1. The tester sends destination unreachable messages that quote nothing, half a header, a
       header that says that it has 60 octets, and one that says that it is of version 15.
    2. The Host answers an echo request after them.
    """
    header = bytes(IP(src=lab.host4, dst=lab.tester4, proto=17))
    for quoted in (b"", header[:10], b"\x4f" + header[1:], b"\xf5" + header[1:], header):
        lab.send(lab.ip() / ICMP(type=3, code=3) / Raw(quoted))
    lab.send(lab.echo())
    lab.expect(icmp(type=0), but_not=icmp(type={3, 11, 12}))


@case(
    "ICMP-3.7",
    "A redirect from who is not the router in use is ignored",
    rfc=RFC,
    section="3.2.2.2",
    mutant=Mutant(
        "takes every station for its router",
        outgoing=lambda frame: (
            Ether(src=frame.src, dst="02:00:5e:00:53:77") / frame.payload
            if frame.haslayer(IP)
            else frame
        ),
    ),
    seconds=2,
)
def redirect_from_a_stranger(lab: Tester) -> None:
    """Else any station could turn the traffic to itself.

    1. 192.0.2.66, who is not the Host's router, sends a redirect for 198.51.100.9 to
       192.0.2.77.
    2. What the Host sends to 198.51.100.9 goes to its router still.
    """
    lab.own("192.0.2.77", "02:00:5e:00:53:77")
    quoted = bytes(IP(src=lab.host4, dst="198.51.100.9", proto=1) / ICMP(type=8))
    lab.send(lab.ip(src="192.0.2.66") / ICMP(type=5, code=1, gw="192.0.2.77") / Raw(quoted))
    lab.run(100)
    lab.host.ping("198.51.100.9")
    lab.expect(
        ether(dst=lab.tester_mac) / icmp(type=8),
        but_not=ether(dst="02:00:5e:00:53:77"),
    )


@case(
    "ICMP-3.8",
    "A redirect to a gateway that is on another network is ignored",
    rfc=RFC,
    section="3.2.2.2",
    mutant=Mutant(
        "asks for the address of the new gateway",
        outgoing=lambda frame: None if frame.haslayer(IP) else frame,
    ),
    seconds=2,
)
def redirect_off_link(lab: Tester) -> None:
    """A gateway that can't be reached is none.

    1. The router redirects the Host to 203.0.113.77.
    2. What the Host sends to the destination goes to its router still.
    """
    quoted = bytes(IP(src=lab.host4, dst="198.51.100.9", proto=1) / ICMP(type=8))
    lab.send(lab.ip() / ICMP(type=5, code=1, gw="203.0.113.77") / Raw(quoted))
    lab.run(100)
    lab.host.ping("198.51.100.9")
    lab.expect(ether(dst=lab.tester_mac) / icmp(type=8))


@case(
    "ICMP-3.9",
    "An echo request to the limited broadcast address is not answered with an error",
    rfc=RFC,
    section="3.2.2",
    mutant=answering(
        _is_request,
        lambda frame: (
            Ether(src="02:00:5e:00:53:02", dst=BROADCAST)
            / IP(src="192.0.2.2", dst=frame[IP].src)
            / ICMP(type=3, code=2)
        ),
        "answers broadcasts with errors",
    ),
    seconds=1,
)
def broadcast_no_error(lab: Tester) -> None:
    """An error about a broadcast would come from every host at once.

    1. The tester sends packets of a protocol that nobody has to 255.255.255.255 and to the
       network's broadcast address, and an ICMP message of an unknown type.
    2. No error comes.
    """
    for destination in ("255.255.255.255", "192.0.2.255"):
        lab.send(lab.ip(dst=destination, proto=253) / Raw(bytes(8)))
        lab.send(lab.ip(dst=destination) / ICMP(type=44) / Raw(bytes(8)))
    lab.expect_nothing(icmp(type={3, 11, 12}))
