"""TCP, group 4: data, reassembly, acknowledgements, Nagle, what the program asks for."""

from __future__ import annotations

import socket

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from pystack.lab.case import case
from pystack.lab.catalogue._tcp import (
    ACKS_ONE_LESS,
    MSS,
    NO_EMPTY_ACKS,
    Counted,
    acks,
    all_of,
    altered,
    any_segment,
    changes,
    data_segments,
    empty,
    grow,
    having,
    loaded,
    loses,
    pattern,
    receive,
    repeats,
    replying,
    segments,
    set_option,
    with_data,
    write,
)
from pystack.lab.mutant import Mutant
from pystack.lab.tcp import MODULUS, connect, segment_data
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

RFC = "RFC 9293"
SPOILS_DATA = Mutant(
    "damages data that it receives",
    incoming=changes(loaded, with_data(lambda data: data[:-1] + b"\0")),
)
LOSES_EARLY = Mutant(
    "drops what is ahead of the next number",
    incoming=loses(lambda frame: loaded(frame) and frame[TCP].seq != 1_000_001),
)


def _with(frame: Packet, **fields: int) -> Packet:
    """The frame with fields of IP's header set."""
    network = frame.payload
    for name, value in fields.items():
        if name in {one.name for one in network.fields_desc}:
            setattr(network, name, value)
    return frame


def _in(lab: Tester, family: int) -> None:
    connection = connect(lab, family=family)
    for data in (b"first", b"second", pattern(MSS - 20)):
        connection.push(data)
        connection.expect_ack(600)
    got = connection.read(11 + MSS - 20)
    lab.check(got == b"firstsecond" + pattern(MSS - 20), "the data in order", f"{got[:20]!r}...")


@case("TCP-4.1", "Data in order is acknowledged and delivered", rfc=RFC, section="3.10.7.4",
      mutant=ACKS_ONE_LESS, seconds=2)  # fmt: skip
def data_in_order(lab: Tester) -> None:
    """Send data.

    1. The tester sends three segments, one after the other; each is acknowledged.
    2. The program reads their data.
    """
    _in(lab, 4)


@case("TCP-4.2", "Data over IPv6 is acknowledged and delivered", rfc=RFC, section="3.10.7.4",
      mutant=SPOILS_DATA, seconds=2)  # fmt: skip
def data_in_order6(lab: Tester) -> None:
    """Send data over IPv6.

    1. The tester sends three segments, one after the other; each is acknowledged.
    2. The program reads their data.
    """
    _in(lab, 6)


@case(
    "TCP-4.3",
    "A segment that is ahead is kept until what is missing has come",
    rfc=RFC,
    section="3.10.7.4",
    level=Level.SHOULD,
    aliases=("9293:SHLD-31",),
    mutant=LOSES_EARLY,
    seconds=2,
)
def out_of_order_is_kept(lab: Tester) -> None:
    """Swap two segments.

    1. The tester sends the second of two segments, then the first.
    2. Both are acknowledged, and the program reads them in order.
    """
    connection = connect(lab)
    connection.send("PA", b"second", seq=connection.seq + 5)
    connection.push(b"first")
    connection.seq += 6
    connection.expect_ack()
    got = connection.read(11)
    lab.check(got == b"firstsecond", "firstsecond", got)


@case(
    "TCP-4.4",
    "A segment that is ahead is acknowledged at once, with the number that is missing",
    rfc="RFC 5681",
    section="4.2",
    level=Level.SHOULD,
    aliases=("9293:MAY-13",),
    mutant=NO_EMPTY_ACKS,
    seconds=2,
)
def out_of_order_is_acked_at_once(lab: Tester) -> None:
    """Leave a gap.

    1. The tester sends three segments behind a gap.
    2. Each is answered at once (in 100 ms) with an ACK of the number before the gap.
    """
    connection = connect(lab)
    for index in range(1, 4):
        connection.send("A", pattern(500), seq=connection.seq + 500 * index)
        connection.expect("A", within_ms=100, ack=connection.seq)


@case(
    "TCP-4.5",
    "A segment that fills a gap is acknowledged at once, with all that followed",
    rfc="RFC 5681",
    section="4.2",
    level=Level.SHOULD,
    mutant=LOSES_EARLY,
    seconds=2,
)
def gap_filled(lab: Tester) -> None:
    """Fill a gap.

    1. The tester sends segments two, three and four, then one.
    2. An ACK of all four comes at once (in 100 ms).
    """
    connection = connect(lab)
    for index in (1, 2, 3):
        connection.send("A", pattern(500), seq=connection.seq + 500 * index)
    lab.drain(50)
    connection.push(pattern(500))
    connection.seq += 1500
    connection.expect_ack(100)


