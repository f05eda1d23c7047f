"""Objects that refuse attributes they don't have, and name one that was perhaps meant.

A typo in an assignment would set nothing.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar

__all__ = ["KnownAttributes"]


class KnownAttributes:
    """Refuses unknown public attributes of classes that name theirs; derived ones may have more."""

    _own_attributes: ClassVar[frozenset[str]]

    def __setattr__(self, name: str, value: Any) -> None:
        cls = type(self)
        known = vars(cls).get("_own_attributes")
        if known is not None and not (name.startswith("_") or name in known or hasattr(cls, name)):
            raise AttributeError(f"{self._lack(name)} to assign to{self._near(name)}")
        super().__setattr__(name, value)

    if not TYPE_CHECKING:  # for mypy it would be a promise of every name

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(self._lack(name))
            if hasattr(type(self), name):  # a property raised AttributeError: let it say why
                return object.__getattribute__(self, name)
            raise AttributeError(f"{self._lack(name)}{self._near(name)}")

    def _lack(self, name: str) -> str:
        return f"{type(self).__name__} has no attribute {name!r}"

    def _near(self, name: str) -> str:
        names = {*self._own_attributes, *(each for each in dir(self) if each[0] != "_")}
        near = get_close_matches(name, sorted(names), 1)
        return f"; near: {near[0]}" if near else ""
