"""Path MTU, group 1: over IPv6, where only the sender may cut packets (RFC 8201)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6, IPv6ExtHdrFragment
from scapy.packet import Packet, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._mutants import computed, hiding
from pystack.lab.catalogue._tcp import pattern, write
from pystack.lab.catalogue._udp import bound
from pystack.lab.host import HostSocket
from pystack.lab.mutant import Mutant
from pystack.lab.packets import ipv6, udp, where
from pystack.lab.tcp import connect
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("PMTU-1", rfc="RFC 8201", section="4")

FAR, ELSEWHERE = "2001:db8:9::9", "2001:db8:8::8"  # both behind the router, the tester
DATA = 1400
WHOLE = 40 + 8 + DATA  # octets of the packet with it

DEAF = hiding(lambda frame: bool(frame.haslayer(ICMPv6PacketTooBig)), "drops packet too big")


def _reported(mtu: Callable[[int], int], words: str) -> Mutant:
    """A Host that takes the MTU in a packet too big for another."""

    def change(frame: Packet) -> Packet:
        if not frame.haslayer(ICMPv6PacketTooBig):
            return frame
        frame[ICMPv6PacketTooBig].mtu = mtu(frame[ICMPv6PacketTooBig].mtu)
        return computed(frame)

    return Mutant(words, incoming=change)


def to(address: str) -> Callable[[Packet], bool]:
    """Whether a frame is a datagram, or a fragment, to an address."""
    return lambda frame: bool(
        frame.haslayer(IPv6) and frame[IPv6].dst == address and frame[IPv6].nh in (17, 44)
    )


def sizes(lab: Tester, sock: HostSocket, address: str, size: int = DATA) -> list[int]:
    """How long the packets are in which a program's datagram goes out."""
    sock.sendto(bytes(size), (address, 4000))
    found: list[int] = []
    have = 0
    while have < size + 8:
        packet = lab.expect(where("a datagram or fragment", to(address)))[IPv6]
        found.append(packet.plen + 40)
        have += packet.plen - (8 if packet.nh == 44 else 0)
    return found


def _whole(lab: Tester, sock: HostSocket, address: str = FAR) -> Packet:
    """Has a program send a datagram, which goes out in one packet as yet."""
    with lab.preamble("a datagram in one packet"):
        sock.sendto(bytes(DATA), (address, 4000))
        return lab.expect(ipv6(dst=address, plen=DATA + 8) / udp(dport=4000))


def too_big(lab: Tester, about: Packet, mtu: int, **fields: Any) -> None:
    """Sends a packet too big about a packet of the Host's, as a router would."""
    quoted = bytes(about[IPv6])[:1232]
    lab.send(lab.ip6() / ICMPv6PacketTooBig(mtu=mtu, **fields) / Raw(quoted))
    lab.run(20)


def _fits(lab: Tester, sock: HostSocket, mtu: int, address: str = FAR) -> None:
    found = sizes(lab, sock, address)
    lab.check(max(found) <= mtu, f"no packet of more than {mtu} octets", found)


def _small_offer(frame: Packet) -> Packet:
    if frame.haslayer(TCP) and "S" in frame[TCP].flags:
        frame[TCP].options = [
            (name, 1220 if name == "MSS" else value) for name, value in frame[TCP].options
        ]
        return computed(frame)
    return frame


@case(
    "PMTU-1.1",
    "After a packet too big no larger packet is sent on that path",
    aliases=("v6lc:4.1.5",),
    mutant=DEAF,
)
def reduces(lab: Tester) -> None:
    """Report a link that is smaller than the first one.

    1. The Host's program sends 1400 bytes to a host behind the router, in one packet.
    2. The tester, the router, answers with a packet too big, MTU 1300.
    3. The program's next datagram goes out in fragments of at most 1300 octets.
    4. After another one, MTU 1280, in fragments of at most 1280.
    """
    sock, _port = bound(lab, family=6)
    sent = _whole(lab, sock)
    too_big(lab, sent, 1300)
    _fits(lab, sock, 1300)
    too_big(lab, sent, 1280)
    _fits(lab, sock, 1280)


