"""IPv6, UDP over it, and the messages of routers, as the services read and write them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv6Address

from pystack.serving.frame import Datagram, checksum

__all__ = ["Advertisement", "group_mac", "read_advertisement", "read_udp6", "solicitation_frame",
           "udp6_frame"]  # fmt: skip

_ETHERNET, _IPV6, _UDP, _ADVERTISEMENT = 14, 40, 8, 16
_UDP_NUMBER, _ICMP_NUMBER = 17, 58
_SOLICITATION, _ADVERTISED = 133, 134
_HOPS = 255  # nobody forwards what concerns a link alone (RFC 4861 6.1)
_ROUTERS = IPv6Address("ff02::2")
_MANAGED, _OTHER = 0x80, 0x40
_SOURCE_MAC = 1


def group_mac(group: IPv6Address) -> bytes:
    """Where a group's frames go (RFC 2464 7)."""
    return b"\x33\x33" + group.packed[12:]


def _pseudo(packet: bytes, size: int, number: int) -> bytes:
    return packet[8:40] + struct.pack(">II", size, number)


def _header(source: IPv6Address, target: IPv6Address, number: int, size: int, hops: int) -> bytes:
    return struct.pack(">IHBB", 6 << 28, size, number, hops) + source.packed + target.packed


def read_udp6(frame: bytes, is_whole: bool) -> Datagram | None:
    """A datagram that the host took for one; None: it isn't sound.

    Args:
        frame: From its Ethernet header on.
        is_whole: Whether its checksum is to be right.
    """
    packet = frame[_ETHERNET:]
    length = int.from_bytes(packet[4:6], "big")
    if packet[6] != _UDP_NUMBER or not _UDP <= length <= len(packet) - _IPV6:
        return None
    udp = packet[_IPV6 : _IPV6 + length]
    size = int.from_bytes(udp[4:6], "big")
    if not _UDP <= size <= len(udp):
        return None
    udp = udp[:size]
    if is_whole and (
        udp[6:8] == b"\0\0" or checksum(_pseudo(packet, size, _UDP_NUMBER) + udp) != 0
    ):
        return None  # without a checksum it is none (RFC 8200 8.1)
    source, target = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
    ports = struct.unpack_from(">HH", udp)
    return Datagram(frame[6:12], frame[:6], source, ports[0], udp[_UDP:], target, ports[1])


def udp6_frame(
    macs: tuple[bytes, bytes],
    addresses: tuple[IPv6Address, IPv6Address],
    ports: tuple[int, int],
    payload: bytes,
    hops: int = _HOPS,
) -> bytes:
    """A datagram, each pair being its source and its target."""
    size = _UDP + len(payload)
    head = _header(*addresses, _UDP_NUMBER, size, hops)
    udp = struct.pack(">HHHH", *ports, size, 0) + payload
    check = checksum(_pseudo(head, size, _UDP_NUMBER) + udp) or 0xFFFF
    return macs[1] + macs[0] + b"\x86\xdd" + head + udp[:6] + check.to_bytes(2, "big") + payload


@dataclass(frozen=True)
class Advertisement:
    """What of a router's advertisement (RFC 4861 4.2) concerns DHCPv6.

    Attributes:
        source: The router.
        managed: Whether servers have addresses (the M flag).
        other: Whether they have other configuration (the O flag).
    """

    source: IPv6Address
    managed: bool
    other: bool


def read_advertisement(frame: bytes, is_whole: bool) -> Advertisement | None:
    """A router's advertisement; None: it isn't sound (RFC 4861 6.1.2)."""
    packet = frame[_ETHERNET:]
    length = int.from_bytes(packet[4:6], "big")
    icmp = packet[_IPV6 : _IPV6 + length]
    if packet[6] != _ICMP_NUMBER or len(icmp) != length or length < _ADVERTISEMENT:
        return None
    source = IPv6Address(packet[8:24])
    if packet[7] != _HOPS or not source.is_link_local:
        return None
    if icmp[:2] != bytes((_ADVERTISED, 0)):
        return None
    if is_whole and checksum(_pseudo(packet, length, _ICMP_NUMBER) + icmp) != 0:
        return None
    at = _ADVERTISEMENT
    while at < length:  # an option without a length makes all of it void
        if at + 2 > length or icmp[at + 1] == 0:
            return None
        at += icmp[at + 1] * 8
    if at != length:
        return None
    return Advertisement(source, bool(icmp[5] & _MANAGED), bool(icmp[5] & _OTHER))


def solicitation_frame(mac: bytes, source: IPv6Address) -> bytes:
    """Asks all routers for an advertisement (RFC 4861 4.1)."""
    icmp = struct.pack(">BBHIBB", _SOLICITATION, 0, 0, 0, _SOURCE_MAC, 1) + mac
    head = _header(source, _ROUTERS, _ICMP_NUMBER, len(icmp), _HOPS)
    check = checksum(_pseudo(head, len(icmp), _ICMP_NUMBER) + icmp)
    icmp = icmp[:2] + check.to_bytes(2, "big") + icmp[4:]
    return group_mac(_ROUTERS) + mac + b"\x86\xdd" + head + icmp
