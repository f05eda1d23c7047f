"""The frames of the floods: what anybody on the network, or behind a router, may send a host.

Addresses are those for benchmarks (RFC 2544, RFC 5180): the victim and who asks it are on a link,
strangers are on it too, or, where answers are not to ask for their hardware address, behind who
asks. Each frame differs from the one before in what makes it new to the victim.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

__all__ = ["FLOODS", "ORDINARY", "Flood", "segment"]

ASKER, VICTIM, PREFIX = "198.18.0.1", "198.18.0.2", 16
ASKER6, VICTIM6, PREFIX6 = "2001:2::1", "2001:2::2", 64
ASKER_MAC, VICTIM_MAC, STRANGER_MAC = (f"02:00:00:00:00:{last}" for last in ("01", "02", "99"))
LISTENING, FLOWING, READING, CLOSED = 80, 81, 9, 7

ON_LINK, BEHIND, BEHIND6 = 0xC6120000, 0xC6130000, "2001:2:0:1::"  # 198.18/16, 198.19/16
ARP, IP4, IP6 = 0x0806, 0x0800, 0x86DD
ICMP, TCP, UDP, FRAGMENT, ICMP6 = 1, 6, 17, 44, 58
MORE = 0x2000  # fragments follow
FULL, TINY = 1400, 8
MSS = b"\x02\x04\x05\xb4"
SYN, PSH, ACK = 2, 8, 16


@dataclass(frozen=True)
class Flood:
    """A kind of flood.

    Attributes:
        name: The name in tables.
        frame: Makes the frame for a number; different numbers give different frames.
    """

    name: str
    frame: Callable[[int], bytes]


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _ip4(text: str) -> bytes:
    return socket.inet_aton(text)


def _ip6(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6, text)


HEADER = _mac(VICTIM_MAC) + _mac(STRANGER_MAC)
TARGET, TARGET6 = _ip4(VICTIM), _ip6(VICTIM6)


def _checksum(data: bytes) -> bytes:
    """RFC 1071: the sum of the words, in ones' complement, is the rest of a division by 65,535."""
    number = int.from_bytes(data + bytes(len(data) % 2), "big")
    return (0xFFFF - number % 0xFFFF).to_bytes(2, "big")


def _stranger(network: int, number: int) -> bytes:
    """Of 65,000 addresses of a network, leaving out the first and the last few."""
    return (network + 16 + number % 65_000).to_bytes(4, "big")


def _stranger6(prefix: str, number: int) -> bytes:
    return _ip6(prefix)[:12] + (0x10000 + number).to_bytes(4, "big")


def _packet4(
    number: int, protocol: int, payload: bytes, identifier: int = 0, fragment: int = 0
) -> bytes:
    head = struct.pack(
        ">2B3H2BH", 0x45, 0, 20 + len(payload), identifier, fragment, 64, protocol, 0
    )
    head += _stranger(BEHIND, number) + TARGET
    head = head[:10] + _checksum(head) + head[12:]
    return HEADER + IP4.to_bytes(2, "big") + head + payload


def _packet6(
    source: bytes, protocol: int, payload: bytes, hops: int = 64, *, target: bytes = TARGET6
) -> bytes:
    head = struct.pack(">IH2B", 6 << 28, len(payload), protocol, hops) + source + target
    return HEADER + IP6.to_bytes(2, "big") + head + payload


def segment(
    port: int,
    number: int,
    flags: int,
    sequence: int,
    acknowledged: int = 0,
    *,
    window: int = 65_535,
    options: bytes = b"",
    data: bytes = b"",
) -> bytes:
    """The frame of a TCP segment that the stranger of a number sends to a port of the victim."""
    sender, length = 1024 + number % 60_000, 20 + len(options)
    head = struct.pack(
        ">2H2I2B3H", sender, port, sequence, acknowledged, length << 2, flags, window, 0, 0
    )
    whole = head + options + data
    pseudo = _stranger(BEHIND, number) + TARGET + struct.pack(">2H", TCP, len(whole))
    return _packet4(number, TCP, whole[:16] + _checksum(pseudo + whole) + whole[18:])


def _syn(port: int, number: int) -> bytes:
    return segment(port, number, SYN, number, options=MSS)


def _datagram(port: int, number: int) -> bytes:
    sender = 1024 + number % 60_000
    datagram = struct.pack(">4H", sender, port, 8 + 32, 0) + bytes(32)
    pseudo = _stranger(BEHIND, number) + TARGET + struct.pack(">2H", UDP, len(datagram))
    return _packet4(number, UDP, datagram[:6] + _checksum(pseudo + datagram) + datagram[8:])


def _echo(number: int) -> bytes:
    message = struct.pack(">2B3H", 8, 0, 0, 1, number & 0xFFFF) + bytes(56)
    return _packet4(number, ICMP, message[:2] + _checksum(message) + message[4:])


def _fragment(number: int) -> bytes:
    """The first part of a datagram whose rest never comes."""
    return _packet4(number, UDP, bytes(FULL), number & 0xFFFF, MORE)


def _fragment6(number: int) -> bytes:
    head = struct.pack(">2BHI", UDP, 0, 1, number)
    return _packet6(_stranger6(BEHIND6, number), FRAGMENT, head + bytes(FULL))


def _tiny6(number: int) -> bytes:
    """Every other eight bytes of a datagram, of which a new one begins after 4,000."""
    head = struct.pack(">2BHI", UDP, 0, (number % 4000) * 16 | 1, number // 4000)
    return _packet6(_stranger6(BEHIND6, 0), FRAGMENT, head + bytes(TINY))


def _arp(number: int) -> bytes:
    asker = b"\x02\x01" + number.to_bytes(4, "big")
    asked = struct.pack(">2H2BH", 1, IP4, 6, 4, 1) + asker + _stranger(ON_LINK, number)
    return HEADER + ARP.to_bytes(2, "big") + asked + bytes(6) + TARGET + bytes(18)


def _solicitation(number: int) -> bytes:
    source = _stranger6(ASKER6, number)
    option = b"\x01\x01\x02\x01" + number.to_bytes(4, "big")
    message = struct.pack(">2BHI", 135, 0, 0, 0) + TARGET6 + option
    pseudo = source + TARGET6 + struct.pack(">2I", len(message), ICMP6)
    whole = message[:2] + _checksum(pseudo + message) + message[4:]
    return _packet6(source, ICMP6, whole, 255)


ORDINARY = Flood("UDP to an open port", partial(_datagram, READING))
FLOODS = (
    Flood("SYN to the listener", partial(_syn, LISTENING)),
    Flood("SYN to closed ports", partial(_syn, CLOSED)),
    Flood("UDP to closed ports", partial(_datagram, CLOSED)),
    Flood("ICMP echo", _echo),
    Flood("fragments, v4", _fragment),
    Flood("fragments, v6", _fragment6),
    Flood("tiny fragments, v6", _tiny6),
    Flood("ARP", _arp),
    Flood("ND", _solicitation),
)
