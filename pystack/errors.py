"""Exceptions that the module `socket` has no word for."""

from __future__ import annotations

__all__ = ["StackPanic"]


class StackPanic(RuntimeError):  # noqa: N818 - a panic is what it is called
    """An assertion inside a Stack's engine failed.

    Only that Stack is lost: each further call on it raises this again, and closing it still
    gives everything back. Other Stacks and the process go on.

    Attributes:
        text: What the engine said.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
