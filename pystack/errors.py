"""Exceptions that the module `socket` has no equivalent for."""

from __future__ import annotations

import errno

__all__ = ["DeadlockError", "OffStackError", "StackPanic"]


class DeadlockError(RuntimeError):
    """Nothing can ever happen again, and something waits.

    In a World no frame is on its way, no timer runs, and no thread or task has a timeout; the
    message says what waits, on which host, and where in its code. Outside one, every thread waits
    for a Stack whose `ManualClock` none of them can advance; or the thread that would wait runs the
    event loop that carries the Stack's frames (`nic.Async`).
    """


class OffStackError(PermissionError):
    """A request for the kernel's network, refused because a Stack's is meant.

    Its errno is EACCES. Raised inside `Stack.installed` or `Stack.active` with ``strict=True``;
    for libraries with their own event loop or sockets, with or without it.

    Attributes:
        what: What was asked for, and by which code.
        remedy: What to do instead.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(errno.EACCES, f"{what}: refused, it would not use the Stack. {remedy}")
        self.what = what
        self.remedy = remedy


class StackPanic(RuntimeError):  # noqa: N818 - a panic is what it is called
    """An assertion inside a Stack's engine failed.

    Only that Stack is lost: every further call on it except `arena` raises this again, and closing
    it still frees everything. Other Stacks and the process go on.

    An assertion states an invariant of the engine, so its failure is a bug in the engine. Nothing
    that a packet, a peer or a lack of memory can cause is an assertion: the packet is dropped or
    its connection is reset. Input that reaches a state lwIP's authors thought impossible is counted
    in the Stack's counter "assertions" and logged. A panic caused by anything on the wire is a bug
    to report.

    Attributes:
        text: What the engine said.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
