"""TCP, group 2: segments to closed ports and to listeners."""

from __future__ import annotations

from scapy.layers.inet import TCP

from pystack.lab.case import group
from pystack.lab.catalogue._tcp import (
    NO_RESETS,
    altered,
    any_segment,
    flagged,
    having,
    resets,
)
from pystack.lab.catalogue.tcp_reset import RFC
from pystack.lab.mutant import Mutant
from pystack.lab.tcp import MODULUS, Connection, in_state
from pystack.lab.tester import Tester

case = group("TCP-2", section="3.10.7.1")

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
    mutant=WRONG_ACK,
    family=4,
)
@case(
    "TCP-2.2",
    "A SYN over IPv6 to a closed port is answered with a reset that acknowledges it",
    rfc=RFC,
    mutant=WRONG_ACK,
    family=6,
)
def syn_to_closed(lab: Tester, family: int) -> None:
    """Try to open a connection to a closed port.

    1. The tester sends a SYN.
    2. An RST comes with SEQ=0 and ACK=SEG.SEQ+1.
    """
    _closed(lab, "S", family=family)


@case(
    "TCP-2.3",
    "The reset for a SYN with data acknowledges both",
    rfc=RFC,
    mutant=WRONG_ACK,
)
def syn_data_to_closed(lab: Tester) -> None:
    """Send a SYN with data to a closed port.

    1. The tester sends a SYN with ten octets.
    2. An RST comes with SEQ=0 and ACK=SEG.SEQ+11.
    """
    _closed(lab, "S", b"ten octets")


@case(
    "TCP-2.4",
    "An ACK to a closed port is answered with a reset of its number, without ACK",
    rfc=RFC,
    mutant=WITH_ACK,
    family=4,
)
@case(
    "TCP-2.5",
    "An ACK over IPv6 to a closed port is answered with a reset of its number",
    rfc=RFC,
    mutant=WITH_ACK,
    family=6,
)
def ack_to_closed(lab: Tester, family: int) -> None:
    """Acknowledge something to a closed port.

    1. The tester sends an ACK.
    2. An RST comes with SEQ=SEG.ACK, and no ACK.
    """
    _refused(in_state(lab, "CLOSED", family=family), "A")


@case(
    "TCP-2.6",
    "A SYN-ACK to a closed port is answered with a reset of its acknowledgement number",
    rfc=RFC,
    mutant=WITH_ACK,
)
def syn_ack_to_closed(lab: Tester) -> None:
    """Answer a SYN that nobody sent.

    1. The tester sends SYN and ACK to a closed port.
    2. An RST comes with SEQ=SEG.ACK, and no ACK.
    """
    _refused(in_state(lab, "CLOSED"), "SA")


@case(
    "TCP-2.7",
    "Data to a closed port is answered with a reset",
    rfc=RFC,
    mutant=NO_RESETS,
)
def data_to_closed(lab: Tester) -> None:
    """Send data of a connection that is not.

    1. The tester sends data with an ACK to a closed port.
    2. An RST comes with SEQ=SEG.ACK, and no ACK.
    """
    _refused(in_state(lab, "CLOSED"), "PA", b"lost")


@case(
    "TCP-2.8",
    "A FIN without ACK to a closed port is answered with a reset that counts it",
    rfc=RFC,
    mutant=WRONG_ACK,
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
    mutant=NO_RESETS,
)
def null_to_closed(lab: Tester) -> None:
    """Send a segment without flags.

    1. The tester sends a segment of four octets and no flags to a closed port.
    2. An RST comes with SEQ=0 and ACK=SEG.SEQ+4.
    """
    _closed(lab, "", b"null")


@case(
    "TCP-2.10",
    "A reset to a closed port is not answered",
    rfc=RFC,
    mutant=ANSWERS,
)
def reset_to_closed(lab: Tester) -> None:
    """Reset a connection that is not.

    1. The tester sends an RST, and an RST with ACK, to a closed port.
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
