"""What a router tells IPv6's hosts.

Advertisements (RFC 4861 6.2, RFC 8106), and stateless DHCPv6 (RFC 8415 6.1).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import IPv6Address, IPv6Network

from pystack.serving.dhcp6_message import (
    CLIENT_ID,
    DNS,
    DOMAINS,
    ETHERNET_DUID,
    INFORMATION_REQUEST,
    REPLY,
    SERVER_ID,
    option,
    read_options,
)
from pystack.serving.dns_message import wire_name

__all__ = [
    "ADVERTISE_S", "ALL_NODES", "ALL_ROUTERS", "advertisement", "dhcp6_reply", "is_solicitation",
]  # fmt: skip

ALL_NODES, ALL_ROUTERS = "ff02::1", "ff02::2"
ADVERTISE_S = 200.0  # from one unsolicited advertisement to the next (RFC 4861 6.2.1)

_SOLICITATION, _ADVERTISEMENT = 133, 134
_HOPS, _OTHER = 64, 0x40
_LIFETIME_S = 1800  # of the router and its servers
_VALID_S, _PREFERRED_S = 86400, 14400
_ON_LINK, _AUTONOMOUS = 0x80, 0x40
_SOURCE_MAC, _PREFIX, _MTU, _SERVERS, _SEARCH = 1, 3, 5, 25, 31

_ADDRESSES = {3, 4, 25}  # what asks for addresses and prefixes, as such a request never does


def is_solicitation(icmp: bytes) -> bool:
    """Whether an ICMPv6 message, whose checksum is right, solicits routers (RFC 4861 6.1.1)."""
    if len(icmp) < 8 or icmp[:2] != bytes((_SOLICITATION, 0)):
        return False
    at = 8
    while at + 2 <= len(icmp) and icmp[at + 1] > 0:
        at += icmp[at + 1] * 8
    return at == len(icmp)


def _padded(value: bytes) -> bytes:
    return value + bytes(-len(value) % 8)


def advertisement(
    network: IPv6Network,
    dns: IPv6Address,
    *,
    mac: bytes,
    mtu: int,
    search: Sequence[str] = (),
    lifetime_s: int = _LIFETIME_S,
) -> bytes:
    """An advertisement's ICMPv6 message; the checksum is left to the socket.

    Args:
        network: The prefix that hosts form addresses in.
        dns: The name server.
        mac: The router's Ethernet address.
        mtu: The link's.
        search: The domains in which names are looked up.
        lifetime_s: For how long the router and its servers may be used; 0: no longer.
    """
    message = struct.pack(
        ">BBHBBHII", _ADVERTISEMENT, 0, 0, _HOPS, _OTHER, lifetime_s, 0, 0
    ) + struct.pack(">BB6s", _SOURCE_MAC, 1, mac)
    message += struct.pack(">BBHI", _MTU, 1, 0, mtu)
    message += struct.pack(
        ">BBBBIII16s", _PREFIX, 4, network.prefixlen, _ON_LINK | _AUTONOMOUS,
        _VALID_S, _PREFERRED_S, 0, network.network_address.packed,
    )  # fmt: skip
    message += struct.pack(">BBHI16s", _SERVERS, 3, 0, lifetime_s, dns.packed)
    if search:
        names = _padded(b"".join(map(wire_name, search)))
        message += struct.pack(">BBHI", _SEARCH, 1 + len(names) // 8, 0, lifetime_s) + names
    return message


def dhcp6_reply(
    message: bytes, dns: IPv6Address, *, mac: bytes, search: Sequence[str] = ()
) -> bytes | None:
    """The answer to a client that asks for configuration, but for addresses.

    Args:
        message: The client's.
        dns: The name server.
        mac: The server's Ethernet address, which it is known by.
        search: The domains in which names are looked up.

    Returns:
        The reply; None: the message asks for something else, or another server
        (RFC 8415 16.12).
    """
    if len(message) < 4 or message[0] != INFORMATION_REQUEST:
        return None
    found = read_options(message[4:])
    own = ETHERNET_DUID + mac
    if found.get(SERVER_ID, own) != own or _ADDRESSES & found.keys():
        return None
    reply = bytes((REPLY,)) + message[1:4] + option(SERVER_ID, own)
    if CLIENT_ID in found:
        reply += option(CLIENT_ID, found[CLIENT_ID])
    reply += option(DNS, dns.packed)
    if search:
        reply += option(DOMAINS, b"".join(map(wire_name, search)))
    return reply
