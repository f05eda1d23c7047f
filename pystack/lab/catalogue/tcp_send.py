"""TCP, group 4: how data is cut and sent, and what a program can set of it."""

from __future__ import annotations

import socket
from functools import partial

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from pystack.lab.case import case
from pystack.lab.catalogue._tcp import (
    MSS,
    Counted,
    acks,
    altered,
    any_segment,
    changes,
    data_segments,
    having,
    loaded,
    loses,
    pattern,
    receive,
    repeats,
    segments,
    set_option,
    with_data,
    write,
)
from pystack.lab.catalogue.tcp_data import RFC
from pystack.lab.mutant import Mutant
from pystack.lab.tcp import connect, segment_data
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level


def _with(frame: Packet, **fields: int) -> Packet:
    """The frame with fields of IP's header set."""
    network = frame.payload
    for name, value in fields.items():
        if name in {one.name for one in network.fields_desc}:
            setattr(network, name, value)
    return frame


@case(
    "TCP-4.12",
    "The last segment of what the program has sent has PSH",
    rfc=RFC,
    section="3.9.1.2",
    aliases=("9293:MUST-61",),
    mutant=Mutant("never sets PSH", outgoing=altered(having("P"), flags="A")),
)
def psh_on_last(lab: Tester) -> None:
    """Have the program send one and a half segments.

    1. The program sends 2000 octets at once.
    2. The segment with the last of them has PSH.
    """
    connection = connect(lab)
    write(connection, pattern(2000))
    got = 0
    while got < 2000:
        packet = lab.expect(connection.with_data())
        got += len(connection.take(packet))
        connection.send("A")
    lab.check("P" in packet[TCP].flags, "PSH in the last segment", packet[TCP].flags)


@case(
    "TCP-4.13",
    "A short write is sent without waiting for more",
    rfc=RFC,
    section="3.9.1.2",
    aliases=("9293:MUST-60",),
    mutant=Mutant("waits for a full segment", outgoing=loses(lambda frame: len(frame) < 60
                                                             and loaded(frame))),
)  # fmt: skip
def short_write_is_sent(lab: Tester) -> None:
    """Have the program send one octet.

    1. The program sends one octet, and nothing after it.
    2. It comes within a second.
    """
    connection = connect(lab)
    write(connection, b"1")
    lab.expect(connection.match(data=b"1"))


@case(
    "TCP-4.14",
    "Several short writes that have to wait go as one segment",
    rfc=RFC,
    section="3.9.1.2",
    level=Level.SHOULD,
    aliases=("9293:SHLD-27", "9293:MAY-16"),
    mutant=Mutant(
        "sends only the first octet at a time",
        outgoing=changes(loaded, with_data(lambda data: data[:1])),
    ),
)
def writes_are_collapsed(lab: Tester) -> None:
    """Have the program send short pieces while a segment is under way.

    1. The program sends one octet, which the tester does not acknowledge yet, and then four
       pieces of ten octets.
    2. The tester acknowledges: the 40 octets come in one segment.
    """
    connection = connect(lab)
    write(connection, b"0")
    first = lab.expect(connection.with_data())
    for _ in range(4):
        write(connection, b"ten octets")
    lab.drain(20)
    connection.acknowledge(first)
    lab.expect(connection.match(data=b"ten octets" * 4), 500)


@case(
    "TCP-4.15",
    "Segments are as large as they may be",
    rfc=RFC,
    section="3.9.1.2",
    level=Level.SHOULD,
    aliases=("9293:SHLD-28",),
    mutant=Mutant(
        "sends small segments",
        outgoing=changes(loaded, with_data(lambda data: data[:500])),
    ),
)
def full_segments(lab: Tester) -> None:
    """Have the program send three segments' worth.

    1. The tester's MSS is 1460. The program sends 4380 octets at once.
    2. They come as three segments of 1460 octets.
    """
    connection = connect(lab)
    write(connection, pattern(3 * MSS))
    sizes = []
    for _ in range(3):
        packet = lab.expect(connection.with_data())
        sizes.append(len(connection.take(packet)))
        connection.send("A")
    lab.check(sizes == [MSS] * 3, "three segments of 1460", sizes)