@case(
    "PMTU-1.2",
    "A packet too big counts for a destination on the link too",
    aliases=("v6lc:4.1.4",),
    mutant=DEAF,
)
def reduces_on_link(lab: Tester) -> None:
    """A link may be made of several pieces.

    1. The Host's program sends 1400 bytes to the tester, in one packet.
    2. The tester answers with a packet too big, MTU 1280.
    3. The program's next datagram goes out in fragments of at most 1280 octets.
    """
    sock, _port = bound(lab, family=6)
    too_big(lab, _whole(lab, sock, lab.tester6), 1280)
    _fits(lab, sock, 1280, lab.tester6)


@case(
    "PMTU-1.3",
    "A packet too big with an MTU below 1280 is discarded",
    aliases=("v6lc:4.1.6",),
    mutant=_reported(lambda mtu: max(mtu, 1280), "takes 1280 for it"),
)
def below_the_minimum(lab: Tester) -> None:
    """Every link of IPv6 carries 1280 octets; the report is a lie.

    1. The Host's program sends 1400 bytes in one packet.
    2. The tester answers with packet too big messages, MTU 1279, 576 and 0.
    3. The program's next datagram still goes out in one packet.
    """
    sock, _port = bound(lab, family=6)
    sent = _whole(lab, sock)
    for mtu in (1279, 576, 0):
        too_big(lab, sent, mtu)
    found = sizes(lab, sock, FAR)
    lab.check(found == [WHOLE], f"one packet of {WHOLE} octets", found)


def _wrapped(frame: Packet) -> Packet:
    if not frame.haslayer(UDP) or len(frame) > 1300:
        return frame
    inner = frame[UDP]
    frame[IPv6].remove_payload()
    frame[IPv6].nh = 44
    return computed(frame / IPv6ExtHdrFragment(nh=17, id=1) / inner)


@case(
    "PMTU-1.4",
    "A packet too big with an MTU below 1280 leads to no fragment headers",
    rfc="RFC 8504",
    section="5.1",
    mutant=Mutant("gives small packets a fragment header", outgoing=_wrapped),
)
def no_atomic_fragments(lab: Tester) -> None:
    """RFC 2460 wanted a fragment header for translators to IPv4; it turned out to be harmful.

    1. The Host's program sends 1400 bytes in one packet.
    2. The tester answers with a packet too big, MTU 1000.
    3. The program's next 1100 bytes come in one packet, without a fragment header.
    """
    sock, _port = bound(lab, family=6)
    too_big(lab, _whole(lab, sock), 1000)
    sock.sendto(bytes(1100), (FAR, 4000))
    found = lab.expect(where("a datagram or fragment", to(FAR)))
    lab.check(found[IPv6].nh == 17, "no fragment header", found.summary())


@case(
    "PMTU-1.5",
    "A packet too big does not increase the path's MTU",
    aliases=("v6lc:4.1.7",),
    mutant=DEAF,
)
def no_increase(lab: Tester) -> None:
    """A report of a larger MTU is late, or a lie.

    1. The Host's program sends 1400 bytes in one packet.
    2. The tester answers with a packet too big, MTU 1300, and another one, MTU 1500.
    3. The program's next datagram goes out in fragments of at most 1300 octets.
    """
    sock, _port = bound(lab, family=6)
    sent = _whole(lab, sock)
    too_big(lab, sent, 1300)
    too_big(lab, sent, 1500)
    _fits(lab, sock, 1300)


