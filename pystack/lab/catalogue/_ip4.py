"""What cases of IPv4, ICMP and IGMP share: liveness, options, fragments, faults with a memory."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

from scapy.layers.inet import ICMP, IP, UDP, IPOption
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from pystack.lab.host import HostSocket
from pystack.lab.mutant import Mutant
from pystack.lab.packets import Match, icmp, where
from pystack.lab.tester import Tester
from pystack.lab.verdict import Unable

__all__ = [
    "ERRORS",
    "NOBODY",
    "carried",
    "changing",
    "datagram",
    "dying",
    "echo_of",
    "fragments_of",
    "has_ip",
    "is_alive",
    "is_dropped",
    "is_fragment",
    "join",
    "leave",
    "option",
    "option_octets",
    "pieces",
    "program",
    "receives",
    "receives_nothing",
    "reply_to",
    "with_header",
]

NOBODY = 253  # a protocol number for experiments (RFC 3692)
ERRORS = icmp(type={3, 11, 12})
ALIVE = 0xA11F
IP_ADD_MEMBERSHIP, IP_DROP_MEMBERSHIP = 35, 36


def has_ip(frame: Packet) -> bool:
    """Whether a frame carries IPv4."""
    return bool(frame.haslayer(IP))


def is_fragment(frame: Packet) -> bool:
    """Whether a frame carries a part of a datagram."""
    return has_ip(frame) and bool(frame[IP].frag or frame[IP].flags.MF)


def is_alive(lab: Tester) -> None:
    """An echo request is answered: what came before was no end of the Host."""
    lab.send(lab.echo(identifier=ALIVE))
    lab.expect(icmp(type=0, id=ALIVE))


def is_dropped(lab: Tester, packet: Packet | bytes, for_ms: float = 200) -> None:
    """Sends it; nothing of ICMP may come, and a right request after it is answered."""
    lab.send(packet)
    lab.expect_nothing(icmp(), for_ms)
    is_alive(lab)


# --- faults --------------------------------------------------------------------------------------


class _Dying:
    """Sees nothing any more after a frame of a kind."""

    def __init__(self, test: Callable[[Packet], bool]) -> None:
        self._test = test
        self._dead = False

    def reset(self) -> None:
        self._dead = False

    def __call__(self, frame: Packet) -> Packet | None:
        self._dead = self._dead or self._test(frame)
        return None if self._dead else frame


def dying(test: Callable[[Packet], bool], words: str) -> Mutant:
    """A Host that is deaf from the first frame of a kind on."""
    return Mutant(words, incoming=_Dying(test))


def with_header(frame: Packet, body: bytes | None = None, **fields: Any) -> Packet:
    """A frame with other values in IP's header, and perhaps other octets behind it.

    Nothing above IP is recomputed: a fragment is no datagram that could be.
    """
    body = carried(frame) if body is None else body
    kept = {
        name: value
        for name, value in frame[IP].fields.items()
        if name not in ("len", "chksum", "ihl")
    }
    return Ether(src=frame.src, dst=frame.dst) / IP(**{**kept, **fields}) / Raw(body)


def changing(test: Callable[[Packet], bool], words: str, **fields: Any) -> Mutant:
    """A Host that takes a frame of a kind for one with other values in IP's header.

    Args:
        test: Which frames.
        words: What it does, after "a Host that ...".
        fields: The values that it sees.
    """
    return Mutant(
        words, incoming=lambda frame: with_header(frame, **fields) if test(frame) else frame
    )


def reply_to(frame: Packet, message: Packet) -> Packet:
    """A packet from the Host to a frame's sender, whatever addresses are in it."""
    return (
        Ether(src="02:00:5e:00:53:02", dst=frame.src)
        / IP(src="192.0.2.2", dst=frame[IP].src)
        / message
    )


# --- options -------------------------------------------------------------------------------------


def option(*octets: int) -> list[IPOption]:
    """Options as they stand in a header, filled up to whole words with no-operations."""
    raw = bytes(octets)
    return [IPOption(raw + b"\x01" * (-len(raw) % 4))]


