"""Calls that may wait: again after each signal, and no longer than they are told."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable

__all__ = ["MOST_MICROSECONDS", "repeat"]

MOST_MICROSECONDS = 1 << 62
_EAGAIN, _EINTR = -errno.EAGAIN, -errno.EINTR


def repeat(call: Callable[[int], int], timeout: float | None, limit: float | None = None) -> int:
    """Makes a call until it comes to something. Returns its result or -errno.

    Args:
        call: Takes microseconds (negative: for ever), returns a result or -errno.
        timeout: Seconds; None: for ever.
        limit: SO_RCVTIMEO or SO_SNDTIMEO, of a socket without a timeout; None: none.

    Raises:
        TimeoutError: The timeout is over.
        BlockingIOError: The call would have to wait and there is no time for it, or the limit
            is over.
    """
    most = limit if timeout is None else timeout
    if most is None:
        while (result := call(-1)) == _EINTR:
            pass
    elif most == 0:
        result = call(0)
    else:
        deadline = time.monotonic() + most
        left = most
        while (result := call(min(int(left * 1e6) + 1, MOST_MICROSECONDS))) == _EINTR:
            left = max(deadline - time.monotonic(), 0.0)
        if result == _EAGAIN and timeout is not None:
            raise TimeoutError("timed out")
    if result == _EAGAIN and most is not None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return result
