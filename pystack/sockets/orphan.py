"""The end of a process that goes on using the Stack of one that is gone.

The descriptors of such a Stack's sockets say "readable" for good, and loops that take an error for
a passing one ask again at once, and for ever: those of asyncio and socketserver, and many a
program's own. So an error is told once to each thread that reads a socket; if that thread reads it
again, the process says why and ends, as by `sys.exit`.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pystack.sockets.descriptors import OpenSocket

__all__ = ["note_read"]

_STATUS = 1
# How often a thread, by its identifier, was told of a socket that it reads.
_told: weakref.WeakKeyDictionary[OpenSocket, dict[int, int]] = weakref.WeakKeyDictionary()
_speaking = threading.Lock()


def note_read(opened: OpenSocket) -> None:
    """Notes that who reads a socket is about to be told EOWNERDEAD.

    Raises:
        SystemExit: It was told before. One that goes on after that too ends without being asked.
    """
    told = _told.setdefault(opened, {})
    thread = threading.get_ident()
    told[thread] = times = told.get(thread, 0) + 1
    if times == 1:
        return
    # Never released: there is one line, whatever the other threads do meanwhile.
    if _speaking.acquire(blocking=False):
        text = (
            f"pystack: process {os.getpid()} ends: its sockets are on the Stack of another "
            "process, which has ended or does not share it.\n"
        )
        os.write(2, text.encode())
    if times == 2:
        raise SystemExit(_STATUS)
    os._exit(_STATUS)
