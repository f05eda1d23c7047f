"""What a thread in a World does with the real world: refused, or warned of with its line.

The kernel's sockets and resolver are refused. What the World merely knows nothing of is a warning:
children, and waits in real time. Python reports the children to an audit hook (PEP 578); a wait in
real time is seen by a thread that looks on from outside.
"""

from __future__ import annotations

import _thread
import functools
import linecache
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from pystack._native import TurnBell, WorldClock, ffi, lib
from pystack.sockets.patch import Place, patched
from pystack.sockets.strict import strictly
from pystack.world import threads
from pystack.world.waits import users_frame

__all__ = ["OutsideWorldWarning", "call_outside", "watched_from_outside"]

_REMEDY = (
    "In a World the kernel's network is out of reach: use a host's (host.thread, host.spawn, "
    "host.sockets), or in real time world.outside(function)"
)
# How long a thread may stand still in real time, in seconds, before that is told.
PATIENCE_S = 1.0
_UNKNOWN = (1 << 64) - 1
_T = TypeVar("_T")
_Clocks = Callable[[], "WorldClock | None"]


class OutsideWorldWarning(RuntimeWarning):
    """A program in a World has left it: what comes of that depends on the machine."""


_CHILDREN = "is no part of the World: its time is real, and its network the kernel's"
_EVENTS = {
    "os.exec": f"another program {_CHILDREN}",
    "os.fork": f"a child {_CHILDREN}",
    "os.forkpty": f"a child {_CHILDREN}",
    "os.posix_spawn": f"a child {_CHILDREN}",
    "os.spawn": f"a child {_CHILDREN}",
    "os.system": f"a child {_CHILDREN}",
    "subprocess.Popen": f"a child {_CHILDREN}",
}
# Modules that ask the machine's programs about it, some at their import.
_ASKING = frozenset({"ctypes.util", "platform", "uuid"})
# Which Worlds are open, and whose threads are asked about.
_open: list[_Clocks] = []
_hooked = False


def _warn(text: str, frame: FrameType | None) -> None:
    if frame is None:
        warnings.warn(text, OutsideWorldWarning, stacklevel=3)
        return
    warnings.warn_explicit(
        text, OutsideWorldWarning, frame.f_code.co_filename, frame.f_lineno,
        module=frame.f_globals.get("__name__"), registry=frame.f_globals.get("__warningregistry__"),
    )  # fmt: skip


def _hook(event: str, _arguments: tuple[Any, ...]) -> None:
    text = _EVENTS.get(event)
    if text is None or not any(where() is not None for where in _open):
        return
    frame = sys._getframe(1)
    if not _is_librarys(frame):
        _warn(text, users_frame(frame))


def _starts_children(module: str) -> bool:
    return module in ("subprocess", "pystack.sockets.children")  # the latter around the former


def _is_librarys(frame: FrameType | None) -> bool:
    """Whether Python's library starts a child to find something out about the machine."""
    while frame is not None and _starts_children(str(frame.f_globals.get("__name__"))):
        frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__") in _ASKING


def _told(running: Any) -> tuple[int, int, int]:
    return int(running.thread), int(running.waits), int(running.processor_ns)


def _warn_of_wait(thread: int) -> None:
    frame = users_frame(sys._current_frames().get(thread))
    name = next((one.name for one in threading.enumerate() if one.ident == thread), str(thread))
    line = "" if frame is None else linecache.getline(frame.f_code.co_filename, frame.f_lineno)
    _warn(
        f"thread {name!r} holds the World up in real time: it waits for something that is no part "
        f"of it, as a lock from before, a child or C code: {line.strip()}",
        frame,
    )


def _look_on(clock: WorldClock, stop: Any) -> None:
    """Warns of a thread that has its turn and does nothing at all for a while."""
    running = ffi.new("struct ps_running *")
    before = (0, 0, 0)
    while not stop.acquire(timeout=PATIENCE_S):
        lib.ps_world_running(clock.pointer, running)
        seen = _told(running)
        if seen[0] and seen[2] != _UNKNOWN and seen == before:
            try:
                _warn_of_wait(seen[0])
            except Warning:  # where warnings are errors
                sys.excepthook(*sys.exc_info())
        before = seen


def _timers(here: _Clocks) -> dict[Place, Any]:
    """What stands for the machine's timers that end in a signal, while a World is open."""

    def told(name: str) -> Any:
        original = getattr(signal, name)

        @functools.wraps(original)
        def start(*arguments: Any) -> Any:
            clock = here()
            lasts = arguments[name == "setitimer" :][:1]  # behind which timer it is
            if clock is not None and not clock.is_real and lasts and lasts[0]:
                _warn(
                    f"signal.{name} counts the machine's seconds, and its signal comes whenever "
                    "the World has got to by then: use a thread that sleeps, or set it outside",
                    users_frame(sys._getframe(1)),
                )
            return original(*arguments)

        return start

    return {(signal, name): told(name) for name in ("alarm", "setitimer") if hasattr(signal, name)}


@contextmanager
def watched_from_outside(clock: WorldClock, where: _Clocks) -> Iterator[None]:
    """In this block, what leaves the World is refused or warned of.

    Args:
        clock: The World's.
        where: Gives the clock of the World that the calling thread takes part in.
    """
    global _hooked  # noqa: PLW0603 - one hook a process: it can't be removed
    if not _hooked:
        _hooked = True
        sys.addaudithook(_hook)

    def here() -> WorldClock | None:
        found = where()
        return found if found is clock else None

    stop = _thread.allocate_lock()
    stop.acquire()
    # Not by threading: nobody is to count or join it.
    _thread.start_new_thread(_look_on, (clock, stop))
    _open.append(here)
    try:
        with strictly(here, _REMEDY), patched(_timers(here)):
            yield
    finally:
        _open.remove(here)
        stop.release()


def call_outside(clock: WorldClock, function: Callable[[], _T]) -> _T:
    """Calls a function in a thread that takes no part in the World, which goes on meanwhile.

    Args:
        clock: The World's, in which the caller takes part.
        function: What is called. If the caller's wait is ended, it goes on by itself.

    Raises:
        OSError: EOPNOTSUPP, the World's time isn't real; EBADF, it has ended.
        BaseException: What the function raises.
    """
    outcome: list[Callable[[], _T]] = []
    bell = TurnBell(clock.turn())

    def run() -> None:
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 - the caller's
            outcome.append(functools.partial(_raise, error))
        else:
            outcome.append(lambda: result)
        bell.ring()

    clock.expect(True)
    try:
        threads.start_outside(run, ())
        while not outcome:
            clock.wait(None)
    finally:
        bell.silence()
        clock.expect(False)
    return outcome[0]()


def _raise(error: BaseException) -> Any:
    raise error
