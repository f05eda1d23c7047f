"""Calls of a socket that may wait: made again after signals, for as long as the timeout allows."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pystack._native import Transfer, ffi, lib
from pystack.sockets import orphan
from pystack.sockets.arguments import MSG_DONTWAIT

if TYPE_CHECKING:
    from pystack.sockets.descriptors import OpenSocket

__all__ = ["MOST_MICROSECONDS", "WaitingSocket", "until_something"]

MOST_MICROSECONDS = 1 << 62
_EAGAIN, _EINTR = -errno.EAGAIN, -errno.EINTR
_ENDED = (-errno.EBADF, -errno.ENOTRECOVERABLE)
_EOWNERDEAD = -errno.EOWNERDEAD
# Errors of a call that the socket's state doesn't allow.
_NO_STATE_FOR_IT = frozenset({-errno.EINVAL, -errno.ENOTCONN, -errno.EPIPE, -errno.EOPNOTSUPP})


def until_something(
    call: Callable[[int], int],
    timeout: float | None,
    limit: float | None = None,
    now: Callable[[], float] = time.monotonic,
) -> int:
    """Makes a call until it comes to something. Returns its result or -errno.

    Args:
        call: Takes microseconds (negative: for ever), returns a result or -errno.
        timeout: Seconds; None: for ever.
        limit: SO_RCVTIMEO or SO_SNDTIMEO, of a socket without a timeout; None: none.
        now: The time by which the call times out, in seconds.

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
        deadline = now() + most
        left = most
        while (result := call(min(int(left * 1e6) + 1, MOST_MICROSECONDS))) == _EINTR:
            left = max(deadline - now(), 0.0)
        if result == _EAGAIN and timeout is not None:
            raise TimeoutError("timed out")
    if result == _EAGAIN and most is not None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return result


class WaitingSocket(Transfer):
    """The part of a socket that waiting needs."""

    __slots__ = ()
    _ps_type: int
    _ps_open: OpenSocket

    def _ps_repeat(
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
        now = self._ps_handle.monotonic
        result = until_something(call, timeout, limit, now)
        if result in _NO_STATE_FOR_IT and mask and timeout:
            self._ps_wait(mask, timeout)
            result = until_something(call, timeout, limit, now)
        if result < 0 or self._ps_handle.answers.raised is not None:
            self._ps_fail(result, mask)
        return result

    def _ps_settle(
        self,
        result: int,
        call: Callable[[int], int],
        limit: float | None,
        mask: int,
        at_once: int = 0,
    ) -> int:
        """The outcome of a call that was tried first, since most succeed at once.

        Args:
            result: What the call returned; it waited only if it had no timeout.
            call: As in `_repeat`.
            limit: As in `_repeat`.
            mask: As in `_repeat`.
            at_once: How long the call was to wait; below 0: for ever.
        """
        if result == _EINTR and at_once < 0:  # whatever another thread has set since
            return self._ps_repeat(call, None, None, mask)
        may_wait = limit is not None if self._ps_timeout is None else self._ps_timeout > 0
        if result == _EINTR or (may_wait and (result == _EAGAIN or result in _NO_STATE_FOR_IT)):
            return self._ps_repeat(call, self._ps_timeout, limit, mask)
        if result == _EAGAIN:
            if self._ps_timeout == 0 and self._ps_file_waits():
                return self._ps_repeat(call, None, limit, mask)
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self._ps_fail(result, mask)
        return result

    def _ps_fail(self, result: int, mask: int) -> None:
        """Raises what the result of a call stands for that `mask` has led to."""
        if mask == lib.PS_READY_READ:
            if result == _EOWNERDEAD:
                orphan.note_read(self._ps_open)
            elif self._ps_type != socket.SOCK_STREAM:
                self._ps_note_end(result)
        self._ps_handle.fail(result)

    def _ps_note_end(self, result: int) -> None:
        """Notes what a reader is told of a socket that is no connection.

        If it is the Stack's end, nothing comes after it: servers would be woken by it for ever.
        """
        if result in _ENDED:
            lib.ps_descriptor_silence(self._ps_handle.pointer, self._ps_number)

    def _ps_file_waits(self) -> bool:
        """Whether O_NONBLOCK was taken from the descriptor of a socket that isn't to wait."""
        return False

    def _ps_timeout_of(self, flags: int) -> float | None:
        # CPython itself waits for a socket with a timeout: the flag matters for the others only.
        return 0.0 if flags & MSG_DONTWAIT and self._ps_timeout is None else self._ps_timeout

    def _ps_take_error(self) -> int:
        value = ffi.new("int64_t *")
        pointer, number = self._ps_handle.pointer, self._ps_number
        self._ps_handle.check(lib.ps_option_get(pointer, number, lib.PS_OPT_ERROR, value))
        return int(value[0])

    def _ps_receive_error(self, pieces: Any, count: int, message: Any, error: Any) -> int:
        """MSG_ERRQUEUE: waits only where CPython itself does, which is with a timeout."""
        pointer, number = self._ps_handle.pointer, self._ps_number
        return self._ps_repeat(
            lambda timeout_us: lib.ps_receive_error(
                pointer, number, pieces, count, message, error, timeout_us
            ),
            self._ps_timeout or 0.0,
        )

    def _ps_wait(self, mask: int, timeout: float | None) -> int:
        """Waits for readiness (PS_READY_*), an error or a hang-up; the readiness there is."""
        pointer, number = self._ps_handle.pointer, self._ps_number
        return self._ps_repeat(
            lambda timeout_us: lib.ps_wait(pointer, number, mask, timeout_us), timeout
        )
