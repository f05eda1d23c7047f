"""Calls of a socket that may wait: made again after signals, for as long as the timeout allows."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable

from pystack._native import StackHandle, ffi, lib
from pystack.sockets.arguments import MSG_DONTWAIT

MOST_MICROSECONDS = 1 << 62
_EAGAIN, _EINTR = -errno.EAGAIN, -errno.EINTR


class WaitingSocket:
    """What of a socket the waiting needs."""

    __slots__ = ("_handle", "_number", "_timeout")

    _handle: StackHandle
    _number: int
    _timeout: float | None

    def _repeat(self, call: Callable[[int], int], timeout: float | None) -> int:
        """Makes a call that may wait, again after each signal.

        Args:
            call: Takes microseconds (negative: for ever), returns a result or -errno.
            timeout: Seconds; None: for ever.
        """
        if timeout is None:
            while (result := call(-1)) == _EINTR:
                pass
        elif timeout == 0:
            result = call(0)
            if result == _EAGAIN:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        else:
            deadline = time.monotonic() + timeout
            left = timeout
            while (result := call(min(int(left * 1e6) + 1, MOST_MICROSECONDS))) == _EINTR:
                left = max(deadline - time.monotonic(), 0.0)
            if result == _EAGAIN:
                raise TimeoutError("timed out")
        if result < 0 or self._handle.answers.raised is not None:
            self._handle.fail(result)
        return result

    def _settle(self, result: int, call: Callable[[int], int]) -> int:
        """What comes of a call that was made before all else, as most succeed so.

        Args:
            result: What the call returned; it waited only if the socket has no timeout.
            call: As in `_repeat`.
        """
        if result == _EINTR or (result == _EAGAIN and self._timeout):
            return self._repeat(call, self._timeout)
        if result == _EAGAIN:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self._handle.fail(result)
        return result

    def _timeout_of(self, flags: int) -> float | None:
        # CPython itself waits for a socket with a timeout: the flag matters for the others only.
        return 0.0 if flags & MSG_DONTWAIT and self._timeout is None else self._timeout

    def _take_error(self) -> int:
        value = ffi.new("int64_t *")
        pointer, number = self._handle.pointer, self._number
        self._handle.check(lib.ps_option_get(pointer, number, lib.PS_OPT_ERROR, value))
        return int(value[0])

    def _wait(self, mask: int, timeout: float | None) -> int:
        """Waits for readiness (PS_READY_*), an error or a hang-up; the readiness there is."""
        pointer, number = self._handle.pointer, self._number
        return self._repeat(
            lambda timeout_us: lib.ps_wait(pointer, number, mask, timeout_us), timeout
        )
