"""TCP, group 10: window scaling and timestamps (RFC 7323)."""

from __future__ import annotations

import socket
from typing import Any

from scapy.layers.inet import TCP
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._tcp import (
    DEAF_TO_RESETS,
    MSS,
    all_of,
    altered,
    any_segment,
    data_segments,
    empty,
    flagged,
    having,
    highest,
    lacking,
    loaded,
    loses,
    offer,
    pattern,
    replying,
    segments,
    set_option,
    widen,
    with_option,
    without_option,
    write,
)
from pystack.lab.mutant import Mutant
from pystack.lab.packets import where
from pystack.lab.tcp import PADDING, Connection, connect, in_state, open_from_host
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level, Unable

case = group("TCP-10", rfc="RFC 7323", section="3.2")

SCALE = "WScale"
STAMP = "Timestamp"
FIRST = 500_000  # the tester's first timestamp


def stamp_of(packet: Packet) -> Any:
    """A segment's timestamp, as (TSval, TSecr); None: it has none."""
    return dict(packet[TCP].options).get(STAMP)


def _stamped(lab: Tester, tsval: int = FIRST, **fields: Any) -> Connection:
    """A connection with timestamps."""
    connection = connect(lab, options=[("MSS", MSS), *PADDING, (STAMP, (tsval, 0))], **fields)
    if connection.tsval is None:
        raise Unable("the Host has no timestamps")
    return connection


def echoes(value: int) -> Any:
    """A segment that echoes a timestamp."""
    return where(f"TSecr {value}", lambda packet: (stamp_of(packet) or (0, 0))[1] == value)


def _echoed_late(frame: Packet) -> Packet:
    """The frame, with another timestamp echoed."""
    if not frame.haslayer(TCP) or stamp_of(frame) is None:
        return frame
    options = [
        (name, (value[0], value[1] - 1) if name == STAMP else value)
        for name, value in frame[TCP].options
    ]
    changed = altered(any_segment, options=options)(frame)
    assert isinstance(changed, Packet)
    return changed


WRONG_ECHO = Mutant("echoes another timestamp", outgoing=_echoed_late)


@case(
    "TCP-10.1",
    "Window scaling is agreed to only if it was offered",
    section="2.2",
    mutant=Mutant("offers it always", outgoing=with_option(flagged("SA"), (SCALE, 7))),
)
def scale_if_offered(lab: Tester) -> None:
    """Do not offer window scaling.

    1. The tester's SYN has an MSS alone.
    2. The SYN-ACK has no window scale.
    """
    options = dict(in_state(lab, "SYN-RECEIVED").host_options)
    lab.check(SCALE not in options, "no window scale", options)


@case(
    "TCP-10.2",
    "The window of a SYN is not scaled",
    section="2.2",
    mutant=Mutant("scales it", incoming=altered(all_of(having("S"), having("A")), window=65535)),
)
def syn_window(lab: Tester) -> None:
    """Offer a window that is small unless it is scaled.

    1. The program connects. The tester's SYN-ACK has a window of 2000 and a window scale of 7. (If
       the Host's SYN has none, the case does not apply.)
    2. The program sends 10000 octets: at most 2000 come before the tester's next segment.
    """
    connection = open_from_host(lab, answer=False)
    if SCALE not in dict(connection.host_options):
        raise Unable("the Host has no window scaling")
    connection.send("SA", window=2000, options=[("MSS", MSS), (SCALE, 7)])
    connection.seq += 1
    with lab.preamble("the handshake's last acknowledgement"):
        connection.expect("A", ack=connection.seq)
    assert connection.ack is not None
    write(connection, pattern(10_000))
    reach = highest(data_segments(connection, 60), connection.ack)
    lab.check(0 < reach <= 2000, "at most 2000 octets", reach)


@case(
    "TCP-10.3",
    "A shift of more than 14 is taken for 14",
    section="2.3",
    mutant=Mutant(
        "shifts by 15",
        incoming=altered(lacking("S"), window=lambda header: min(65535, 2 * header.window)),
    ),
)  # fmt: skip
def shift_too_large(lab: Tester) -> None:
    """Offer a shift of 15.

    1. The tester's SYN has a window scale of 15. If the SYN-ACK has none, the case does not apply.
    2. The congestion window grows. Then the tester's window is 1 in the header: 16384 octets.
    3. The program sends 60000 octets: more than 8192 come, and no more than 16384.
    """
    connection = connect(lab, options=[("MSS", MSS), (SCALE, 15)])
    if SCALE not in dict(connection.host_options):
        raise Unable("the Host has no window scaling")
    connection.window = 10
    widen(connection, 24 * MSS)
    write(connection, b"x")
    packet = lab.expect(connection.with_data())
    connection.window = 1
    connection.acknowledge(packet)
    lab.drain(20)
    assert connection.ack is not None
    offer(connection, pattern(60_000))
    reach = highest(data_segments(connection, 100), connection.ack)
    lab.check(8192 < reach <= 16384, "up to 16384 octets", reach)


