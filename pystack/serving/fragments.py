"""Datagrams that come in fragments (RFC 791 3.2), where the services see them before the engine."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from pystack._native.moments import SECOND_US
from pystack.serving.frame import checksum

__all__ = ["Reassembly"]

_ETHERNET, _IPV4 = 14, 20
_MORE, _OFFSET = 0x2000, 0x1FFF
_LIFE_US = 30 * SECOND_US
_MOST_DATAGRAMS = 8  # the oldest goes first, so that a flood costs no memory
_MOST_BYTES = 9000  # of one: more than any DHCP server has to say


@dataclass
class _Parts:
    """What is there of a datagram."""

    since_us: int
    pieces: dict[int, bytes] = field(default_factory=dict)  # by their offsets
    size: int | None = None  # of the whole, once its end is there

    def add(self, offset: int, piece: bytes, is_last: bool) -> bool:
        """Whether it fits what is there: else none of them is to be believed."""
        end = offset + len(piece)
        if is_last:
            if self.size not in (None, end):
                return False
            self.size = end
        if end > _MOST_BYTES or (self.size is not None and end > self.size):
            return False
        if self.pieces.get(offset) == piece:
            return True  # a copy
        for at, other in self.pieces.items():
            if at < end and offset < at + len(other):
                return False
        self.pieces[offset] = piece
        return True

    def whole(self) -> bytes | None:
        """All of it; None: something is missing."""
        if self.size is None or sum(map(len, self.pieces.values())) != self.size:
            return None
        return b"".join(self.pieces[at] for at in sorted(self.pieces))


class Reassembly:
    """The datagrams of one interface of which not all is there."""

    def __init__(self) -> None:
        self._parts: dict[bytes, _Parts] = {}

    def take(self, frame: bytes, now_us: int) -> bytes | None:
        """Takes a fragment's frame; the frame of the whole, if it was the last to come."""
        packet = frame[_ETHERNET:]
        header = (packet[0] & 15) * 4
        length, word = int.from_bytes(packet[2:4], "big"), int.from_bytes(packet[6:8], "big")
        if not header < length <= len(packet) or checksum(packet[:header]) != 0:
            return None
        piece, is_last = packet[header:length], not word & _MORE
        if not is_last and len(piece) % 8:
            return None
        key = packet[4:6] + packet[12:20]
        self._forget(now_us)
        parts = self._parts.setdefault(key, _Parts(now_us))
        if not parts.add((word & _OFFSET) * 8, piece, is_last):
            del self._parts[key]
            return None
        data = parts.whole()
        if data is None:
            return None
        del self._parts[key]
        total = struct.pack(">H", _IPV4 + len(data))
        bare = b"\x45" + packet[1:2] + total + packet[4:6] + bytes(2) + packet[8:10]
        check = checksum(bare + bytes(2) + packet[12:20]).to_bytes(2, "big")
        return frame[:_ETHERNET] + bare + check + packet[12:20] + data

    def _forget(self, now_us: int) -> None:
        kept = {key: one for key, one in self._parts.items() if now_us - one.since_us < _LIFE_US}
        while len(kept) >= _MOST_DATAGRAMS:
            del kept[next(iter(kept))]
        self._parts = kept
