"""TCP, group 14: ICMP errors (RFC 9293 3.9.2.2, RFC 5927)."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6
from scapy.packet import Packet, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._tcp import (
    MSS,
    data_segments,
    grow,
    highest,
    icmp_error,
    offer,
    pattern,
)
from pystack.lab.mutant import Mutant
from pystack.lab.packets import tcp
from pystack.lab.tcp import Connection, connect, open_from_host
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("TCP-14", rfc="RFC 9293", section="3.9.2.2")

UNREACHABLE, QUENCH, EXCEEDED, PARAMETER = 3, 4, 11, 12


def _is_error(frame: Packet) -> bool:
    return bool(frame.haslayer(ICMP) and frame[ICMP].type in (3, 4, 11, 12))


class _Aborting:
    """A Host that sends no more once an ICMP error has come."""

    def __init__(self) -> None:
        self.hit = False

    def reset(self) -> None:
        """Forgets the error."""
        self.hit = False

    def __call__(self, frame: Packet) -> Packet | None:
        """Takes note of errors, and nothing else after one."""
        self.hit = self.hit or _is_error(frame)
        return None if self.hit and frame.haslayer(TCP) else frame


ABORTS = Mutant("takes any ICMP error for the connection's end", incoming=_Aborting())
DEAF = Mutant(
    "does not look at ICMP errors",
    incoming=lambda frame: None if _is_error(frame) or frame.haslayer(ICMPv6DestUnreach) else frame,
)


def _survives(lab: Tester, *errors: tuple[int, int]) -> None:
    connection = connect(lab)
    for kind, code in errors:
        icmp_error(connection, kind, code)
        lab.drain(20)
    connection.still_works()


@case(
    "TCP-14.1",
    "A network or host that cannot be reached does not end a connection",
    aliases=("9293:MUST-56",),
    mutant=ABORTS,
)
def unreachable(lab: Tester) -> None:
    """Send soft errors.

    1. On a connection ICMP destination unreachable comes, with codes 0 (network), 1 (host) and 5
       (source route failed), about a segment of the Host's.
    2. The connection works.
    """
    _survives(lab, (UNREACHABLE, 0), (UNREACHABLE, 1), (UNREACHABLE, 5))


@case(
    "TCP-14.2",
    "Time exceeded does not end a connection",
    aliases=("9293:MUST-56",),
    mutant=ABORTS,
)
def time_exceeded(lab: Tester) -> None:
    """Send time exceeded.

    1. On a connection ICMP time exceeded comes, with codes 0 (in transit) and 1 (reassembly).
    2. The connection works.
    """
    _survives(lab, (EXCEEDED, 0), (EXCEEDED, 1))


@case(
    "TCP-14.3",
    "A parameter problem does not end a connection",
    aliases=("9293:MUST-56",),
    mutant=ABORTS,
)
def parameter_problem(lab: Tester) -> None:
    """Send a parameter problem.

    1. On a connection an ICMP parameter problem comes.
    2. The connection works.
    """
    _survives(lab, (PARAMETER, 0))


@case(
    "TCP-14.4",
    "A network or host that cannot be reached does not end an attempt to connect",
    aliases=("9293:MUST-56",),
    mutant=ABORTS,
)
def unreachable_in_syn_sent(lab: Tester) -> None:
    """Send soft errors about a SYN.

    1. The program connects. ICMP destination unreachable comes about the SYN, with codes 0 and 1.
    2. The tester answers the SYN: the connection works.
    """
    connection = open_from_host(lab, answer=False)
    for code in (0, 1):
        icmp_error(connection, UNREACHABLE, code, _syn(connection))
        lab.drain(20)
    connection.send("SA", options=[("MSS", MSS)])
    connection.seq += 1
    connection.expect("A", ack=connection.seq)
    connection.still_works()


def _syn(connection: Connection, ahead: int = 0) -> Packet:
    """The Host's SYN, as a router would quote it."""
    lab = connection.lab
    return IP(src=lab.host4, dst=lab.tester4, ttl=63) / TCP(
        sport=connection.host_port,
        dport=connection.port,
        seq=(connection.host_isn or 0) + ahead,
        flags="S",
    )


@case(
    "TCP-14.5",
    "A port that cannot be reached refuses the connection, and the program is told",
    level=Level.SHOULD,
    aliases=("9293:SHLD-26", "9293:MUST-54"),
    mutant=DEAF,
)
def port_unreachable(lab: Tester) -> None:
    """Send a hard error about a SYN.

    1. The program connects. ICMP port unreachable comes about the SYN.
    2. The program gets ECONNREFUSED.
    """
    connection = open_from_host(lab, answer=False)
    icmp_error(connection, UNREACHABLE, 3, _syn(connection))
    connection.expect_error(ConnectionRefusedError)


