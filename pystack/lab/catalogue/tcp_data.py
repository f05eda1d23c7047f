"""TCP, group 4: data, reassembly, acknowledgements, Nagle, what the program asks for."""

from __future__ import annotations

from scapy.layers.inet import TCP

from pystack.lab.case import group
from pystack.lab.catalogue._tcp import (
    ACKS_ONE_LESS,
    MSS,
    NO_EMPTY_ACKS,
    acks,
    all_of,
    changes,
    data_segments,
    empty,
    grow,
    loaded,
    loses,
    pattern,
    repeats,
    replying,
    segments,
    with_data,
    write,
)
from pystack.lab.mutant import Mutant
from pystack.lab.tcp import MODULUS, connect
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("TCP-4", rfc="RFC 9293", section="3.10.7.4")

RFC = "RFC 9293"
SPOILS_DATA = Mutant(
    "damages data that it receives",
    incoming=changes(loaded, with_data(lambda data: data[:-1] + b"\0")),
)
LOSES_EARLY = Mutant(
    "drops what is ahead of the next number",
    incoming=loses(lambda frame: loaded(frame) and frame[TCP].seq != 1_000_001),
)


@case("TCP-4.1", "Data in order is acknowledged and delivered", mutant=ACKS_ONE_LESS, family=4)
@case("TCP-4.2", "Data over IPv6 is acknowledged and delivered", mutant=SPOILS_DATA, family=6)
def data_in_order(lab: Tester, family: int) -> None:
    """Send data.

    1. The tester sends three segments, one after the other; each is acknowledged.
    2. The program reads their data.
    """
    connection = connect(lab, family=family)
    for data in (b"first", b"second", pattern(MSS - 20)):
        connection.push(data)
        connection.expect_ack(600)
    got = connection.read(11 + MSS - 20)
    lab.check(got == b"firstsecond" + pattern(MSS - 20), "the data in order", f"{got[:20]!r}...")


@case(
    "TCP-4.3",
    "A segment that is ahead is kept until what is missing has come",
    level=Level.SHOULD,
    aliases=("9293:SHLD-31",),
    mutant=LOSES_EARLY,
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
    "TCP-4.31",
    "A segment that fills part of a gap is acknowledged at once",
    rfc="RFC 5681",
    section="4.2",
    level=Level.SHOULD,
    mutant=NO_EMPTY_ACKS,
)
def gap_filled_in_part(lab: Tester) -> None:
    """Narrow a gap.

    1. The tester sends ten segments; some stacks acknowledge the first few early.
    2. It sends a segment behind a gap, then the first half of what is missing, then, past the time
       for which an ACK may be delayed, the other half.
    3. Each half is acknowledged at once (in 20 ms).
    """
    connection = connect(lab)
    for _ in range(10):
        connection.push(pattern(500))
    lab.drain(300)
    connection.send("A", pattern(500), seq=connection.seq + 500)
    lab.drain(300)
    connection.push(pattern(250))
    connection.expect_ack(20)
    lab.drain(300)
    connection.push(pattern(250))
    connection.seq += 500
    connection.expect_ack(20)


@case(
    "TCP-4.6",
    "All segments that wait are processed before an ACK is sent",
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


@case("TCP-4.7", "Segments in reverse order are put together",
      level=Level.SHOULD, aliases=("9293:SHLD-31",), mutant=LOSES_EARLY)  # fmt: skip
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
    mutant=SPOILS_DATA,
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
    section="3.8.6.3",
    aliases=("9293:MUST-40",),
    mutant=NO_EMPTY_ACKS,
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
    section="3.8.6.3",
    level=Level.SHOULD,
    aliases=("9293:SHLD-19",),
    mutant=Mutant(
        "acknowledges when it has nothing else to do",
        outgoing=loses(lambda frame: empty(frame) and (frame[TCP].ack - 1_000_001) % 8760 != 0),
    ),
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
    section="3.8.6.3",
    level=Level.SHOULD,
    aliases=("9293:SHLD-18",),
    mutant=Mutant("acknowledges everything twice", outgoing=repeats(empty)),
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
    "TCP-4.26",
    "A lost acknowledgement is made good by the next",
    section="3.8",
    mutant=Mutant("sends again what is acknowledged", outgoing=repeats(loaded)),
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
