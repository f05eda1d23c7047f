"""DNS messages as multicast DNS has them (RFC 1035 4.1, RFC 6762 18).

A name is its labels as they stand in a message, uncompressed. Names are compared in lower case,
which leaves the lengths of labels alone: they are below 64.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

__all__ = [
    "AAAA",
    "ANY",
    "NSEC",
    "PTR",
    "A",
    "Message",
    "Question",
    "Record",
    "host_name",
    "host_records",
    "pack",
    "read",
    "read_labels",
    "reverse_name",
    "wire_name",
    "wire_of",
]  # fmt: skip

A, PTR, AAAA, NSEC, ANY = 1, 12, 28, 47, 255

_IN, _ANY_NETWORK = 1, 255
_TOP = 0x8000  # of a class: a question's unicast answer, a record's flush of caches
_RESPONSE, _OPCODE, _AUTHORITATIVE, _TRUNCATED, _CODE = 0x8000, 0x7800, 0x0400, 0x0200, 0x000F
_HEADER = struct.Struct(">6H")
_LONGEST_LABEL, _LONGEST_NAME, _POINTER = 63, 255, 0xC0
_MOST_RECORDS = 256
_HOST_TTL_S = 120  # RFC 6762 10


def read_labels(message: bytes, place: int) -> tuple[list[bytes], int]:
    """The labels of a name at an offset in a message, and the offset behind it (RFC 1035 4.1.4).

    Raises:
        ValueError: It runs past the message, or its pointers loop.
    """
    labels: list[bytes] = []
    end = -1
    size = 0
    while True:
        length = message[place] if place < len(message) else 0xFF
        if length == 0:
            return labels, end if end >= 0 else place + 1
        if length >= _POINTER and place + 1 < len(message):
            target = (length & 0x3F) << 8 | message[place + 1]
            if target >= place:  # only backwards, so that it ends
                raise ValueError("a name with a forward pointer")
            end = place + 2 if end < 0 else end
            place = target
            continue
        label = message[place + 1 : place + 1 + length]
        size += length + 1
        if length > _LONGEST_LABEL or len(label) != length or size > _LONGEST_NAME - 1:
            raise ValueError("a name that is truncated or too long")
        labels.append(label)
        place += 1 + length


def wire_of(labels: list[bytes]) -> bytes:
    """A name of these labels, each of 1 to 63 bytes."""
    return b"".join(bytes((len(one),)) + one for one in labels) + b"\0"


def wire_name(name: str) -> bytes:
    """A name as it stands in a message (RFC 1035 3.1), uncompressed, in lower case.

    Raises:
        ValueError: It is none: a label or the whole is empty or too long.
    """
    try:
        labels = name.rstrip(".").lower().encode("idna").split(b".")
    except UnicodeError:
        labels = []
    wire = wire_of(labels)
    if not labels or not all(labels) or len(wire) > 255:
        raise ValueError(
            f"{name!r} is no name of a host: each of its labels has 1 to 63 bytes, and all of it "
            "up to 253"
        )
    return wire


def host_name(label: bytes) -> bytes:
    """A host's name in .local."""
    return wire_of([label, b"local"])


def reverse_name(packed: bytes) -> bytes:
    """The name of an address's PTR record."""
    address = IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)
    return wire_of([part.encode() for part in address.reverse_pointer.split(".")])


@dataclass(frozen=True)
class Question:
    """A question.

    Attributes:
        name: The name that is asked for.
        kind: The records' type.
        unicast: Whether the answer may come to the asker alone (RFC 6762 5.4).
        wire: It, as it stood in the message, with its name uncompressed.
    """

    name: bytes
    kind: int
    unicast: bool
    wire: bytes = b""


@dataclass(frozen=True)
class Record:
    """A record of the Internet's class.

    Attributes:
        name: Whose it is.
        kind: Its type.
        data: Its data.
        ttl: How long it holds, seconds; 0: no longer.
    """

    name: bytes
    kind: int
    data: bytes
    ttl: int = _HOST_TTL_S

    def is_same(self, other: Record) -> bool:
        """Whether both say the same, for however long."""
        return self.kind == other.kind and self.data == other.data and self.is_of(other.name)

    def is_of(self, name: bytes) -> bool:
        """Whether it is that name's."""
        return self.name.lower() == name.lower()

    def packed(self, *, unique: bool) -> bytes:
        """Its bytes; `unique`: whoever has others of its name and type is to forget them."""
        network = _IN | (_TOP if unique else 0)
        return (
            self.name
            + struct.pack(">HHIH", self.kind, network, self.ttl, len(self.data))
            + self.data
        )


