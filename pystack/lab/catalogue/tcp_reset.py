"""TCP, group 2: when a reset is sent, what it looks like, and what one does (RFC 9293 3.5)."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

from pystack.lab.case import group
from pystack.lab.catalogue._tcp import (
    DEAF_TO_RESETS,
    NO_RESETS,
    altered,
    flagged,
    having,
    loaded,
    loses,
    replying,
    resets,
    set_option,
    write,
)
from pystack.lab.mutant import Mutant
from pystack.lab.tcp import MODULUS, connect, in_state, open_from_host
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("TCP-2", rfc="RFC 9293")

RFC = "RFC 9293"


@case(
    "TCP-2.17",
    "A reset with an acceptable ACK in SYN-SENT refuses the connection",
    section="3.10.7.3",
    mutant=DEAF_TO_RESETS,
)
def refused(lab: Tester) -> None:
    """Refuse a connection.

    1. The Host's program connects. The tester answers the SYN with RST and ACK of it.
    2. The program is told that the connection was refused.
    """
    connection = open_from_host(lab, answer=False)
    connection.send("RA", seq=0)
    connection.expect_error(ConnectionRefusedError)


def _not_refused(lab: Tester, flags: str, ack: int) -> None:
    connection = open_from_host(lab, answer=False)
    assert connection.ack is not None
    connection.send(flags, seq=0, ack=connection.ack + ack)
    connection.expect_no_reset(100)
    connection.send("SA", options=[("MSS", 1460)])
    connection.seq += 1
    connection.expect("A", ack=connection.seq)
    connection.still_works()


@case(
    "TCP-2.18",
    "A reset without ACK is ignored in SYN-SENT",
    section="3.10.7.3",
    mutant=Mutant(
        "takes any reset",
        incoming=altered(flagged("R"), flags="RA", ack=lambda header: 0),
        outgoing=loses(flagged("A")),
    ),
)
def reset_without_ack_in_syn_sent(lab: Tester) -> None:
    """Send a reset that says nothing of the SYN.

    1. The Host's program connects. The tester answers with an RST without ACK.
    2. The right SYN-ACK comes after it, and the connection works.
    """
    _not_refused(lab, "R", 0)


@case(
    "TCP-2.19",
    "A reset with an unacceptable ACK is ignored in SYN-SENT, and not answered",
    section="3.10.7.3",
    mutant=Mutant("answers it with a reset", answer=resets(having("R"))),
)
def reset_with_wrong_ack_in_syn_sent(lab: Tester) -> None:
    """Send a reset that acknowledges what the Host did not send.

    1. The Host's program connects. The tester answers with RST and ACK, of a number past the SYN.
    2. No reset comes back. The right SYN-ACK comes, and the connection works.
    """
    _not_refused(lab, "RA", 100)


@case(
    "TCP-2.20",
    "An ACK of something never sent is answered with a reset in SYN-RECEIVED",
    section="3.10.7.4",
    mutant=NO_RESETS,
)
def wrong_ack_in_syn_received(lab: Tester) -> None:
    """Complete a handshake with the wrong number.

    1. SYN, SYN-ACK. The tester acknowledges a number past the Host's SYN.
    2. An RST comes with that number.
    """
    connection = in_state(lab, "SYN-RECEIVED")
    assert connection.ack is not None
    connection.send("A", ack=connection.ack + 100)
    connection.expect("R", seq=(connection.ack + 100) % MODULUS)


@case(
    "TCP-2.21",
    "A reset may carry data",
    section="3.5.3",
    level=Level.SHOULD,
    aliases=("9293:SHLD-2",),
    mutant=Mutant("ignores resets with data", incoming=loses(loaded)),
)
def reset_with_data(lab: Tester) -> None:
    """Explain a reset.

    1. On a connection the tester sends an RST that carries a text.
    2. The program is told that the connection was reset, and does not read the text.
    """
    connection = connect(lab)
    connection.send("R", b"because")
    connection.expect_error(ConnectionResetError)


@case(
    "TCP-2.22",
    "A reset ends an established connection, and the program is told so",
    section="3.6",
    aliases=("9293:MUST-12",),
    mutant=DEAF_TO_RESETS,
)
def reset_in_established(lab: Tester) -> None:
    """Abort a connection.

    1. On a connection the tester sends an RST with the number that the Host waits for.
    2. The program is told that the connection was reset.
    """
    connection = connect(lab)
    connection.send("R")
    connection.expect_error(ConnectionResetError)


@case(
    "TCP-2.23",
    "A close by FIN is told to the program as an end, not as an error",
    section="3.6",
    aliases=("9293:MUST-12",),
    mutant=Mutant("takes a FIN for a reset", incoming=altered(having("F"), flags="RA")),
)
def fin_is_no_error(lab: Tester) -> None:
    """End a connection in order.

    1. On a connection the tester sends a FIN.
    2. The program reads the end of the stream.
    """
    connection = connect(lab)
    connection.finish()
    connection.expect_end()


@case(
    "TCP-2.24",
    "An abort by the program sends a reset with the next sequence number",
    section="3.10.5",
    mutant=Mutant(
        "closes in order instead",
        outgoing=altered(having("R"), flags="FA"),
    ),
)
def abort(lab: Tester) -> None:
    """Have the Host's program abort.

    1. The program sets SO_LINGER to 0 seconds, and closes.
    2. An RST comes with SEQ=SND.NXT.
    """
    connection = connect(lab)
    sock = connection.socket
    linger = struct.pack("@ii", 1, 0)
    set_option(sock, socket.SOL_SOCKET, socket.SO_LINGER, linger, "SO_LINGER")
    lab.call("close, lingering 0 s")
    sock.close()
    connection.expect_reset(seq=connection.ack)


@case(
    "TCP-2.25",
    "After a reset the connection is gone",
    section="3.10.7.4",
    mutant=NO_RESETS,
)
def gone_after_reset(lab: Tester) -> None:
    """Send a segment after a reset.

    1. On a connection the tester sends an RST with the number that the Host waits for.
    2. It sends an ACK: a reset comes with that ACK's number, as for any closed port.
    """
    connection = in_state(lab, "ESTABLISHED")
    connection.send("R")
    lab.drain(50)
    connection.send("A")
    connection.expect("R", seq=connection.ack)


@case(
    "TCP-2.26",
    "A reset is never answered with a reset",
    section="3.5.2",
    mutant=Mutant("answers resets", answer=resets(having("R"))),
)
def no_reset_for_reset(lab: Tester) -> None:
    """Send resets, in and out of the window.

    1. On a connection the tester sends RSTs before the window, in it, beyond it, and last with
       the number that the Host waits for; and one more, when the connection is gone.
    2. No reset comes.
    """
    connection = connect(lab)
    for offset in (-10, 10, 100_000, 0, 0):
        connection.send("RA", seq=connection.seq + offset)
        connection.expect_no_reset(100)


@case(
    "TCP-2.27",
    "A close with data that nobody has read sends a reset",
    section="3.6.1",
    level=Level.SHOULD,
    aliases=("9293:SHLD-3", "9293:MAY-1"),
    mutant=NO_RESETS,
)
def close_with_unread_data(lab: Tester) -> None:
    """Close without reading.

    1. The tester sends data, which is acknowledged, and which the program does not read.
    2. The program closes: an RST shows that data was lost.
    """
    connection = connect(lab)
    connection.push(b"never read")
    with lab.preamble("an acknowledgement"):
        connection.expect_ack()
    lab.call("close")
    connection.socket.close()
    connection.expect_reset()


@case(
    "TCP-2.28",
    "Data that comes after a close is answered with a reset",
    section="3.6.1",
    level=Level.SHOULD,
    aliases=("9293:SHLD-3",),
    mutant=NO_RESETS,
)
def data_after_close(lab: Tester) -> None:
    """Send data to a program that has closed.

    1. The program closes; the Host's FIN is acknowledged.
    2. The tester sends data: an RST shows that it is lost.
    """
    connection = connect(lab)
    lab.call("close")
    connection.socket.close()
    with lab.preamble("the Host's FIN"):
        connection.take(connection.expect("FA"))
    connection.send("A")
    lab.drain(50)
    connection.push(b"too late")
    connection.expect_reset()


@case(
    "TCP-2.29",
    "Two connections do not share a reset",
    section="3.5.3",
    mutant=Mutant("tells every connection", answer=replying(having("R"), "R", seq=0)),
)
def reset_of_one(lab: Tester) -> None:
    """Reset one of two connections.

    1. There are two connections. The tester resets the first, and nothing is answered.
    2. The second works, and the program is told of the first alone.
    """
    first, second = connect(lab), connect(lab)
    write(first, b"x")
    first.take(first.expect(flags=lambda flags: "A" in flags))
    first.send("A")
    first.send("R")
    first.expect_nothing(100)
    second.still_works()
    with suppress(ConnectionResetError):
        first.socket.recv(1)
        lab.check(False, "ECONNRESET for the program of the first", "none")
