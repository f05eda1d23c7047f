"""How a program under `pystack run` ends: as under python(1), and the Stack after everything else.

Threads, pools and exit handlers come first and still have the Stack. Then data accepted for sending
is delivered (`pystack._native.ending`), as it is before a signal's default action, `os._exit`, and
replacing this program by another (`os.execv`).
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

__all__ = ["conduct", "end_last", "end_orderly"]

# Those that end a process by default without dumping core.
_NAMES = ("SIGHUP", "SIGINT", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGVTALRM",
          "SIGPROF")  # fmt: skip
_LEFT_ALONE = (
    b"pystack: the Stack ends with this process, and its children lose it: run servers in the "
    b"foreground, not as daemons.\n"
)
_SIGNALS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


def conduct(program: Callable[[], Any], of_ours: tuple[str, ...]) -> None:
    """Runs the program; an uncaught exception ends it as under python(1).

    Args:
        program: What to call.
        of_ours: Files whose frames to leave out at the top of a traceback.
    """
    try:
        program()
        return
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - the command's own errors are another matter
        error.__traceback__ = _of_the_program(error.__traceback__, (__file__, *of_ours))
        raised = error
    _report(raised)  # out of the handler, so that its error is no one's context
    if isinstance(raised, KeyboardInterrupt):
        ending.die_by(signal.SIGINT)
    sys.exit(1)


def _report(error: BaseException) -> None:
    """Hands an uncaught exception to `sys.excepthook`, as the interpreter does at its end."""
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, error.__traceback__
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    hook = getattr(sys, "excepthook", None)
    if hook is None:
        print("sys.excepthook is missing", file=sys.stderr)
        hook = sys.__excepthook__
    try:
        hook(type(error), error, error.__traceback__)
        return
    except SystemExit:
        raise
    except BaseException as raised:  # noqa: BLE001 - told of, with what it was to tell of
        second = raised
    second.__traceback__ = _of_the_program(second.__traceback__, (__file__,))
    print("Error in sys.excepthook:", file=sys.stderr)
    sys.__excepthook__(type(second), second, second.__traceback__)
    print("\nOriginal exception was:", file=sys.stderr)
    sys.__excepthook__(type(error), error, error.__traceback__)


def _of_the_program(trace: TracebackType | None, ours: tuple[str, ...]) -> TracebackType | None:
    """The part of a traceback that is the program's own."""
    while trace is not None and trace.tb_frame.f_code.co_filename in ours:
        trace = trace.tb_next
    return trace


def end_orderly() -> None:
    """Has a signal that ends this process by default do so once all is delivered and captured.

    A second one does so at once. An end that takes more than a second is told of.
    """
    ending.tell_of_ends()
    ending.deliver_before(*_SIGNALS)


def end_last(leave: Callable[[], Any]) -> None:
    """Makes the Stacks of this process end after everything else, however it ends.

    Args:
        leave: Called afterwards.
    """
    ending.after_all(leave)
    end_orderly()
    signal.signal = _watching(signal.signal)
    owner = os.getpid()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_parent=_note_fork)

    def before(function: Any, may: Callable[..., bool] = lambda *_arguments: True) -> Any:
        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            if os.getpid() == owner and may(*arguments):
                ending.end_all()
            return function(*arguments, **named)

        return call

    os._exit = before(_told(os._exit, owner))
    os.execv = before(os.execv, _is_program)
    os.execve = before(os.execve, _is_program)


_forked = False


def _note_fork() -> None:
    global _forked  # noqa: PLW0603 - of one process
    _forked = True


def _told(exit_now: Any, owner: int) -> Any:
    """`os._exit`, by which a parent leaves its daemon alone: with a word about the Stack."""

    @functools.wraps(exit_now)
    def exit_with_a_word(status: int) -> Any:
        if os.getpid() == owner and _forked and _has_running_children():
            os.write(2, _LEFT_ALONE)
        return exit_now(status)

    return exit_with_a_word


def _has_running_children() -> bool:
    try:
        # None: there are children, and none of them has ended.
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except (AttributeError, ChildProcessError):
        return False


def _is_program(path: Any = None, *_arguments: Any) -> bool:
    """Whether execve(2) will find a program to run."""
    return isinstance(path, int) or (path is not None and os.access(path, os.X_OK))


def _watching(function: Any) -> Any:
    @functools.wraps(function)
    def set_handler(signalnum: Any, handler: Any) -> Any:
        before = function(signalnum, handler)
        if handler == signal.SIG_DFL and signalnum in _SIGNALS:
            ending.deliver_before(signalnum)
        return before

    return set_handler
