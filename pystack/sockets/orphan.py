"""The end of a process that goes on using the Stack of one that is gone.

The descriptors of such a Stack's sockets say "readable" for good, and loops that take an error for
a passing one ask again at once, and for ever: those of asyncio and socketserver, and many a
program's own. So an error is told once to each thread that reads a socket; if that thread reads it
again, the process says why and ends, as by `sys.exit`.

A server's master reads nothing: it forks workers, and others when those have been told and have
ended. So they leave word with it; after a few it gets SIGTERM, on which masters end in order, and
one that goes on forking is ended.
"""

from __future__ import annotations

import mmap
import os
import signal
import threading
import weakref
from typing import TYPE_CHECKING

from pystack._native.fork import watch_orphans

if TYPE_CHECKING:
    from pystack.sockets.descriptors import OpenSocket

__all__ = ["note_read"]

_STATUS = 1
# How often a thread, by its identifier, was told of a socket that it reads.
_told: weakref.WeakKeyDictionary[OpenSocket, dict[int, int]] = weakref.WeakKeyDictionary()
_speaking = threading.Lock()
# How many of its children may have been told before a process that forks more gets SIGTERM, and
# before it is ended.
_CHILDREN, _LAST_CHILDREN = 3, 12
_SLOTS = mmap.PAGESIZE
# Where this process's children, and it itself as a child, note that they were told: a byte each.
_of_children: mmap.mmap | None = None
_of_parent: mmap.mmap | None = None


def _say_it_ends() -> None:
    """Says so, once: the lock is never released, whatever the other threads do meanwhile."""
    if _speaking.acquire(blocking=False):
        text = (
            f"pystack: process {os.getpid()} ends: its sockets are on the Stack of another "
            "process, which has ended or does not share it.\n"
        )
        os.write(2, text.encode())


def _note_fork() -> None:
    global _of_children  # noqa: PLW0603
    if _of_children is None:
        _of_children = mmap.mmap(-1, _SLOTS)
    told = _of_children[:].count(1)
    if told < _CHILDREN:
        return
    _say_it_ends()
    if told >= _LAST_CHILDREN:
        os._exit(_STATUS)
    signal.raise_signal(signal.SIGTERM)


def _in_child() -> None:
    global _of_children, _of_parent
    _of_children, _of_parent = None, _of_children


watch_orphans(_note_fork)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def note_read(opened: OpenSocket) -> None:
    """Notes that who reads a socket is about to be told EOWNERDEAD.

    Raises:
        SystemExit: It was told before. One that goes on after that too ends without being asked.
    """
    told = _told.setdefault(opened, {})
    thread = threading.get_ident()
    told[thread] = times = told.get(thread, 0) + 1
    if times == 1:
        if _of_parent is not None:
            _of_parent[os.getpid() % _SLOTS] = 1
        return
    _say_it_ends()
    if times == 2:
        raise SystemExit(_STATUS)
    os._exit(_STATUS)
