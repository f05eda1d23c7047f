"""One `ps_world`: the clock that its Stacks and links share, and whose turn it is."""

from __future__ import annotations

import errno
import math
import os
import threading
from collections.abc import Callable
from typing import Any

from pystack._native._host import ffi, lib
from pystack.errors import DeadlockError

_LONGEST_US = 1 << 62
_NO_PART = (
    "this thread takes no part in the World, so it can't wait there: start it by host.thread, or "
    "by threading inside the World"
)


# In a thread that was started inside a World.
_started_inside = threading.local()


class HostLostError(SystemExit):
    """Ends a thread of a World whose host has lost power, or whose World has ended."""


def end_thread_of_world() -> None:
    """Ends this thread, if it was started inside a World: its machine has lost power.

    Raises:
        HostLostError: Then.
    """
    if getattr(_started_inside, "yes", False):
        raise HostLostError("the host has lost power, or the World has ended")


def note_thread_of_world() -> None:
    """Notes that this thread was started inside a World."""
    _started_inside.yes = True


class WorldClock:
    """The virtual clock of a World; a `pystack.hypercalls.Clock`.

    Args:
        start: Its first reading, in seconds.

    Attributes:
        pointer: The `ps_world *`.
        explain: Says what waits, for `DeadlockError`.
        closed: Whether the World has ended.
    """

    def __init__(self, start: float = 0.0) -> None:
        out = ffi.new("ps_world **")
        result = lib.ps_world_create(round(start * 1e6), out)
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        self.pointer = ffi.gc(out[0], lib.ps_world_release)
        self.explain: Callable[[], str] = str
        self.closed = False

    def now_us(self) -> int:
        """The reading in microseconds."""
        return int(lib.ps_world_now_us(self.pointer))

    def now(self) -> float:
        """The reading in seconds."""
        return int(lib.ps_world_now_us(self.pointer)) / 1e6

    def after_us(self, seconds: float) -> int:
        """The reading after so many seconds; at the next microsecond, where it is between two."""
        return self.now_us() + min(max(0, math.ceil(seconds * 1e6 - 1e-3)), _LONGEST_US)

    def wait(self, until_us: int | None, *, polls: bool = False) -> bool:
        """Gives the turn to others, and moves the World, until this thread is woken.

        Args:
            until_us: The reading at which to wait no longer; None: for ever.
            polls: Return also when a descriptor of one of its Stacks shows something else.

        Returns:
            Whether it was woken; False: the time is over.

        Raises:
            DeadlockError: Nothing can ever happen.
            RuntimeError: This thread takes no part in the World.
            OSError: EBADF, the World is closed.
        """
        while True:
            left = -1 if until_us is None else max(0, until_us - self.now_us())
            result = lib.ps_turn_wait(self.pointer, left, polls)
            if result != -errno.EINTR:
                break
        if result == -errno.EAGAIN:
            return False
        if result == -errno.EBADF:
            end_thread_of_world()
            raise OSError(errno.EBADF, "the World has ended")
        if result < 0:
            self.fail(result)
            raise OSError(-result, os.strerror(-result))
        return True

    def sleep(self, seconds: float) -> None:
        """Lets others run for so long, and at least once."""
        until_us = self.after_us(seconds)
        while self.wait(until_us):
            pass

    def takes_part(self) -> bool:
        """Whether this thread does, so that its time is the World's."""
        return bool(lib.ps_turn_mine(self.pointer) != ffi.NULL)

    def turn(self) -> Any:
        """This thread's `ps_turn *`; NULL: it takes no part."""
        return lib.ps_turn_mine(self.pointer)

    def fail(self, result: int) -> None:
        """Raises what only a World's calls may end with."""
        if result == -lib.PS_STALLED:
            raise DeadlockError(self.explain() or "nothing can ever happen in this World again")
        if result == -errno.EPERM and not self.takes_part():
            raise RuntimeError(_NO_PART)

    def __repr__(self) -> str:
        return f"<WorldClock at {self.now():g} s>"