@case(
    "TCP-10.4",
    "A scaled window that the Host shows is kept to",
    section="2.3",
    mutant=Mutant(
        "takes less than it has promised",
        incoming=loses(all_of(loaded, lambda frame: frame[TCP].seq > 1_000_000 + 40 * MSS)),
    ),
)
def own_scaled_window(lab: Tester) -> None:
    """Use the window that the Host shows.

    1. The tester's SYN has a window scale of 0; the SYN-ACK has its own, or the case does
       not apply.
    2. The tester sends as much as the last window had room for, at most 100 segments; the program
       does not read.
    3. All of it is acknowledged.
    """
    connection = connect(lab, options=[("MSS", MSS), (SCALE, 0)])
    shift = dict(connection.host_options).get(SCALE)
    if shift is None:
        raise Unable("the Host has no window scaling")
    connection.push(b"x")
    window = connection.expect_ack()[TCP].window << shift
    count = min(100, window // MSS)
    for _ in range(count):
        connection.push(pattern(MSS))
    if count:
        connection.expect_ack(3000)


@case(
    "TCP-10.5",
    "Timestamps are agreed to only if they were offered",
    mutant=Mutant("sends them unasked", outgoing=with_option(any_segment, (STAMP, (1, 1)))),
)
def stamps_if_offered(lab: Tester) -> None:
    """Do not offer timestamps.

    1. The tester's SYN has an MSS alone. Data goes both ways.
    2. No segment of the Host's has a timestamp.
    """
    connection = connect(lab)
    lab.check(STAMP not in dict(connection.host_options), "no timestamp", connection.host_options)
    connection.push(b"question")
    write(connection, b"answer")
    found = [one for one in segments(connection, 300) if stamp_of(one) is not None]
    lab.check(not found, "no timestamp", [stamp_of(one) for one in found])


@case(
    "TCP-10.6",
    "A SYN-ACK echoes the SYN's timestamp",
    mutant=WRONG_ECHO,
)
def syn_ack_echoes(lab: Tester) -> None:
    """Offer timestamps.

    1. The tester's SYN has a TSval of 500000.
    2. If the SYN-ACK has a timestamp, its TSecr is 500000.
    """
    connection = _stamped(lab)
    found = dict(connection.host_options)[STAMP]
    lab.check(found[1] == FIRST, f"a TSecr of {FIRST}", found[1])


@case(
    "TCP-10.7",
    "The Host's SYN has a TSecr of zero",
    mutant=Mutant(
        "echoes what nobody sent",
        outgoing=altered(having("S"), options=[("MSS", MSS), (STAMP, (5, 77))]),
    ),
)
def syn_echoes_nothing(lab: Tester) -> None:
    """Look at the timestamp of the Host's SYN.

    1. The program connects. If its SYN has no timestamp, the case does not apply.
    2. Its TSecr is 0: there is nothing to echo.
    """
    options = dict(open_from_host(lab, answer=False).host_options)
    if STAMP not in options:
        raise Unable("the Host has no timestamps")
    lab.check(options[STAMP][1] == 0, "a TSecr of 0", options[STAMP][1])


@case(
    "TCP-10.8",
    "Once agreed on, every segment but a reset has a timestamp",
    mutant=Mutant(
        "leaves them out of ACKs",
        outgoing=lambda frame: (
            without_option(STAMP)(frame)
            if frame.haslayer(TCP) and not loaded(frame) and "S" not in frame[TCP].flags
            else frame
        ),
    ),
)
def every_segment(lab: Tester) -> None:
    """Look at the segments of a connection with timestamps.

    1. Timestamps are agreed on. Data goes both ways, and out of order; the tester sends a FIN.
    2. Each segment of the Host's has a timestamp.
    """
    connection = _stamped(lab)
    connection.push(b"question")
    connection.send("PA", b"early", seq=connection.seq + 10)
    lab.run(50)
    write(connection, pattern(2000))
    connection.finish()
    found = segments(connection, 300)
    lab.need(len(found) >= 2, "two segments")
    bare = [one[TCP].flags for one in found if stamp_of(one) is None]
    lab.check(not bare, "a timestamp in each", bare)


@case(
    "TCP-10.9",
    "An ACK echoes the timestamp of the segment that it acknowledges",
    section="3.2, 4.3",
    mutant=WRONG_ECHO,
)
def ack_echoes(lab: Tester) -> None:
    """Send segments with new timestamps.

    1. The tester sends three segments, each a second later and with a TSval that is 1000 more.
    2. The ACK of each has its TSval as TSecr.
    """
    connection = _stamped(lab)
    for index in range(1, 4):
        connection.tsval = FIRST + 1000 * index
        connection.push(b"data")
        lab.expect(connection.match(ack=connection.seq) / echoes(FIRST + 1000 * index), 700)


@case(
    "TCP-10.10",
    "An ACK of several segments echoes the first of them",
    section="4.3",
    level=Level.SHOULD,
    mutant=WRONG_ECHO,
)
def delayed_ack_echoes(lab: Tester) -> None:
    """Send two segments before an ACK comes.

    1. The tester sends a full segment with a TSval, and at once another with one that is 5 more.
    2. If one ACK acknowledges both, and none came between, its TSecr is the first one's TSval;
       else each ACK has the TSval of what it acknowledges.
    """
    connection = _stamped(lab)
    lab.drain(300)
    connection.tsval = FIRST + 100
    connection.push(pattern(MSS - 12))
    middle = connection.seq
    connection.tsval = FIRST + 105
    connection.push(pattern(MSS - 12))
    found = [one for one in segments(connection, 600) if one[TCP].ack in (middle, connection.seq)]
    lab.check(bool(found), "an ACK", "none")
    first = found[0]
    lab.check(stamp_of(first)[1] == FIRST + 100, f"a TSecr of {FIRST + 100}", stamp_of(first)[1])


@case(
    "TCP-10.11",
    "The timestamp of a segment behind a gap is not echoed",
    section="4.3",
    level=Level.SHOULD,
    mutant=WRONG_ECHO,
)
def gap_is_not_echoed(lab: Tester) -> None:
    """Leave a gap.

    1. The tester sends a segment in order, and later one behind a gap, with a TSval that is 500
       more.
    2. The duplicate ACK echoes the segment before the gap.
    """
    connection = _stamped(lab)
    connection.tsval = FIRST + 100
    connection.push(b"in order")
    connection.expect_ack()
    lab.drain(300)
    connection.send(
        "PA", b"behind", seq=connection.seq + 100,
        options=[*PADDING, (STAMP, (FIRST + 600, connection.tsecr))],
    )  # fmt: skip
    lab.expect(connection.match(ack=connection.seq) / echoes(FIRST + 100), 500)


def _old(connection: Connection) -> list[tuple[Any, ...]]:
    """The options of a segment that was sent long ago."""
    return [*PADDING, (STAMP, (FIRST - 10_000, connection.tsecr))]


def _unstamped(header: Packet) -> list[Any]:
    """A segment's other options."""
    return [one for one in header.options if one[0] != STAMP]


@case(
    "TCP-10.17",
    "A keep-alive has the timestamp that was agreed on",
    mutant=Mutant(
        "leaves it out of segments without data",
        outgoing=altered(empty, options=_unstamped),
    ),
)
def stamp_of_keepalive(lab: Tester) -> None:
    """Leave a connection alone.

    1. A connection with timestamps. The program sets SO_KEEPALIVE and TCP_KEEPIDLE to two seconds.
    2. The keep-alive has a timestamp.
    """
    connection = _stamped(lab)
    lab.drain(200)
    set_option(connection.socket, socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1, "SO_KEEPALIVE")
    set_option(connection.socket, socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2, "TCP_KEEPIDLE")
    probe = connection.expect("A", 4000)
    lab.check(stamp_of(probe) is not None, "a timestamp", probe[TCP].options)


@case(
    "TCP-10.18",
    "A window probe has the timestamp that was agreed on",
    mutant=Mutant("leaves it out of data", outgoing=altered(loaded, options=_unstamped)),
)
def stamp_of_window_probe(lab: Tester) -> None:
    """Close the window.

    1. A connection with timestamps and a window of 0. The program sends.
    2. What comes within six seconds has a timestamp.
    """
    connection = _stamped(lab, window=0)
    write(connection, pattern(1000))
    probe = lab.expect(connection.match(), 6000)
    lab.check(stamp_of(probe) is not None, "a timestamp", probe[TCP].options)


RENEWS = Mutant(
    "does not look at timestamps",
    incoming=lambda frame: (
        altered(any_segment, options=[*PADDING, (STAMP, (FIRST + 5, 0))])(frame)
        if frame.haslayer(TCP) and (stamp_of(frame) or (FIRST,))[0] < FIRST
        else frame
    ),
)


@case(
    "TCP-10.12",
    "A segment with an old timestamp is acknowledged and dropped (PAWS)",
    section="5.3",
    mutant=RENEWS,
)
def paws(lab: Tester) -> None:
    """Send data that seems to be of the sequence space's last turn.

    1. A connection with timestamps. The tester sends data with the number that the Host waits for,
       and a TSval that is 10000 less than its SYN's.
    2. An ACK comes that does not count it. The program reads nothing of it.
    3. The same number with a right timestamp is taken.
    """
    connection = _stamped(lab)
    connection.push(b"first")
    connection.expect_ack()
    lab.drain(600)
    connection.send("PA", b"old", options=_old(connection))
    connection.expect("A", ack=connection.seq)
    lab.drain(20)
    connection.push(b"new")
    connection.expect_ack()
    got = connection.read(8)
    lab.check(got == b"firstnew", "firstnew", got)


@case(
    "TCP-10.13",
    "A reset counts, whatever its timestamp",
    section="5.2",
    mutant=DEAF_TO_RESETS,
)
def reset_without_paws(lab: Tester) -> None:
    """Reset with an old timestamp.

    1. A connection with timestamps. The tester sends an RST with the number that the Host waits
       for, and an old TSval.
    2. The program is told of the reset.
    """
    connection = _stamped(lab)
    connection.send("R", options=_old(connection))
    connection.expect_error(ConnectionResetError)


@case(
    "TCP-10.14",
    "A segment without the timestamp that was agreed on is dropped",
    level=Level.SHOULD,
    mutant=Mutant(
        "does not miss it",
        incoming=lambda frame: (
            altered(any_segment, options=[*PADDING, (STAMP, (FIRST + 5, 0))])(frame)
            if frame.haslayer(TCP) and stamp_of(frame) is None
            else frame
        ),
    ),
)
def missing_stamp(lab: Tester) -> None:
    """Leave the timestamp out.

    1. A connection with timestamps. The tester sends data without one: it is not acknowledged, and
       no reset comes.
    2. The same data with a timestamp is taken.
    """
    connection = _stamped(lab)
    connection.send("PA", b"bare", options=[])
    connection.expect_nothing(600, ack=connection.seq + 4)
    connection.push(b"bare")
    connection.expect_ack()


@case(
    "TCP-10.15",
    "A missing timestamp does not end the connection",
    mutant=Mutant(
        "resets for it",
        answer=replying(
            all_of(lacking("S"), lambda frame: stamp_of(frame) is None),
            "R",
            seq=lambda header: header.ack,
        ),
    ),
)
def missing_stamp_is_no_error(lab: Tester) -> None:
    """Leave the timestamp out.

    1. A connection with timestamps. The tester sends data and an ACK without one: no reset comes.
    2. Data with a timestamp is taken, and data comes back.
    """
    connection = _stamped(lab)
    connection.send("PA", b"bare", options=[])
    connection.send("A", options=[])
    connection.expect_no_reset(300)
    connection.push(b"bare")
    connection.expect_ack()
    write(connection, b"answer")
    lab.expect(connection.match(data=b"answer"))


@case(
    "TCP-10.16",
    "The Host's timestamps follow a clock of 1 to 1000 ticks a second",
    section="5.4",
    level=Level.SHOULD,
    mutant=Mutant(
        "stands still",
        outgoing=lambda frame: (
            altered(any_segment, options=[*PADDING, (STAMP, (9, 9))])(frame)
            if frame.haslayer(TCP) and stamp_of(frame) is not None and "S" not in frame[TCP].flags
            else frame
        ),
    ),
)
def clock(lab: Tester) -> None:
    """Compare timestamps three seconds apart.

    1. A connection with timestamps. The tester sends data, and again three seconds later.
    2. The TSval of the second ACK is ahead of the first one's by 2 to 3600.
    """
    connection = _stamped(lab)
    connection.push(b"1")
    first = stamp_of(connection.expect_ack())[0]
    began = lab.now
    lab.drain(3000)
    connection.push(b"2")
    second = stamp_of(connection.expect_ack())[0]
    ahead = (second - first) % (1 << 32)
    most = 1000 * (lab.now - began) * 1.1 + 100
    lab.check(2 <= ahead <= most, f"2 to {most:.0f} ticks", ahead)
