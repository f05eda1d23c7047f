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
from pathlib import Path
from types import ModuleType

from pystack.lab.mutant import Mutant
from pystack.lab.plan import Topology
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

__all__ = ["Case", "case", "catalogue", "load_file"]

_ID = re.compile(r"[A-Z][A-Z0-9]*-[0-9]+\.[0-9]+")
_cases: dict[str, Case] = {}


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
        seconds: How long it lasts on the Host's clock; a Host that has a real clock runs long
            ones only if asked to.
    """

    id: str
    title: str
    rfc: str
    section: str
    level: Level
    function: Callable[[Tester], None]
    mutant: Mutant | None
    aliases: tuple[str, ...]
    topology: Topology
    seconds: float

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
        rows += [f"Topology        {self.topology.value}", "", "Method", ""]
        rows += [f"    {line}".rstrip() for line in self.method.splitlines()]
        if self.mutant is not None:
            rows += ["", f"Fails on a Host that {self.mutant.words}."]
        return "\n".join(rows)


def case(
    id: str,
    title: str,
    *,
    rfc: str,
    section: str,
    level: Level = Level.MUST,
    mutant: Mutant | None = None,
    aliases: tuple[str, ...] = (),
    topology: Topology = Topology.HOST,
    seconds: float = 5.0,
) -> Callable[[Callable[[Tester], None]], Callable[[Tester], None]]:
    """Registers a function as a case; see `Case` for the arguments.

    Raises:
        ValueError: The id is malformed or taken, or the function has no docstring.
    """

    def register(function: Callable[[Tester], None]) -> Callable[[Tester], None]:
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
            id, title, rfc, section, level, function, mutant, aliases, topology, seconds
        )
        return function

    return register


def catalogue() -> list[Case]:
    """All cases there are, in order: pystack's own and those of files loaded."""
    package = importlib.import_module("pystack.lab.catalogue")
    for found in pkgutil.walk_packages(package.__path__, "pystack.lab.catalogue."):
        importlib.import_module(found.name)
    return sorted(_cases.values(), key=lambda one: one.order)


def load_file(path: Path) -> ModuleType:
    """Runs a file of somebody's own with cases, Hosts or both in it.

    Raises:
        OSError: It can't be read.
    """
    name = f"pystack_lab_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise OSError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
