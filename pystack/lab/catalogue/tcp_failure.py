"""TCP, group 17: connections that fail (RFC 9293 3.8.3), and urgent data (3.8.5)."""

from __future__ import annotations

import socket

from scapy.layers.inet import TCP

from pystack.lab.case import group
from pystack.lab.catalogue._tcp import (
    NO_RESETS,
    Again,
    Counted,
    acks,
    having,
    loaded,
    loses,
    set_option,
    write,
)
from pystack.lab.mutant import Mutant
from pystack.lab.tcp import connect, open_from_host
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level, Unable

case = group("TCP-17", rfc="RFC 9293", section="3.8.3")


@case(
    "TCP-17.1",
    "A connection is not given up before 100 seconds without acknowledgements",
    level=Level.SHOULD,
    aliases=("9293:SHLD-11",),
    mutant=Mutant("gives up sooner", outgoing=Counted(loaded, 4)),
    seconds=160,
)
def patience(lab: Tester) -> None:
    """Acknowledge nothing for 100 seconds.

    1. The program sends; the tester does not acknowledge.
    2. After 100 seconds the data still comes again (within the two minutes that an interval may
       have by then); the tester acknowledges it, and the connection works.
    """
    connection = connect(lab)
    write(connection, b"data")
    first = lab.expect(connection.with_data())
    lab.drain(100_000)
    lab.expect(connection.match(seq=first[TCP].seq, flags=acks), 130_000)
    connection.acknowledge(first)
    lab.drain(20)
    connection.still_works()


@case(
    "TCP-17.2",
    "A connection that is never acknowledged is given up, and the program is told",
    aliases=("9293:MUST-20",),
    mutant=NO_RESETS,
    seconds=4000,
)
def given_up(lab: Tester) -> None:
    """Acknowledge nothing for an hour.

    1. The program sends; the tester does not acknowledge.
    2. Within an hour the program gets ETIMEDOUT.
    3. An ACK is answered with a reset: the connection is gone.
    """
    connection = connect(lab)
    write(connection, b"data")
    connection.take(lab.expect(connection.with_data()))
    for _ in range(36):
        lab.drain(100_000)
    connection.expect_error(TimeoutError)
    connection.send("A")
    connection.expect_reset(seq=connection.ack)


@case(
    "TCP-17.3",
    "An attempt to connect is not given up before three minutes",
    aliases=("9293:MUST-23",),
    mutant=Mutant("gives up sooner", incoming=loses(having("S"))),
    seconds=190,
)
def patience_of_syn(lab: Tester) -> None:
    """Answer no SYN for three minutes.

    1. The program connects; the tester answers nothing for 180 seconds.
    2. Then it answers: the SYN-ACK is acknowledged, and the connection works.
    """
    connection = open_from_host(lab, answer=False)
    lab.drain(180_000)
    connection.send("SA", options=[("MSS", 1460)])
    connection.seq += 1
    connection.expect("A", ack=connection.seq)
    connection.still_works()


@case(
    "TCP-17.4",
    "An attempt to connect that is never answered is given up, and the program is told",
    aliases=("9293:MUST-22",),
    mutant=NO_RESETS,
    seconds=4000,
)
def syn_given_up(lab: Tester) -> None:
    """Answer no SYN for an hour.

    1. The program connects; the tester answers nothing.
    2. Within an hour the program gets ETIMEDOUT.
    3. A late SYN-ACK is answered with a reset.
    """
    connection = open_from_host(lab, answer=False)
    for _ in range(36):
        lab.drain(100_000)
    connection.expect_error(TimeoutError)
    connection.send("SA", options=[("MSS", 1460)])
    connection.expect("R", seq=connection.ack)


@case(
    "TCP-17.5",
    "A connection survives a pause of the path",
    level=Level.SHOULD,
    aliases=("9293:SHLD-11",),
    mutant=Mutant("gives up at once", outgoing=Again(when=loaded)),
)
def pause(lab: Tester) -> None:
    """Lose everything for ten seconds.

    1. The program sends; for ten seconds the tester does not acknowledge.
    2. The data comes again after that, in no more than 15 seconds; the tester acknowledges it, and
       the connection works.
    """
    connection = connect(lab)
    write(connection, b"data")
    first = lab.expect(connection.with_data())
    lab.drain(10_000)
    lab.expect(connection.match(seq=first[TCP].seq, flags=acks), 15_000)
    connection.acknowledge(first)
    lab.drain(20)
    connection.still_works()


@case(
    "TCP-17.6",
    "Urgent data is part of the stream",
    section="3.8.5",
    aliases=("9293:MUST-31",),
    mutant=Mutant("drops segments with URG", incoming=loses(having("U"))),
)
def urgent_in_stream(lab: Tester) -> None:
    """Send much that is urgent.

    1. The program sets SO_OOBINLINE, if its sockets have it. The tester sends three segments of 100
       octets with URG; the pointer of each is the end of the third.
    2. All are acknowledged, and the program reads all 300 octets in order.
    """
    connection = connect(lab)
    try:
        set_option(connection.socket, socket.SOL_SOCKET, socket.SO_OOBINLINE, 1, "SO_OOBINLINE")
    except Unable:
        lab.note("no SO_OOBINLINE: urgent data is in line always")
    data = bytes(range(100)) * 3
    for index in range(3):
        connection.push(data[100 * index :][:100], "PAU", urgptr=300 - 100 * index)
    connection.expect_ack()
    lab.check(connection.read(300) == data, "300 octets in order", "others")


@case(
    "TCP-17.7",
    "An urgent pointer that makes no sense does no harm",
    section="3.8.5",
    mutant=Mutant("drops segments with URG", incoming=loses(having("U"))),
)
def senseless_urgent(lab: Tester) -> None:
    """Point at nothing.

    1. The program sets SO_OOBINLINE, if its sockets have it. The tester sends data with URG and
       pointers of 0 and of 65535; and an urgent pointer without URG.
    2. All is acknowledged, and read.
    """
    connection = connect(lab)
    try:
        set_option(connection.socket, socket.SOL_SOCKET, socket.SO_OOBINLINE, 1, "SO_OOBINLINE")
    except Unable:
        lab.note("no SO_OOBINLINE: urgent data is in line always")
    connection.push(b"none", "PAU", urgptr=0)
    connection.push(b"far ", "PAU", urgptr=65535)
    connection.push(b"data", "PA", urgptr=3)
    connection.expect_ack()
    got = connection.read(12)
    lab.check(got == b"nonefar data", "all of the data", got)
