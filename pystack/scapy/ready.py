"""Which of some sockets have something to read, however large their descriptors are."""

from __future__ import annotations

import math
import select
from collections.abc import Sequence

from scapy.supersocket import SuperSocket

__all__ = ["ready", "wait_readable"]


def wait_readable(descriptors: Sequence[int], seconds: float | None) -> set[int]:
    """Waits with poll(2), since select(2) knows descriptors below 1024 only.

    Args:
        descriptors: What to wait for, open ones.
        seconds: For how long; None: for ever.

    Returns:
        Those that are readable, at their end, or closed meanwhile.
    """
    poll = select.poll()
    for one in descriptors:
        poll.register(one, select.POLLIN)
    wait_ms = None if seconds is None else max(0, math.ceil(seconds * 1000))
    return {descriptor for descriptor, _ in poll.poll(wait_ms)}


def ready(sockets: list[SuperSocket], remain: float | None = None) -> list[SuperSocket]:
    """A SuperSocket's `select`: those that `recv` doesn't wait for, closed ones among them."""
    numbers = [one.fileno() for one in sockets]
    if -1 in numbers:
        return [one for one, number in zip(sockets, numbers, strict=True) if number == -1]
    found = wait_readable(numbers, remain)
    return [one for one, number in zip(sockets, numbers, strict=True) if number in found]