@case(
    "TCP-4.16",
    "Short data waits while other data is unacknowledged (Nagle)",
    rfc=RFC,
    section="3.7.4",
    level=Level.SHOULD,
    aliases=("9293:SHLD-7",),
    mutant=Mutant("sends everything at once", outgoing=repeats(loaded)),
)
def nagle(lab: Tester) -> None:
    """Have the program send two short pieces.

    1. The program sends an octet, which comes, and then another. The tester acknowledges nothing.
    2. For 150 ms the second octet does not come (nor the first again).
    3. The tester acknowledges: the second comes.
    """
    connection = connect(lab)
    write(connection, b"1")
    first = lab.expect(connection.with_data())
    write(connection, b"2")
    early = data_segments(connection, 150)
    lab.check(not early, "nothing before the acknowledgement", [segment_data(p) for p in early])
    connection.acknowledge(first)
    lab.expect(connection.match(data=b"2"), 500)


@case(
    "TCP-4.17",
    "A program can switch Nagle's algorithm off",
    rfc=RFC,
    section="3.7.4",
    aliases=("9293:MUST-17",),
    mutant=Mutant("waits all the same", outgoing=Counted(loaded, 1, stop=2)),
)
def no_nagle(lab: Tester) -> None:
    """Have the program send two short pieces with TCP_NODELAY.

    1. The program sets TCP_NODELAY, and sends an octet, which comes, and then another.
    2. The second comes at once (in 100 ms), though the first is not acknowledged.
    """
    connection = connect(lab)
    set_option(connection.socket, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1, "TCP_NODELAY")
    write(connection, b"1")
    lab.expect(connection.with_data())
    write(connection, b"2")
    lab.expect(connection.match(data=b"2"), 100)


@case(
    "TCP-4.18",
    "Data without PSH is delivered too",
    rfc=RFC,
    section="3.9.1.3",
    mutant=Mutant(
        "waits for PSH", incoming=loses(lambda frame: loaded(frame) and "P" not in frame[TCP].flags)
    ),
)
def without_psh(lab: Tester) -> None:
    """Send data without PSH.

    1. The tester sends four octets without PSH, and nothing after them.
    2. The program can read them.
    """
    connection = connect(lab)
    connection.push(b"data", flags="A")
    lab.check(connection.read(4) == b"data", "the data", "other data")


@case(
    "TCP-4.19",
    "Every segment of an established connection has an ACK",
    rfc=RFC,
    section="3.8",
    mutant=Mutant("leaves out ACK", outgoing=altered(loaded, flags="P")),
)
def always_ack(lab: Tester) -> None:
    """Look at all segments of a short connection.

    1. Data goes both ways; the program closes.
    2. Every segment has ACK, with the number that is due.
    """
    connection = connect(lab)
    connection.push(b"question")
    connection.read(8)
    lab.drain(600)
    write(connection, pattern(3000))
    connection.socket.shutdown(socket.SHUT_WR)
    found = segments(connection, 100)
    lab.check(len(found) >= 3, "three segments or more", len(found))
    for packet in found:
        header = packet[TCP]
        lab.check(acks(header.flags) and header.ack == connection.seq, "the ACK", header.flags)


@case(
    "TCP-4.20",
    "100 kB go both ways unharmed",
    rfc=RFC,
    section="2.2",
    mutant=Mutant("loses what is far on", outgoing=Counted(loaded, 20)),
    family=4,
)
@case(
    "TCP-4.21",
    "100 kB go both ways unharmed over IPv6",
    rfc=RFC,
    section="2.2",
    mutant=Mutant("loses what is far on", outgoing=Counted(loaded, 20)),
    family=6,
)
def bulk(lab: Tester, family: int) -> None:
    """Send much.

    1. The tester sends 100 kB, and the program reads it as it comes.
    2. The program sends 100 kB, and the tester acknowledges each segment.
    3. Both streams are as they were sent.
    """
    connection = connect(lab, family=family)
    size, data = 100_000, pattern(100_000)
    mss = MSS if family == 4 else 1440
    got = b""
    for first in range(0, size, mss):
        connection.push(data[first : first + mss])
        got += connection.read(len(data[first : first + mss]))
        lab.drain()
    lab.check(got == data, "the stream as sent", f"{len(got)} octets")
    came = b""
    while len(came) < size:  # as much at a time as the send buffer has room for
        send = partial(connection.socket.send, data[len(came) : len(came) + 50_000])
        came += receive(connection, lab.until(send, 2000, "room in the send buffer"))
    lab.check(came == data, "the stream as sent", "another")


