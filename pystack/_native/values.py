"""What arguments have to be: a wrong one is named, with its value and what would do.

A wrong type is TypeError, a value out of range ValueError, as everywhere in Python.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Real
from typing import Any, TypeVar

__all__ = [
    "hinted",
    "integer",
    "keywords",
    "near",
    "need_known",
    "number",
    "seed_bits",
    "several",
    "text",
    "whole",
]

_Thing = TypeVar("_Thing")
_KEYWORDS = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


_ENDLESS = 1 << 60  # nobody asks for more


def _wanted(what: str, kind: str, least: float, most: float, unit: str, given: object) -> str:
    of = f" of {unit}" if unit else ""
    limited = f" from {least:.15g} to {most:.15g}"
    bounds = limited if most < _ENDLESS else f", at least {least:.15g}"
    return f"{what} is a {kind}{of}{bounds}, not {given!r}"


def number(
    value: Any, what: str, least: float = 0.0, most: float = math.inf, unit: str = ""
) -> float:
    """A finite number in a range.

    Args:
        value: What was given.
        what: The argument's name.
        least: The least it may be,
        most: and the most.
        unit: What it counts, as "seconds".

    Raises:
        TypeError: It is no number.
        ValueError: It is not in the range, or not finite.
    """
    # A Stack that is stepped asks at each step: for what mostly comes, without Real's look-up.
    if type(value) not in (float, int) and not isinstance(value, Real):
        raise TypeError(_wanted(what, "number", least, most, unit, value))
    found = float(value)
    if not (least <= found <= most and found != math.inf):
        raise ValueError(_wanted(what, "number", least, most, unit, value))
    return found


def whole(value: Any, what: str, least: int, most: int, unit: str = "") -> int:
    """A whole number in a range; the arguments and errors are those of `number`."""
    if not hasattr(value, "__index__"):
        raise TypeError(_wanted(what, "whole number", least, most, unit, value))
    found = value.__index__()
    if not least <= found <= most:
        raise ValueError(_wanted(what, "whole number", least, most, unit, value))
    return int(found)


def integer(value: Any, what: str) -> int:
    """A whole number, however large.

    Raises:
        TypeError: It is none.
    """
    if not hasattr(value, "__index__"):
        raise TypeError(f"{what} is an int, not {value!r}")
    return int(value.__index__())


def seed_bits(value: Any) -> int:
    """The 64 bits of a seed; TypeError: it is no int."""
    return integer(value, "seed") & 0xFFFFFFFFFFFFFFFF


def text(value: Any, what: str, example: str) -> str:
    """A string.

    Raises:
        TypeError: It is none; the message gives an example.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} is a string, such as {example!r}, not {value!r}")
    return value


def several(value: Any, what: str) -> Any:
    """Refuses a string in the place of a list of strings, whose characters it would be.

    Raises:
        TypeError: It is one.
    """
    if isinstance(value, str):
        raise TypeError(f"{what} is a list: write [{value!r}]")
    return value


def near(name: object, known: Iterable[str]) -> str:
    """What may have been meant, for the end of a message; "": nothing is like it."""
    found = get_close_matches(str(name), sorted(known), 3)
    return f"; did you mean {' or '.join(map(repr, found))}?" if found else ""


def need_known(call: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuses keywords that a call doesn't take, and says which it does.

    Args:
        call: Its name.
        given: The keywords.
        known: Those that there are.

    Raises:
        TypeError: One is unknown.
    """
    names = list(known)
    for one in given:
        if one not in names:
            hint = near(one, names) or f"; it takes {', '.join(names)}"
            raise TypeError(f"{call}() got an unexpected keyword argument {one!r}{hint}")


def keywords(function: Any) -> list[str]:
    """What a function takes by name alone."""
    parameters = inspect.signature(function).parameters.values()
    return [one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY]


def hinted(thing: _Thing) -> _Thing:
    """A function, or a class's constructor, that says which keyword may have been meant."""
    if isinstance(thing, type):
        setattr(thing, "__init__", hinted(vars(thing)["__init__"]))  # noqa: B010 - mypy: of a type
        return thing
    function: Any = thing
    last = function.__name__
    is_method = "." in function.__qualname__
    parameters = inspect.signature(function).parameters.values()
    known = [one.name for one in parameters if one.kind in _KEYWORDS and one.name != "self"]

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        if not named.keys() <= names:
            of = type(arguments[0]).__name__ if is_method and arguments else ""
            called = of if last == "__init__" else f"{of}.{last}" if of else last
            need_known(called, named, known)
        return function(*arguments, **named)

    names = frozenset(known)
    return call  # type: ignore[return-value]
