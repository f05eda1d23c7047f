"""ICMP, group 2: the errors that a Host sends, and those that it must not (RFC 1122 3.2.2)."""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import ICMP, IP, UDP, IPerror
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._ip4 import (
    ERRORS,
    NOBODY,
    has_ip,
    is_alive,
    is_fragment,
    option,
)
from pystack.lab.catalogue._mutants import altering, answering, unreachable
from pystack.lab.mutant import Mutant
from pystack.lab.packets import at_least, icmp, inner_ipv4, ipv4
from pystack.lab.tester import BROADCAST, Tester
from pystack.lab.verdict import Level, Unable

case = group("ICMP-2", rfc="RFC 1122", section="3.2.2")


COMPLAINS = answering(has_ip, unreachable, "answers every packet with an error")


def bad_option(lab: Tester, **fields: Any) -> IP:
    """A header with an option that says that it is longer than the header is (RFC 791 3.1)."""
    return lab.ip(options=option(0x5E, 39, 0), **fields)


def no_errors(lab: Tester, *packets: Packet) -> None:
    """Sends these; no error may come, and an echo request after them is answered."""
    for one in packets:
        lab.send(one)
    lab.expect_nothing(ERRORS, 300)
    is_alive(lab)


@case(
    "ICMP-2.1",
    "A packet of a protocol that the Host does not have is answered with protocol unreachable",
    section="3.2.2.1",
    level=Level.SHOULD,
    mutant=altering(ICMP, "says port unreachable instead", code=3),
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
    aliases=("talk:ICMP-2.2",),
    mutant=COMPLAINS,
)
def no_error_about_fragments(lab: Tester) -> None:
    """Send fragments with an offset, each with something to complain about.

    1. The tester sends fragments that are not the first: of an unknown protocol, of a
       datagram to a closed port, and with an option that runs past the header (a parameter
       problem, if it were the first).
    2. No error comes; an echo request after them is answered.
    """
    no_errors(
        lab,
        lab.ip(proto=NOBODY, frag=10, id=1) / Raw(bytes(16)),
        lab.ip(proto=17, frag=10, flags="MF", id=2) / Raw(bytes(16)),
        bad_option(lab, proto=17, frag=10, id=3) / Raw(bytes(16)),
    )


@case(
    "ICMP-2.3",
    "No error is sent about an error",
    mutant=COMPLAINS,
)
def no_error_about_errors(lab: Tester) -> None:
    """Two hosts that did would never come to an end.

    1. The tester sends errors of each type, about packets that the Host never sent, and one that
       has an option that runs past its header.
    2. No error comes; an echo request after them is answered.
    """
    quoted = Raw(bytes(IP(src=lab.host4, dst=lab.tester4, proto=NOBODY) / Raw(bytes(8))))
    errors = [lab.ip() / ICMP(type=kind, code=0) / quoted for kind in (3, 4, 5, 11, 12)]
    no_errors(lab, *errors, bad_option(lab) / ICMP(type=3, code=1) / quoted)


@case(
    "ICMP-2.4",
    "No error is sent about a packet to a multicast group",
    mutant=COMPLAINS,
)
def no_error_about_multicast(lab: Tester) -> None:
    """As for broadcasts.

    1. The tester sends to the group of all hosts: a datagram to a closed port, a packet of a
       protocol that nobody has, and one with an option that runs past its header.
    2. No error comes; an echo request after them is answered.
    """
    no_errors(
        lab,
        lab.ip(dst="224.0.0.1") / UDP(sport=4000, dport=9) / Raw(b"x"),
        lab.ip(dst="224.0.0.1", proto=NOBODY) / Raw(bytes(8)),
        bad_option(lab, dst="224.0.0.1") / UDP(sport=4000, dport=9) / Raw(b"x"),
    )


@case(
    "ICMP-2.5",
    "No error is sent about a packet that came as a broadcast of the link",
    mutant=COMPLAINS,
)
def no_error_about_link_broadcast(lab: Tester) -> None:
    """What matters is how the frame was sent, too.

    1. The tester broadcasts frames with packets to the Host's own address: a datagram to a closed
       port, and a packet of an unknown protocol.
    2. No error comes; an echo request after them is answered.
    """
    everybody = Ether(src=lab.tester_mac, dst=BROADCAST)
    no_errors(
        lab,
        everybody / lab.ip() / UDP(sport=4000, dport=9) / Raw(b"x"),
        everybody / lab.ip(proto=NOBODY) / Raw(bytes(8)),
    )


@case(
    "ICMP-2.6",
    "No error is sent about a packet whose source is no single host",
    mutant=COMPLAINS,
)
def no_error_without_a_source(lab: Tester) -> None:
    """There is nobody to send it to.

    1. The tester sends datagrams to a closed port from 0.0.0.0, from both broadcast addresses,
       from a group and from a loopback address.
    2. No error comes; an echo request after them is answered.
    """
    sources = ("0.0.0.0", "255.255.255.255", "192.0.2.255", "224.0.0.1", "127.0.0.1")
    no_errors(
        lab,
        *(lab.ip(src=source) / UDP(sport=4000, dport=9) / Raw(b"x") for source in sources),
    )