@case(
    "PMTU-1.6",
    "A packet too big for one path does not reduce another",
    section="5.2",
    level=Level.MAY,
    mutant=Mutant(
        "has one MTU for all paths",
        outgoing=lambda frame: (
            None
            if frame.haslayer(IPv6) and frame[IPv6].dst == ELSEWHERE and len(frame) > 1400
            else frame
        ),
    ),
)
def other_path(lab: Tester) -> None:
    """Two destinations behind the same router.

    1. The Host's program sends 1400 bytes to each of two hosts, in one packet each.
    2. The tester answers the first one with a packet too big, MTU 1300.
    3. The next datagram to the second host still goes out in one packet.
    """
    sock, _port = bound(lab, family=6)
    sent = _whole(lab, sock)
    too_big(lab, sent, 1300)
    _fits(lab, sock, 1300)
    sock.sendto(bytes(DATA), (ELSEWHERE, 4000))
    lab.expect(ipv6(dst=ELSEWHERE, plen=DATA + 8) / udp(dport=4000))


class _Believes:
    """Makes every report one about the datagram that the Host sent last."""

    def __init__(self) -> None:
        self.last = b""

    def reset(self) -> None:
        """See `Mutant`."""
        self.last = b""

    def outgoing(self, frame: Packet) -> Packet:
        """Remembers a datagram."""
        if frame.haslayer(UDP):
            self.last = bytes(frame[IPv6])
        return frame

    def __call__(self, frame: Packet) -> Packet:
        if not frame.haslayer(ICMPv6PacketTooBig) or not self.last:
            return frame
        frame[ICMPv6PacketTooBig].remove_payload()
        return computed(frame / Raw(self.last[:1232]))


class _Heard:
    """Remembers that there was a report."""

    def __init__(self) -> None:
        self.heard = False

    def reset(self) -> None:
        """See `Mutant`."""
        self.heard = False

    def outgoing(self, frame: Packet) -> Packet | None:
        """Loses what was too big once."""
        return None if self.heard and len(frame) > 1400 else frame

    def __call__(self, frame: Packet) -> Packet:
        self.heard = self.heard or bool(frame.haslayer(ICMPv6PacketTooBig))
        return frame


_heard = _Heard()
NEVER_AGAIN = Mutant("never sends a large packet again", outgoing=_heard.outgoing, incoming=_heard)
_believes = _Believes()
BELIEVES = Mutant("believes every report", outgoing=_believes.outgoing, incoming=_believes)


@case(
    "PMTU-1.7",
    "A packet too big about a datagram that no program sent is ignored",
    level=Level.SHOULD,
    mutant=BELIEVES,
)
def not_sent(lab: Tester) -> None:
    """Anybody can send such a message; its sender should have seen the packet.

    1. The Host's program sends 1400 bytes in one packet.
    2. The tester answers with a packet too big about a datagram from a closed port.
    3. The program's next datagram still goes out in one packet.
    """
    sock, port = bound(lab, family=6)
    sent = _whole(lab, sock)
    other: Packet = sent.copy()
    other[UDP].sport = port ^ 0x5555
    too_big(lab, computed(other), 1300)
    found = sizes(lab, sock, FAR)
    lab.check(found == [WHOLE], f"one packet of {WHOLE} octets", found)


@case(
    "PMTU-1.8",
    "A packet too big about another host's packet is ignored",
    level=Level.SHOULD,
    mutant=BELIEVES,
)
def not_ours(lab: Tester) -> None:
    """The packet in it has to be the Host's own.

    1. The Host's program sends 1400 bytes in one packet.
    2. The tester answers with a packet too big that quotes the packet with another source.
    3. The program's next datagram still goes out in one packet.
    """
    sock, _port = bound(lab, family=6)
    other: Packet = _whole(lab, sock).copy()
    other[IPv6].src = "2001:db8:1::77"
    too_big(lab, computed(other), 1300)
    found = sizes(lab, sock, FAR)
    lab.check(found == [WHOLE], f"one packet of {WHOLE} octets", found)


