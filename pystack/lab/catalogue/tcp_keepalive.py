"""TCP, group 12: keep-alives (RFC 9293 3.8.4)."""

from __future__ import annotations

import socket

from scapy.layers.inet import TCP
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._tcp import (
    NO_RESETS,
    Counted,
    all_of,
    altered,
    changes,
    empty,
    replying,
    segments,
    set_option,
    with_data,
    write,
)
from pystack.lab.mutant import Mutant
from pystack.lab.tcp import MODULUS, Connection, connect, segment_data
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("TCP-12", rfc="RFC 9293", section="3.8.4")

HOURS_2_MS = 7_200_000.0


def _keeps_alive(
    lab: Tester, idle: int | None = None, interval: int | None = None, count: int | None = None
) -> Connection:
    """A connection with keep-alives; times in seconds, default: the Host's."""
    connection = connect(lab)
    sock = connection.socket
    set_option(sock, socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1, "SO_KEEPALIVE")
    for name, value in (
        ("TCP_KEEPIDLE", idle),
        ("TCP_KEEPINTVL", interval),
        ("TCP_KEEPCNT", count),
    ):
        if value is not None:
            set_option(sock, socket.IPPROTO_TCP, getattr(socket, name), value, name)
    return connection


def _is_probe(connection: Connection, packet: Packet) -> bool:
    """Whether a segment asks for an ACK: it stands before what is acknowledged."""
    assert connection.ack is not None
    return bool(packet[TCP].seq == (connection.ack - 1) % MODULUS)


NO_PROBES = Mutant("sends no keep-alives", outgoing=Counted(empty, 0))
PROBES_UNASKED = Mutant(
    "sends keep-alives that nobody asked for",
    answer=replying(
        all_of(empty, lambda frame: frame[TCP].seq == 1_000_001),
        "A",
        seq=lambda header: header.ack - 1,
        ack=lambda header: header.seq,
    ),
)


@case(
    "TCP-12.1",
    "Keep-alives are off unless the program wants them",
    aliases=("9293:MUST-25", "9293:MUST-24"),
    mutant=PROBES_UNASKED,
)
def off_by_default(lab: Tester) -> None:
    """Set when keep-alives would come, and not that they shall.

    1. The program sets TCP_KEEPIDLE to one second, and does not set SO_KEEPALIVE.
    2. In five seconds nothing comes.
    """
    connection = connect(lab)
    set_option(connection.socket, socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1, "TCP_KEEPIDLE")
    connection.expect_nothing(5000)


@case(
    "TCP-12.2",
    "The first keep-alive comes after two hours or more",
    aliases=("9293:MUST-28", "9293:MUST-24", "9293:MAY-5"),
    mutant=PROBES_UNASKED,
    seconds=7600,
)
def two_hours(lab: Tester) -> None:
    """Leave a connection with keep-alives alone.

    1. The program sets SO_KEEPALIVE.
    2. Nothing comes in two hours; a keep-alive comes in the five minutes after.
    """
    connection = _keeps_alive(lab)
    for _ in range(8):
        connection.expect_nothing(HOURS_2_MS / 8 - 100)
    probe = connection.expect("A", 300_000)
    lab.check(_is_probe(connection, probe), "a keep-alive", probe[TCP].seq)


@case(
    "TCP-12.3",
    "The program sets how long a connection is idle before a keep-alive",
    aliases=("9293:MUST-27", "9293:MUST-24"),
    mutant=NO_PROBES,
)
def interval_is_configurable(lab: Tester) -> None:
    """Set TCP_KEEPIDLE to two seconds.

    1. The program sets SO_KEEPALIVE and TCP_KEEPIDLE.
    2. A keep-alive comes after 1.8 to 3.5 seconds.
    """
    connection = _keeps_alive(lab, 2)
    began = lab.now
    probe = connection.expect("A", 3500)
    waited = float(probe.time) - began
    lab.check(_is_probe(connection, probe), "a keep-alive", probe[TCP].seq)
    lab.check(waited >= 1.8, "two seconds before it", f"{waited:.3f} s")


