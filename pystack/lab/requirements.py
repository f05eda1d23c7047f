"""The requirements of RFC 9293's appendix B: which cases cover each, and why some have none.

The file `requirements.json` has a row for each of the 119 ids, in the appendix's order, with a few
words of our own about it. One that no case is about has a reason: it is the program's business, or
IP's, or can't be told from the wire. A case names the ids that it covers among its aliases, as
"9293:MUST-12".
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources

from pystack.lab.case import Case

__all__ = ["PREFIX", "Requirement", "covering", "requirements"]

PREFIX = "9293:"


@dataclass(frozen=True)
class Requirement:
    """A row of the appendix.

    Attributes:
        id: As "MUST-12", "SHLD-3", "MAY-1" or "REC-1".
        group: What it is about, as the appendix has its sections.
        about: What it asks for, in a few words.
        unseen: Why no case shows it; "": some do.
    """

    id: str
    group: str
    about: str
    unseen: str = ""


def requirements() -> list[Requirement]:
    """All of them, in the appendix's order; ids that it has more than once are here once."""
    text = resources.files("pystack.lab").joinpath("requirements.json").read_text("utf-8")
    return [Requirement(**row) for row in json.loads(text)]


def covering(cases: Iterable[Case]) -> dict[str, list[str]]:
    """The cases that are about each id, by their own ids."""
    found: dict[str, list[str]] = {}
    for one in cases:
        for alias in one.aliases:
            if alias.startswith(PREFIX):
                found.setdefault(alias.removeprefix(PREFIX), []).append(one.id)
    return found