@case(
    "PMTU-1.9",
    "A packet too big with a wrong checksum is ignored",
    rfc="RFC 4443",
    section="2.3",
    mutant=BELIEVES,
)
def damaged(lab: Tester) -> None:
    """As any damaged message.

    1. The Host's program sends 1400 bytes in one packet.
    2. The tester answers with a packet too big that has a wrong checksum.
    3. The program's next datagram still goes out in one packet.
    """
    sock, _port = bound(lab, family=6)
    too_big(lab, _whole(lab, sock), 1300, cksum=0x1234)
    found = sizes(lab, sock, FAR)
    lab.check(found == [WHOLE], f"one packet of {WHOLE} octets", found)


@case(
    "PMTU-1.10",
    "The code of a packet too big is ignored",
    rfc="RFC 4443",
    section="3.2",
    aliases=("v6lc:4.1.3",),
    mutant=hiding(
        lambda frame: (
            bool(frame.haslayer(ICMPv6PacketTooBig)) and frame[ICMPv6PacketTooBig].code != 0
        ),
        "drops what has a code",
    ),
)
def any_code(lab: Tester) -> None:
    """The code has no meaning.

    1. The Host's program sends 1400 bytes in one packet.
    2. The tester answers with a packet too big, MTU 1280, code 0xff.
    3. The program's next datagram goes out in fragments of at most 1280 octets.
    """
    sock, _port = bound(lab, family=6)
    too_big(lab, _whole(lab, sock), 1280, code=0xFF)
    _fits(lab, sock, 1280)


@case(
    "PMTU-1.11",
    "The path's MTU is not increased within five minutes",
    mutant=DEAF,
    seconds=300,
)
def not_too_soon(lab: Tester) -> None:
    """Each attempt costs a packet.

    1. The Host's program sends 1400 bytes in one packet.
    2. The tester answers with a packet too big, MTU 1300.
    3. 100, 200 and 295 s later its datagram still goes out in fragments of at most 1300 octets.
    """
    sock, _port = bound(lab, family=6)
    too_big(lab, _whole(lab, sock), 1300)
    for pause in (100, 100, 95):
        lab.drain(pause * 1000)
        _fits(lab, sock, 1300)


@case(
    "PMTU-1.12",
    "After a quarter of an hour a larger MTU is tried again",
    section="5.3",
    level=Level.MAY,
    mutant=NEVER_AGAIN,
    seconds=900,
)
def increases_again(lab: Tester) -> None:
    """A route may have changed for the better.

    1. The Host's program sends 1400 bytes in one packet.
    2. The tester answers with a packet too big, MTU 1300.
    3. 15 minutes later the program's datagram goes out in one packet again.
    """
    sock, _port = bound(lab, family=6)
    too_big(lab, _whole(lab, sock), 1300)
    _fits(lab, sock, 1300)
    lab.drain(900_000)
    found = sizes(lab, sock, FAR)
    lab.check(found == [WHOLE], f"one packet of {WHOLE} octets", found)


def _large(frame: Packet) -> bool:
    return bool(frame.haslayer(IPv6)) and (frame[IPv6].nh == 44 or frame[IPv6].plen > 1000)


def _segment(frame: Packet) -> bool:
    """A segment with data, or a fragment of one."""
    return bool(frame.haslayer(IPv6)) and frame[IPv6].plen > 100 and frame[IPv6].nh in (6, 44)


SEGMENT = where("a segment or fragment", _segment)
WHOLE_SEGMENT = where(
    "a segment of 1400 octets", lambda frame: _segment(frame) and frame[IPv6].plen >= 1420
)


def _is_small(lab: Tester, packet: Packet) -> None:
    size = packet[IPv6].plen + 40
    lab.check(size <= 1280, "no packet of more than 1280 octets", size)


