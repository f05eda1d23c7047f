"""Randomness in a World: what Python's library gives follows the seed.

`os.urandom`, and so `secrets`, `uuid.uuid4` and `random.SystemRandom`, and a `random.Random()`
without a seed, for the threads that take part; the functions of `random`, whose state is the
process's, for all. Not those of OpenSSL, nor of numpy; and `PYTHONHASHSEED` orders sets of strings
before a World begins.
"""

from __future__ import annotations

import os
import random
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["KERNELS_URANDOM", "chance_of_world", "seed_of", "urandom_of"]

KERNELS_URANDOM = os.urandom
_seed = random.Random.seed
# What uuid1, uuid6 and uuid7 gave last, which the next is to be behind.
_LAST = ("_last_timestamp", "_last_timestamp_v6", "_last_timestamp_v7", "_last_counter_v7")
_MULTICAST = 1 << 40  # of a node that is no network card's (RFC 9562 6.10)


def urandom_of(source: random.Random) -> Callable[[int], bytes]:
    """What stands for `os.urandom`.

    Args:
        source: Where the bytes are from.
    """

    def urandom(size: int, /) -> bytes:
        if size < 0:
            raise ValueError("negative argument not allowed")
        return source.randbytes(size)

    return urandom


def seed_of(source: random.Random, takes_part: Callable[[], object]) -> Callable[..., None]:
    """What stands for `random.Random.seed`, to which C gives the kernel's bytes by default.

    Args:
        source: Where seeds are from; not `urandom`'s, for modules draw one as they are imported.
        takes_part: Whether the calling thread has its seeds from there.
    """

    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        if a is None and takes_part():
            a = source.getrandbits(256)
        _seed(self, a, version)

    return seed


@contextmanager
def chance_of_world(seed: int) -> Iterator[None]:
    """In this block `random` and `uuid` follow the seed; afterwards they are as before."""
    before = random.getstate()
    random.seed(seed)
    names = ("_node", "_generate_time_safe", *_LAST)
    kept = {name: vars(uuid)[name] for name in names if name in vars(uuid)}
    vars(uuid).update(dict.fromkeys(kept))  # and so libuuid's, which goes by the real clock
    vars(uuid).update(_node=random.Random(seed).getrandbits(48) | _MULTICAST)
    try:
        yield
    finally:
        vars(uuid).update(kept)
        random.setstate(before)
