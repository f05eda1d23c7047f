"""`case`: one requirement, one function.

The function is given a `Tester` and returns when the Host meets the requirement. Its docstring is
the method in words: `pystack lab show` prints it. A case is registered under its id when its
module is imported; `catalogue()` imports all of them.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from pystack.lab.mutant import Mutant
from pystack.lab.plan import Topology
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level
from pystack.world.waits import in_a_line

__all__ = ["PATIENCE_S", "Case", "LoadError", "case", "catalogue", "group", "load_file"]

PATIENCE_S = 20.0
"""How long a case may last on a Host with a real clock, unless the user says otherwise."""

_PREFIX = re.compile(r"[A-Z][A-Z0-9]*(-[0-9]+)?")
_ID = re.compile(r"[A-Z][A-Z0-9]*-[0-9]+\.[0-9]+")
_cases: dict[str, Case] = {}


class LoadError(ValueError):
    """A user's file that can't be loaded: the message says which, and at which line what failed."""


@dataclass(frozen=True)
class Case:
    """One requirement.

    Attributes:
        id: As "ARP-3.2": area, group, number.
        title: The requirement in a line.
        rfc: As "RFC 826".
        section: Where in it.
        level: How strongly it asks.
        function: What tries it.
        mutant: A Host that does this wrong: the case has to fail on it. None: a real Host does.
        aliases: Names that others have for the same requirement, as "talk:ARP-3.2",
            "9293:MUST-12".
        topology: How Host and tester are connected.
        seconds: How long it lasts on the Host's clock, if that is longer than `PATIENCE_S`; a Host
            that has a real clock runs it only if asked to. 0: no longer than that.
        family: 4 or 6, which the function is given as an argument: cases that differ in the
            addresses' family share one. None: the function takes the Tester alone.
    """

    id: str
    title: str
    rfc: str
    section: str
    level: Level
    function: Callable[..., None]
    mutant: Mutant | None
    aliases: tuple[str, ...]
    topology: Topology
    seconds: float
    family: int | None = None

    def run(self, lab: Tester) -> None:
        """Tries the requirement.

        Raises:
            CaseFailed: The Host does not meet it.
        """
        if self.family is None:
            self.function(lab)
        else:
            self.function(lab, self.family)

    @property
    def area(self) -> str:
        """What stands before the hyphen of its id."""
        return self.id.partition("-")[0]

    @property
    def order(self) -> tuple[str, int, int]:
        """Sorts ids as a reader does."""
        group, _, number = self.id.partition("-")[2].partition(".")
        return self.area, int(group), int(number)

    @property
    def method(self) -> str:
        """The steps in words."""
        return inspect.cleandoc(self.function.__doc__ or "")

    @property
    def source(self) -> tuple[Path, int]:
        """The file that the case is written in, and the line of its function."""
        code = self.function.__code__
        return Path(code.co_filename), code.co_firstlineno

    def page(self) -> str:
        """The case as a page of a test catalogue."""
        rows = [
            f"{self.id}  {self.title}",
            "",
            f"Classification  {self.level.value}",
            f"Reference       {self.rfc}, {self.section}",
        ]
        if self.aliases:
            rows.append(f"Also known as   {', '.join(self.aliases)}")
        if self.family is not None:
            rows.append(f"Addresses       IPv{self.family}")
        rows.append(f"Source          {':'.join(map(str, self.source))}")
        rows += [f"Topology        {self.topology.value}", "", "Method", ""]
        rows += [f"    {line}".rstrip() for line in self.method.splitlines()]
        if self.mutant is not None:
            rows += ["", f"Fails on a Host that {self.mutant.words}."]
        return "\n".join(rows)


_Function = TypeVar("_Function", bound=Callable[..., None])


_Choice = TypeVar("_Choice", bound=Enum)


def _chosen(value: _Choice | str, choices: type[_Choice], argument: str, id: str) -> _Choice:
    """What was meant by it, or by its name."""
    if isinstance(value, choices):
        return value
    if isinstance(value, str) and value in choices.__members__:
        return choices[value]
    names = ", ".join(choices.__members__)
    raise ValueError(f"{id}: {argument}={value!r} is none of {names}")


def case(
    id: str,
    title: str,
    *,
    rfc: str,
    section: str,
    level: Level | str = Level.MUST,
    mutant: Mutant | None = None,
    aliases: tuple[str, ...] = (),
    topology: Topology | str = Topology.HOST,
    seconds: float = 0.0,
    family: int | None = None,
) -> Callable[[_Function], _Function]:
    """Registers a function as a case; see `Case` for the arguments.

    It may be registered more than once, as a case over IPv4 and as one over IPv6. `level` and
    `topology` may be given by their names.

    Raises:
        ValueError: The id is malformed or taken, the function has no docstring, there is no such
            level or topology, or `seconds` is within anybody's patience.
    """
    strength = _chosen(level, Level, "level", id)
    around = _chosen(topology, Topology, "topology", id)
    if seconds and seconds <= PATIENCE_S:
        raise ValueError(
            f"{id}: seconds={seconds:g} says nothing; it is for more than {PATIENCE_S:g}"
        )

    def register(function: _Function) -> _Function:
        if not _ID.fullmatch(id):
            raise ValueError(f"an id is AREA-group.number, not {id!r}")
        if not function.__doc__:
            raise ValueError(f"{id} has no docstring: its method in words")
        there = _cases.get(id)
        if there is not None and there.function.__module__ != function.__module__:
            raise ValueError(f"{id} is taken by {there.function.__module__}")
        if there is not None and there.function.__qualname__ != function.__qualname__:
            raise ValueError(f"{id} is there twice in {function.__module__}")
        _cases[id] = Case(
            id, title, rfc, section, strength, function, mutant, aliases, around, seconds, family
        )
        return function

    return register


def group(
    prefix: str, *, rfc: str | None = None, section: str | None = None, **usual: Any
) -> Callable[..., Callable[[_Function], _Function]]:
    """A `case` for a file or a part of it, which has said once what its cases have in common.

    Ids stay whole where they are used, so that a search finds them.

    Args:
        prefix: What its ids begin with: an area as "TCP", or a group of one as "TCP-10".
        rfc: The RFC of a case that names no other.
        section: The section of a case that names no other.
        usual: Any other argument of `case`.

    Returns:
        `case`, with these for what is left out. It raises ValueError for an id of another group.
    """
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f"a group is AREA or AREA-number, not {prefix!r}")
    usual |= {name: text for name, text in (("rfc", rfc), ("section", section)) if text is not None}
    begins = f"{prefix}." if "-" in prefix else f"{prefix}-"

    def member(id: str, title: str, **own: Any) -> Callable[[_Function], _Function]:
        if not id.startswith(begins):
            raise ValueError(f"{id} is none of the group {prefix}")
        return case(id, title, **{**usual, **own})

    return member


def catalogue() -> list[Case]:
    """All cases there are, in order: pystack's own and those of files loaded."""
    package = importlib.import_module("pystack.lab.catalogue")
    for found in pkgutil.walk_packages(package.__path__, "pystack.lab.catalogue."):
        importlib.import_module(found.name)
    return sorted(_cases.values(), key=lambda one: one.order)


def load_file(path: Path) -> ModuleType:
    """Runs a user's file with cases, Hosts or both.

    Raises:
        LoadError: It can't be read, or raises.
    """
    name = f"pystack_lab_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise LoadError(f"{path} is no Python file: its name doesn't end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise LoadError(f"{path} can't be loaded: {in_a_line(error)}") from error
    return module