@case(
    "TCP-4.22",
    "The time to live of segments is configurable",
    rfc=RFC,
    section="3.9.2",
    aliases=("9293:MUST-49",),
    mutant=Mutant(
        "has its own time to live",
        outgoing=changes(any_segment, lambda frame: _with(frame, ttl=64)),
    ),
)
def ttl(lab: Tester) -> None:
    """Set IP_TTL.

    1. The program sets IP_TTL to 37 on a connection's socket, and sends.
    2. The segment's time to live is 37.
    """
    connection = connect(lab)
    set_option(connection.socket, socket.IPPROTO_IP, socket.IP_TTL, 37, "IP_TTL")
    write(connection, b"x")
    packet = lab.expect(connection.with_data())
    lab.check(packet[IP].ttl == 37, "a time to live of 37", packet[IP].ttl)


@case(
    "TCP-4.23",
    "The hop limit of segments is configurable",
    rfc=RFC,
    section="3.9.2",
    aliases=("9293:MUST-49",),
    mutant=Mutant(
        "has its own hop limit",
        outgoing=changes(any_segment, lambda frame: _with(frame, hlim=64)),
    ),
)
def hop_limit(lab: Tester) -> None:
    """Set IPV6_UNICAST_HOPS.

    1. The program sets IPV6_UNICAST_HOPS to 37 on a connection's socket, and sends.
    2. The segment's hop limit is 37.
    """
    connection = connect(lab, family=6)
    set_option(
        connection.socket, socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 37, "IPV6_UNICAST_HOPS"
    )
    write(connection, b"x")
    packet = lab.expect(connection.with_data())
    lab.check(packet[IPv6].hlim == 37, "a hop limit of 37", packet[IPv6].hlim)


@case(
    "TCP-4.24",
    "The program can set the Differentiated Services field, and change it",
    rfc=RFC,
    section="3.9.1.9",
    aliases=("9293:MUST-48", "9293:SHLD-21", "9293:SHLD-22"),
    mutant=Mutant(
        "sends all as best effort",
        outgoing=changes(any_segment, lambda frame: _with(frame, tos=0)),
    ),
)
def diffserv(lab: Tester) -> None:
    """Set IP_TOS.

    1. The program sets IP_TOS to 0xB8 (expedited forwarding), and sends: the segment has that
       DSCP.
    2. It sets 0x28 and sends: the segment has that one.
    """
    connection = connect(lab)
    for tos in (0xB8, 0x28):
        set_option(connection.socket, socket.IPPROTO_IP, socket.IP_TOS, tos, "IP_TOS")
        write(connection, b"x")
        packet = lab.expect(connection.with_data())
        lab.check(packet[IP].tos & 0xFC == tos, f"DSCP {tos:#x}", f"{packet[IP].tos:#x}")
        connection.acknowledge(packet)


@case(
    "TCP-4.25",
    "The program can set the traffic class",
    rfc=RFC,
    section="3.9.1.9",
    aliases=("9293:MUST-48",),
    mutant=Mutant(
        "sends all as best effort",
        outgoing=changes(any_segment, lambda frame: _with(frame, tc=0)),
    ),
)
def traffic_class(lab: Tester) -> None:
    """Set IPV6_TCLASS.

    1. The program sets IPV6_TCLASS to 0xB8, and sends.
    2. The segment has that DSCP.
    """
    connection = connect(lab, family=6)
    set_option(connection.socket, socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0xB8, "IPV6_TCLASS")
    write(connection, b"x")
    packet = lab.expect(connection.with_data())
    lab.check(packet[IPv6].tc & 0xFC == 0xB8, "DSCP 0xb8", f"{packet[IPv6].tc:#x}")