@case(
    "ICMP-2.7",
    "An error quotes the header and at least eight octets of the packet, unchanged",
    mutant=altering(IPerror, "quotes another identification", exact=True, id=1),
)
def quotation(lab: Tester) -> None:
    """The receiver of the error tells by the quotation what it is about.

    1. The tester sends a packet of an unknown protocol.
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
)
def error_length(lab: Tester) -> None:
    """As much of the packet as fits is quoted, and no more.

    1. The tester sends 1400 octets of an unknown protocol.
    2. The error's packet has no more than 576.
    """
    lab.send(lab.ip(proto=NOBODY) / Raw(bytes(1400)))
    found = lab.expect(icmp(type=3, code=2))[IP].len
    lab.check(found <= 576, "576 octets at most", found)


@case(
    "ICMP-2.9",
    "The source of an error is an address of the Host's",
    section="3.2.1.3",
    mutant=altering(IP, "sends errors from another address", src="192.0.2.99"),
)
def error_source(lab: Tester) -> None:
    """As of all that the Host sends. The plan gives it one address alone.

    1. The tester sends a packet of an unknown protocol.
    2. The error comes from the Host's address.
    """
    lab.send(lab.ip(proto=NOBODY) / Raw(bytes(8)))
    found = lab.expect(icmp(type=3, code=2))[IP].src
    lab.check(found == lab.host4, lab.host4, found)


def time_limit(lab: Tester) -> float:
    """Milliseconds after which a Host has given up a datagram's fragments.

    A Host with a tunable for it is told to do so soon; others have two minutes (RFC 1122 3.3.2).
    """
    try:
        lab.host.sysctl("net.ipv4.ipfrag_time", 3)
    except Unable:
        return 125_000
    return 6_000


@case(
    "ICMP-2.10",
    "A packet that is not put together in time is answered with time exceeded, code 1",
    section="3.3.2",
    mutant=altering(ICMP, "says that the TTL was used up", code=0),
)
def reassembly_time(lab: Tester) -> None:
    """A fragment that waits for the rest in vain is given up, and its sender is told.

    1. The Host is told to wait three seconds for fragments, if it has a tunable for that.
    2. The tester sends the first fragment of a packet, and no other.
    3. When the time is up, two minutes at most, an error comes that quotes it.
    """
    limit = time_limit(lab)
    datagram = bytes(UDP(sport=4000, dport=9, len=2008, chksum=0) / Raw(bytes(2000)))
    lab.send(lab.ip(id=0x99, flags="MF", proto=17) / Raw(datagram[:1480]))
    lab.expect(
        ipv4(src=lab.host4, dst=lab.tester4) / icmp(type=11, code=1) / inner_ipv4(id=0x99),
        within_ms=limit,
    )


@case(
    "ICMP-2.11",
    "Without the first fragment there is no time exceeded",
    section="3.3.2",
    mutant=answering(
        is_fragment, lambda frame: unreachable(frame, 11, 1), "reports every fragment"
    ),
)
def reassembly_time_without_first(lab: Tester) -> None:
    """The quotation would have nothing of the transport's header in it.

    1. The Host is told to wait three seconds for fragments, if it has a tunable for that.
    2. The tester sends the second fragment of a packet, and no other.
    3. No error comes, not even when the time is up; an echo request is answered.
    """
    limit = time_limit(lab)
    lab.send(lab.ip(id=0x99, frag=185, proto=17) / Raw(bytes(500)))
    lab.expect_nothing(icmp(type=11), limit)
    is_alive(lab)


@case(
    "ICMP-2.12",
    "Errors have a TTL that takes them back",
    section="3.2.1.7",
    level=Level.SHOULD,
    mutant=altering(IP, "sends errors with a TTL of 1", ttl=1),
)
def error_ttl(lab: Tester) -> None:
    """The packet may have come a long way.

    1. The tester sends a packet of an unknown protocol, which comes with a TTL of 1.
    2. The error's TTL is 32 at least.
    """
    lab.send(lab.ip(proto=NOBODY, ttl=1) / Raw(bytes(8)))
    lab.expect(ipv4(ttl=at_least(32)) / icmp(type=3, code=2))


@case(
    "ICMP-2.13",
    "A malformed option is answered with a parameter problem that points at it",
    section="3.2.2.5",
    level=Level.SHOULD,
    mutant=altering(ICMP, "points at the version", ptr=0),
)
def parameter_problem(lab: Tester) -> None:
    """The sender learns what was wrong with it.

    1. The tester sends a datagram with a no-operation, and an option that says that it is longer
       than the header is.
    2. The Host answers with parameter problem, code 0, whose pointer is at the option (21) or at
       its length (22), and which quotes the packet.
    """
    options = option(1, 0x5E, 39, 0)
    lab.send(lab.ip(options=options, id=0x777) / UDP(sport=4000, dport=9) / Raw(b"data"))
    lab.expect(
        ipv4(src=lab.host4, dst=lab.tester4)
        / icmp(type=12, code=0, ptr={21, 22})
        / inner_ipv4(id=0x777)
    )


@case(
    "ICMP-2.14",
    "An error quotes eight octets behind the header, however long that is",
    mutant=Mutant(
        "quotes 28 octets of everything",
        outgoing=lambda frame: (
            Ether(src=frame.src, dst=frame.dst)
            / IP(src=frame[IP].src, dst=frame[IP].dst)
            / ICMP(type=3, code=2)
            / Raw(bytes(frame[ICMP].payload)[:28])
            if frame.haslayer(ICMP)
            else frame
        ),
    ),
)
def quotation_with_options(lab: Tester) -> None:
    """With options the header is longer, and the ports are further behind.

    1. The tester sends a packet of an unknown protocol, with 40 octets of no-operations.
    2. The error quotes the packet's first 68 octets.
    """
    packet = lab.ip(proto=NOBODY, id=0x4242, options=option(*[1] * 40)) / Raw(bytes(range(40)))
    lab.send(packet)
    error = lab.expect(icmp(type=3, code=2))
    found, sent = bytes(error[ICMP].payload)[:68], bytes(packet)[:68]
    lab.check(found == sent, sent.hex(), found.hex())


@case(
    "ICMP-2.15",
    "An error has the type of service zero",
    level=Level.SHOULD,
    mutant=altering(IP, "sends errors with the packet's type of service", tos=0x28),
)
def error_type_of_service(lab: Tester) -> None:
    """Errors are to come with the normal type of service.

    1. The tester sends a packet of an unknown protocol, with type of service 0x28.
    2. The error's type of service is 0, but for the precedence, which routers may set.
    """
    lab.send(lab.ip(proto=NOBODY, tos=0x28) / Raw(bytes(8)))
    found = lab.expect(icmp(type=3, code=2))[IP].tos & 0x1E
    lab.check(found == 0, "type of service 0", hex(found))


@case(
    "ICMP-2.16",
    "No error is sent about a packet to a broadcast address",
    mutant=COMPLAINS,
)
def no_error_about_broadcast(lab: Tester) -> None:
    """An error about a broadcast would come from every host at once.

    1. The tester sends to 255.255.255.255 and to the network's broadcast address: a datagram to a
       closed port, a packet of an unknown protocol, and one with an option that runs past
       its header.
    2. No error comes; an echo request after them is answered.
    """
    for destination in ("255.255.255.255", "192.0.2.255"):
        no_errors(
            lab,
            lab.ip(dst=destination) / UDP(sport=4000, dport=9) / Raw(b"x"),
            lab.ip(dst=destination, proto=NOBODY) / Raw(bytes(8)),
            bad_option(lab, dst=destination) / UDP(sport=4000, dport=9) / Raw(b"x"),
        )


@case(
    "ICMP-2.17",
    "An error about the first fragment of a datagram is allowed, about the others it is not",
    mutant=answering(
        lambda frame: is_fragment(frame) and frame[IP].frag > 0,
        unreachable,
        "reports the second fragment",
    ),
)
def one_error_about_a_datagram(lab: Tester) -> None:
    """A datagram in fragments that nobody wants is one mistake, not three.

    1. The tester sends a datagram to a closed port in three fragments.
    2. One error comes at most, and it quotes the beginning of the datagram.
    """
    for start in (0, 400, 800):
        more = "MF" if start < 800 else 0
        part = bytes(UDP(sport=4000, dport=9, len=1200, chksum=0) / Raw(bytes(1192)))
        lab.send(
            lab.ip(proto=17, id=0x99, flags=more, frag=start // 8) / Raw(part[start : start + 400])
        )
    found = lab.collect(ERRORS, 300)
    lab.check(len(found) <= 1, "one error at most", len(found))
    for one in found:
        lab.check(one[IPerror].frag == 0, "a quotation of offset 0", one[IPerror].frag)
    is_alive(lab)


@case(
    "ICMP-2.18",
    "The rate of ICMP errors is limited",
    rfc="RFC 1812",
    section="4.3.2.8",
    level=Level.SHOULD,
    mutant=COMPLAINS,
)
def rate(lab: Tester) -> None:
    """Give reason for many errors at once. Asked of routers, and no less use to hosts.

    1. The tester sends 150 datagrams to a closed port, one right after the other.
    2. At least one error comes, but not 150.
    """
    lab.resolve(4)
    for name, value in (("net.ipv4.icmp_ratelimit", 1000), ("net.ipv4.icmp_ratemask", 0x1818)):
        try:
            lab.host.sysctl(name, value)
        except (Unable, OSError):  # one that has its limit without such tunables
            continue
    frame = bytes(lab.frame_for(lab.ip() / UDP(sport=4000, dport=9) / Raw(b"x")))
    for _ in range(150):
        lab.send(frame)
    found = lab.collect(ERRORS, 300)
    lab.check(1 <= len(found) < 150, "fewer than 150 errors, but some", len(found))
