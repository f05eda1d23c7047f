"""The end of Stacks: what they have accepted for sending is delivered first.

Rules: all Stacks that end together stop taking calls at once, as the sockets of a process do, for
what one waits for may be in another's buffers. At exit this comes last, after threads, pools and
exit handlers. A Stack found by the garbage collector blocks nothing: a thread ends it. A signal
that ends the process stops its Python code first, as the kernel would.
"""

from __future__ import annotations

import atexit
import ctypes
import errno
import logging
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from pystack._native._host import ffi, lib
from pystack._native.signals import raise_kept

__all__ = [
    "LINGER",
    "Ending",
    "Remains",
    "after_all",
    "closed",
    "deliver_before",
    "die_by",
    "end_all",
    "finish",
    "opened",
    "stay_if_over",
    "tell_of_ends",
]

# Seconds without progress after which a Stack that is closed gives up.
LINGER = 60.0

_LONGEST = 1e12  # seconds
_SLICE_US = 500_000
_NOT_YET = (-errno.EAGAIN, -errno.EINTR)


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


_tells = False


def tell_of_ends() -> None:
    """Reports an end that takes more than a second on standard error."""
    global _tells  # noqa: PLW0603 - there is one process that ends
    _tells = True
    lib.ps_tell_of_ends(True)


def _microseconds(stack: Ending) -> int:
    return round(min(stack.linger, _LONGEST) * 1e6)


def _endings(stacks: Iterable[Ending]) -> Any:
    """The C array of them, which is good for as long as they are."""
    listed = [(each.pointer, _microseconds(each), False, 0) for each in stacks]
    return ffi.new("struct ps_ending[]", listed)


def finish(stacks: Iterable[Ending]) -> int:
    """Waits until Stacks have delivered what they accepted, or peers take no more of it.

    They refuse calls from then on, and must be closed afterwards whatever happens.

    Returns:
        0, or the first error among -errno.EDEADLK and -errno.ECANCELED.
    """
    endings = _endings(stacks)
    left = ffi.new("struct ps_undelivered *")
    try:
        while lib.ps_stacks_finish(endings, len(endings), _SLICE_US, left) < 0:
            raise_kept()
    except KeyboardInterrupt:
        if _tells and left.peers > 0:
            peers = "1 peer" if left.peers == 1 else f"{left.peers} peers"
            text = f"pystack: {left.bytes} bytes to {peers} are given up\n"
            os.write(2, text.encode())
        raise
    return next((int(each.error) for each in endings if each.error), 0)


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
        self.set_linger(LINGER)
        self.waits = True
        self._user = user  # C calls back with this, so it must live as long
        self._process = os.getpid()
        self._engine = engine
        self._lock = threading.Lock()  # guards the pointer's life
        self._thread: threading.Thread | None = None

    def set_linger(self, seconds: float) -> None:
        """Sets how long it waits without progress; a signal goes by it, too."""
        self.linger = seconds
        lib.ps_stack_linger(self.pointer, _microseconds(self))

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
_afterwards: list[Callable[[], Any]] = []
_signal: int | None = None
_ender: int | None = None  # the thread that has ended all Stacks
_never = threading.Lock()  # never released after the first acquire
_never.acquire()


def opened(stack: Ending) -> weakref.WeakSet[Any]:
    """Registers a Stack to be closed at exit; returns all that are open."""
    _open.add(stack)
    return _open


def closed(stack: Ending) -> None:
    """Notes that this one is."""
    _open.discard(stack)


def after_all(call: Callable[[], Any]) -> None:
    """Has something called at exit, after all Stacks have ended."""
    _afterwards.append(call)


def die_by(number: int) -> None:
    """Has the process end by a signal at exit, as Python itself does after Ctrl-C."""
    global _signal  # noqa: PLW0603 - there is one process that ends
    _signal = number


def end_all() -> None:
    """Ends and closes all Stacks of this process; Ctrl-C gives up what is left."""
    global _ender  # noqa: PLW0603 - there is one process that ends
    _ender = threading.get_ident()
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
        lib.ps_captures_flush()


def stay_if_over() -> None:
    """Keeps a thread, if another has ended the process's Stacks: it sees no error of that.

    As a daemon thread that waits in the kernel as the interpreter ends, which runs no more either.
    """
    if _ender is not None and _ender != threading.get_ident():
        _never.acquire()


def _at_exit() -> None:
    end_all()
    while _afterwards:
        _afterwards.pop()()
    if _signal is not None:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        lib.ps_die_by(_signal)


# Exit handlers run in the reverse order: ours after all others, those that log to the network among
# them. After it no thread of C's may ask for an interpreter that is going away.
atexit.unregister(logging.shutdown)
atexit.register(_at_exit)
atexit.register(logging.shutdown)

# --- signals -------------------------------------------------------------------------------------


def deliver_before(*signals: int) -> None:
    """Has the default action of signals wait for what this process's Stacks have to deliver.

    A signal that ends the process by default stops its Python code, and once all is delivered, or
    `Stack.linger` is over, ends it as ever. A second one does so at once. Handlers of the program's
    own, and signals that are ignored, stay as they are; after `signal.signal(..., SIG_DFL)` call it
    again. Captures are complete then. The commands of `pystack` do it. Nothing delays SIGKILL.

    Args:
        signals: As `signal.SIGTERM`.

    Raises:
        OSError: EINVAL, no such signal, or it can't be handled.
    """
    address = ctypes.cast(ctypes.pythonapi.Py_AddPendingCall, ctypes.c_void_p).value
    soon = ffi.cast("int (*)(int (*)(void *), void *)", address)
    for each in signals:
        result = lib.ps_deliver_before(int(each), lib.ps_python_hold, soon)
        if result < 0:
            raise OSError(-result, os.strerror(-result))


@ffi.def_extern()  # type: ignore[untyped-decorator]
def ps_python_hold() -> int:
    # Called so that it keeps the interpreter's lock: no thread runs Python any more.
    address = int(ffi.cast("uintptr_t", ffi.addressof(lib, "ps_hold")))
    ctypes.PYFUNCTYPE(None)(address)()
    return 0
