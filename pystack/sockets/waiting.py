"""Calls of a socket that may wait: made again after signals, for as long as the timeout allows."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Any

from pystack._native import StackHandle, ffi, lib
from pystack.sockets.arguments import MSG_DONTWAIT

__all__ = ["MOST_MICROSECONDS", "WaitingSocket", "until_something"]

MOST_MICROSECONDS = 1 << 62
_EAGAIN, _EINTR = -errno.EAGAIN, -errno.EINTR
# What a call says of a socket that is in no state for it.
_NO_STATE_FOR_IT = frozenset({-errno.EINVAL, -errno.ENOTCONN, -errno.EPIPE, -errno.EOPNOTSUPP})


def until_something(
    call: Callable[[int], int], timeout: float | None, limit: float | None = None
) -> int:
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


class WaitingSocket:
    """What of a socket the waiting needs."""

    __slots__ = ("_handle", "_number", "_timeout")

    _handle: StackHandle
    _number: int
    _timeout: float | None

    def _repeat(
        self,
        call: Callable[[int], int],
        timeout: float | None,
        limit: float | None = None,
        mask: int = 0,
    ) -> int:
        """Makes a call that may wait.

        Args:
            call: As in `until_something`.
            timeout: As there.
            limit: As there.
            mask: The readiness (PS_READY_*) that CPython waits for before such a call, if the
                socket has a timeout: what the socket is in no state for is told after that.
        """
        result = until_something(call, timeout, limit)
        if result in _NO_STATE_FOR_IT and mask and timeout:
            self._wait(mask, timeout)
            result = until_something(call, timeout, limit)
        if result < 0 or self._handle.answers.raised is not None:
            self._handle.fail(result)
        return result

    def _settle(
        self, result: int, call: Callable[[int], int], limit: float | None, mask: int
    ) -> int:
        """What comes of a call that was made before all else, as most succeed so.

        Args:
            result: What the call returned; it waited only if there was no end to that.
            call: As in `_repeat`.
            limit: As in `_repeat`.
            mask: As in `_repeat`.
        """
        may_wait = limit is not None if self._timeout is None else self._timeout > 0
        if result == _EINTR or (may_wait and (result == _EAGAIN or result in _NO_STATE_FOR_IT)):
            return self._repeat(call, self._timeout, limit, mask)
        if result == _EAGAIN:
            if self._timeout == 0 and self._file_waits():
                return self._repeat(call, None, limit, mask)
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self._handle.fail(result)
        return result

    def _file_waits(self) -> bool:
        """Whether O_NONBLOCK was taken from the descriptor of a socket that isn't to wait."""
        return False

    def _timeout_of(self, flags: int) -> float | None:
        # CPython itself waits for a socket with a timeout: the flag matters for the others only.
        return 0.0 if flags & MSG_DONTWAIT and self._timeout is None else self._timeout

    def _take_error(self) -> int:
        value = ffi.new("int64_t *")
        pointer, number = self._handle.pointer, self._number
        self._handle.check(lib.ps_option_get(pointer, number, lib.PS_OPT_ERROR, value))
        return int(value[0])

    def _receive_error(self, pieces: Any, count: int, message: Any, error: Any) -> int:
        """MSG_ERRQUEUE: waits only where CPython itself does, which is with a timeout."""
        pointer, number = self._handle.pointer, self._number
        return self._repeat(
            lambda timeout_us: lib.ps_receive_error(
                pointer, number, pieces, count, message, error, timeout_us
            ),
            self._timeout or 0.0,
        )

    def _wait(self, mask: int, timeout: float | None) -> int:
        """Waits for readiness (PS_READY_*), an error or a hang-up; the readiness there is."""
        pointer, number = self._handle.pointer, self._number
        return self._repeat(
            lambda timeout_us: lib.ps_wait(pointer, number, mask, timeout_us), timeout
        )
