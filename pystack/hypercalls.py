"""What a Stack asks of its world, and what Python may answer.

Each hypercall has a native answer in C; an object with one of the protocols here, given to
`pystack.Stack`, answers in its place. It runs on the thread that is inside the Stack and under
the Stack's lock: it must not use that Stack (`OSError`, EDEADLK), nor wait for a thread that
does. What it raises is raised by the call on the Stack that is under way, or by the next one.
"""

from __future__ import annotations

import threading
from typing import Protocol

__all__ = ["Clock", "FrameOut", "Log", "ManualClock", "Memory", "Panic", "Random"]


class Clock(Protocol):
    """Tells the time; read once for each entry into the Stack."""

    def now_us(self) -> int:
        """Microseconds since any fixed moment. A clock that goes back is taken to stand still."""
        ...


class Memory(Protocol):
    """Gives memory to the Stack's arena, which does the accounts."""

    def allocate(self, size: int) -> bytearray | memoryview | None:
        """A writable buffer of `size` bytes, aligned to 16; None: there is no memory."""
        ...

    def free(self, memory: bytearray | memoryview) -> None:
        """Takes back what `allocate` gave."""
        ...


class Random(Protocol):
    """Gives random bytes; `random.Random` is one."""

    def randbytes(self, size: int) -> bytes:
        """`size` bytes, for initial sequence numbers, ports and identifiers."""
        ...


class FrameOut(Protocol):
    """Sees each frame that the Stack sends."""

    def frame_out(self, interface: int, frame: bytes) -> bool:
        """Whether the frame goes on to the NIC of the interface with that index.

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
    """Is told when an assertion in the engine fails, before the Stack is given up."""

    def panic(self, text: str) -> None:
        """What the assertion said. Returning doesn't save the Stack."""
        ...


class ManualClock:
    """A `Clock` that moves only when it is told to. Thread-safe.

    Args:
        start: The first reading, in seconds.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._lock = threading.Lock()
        self._now_us = round(start * 1e6)

    def now_us(self) -> int:
        """The reading in microseconds."""
        return self._now_us

    def advance(self, seconds: float) -> None:
        """Moves the clock on.

        A Stack with a driver's thread notices within 10 ms of real time, one without at its
        next `step`.

        Args:
            seconds: How far, in seconds.

        Raises:
            ValueError: Less than nothing.
        """
        if seconds < 0:
            raise ValueError("a clock does not go back")
        with self._lock:
            self._now_us += round(seconds * 1e6)
