"""What DHCPv6's clients and servers have in common on the wire (RFC 8415)."""

from __future__ import annotations

import struct

__all__ = [
    "CLIENT_ID", "CLIENT_PORT", "DNS", "DOMAINS", "ETHERNET_DUID", "INFORMATION_REQUEST", "REPLY",
    "SERVERS", "SERVER_ID", "SERVER_PORT", "option", "read_options",
]  # fmt: skip

CLIENT_PORT, SERVER_PORT = 546, 547
SERVERS = "ff02::1:2"  # all of them, and relays (7.1)
INFORMATION_REQUEST, REPLY = 11, 7
CLIENT_ID, SERVER_ID, DNS, DOMAINS = 1, 2, 23, 24  # options; the last two are RFC 3646's
ETHERNET_DUID = struct.pack(">HH", 3, 1)  # DUID-LL: nothing has to be kept for it (11.4)


def read_options(area: bytes) -> dict[int, bytes]:
    """The options of a message by code, the first of each, up to one that its end cuts."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(area):
        code, size = struct.unpack_from(">HH", area, at)
        value = area[at + 4 : at + 4 + size]
        if len(value) != size:
            break
        found.setdefault(code, value)
        at += 4 + size
    return found


def option(code: int, value: bytes) -> bytes:
    """An option as it stands in a message."""
    return struct.pack(">HH", code, len(value)) + value
