"""Signals while a World's first thread waits in C: their handlers run, and what they raise is kept.

C calls `ps_python_look` in that thread now and then. Python runs handlers between the steps of any
Python code in the main thread, so also here; what one raises can't pass through C, and is raised by
the call that waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pystack._native._host import ffi, lib

__all__ = ["Looker", "raise_kept"]

# Handlers run in the process's main thread alone.
_kept: list[BaseException] = []


def raise_kept() -> None:
    """Raises what a signal's handler has raised while this thread waited in C, if one has."""
    if _kept:
        raise _kept.pop()


class Looker:
    """What a World's look for signals needs.

    Attributes:
        shows: Whether a descriptor shows something by now, for a wait for descriptors: a signal
            writes to the one of `signal.set_wakeup_fd`. None: no such wait.
    """

    def __init__(self) -> None:
        self.shows: Callable[[], Any] | None = None


def _keep(_kind: Any, error: BaseException, _traceback: Any) -> int:
    _kept.append(error)
    return int(lib.PS_LOOK_RAISED)


@ffi.def_extern(onerror=_keep)  # type: ignore[untyped-decorator]
def ps_python_look(python: Any) -> int:
    shows = ffi.from_handle(python).shows
    return int(lib.PS_LOOK_WAKES if shows is not None and shows() else lib.PS_LOOK_QUIET)