def option_octets(packet: Packet, kind: int) -> bytes:
    """An option of a received packet, its type and length included; b"": it has none such."""
    raw = bytes(packet[IP])[20 : 4 * packet[IP].ihl]
    position = 0
    while position < len(raw) and raw[position] != 0:
        if raw[position] == 1:
            position += 1
            continue
        if position + 1 >= len(raw) or raw[position + 1] < 2:
            break
        if raw[position] == kind:
            return raw[position : position + raw[position + 1]]
        position += raw[position + 1]
    return b""


# --- fragments -----------------------------------------------------------------------------------


def datagram(lab: Tester, port: int, data: bytes, **fields: str) -> bytes:
    """A UDP datagram from the tester's port 4000, its checksum included: what IP carries."""
    return bytes(IP(bytes(lab.ip(**fields) / UDP(sport=4000, dport=port) / Raw(data)))[UDP])


def pieces(
    lab: Tester, whole: bytes, cuts: Sequence[int], proto: int = 17, **fields: Any
) -> list[Packet]:
    """What IP carries, as fragments.

    Args:
        lab: The case's tester.
        whole: All of it.
        cuts: Where it is cut, multiples of 8.
        proto: What it is.
        fields: Of all IP headers: id, src, dst, ...
    """
    ends = [*cuts, len(whole)]
    return [
        lab.ip(proto=proto, frag=start // 8, flags="MF" if end < len(whole) else 0, **fields)
        / Raw(whole[start:end])
        for start, end in zip([0, *cuts], ends, strict=True)
    ]


def program(lab: Tester) -> tuple[HostSocket, int]:
    """A datagram socket of the Host's program, bound at any address; and its port."""
    sock = lab.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("", 0))
    return sock, int(sock.getsockname()[1])


def receives(lab: Tester, sock: HostSocket, data: bytes, what: str = "the datagram") -> None:
    """Makes sure that the program receives this next."""
    got = lab.until(lambda: sock.recv(65535), 1000, f"the program to receive {what}")
    lab.check(got == data, f"{what}, {len(data)} octets", f"{len(got)} octets: {got[:32]!r}")


def receives_nothing(lab: Tester, sock: HostSocket, for_ms: float = 200) -> None:
    """Makes sure that nothing waits for the program."""
    lab.run(for_ms)
    try:
        got = sock.recv(65535)
    except BlockingIOError:
        return
    lab.check(False, "nothing for the program", f"{len(got)} octets: {got[:32]!r}")


FRAGMENT: Match = where("a fragment", is_fragment)


def fragments_of(lab: Tester, sock: HostSocket, data: bytes) -> list[Packet]:
    """Has the Host's program send data that takes fragments, and collects these.

    Raises:
        Unable: The Host does not fragment what it sends, as it may (RFC 1122 3.3.3).
    """
    lab.resolve()
    try:
        sock.sendto(data, (lab.tester4, 4000))
    except OSError as error:
        raise Unable("fragmentation of what it sends") from error
    found: list[Packet] = []
    octets = 0
    while octets < len(data) + 8:
        came = lab.collect(FRAGMENT, 1000, at_most=1)
        if not came and not found:
            raise Unable("fragmentation of what it sends")
        lab.check(bool(came), f"{len(data) + 8} octets in fragments", f"{octets} octets")
        found += came
        octets += len(carried(came[0]))
    return found


def carried(packet: Packet) -> bytes:
    """What an IPv4 packet carries, without the frame's padding."""
    header = packet[IP]
    return bytes(bytes(header)[4 * header.ihl : header.len])


def echo_of(lab: Tester, data: bytes = b"pystack", **fields: Any) -> Packet:
    """An echo request in an IP header with these fields."""
    return lab.ip(**fields) / ICMP(type=8, id=0x5053, seq=1) / Raw(data)


# --- groups --------------------------------------------------------------------------------------


def join(lab: Tester, sock: HostSocket, group: str) -> None:
    """Has the Host's program join a group on the first wire."""
    wanted = socket.inet_aton(group) + socket.inet_aton(lab.host4)
    sock.setsockopt(socket.IPPROTO_IP, IP_ADD_MEMBERSHIP, wanted)


def leave(lab: Tester, sock: HostSocket, group: str) -> None:
    """Has it leave the group again."""
    wanted = socket.inet_aton(group) + socket.inet_aton(lab.host4)
    sock.setsockopt(socket.IPPROTO_IP, IP_DROP_MEMBERSHIP, wanted)
