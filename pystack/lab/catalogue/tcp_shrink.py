"""TCP, group 5: windows that shrink."""

from __future__ import annotations

from scapy.layers.inet import TCP

from pystack.lab.case import group
from pystack.lab.catalogue._tcp import (
    MSS,
    NO_RETRANSMISSION,
    Counted,
    data_segments,
    grow,
    highest,
    loaded,
    offer,
    pattern,
    receive,
    write,
)
from pystack.lab.catalogue.tcp_window import IGNORES_WINDOW, RFC, probes
from pystack.lab.mutant import Mutant
from pystack.lab.packets import where
from pystack.lab.tcp import MODULUS, Connection, connect
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("TCP-5", section="3.8.6")


def _shrunk(lab: Tester, window: int) -> tuple[Connection, int, int]:
    """Four segments are under way when the window shrinks; and where they began and end."""
    connection = connect(lab)
    grow(connection)
    assert connection.ack is not None
    start = connection.ack
    write(connection, pattern(10 * MSS))
    with lab.preamble("four segments under way"):
        lab.need(highest(data_segments(connection, 50), start) >= 4 * MSS, "four segments")
    connection.ack = (start + MSS) % MODULUS
    connection.window = window
    connection.send("A")
    return connection, start, 10 * MSS


@case(
    "TCP-5.14",
    "A window that shrinks below what is under way does no harm",
    rfc=RFC,
    aliases=("9293:MUST-34",),
    mutant=Mutant("loses its way", outgoing=Counted(loaded, 40)),
)
def shrinking_window(lab: Tester) -> None:
    """Take back a part of the window.

    1. More than four segments are under way. The tester acknowledges one, and shows a window of
       one segment.
    2. Two seconds later its window is large again, and it acknowledges what comes: the whole of
       the stream comes.
    """
    connection, start, size = _shrunk(lab, MSS)
    lab.drain(2000)
    connection.window = 65535
    connection.send("A")
    got = pattern(size)[:MSS] + receive(connection, size - MSS, 20_000)
    lab.check(got == pattern(size), "the stream as sent", f"{len(got)} octets")
    lab.check(connection.ack == (start + size) % MODULUS, "all of it", connection.ack)


@case(
    "TCP-5.15",
    "Nothing new is sent while the window has shrunk",
    rfc=RFC,
    level=Level.SHOULD,
    aliases=("9293:SHLD-15", "9293:MAY-7"),
    mutant=IGNORES_WINDOW,
)
def nothing_new(lab: Tester) -> None:
    """Take back a part of the window, and wait.

    1. Segments are under way. The tester acknowledges one, and shows a window of one segment.
    2. For three seconds nothing comes that has not come before.
    """
    connection = connect(lab)
    grow(connection)
    assert connection.ack is not None
    start = connection.ack
    connection.window = 4 * MSS
    connection.send("A")
    offer(connection, pattern(45 * MSS))
    sent = highest(data_segments(connection, 50), start)
    lab.need(sent >= 2 * MSS, "two segments under way")
    connection.ack = (start + MSS) % MODULUS
    connection.window = MSS
    connection.send("A")
    reach = highest(data_segments(connection, 3000), start)
    lab.check(reach <= sent, f"nothing past {sent}", reach)


@case(
    "TCP-5.16",
    "What is in the shrunk window is retransmitted as usual",
    rfc=RFC,
    level=Level.SHOULD,
    aliases=("9293:SHLD-16",),
    mutant=NO_RETRANSMISSION,
)
def retransmits_in_shrunk_window(lab: Tester) -> None:
    """Take back a part of the window, and acknowledge nothing more.

    1. Segments are under way. The tester acknowledges one, and shows a window of one segment.
    2. Within four seconds the segment in that window is sent again.
    """
    connection, start, _size = _shrunk(lab, MSS)
    lab.expect(connection.match(seq=(start + MSS) % MODULUS) / where("with data", loaded), 4000)


@case(
    "TCP-5.17",
    "Data past a shrunk window does not time the connection out",
    rfc=RFC,
    level=Level.SHOULD,
    aliases=("9293:SHLD-17",),
    mutant=Mutant("gives up", outgoing=Counted(loaded, 60)),
    seconds=1300,
)
def no_timeout_past_edge(lab: Tester) -> None:
    """Leave data past a shrunk window unacknowledged for long.

    1. Segments are under way. The tester acknowledges one, and shows a window of zero; it
       answers all that comes in 20 minutes with the same.
    2. It opens the window: the stream goes on to its end.
    """
    connection, _start, size = _shrunk(lab, 0)
    until = lab.now + 1200
    while lab.now < until:
        left = (until - lab.now) * 1000 + 1
        for packet in lab.collect(connection.match(), min(130_000, left), at_most=1):
            lab.check("R" not in packet[TCP].flags, "no reset", packet[TCP].flags)
            connection.send("A")
    connection.window = 65535
    connection.send("A")
    got = receive(connection, size - MSS, 200_000)
    lab.check(got == pattern(size)[MSS:], "the stream as sent", f"{len(got)} octets")


@case(
    "TCP-5.18",
    "A window that shrinks to zero is probed",
    rfc=RFC,
    aliases=("9293:MUST-35",),
    mutant=NO_RETRANSMISSION,
)
def shrunk_to_zero(lab: Tester) -> None:
    """Take back the whole window.

    1. Segments are under way. The tester acknowledges one, and shows a window of zero.
    2. Within five seconds a probe comes: something sent again, or an octet more.
    """
    connection, _start, _size = _shrunk(lab, 0)
    lab.drain(20)
    lab.check(bool(probes(connection, 5000)), "a probe", "none")
