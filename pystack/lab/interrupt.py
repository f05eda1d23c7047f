"""How a run ends before its end: the cases that are running end, and what was found is kept.

A terminal sends SIGINT, or SIGHUP when it goes, to the whole foreground group. Only the process
that conducts the run heeds them: its workers, and what they start, ignore them. The conductor then
sends SIGTERM, which also ends itself so, to the workers, whose job ends in the middle of its case
and returns the results that it has. A worker whose conductor is gone does the same, and ends.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from multiprocessing import active_children, parent_process
from multiprocessing.connection import wait as wait_for_end
from typing import Any

__all__ = [
    "Interrupted",
    "Stopped",
    "at_work",
    "begin_worker",
    "end_workers",
    "held",
    "once",
    "stoppable",
    "stopped",
]

STOP_S = 10.0
"""How long the workers have to give their Hosts back, before they are killed."""
TOGETHER_S = 0.5
"""How long after a signal another one is still the same Ctrl-C."""

_HELD = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_stop = False
_within = False
_idle = threading.Event()
_idle.set()


class Interrupted(KeyboardInterrupt):
    """A signal ends the run.

    Attributes:
        number: The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Stopped(BaseException):
    """The run is over, in the middle of a case. No error of the case's, so not for it to catch."""


def stopped() -> bool:
    """Whether the run is over: a job begins no other case."""
    return _stop


@contextmanager
def stoppable() -> Iterator[None]:
    """A block that SIGTERM ends with `Stopped`, in a worker."""
    global _within  # noqa: PLW0603
    _within = True
    try:
        if _stop:
            raise Stopped
        yield
    finally:
        _within = False


def _on_sigterm(_number: int, _frame: object) -> None:
    global _stop  # noqa: PLW0603
    _stop = True
    if _within:
        raise Stopped


@contextmanager
def at_work() -> Iterator[None]:
    """A job, whose Host is given back within it."""
    _idle.clear()
    try:
        yield
    finally:
        _idle.set()


def begin_worker() -> None:
    """Prepares a worker process, which was started within `held`, and ends with its parent."""
    threading.Thread(target=_end_with_parent, name="end with parent", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _on_sigterm)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)


def _end_with_parent() -> None:
    # Started with signals blocked: they are for the main thread.
    parent = parent_process()
    assert parent is not None, "a worker has a parent"
    wait_for_end([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    _idle.wait(STOP_S)
    os._exit(1)  # nobody takes its results, and nobody will give it another job


@contextmanager
def held() -> Iterator[None]:
    """A block in which signals wait, here and in the workers that it starts."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def once() -> Iterator[None]:
    """A block, in the main thread, that SIGINT, SIGTERM and SIGHUP end with `Interrupted`.

    Those that come together are one: timeout(1) sends a signal to its child and one to the group,
    and only a later one means impatience. A SIGHUP that was ignored, as under nohup(1), still is.
    """
    last = -math.inf

    def on_signal(number: int, _frame: object) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before > TOGETHER_S:
            raise Interrupted(number)

    before = {number: signal.getsignal(number) for number in _HELD}
    heeded = [one for one in _HELD if one != signal.SIGHUP or before[one] != signal.SIG_IGN]
    try:
        for number in heeded:
            signal.signal(number, on_signal)
        yield
    finally:
        for number in heeded:
            signal.signal(number, before[number])


def end_workers(futures: Iterable[Future[Any]]) -> list[Future[Any]]:
    """Ends the jobs that are running: in processes that this one started, and in its threads.

    Processes that don't end their job within `STOP_S`, or until a signal comes again, are killed.

    Returns:
        The futures of jobs that returned, the ones before among them.
    """
    global _stop  # noqa: PLW0603
    _stop = True
    begun = [one for one in futures if not one.cancel()]
    try:
        for child in active_children():
            child.terminate()
        waiting = wait(begun, STOP_S).not_done
    except KeyboardInterrupt:
        waiting = {one for one in begun if not one.done()}
    if waiting:
        for child in active_children():
            child.kill()
        waiting = wait(begun, STOP_S).not_done
    # A thread can't be killed: it begins no other case.
    _stop = bool(waiting)
    return [one for one in begun if one.done() and one.exception() is None]
