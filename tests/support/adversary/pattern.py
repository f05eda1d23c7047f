"""What streams consist of: bytes that follow from their place, and differ between streams."""

from __future__ import annotations

import random

_PERIOD = 65521  # a prime: no shift by a multiple of anything usual looks right
LONGEST = 1 << 17  # of one piece
_BYTES = random.Random(0).randbytes(_PERIOD) * (LONGEST // _PERIOD + 2)


def piece(salt: int, position: int, size: int) -> bytes:
    """`size` bytes of the stream `salt` from `position` on, which may be below zero."""
    start = (position + salt * 7919) % _PERIOD
    return _BYTES[start : start + size]


def same(salt: int, position: int, data: bytes | bytearray) -> bool:
    """Whether `data` stands at `position` of the stream `salt`."""
    start = (position + salt * 7919) % _PERIOD
    return _BYTES.startswith(data, start)