@case(
    "TCP-4.6",
    "All segments that wait are processed before an ACK is sent",
    rfc=RFC,
    section="3.10.7.4",
    aliases=("9293:MUST-58", "9293:MUST-59"),
    mutant=Mutant(
        "acknowledges each of them",
        answer=replying(
            all_of(loaded, lambda frame: frame[TCP].seq == 1_000_001),
            "A",
            seq=lambda header: header.ack,
            ack=lambda header: header.seq + 500,
        ),
    ),
    seconds=2,
)
def queue_before_ack(lab: Tester) -> None:
    """Fill a gap that five segments wait behind.

    1. The tester sends segments two to six, then one.
    2. The first ACK that goes beyond the gap acknowledges all six; none acknowledges fewer.
    """
    connection = connect(lab)
    for index in range(1, 6):
        connection.send("A", pattern(500), seq=connection.seq + 500 * index)
    lab.drain(50)
    connection.push(pattern(500))
    connection.seq += 2500
    numbers = [one[TCP].ack for one in segments(connection, 600, flags=acks)]
    lab.check(bool(numbers), "an acknowledgement", "none")
    lab.check(set(numbers) == {connection.seq}, f"only ACKs of {connection.seq}", numbers)


@case("TCP-4.7", "Segments in reverse order are put together", rfc=RFC, section="3.10.7.4",
      level=Level.SHOULD, aliases=("9293:SHLD-31",), mutant=LOSES_EARLY, seconds=2)  # fmt: skip
def reverse_order(lab: Tester) -> None:
    """Send eight segments from the last to the first.

    1. The tester sends them, each of 100 octets.
    2. All are acknowledged after the last, and the program reads them in order.
    """
    connection = connect(lab)
    data = pattern(800)
    for index in reversed(range(8)):
        connection.send("A", data[100 * index :][:100], seq=connection.seq + 100 * index)
    connection.seq += 800
    connection.expect_ack()
    lab.check(connection.read(800) == data, "the data in order", "other data")


@case(
    "TCP-4.8",
    "Overlapping segments that are ahead give each octet once",
    rfc=RFC,
    section="3.10.7.4",
    mutant=SPOILS_DATA,
    seconds=2,
)
def overlaps(lab: Tester) -> None:
    """Send pieces that overlap.

    1. Of 30 octets the tester sends 10-20, 5-15, 18-30, 12-25, and, until all is acknowledged,
       0-30.
    2. The program reads the 30 octets.
    """
    connection = connect(lab)
    data, base = pattern(251)[100:130], connection.seq
    for first, last in ((10, 20), (5, 15), (18, 30), (12, 25), (0, 10), (0, 30)):
        connection.send("A", data[first:last], seq=base + first)
    connection.seq += 30
    connection.expect_ack()
    got = connection.read(30)
    lab.check(got == data, f"{data!r}", got)


@case(
    "TCP-4.9",
    "An acknowledgement is delayed by less than half a second",
    rfc=RFC,
    section="3.8.6.3",
    aliases=("9293:MUST-40",),
    mutant=NO_EMPTY_ACKS,
    seconds=3,
)
def delayed_less_than_half_a_second(lab: Tester) -> None:
    """Send single segments.

    1. The tester sends a segment of one octet, three times.
    2. Each is acknowledged in less than half a second.
    """
    connection = connect(lab)
    for _ in range(3):
        connection.push(b"x")
        connection.expect_ack(499)
        lab.drain(100)


@case(
    "TCP-4.10",
    "At least every second full-sized segment is acknowledged",
    rfc=RFC,
    section="3.8.6.3",
    level=Level.SHOULD,
    aliases=("9293:SHLD-19",),
    mutant=Mutant(
        "acknowledges when it has nothing else to do",
        outgoing=loses(lambda frame: empty(frame) and (frame[TCP].ack - 1_000_001) % 8760 != 0),
    ),
    seconds=2,
)
def every_second_segment(lab: Tester) -> None:
    """Send full-sized segments.

    1. The tester sends twelve full-sized segments, a pair every 20 ms.
    2. After each pair there is an ACK, in 10 ms, that is at most one full-sized segment behind.
    """
    connection = connect(lab)
    for _ in range(6):
        before = connection.seq
        connection.push(pattern(MSS))
        connection.push(pattern(MSS))
        found = segments(connection, 20 if lab.host.virtual else 60, flags=acks)
        lab.check(
            any((one[TCP].ack - before) % MODULUS in range(MSS, 2 * MSS + 1) for one in found),
            "an ACK of two full-sized segments or one",
            [one[TCP].ack - before for one in found],
        )


