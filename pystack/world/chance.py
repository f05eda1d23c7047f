"""Randomness in a World: what Python's library gives follows the seed.

`os.urandom`, and so `secrets`, `uuid.uuid4` and `random.SystemRandom`, for the threads that take
part; the functions of `random`, whose state is the process's, for all. Not those of OpenSSL, nor
of numpy; and `PYTHONHASHSEED` orders sets of strings before a World begins.
"""

from __future__ import annotations

# Draws a key as it is imported: not from a World's bytes.
import multiprocessing.process  # noqa: F401
import os
import random
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["KERNELS_URANDOM", "chance_of_world", "urandom_of"]

KERNELS_URANDOM = os.urandom
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


@contextmanager
def chance_of_world(seed: int) -> Iterator[None]:
    """In this block `random` and `uuid.uuid1` follow the seed; afterwards they are as before."""
    before = random.getstate()
    random.seed(seed)
    names = ("_node", "_last_timestamp", "_generate_time_safe")
    kept = {name: getattr(uuid, name, None) for name in names}
    vars(uuid).update(
        _node=random.Random(seed).getrandbits(48) | _MULTICAST,
        _last_timestamp=None,
        _generate_time_safe=None,  # libuuid's, by the real clock
    )
    try:
        yield
    finally:
        vars(uuid).update(kept)
        random.setstate(before)
