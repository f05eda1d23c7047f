"""DHCPv6's messages (RFC 9915), as clients write and read them, and what servers share of that."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv6Address

from pystack.serving.dns_message import read_labels

__all__ = [
    "CLIENT_ID", "CLIENT_PORT", "DNS", "DOMAINS", "ETHERNET_DUID", "FOREVER", "INFORMATION_REQUEST",
    "MOST_ADDRESSES", "REPLY", "SERVERS", "SERVER_ID", "SERVER_PORT", "Answer", "Binding", "Code",
    "Kind", "Leased", "Status", "association", "message", "option", "read", "read_options",
]  # fmt: skip

CLIENT_PORT, SERVER_PORT = 546, 547
SERVERS = "ff02::1:2"  # all of them, and relays (7.1)
FOREVER = 0xFFFFFFFF  # a time without an end (7.7)
ETHERNET_DUID = struct.pack(">HH", 3, 1)  # DUID-LL: nothing has to be kept for it (11.4)
MOST_ADDRESSES = 8  # of one client: what a server gives beyond these is not taken

_LONGEST_DUID = 130  # bytes (11.1)


class Kind(IntEnum):
    """A message's type (7.3)."""

    SOLICIT = 1
    ADVERTISE = 2
    REQUEST = 3
    CONFIRM = 4
    RENEW = 5
    REBIND = 6
    REPLY = 7
    RELEASE = 8
    DECLINE = 9
    INFORMATION_REQUEST = 11


class Code(IntEnum):
    """An option's number (21; those of name servers and domains are RFC 3646's)."""

    CLIENT_ID = 1
    SERVER_ID = 2
    IA_NA = 3
    ADDRESS = 5
    ASKED = 6
    PREFERENCE = 7
    ELAPSED = 8
    STATUS = 13
    RAPID_COMMIT = 14
    DNS = 23
    DOMAINS = 24
    REFRESH = 32
    SOLICIT_MOST = 82
    INFORMATION_MOST = 83


class Status(IntEnum):
    """What became of what was asked for (21.13)."""

    SUCCESS = 0
    UNSPECIFIED_FAILURE = 1
    NO_ADDRESSES = 2
    NO_BINDING = 3
    NOT_ON_LINK = 4


INFORMATION_REQUEST, REPLY = Kind.INFORMATION_REQUEST, Kind.REPLY
CLIENT_ID, SERVER_ID, DNS, DOMAINS = Code.CLIENT_ID, Code.SERVER_ID, Code.DNS, Code.DOMAINS


def option(code: int, value: bytes) -> bytes:
    """An option as it stands in a message."""
    return struct.pack(">HH", code, len(value)) + value


def _walk(area: bytes) -> Iterator[tuple[int, bytes]]:
    """The options of a message or of an option, up to one that its end cuts."""
    at = 0
    while at + 4 <= len(area):
        code, size = struct.unpack_from(">HH", area, at)
        value = area[at + 4 : at + 4 + size]
        if len(value) != size:
            return
        yield code, value
        at += 4 + size


def read_options(area: bytes) -> dict[int, bytes]:
    """The options of a message by code, the first of each, up to one that its end cuts."""
    found: dict[int, bytes] = {}
    for code, value in _walk(area):
        found.setdefault(code, value)
    return found


# --- what a client says ------------------------------------------------------------------------


def association(identity: bytes, addresses: Sequence[IPv6Address] = ()) -> bytes:
    """The option of an association of addresses, its times left to the server (21.4).

    Args:
        identity: Its number (IAID), four bytes.
        addresses: What is asked for, or meant.
    """
    body = b"".join(option(Code.ADDRESS, one.packed + bytes(8)) for one in addresses)
    return option(Code.IA_NA, identity + bytes(8) + body)


def message(
    kind: Kind,
    transaction: int,
    client: bytes,
    *more: bytes,
    server: bytes | None = None,
    elapsed_us: int = 0,
    asked: Sequence[int] = (),
) -> bytes:
    """A client's message.

    Args:
        kind: Its type.
        transaction: Its identifier.
        client: The client's DUID.
        more: Other options.
        server: The DUID of the server that it is for; None: for any.
        elapsed_us: For how long the client has been asking.
        asked: The options that the answer should have.
    """
    hundredths = min(max(elapsed_us, 0) // 10_000, 0xFFFF)
    options = option(Code.CLIENT_ID, client)
    if server is not None:
        options += option(Code.SERVER_ID, server)
    if asked:
        options += option(Code.ASKED, struct.pack(f">{len(asked)}H", *asked))
    options += option(Code.ELAPSED, hundredths.to_bytes(2, "big"))
    return bytes((kind,)) + transaction.to_bytes(3, "big") + options + b"".join(more)


# --- what a server says ------------------------------------------------------------------------


@dataclass(frozen=True)
class Leased:
    """An address that a server gives.

    Attributes:
        address: It.
        preferred_s: How long it is preferred; `FOREVER`.
        valid_s: How long it may be used; `FOREVER`.
    """

    address: IPv6Address
    preferred_s: int
    valid_s: int


@dataclass(frozen=True)
class Binding:
    """What a server says of the client's association.

    Attributes:
        status: What became of it.
        t1_s: When to renew it; 0: the client chooses; `FOREVER`: never.
        t2_s: When to rebind it; likewise.
        addresses: The addresses.
    """

    status: int
    t1_s: int
    t2_s: int
    addresses: tuple[Leased, ...]


@dataclass(frozen=True)
class Answer:
    """A server's message to this client; what can't be true isn't in it.

    Attributes:
        kind: ADVERTISE or REPLY.
        server: The server's DUID.
        status: What became of the whole.
        preference: How much the server wants to be chosen.
        is_rapid: Whether it answers a solicitation at once (18.3.1).
        binding: The association; None: the message doesn't speak of it.
        dns: The name servers.
        domains: Where names are looked up.
        refresh_s: When to ask again for what has no lifetime; None: it doesn't say.
        solicit_most_s: The longest wait between solicitations; None: it doesn't say.
        information_most_s: The same between questions for information.
    """

    kind: Kind
    server: bytes
    status: int
    preference: int
    is_rapid: bool
    binding: Binding | None
    dns: tuple[IPv6Address, ...]
    domains: tuple[str, ...]
    refresh_s: int | None
    solicit_most_s: int | None
    information_most_s: int | None


def _number(value: bytes | None, size: int = 4) -> int | None:
    return None if value is None or len(value) != size else int.from_bytes(value, "big")


def _status(found: dict[int, bytes]) -> int:
    value = found.get(Code.STATUS)
    return Status.SUCCESS if value is None or len(value) < 2 else int.from_bytes(value[:2], "big")


def _most(value: bytes | None) -> int | None:
    """A longest wait within its bounds (21.24, 21.25): any other is none."""
    seconds = _number(value)
    return seconds if seconds is not None and 60 <= seconds <= 86400 else None


def _servers(value: bytes) -> tuple[IPv6Address, ...]:
    if len(value) % 16:
        return ()
    found = (IPv6Address(value[at : at + 16]) for at in range(0, len(value), 16))
    return tuple(one for one in found if not (one.is_multicast or one.is_unspecified))


def _domains(value: bytes) -> tuple[str, ...]:
    found: list[str] = []
    at = 0
    while at < len(value):
        try:
            labels, after = read_labels(value, at)
        except (ValueError, IndexError):
            return tuple(found)
        if after <= at:
            return tuple(found)
        name = b".".join(labels).decode("utf-8", "backslashreplace")
        if name:
            found.append(name)
        at = after
    return tuple(found)


def _may_be_ours(address: IPv6Address) -> bool:
    """Whether a server can give it to a host."""
    return not (
        address.is_multicast
        or address.is_unspecified
        or address.is_loopback
        or address.is_link_local
        or address.ipv4_mapped is not None
    )


def _leased(value: bytes) -> Leased | None:
    """An address option; None: it says nothing that can be."""
    if len(value) < 24:
        return None
    address = IPv6Address(value[:16])
    preferred, valid = struct.unpack_from(">II", value, 16)
    if preferred > valid or not _may_be_ours(address):  # (21.6)
        return None
    if _status(read_options(value[24:])) != Status.SUCCESS:
        return None
    return Leased(address, preferred, valid)


def _binding(area: bytes, identity: bytes) -> Binding | None:
    """The association of this client, the first of those that a message has."""
    for code, value in _walk(area):
        if code != Code.IA_NA or len(value) < 12 or value[:4] != identity:
            continue
        t1, t2 = struct.unpack_from(">II", value, 4)
        if t1 > t2 > 0:  # as if it wasn't there (21.4)
            continue
        inside = list(_walk(value[12:]))
        leased: dict[IPv6Address, Leased] = {}
        for inner, each in inside:
            one = _leased(each) if inner == Code.ADDRESS else None
            if one is not None and len(leased) < MOST_ADDRESSES:
                leased.setdefault(one.address, one)
        status = _status(dict(reversed(inside)))
        return Binding(status, t1, t2, tuple(leased.values()))
    return None


def read(said: bytes, transaction: int, client: bytes, identity: bytes) -> Answer | None:
    """A server's answer to a client; None: it is none, or to another (16.3, 16.10).

    Args:
        said: The message.
        transaction: Of what was asked.
        client: The client's DUID.
        identity: The number of its association.
    """
    if len(said) < 4 or said[0] not in (Kind.ADVERTISE, Kind.REPLY):
        return None
    if int.from_bytes(said[1:4], "big") != transaction:
        return None
    area = said[4:]
    found = read_options(area)
    server = found.get(Code.SERVER_ID, b"")
    if not 2 < len(server) <= _LONGEST_DUID or found.get(Code.CLIENT_ID) != client:
        return None
    return Answer(
        kind=Kind(said[0]),
        server=server,
        status=_status(found),
        preference=_number(found.get(Code.PREFERENCE), 1) or 0,
        is_rapid=found.get(Code.RAPID_COMMIT) == b"",
        binding=_binding(area, identity),
        dns=_servers(found.get(Code.DNS, b"")),
        domains=_domains(found.get(Code.DOMAINS, b"")),
        refresh_s=_number(found.get(Code.REFRESH)),
        solicit_most_s=_most(found.get(Code.SOLICIT_MOST)),
        information_most_s=_most(found.get(Code.INFORMATION_MOST)),
    )