@case(
    "TCP-14.6",
    "A port that cannot be reached over IPv6 refuses the connection",
    level=Level.SHOULD,
    aliases=("9293:MUST-54",),
    mutant=DEAF,
)
def port_unreachable6(lab: Tester) -> None:
    """Send a hard error about a SYN over IPv6.

    1. The program connects. ICMPv6 destination unreachable, code 4, comes about the SYN.
    2. The program gets ECONNREFUSED.
    """
    connection = open_from_host(lab, family=6, answer=False)
    quoted = IPv6(src=lab.host6, dst=lab.tester6, plen=20, nh=6) / TCP(
        sport=connection.host_port, dport=connection.port, seq=connection.host_isn or 0, flags="S"
    )
    lab.send(lab.ip6() / ICMPv6DestUnreach(code=4) / Raw(bytes(quoted)))
    connection.expect_error(ConnectionRefusedError)


@case(
    "TCP-14.7",
    "An ICMP error is told to the connection that it is about, and to no other",
    aliases=("9293:MUST-54",),
    mutant=ABORTS,
)
def demultiplexed(lab: Tester) -> None:
    """Have two connections under way.

    1. The program connects twice. ICMP port unreachable comes about the first SYN.
    2. The tester answers the second SYN: that connection works.
    """
    first = open_from_host(lab, answer=False)
    second = open_from_host(lab, answer=False)
    icmp_error(first, UNREACHABLE, 3, _syn(first))
    lab.drain(20)
    second.send("SA", options=[("MSS", MSS)])
    second.seq += 1
    second.expect("A", ack=second.seq)
    second.still_works()


@case(
    "TCP-14.8",
    "An ICMP error that quotes what was never sent is ignored",
    rfc="RFC 5927",
    section="4.1",
    level=Level.SHOULD,
    mutant=ABORTS,
)
def quotes_nothing(lab: Tester) -> None:
    """Guess at a connection's ports, and not at its numbers.

    1. The program connects. ICMP port unreachable comes, with a sequence number that is a million
       past the SYN's.
    2. The tester answers the SYN: the connection works.
    """
    connection = open_from_host(lab, answer=False)
    icmp_error(connection, UNREACHABLE, 3, _syn(connection, 1_000_000))
    lab.drain(20)
    connection.send("SA", options=[("MSS", MSS)])
    connection.seq += 1
    connection.expect("A", ack=connection.seq)
    connection.still_works()


@case(
    "TCP-14.9",
    "A source quench is discarded",
    aliases=("9293:MUST-55",),
    mutant=Mutant("sends no more than a segment after it", incoming=_Aborting()),
)
def source_quench(lab: Tester) -> None:
    """Ask the Host to be slower.

    1. The congestion window has grown. An ICMP source quench comes about a segment of the Host's.
    2. The program sends 60 segments' worth: four or more come before an ACK is due, as without it.
    """
    connection = connect(lab)
    grow(connection, 4)
    icmp_error(connection, QUENCH, 0)
    lab.drain(20)
    assert connection.ack is not None
    connection.send("A")
    offer(connection, pattern(60 * MSS))
    reach = highest(data_segments(connection, 50), connection.ack)
    lab.check(reach >= 4 * MSS, "four segments or more", reach / MSS)
    connection.ack = (connection.ack + reach) % (1 << 32)
    connection.send("A")
    lab.expect(connection.with_data() / tcp(seq=connection.ack))


@case(
    "TCP-14.10",
    "A hard error on an established connection that quotes old numbers is ignored",
    rfc="RFC 5927",
    section="4.1",
    level=Level.SHOULD,
    mutant=ABORTS,
)
def old_numbers(lab: Tester) -> None:
    """Send errors about segments of long ago.

    1. On a connection ICMP destination unreachable comes, with codes 2 and 3, about a segment whose
       number is a million behind.
    2. The connection works.
    """
    connection = connect(lab)
    for code in (2, 3):
        quoted = IP(src=lab.host4, dst=lab.tester4, ttl=63) / TCP(
            sport=connection.host_port,
            dport=connection.port,
            seq=((connection.ack or 0) - 1_000_000) % (1 << 32),
            flags="A",
        )
        icmp_error(connection, UNREACHABLE, code, quoted)
        lab.drain(20)
    connection.still_works()
