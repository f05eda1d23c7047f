"""TCP, group 5: windows: offered, closed, probed, shrunk, silly (RFC 9293 3.8.6)."""

from __future__ import annotations

import socket
from contextlib import suppress
from itertools import pairwise

from scapy.layers.inet import TCP
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._tcp import (
    DEAF_TO_RESETS,
    MSS,
    After,
    Counted,
    acks,
    all_of,
    altered,
    data_segments,
    empty,
    fill,
    highest,
    lacking,
    loaded,
    loses,
    offer,
    pattern,
    receive,
    replying,
    segments,
    set_option,
    size_of,
    small_listener,
    widen,
    write,
)
from pystack.lab.mutant import Mutant
from pystack.lab.tcp import MODULUS, Connection, connect, segment_data
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level, Unable

case = group("TCP-5", rfc="RFC 9293")

RFC = "RFC 9293"
PROBING = "3.8.6.1"
IGNORES_WINDOW = Mutant(
    "sends past the window",
    incoming=altered(lacking("S"), window=65535),
)


def shut(frame: Packet) -> bool:
    """An acknowledgement with a window of zero."""
    return empty(frame) and frame[TCP].window == 0


def probes(connection: Connection, for_ms: float) -> list[float]:
    """When segments come that need an answer: a little data, or an old number."""
    assert connection.ack is not None
    unacknowledged = connection.ack
    found = segments(connection, for_ms)
    return [
        float(one.time)
        for one in found
        if segment_data(one) or (unacknowledged - one[TCP].seq) % MODULUS in range(1, 1 << 31)
    ]


def _closed(lab: Tester, size: int = 3000) -> Connection:
    """A connection whose tester has shown a window of zero, and a program that wants to send."""
    connection = connect(lab)
    write(connection, b"x")
    connection.take(lab.expect(connection.with_data()))
    connection.window = 0
    connection.send("A")
    lab.drain(20)
    write(connection, pattern(size))
    return connection


@case(
    "TCP-5.1",
    "No more is sent than the window has room for",
    section="3.8.6",
    mutant=IGNORES_WINDOW,
)
def within_window(lab: Tester) -> None:
    """Offer a window of 1000 octets.

    1. The tester's window is 1000. The program sends 5000 octets.
    2. In 150 ms no octet past the window's end comes.
    """
    connection = connect(lab, window=1000)
    assert connection.ack is not None
    write(connection, pattern(5000))
    reach = highest(data_segments(connection, 150), connection.ack)
    lab.check(reach <= 1000, "at most 1000 octets", reach)


@case(
    "TCP-5.2",
    "The window is an unsigned number",
    section="3.1",
    aliases=("9293:MUST-1",),
    mutant=Mutant(
        "counts windows in 15 bits",
        incoming=altered(lambda frame: frame[TCP].window > 32767, window=32767),
    ),
)
def unsigned_window(lab: Tester) -> None:
    """Offer a window whose highest bit is set.

    1. The tester's window is 65535, with no scaling. It acknowledges all that comes, until the
       congestion window has grown.
    2. The program sends 60000 octets; the tester acknowledges none. More than 32767 octets come.
    """
    connection = connect(lab)
    widen(connection, 22 * MSS)
    offer(connection, pattern(60000))
    assert connection.ack is not None
    reach = highest(data_segments(connection, 100), connection.ack)
    lab.check(reach > 32767, "more than 32767 octets under way", reach)


@case(
    "TCP-5.3",
    "Windows of more than 16 bits are used",
    section="3.1",
    level=Level.SHOULD,
    aliases=("9293:REC-1",),
    mutant=Mutant(
        "counts windows in 16 bits",
        incoming=altered(all_of(lacking("S"), lambda frame: frame[TCP].window > 511), window=511),
    ),
)
def wide_window(lab: Tester) -> None:
    """Offer a window of more than 64 kB by window scaling.

    1. The tester's SYN has a window scale of 7. If the SYN-ACK has none, the case does not apply.
    2. The congestion window grows; the program sends 150 kB, and the tester, whose window is
       256 kB, acknowledges none of it. More than 65535 octets come.
    """
    connection = connect(lab, options=[("MSS", MSS), ("WScale", 7)])
    if "WScale" not in dict(connection.host_options):
        raise Unable("the Host has no window scaling")
    connection.window = 2048
    with suppress(Unable):
        set_option(connection.socket, socket.SOL_SOCKET, socket.SO_SNDBUF, 200_000, "SO_SNDBUF")
    widen(connection, 44 * MSS)
    assert connection.ack is not None
    offer(connection, pattern(150_000))
    reach = highest(data_segments(connection, 100), connection.ack)
    lab.check(reach > 65535, "more than 65535 octets under way", reach)


