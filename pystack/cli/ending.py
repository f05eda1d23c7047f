"""How a program that `pystack run` runs ends: as by python(1), and the Stack after everything else.

Threads, pools and exit handlers come first and still have the Stack. Then what was accepted for
sending is delivered (`pystack._native.ending`); so it is before a signal's default action,
`os._exit`, and another program in this one's place (`os.execv`).
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from pystack._native import ending

__all__ = ["conduct", "end_last"]

# Those that end a process by default, and ask for no core of it.
_NAMES = ("SIGHUP", "SIGINT", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGVTALRM",
          "SIGPROF")  # fmt: skip
_SIGNALS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


def conduct(program: Callable[[], Any], of_ours: tuple[str, ...]) -> None:
    """Runs the program; what it does not catch ends it as python(1) would end it.

    Args:
        program: What to call.
        of_ours: The files whose frames are not the program's, at the top of a traceback.
    """
    try:
        program()
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - the command's own errors are another matter
        error.__traceback__ = _of_the_program(error.__traceback__, (__file__, *of_ours))
        sys.excepthook(type(error), error, error.__traceback__)
        if isinstance(error, KeyboardInterrupt):
            ending.die_by(signal.SIGINT)
        sys.exit(1)


def _of_the_program(trace: TracebackType | None, ours: tuple[str, ...]) -> TracebackType | None:
    """The part of a traceback that is the program's own."""
    while trace is not None and trace.tb_frame.f_code.co_filename in ours:
        trace = trace.tb_next
    return trace


def end_last(leave: Callable[[], Any]) -> None:
    """Has the Stacks of this process end after all else, however it ends.

    Args:
        leave: Is called when they have.
    """
    ending.after_all(leave)
    ending.tell_of_ends()
    ending.deliver_before(*_SIGNALS)
    signal.signal = _watching(signal.signal)
    owner = os.getpid()

    def before(function: Any, may: Callable[..., bool] = lambda *_arguments: True) -> Any:
        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            if os.getpid() == owner and may(*arguments):
                ending.end_all()
            return function(*arguments, **named)

        return call

    os._exit = before(os._exit)
    os.execv = before(os.execv, _is_program)
    os.execve = before(os.execve, _is_program)


def _is_program(path: Any = None, *_arguments: Any) -> bool:
    """Whether execve(2) will not fail for want of a program."""
    return isinstance(path, int) or (path is not None and os.access(path, os.X_OK))


def _watching(function: Any) -> Any:
    @functools.wraps(function)
    def set_handler(signalnum: Any, handler: Any) -> Any:
        before = function(signalnum, handler)
        if handler == signal.SIG_DFL and signalnum in _SIGNALS:
            ending.deliver_before(signalnum)
        return before

    return set_handler
