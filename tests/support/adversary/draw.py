"""Chance out of one number, so that an action is a pair: a verb and an int."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

BITS = 192  # of an action's number


class Draw:
    """Takes choices off a number until nothing is left of it; then each is the first one."""

    __slots__ = ("left",)

    def __init__(self, number: int) -> None:
        self.left = number

    def below(self, limit: int) -> int:
        """From 0, the harmless one, to `limit` - 1."""
        self.left, choice = divmod(self.left, limit)
        return choice

    def once_in(self, times: int) -> bool:
        """True once in so many times; False is the harmless one."""
        self.left, choice = divmod(self.left, times)
        return choice == times - 1

    def pick(self, choices: Sequence[T]) -> T:
        """One of them."""
        self.left, choice = divmod(self.left, len(choices))
        return choices[choice]

    def near(self, value: int, spread: int) -> int:
        """`value`, or one at most `spread` away."""
        self.left, choice = divmod(self.left, 2 * spread + 1)
        return value + ((choice + 1) // 2 if choice % 2 else -(choice // 2))
