"""`Notifier`: which of many sockets of a Stack are ready, by one descriptor."""

from __future__ import annotations

import errno
import weakref
from typing import Any

from pystack._native import StackHandle, ffi, lib
from pystack._native.handle import reap
from pystack.sockets.core import CoreSocket

__all__ = ["ENDED", "READ", "WRITE", "Notifier"]

READ, WRITE = int(lib.PS_READY_READ), int(lib.PS_READY_WRITE)
ENDED = int(lib.PS_READY_ERROR | lib.PS_READY_HANGUP)
_AT_ONCE = 256  # sockets that one look gives


class Notifier:
    """An epoll(7) for the sockets of one Stack, by levels, which costs one descriptor in all.

    A socket that is watched here needs none: `Socket.fileno` makes two for each. Not for Stacks of
    a World, nor another process's.

    Args:
        handle: The Stack.

    Raises:
        OSError: EMFILE, there is no descriptor left; EREMOTE, it is another process's Stack;
            EOPNOTSUPP, the Stack is in a World; EBADF, it is closed.
        StackPanic: The engine has failed.
    """

    __slots__ = ("__weakref__", "_fd", "_finalizer", "_handle", "_out", "_pointer")

    def __init__(self, handle: StackHandle) -> None:
        out = ffi.new("ps_notifier **")
        self._fd = handle.check(lib.ps_notifier_open(handle.pointer, out))
        self._handle, self._pointer = handle, out[0]
        self._out = ffi.new("struct ps_readiness[]", _AT_ONCE)
        self._finalizer = weakref.finalize(self, _close, handle, out[0])
        self._finalizer.atexit = False  # the Stack's end takes it along

    def fileno(self) -> int:
        """The descriptor, readable as long as there is something to take; -1 once closed.

        It is also readable once the Stack has ended, or failed.
        """
        return self._fd if self._finalizer.alive else -1

    def watch(self, socket: CoreSocket, interest: int) -> int:
        """Watches a socket until it is forgotten or closed.

        Args:
            socket: One of the Stack's.
            interest: `READ`, `WRITE`, both, or 0: nothing for now. An error and the end of the
                connection (`ENDED`) count as either.

        Returns:
            The number by which `take` names it.

        Raises:
            OSError: EBADF, it is closed, or this, or the Stack; ENOMEM.
            StackPanic: The engine has failed.
        """
        number = socket._ps_number
        self.change(number, interest)
        return number

    def change(self, number: int, interest: int) -> None:
        """As `watch`, of a socket's number."""
        self._handle.check(lib.ps_notifier_watch(self._open(), number, interest))

    def forget(self, number: int) -> None:
        """Doesn't watch it any more; nothing where it didn't, or the Stack has ended."""
        if self._finalizer.alive:
            lib.ps_notifier_forget(self._pointer, number)

    def take(self) -> list[tuple[int, int]]:
        """Which sockets are ready, and for what, up to 256, each as often as any other.

        Returns:
            Numbers and readiness: `READ`, `WRITE` as far as it was wanted, bits of `ENDED`.

        Raises:
            OSError: EBADF, it is closed, or the Stack.
            StackPanic: The engine has failed.
        """
        out = self._out
        count = self._handle.check(lib.ps_notifier_take(self._open(), out, _AT_ONCE))
        return [(one.handle, one.mask) for one in out[0:count]]

    def look(self, most: int, waits: bool) -> list[tuple[int, int]]:
        """As `take`, for a caller that looks before each of its waits.

        Args:
            most: How many sockets to give.
            waits: Whether the descriptor is waited for next if nothing is ready. Otherwise it tells
                nothing until the next look, which saves a call of the kernel's for each time.

        Returns:
            As `take`.

        Raises:
            OSError: As `take`.
            StackPanic: The engine has failed.
        """
        if most > len(self._out):
            self._out = ffi.new("struct ps_readiness[]", 2 * most)
        out = self._out
        count = self._handle.check(lib.ps_notifier_look(self._open(), out, len(out), waits))
        return [(one.handle, one.mask) for one in out[0:count]]

    def _open(self) -> Any:
        if not self._finalizer.alive:
            raise OSError(errno.EBADF, "the Notifier is closed")
        return self._pointer

    def close(self) -> None:
        """Gives the descriptor back; may be called again."""
        self._finalizer()


def _close(_handle: StackHandle, pointer: Any) -> None:
    reap(lib.ps_notifier_close, pointer)