@case(
    "PMTU-1.13",
    "An echo reply keeps to the path's MTU",
    mutant=DEAF,
)
def echo_replies(lab: Tester) -> None:
    """The path is the Host's, whichever socket sends on it.

    1. The tester sends an echo request of 1400 bytes of data, which comes back in one packet.
    2. The tester answers the reply with a packet too big, MTU 1280.
    3. The next reply comes in fragments of at most 1280 octets.
    """
    lab.send(lab.echo6(data=bytes(DATA)))
    with lab.preamble("an echo in one packet"):
        reply = lab.expect(ipv6(src=lab.host6, dst=lab.tester6, nh=58, plen=DATA + 8))
    too_big(lab, reply, 1280)
    lab.send(lab.echo6(data=bytes(DATA)))
    have, found = 0, []
    while have < DATA + 8:
        packet = lab.expect(where("a reply or a fragment", _large))[IPv6]
        found.append(packet.plen + 40)
        have += packet.plen - (8 if packet.nh == 44 else 0)
    lab.check(max(found) <= 1280, "no packet of more than 1280 octets", found)


# --- TCP -----------------------------------------------------------------------------------------


@case(
    "PMTU-1.14",
    "What TCP sends again after a packet too big fits the path",
    section="5.4",
    mutant=DEAF,
)
def tcp_retransmits(lab: Tester) -> None:
    """Lose a segment that was too big.

    1. On a connection the program sends 1400 bytes, which come in one segment.
    2. The tester answers with a packet too big, MTU 1280, and no acknowledgement.
    3. What is sent again comes in packets of at most 1280 octets, and all of it.
    """
    connection = connect(lab, family=6)
    write(connection, pattern(1400))
    with lab.preamble("a segment of 1400 octets"):
        sent = lab.expect(WHOLE_SEGMENT)
    too_big(lab, sent, 1280)
    have = 0
    while have < 1400:
        packet = lab.expect(SEGMENT, 4000)
        _is_small(lab, packet)
        have += packet[IPv6].plen - (8 if packet[IPv6].nh == 44 else packet[TCP].dataofs * 4)
        if packet.haslayer(TCP) and packet[IPv6].nh == 6:
            connection.take(packet)
            connection.send("A")


@case(
    "PMTU-1.15",
    "TCP's segments fit the path after a packet too big, without fragments",
    section="5.4",
    level=Level.SHOULD,
    mutant=DEAF,
)
def tcp_adapts(lab: Tester) -> None:
    """TCP is to make its segments smaller, not to have them cut.

    1. On a connection the program sends 1400 bytes; the tester answers with a packet too big, MTU
       1280, and then acknowledges them.
    2. The program sends 3000 bytes more.
    3. They come in segments of at most 1280 octets, none in fragments.
    """
    connection = connect(lab, family=6)
    write(connection, pattern(1400))
    with lab.preamble("a segment of 1400 octets"):
        sent = lab.expect(WHOLE_SEGMENT)
    too_big(lab, sent, 1280)
    connection.take(sent)
    connection.send("A")
    lab.drain(100)
    write(connection, pattern(3000))
    have = 0
    while have < 3000:
        packet = lab.expect(SEGMENT, 4000)
        lab.check(packet[IPv6].nh == 6, "no fragment", packet.summary())
        _is_small(lab, packet)
        have += len(connection.take(packet))
        connection.send("A")


@case(
    "PMTU-1.16",
    "The maximum segment size that TCP offers does not follow the path's MTU",
    section="5.4",
    level=Level.SHOULD,
    mutant=Mutant(
        "offers what fits the path",
        outgoing=_small_offer,
    ),
)
def tcp_offer(lab: Tester) -> None:
    """It is about what the Host can receive, by whatever way.

    1. The Host's program sends 1400 bytes to the tester; the answer is a packet too big, MTU 1280.
    2. The tester opens a connection; the Host offers 1440 octets.
    """
    sock, _port = bound(lab, family=6)
    too_big(lab, _whole(lab, sock, lab.tester6), 1280)
    connection = connect(lab, family=6)
    offered = dict(one for one in connection.host_options if one[0] == "MSS").get("MSS")
    lab.check(offered == 1440, "an offer of 1440 octets", offered)
