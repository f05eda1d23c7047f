"""Path MTU, group 2: over IPv4, for a Host that forbids routers to cut its packets (RFC 1191).

A Host need not do that. One that never sets the flag meets all of these.
"""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, TCP
from scapy.packet import Packet, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._mutants import computed
from pystack.lab.catalogue._tcp import pattern, write
from pystack.lab.catalogue._udp import bound
from pystack.lab.mutant import Mutant
from pystack.lab.packets import ipv4, where
from pystack.lab.tcp import connect
from pystack.lab.tester import Tester

case = group("PMTU-2", rfc="RFC 1191", section="3")

FAR = "198.51.100.9"  # behind the router, the tester
DATA = 1400


def _uncuttable(frame: Packet) -> Packet:
    if frame.haslayer(IP) and frame[IP].frag == 0 and "MF" not in frame[IP].flags:
        frame[IP].flags = "DF"
        return computed(frame)
    return frame


def _deaf(frame: Packet) -> Packet | None:
    return None if frame.haslayer(ICMP) and frame[ICMP].type == 3 else frame


STUBBORN = Mutant(
    "sets the flag and ignores what routers say", outgoing=_uncuttable, incoming=_deaf
)


def _too_big(lab: Tester, about: Packet, mtu: int) -> None:
    """Says that a packet needed to be cut, as a router would."""
    error = ICMP(type=3, code=4, nexthopmtu=mtu) / Raw(bytes(about[IP])[:28])
    lab.send(lab.ip() / error)
    lab.run(20)


def _uncut(frame: Packet) -> bool:
    """Whether a frame is the first, or only, packet of something large."""
    return bool(frame.haslayer(IP)) and frame[IP].proto in (6, 17) and frame[IP].len > 200


LARGE = where("a large packet", _uncut)


def _fits(lab: Tester, packet: Packet, mtu: int) -> None:
    header = packet[IP]
    lab.check(
        "DF" not in header.flags or header.len <= mtu,
        f"no packet of more than {mtu} octets that may not be cut",
        header.len,
    )


@case(
    "PMTU-2.1",
    "After a datagram too big no larger one is sent that may not be cut",
    mutant=STUBBORN,
)
def reduces(lab: Tester) -> None:
    """Report a link that is smaller than the first one.

    1. The Host's program sends 1400 bytes to a host behind the router.
    2. The tester, the router, says that they needed to be cut, MTU 1000.
    3. No packet of the program's next datagram has more than 1000 octets and the flag that forbids
       to cut it.
    """
    sock, _port = bound(lab)
    sock.sendto(bytes(DATA), (FAR, 4000))
    with lab.preamble("a datagram"):
        sent = lab.expect(ipv4(dst=FAR, len=DATA + 28))
    _too_big(lab, sent, 1000)
    sock.sendto(bytes(DATA), (FAR, 4000))
    _fits(lab, lab.expect(LARGE), 1000)


@case(
    "PMTU-2.2",
    "A datagram too big does not increase the path's MTU",
    mutant=STUBBORN,
)
def no_increase(lab: Tester) -> None:
    """A report of a larger MTU is late, or a lie.

    1. The Host's program sends 1400 bytes to a host behind the router.
    2. The tester says that they needed to be cut, MTU 1000, then the same with MTU 1500.
    3. No packet of the program's next datagram has more than 1000 octets and the flag that forbids
       to cut it.
    """
    sock, _port = bound(lab)
    sock.sendto(bytes(DATA), (FAR, 4000))
    with lab.preamble("a datagram"):
        sent = lab.expect(ipv4(dst=FAR, len=DATA + 28))
    _too_big(lab, sent, 1000)
    _too_big(lab, sent, 1500)
    sock.sendto(bytes(DATA), (FAR, 4000))
    _fits(lab, lab.expect(LARGE), 1000)


@case(
    "PMTU-2.3",
    "What TCP sends again after a datagram too big fits the path, or may be cut",
    section="6.4",
    mutant=STUBBORN,
)
def tcp_retransmits(lab: Tester) -> None:
    """Lose a segment that was too big.

    1. On a connection the program sends 1400 bytes, which come in one segment.
    2. The tester says that it needed to be cut, MTU 1000, and acknowledges nothing.
    3. What is sent again has at most 1000 octets, or lacks the flag that forbids to cut it.
    """
    connection = connect(lab)
    write(connection, pattern(1400))
    with lab.preamble("a segment of 1400 octets"):
        sent = lab.expect(LARGE)
        lab.need(bool(sent.haslayer(TCP)) and sent[IP].len >= 1440, "it is in one segment")
    _too_big(lab, sent, 1000)
    _fits(lab, lab.expect(LARGE, 4000), 1000)
