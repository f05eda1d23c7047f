"""Exceptions that the module `socket` has no word for."""

from __future__ import annotations

import errno

__all__ = ["OffStackError", "StackPanic"]


class OffStackError(PermissionError):
    """Something asked for the kernel's own network where a Stack's is meant, and was refused.

    Its errno is EACCES. Raised while a block of `Stack.installed` or `Stack.active` with
    ``strict=True`` is open; for libraries that bring an event loop or sockets of their own, in any
    such block.

    Attributes:
        what: Who asked for what.
        remedy: What can be done.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(errno.EACCES, f"{what}: refused, for it is not the Stack's. {remedy}")
        self.what = what
        self.remedy = remedy


class StackPanic(RuntimeError):  # noqa: N818 - a panic is what it is called
    """An assertion inside a Stack's engine failed.

    Only that Stack is lost: each further call on it but for `arena` raises this again, and
    closing it still gives everything back. Other Stacks and the process go on.

    The rule for what is an assertion: it speaks of the engine's own invariants, and its failure is
    a fault of the engine. What a packet, a peer or a lack of memory can bring about is no
    assertion: the packet is dropped or its one connection is reset, and where the engine finds that
    an input has led it where its authors thought none could, it counts that in the Stack's counter
    "assertions" and says so in the log. A panic that something on the wire can cause is a fault to
    report.

    Attributes:
        text: What the engine said.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
