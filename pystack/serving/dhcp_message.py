"""DHCP's messages (RFC 2131 2, RFC 2132)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address

__all__ = [
    "CLIENT_PORT", "SERVER_PORT", "Answer", "Kind", "Message", "Option", "Query", "Reply",
    "is_host", "read", "read_query",
]  # fmt: skip

CLIENT_PORT, SERVER_PORT = 68, 67

_FIXED = struct.Struct(">BBBBIHH4s4s4s4s16s64s128s4s")
_COOKIE = bytes((99, 130, 83, 99))
_LEAST = 300  # bytes of a message (RFC 1542 2.1)
_NOBODY = IPv4Address(0)
_FIRST_MULTICAST = 224


class Kind(IntEnum):
    """A message's type (RFC 2132 9.6)."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


class Option(IntEnum):
    """The options that the client and the server use (RFC 2132, RFC 3397)."""

    PAD = 0
    MASK = 1
    ROUTER = 3
    DNS = 6
    HOSTNAME = 12
    DOMAIN = 15
    MTU = 26
    REQUESTED = 50
    LEASE = 51
    OVERLOAD = 52
    TYPE = 53
    SERVER = 54
    PARAMETERS = 55
    SIZE = 57
    T1 = 58
    T2 = 59
    CLIENT = 61
    SEARCH = 119
    END = 255


# What a server is asked for.
_ASKED = bytes((Option.MASK, Option.ROUTER, Option.DNS, Option.DOMAIN))
# Of options that have one size.
_SIZES: dict[int, int] = {
    Option.MASK: 4, Option.LEASE: 4, Option.OVERLOAD: 1, Option.TYPE: 1, Option.SERVER: 4,
    Option.T1: 4, Option.T2: 4, Option.REQUESTED: 4,
}  # fmt: skip
_LISTS = (Option.ROUTER, Option.DNS)  # of addresses


def is_host(address: IPv4Address) -> bool:
    """Whether a host may have it."""
    first = address.packed[0]
    return first not in (0, 127) and first < _FIRST_MULTICAST


@dataclass(frozen=True)
class Message:
    """What the client says.

    Attributes:
        kind: The message's type.
        transaction: Its identifier.
        mac: The client's.
        seconds: For which it has been trying.
        address: That it has (ciaddr).
        requested: That it asks for.
        server: That it speaks to.
        hostname: Its name; empty: none.
        largest: Bytes of IP packet that it takes.
    """

    kind: Kind
    transaction: int
    mac: bytes
    seconds: int = 0
    address: IPv4Address = _NOBODY
    requested: IPv4Address | None = None
    server: IPv4Address | None = None
    hostname: str = ""
    largest: int = 576

    def packed(self) -> bytes:
        """Its bytes."""
        options = bytes((Option.TYPE, 1, self.kind))
        if self.requested is not None:
            options += bytes((Option.REQUESTED, 4)) + self.requested.packed
        if self.server is not None:
            options += bytes((Option.SERVER, 4)) + self.server.packed
        if self.kind in (Kind.DISCOVER, Kind.REQUEST):
            options += struct.pack(">BBH", Option.SIZE, 2, self.largest)
            options += bytes((Option.PARAMETERS, len(_ASKED))) + _ASKED
            if self.hostname:
                name = self.hostname.encode()
                options += bytes((Option.HOSTNAME, len(name))) + name
        none = _NOBODY.packed
        fixed = _FIXED.pack(
            1, 1, 6, 0, self.transaction, min(self.seconds, 0xFFFF), 0,
            self.address.packed, none, none, none, self.mac, b"", b"", _COOKIE,
        )  # fmt: skip
        return (fixed + options + bytes((Option.END,))).ljust(_LEAST, b"\0")


@dataclass(frozen=True)
class Reply:
    """What a server says; None: it doesn't, or nothing that can be true.

    Attributes:
        kind: The message's type.
        address: That it gives (yiaddr).
        server: The server's identifier.
        prefix: Bits of the network.
        router: The first of those that it names.
        dns: The name servers.
        domain: The domain's name.
        lease_s: The length of the lease, seconds.
        t1_s: When to renew it.
        t2_s: When to rebind it.
    """

    kind: Kind
    address: IPv4Address
    server: IPv4Address | None
    prefix: int | None
    router: IPv4Address | None
    dns: tuple[IPv4Address, ...]
    domain: str
    lease_s: int | None
    t1_s: int | None
    t2_s: int | None


def _walk(area: bytes) -> Iterator[tuple[int, bytes]]:
    """The options of a field, up to one that its end cuts."""
    at = 0
    while at < len(area) and area[at] != Option.END:
        if area[at] == Option.PAD:
            at += 1
            continue
        if at + 1 >= len(area) or at + 2 + area[at + 1] > len(area):
            return
        yield area[at], area[at + 2 : at + 2 + area[at + 1]]
        at += 2 + area[at + 1]


def _options(area: bytes, file: bytes, sname: bytes) -> dict[int, bytes]:
    """All options, those in pieces in one (RFC 3396), without those of a wrong length."""
    found: dict[int, bytes] = {}
    for code, value in _walk(area):
        found[code] = found.get(code, b"") + value
    overload = found.get(Option.OVERLOAD, b"")
    used = overload[0] if len(overload) == 1 else 0
    for bit, field in ((1, file), (2, sname)):
        if used in (bit, 3):
            for code, value in _walk(field):
                found[code] = found.get(code, b"") + value
    return {code: value for code, value in found.items() if _is_sound(code, value)}


