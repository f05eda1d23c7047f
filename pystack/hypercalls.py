"""What a Stack asks of its host, and how Python can answer.

Each hypercall has a native answer in C; an object with one of the protocols here, passed to
`pystack.Stack`, answers instead. It runs on the thread that is inside the Stack, under the Stack's
lock: it must not use that Stack (`OSError`, EDEADLK), nor wait for a thread that does. In a World
it can't wait at all (EDEADLK, too), but may start threads that do. An exception it raises
propagates from the call in progress, or from the next one.
"""

from __future__ import annotations

import threading
from numbers import Real
from typing import Any, Protocol

__all__ = ["Clock", "FrameOut", "Log", "ManualClock", "Memory", "Panic", "Random"]


class Clock(Protocol):
    """Tells the time; read once per entry into the Stack."""

    def now_us(self) -> int:
        """Microseconds since any fixed moment. A clock that runs backwards counts as stopped."""
        ...


class Memory(Protocol):
    """Supplies memory to the Stack's arena, which keeps the accounts."""

    def allocate(self, size: int) -> bytearray | memoryview | None:
        """A writable buffer of `size` bytes, aligned to 16; None: out of memory."""
        ...

    def free(self, memory: bytearray | memoryview) -> None:
        """Takes back a buffer from `allocate`."""
        ...


class Random(Protocol):
    """Supplies random bytes; `random.Random` is one."""

    def randbytes(self, size: int) -> bytes:
        """`size` bytes, for initial sequence numbers, ports and identifiers."""
        ...


class FrameOut(Protocol):
    """Sees each frame that the Stack sends."""

    def frame_out(self, interface: int, frame: bytes) -> bool:
        """Whether the frame may go on to the interface's NIC.

        Args:
            interface: The index of the interface; see `pystack.Interface.index`.
            frame: A copy of the frame, from its link-layer header (on a TUN: from its IP header).
        """
        ...


class Log(Protocol):
    """Takes the Stack's lines of text; `logging.Logger` is one."""

    def log(self, level: int, text: str) -> None:
        """One line, without a newline.

        Args:
            level: A level of the module `logging`.
            text: The line.
        """
        ...


class Panic(Protocol):
    """Called when an assertion in the engine fails, before the Stack is given up."""

    def panic(self, text: str) -> None:
        """Receives the assertion's text. Returning doesn't save the Stack."""
        ...


def _seconds(value: Any, what: str) -> float:
    if type(value) not in (float, int) and not isinstance(value, Real):  # Real is slow to ask
        raise TypeError(f"{what} is a number of seconds, not {value!r}")
    return float(value)


class ManualClock:
    """A `Clock` that moves only when told to. Thread-safe.

    Args:
        start: The first reading, in seconds.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._lock = threading.Lock()
        self._now_us = round(_seconds(start, "start") * 1e6)

    def now_us(self) -> int:
        """The reading in microseconds."""
        return self._now_us

    def __repr__(self) -> str:
        return f"<ManualClock at {self._now_us / 1e6:g} s>"

    def advance(self, seconds: float) -> None:
        """Moves the clock on.

        A Stack with a thread notices within 10 ms of real time, one without at its next `step`.

        Args:
            seconds: How far, in seconds.

        Raises:
            ValueError: Less than 0.
        """
        if _seconds(seconds, "seconds") < 0:
            raise ValueError(f"a clock can't go back: {seconds!r}")
        with self._lock:
            self._now_us += round(seconds * 1e6)

    def _set_us(self, now_us: int) -> None:
        """Turns it to what it was when a snapshot was taken, also back."""
        with self._lock:
            self._now_us = now_us