@case(
    "TCP-5.4",
    "A zero window is probed",
    section=PROBING,
    aliases=("9293:MUST-36",),
    mutant=Mutant("never probes", outgoing=Counted(loaded, 1)),
)
def zero_window_is_probed(lab: Tester) -> None:
    """Close the window.

    1. The tester shows a window of zero; the program sends.
    2. Within 4 seconds a probe comes: a little data, or a segment with an old number.
    """
    connection = _closed(lab)
    lab.check(bool(probes(connection, 4000)), "a probe", "none")


@case(
    "TCP-5.5",
    "The first probe comes after the retransmission timeout",
    section=PROBING,
    level=Level.SHOULD,
    aliases=("9293:SHLD-29",),
    mutant=Mutant("probes too late", outgoing=Counted(loaded, 1, stop=5)),
)
def first_probe(lab: Tester) -> None:
    """Wait for the first probe.

    1. The tester shows a window of zero; the program sends.
    2. Nothing comes for 150 ms (the least timeout that is in use is 200 ms, less a timer's
       coarseness), and a probe comes within 3 seconds (the timeout before there is a
       measurement, and half).
    """
    connection = _closed(lab)
    began = lab.now
    found = probes(connection, 3000)
    lab.check(bool(found), "a probe within 3 s", "none")
    lab.check(found[0] - began >= 0.15, "no probe before 150 ms", f"{found[0] - began:.3f} s")


@case(
    "TCP-5.6",
    "The interval between probes grows exponentially",
    section=PROBING,
    level=Level.SHOULD,
    aliases=("9293:SHLD-30",),
    mutant=Mutant(
        "probes twice each time", outgoing=Counted(loaded, 1, lambda frame: [frame, frame])
    ),
)
def probe_backoff(lab: Tester) -> None:
    """Leave the window closed.

    1. The tester shows a window of zero, and answers each probe with the same.
    2. For 15 seconds the tester notes when probes come: at least three, and each interval is at
       least 1.4 times the one before (until 60 s are reached).
    """
    connection = _closed(lab)
    assert connection.ack is not None
    times: list[float] = []
    until = lab.now + 15
    while lab.now < until and len(times) < 6:
        for moment in probes(connection, 50):
            times.append(moment)
            connection.send("A")
    gaps = [second - first for first, second in pairwise(times)]
    lab.check(len(gaps) >= 2, "three probes", times)
    for first, second in pairwise(gaps):
        lab.check(second >= 1.4 * first or second >= 59, "growing intervals", gaps)


@case(
    "TCP-5.7",
    "A connection whose probes are answered stays open, however long the window is zero",
    section=PROBING,
    aliases=("9293:MUST-37",),
    mutant=Mutant("gives up", outgoing=Counted(loaded, 4)),
    seconds=1000,
)
def window_stays_zero(lab: Tester) -> None:
    """Leave the window closed for a quarter of an hour.

    1. The tester shows a window of zero, and answers each probe with the same, for 15 minutes.
    2. It opens the window: the data comes.
    """
    connection = _closed(lab)
    until = lab.now + 900
    while lab.now < until:
        for packet in lab.collect(
            connection.match(), min(130_000, (until - lab.now) * 1000 + 1), at_most=1
        ):
            lab.check("R" not in packet[TCP].flags, "no reset", packet[TCP].flags)
            connection.send("A")
    connection.window = 65535
    connection.send("A")
    got = receive(connection, 3000, 130_000)
    lab.check(got == pattern(3000), "the data", "other data")


@case(
    "TCP-5.8",
    "Data goes on at once when the window opens",
    section="3.8.6",
    mutant=Mutant(
        "misses window updates",
        incoming=loses(lambda frame: empty(frame) and frame[TCP].window == 5000),
    ),
)
def window_opens(lab: Tester) -> None:
    """Open a closed window.

    1. The tester shows a window of zero; the program sends 3000 octets.
    2. The tester's ACK shows a window of 5000: the data comes in 100 ms.
    """
    connection = _closed(lab)
    lab.drain(50)
    connection.window = 5000
    connection.send("A")
    lab.expect(connection.with_data(), 100)
    connection.lab.drain(20)


@case(
    "TCP-5.9",
    "A full receive buffer closes the window, and what comes then is acknowledged, not taken",
    section=PROBING,
    aliases=("9293:MAY-8",),
    mutant=Mutant("does not answer probes", outgoing=After(shut, loses(empty))),
)
def probe_of_host(lab: Tester) -> None:
    """Probe the Host's closed window.

    1. The Host's receive buffer is small, and its program reads nothing. The tester fills it
       until the window is zero.
    2. The tester sends one octet more: an ACK shows the number before it and a window of zero.
    """
    connection = small_listener(lab)
    fill(connection)
    connection.send("A", b"!")
    connection.expect("A", ack=connection.seq, window=0)


@case(
    "TCP-5.10",
    "A closed window opens when the program reads, and the sender is told",
    section="3.8.6.2.2",
    mutant=Mutant("tells nobody", outgoing=After(shut, loses(empty))),
)
def window_update(lab: Tester) -> None:
    """Read from a full buffer.

    1. The tester fills the Host's buffer until its window is zero.
    2. The program reads all: an ACK shows a window of an MSS or more.
    3. The octets that follow are taken.
    """
    connection = small_listener(lab)
    sent = fill(connection)
    lab.drain(50)
    lab.check(connection.read(len(sent)) == sent, "the data as sent", "other data")
    connection.expect("A", window=lambda window: window >= 1024)
    connection.push(b"more")
    connection.expect_ack()


@case(
    "TCP-5.11",
    "The window's right edge never moves to the left",
    section="3.8.6",
    level=Level.SHOULD,
    aliases=("9293:SHLD-14",),
    mutant=Mutant(
        "shrinks its window",
        outgoing=altered(all_of(empty, lambda frame: frame[TCP].window > 2000), window=100),
    ),
)
def right_edge(lab: Tester) -> None:
    """Watch the window of a program that does not read.

    1. The Host's receive buffer is small. The tester fills it, and then the program reads 2000
       octets at a time.
    2. The sum of acknowledgement number and window never gets smaller.
    """
    connection = small_listener(lab)
    start, edges = connection.seq, [connection.host_window]
    for _ in range(60):
        if connection.host_window == 0:
            break
        connection.push(pattern(min(connection.host_window, 700)))
        packet = connection.expect_ack()
        connection.host_window = packet[TCP].window
        edges.append((packet[TCP].ack - start) % MODULUS + packet[TCP].window)
    for _ in range(2):
        connection.read(2000)
        edges += [
            (packet[TCP].ack - start) % MODULUS + packet[TCP].window
            for packet in segments(connection, 50, flags=acks)
        ]
    lab.check(edges == sorted(edges), "a right edge that only grows", edges)


@case(
    "TCP-5.12",
    "The receiver does not offer small windows (silly window syndrome)",
    section="3.8.6.2.2",
    aliases=("9293:MUST-39",),
    mutant=Mutant(
        "offers what little there is",
        outgoing=After(shut, altered(empty, window=10)),
    ),
)
def receiver_sws(lab: Tester) -> None:
    """Read a full buffer in small pieces.

    1. The tester fills the Host's buffer until its window is zero.
    2. The program reads ten octets, 20 times; after each the tester probes with an octet.
    3. No ACK offers a window between 1 and 499: it stays zero, or opens by an MSS or half of the
       buffer.
    """
    connection = small_listener(lab)
    fill(connection)
    for _ in range(20):
        connection.read(10)
        connection.send("A", b"!")
        for packet in segments(connection, 20, flags=acks):
            window = packet[TCP].window
            lab.check(window == 0 or window >= 500, "a window of 0 or a large one", window)
            if packet[TCP].ack != connection.seq:
                connection.seq = packet[TCP].ack  # the octet was taken, the window being open


@case(
    "TCP-5.13",
    "The sender does not use small windows at once (silly window syndrome)",
    section="3.8.6.2.1",
    aliases=("9293:MUST-38",),
    mutant=Mutant(
        "uses any window",
        answer=replying(
            lambda frame: frame[TCP].window == 20,
            "A",
            seq=lambda header: header.ack,
            ack=lambda header: header.seq,
            data=bytes(20),
        ),
    ),
)
def sender_sws(lab: Tester) -> None:
    """Open the window by 20 octets.

    1. The tester's window was large, and is zero now. The program sends 3000 octets.
    2. The tester shows a window of 20. Within 90 ms no segment of that size comes (the timeout
       that may override this is at least 0.1 s).
    """
    connection = _closed(lab)
    connection.window = 20
    connection.send("A")
    found = [one for one in data_segments(connection, 90) if len(segment_data(one)) > 1]
    lab.check(not found, "no small segment in 90 ms", [len(segment_data(one)) for one in found])


@case(
    "TCP-5.19",
    "A reset counts when the receive window is zero",
    section="3.4",
    aliases=("9293:MUST-66",),
    mutant=DEAF_TO_RESETS,
)
def reset_at_zero_window(lab: Tester) -> None:
    """Reset a connection whose receive buffer is full.

    1. The tester fills the Host's buffer until its window is zero, and sends an RST with the
       number that the Host waits for.
    2. The program gets ECONNRESET when it has read what there is (or before).
    """
    connection = small_listener(lab)
    fill(connection)
    connection.send("R")
    lab.drain(50)
    for _ in range(100):
        try:
            got = lab.until(lambda: connection.socket.recv(65536), 1000, "an error to come")
        except ConnectionResetError:
            return
        lab.check(bool(got), "ECONNRESET", "the end of the stream")


@case(
    "TCP-5.20",
    "An ACK counts when the receive window is zero",
    section="3.10.7.4",
    mutant=Mutant(
        "ignores it", incoming=Counted(all_of(empty, lambda frame: frame[TCP].window == 65000), 0)
    ),
)
def ack_at_zero_window(lab: Tester) -> None:
    """Acknowledge data to a Host whose receive buffer is full.

    1. The tester fills the Host's buffer until its window is zero. The program sends.
    2. The tester acknowledges what comes: it does not come again for two seconds.
    """
    connection = small_listener(lab)
    fill(connection)
    lab.drain(50)
    write(connection, b"from the host")
    connection.take(lab.expect(connection.match(data=b"from the host")))
    connection.send("A", window=65000)
    again = data_segments(connection, 2000)
    lab.check(not again, "no data again", [segment_data(one) for one in again])


@case(
    "TCP-5.21",
    "An old segment does not change the window",
    section="3.10.7.4",
    mutant=Mutant(
        "takes any window",
        incoming=altered(
            lambda frame: frame[TCP].window == 30000,
            ack=lambda header: header.ack + 1,
            seq=lambda header: header.seq + 4,
        ),
    ),
)
def old_window(lab: Tester) -> None:
    """Send an old segment with a large window.

    1. The tester has sent four octets, and acknowledged one, and shows a window of zero.
    2. It sends a segment with the numbers of before and a window of 30000.
    3. The program sends: no full segment comes in 150 ms.
    """
    connection = connect(lab)
    connection.push(b"four")
    connection.expect_ack()
    write(connection, b"x")
    connection.take(lab.expect(connection.with_data()))
    connection.window = 0
    connection.send("A")
    lab.drain(20)
    assert connection.ack is not None
    connection.send("A", seq=connection.seq - 4, ack=connection.ack - 1, window=30000)
    lab.drain(20)
    write(connection, pattern(3000))
    found = data_segments(connection, 150)
    lab.check(size_of(found) <= 1, "at most a probe", size_of(found))
