"""What the adversary calls a broken promise."""

from __future__ import annotations


class Violation(AssertionError):  # noqa: N818 - it is no error of the program that finds it
    """An invariant that did not hold.

    Attributes:
        invariant: Its name; a shrunk run has to break the same one.
    """

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant
