"""What a name server makes of a query (RFC 1035 4.1, RFC 6891 for its size)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pystack.serving.dns_message import AAAA, ANY, A, read_labels, wire_of

__all__ = ["NO_SUCH_NAME", "Query", "address_records", "make_answer", "read_query"]

NO_SUCH_NAME = 3
_HEADER = struct.Struct(">6H")
_RESPONSE, _OPCODE, _AUTHORITATIVE, _TRUNCATED = 0x8000, 0x7800, 0x0400, 0x0200
_RECURSION, _AVAILABLE = 0x0100, 0x0080
_INTERNET = 1
_OPT = struct.Struct(">BHH")  # the root's name, its type, and the asker's room
_OPT_KIND = 41
_TTL_S = 60
_ROOM = 512  # bytes of a message over UDP, where the asker names no other


@dataclass(frozen=True)
class Query:
    """A question of the Internet's class.

    Attributes:
        name: The name that is asked for, as it stands in a message, in lower case.
        kind: The records' type.
        identifier: The asker's number.
        flags: The message's.
        question: The question's bytes.
        room: How many bytes an answer over UDP may have.
    """

    name: bytes
    kind: int
    identifier: int
    flags: int
    question: bytes
    room: int


def read_query(message: bytes) -> Query | None:
    """The one question of a message; None: it has another form, or asks something else."""
    try:
        identifier, flags, asked, answers, authorities, more = _HEADER.unpack_from(message)
        labels, place = read_labels(message, _HEADER.size)
        kind, network = struct.unpack_from(">HH", message, place)
    except (ValueError, struct.error):
        return None
    if asked != 1 or flags & (_RESPONSE | _OPCODE) or network != _INTERNET:
        return None
    room, behind = _ROOM, place + 4
    if (answers, authorities, more) == (0, 0, 1) and len(message) >= behind + _OPT.size:
        root, option, size = _OPT.unpack_from(message, behind)
        if (root, option) == (0, _OPT_KIND):
            room = max(room, size)
    name = wire_of([one.lower() for one in labels])
    return Query(name, kind, identifier, flags, message[_HEADER.size : behind], room)


def address_records(addresses: Iterable[bytes], kind: int) -> list[tuple[int, bytes]]:
    """The types and data of a host's records, as far as they are asked for."""
    wanted = {4: kind in (A, ANY), 16: kind in (AAAA, ANY)}
    return [(A if len(one) == 4 else AAAA, one) for one in addresses if wanted[len(one)]]


def make_answer(
    query: Query, records: Sequence[tuple[int, bytes]], *, code: int = 0, room: int = 0xFFFF
) -> bytes:
    """The answer to a query.

    Args:
        query: It.
        records: The types and data of its name's.
        code: What became of it (`NO_SUCH_NAME`); 0: it is answered.
        room: How many bytes it may have. Where the records need more, it says so and has none.
    """
    said = _RESPONSE | _AUTHORITATIVE | query.flags & _RECURSION | _AVAILABLE | code
    told = [
        struct.pack(">HHHIH", 0xC00C, kind, _INTERNET, _TTL_S, len(data)) + data
        for kind, data in records
    ]
    if _HEADER.size + len(query.question) + sum(map(len, told)) > room:
        said, told = said | _TRUNCATED, []
    head = _HEADER.pack(query.identifier, said, 1, len(told), 0, 0)
    return head + query.question + b"".join(told)
