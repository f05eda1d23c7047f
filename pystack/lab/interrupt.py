"""What Ctrl-C does to a run: the cases that are running end, and what was found is kept.

A terminal sends SIGINT to the whole foreground group. Only the process that conducts the run heeds
it: its workers, and what they start, ignore it. The conductor then sends SIGTERM to the workers,
whose job ends in the middle of its case and returns the results that it has.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from multiprocessing import active_children
from typing import Any

__all__ = ["Stopped", "begin_worker", "end_workers", "held", "once", "stoppable", "stopped"]

STOP_S = 10.0
"""How long the workers have to give their Hosts back, before they are killed."""
TOGETHER_S = 0.5
"""How long after a SIGINT another one is still the same Ctrl-C."""

_HELD = {signal.SIGINT, signal.SIGTERM}
_stop = False
_within = False


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


def begin_worker() -> None:
    """Prepares a worker process, which was started within `held`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _on_sigterm)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)


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
    """A block, in the main thread, in which SIGINTs that come together are one KeyboardInterrupt.

    timeout(1) sends one to its child and one to the group, and only a later one means impatience.
    """
    last = -math.inf

    def on_sigint(_number: int, _frame: object) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before > TOGETHER_S:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, on_sigint)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def end_workers(futures: Iterable[Future[Any]]) -> list[Future[Any]]:
    """Ends the jobs that are running: in processes that this one started, and in its threads.

    Processes that don't end their job within `STOP_S`, or until Ctrl-C comes again, are killed.

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