def _is_sound(code: int, value: bytes) -> bool:
    if code in _LISTS:
        return len(value) > 0 and len(value) % 4 == 0
    return len(value) == _SIZES.get(code, len(value))


def _prefix(mask: bytes | None) -> int | None:
    """The bits of a mask that leaves somebody out."""
    bits = "" if mask is None else f"{int.from_bytes(mask, 'big'):032b}"
    ones = bits.rstrip("0")
    return len(ones) if ones and "0" not in ones else None


def _addresses(value: bytes | None) -> tuple[IPv4Address, ...]:
    octets = value or b""
    found = (IPv4Address(octets[at : at + 4]) for at in range(0, len(octets), 4))
    return tuple(address for address in found if is_host(address))


def _number(value: bytes | None) -> int | None:
    return None if value is None else int.from_bytes(value, "big")


def read(payload: bytes, transaction: int, mac: bytes) -> Reply | None:
    """A server's message of a transaction of this client's; None: it is none."""
    if len(payload) < _FIXED.size:
        return None
    fields = _FIXED.unpack_from(payload)
    operation, kind, size, _, identifier, _, _, _, yours, _, _, station, sname, file, cookie = (
        fields
    )
    if (operation, kind, size, identifier, cookie) != (2, 1, 6, transaction, _COOKIE):
        return None
    if station[:6] != mac:
        return None
    found = _options(payload[_FIXED.size :], file, sname)
    said = _number(found.get(Option.TYPE))
    if said not in (Kind.OFFER, Kind.ACK, Kind.NAK):
        return None
    servers = _addresses(found.get(Option.SERVER))
    routers = found.get(Option.ROUTER, b"")[:4]
    return Reply(
        kind=Kind(said),
        address=IPv4Address(yours),
        server=servers[0] if servers else None,
        prefix=_prefix(found.get(Option.MASK)),
        router=next(iter(_addresses(routers)), None),
        dns=_addresses(found.get(Option.DNS)),
        domain=found.get(Option.DOMAIN, b"")
        .partition(b"\0")[0]
        .decode("utf-8", "backslashreplace"),
        lease_s=_number(found.get(Option.LEASE)),
        t1_s=_number(found.get(Option.T1)),
        t2_s=_number(found.get(Option.T2)),
    )


# --- the server's side -------------------------------------------------------------------------


@dataclass(frozen=True)
class Query:
    """What a client says to a server.

    Attributes:
        kind: The message's type.
        transaction: Its identifier.
        flags: The client's, which the answer repeats.
        mac: The client's.
        client: What the client is known by: its identifier (RFC 2132 9.14), else its MAC.
        address: That it has (ciaddr).
        relay: The agent that passed it on (giaddr); 0.0.0.0: none.
        requested: That it asks for.
        server: That it speaks to.
    """

    kind: Kind
    transaction: int
    flags: int
    mac: bytes
    client: bytes
    address: IPv4Address
    relay: IPv4Address
    requested: IPv4Address | None
    server: IPv4Address | None


def read_query(payload: bytes) -> Query | None:
    """A client's message to a server, of an Ethernet's; None: it is none."""
    if len(payload) < _FIXED.size:
        return None
    fields = _FIXED.unpack_from(payload)
    operation, kind, size, _, transaction, _, flags, address, _, _, relay, station = fields[:12]
    sname, file, cookie = fields[12:]
    if (operation, kind, size, cookie) != (1, 1, 6, _COOKIE):
        return None
    found = _options(payload[_FIXED.size :], file, sname)
    said = _number(found.get(Option.TYPE))
    if said not in set(Kind) - {Kind.OFFER, Kind.ACK, Kind.NAK}:
        return None
    mac = station[:6]
    return Query(
        kind=Kind(said),
        transaction=transaction,
        flags=flags,
        mac=mac,
        client=found.get(Option.CLIENT) or b"\x01" + mac,
        address=IPv4Address(address),
        relay=IPv4Address(relay),
        requested=_only_address(found.get(Option.REQUESTED)),
        server=_only_address(found.get(Option.SERVER)),
    )


def _only_address(value: bytes | None) -> IPv4Address | None:
    return IPv4Address(value) if value is not None and len(value) == 4 else None


@dataclass(frozen=True)
class Answer:
    """What a server says.

    Attributes:
        kind: The message's type.
        query: What it answers.
        server: The server's address.
        address: That it gives (yiaddr); 0.0.0.0: none.
        options: The others, in their order; a value longer than an option is in pieces (RFC 3396).
    """

    kind: Kind
    query: Query
    server: IPv4Address
    address: IPv4Address = _NOBODY
    options: tuple[tuple[int, bytes], ...] = ()

    def packed(self) -> bytes:
        """Its bytes."""
        query, none = self.query, _NOBODY.packed
        held = none if self.kind is Kind.NAK else query.address.packed
        fixed = _FIXED.pack(
            2, 1, 6, 0, query.transaction, 0, query.flags,
            held, self.address.packed, none, query.relay.packed, query.mac, b"", b"", _COOKIE,
        )  # fmt: skip
        first = ((Option.TYPE, bytes((self.kind,))), (Option.SERVER, self.server.packed))
        options = b"".join(
            bytes((code, len(piece))) + piece
            for code, value in (*first, *self.options)
            for piece in (value[at : at + 255] for at in range(0, len(value), 255))
        )
        return (fixed + options + bytes((Option.END,))).ljust(_LEAST, b"\0")
