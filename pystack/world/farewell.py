"""How the threads of a World end with it."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Iterable

from pystack._native import HostLostError, WorldClock
from pystack.world.threads import has_ended, join_in_real_time, threads_of
from pystack.world.waits import of_threads

__all__ = ["end_threads"]

# So many turns a thread has to end in.
_FAREWELLS = 1000
# So many times, for so long in real time, one that spins is asked to.
_ASKED, _ASK_S = 20, 0.05


def _end_those_that_spin(clock: WorldClock, threads: Iterable[threading.Thread]) -> bool:
    """Raises `SystemExit` in threads whose turn was taken: they don't call the World.

    Args:
        clock: The closed World's.
        threads: Of which.

    Returns:
        Whether none is left that goes on: another turn may end them all.
    """
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    for _each in range(_ASKED):
        taken = set(clock.taken())
        spinning = [one for one in threads if one.ident in taken]
        if not spinning:
            return True
        for one in spinning:
            raise_in(ctypes.c_ulong(one.ident or 0), ctypes.py_object(HostLostError))
            join_in_real_time(one, _ASK_S)  # its end takes a turn, if it comes back
    return False


def end_threads(clock: WorldClock) -> list[str]:
    """Has the waits of a closed World's threads fail.

    Args:
        clock: The World's.

    Returns:
        Those that go on all the same, and where.
    """
    here, threads = threading.current_thread(), list[threading.Thread]()
    for _each in range(_FAREWELLS):
        others = [one for one in threads_of(clock) if one is not here]
        threads = [thread for thread in others if not has_ended(thread)]
        if not threads:
            return []
        with contextlib.suppress(OSError):
            clock.wait(None)
        if not _end_those_that_spin(clock, threads):
            break
    told = of_threads(threads)
    clock.abandon()
    return told
