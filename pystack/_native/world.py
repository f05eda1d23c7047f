"""One `ps_world`: the clock that its Stacks and links share, and whose turn it is."""

from __future__ import annotations

import _thread
import errno
import math
import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from pystack._native._host import ffi, lib
from pystack._native.signals import Looker, raise_kept
from pystack.errors import DeadlockError

_LONGEST_US = 1 << 62
# In real time, for which nothing but a Stack's own timers is waited for: longer than TCP's longest
# retransmission timeout (RFC 6298: 60 s or more; Linux has 120).
SILENCE_S = 150.0
_NO_PART = (
    "this thread takes no part in the World, so it can't wait there: start it by host.thread, or "
    "by threading inside the World"
)
_INSIDE = (
    "a hypercall, or what answers a NIC, can't wait in the World of the Stack that called it, "
    "which stands still until it returns: let a thread of the World wait instead"
)


# What attaching a NIC from outside ends with.
OUTSIDE_WORDS = {
    errno.EMFILE: "a World has 128 NICs from outside at most",
    errno.EOPNOTSUPP: (
        "a World in virtual time doesn't wait for frames of the machine's: World(time='real') does"
    ),
}
# In a thread that was started inside a World.
_started_inside = threading.local()


class HostLostError(SystemExit):
    """Ends a thread of a World whose host has lost power, or whose World has ended."""


# So many calls of its sockets a loop may make, once its host is lost, while its tasks end.
_FAREWELLS = 1000


def _running_loop() -> Any:
    """The loop of asyncio's that runs in this thread; without asyncio there is none."""
    events = sys.modules.get("asyncio.events")
    return None if events is None else events._get_running_loop()


def end_thread_of_world(*, waits: bool = True) -> None:
    """Ends this thread, if it was started inside a World: its machine has lost power.

    `asyncio.run` cancels its tasks then, and runs its loop until they have ended: to that loop,
    sockets have nothing to give any more. Tasks that go on waiting are given up without a word, for
    there is nobody whom they would concern.

    Args:
        waits: Whether it waits for time to pass, as none does any more.

    Raises:
        HostLostError: Then.
        BlockingIOError: In a loop that ends its tasks, where it doesn't wait.
    """
    if not getattr(_started_inside, "yes", False):
        return
    times = _started_inside.times = getattr(_started_inside, "times", 0) + 1
    loop = _running_loop()
    if loop is not None and times > 1:
        if not waits and times < _FAREWELLS:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        for task in sys.modules["asyncio"].all_tasks(loop):
            task._log_destroy_pending = False
    raise HostLostError("the host has lost power, or the World has ended")


def note_thread_of_world() -> None:
    """Notes that this thread was started inside a World."""
    _started_inside.yes = True


class TurnBell:
    """Wakes a thread of a World from anywhere, also when that one has gone.

    Args:
        turn: The thread's.
    """

    # A World doesn't replace it here. A signal's handler may ring while its thread does.
    _make_lock = staticmethod(_thread.RLock)

    def __init__(self, turn: Any) -> None:
        self._turn = turn
        self._lock = self._make_lock()

    def ring(self) -> None:
        """Its wait ends, or its next one."""
        with self._lock:
            if self._turn is not None:
                lib.ps_turn_wake(self._turn)

    def silence(self) -> None:
        """In that thread: it won't wait for this any more."""
        with self._lock:
            self._turn = None


