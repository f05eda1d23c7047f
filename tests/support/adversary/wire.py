"""Frames by hand: what the peer sends, and what it reads in the Stack's. Made to be fast."""

from __future__ import annotations

import struct
from socket import AF_INET6, inet_aton, inet_pton

MAC, PEER_MAC = bytes.fromhex("020000000002"), bytes.fromhex("020000000001")
BROADCAST = b"\xff" * 6
OURS, PEER = "10.0.0.2", "10.0.0.1"
OURS6, PEER6 = "fd00::2", "fd00::1"
LINK6 = "fe80::1"  # the peer's, as a router

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
TCP, UDP, ICMP, IGMP, ICMP6 = 6, 17, 1, 2, 58

_IP4 = struct.Struct("!BBHHHBBH4s4s")
_IP6 = struct.Struct("!IHBB16s16s")
_TCP = struct.Struct("!HHIIBBHHH")
_UDP = struct.Struct("!HHHH")
_PSEUDO = struct.Struct("!HH")
_SUM = struct.Struct("!H")


def four(text: str) -> bytes:
    """An IPv4 address's bytes."""
    return inet_aton(text)


def six(text: str) -> bytes:
    """An IPv6 address's bytes."""
    return inet_pton(AF_INET6, text)


OURS_BYTES, PEER_BYTES = four(OURS), four(PEER)
OURS6_BYTES, PEER6_BYTES = six(OURS6), six(PEER6)


def checksum(data: bytes) -> int:
    """The Internet checksum; 0xffff in the place of 0, which is right for UDP, too."""
    if len(data) & 1:
        data += b"\0"
    return 0xFFFF - int.from_bytes(data, "big") % 0xFFFF


def ethernet(kind: int, payload: bytes, to: bytes = MAC, source: bytes = PEER_MAC) -> bytes:
    """A frame."""
    return to + source + _SUM.pack(kind) + payload


def ip4(
    protocol: int,
    payload: bytes,
    source: bytes = PEER_BYTES,
    to: bytes = OURS_BYTES,
    *,
    ttl: int = 64,
    ident: int = 0,
    fragment: int = 0,
    options: bytes = b"",
    length: int | None = None,
    mac: bytes = MAC,
) -> bytes:
    """A frame with an IPv4 packet; `fragment` is that field whole, flags and all."""
    size = 20 + len(options)
    total = size + len(payload) if length is None else length
    head = (
        _IP4.pack(
            0x40 | size // 4, 0, total & 0xFFFF, ident, fragment, ttl, protocol, 0, source, to
        )
        + options
    )
    return (
        mac + PEER_MAC + b"\x08\x00" + head[:10] + _SUM.pack(checksum(head)) + head[12:] + payload
    )


def ip6(
    protocol: int,
    payload: bytes,
    source: bytes = PEER6_BYTES,
    to: bytes = OURS6_BYTES,
    *,
    hops: int = 64,
    length: int | None = None,
    mac: bytes = MAC,
) -> bytes:
    """A frame with an IPv6 packet; `protocol` is the first next header."""
    size = len(payload) if length is None else length
    head = _IP6.pack(0x60000000, size & 0xFFFF, protocol, hops, source, to)
    return mac + PEER_MAC + b"\x86\xdd" + head + payload


def summed(protocol: int, message: bytes, offset: int, source: bytes, to: bytes) -> bytes:
    """A message of TCP, UDP or ICMPv6 with its checksum filled in at `offset`, where zeros are."""
    total = checksum(source + to + _PSEUDO.pack(len(message) & 0xFFFF, protocol) + message)
    return message[:offset] + _SUM.pack(total) + message[offset + 2 :]


def tcp(
    addresses: tuple[bytes, bytes],
    ports: tuple[int, int],
    seq: int,
    ack: int,
    flags: int,
    window: int,
    options: bytes = b"",
    data: bytes = b"",
    urgent: int = 0,
    offset: int | None = None,
) -> bytes:
    """A TCP segment, without its IP header; `offset` in words, where it is to lie."""
    if len(options) & 3:
        options += b"\1" * (-len(options) & 3)
    words = 5 + len(options) // 4 if offset is None else offset
    segment = (
        _TCP.pack(
            *ports,
            seq & 0xFFFFFFFF,
            ack & 0xFFFFFFFF,
            (words & 15) << 4,
            flags,
            window & 0xFFFF,
            0,
            urgent,
        )
        + options
        + data
    )
    return summed(TCP, segment, 16, *addresses)


def udp(addresses: tuple[bytes, bytes], ports: tuple[int, int], data: bytes) -> bytes:
    """A UDP datagram, without its IP header."""
    return summed(UDP, _UDP.pack(*ports, (8 + len(data)) & 0xFFFF, 0) + data, 6, *addresses)


def packet(protocol: int, payload: bytes, addresses: tuple[bytes, bytes], ident: int = 0) -> bytes:
    """A frame of either family with `payload`, which has its checksum."""
    if len(addresses[0]) == 4:
        return ip4(protocol, payload, *addresses, ident=ident)
    return ip6(protocol, payload, *addresses)


def icmp4(kind: int, code: int, rest: bytes, source: bytes = PEER_BYTES) -> bytes:
    """A frame with an ICMP message, `rest` behind its checksum."""
    message = bytes((kind, code, 0, 0)) + rest
    return ip4(ICMP, message[:2] + _SUM.pack(checksum(message)) + rest, source)


def icmp6(
    kind: int,
    code: int,
    rest: bytes,
    source: bytes = PEER6_BYTES,
    to: bytes = OURS6_BYTES,
    hops: int = 255,
    mac: bytes = MAC,
) -> bytes:
    """A frame with an ICMPv6 message."""
    message = summed(ICMP6, bytes((kind, code, 0, 0)) + rest, 2, source, to)
    return ip6(ICMP6, message, source, to, hops=hops, mac=mac)


def arp(
    operation: int, sender: bytes, asked: bytes, *, target: bytes = MAC, mac: bytes = MAC
) -> bytes:
    """A frame with an ARP packet about IPv4 from the peer's MAC."""
    head = b"\0\1\x08\0\6\4" + _SUM.pack(operation)
    return ethernet(0x0806, head + PEER_MAC + sender + target + asked, mac)


class Segment:
    """A TCP segment of the Stack's."""

    __slots__ = (
        "ack",
        "data",
        "flags",
        "key",
        "options",
        "ports",
        "seq",
        "source",
        "to",
        "urgent",
        "window",
    )

    def __init__(self, source: bytes, to: bytes, message: bytes) -> None:
        sport, dport, self.seq, self.ack, offset, self.flags, self.window, _, self.urgent = (
            _TCP.unpack_from(message)
        )
        self.source, self.to, self.ports = source, to, (sport, dport)
        self.key = (len(source), sport, dport)
        end = (offset >> 4) * 4
        self.options = message[20:end]
        self.data = message[end:]

    def option(self, kind: int) -> bytes | None:
        """What stands in the option of that kind; None: there is none."""
        options, at = self.options, 0
        while at < len(options):
            here = options[at]
            if here == 0:
                return None
            if here == 1:
                at += 1
                continue
            size = options[at + 1]
            if here == kind:
                return options[at + 2 : at + size]
            at += size
        return None
