"""Exceptions that the module `socket` has no word for."""

from __future__ import annotations

__all__ = ["StackPanic"]


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