class WorldClock:
    """The clock of a World; a `pystack.hypercalls.Clock`.

    Args:
        start: Its first reading, in seconds.
        real: Whether it waits for the machine's.

    Attributes:
        pointer: The `ps_world *`.
        is_real: Whether it waits for the machine's.
        explain: Says what waits, for `DeadlockError`.
        host_names: The names of the World's hosts, for errors.
        closed: Whether the World has ended.
    """

    def __init__(self, start: float = 0.0, *, real: bool = False) -> None:
        out = ffi.new("ps_world **")
        result = lib.ps_world_create(round(start * 1e6), out)
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        self.pointer = ffi.gc(out[0], lib.ps_world_release)
        self.is_real = real
        self._start()
        self.explain: Callable[[], str] = str
        self.host_names: Callable[[], Iterable[str]] = tuple
        self.closed = False
        self._looker = Looker()
        self._looks = ffi.new_handle(self._looker)  # C calls back with this
        self._first: int | None = None

    def _start(self) -> None:
        result = lib.ps_world_pace(self.pointer, round(SILENCE_S * 1e6)) if self.is_real else 0
        if result < 0:
            raise OSError(-result, os.strerror(-result))

    def behind_us(self) -> int:
        """By how many microseconds it is behind the machine's clock; 0, where it isn't real."""
        return int(lib.ps_world_behind_us(self.pointer))

    def expect(self, more: bool) -> None:
        """Notes that a thread from outside is going to wake one of the World's, or has.

        Raises:
            OSError: EOPNOTSUPP, its time isn't real.
        """
        if lib.ps_world_expect(self.pointer, more) < 0:
            raise OSError(
                errno.EOPNOTSUPP,
                "a World in virtual time doesn't wait for the machine: World(time='real') does",
            )

    def take_part_first(self) -> None:
        """Makes this thread the World's first; if signals come to it, their handlers run there."""
        if threading.current_thread() is threading.main_thread():
            lib.ps_world_look(self.pointer, lib.ps_python_look, self._looks)
        self._first = threading.get_ident()
        self._start()
        self.sleep(0)

    def now_us(self) -> int:
        """The reading in microseconds."""
        return int(lib.ps_world_now_us(self.pointer))

    def now(self) -> float:
        """The reading in seconds."""
        return int(lib.ps_world_now_us(self.pointer)) / 1e6

    def after_us(self, seconds: float) -> int:
        """The reading after so many seconds; at the next microsecond, where it is between two."""
        return self.now_us() + min(max(0, math.ceil(seconds * 1e6 - 1e-3)), _LONGEST_US)

    def wait(self, until_us: int | None, *, shows: Callable[[], Any] | None = None) -> bool:
        """Gives the turn to others, and moves the World, until this thread is woken.

        Args:
            until_us: The reading at which to wait no longer; None: for ever.
            shows: Tells whether a descriptor shows something: return also when one of the World's
                Stacks shows something else, or a signal has written to another.

        Returns:
            Whether it was woken; False: the time is over.

        Raises:
            DeadlockError: Nothing can ever happen.
            RuntimeError: This thread takes no part in the World.
            OSError: EBADF, the World is closed; EDEADLK, this thread is inside a hypercall of one
                of its Stacks.
            BaseException: What a signal's handler has raised.
        """
        left = -1 if until_us is None else max(0, until_us - self.now_us())
        if shows is not None and self._first == threading.get_ident():
            self._looker.shows = shows
        try:
            result = lib.ps_turn_wait(self.pointer, left, shows is not None)
        finally:
            if shows is not None and self._first == threading.get_ident():
                self._looker.shows = None
        if result == -errno.EAGAIN:
            return False
        if result == -errno.EBADF:
            end_thread_of_world()
            raise OSError(errno.EBADF, "the World has ended")
        if result == -errno.EDEADLK:
            raise OSError(errno.EDEADLK, _INSIDE)
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

    def taken(self) -> list[int]:
        """The threads that have lost their turn, since they didn't give it up, and go on."""
        room = 64
        out = ffi.new("uint64_t[]", room)
        count = lib.ps_world_taken(self.pointer, out, room)
        return [int(each) for each in out[0 : min(count, room)]]

    def abandon(self) -> None:
        """Lets threads that don't end with the closed World go on without it."""
        lib.ps_world_abandon(self.pointer)

    def turn(self) -> Any:
        """This thread's `ps_turn *`; NULL: it takes no part."""
        return lib.ps_turn_mine(self.pointer)

    def fail(self, result: int) -> None:
        """Raises what only a World's calls may end with."""
        if result == -errno.ECANCELED:
            raise_kept()
        if result == -lib.PS_STALLED:
            raise DeadlockError(self.explain() or "nothing can ever happen in this World again")
        if result == -errno.EPERM and not self.takes_part():
            raise RuntimeError(_NO_PART)

    def __repr__(self) -> str:
        return f"<WorldClock at {self.now():g} s>"