@dataclass(frozen=True)
class Message:
    """A message of no other opcode than a query's, and without an error.

    Attributes:
        identifier: The asker's number.
        is_response: Whether it answers.
        questions: What it asks.
        answers: Its answers; of a question, what the asker knows (RFC 6762 7.1).
        authorities: Of a probe, what it wants to have (8.2).
        additional: What may be of use as well.
    """

    identifier: int
    is_response: bool
    questions: tuple[Question, ...]
    answers: tuple[Record, ...]
    authorities: tuple[Record, ...]
    additional: tuple[Record, ...]


def read(message: bytes) -> Message | None:
    """A message; None: it is none that matters, or malformed."""
    try:
        return _read(message)
    except (ValueError, struct.error):
        return None


def _read(message: bytes) -> Message | None:
    identifier, flags, asked, *counts = _HEADER.unpack_from(message)
    if flags & (_OPCODE | _CODE) or asked + sum(counts) > _MOST_RECORDS:
        return None  # (RFC 6762 18.3, 18.11)
    place = _HEADER.size
    questions: list[Question] = []
    for _ in range(asked):
        labels, place = read_labels(message, place)
        kind, network = struct.unpack_from(">HH", message, place)
        place += 4
        if network & ~_TOP in (_IN, _ANY_NETWORK):
            name = wire_of(labels)
            wire = name + struct.pack(">HH", kind, network)
            questions.append(Question(name, kind, bool(network & _TOP), wire))
    sections: list[tuple[Record, ...]] = []
    for count in counts:
        records: list[Record] = []
        for _ in range(count):
            record, place = _read_record(message, place)
            records += [record] if record is not None else []
        sections.append(tuple(records))
    return Message(identifier, bool(flags & _RESPONSE), tuple(questions), *sections)


def _read_record(message: bytes, place: int) -> tuple[Record | None, int]:
    labels, place = read_labels(message, place)
    kind, network, ttl, size = struct.unpack_from(">HHIH", message, place)
    place += 10
    end = place + size
    if end > len(message):
        raise ValueError("a truncated record")
    data = message[place:end]
    if kind == PTR:
        named, behind = read_labels(message, place)
        if behind != end:
            raise ValueError("a name shorter or longer than its record")
        data = wire_of(named)
    return Record(wire_of(labels), kind, data, ttl) if network & ~_TOP == _IN else None, end


def pack(
    questions: list[bytes],
    answers: list[Record],
    authorities: list[Record],
    *,
    response: bool,
    identifier: int = 0,
    unique: bool = True,
) -> bytes:
    """A message's bytes; `unique`: of its answers, see `Record.packed`."""
    flags = _RESPONSE | _AUTHORITATIVE if response else 0
    head = _HEADER.pack(identifier, flags, len(questions), len(answers), len(authorities), 0)
    return (
        head
        + b"".join(questions)
        + b"".join(one.packed(unique=unique) for one in answers)
        + b"".join(one.packed(unique=False) for one in authorities)  # (RFC 6762 8.2)
    )


def probe_question(name: bytes) -> bytes:
    """Asks for all that a name has, by unicast (RFC 6762 8.1)."""
    return name + struct.pack(">HH", ANY, _IN | _TOP)


def host_records(name: bytes, addresses: list[bytes]) -> list[Record]:
    """A host's: its addresses, and what says that it has no others (RFC 6762 6.1)."""
    return [Record(name, A if len(one) == 4 else AAAA, one) for one in addresses]


def denial(name: bytes, kinds: set[int]) -> Record:
    """Says that a name has records of these types alone (NSEC, RFC 6762 6.1)."""
    bits = bytearray(max(kinds) // 8 + 1)
    for kind in kinds:
        bits[kind // 8] |= 0x80 >> kind % 8
    return Record(name, NSEC, name + bytes((0, len(bits))) + bytes(bits))


def ended(record: Record) -> Record:
    """The same record, which holds no longer (RFC 6762 10.1)."""
    return replace(record, ttl=0)