@case(
    "TCP-12.4",
    "A keep-alive has no data",
    level=Level.SHOULD,
    aliases=("9293:SHLD-12",),
    mutant=Mutant("sends an octet", outgoing=changes(empty, with_data(lambda data: b"x"))),
)
def no_data(lab: Tester) -> None:
    """Look at a keep-alive.

    1. The program sets SO_KEEPALIVE, and TCP_KEEPIDLE to one second.
    2. The keep-alive has the number before SND.NXT, and no data.
    """
    connection = _keeps_alive(lab, 1)
    probe = connection.expect("A", 3000)
    lab.need(_is_probe(connection, probe), "a keep-alive")
    lab.check(not segment_data(probe), "no data", segment_data(probe))


@case(
    "TCP-12.5",
    "No keep-alive is sent on a connection that is not idle",
    aliases=("9293:MUST-26",),
    mutant=PROBES_UNASKED,
)
def only_if_idle(lab: Tester) -> None:
    """Send something every second.

    1. The program sets SO_KEEPALIVE, and TCP_KEEPIDLE to three seconds.
    2. The tester sends an ACK each second, seven times: no keep-alive comes.
    """
    connection = _keeps_alive(lab, 3)
    for _ in range(7):
        connection.send("A")
        found = [one for one in segments(connection, 1000) if _is_probe(connection, one)]
        lab.check(not found, "no keep-alive", len(found))


@case(
    "TCP-12.6",
    "No keep-alive is sent while data is not acknowledged",
    aliases=("9293:MUST-26",),
    mutant=Mutant(
        "sends keep-alives beside retransmissions",
        outgoing=lambda frame: (
            [frame, altered(lambda one: True, seq=1)(frame.copy())]  # type: ignore[list-item]
            if frame.haslayer(TCP) and segment_data(frame)
            else frame
        ),
    ),
)
def not_with_data_outstanding(lab: Tester) -> None:
    """Do not acknowledge data.

    1. The program sets SO_KEEPALIVE, and TCP_KEEPIDLE to one second, and sends. The tester does not
       acknowledge.
    2. For five seconds all that comes is that data.
    """
    connection = _keeps_alive(lab, 1)
    write(connection, b"data")
    found = segments(connection, 5000)
    lab.need(bool(found), "the data")
    other = [one[TCP].seq for one in found if one[TCP].seq != connection.ack]
    lab.check(not other, "nothing but the data", other)


@case(
    "TCP-12.7",
    "A keep-alive that is not answered does not end the connection",
    aliases=("9293:MUST-29",),
    mutant=Mutant("sends one keep-alive and no more", outgoing=Counted(empty, 1)),
)
def one_lost(lab: Tester) -> None:
    """Lose a keep-alive.

    1. The program sets TCP_KEEPIDLE and TCP_KEEPINTVL to one second. The tester does not answer the
       first keep-alive.
    2. A second comes, no reset; the tester answers it. The connection works.
    """
    connection = _keeps_alive(lab, 1, 1, 4)
    with lab.preamble("a keep-alive"):
        connection.expect("A", 3000)
    second = connection.expect(within_ms=3000)
    lab.check(_is_probe(connection, second) and "R" not in second[TCP].flags, "a second",
              second[TCP].flags)  # fmt: skip
    connection.send("A")
    connection.still_works()


@case(
    "TCP-12.8",
    "A connection whose keep-alives are never answered ends, and the program is told",
    section="3.8.4, 3.8.3",
    level=Level.MAY,
    mutant=NO_RESETS,
)  # fmt: skip
def none_answered(lab: Tester) -> None:
    """Answer no keep-alive.

    1. The program sets TCP_KEEPIDLE and TCP_KEEPINTVL to one second, and TCP_KEEPCNT to two.
    2. The tester answers nothing: within eight seconds the program gets ETIMEDOUT.
    3. An ACK is answered with a reset: the connection is gone.
    """
    connection = _keeps_alive(lab, 1, 1, 2)
    lab.drain(6000)
    connection.expect_error(TimeoutError, 2000)
    connection.send("A")
    connection.expect("R", seq=connection.ack)
