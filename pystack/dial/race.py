"""Connecting to a name with several addresses: happy eyeballs (RFC 8305)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain, zip_longest
from typing import TypeVar

from pystack.sockets.resolve import AddressInfo

__all__ = ["first_connected", "interleaved"]

T = TypeVar("T")


def interleaved(found: Sequence[AddressInfo], first: int) -> list[AddressInfo]:
    """Addresses of both families by turns, `first` of the preferred one at first (RFC 8305 4)."""
    preferred = [one for one in found if one[0] == found[0][0]]
    others = [one for one in found if one[0] != found[0][0]]
    ahead = max(0, first - 1)
    pairs = zip_longest(preferred[ahead:], others)
    return preferred[:ahead] + [one for one in chain.from_iterable(pairs) if one is not None]


async def first_connected(
    attempts: Sequence[Callable[[], Awaitable[T]]],
    delay: float | None,
    discard: Callable[[T], None],
) -> T:
    """Begins attempts one after the other, each when the last fails or has taken `delay` seconds.

    Args:
        attempts: At least one.
        delay: None: each has to fail before the next begins.
        discard: Takes what attempts gave that succeed beside the first.

    Raises:
        OSError: All failed: the only error, or one that names all.
    """
    errors: list[OSError] = []
    running: set[asyncio.Future[T]] = set()
    waiting = list(reversed(attempts))
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.ensure_future(waiting.pop()()))
            done, _others = await asyncio.wait(
                running,
                timeout=delay if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for attempt in done:
                running.discard(attempt)
                error = attempt.exception()
                if error is None:
                    return attempt.result()
                if not isinstance(error, OSError):
                    raise error
                errors.append(error)
    finally:
        for late in running:
            late.cancel()
        for outcome in await asyncio.gather(*running, return_exceptions=True):
            if not isinstance(outcome, BaseException):
                discard(outcome)
    raise _one_of(errors)


def _one_of(errors: list[OSError]) -> OSError:
    """All errors as one, as asyncio tells them."""
    if len({str(one) for one in errors}) == 1:
        return errors[0]
    told = ", ".join(str(one) for one in errors)
    return OSError(f"Multiple exceptions: {told}")
