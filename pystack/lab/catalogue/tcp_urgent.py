"""TCP, group 18: the program, urgent data and timeouts (RFC 9293 3.8.5, 3.8.3)."""

from __future__ import annotations

import errno
import socket
from functools import partial

from scapy.layers.inet import TCP

from pystack.lab.case import group
from pystack.lab.catalogue._tcp import (
    Counted,
    altered,
    having,
    loaded,
    send_flags,
    set_option,
    write,
)
from pystack.lab.mutant import Mutant
from pystack.lab.tcp import connect, segment_data
from pystack.lab.tester import Tester
from pystack.lab.verdict import Unable

case = group("TCP-18", rfc="RFC 9293", section="3.8.5")

TCP_USER_TIMEOUT = 18  # tcp(7)
TIMEOUT_MS = 3000


@case(
    "TCP-18.1",
    "The urgent pointer of what the program sends is to the octet after the urgent data",
    aliases=("9293:MUST-30", "9293:MUST-62"),
    mutant=Mutant(
        "points at the last octet",
        outgoing=altered(having("U"), urgptr=lambda header: header.urgptr - 1),
    ),
)
def urgent_pointer(lab: Tester) -> None:
    """Send urgent data.

    1. The program sends three octets with MSG_OOB.
    2. A segment with URG comes; its sequence number and its pointer together are the number of the
       octet that follows the third.
    """
    connection = connect(lab)
    send_flags(connection.socket, b"now", socket.MSG_OOB)
    segment = lab.expect(connection.match(flags=lambda flags: "U" in flags))
    assert connection.ack is not None
    end = (segment[TCP].seq + segment[TCP].urgptr - connection.ack) % (1 << 32)
    lab.check(end == 3, "a pointer to the octet after three", end)
    data = segment_data(segment)
    connection.acknowledge(segment)
    if len(data) < 3:
        connection.acknowledge(lab.expect(connection.with_data()))
    lab.drain(20)


@case(
    "TCP-18.2",
    "The program is given urgent data apart from the rest",
    aliases=("9293:MUST-32", "9293:MUST-33"),
    mutant=Mutant("does not look at URG", incoming=altered(having("U"), flags="PA", urgptr=0)),
)
def urgent_for_the_program(lab: Tester) -> None:
    """Send an urgent octet among others, to a program that does not want it in line.

    1. The tester sends "abc", with URG and a pointer to the octet after "b".
    2. The program gets "b" with MSG_OOB, then "a", where a read stops, and "c".
    """
    connection = connect(lab)
    connection.push(b"abc", "PAU", urgptr=2)
    connection.expect_ack()
    try:
        urgent = lab.until(partial(connection.socket.recv, 1, socket.MSG_OOB), 1000, "urgent data")
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise Unable("the Host's sockets have no MSG_OOB") from error
        if error.errno == errno.EINVAL:  # recv(2): there is none
            lab.check(False, "urgent data for the program", "none")
        raise
    lab.check(urgent == b"b", "the urgent octet b", urgent)
    before = connection.socket.recv(10)
    lab.check(before == b"a", "a read that ends where urgent data was", before)
    after = connection.socket.recv(10)
    lab.check(after == b"c", "what follows it", after)


@case(
    "TCP-18.3",
    "The program says after which time a connection is given up",
    section="3.8.3",
    aliases=("9293:MUST-21",),
    mutant=Mutant("sends nothing again", outgoing=Counted(loaded, 1)),
)
def user_timeout(lab: Tester) -> None:
    """Acknowledge nothing.

    1. The program sets TCP_USER_TIMEOUT to three seconds, and sends. The data comes more than once.
    2. Six seconds later at the latest the program is told, and nothing comes any more.
    """
    connection = connect(lab)
    set_option(
        connection.socket, socket.IPPROTO_TCP, TCP_USER_TIMEOUT, TIMEOUT_MS, "TCP_USER_TIMEOUT"
    )
    write(connection, b"data")
    lab.expect(connection.with_data())
    lab.expect(connection.with_data(), 3000)
    lab.run(2 * TIMEOUT_MS)
    connection.expect_error(TimeoutError)
    lab.drain(20)
    lab.expect_nothing(connection.with_data(), 1500)