@case(
    "TCP-4.11",
    "Acknowledgements are delayed, so that there are fewer than segments",
    rfc=RFC,
    section="3.8.6.3",
    level=Level.SHOULD,
    aliases=("9293:SHLD-18",),
    mutant=Mutant("acknowledges everything twice", outgoing=repeats(empty)),
    seconds=3,
)
def delays_acks(lab: Tester) -> None:
    """Send a stream of full-sized segments that the program reads.

    1. The tester sends 40 full-sized segments, one each 2 ms. The program reads.
    2. In all there are at most 35 ACKs. (Some stacks acknowledge each of the first few.)
    """
    connection = connect(lab)
    came = 0
    for _ in range(20):
        connection.push(pattern(MSS))
        came += len(segments(connection, 2, flags=acks))
        connection.push(pattern(MSS))
        came += len(segments(connection, 2, flags=acks))
        connection.read(2 * MSS)
    came += len(segments(connection, 300, flags=acks))
    lab.check(0 < came <= 35, "at most 35 ACKs of 40 segments", came)


@case(
    "TCP-4.12",
    "The last segment of what the program has sent has PSH",
    rfc=RFC,
    section="3.9.1.2",
    aliases=("9293:MUST-61",),
    mutant=Mutant("never sets PSH", outgoing=altered(having("P"), flags="A")),
    seconds=2,
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
    seconds=2,
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
    seconds=2,
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
    seconds=2,
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
    seconds=2,
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
    seconds=2,
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
    seconds=2,
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
    seconds=2,
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


def _bulk(lab: Tester, family: int) -> None:
    connection = connect(lab, family=family)
    size, data = 100_000, pattern(100_000)
    mss = MSS if family == 4 else 1440
    got = b""
    for first in range(0, size, mss):
        connection.push(data[first : first + mss])
        got += connection.read(len(data[first : first + mss]))
        lab.drain()
    lab.check(got == data, "the stream as sent", f"{len(got)} octets")
    chunk = data[:50_000]
    for _ in range(2):
        write(connection, chunk)
        lab.check(receive(connection, len(chunk)) == chunk, "the stream as sent", "another")


@case("TCP-4.20", "100 kB go both ways unharmed", rfc=RFC, section="2.2",
      mutant=Mutant("loses what is far on", outgoing=Counted(loaded, 20)), seconds=8)  # fmt: skip
def bulk(lab: Tester) -> None:
    """Send much.

    1. The tester sends 100 kB, and the program reads it as it comes.
    2. The program sends 100 kB, and the tester acknowledges each segment.
    3. Both streams are as they were sent.
    """
    _bulk(lab, 4)


@case("TCP-4.21", "100 kB go both ways unharmed over IPv6", rfc=RFC, section="2.2",
      mutant=Mutant("loses what is far on", outgoing=Counted(loaded, 20)), seconds=8)  # fmt: skip
def bulk6(lab: Tester) -> None:
    """Send much over IPv6.

    1. The tester sends 100 kB, and the program reads it as it comes.
    2. The program sends 100 kB, and the tester acknowledges each segment.
    3. Both streams are as they were sent.
    """
    _bulk(lab, 6)


@case(
    "TCP-4.22",
    "The time to live of segments is configurable",
    rfc=RFC,
    section="3.9.2",
    aliases=("9293:MUST-49",),
    mutant=Mutant(
        "has a time to live of its own",
        outgoing=changes(any_segment, lambda frame: _with(frame, ttl=64)),
    ),
    seconds=1,
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
        "has a hop limit of its own",
        outgoing=changes(any_segment, lambda frame: _with(frame, hlim=64)),
    ),
    seconds=1,
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
    seconds=2,
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
    seconds=2,
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


@case(
    "TCP-4.26",
    "A lost acknowledgement is made good by the next",
    rfc=RFC,
    section="3.8",
    mutant=Mutant("sends again what is acknowledged", outgoing=repeats(loaded)),
    seconds=2,
)
def cumulative_ack(lab: Tester) -> None:
    """Acknowledge two segments with one ACK.

    1. The program sends two segments' worth; the tester acknowledges the second alone.
    2. Nothing is sent again for 700 ms, however many octets follow: the next data is new.
    """
    connection = connect(lab)
    grow(connection, 2)
    assert connection.ack is not None
    start = connection.ack
    write(connection, pattern(2 * MSS))
    receive_two = [lab.expect(connection.with_data()) for _ in range(2)]
    for packet in receive_two:
        connection.take(packet)
    connection.send("A")
    again = data_segments(connection, 700)
    lab.check(not again, "no data again", [one[TCP].seq - start for one in again])
    lab.check(
        [one[TCP].seq for one in receive_two] == [start, (start + MSS) % MODULUS],
        "each segment once",
        [one[TCP].seq - start for one in receive_two],
    )
