"""Ethernet, ARP, IPv4 and UDP as the services read and write them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

__all__ = ["BROADCAST", "Arp", "Datagram", "arp_frame", "read_arp", "read_udp4", "udp4_frame"]

BROADCAST = b"\xff" * 6
REQUEST, REPLY = 1, 2

_ETHERNET, _IPV4, _UDP = 14, 20, 8
_TTL = 64
_ARP = struct.Struct(">HHBBH6s4s6s4s")
_ARP_BEGINS = (1, 0x0800, 6, 4)  # Ethernet's and IPv4's


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of what has it as 0; 0 of what has a right one."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass(frozen=True)
class Arp:
    """An ARP packet (RFC 826)."""

    operation: int
    sender_mac: bytes
    sender: IPv4Address
    target: IPv4Address


def read_arp(frame: bytes) -> Arp | None:
    """An ARP packet for IPv4; None: it is none."""
    if len(frame) < _ETHERNET + _ARP.size:
        return None
    *begins, operation, mac, sender, _, target = _ARP.unpack_from(frame, _ETHERNET)
    if tuple(begins) != _ARP_BEGINS or operation not in (REQUEST, REPLY):
        return None
    return Arp(operation, mac, IPv4Address(sender), IPv4Address(target))


def arp_frame(mac: bytes, sender: IPv4Address, target: IPv4Address) -> bytes:
    """A request to everybody: a probe where the sender is 0.0.0.0 (RFC 5227 1.1)."""
    body = _ARP.pack(*_ARP_BEGINS, REQUEST, mac, sender.packed, bytes(6), target.packed)
    return BROADCAST + mac + b"\x08\x06" + body


@dataclass(frozen=True)
class Datagram:
    """A UDP datagram, and which station it came from and went to."""

    source_mac: bytes
    target_mac: bytes
    source: IPv4Address | IPv6Address
    source_port: int
    payload: bytes
    target: IPv4Address | IPv6Address
    target_port: int


def read_udp4(frame: bytes, is_whole: bool) -> Datagram | None:
    """A datagram that the host took for one; None: it isn't sound.

    Args:
        frame: From its Ethernet header on.
        is_whole: Whether its UDP checksum is to be right.
    """
    packet = frame[_ETHERNET:]
    header = (packet[0] & 15) * 4
    length = int.from_bytes(packet[2:4], "big")
    if not header + _UDP <= length <= len(packet) or checksum(packet[:header]) != 0:
        return None
    udp = packet[header:length]
    size = int.from_bytes(udp[4:6], "big")
    if not _UDP <= size <= len(udp):
        return None
    udp = udp[:size]
    if is_whole and udp[6:8] != b"\0\0":
        pseudo = packet[12:20] + b"\0\x11" + udp[4:6]
        if checksum(pseudo + udp) != 0:
            return None
    return Datagram(
        frame[6:12],
        frame[:6],
        IPv4Address(packet[12:16]),
        int.from_bytes(udp[:2], "big"),
        udp[_UDP:],
        IPv4Address(packet[16:20]),
        int.from_bytes(udp[2:4], "big"),
    )


def udp4_frame(
    macs: tuple[bytes, bytes],
    addresses: tuple[IPv4Address, IPv4Address],
    ports: tuple[int, int],
    payload: bytes,
    identification: int = 0,
    ttl: int = _TTL,
) -> bytes:
    """A datagram, each pair being its source and its target."""
    size = _UDP + len(payload)
    both = b"".join(address.packed for address in addresses)
    udp = struct.pack(">HHHH", *ports, size, 0) + payload
    check = checksum(both + struct.pack(">BBH", 0, 17, size) + udp) or 0xFFFF
    udp = udp[:6] + check.to_bytes(2, "big") + payload
    fields = (0x45, 0, _IPV4 + size, identification, 0, ttl, 17)
    head = struct.pack(">BBHHHBB", *fields)
    check = checksum(head + b"\0\0" + both)
    head += check.to_bytes(2, "big") + both
    return macs[1] + macs[0] + b"\x08\x00" + head + udp
