"""The end of Stacks: what they have accepted for sending is delivered first.

Rules: all Stacks that end together stop taking calls at once, as the sockets of a process do, for
what one waits for may be in another's buffers. At exit this comes last, after threads, pools and
exit handlers. What the garbage collector finds waits for nobody: a thread sees to it.
"""

from __future__ import annotations

import atexit
import errno
import logging
import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias

from pystack._native._host import ffi, lib

__all__ = ["LINGER", "Ending", "Remains", "closed", "end_all", "finish", "opened", "tell_by"]

# Seconds without progress after which a Stack that is closed gives up.
LINGER = 60.0

# Is told of what keeps a Stack from ending, in bytes and peers.
Teller: TypeAlias = Callable[[int, int], None]

_LONGEST = 1e12  # seconds
_FIRST_TOLD, _TOLD_AGAIN = 1.0, 5.0  # seconds
_ALONE_US, _TOGETHER_US = 200_000, 5_000
_NOT_YET = (-errno.EAGAIN, -errno.EINTR)
_ERRORS = (-errno.EDEADLK, -errno.ECANCELED)


class Ending(Protocol):
    """A Stack that can be ended."""

    @property
    def pointer(self) -> Any:
        """The `ps_stack *`."""
        ...

    @property
    def linger(self) -> float:
        """Seconds without progress after which it gives up."""
        ...


_teller: Teller | None = None


def tell_by(teller: Teller | None) -> None:
    """Says whom to tell of an end that takes more than a second."""
    global _teller  # noqa: PLW0603 - there is one process that ends
    _teller = teller


def finish(stacks: Iterable[Ending]) -> int:
    """Waits until Stacks have delivered what they accepted, or nobody takes any more of it.

    They take no more calls from then on, and have to be closed after it, whatever happens.

    Returns:
        0, or the first error among -errno.EDEADLK and -errno.ECANCELED.
    """
    waiting: dict[Any, tuple[int, int]] = dict.fromkeys(stacks, (0, 0))
    left = ffi.new("struct ps_undelivered *")
    due = time.monotonic() + _FIRST_TOLD
    slice_us = error = 0
    try:
        while waiting:
            for each in list(waiting):
                result = lib.ps_stack_finish(each.pointer, _microseconds(each), slice_us, left)
                if result in _NOT_YET:
                    waiting[each] = (left.bytes, left.peers)
                    continue
                del waiting[each]
                if result in _ERRORS:
                    error = error or result
            slice_us = _ALONE_US if len(waiting) == 1 else _TOGETHER_US
            if waiting and time.monotonic() >= due:
                due = time.monotonic() + _TOLD_AGAIN
                _tell(waiting)
    except KeyboardInterrupt:
        _tell(waiting)
        raise
    return error


def _microseconds(stack: Ending) -> int:
    return round(min(stack.linger, _LONGEST) * 1e6)


def _tell(waiting: dict[Any, tuple[int, int]]) -> None:
    size = sum(each for each, _peers in waiting.values())
    peers = sum(each for _size, each in waiting.values())
    if _teller is not None and peers > 0:
        _teller(size, peers)


# --- what the garbage collector finds ------------------------------------------------------------


class Remains:
    """What is left of a Stack when nothing refers to it any more.

    Attributes:
        pointer: Its `ps_stack *`.
        linger: As `Ending.linger`.
        waits: Whether it may go on without the rest: no Python stands at the end of its wires.
    """

    def __init__(self, pointer: Any, user: Any, engine: str) -> None:
        self.pointer = pointer
        self.linger = LINGER
        self.waits = True
        self._user = user  # what C calls back with has to live as long
        self._process = os.getpid()
        self._engine = engine
        self._lock = threading.Lock()  # guards the pointer's life
        self._thread: threading.Thread | None = None

    def collect(self) -> None:
        """Closes the Stack and frees it, now or, if something is left to deliver, later."""
        if not self.waits:
            self.linger = 0.0
        ours = os.getpid() == self._process
        if ours and lib.ps_interfaces(self.pointer, ffi.NULL, 0) != -errno.EBADF:
            warnings.warn(f"unclosed Stack ({self._engine})", ResourceWarning, stacklevel=2)
        left = ffi.new("struct ps_undelivered *")
        # Collection can come from inside one of its hypercalls: then it can't be entered.
        result = lib.ps_stack_finish(self.pointer, _microseconds(self), 0, left)
        if not (result == -errno.EDEADLK or result in _NOT_YET) or not self._leave_to_a_thread():
            self._free()

    def _leave_to_a_thread(self) -> bool:
        self._thread = threading.Thread(target=self._end, name="pystack-remains", daemon=True)
        _remains.add(self)
        try:
            self._thread.start()
        except RuntimeError:  # too late for threads
            _remains.discard(self)
            return False
        return True

    def _end(self) -> None:
        finish([self])
        self._free()
        _remains.discard(self)

    def _free(self) -> None:
        with self._lock:
            if lib.ps_stack_close(self.pointer, False) == 0 and os.getpid() == self._process:
                lib.ps_stack_destroy(self.pointer)
                self.pointer = None

    def join(self) -> None:
        """Waits for the thread, if there is one."""
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """Ends what the thread waits for."""
        with self._lock:
            if self.pointer is not None:
                lib.ps_stack_close(self.pointer, False)


# --- exit ----------------------------------------------------------------------------------------

_open: weakref.WeakSet[Any] = weakref.WeakSet()
_remains: set[Remains] = set()


def opened(stack: Ending) -> weakref.WeakSet[Any]:
    """Notes a Stack that has to be ended at exit; gives all that are open."""
    _open.add(stack)
    return _open


def closed(stack: Ending) -> None:
    """Notes that this one is."""
    _open.discard(stack)


def end_all() -> None:
    """Ends all Stacks of this process in order, and closes them; Ctrl-C gives up what is left."""
    stacks, remains = list(_open), list(_remains)
    try:
        finish(stacks)
        for each in remains:
            each.join()
    except KeyboardInterrupt:
        pass  # `finish` has said so; what is left is reset
    finally:
        for each in remains:
            each.close()
        for stack in stacks:
            lib.ps_stack_close(stack.pointer, False)


# Exit handlers run in the reverse order: ours after all others, those that log to the network among
# them. After it no thread of C's may ask for an interpreter that is going away.
atexit.unregister(logging.shutdown)
atexit.register(end_all)
atexit.register(logging.shutdown)
