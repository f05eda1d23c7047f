"""What becomes of a Stack in a child process that `os.fork` makes.

The child gets a channel to the process that owns the Stack, made before the fork, and all the
sockets that are open, as it would get the kernel's.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from typing import Any

from pystack._native._host import ffi, lib

__all__ = ["keep_over_fork", "share_with_children", "watch_orphans"]


class _Prepared:
    """Everything a child about to be forked will need for one Stack."""

    __slots__ = ("descriptor", "handle", "numbers", "shown")

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        opened = [
            (number, one)
            for number, reference in list(handle.opened.items())
            if (one := reference()) is not None
        ]
        self.numbers = ffi.new("int64_t[]", [number for number, _one in opened])
        self.shown = ffi.new("int[]", [self._shown(number) for number, _one in opened])
        self.descriptor = lib.ps_channel_fork(handle.pointer, self.numbers, len(self.numbers))

    def _shown(self, number: int) -> int:
        # In a child's child each has one, whether it was shown to the program or not.
        if self.handle.remote:
            return max(int(lib.ps_descriptor(self.handle.pointer, number, False)), -1)
        return int(lib.ps_descriptor_number(self.handle.pointer, number))


class _Thread(threading.local):
    prepared: list[_Prepared] | None = None


_thread = _Thread()
_handles: Any = None
_note_orphan: Callable[[], None] | None = None
# The children's ends of all threads that are forking; a process forked meanwhile closes them.
_ends: set[int] = set()


def share_with_children(handles: Any) -> None:
    """Shares these Stacks, a set that may grow, with all children from now on."""
    global _handles  # noqa: PLW0603
    if _handles is None and hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
        )
    _handles = handles


def watch_orphans(note: Callable[[], None]) -> None:
    """Has this called before a fork of which a child gets sockets of a Stack that has ended."""
    global _note_orphan  # noqa: PLW0603
    _note_orphan = note


def keep_over_fork(lock: Any) -> None:
    """Has no child begin with a lock that is taken, by a thread that it doesn't have."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
        )


def _before() -> None:
    _thread.prepared = prepared = []
    for handle in list(_handles):
        one = _Prepared(handle)
        if one.descriptor >= 0:
            _ends.add(one.descriptor)
        prepared.append(one)
    orphaned = any(one.descriptor == -errno.EOWNERDEAD and len(one.numbers) for one in prepared)
    if orphaned and _note_orphan is not None:
        _note_orphan()


def _after_in_parent() -> None:
    prepared, _thread.prepared = _thread.prepared, None
    for one in prepared or ():
        if one.descriptor >= 0:
            _ends.discard(one.descriptor)
            os.close(one.descriptor)


def _after_in_child() -> None:
    prepared, _thread.prepared = _thread.prepared, None
    mine = {one.descriptor for one in prepared or ()}
    for descriptor in _ends - mine:
        os.close(descriptor)
    _ends.clear()
    for one in prepared or ():
        handle = one.handle
        result = lib.ps_channel_join(
            handle.pointer, one.descriptor, one.numbers, one.shown, len(one.numbers)
        )
        if result == 0 and one.descriptor >= 0:
            handle.remote = True
        elif one.descriptor not in (-errno.EOWNERDEAD, -errno.EOPNOTSUPP, -errno.EBADF):
            handle.trouble = os.strerror(-min(result, one.descriptor))
