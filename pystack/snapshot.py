"""A Stack's state at one moment, and back to it: `Stack.snapshot`, `Stack.restore`."""

from __future__ import annotations

import errno
import weakref
from typing import Any

from pystack._native import StackHandle, ffi, lib
from pystack._native.handle import reap
from pystack.hypercalls import ManualClock
from pystack.serving import serving_of

__all__ = ["Snapshot"]

_WORDS = {
    errno.EOPNOTSUPP: "this engine keeps the state of all its Stacks together",
    errno.ENOSPC: "too many snapshots hold the same memory: drop some",
    errno.EXDEV: "the snapshot is of another Stack, and holds addresses in its memory",
    errno.ENODEV: "the attached NICs are not those of the snapshot",
    errno.EBUSY: "a thread is in a call of the Stack, or other processes use it",
}


class Snapshot:
    """A copy of a Stack's engine: connections, sockets, tables, timers, settings, random numbers.

    Made by `Stack.snapshot`, and freed with its last reference. Until then the memory that the
    Stack had at that moment is kept, even if the Stack frees it.

    Attributes:
        size_bytes: Size of the copy.
        moment: The Stack's clock when the Stack last ran before it, in seconds.
    """

    def __init__(self, handle: StackHandle) -> None:
        out = ffi.new("ps_snapshot **")
        result = lib.ps_snapshot_create(handle.pointer, out)
        if result >= 0:  # freed, too, if a hypercall has raised meanwhile
            self._finalizer = weakref.finalize(self, _destroy, handle, out[0])
            self._finalizer.atexit = False  # the process's end frees it
        handle.check(result, _WORDS)
        self._handle = handle
        self._pointer = out[0]
        self._sockets = _open_sockets(handle)
        serving = serving_of(handle)
        self._services = None if serving is None else serving.copy()
        clock = handle.answers.clock
        self._clock_us = clock.now_us() if isinstance(clock, ManualClock) else None
        self.size_bytes = int(lib.ps_snapshot_bytes(out[0]))
        self.moment = lib.ps_snapshot_moment_us(out[0]) / 1e6

    def restore(self, handle: StackHandle) -> None:
        """See `Stack.restore`."""
        self.check(handle)
        handle.check(lib.ps_snapshot_restore(handle.pointer, self._pointer), _WORDS)
        if self._clock_us is not None:
            handle.answers.clock._set_us(self._clock_us)
        serving = serving_of(handle)
        if serving is not None:
            serving.restore(self._services)

    def check(self, handle: StackHandle) -> None:
        """Raises what `restore` would for the sockets that are open now; changes nothing.

        Raises:
            OSError: EBADF, the Stack is closed; ESTALE, EBUSY: see `Stack.restore`.
        """
        handle.need_open()
        if handle is self._handle:
            self._check_sockets()

    def _check_sockets(self) -> None:
        now = _open_sockets(self._handle)
        lost = sum(now.get(number) is not kept for number, kept in self._sockets.items())
        new = sum(self._sockets.get(number) is not kept for number, kept in now.items())
        if lost:
            raise OSError(errno.ESTALE, f"{lost} of the snapshot's sockets have been closed since")
        if new:
            raise OSError(errno.EBUSY, f"{new} sockets have been opened since: close them first")

    def __repr__(self) -> str:
        return f"<Snapshot of {self.size_bytes} bytes at {self.moment:g} s>"


def _open_sockets(handle: StackHandle) -> dict[int, Any]:
    # By weak references: a snapshot keeps no socket open.
    return dict(handle.opened)


def _destroy(handle: StackHandle, pointer: Any) -> None:
    reap(lib.ps_snapshot_destroy, pointer)
