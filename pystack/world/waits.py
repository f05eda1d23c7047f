"""Who waits for what in a World, for `DeadlockError`."""

from __future__ import annotations

import asyncio
import sys
import sysconfig
import threading
import traceback
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = [
    "explain",
    "in_a_line",
    "of_coroutines",
    "of_threads",
    "place_of_error",
    "users_frame",
    "warn_of_rest",
]

_PACKAGE = str(Path(__file__).resolve().parents[1])
_EXAMPLES = str(Path(_PACKAGE) / "examples")  # written as a user writes
_LIBRARY = sysconfig.get_path("stdlib")
_FOREIGN = ("site-packages", "dist-packages")


def _trios() -> list[str]:
    trio = sys.modules.get("trio")
    return list(getattr(trio, "__path__", ()))


def _is_users(name: str) -> bool:
    inside = name.startswith((_PACKAGE, "<frozen", *_trios())) or (
        name.startswith(_LIBRARY) and not any(part in name for part in _FOREIGN)
    )
    return not inside or name.startswith(_EXAMPLES)


def users_frame(frame: FrameType | None) -> FrameType | None:
    """The innermost frame of the user's code, from a frame outwards; none: the frame itself."""
    found = (one for one in _frames_out(frame) if _is_users(one.f_code.co_filename))
    return next(found, frame)


def _place(frames: Iterable[FrameType]) -> str:
    """The innermost place in the user's code, of frames from the innermost outwards."""
    every = list(frames)
    chosen = next((one for one in every if _is_users(one.f_code.co_filename)), None)
    if chosen is None:
        return "somewhere" if not every else _named(every[0])
    return _named(chosen)


def _named(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} ({frame.f_code.co_name})"


def _frames_out(frame: FrameType | None) -> Iterable[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def place_of_error(error: BaseException) -> str:
    """Where in the user's code an exception was raised, or passed last; what can't be compiled."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{error.filename}:{error.lineno}"
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if _is_users(frame.f_code.co_filename):
            return f"{frame.f_code.co_filename}:{line}"
    return "somewhere"


def in_a_line(error: BaseException) -> str:
    """What a file of the user's raised when it was loaded: its place there, its type and words."""
    said = " ".join((error.msg if isinstance(error, SyntaxError) else str(error)).split())
    parts = [place_of_error(error), type(error).__name__, said]
    return ": ".join(part for part in parts if part not in ("somewhere", ""))


def _frames_of(coroutine: Any) -> list[FrameType]:
    """Of a coroutine and those that it waits for, the innermost first."""
    found: list[FrameType] = []
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is None:
            break
        found.append(frame)
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return found[::-1]


def of_coroutines(tasks: Iterable[tuple[str, Any]]) -> list[str]:
    """Where tasks wait in the user's code, a line each, by their names and coroutines."""
    found = [(name, _frames_of(one)) for name, one in tasks]
    return [
        f"task {name!r} waits at {_place(frames)}"
        for name, frames in found
        if any(_is_users(frame.f_code.co_filename) for frame in frames)
    ]


def of_threads(threads: Iterable[threading.Thread], does: str = "is") -> list[str]:
    """Where threads are in the user's code, a line each; `does`: the verb."""
    frames = sys._current_frames()
    return [
        f"thread {thread.name!r} {does} at {_place(_frames_out(frames[thread.ident]))}"
        for thread in threads
        if thread.ident in frames and thread.is_alive()
    ]


def warn_of_rest(lines: Iterable[str]) -> None:
    """Warns of what doesn't end with its World, for it catches what is to end it."""
    told = "\n  ".join(
        ["these don't end with their World: they catch SystemExit or CancelledError", *lines]
    )
    warnings.warn(told, RuntimeWarning, stacklevel=4)


def explain(threads: Iterable[threading.Thread], loop: asyncio.AbstractEventLoop | None) -> str:
    """What waits where, a line each."""
    lines = of_threads(threads, "waits")
    if loop is not None:
        tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
        lines += of_coroutines((task.get_name(), task.get_coro()) for task in tasks)
    return "\n  ".join(["nothing can ever happen in this World again:", *lines])
