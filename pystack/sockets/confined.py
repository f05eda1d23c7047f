"""Programs that are started in a strict block: kept from the kernel's network.

A filter of system calls (seccomp(2), Linux) is a thread's own, and what the thread starts has it
too. So programs are started by a thread that has one, while the process's other threads keep
what they may do. A process that is forked takes it on itself. `pystack run` confines the whole
program before, and needs none of this.
"""

from __future__ import annotations

import contextvars
import errno
import functools
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Any

from pystack._native import ffi, lib
from pystack.sockets.children import SPAWNS
from pystack.sockets.early import Choose
from pystack.sockets.patch import Layer
from pystack.sockets.strict import is_strict

try:
    import _posixsubprocess
except ImportError:  # Windows
    _posixsubprocess = None  # type: ignore[assignment]

__all__ = ["confine", "places_for_children"]

REMEDY = "Started in a block of `pystack.outside`, or without strict, it goes by the kernel."

_confined = False
_thread = threading.local()


def confine(remedy: str) -> int:
    """Keeps this process, its threads and its children from the kernel's network, for ever.

    Args:
        remedy: What a line on standard error that tells of a refusal ends with.

    Returns:
        0 or more; or what keeps it from being so here, as -errno.
    """
    global _confined  # noqa: PLW0603 - of the process
    result = int(lib.ps_confine(ffi.new("char[]", remedy.encode()), True))
    _confined = _confined or result >= 0
    return result


def _confine_thread() -> None:
    result = lib.ps_confine(ffi.new("char[]", REMEDY.encode()), False)
    _thread.confined = True
    if result < 0 and -result != errno.ENOSYS:
        why = os.strerror(-result)
        warnings.warn(
            f"child programs may use the kernel's network: no seccomp filter available ({why})",
            RuntimeWarning,
            stacklevel=2,
        )


def _finish(future: Future[Any], job: Callable[[], Any]) -> None:
    try:
        future.set_result(job())
    except BaseException as error:  # noqa: BLE001 - the caller's
        future.set_exception(error)


def _result(future: Future[Any]) -> Any:
    """What comes of it; what a signal's handler raises meanwhile comes after, as in one thread."""
    raised: BaseException | None = None
    while not future.done():
        try:
            wait([future])
        except BaseException as error:  # noqa: BLE001 - raised below
            raised = error
    if raised is not None:
        raise raised
    return future.result()


class _Starter:
    """A thread that is confined, and calls what it is given."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        # One that lives on: a child may have asked to be killed when it ends (PR_SET_PDEATHSIG).
        threading.Thread(target=self._work, name="pystack-starter", daemon=True).start()

    def _work(self) -> None:
        _confine_thread()
        while True:
            _finish(*self._jobs.get())

    def call(self, job: Callable[[], Any]) -> Any:
        future: Future[Any] = Future()
        self._jobs.put((future, job))
        return _result(future)


def _start(job: Callable[[], Any]) -> Any:
    """Calls it in the thread that all share."""
    global _starter  # noqa: PLW0603 - one a process
    with _lock:
        if _starter is None:
            _starter = _Starter()
    return _starter.call(job)


def _start_and_wait(job: Callable[[], Any]) -> Any:
    """Calls it in its own thread, since it lasts as long as the program it starts."""

    def work() -> None:
        _confine_thread()
        _finish(future, job)

    future: Future[Any] = Future()
    threading.Thread(target=work, name="pystack-starter", daemon=True).start()
    return _result(future)


_lock = threading.Lock()
_starter: _Starter | None = None


def _after_fork() -> None:
    global _lock, _starter
    _lock, _starter = threading.Lock(), None
    if is_strict() and not _confined and not getattr(_thread, "confined", False):
        confine(REMEDY)


def _elsewhere(
    original: Callable[..., Any], call: Callable[[Callable[[], Any]], Any], choose: Choose
) -> Callable[..., Any]:
    @functools.wraps(original)
    def start(*arguments: Any, **named: Any) -> Any:
        if _confined or choose() is None:
            return original(*arguments, **named)
        context = contextvars.copy_context()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())  # inherited by the new program

        def job() -> Any:
            before = signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            try:
                return context.run(original, *arguments, **named)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

        return call(job)

    return start


def places_for_children(choose: Choose) -> Layer:
    """What starts programs, to be done by a confined thread where `choose` names a Stack."""
    global _watches_forks  # noqa: PLW0603 - one handler a process
    if not sys.platform.startswith("linux"):
        return {}
    if not _watches_forks:
        _watches_forks = True
        os.register_at_fork(after_in_child=_after_fork)
    places: Layer = {(os, "system"): _elsewhere(_SYSTEM, _start_and_wait, choose)}
    for place, original in _STARTS.items():
        places[place] = _elsewhere(original, _start, choose)
    return places


_watches_forks = False
_SYSTEM = os.system
_STARTS: Layer = {
    (owner, name): getattr(owner, name)
    for owner, name in (
        (_posixsubprocess, "fork_exec"),
        (subprocess, "_fork_exec"),
    )
    if hasattr(owner, name)
}
_STARTS.update({(os, name): spawn for name, spawn in SPAWNS.items()})
