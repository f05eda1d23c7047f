"""TCP, group 2: when a reset is sent, what it looks like, and what one does (RFC 9293 3.5)."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

from scapy.layers.inet import TCP

from pystack.lab.case import case
from pystack.lab.catalogue._tcp import (
    DEAF_TO_RESETS,
    NO_RESETS,
    altered,
    any_segment,
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
from pystack.lab.tcp import MODULUS, Connection, connect, in_state, open_from_host
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

RFC = "RFC 9293"
CLOSED = "3.10.7.1"
LISTEN = "3.10.7.2"
WRONG_ACK = Mutant(
    "does not count a SYN in a reset's ACK",
    outgoing=altered(having("R"), ack=lambda header: header.ack - 1),
)
WITH_ACK = Mutant(
    "sets ACK in every reset",
    outgoing=altered(flagged("R"), flags="RA", ack=lambda header: header.seq),
)
ANSWERS = Mutant("answers with a reset", answer=resets(any_segment))


def _closed(lab: Tester, flags: str, data: bytes = b"", family: int = 4) -> None:
    """A segment without ACK to a closed port."""
    connection = in_state(lab, "CLOSED", family=family)
    connection.send(flags, data)
    length = len(data) + ("S" in flags) + ("F" in flags)
    connection.expect("RA", seq=0, ack=(connection.seq + length) % MODULUS)


def _refused(connection: Connection, flags: str, data: bytes = b"") -> None:
    """A segment with ACK to a port where nothing is that it could belong to."""
    connection.send(flags, data, ack=777_777)
    connection.expect("R", seq=777_777)


@case(
    "TCP-2.1",
    "A SYN to a closed port is answered with a reset that acknowledges it",
    rfc=RFC,
    section=CLOSED,
    mutant=WRONG_ACK,
    seconds=1,
)
def syn_to_closed(lab: Tester) -> None:
    """Try to open a connection to a port where nobody listens.

    1. The tester sends a SYN.
    2. An RST comes with SEQ=0 and ACK=SEG.SEQ+1.
    """
    _closed(lab, "S")


@case(
    "TCP-2.2",
    "A SYN over IPv6 to a closed port is answered with a reset that acknowledges it",
    rfc=RFC,
    section=CLOSED,
    mutant=WRONG_ACK,
    seconds=1,
)
def syn_to_closed6(lab: Tester) -> None:
    """Try to open a connection over IPv6 to a port where nobody listens.

    1. The tester sends a SYN.
    2. An RST comes with SEQ=0 and ACK=SEG.SEQ+1.
    """
    _closed(lab, "S", family=6)


@case(
    "TCP-2.3",
    "The reset for a SYN with data acknowledges both",
    rfc=RFC,
    section=CLOSED,
    mutant=WRONG_ACK,
    seconds=1,
)
def syn_data_to_closed(lab: Tester) -> None:
    """Send a SYN with data to a port where nobody listens.

    1. The tester sends a SYN with ten octets.
    2. An RST comes with SEQ=0 and ACK=SEG.SEQ+11.
    """
    _closed(lab, "S", b"ten octets")


@case(
    "TCP-2.4",
    "An ACK to a closed port is answered with a reset of its number, without ACK",
    rfc=RFC,
    section=CLOSED,
    mutant=WITH_ACK,
    seconds=1,
)
def ack_to_closed(lab: Tester) -> None:
    """Acknowledge something to a port where nobody listens.

    1. The tester sends an ACK.
    2. An RST comes with SEQ=SEG.ACK, and no ACK.
    """
    _refused(in_state(lab, "CLOSED"), "A")


@case(
    "TCP-2.5",
    "An ACK over IPv6 to a closed port is answered with a reset of its number",
    rfc=RFC,
    section=CLOSED,
    mutant=WITH_ACK,
    seconds=1,
)
def ack_to_closed6(lab: Tester) -> None:
    """Acknowledge something over IPv6 to a port where nobody listens.

    1. The tester sends an ACK.
    2. An RST comes with SEQ=SEG.ACK, and no ACK.
    """
    _refused(in_state(lab, "CLOSED", family=6), "A")


@case(
    "TCP-2.6",
    "A SYN-ACK to a closed port is answered with a reset of its acknowledgement number",
    rfc=RFC,
    section=CLOSED,
    mutant=WITH_ACK,
    seconds=1,
)
def syn_ack_to_closed(lab: Tester) -> None:
    """Answer a SYN that nobody sent.

    1. The tester sends SYN and ACK to a port where nobody listens.
    2. An RST comes with SEQ=SEG.ACK, and no ACK.
    """
    _refused(in_state(lab, "CLOSED"), "SA")


@case(
    "TCP-2.7",
    "Data to a closed port is answered with a reset",
    rfc=RFC,
    section=CLOSED,
    mutant=NO_RESETS,
    seconds=1,
)
def data_to_closed(lab: Tester) -> None:
    """Send data of a connection that is not.

    1. The tester sends data with an ACK to a port where nobody listens.
    2. An RST comes with SEQ=SEG.ACK, and no ACK.
    """
    _refused(in_state(lab, "CLOSED"), "PA", b"lost")


@case(
    "TCP-2.8",
    "A FIN without ACK to a closed port is answered with a reset that counts it",
    rfc=RFC,
    section=CLOSED,
    mutant=WRONG_ACK,
    seconds=1,
)
def fin_to_closed(lab: Tester) -> None:
    """End a connection that is not.

    1. The tester sends a FIN alone.
    2. An RST comes with SEQ=0 and ACK=SEG.SEQ+1.
    """
    _closed(lab, "F")


@case(
    "TCP-2.9",
    "A segment without any flag to a closed port is answered with a reset",
    rfc=RFC,
    section=CLOSED,
    mutant=NO_RESETS,
    seconds=1,
)
def null_to_closed(lab: Tester) -> None:
    """Send a segment without flags.

    1. The tester sends a segment of four octets and no flags to a port where nobody listens.
    2. An RST comes with SEQ=0 and ACK=SEG.SEQ+4.
    """
    _closed(lab, "", b"null")


@case(
    "TCP-2.10",
    "A reset to a closed port is not answered",
    rfc=RFC,
    section=CLOSED,
    mutant=ANSWERS,
    seconds=1,
)
def reset_to_closed(lab: Tester) -> None:
    """Reset a connection that is not.

    1. The tester sends an RST, and an RST with ACK, to a port where nobody listens.
    2. Nothing comes.
    """
    connection = in_state(lab, "CLOSED")
    connection.send("R")
    connection.send("RA", ack=5)
    connection.expect_nothing(300)


@case(
    "TCP-2.11",
    "A reset to a listener is ignored",
    rfc=RFC,
    section=LISTEN,
    mutant=ANSWERS,
    seconds=1,
)
def reset_to_listener(lab: Tester) -> None:
    """Reset a listener.

    1. The Host listens. The tester sends an RST, and an RST with ACK: nothing comes.
    2. A SYN is still answered.
    """
    connection = in_state(lab, "LISTEN")
    connection.send("R")
    connection.send("RA", ack=5)
    connection.expect_nothing(300)
    connection.send("S")
    connection.expect("SA", ack=connection.isn + 1)


@case(
    "TCP-2.12",
    "An ACK to a listener is answered with a reset of its number, without ACK",
    rfc=RFC,
    section=LISTEN,
    mutant=WITH_ACK,
    seconds=1,
)
def ack_to_listener(lab: Tester) -> None:
    """Acknowledge something to a listener.

    1. The Host listens. The tester sends an ACK.
    2. An RST comes with SEQ=SEG.ACK, and no ACK.
    """
    _refused(in_state(lab, "LISTEN"), "A")


@case(
    "TCP-2.13",
    "A SYN-ACK to a listener is answered with a reset of its number",
    rfc=RFC,
    section=LISTEN,
    mutant=WITH_ACK,
    seconds=1,
)
def syn_ack_to_listener(lab: Tester) -> None:
    """Answer a SYN that a listener did not send.

    1. The Host listens. The tester sends SYN and ACK.
    2. An RST comes with SEQ=SEG.ACK, and no ACK.
    """
    _refused(in_state(lab, "LISTEN"), "SA")


@case(
    "TCP-2.14",
    "A FIN with ACK to a listener is answered with a reset of its number",
    rfc=RFC,
    section=LISTEN,
    mutant=NO_RESETS,
    seconds=1,
)
def fin_ack_to_listener(lab: Tester) -> None:
    """End a connection that a listener does not know.

    1. The Host listens. The tester sends FIN and ACK.
    2. An RST comes with SEQ=SEG.ACK, and no ACK.
    """
    _refused(in_state(lab, "LISTEN"), "FA")


@case(
    "TCP-2.15",
    "A segment to a listener without SYN, ACK and RST is dropped",
    rfc=RFC,
    section=LISTEN,
    mutant=ANSWERS,
    seconds=1,
)
def stray_to_listener(lab: Tester) -> None:
    """Send what belongs to nothing.

    1. The Host listens. The tester sends a segment without flags, one with data, a FIN, and one
       with PSH and URG, none of them with an ACK.
    2. Nothing comes.
    """
    connection = in_state(lab, "LISTEN")
    connection.send("")
    connection.send("", b"data")
    connection.send("F")
    connection.send("PU", b"data", urgptr=1)
    connection.expect_nothing(300)


@case(
    "TCP-2.16",
    "A SYN with a FIN does not make a connection that the program takes for open",
    rfc=RFC,
    section=LISTEN,
    mutant=Mutant(
        "forgets the FIN",
        incoming=altered(having("F"), flags=lambda header: str(header.flags).replace("F", "")),
    ),
    seconds=3,
)
def syn_fin_to_listener(lab: Tester) -> None:
    """Begin and end a connection in one segment.

    1. The Host listens. The tester sends SYN and FIN.
    2. Either nothing comes; or a SYN-ACK of the SYN alone, or of the FIN too, but no reset.
    3. If there was a SYN-ACK, the tester completes the handshake (the FIN once more, if it was
       not acknowledged). The program reads the end of the stream.
    4. If there was none, a SYN alone is answered, and its connection ends by a FIN.
    """
    connection = in_state(lab, "LISTEN")
    connection.send("SF")
    packets = lab.collect(connection.match(), 300)
    connection.seq += 1
    if packets:
        answer = packets[0][TCP]
        lab.check(str(answer.flags) == "SA", "SYN and ACK, or nothing", answer.flags)
        lab.check(answer.ack - connection.isn in (1, 2), "the ACK of SYN or FIN", answer.ack)
    else:
        connection.send("S", seq=connection.isn)
        packets = [connection.expect("SA", ack=connection.seq)]
    connection.take(packets[0])
    if packets[0][TCP].ack == connection.seq:
        connection.send("FA")
    connection.seq += 1
    connection.send("A")
    assert connection.listener is not None
    connection.sock, _peer = lab.until(connection.listener.accept, 1000, "accept")
    connection.expect_end()


@case(
    "TCP-2.17",
    "A reset with an acceptable ACK in SYN-SENT refuses the connection",
    rfc=RFC,
    section="3.10.7.3",
    aliases=("9293:MUST-12",),
    mutant=DEAF_TO_RESETS,
    seconds=2,
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
    rfc=RFC,
    section="3.10.7.3",
    mutant=Mutant(
        "takes any reset",
        incoming=altered(flagged("R"), flags="RA", ack=lambda header: 0),
        outgoing=loses(flagged("A")),
    ),
    seconds=2,
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
    rfc=RFC,
    section="3.10.7.3",
    mutant=Mutant("answers it with a reset", answer=resets(having("R"))),
    seconds=2,
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
    rfc=RFC,
    section="3.10.7.4",
    mutant=NO_RESETS,
    seconds=2,
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
    rfc=RFC,
    section="3.5.3",
    level=Level.SHOULD,
    aliases=("9293:SHLD-2",),
    mutant=Mutant("ignores resets with data", incoming=loses(loaded)),
    seconds=2,
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
    rfc=RFC,
    section="3.6",
    aliases=("9293:MUST-12",),
    mutant=DEAF_TO_RESETS,
    seconds=2,
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
    rfc=RFC,
    section="3.6",
    aliases=("9293:MUST-12",),
    mutant=Mutant("takes a FIN for a reset", incoming=altered(having("F"), flags="RA")),
    seconds=2,
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
    rfc=RFC,
    section="3.10.5",
    mutant=Mutant(
        "closes in order instead",
        outgoing=altered(having("R"), flags="FA"),
    ),
    seconds=2,
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
    rfc=RFC,
    section="3.10.7.4",
    mutant=NO_RESETS,
    seconds=2,
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
    rfc=RFC,
    section="3.5.2",
    mutant=Mutant("answers resets", answer=resets(having("R"))),
    seconds=2,
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
    rfc=RFC,
    section="3.6.1",
    level=Level.SHOULD,
    aliases=("9293:SHLD-3", "9293:MAY-1"),
    mutant=NO_RESETS,
    seconds=2,
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
    rfc=RFC,
    section="3.6.1",
    level=Level.SHOULD,
    aliases=("9293:SHLD-3",),
    mutant=NO_RESETS,
    seconds=2,
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
    rfc=RFC,
    section="3.5.3",
    mutant=Mutant("tells every connection", answer=replying(having("R"), "R", seq=0)),
    seconds=2,
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
