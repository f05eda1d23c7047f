"""ICMP, group 2: the errors that a Host sends, and those that it must not (RFC 1122 3.2.2)."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, UDP, IPerror, IPOption
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from pystack.lab.case import case
from pystack.lab.catalogue._mutants import altering, answering, dropping, unreachable
from pystack.lab.mutant import Mutant
from pystack.lab.packets import at_least, icmp, inner_ipv4, ipv4
from pystack.lab.tester import BROADCAST, Tester
from pystack.lab.verdict import Level

RFC, SECTION = "RFC 1122", "3.2.2"
NOBODY = 253  # a protocol number for experiments (RFC 3692)
ERRORS = icmp(type={3, 11, 12})


def _has_ip(frame: Packet) -> bool:
    return bool(frame.haslayer(IP))


COMPLAINS = answering(_has_ip, unreachable, "answers every packet with an error")
NO_ERRORS = dropping(
    lambda frame: bool(frame.haslayer(ICMP)) and frame[ICMP].type in (3, 11, 12), "sends no errors"
)


def bad_option(**fields: object) -> IP:
    """A header with an option that says that it is longer than the header is (RFC 791 3.1)."""
    return IP(options=[IPOption(b"\x07\x27\x04")], **fields)


@case(
    "ICMP-2.1",
    "A packet of a protocol that the Host does not have is answered with protocol unreachable",
    rfc=RFC,
    section="3.2.2.1",
    level=Level.SHOULD,
    mutant=altering(ICMP, "says port unreachable instead", code=3),
    seconds=1,
)
def protocol_unreachable(lab: Tester) -> None:
    """Send what nobody listens for.

    1. The tester sends a packet of protocol 253.
    2. The Host answers with destination unreachable, code 2, and quotes the packet.
    """
    lab.send(lab.ip(proto=NOBODY, id=0x777) / Raw(b"quoted octets"))
    lab.expect(
        ipv4(src=lab.host4, dst=lab.tester4)
        / icmp(type=3, code=2)
        / inner_ipv4(src=lab.tester4, dst=lab.host4, proto=NOBODY, id=0x777)
    )


@case(
    "ICMP-2.2",
    "No error is sent about a fragment that is not the first",
    rfc=RFC,
    section=SECTION,
    aliases=("talk:ICMP-2.2",),
    mutant=COMPLAINS,
    seconds=1,
)
def no_error_about_fragments(lab: Tester) -> None:
    """Send fragments with an offset, each with something to complain about.

    1. The tester sends fragments that are not the first: of a protocol that nobody has, of a
       datagram to a closed port, and with an option that runs past the header (a parameter
       problem, if it were the first).
    2. No error comes.
    """
    lab.send(lab.ip(proto=NOBODY, frag=10, id=1) / Raw(bytes(16)))
    lab.send(lab.ip(proto=17, frag=10, flags="MF", id=2) / Raw(bytes(16)))
    lab.send(bad_option(src=lab.tester4, dst=lab.host4, proto=17, frag=10, id=3) / Raw(bytes(16)))
    lab.expect_nothing(ERRORS)


@case(
    "ICMP-2.3",
    "No error is sent about an error",
    rfc=RFC,
    section=SECTION,
    mutant=COMPLAINS,
    seconds=1,
)
def no_error_about_errors(lab: Tester) -> None:
    """Two hosts that did would never come to an end.

    1. The tester sends errors of each type, about packets that the Host never sent, and one that
       has an option that runs past its header.
    2. No error comes.
    """
    quoted = Raw(bytes(IP(src=lab.host4, dst=lab.tester4, proto=NOBODY) / Raw(bytes(8))))
    for kind in (3, 11, 12):
        lab.send(lab.ip() / ICMP(type=kind, code=0) / quoted)
    lab.send(bad_option(src=lab.tester4, dst=lab.host4) / ICMP(type=3, code=1) / quoted)
    lab.expect_nothing(ERRORS)


@case(
    "ICMP-2.4",
    "No error is sent about a packet to a multicast group",
    rfc=RFC,
    section=SECTION,
    mutant=COMPLAINS,
    seconds=1,
)
def no_error_about_multicast(lab: Tester) -> None:
    """As for broadcasts.

    1. The tester sends to the group of all hosts: a datagram to a closed port, and a packet of a
       protocol that nobody has.
    2. No error comes.
    """
    lab.send(lab.ip(dst="224.0.0.1") / UDP(sport=4000, dport=9) / Raw(b"x"))
    lab.send(lab.ip(dst="224.0.0.1", proto=NOBODY) / Raw(bytes(8)))
    lab.expect_nothing(ERRORS)


@case(
    "ICMP-2.5",
    "No error is sent about a packet that came as a broadcast of the link",
    rfc=RFC,
    section=SECTION,
    mutant=COMPLAINS,
    seconds=1,
)
def no_error_about_link_broadcast(lab: Tester) -> None:
    """What matters is how the frame was sent, too.

    1. The tester broadcasts frames with datagrams to the Host's own address, at a closed port.
    2. No error comes.
    """
    lab.send(
        Ether(src=lab.tester_mac, dst=BROADCAST) / lab.ip() / UDP(sport=4000, dport=9) / Raw(b"x")
    )
    lab.expect_nothing(ERRORS)


@case(
    "ICMP-2.6",
    "No error is sent about a packet whose source is no single host",
    rfc=RFC,
    section=SECTION,
    mutant=Mutant(
        "answers whoever it was with an error",
        answer=lambda frame: unreachable(frame) if _has_ip(frame) else None,
    ),
    seconds=1,
)
def no_error_without_a_source(lab: Tester) -> None:
    """There is nobody to send it to.

    1. The tester sends datagrams to a closed port from 0.0.0.0, from a broadcast address, from a
       group, from loopback and from class E.
    2. No error comes.
    """
    for source in ("0.0.0.0", "255.255.255.255", "192.0.2.255", "224.0.0.1", "127.0.0.1",
                   "240.0.0.1"):  # fmt: skip
        lab.send(lab.ip(src=source) / UDP(sport=4000, dport=9) / Raw(b"x"))
    lab.expect_nothing(ERRORS)


@case(
    "ICMP-2.7",
    "An error quotes the header and at least eight octets of the packet, unchanged",
    rfc=RFC,
    section=SECTION,
    mutant=altering(IPerror, "quotes another identification", exact=True, id=1),
    seconds=1,
)
def quotation(lab: Tester) -> None:
    """Whoever gets the error finds by the quotation what it is about.

    1. The tester sends a packet of a protocol that nobody has.
    2. The error begins with the packet's own first 28 octets.
    """
    packet = lab.ip(proto=NOBODY, id=0x4242, tos=0, ttl=77) / Raw(bytes(range(40)))
    lab.send(packet)
    error = lab.expect(icmp(type=3, code=2))
    found, sent = bytes(error[ICMP].payload)[:28], bytes(packet)[:28]
    lab.check(found == sent, sent.hex(), found.hex())


@case(
    "ICMP-2.8",
    "An error is not longer than 576 octets",
    rfc="RFC 1812",
    section="4.3.2.3",
    level=Level.SHOULD,
    mutant=Mutant(
        "quotes all of the packet",
        outgoing=lambda frame: (
            Ether(src=frame.src, dst=frame.dst)
            / IP(src=frame[IP].src, dst=frame[IP].dst)
            / ICMP(type=3, code=2)
            / Raw(bytes(1200))
            if frame.haslayer(ICMP)
            else frame
        ),
    ),
    seconds=1,
)
def error_length(lab: Tester) -> None:
    """As much of the packet as fits is quoted, and no more.

    1. The tester sends 1400 octets of a protocol that nobody has.
    2. The error's packet has no more than 576.
    """
    lab.send(lab.ip(proto=NOBODY) / Raw(bytes(1400)))
    found = lab.expect(icmp(type=3, code=2))[IP].len
    lab.check(found <= 576, "576 octets at most", found)


@case(
    "ICMP-2.9",
    "An error's source is an address of the Host's on the wire it came by",
    rfc=RFC,
    section="3.3.4.2",
    mutant=altering(IP, "sends errors from another address", src="192.0.2.99"),
    seconds=1,
)
def error_source(lab: Tester) -> None:
    """The destination of what it is about, if it is one of the Host's.

    1. The tester sends a packet of a protocol that nobody has.
    2. The error comes from the packet's destination.
    """
    lab.send(lab.ip(proto=NOBODY) / Raw(bytes(8)))
    found = lab.expect(icmp(type=3, code=2))[IP].src
    lab.check(found == lab.host4, lab.host4, found)


@case(
    "ICMP-2.10",
    "A packet that is not put together in time is answered with time exceeded, code 1",
    rfc=RFC,
    section="3.3.2",
    level=Level.SHOULD,
    mutant=NO_ERRORS,
    seconds=130,
)
def reassembly_time(lab: Tester) -> None:
    """A fragment that waits for the rest in vain is given up.

    1. The tester sends the first fragment of a packet, and no other.
    2. After one to two minutes (RFC 1122 says 60 to 120 seconds) an error comes that quotes it.
    """
    whole = bytes(ICMP(type=8, id=9, seq=1) / Raw(bytes(2000)))
    lab.send(lab.ip(id=0x99, flags="MF", proto=1) / Raw(whole[:1480]))
    lab.expect(icmp(type=11, code=1) / inner_ipv4(id=0x99), within_ms=125_000)


@case(
    "ICMP-2.11",
    "Without the first fragment there is no time exceeded",
    rfc="RFC 792",
    section="Time Exceeded Message",
    mutant=answering(_has_ip, lambda frame: unreachable(frame, 11, 1), "reports every fragment"),
    seconds=130,
)
def reassembly_time_without_first(lab: Tester) -> None:
    """The quotation would have nothing of the transport's header in it.

    1. The tester sends the second fragment of a packet, and no other.
    2. For two minutes no error comes.
    """
    lab.send(lab.ip(id=0x99, frag=185, proto=1) / Raw(bytes(500)))
    lab.expect_nothing(icmp(type=11), 125_000)


@case(
    "ICMP-2.12",
    "Errors have a TTL that takes them back",
    rfc="RFC 1122",
    section="3.2.1.7",
    mutant=altering(IP, "sends errors with a TTL of 1", ttl=1),
    seconds=1,
)
def error_ttl(lab: Tester) -> None:
    """The packet may have come a long way.

    1. The tester sends a packet of a protocol that nobody has, which comes with a TTL of 1.
    2. The error's TTL is 32 at least.
    """
    lab.send(lab.ip(proto=NOBODY, ttl=1) / Raw(bytes(8)))
    lab.expect(ipv4(ttl=at_least(32)) / icmp(type=3, code=2))
