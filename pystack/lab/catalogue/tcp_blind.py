"""TCP, group 15: attacks by guesses (RFC 5961)."""

from __future__ import annotations

from contextlib import suppress

from scapy.layers.inet import TCP

from pystack.lab.case import group
from pystack.lab.catalogue._tcp import (
    DEAF_TO_RESETS,
    acks,
    all_of,
    altered,
    having,
    loaded,
    replying,
    segments,
)
from pystack.lab.mutant import Mutant
from pystack.lab.tcp import MODULUS, connect, in_state
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level, Unable

case = group("TCP-15", rfc="RFC 5961", section="3.2")


@case(
    "TCP-15.1",
    "A peer that has reset the connection can do so again when it is asked",
    level=Level.SHOULD,
    mutant=DEAF_TO_RESETS,
)
def confirmed_reset(lab: Tester) -> None:
    """Reset with a number that is a bit ahead, as when data was lost.

    1. On a connection the tester sends an RST 500 octets ahead: an ACK comes.
    2. The tester, which has no connection any more, answers the ACK with an RST of its number: the
       program is told of the reset.
    """
    connection = connect(lab)
    connection.send("R", seq=connection.seq + 500)
    answer = connection.expect("A", seq=connection.ack, ack=connection.seq)
    connection.send("R", seq=answer[TCP].ack)
    connection.expect_error(ConnectionResetError)


@case(
    "TCP-15.2",
    "Resets at random places in the window do not end a connection",
    level=Level.SHOULD,
    mutant=Mutant(
        "takes any reset in its window",
        incoming=altered(having("R"), seq=1_000_001),
    ),
)
def guessed_resets(lab: Tester) -> None:
    """Guess at the number.

    1. On a connection the tester sends RSTs at ten places in the window, none of them its left
       edge.
    2. The connection works.
    """
    connection = connect(lab)
    for index in range(1, 11):
        connection.send("R", seq=connection.seq + 1000 * index)
    lab.drain(600)
    connection.still_works()


@case(
    "TCP-15.3",
    "SYNs in the window do not end a connection",
    section="4.2",
    level=Level.SHOULD,
    mutant=Mutant(
        "resets for a SYN",
        answer=replying(
            all_of(having("S"), lambda frame: frame[TCP].window == 77),
            "R",
            seq=lambda header: header.ack,
        ),
    ),
)
def guessed_syns(lab: Tester) -> None:
    """Guess at the number of a SYN.

    1. On a connection the tester sends SYNs, with and without ACK, at the window's left edge and in
       it: no reset comes.
    2. The connection works.
    """
    connection = connect(lab)
    for flags in ("S", "SA"):
        for offset in (0, 1000):
            connection.send(flags, seq=connection.seq + offset, window=77)
    connection.expect_no_reset(600)
    connection.still_works()


@case(
    "TCP-15.4",
    "Data with an acknowledgement of long ago is not taken",
    section="5.2",
    level=Level.MAY,
    aliases=("9293:MAY-12",),
    mutant=Mutant(
        "takes any old ACK", incoming=altered(loaded, ack=lambda header: header.ack + 100_000)
    ),
)
def old_acknowledgement(lab: Tester) -> None:
    """Guess at the sequence number, and not at the acknowledgement number.

    1. The tester's window was never larger than 65535. It sends data with the number that the Host
       waits for, and an acknowledgement number 100000 before SND.UNA.
    2. An ACK comes that does not count the data.
    3. The same data with the right number is taken.
    """
    connection = connect(lab)
    assert connection.ack is not None
    connection.send("PA", b"guess", ack=(connection.ack - 100_000) % MODULUS)
    connection.expect("A", seq=connection.ack, ack=connection.seq)
    lab.drain(600)
    connection.push(b"right")
    connection.expect_ack()
    got = connection.read(5)
    lab.check(got == b"right", "right", got)


@case(
    "TCP-15.5",
    "Challenge ACKs are limited",
    section="7",
    level=Level.SHOULD,
    mutant=Mutant(
        "sends as many as it is asked for",
        answer=replying(having("R"), "A", seq=lambda header: header.ack, ack=1_000_001),
    ),
)
def throttled(lab: Tester) -> None:
    """Ask for many.

    1. On a connection the tester sends 120 RSTs in the window, in no time. (Where the lab has
       switched the Host's limit off, it is on again.)
    2. Fewer than 110 ACKs come.
    """
    with suppress(Unable):
        lab.host.sysctl("net.ipv4.tcp_invalid_ratelimit", 500)
    connection = connect(lab)
    reset = bytes(lab.frame_for(connection.segment("R", seq=connection.seq + 500)))
    for _ in range(120):
        lab.send(reset)
    found = [one for one in segments(connection, 300) if acks(one[TCP].flags)]
    lab.check(len(found) < 110, "fewer than 110 ACKs", len(found))


@case(
    "TCP-15.6",
    "A reset in the window of a handshake does not end it",
    level=Level.SHOULD,
    mutant=Mutant("takes any reset", incoming=altered(having("R"), seq=1_000_001)),
)
def reset_in_handshake(lab: Tester) -> None:
    """Guess while a connection comes about.

    1. SYN, SYN-ACK. The tester sends an RST 500 octets ahead in the window.
    2. The tester acknowledges: the program has a connection that works.
    """
    connection = in_state(lab, "SYN-RECEIVED")
    connection.send("R", seq=connection.seq + 500)
    lab.drain(50)
    connection.send("A")
    assert connection.listener is not None
    connection.sock, _peer = lab.until(connection.listener.accept, 1000, "accept")
    connection.still_works()
