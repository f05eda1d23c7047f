"""What a run found, and the forms it can be shown in: terminal, JSON, JUnit, one HTML page."""

from __future__ import annotations

import base64
import json
import os
import platform
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pystack
from pystack.lab.case import Case
from pystack.lab.expected import Expectation, declared, expectations, surprise
from pystack.lab.ladder import Event
from pystack.lab.run import Result
from pystack.lab.verdict import Level, Verdict

__all__ = ["Made", "Report", "from_json", "to_json"]

FORMAT = 1


@dataclass(frozen=True)
class Made:
    """Where a report comes from.

    Attributes:
        at: When the run began, as ISO 8601 with its offset from UTC.
        version: pystack's.
        machine: Kernel, processors and Python.
        command: The command line, quoted for a shell.
    """

    at: str
    version: str
    machine: str
    command: str

    @classmethod
    def here(cls) -> Made:
        """Now, on this machine, by this process."""
        system = f"{platform.system()} {platform.release()} {platform.machine()}"
        program, *words = sys.argv or [""]
        return cls(
            datetime.now().astimezone().isoformat(timespec="seconds"),
            pystack.__version__,
            f"{system}, {os.cpu_count()} cores, Python {platform.python_version()}",
            shlex.join([Path(program).name, *words]),
        )


@dataclass
class Report:
    """The results of a run.

    Attributes:
        cases: The cases that were run, in order.
        hosts: The Hosts' names, in the order of the columns.
        results: One for each case and Host that could be had.
        absent: Why a Host that was asked for could not be had.
        titles: What each Host is, in a line.
        made: Where it comes from; None: unknown.
        partial: Whether a signal ended the run before all cases had their turn.
    """

    cases: list[Case]
    hosts: list[str]
    results: list[Result]
    absent: dict[str, str] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    made: Made | None = None
    partial: bool = False

    def __post_init__(self) -> None:
        self._found = {(one.case, one.host): one for one in self.results}

    def result(self, case: str, host: str) -> Result | None:
        """What became of a case on a Host; None: it was not run."""
        return self._found.get((case, host))

    @property
    def partial_note(self) -> str:
        """How far a run came that was interrupted, in a sentence; "": it was not."""
        if not self.partial:
            return ""
        due = len(self.cases) * sum(name not in self.absent for name in self.hosts)
        return f"Partial: the run was interrupted after {len(self.results)} of {due} results."

    @property
    def areas(self) -> list[str]:
        """The areas, in the order of the cases."""
        return list(dict.fromkeys(one.area for one in self.cases))

    def count(self, host: str, area: str | None = None, level: Level | None = None) -> Counter[str]:
        """How many cases of an area and level ended how on a Host; "absent": not run."""
        counts: Counter[str] = Counter()
        for one in self.cases:
            if area in (None, one.area) and level in (None, one.level):
                result = self.result(one.id, host)
                counts[result.verdict.value if result else "absent"] += 1
        return counts

    def differing(self, left: str, right: str, *, not_applicable: bool = False) -> list[Case]:
        """The cases that end differently on two Hosts.

        Args:
            left: One Host's name.
            right: The other's.
            not_applicable: Whether one that lacks what a case needs differs from one that has it.
        """
        found = []
        for one in self.cases:
            ends = [
                each and each.verdict
                for each in (self.result(one.id, left), self.result(one.id, right))
            ]
            tried = None not in ends and Verdict.NOT_APPLICABLE not in ends
            if ends[0] is not ends[1] and (tried or not_applicable):
                found.append(one)
        return found


def _event_to_json(event: Event) -> list[Any]:
    frame = base64.b64encode(event.frame).decode()
    return [round(event.time_s, 6), event.kind, event.port, frame, event.text]


def to_json(report: Report, known: list[Expectation] | None = None) -> dict[str, Any]:
    """A report as JSON's types.

    Each result has the reason that its case is expected to fail on its Host ("expected"; null: it
    is not) and what is unexpected about it ("surprise"; null: nothing). "partial" says how far an
    interrupted run came; null: to its end.

    Args:
        report: What was found.
        known: The failures that are expected; None: all that are declared.
    """
    known = expectations() if known is None else known
    return {
        "format": FORMAT,
        "made": asdict(report.made) if report.made is not None else None,
        "partial": report.partial_note or None,
        "hosts": [
            {
                "name": name,
                "title": report.titles.get(name, ""),
                "absent": report.absent.get(name),
            }
            for name in report.hosts
        ],
        "cases": [
            {
                "id": one.id,
                "area": one.area,
                "title": one.title,
                "rfc": one.rfc,
                "section": one.section,
                "level": one.level.value,
                "aliases": list(one.aliases),
                "topology": one.topology.value,
                "method": one.method,
                "mutant": one.mutant.words if one.mutant else None,
            }
            for one in report.cases
        ],
        "results": [
            {
                "case": one.case,
                "host": one.host,
                "release": one.release,
                "verdict": one.verdict.value,
                "reason": one.reason,
                "expected": failing.reason if (failing := declared(one, known)) else None,
                "surprise": surprise(one, known),
                "seconds": round(one.seconds, 4),
                "ladder": [_event_to_json(event) for event in one.ladder],
            }
            for one in report.results
        ],
    }


def from_json(data: Any, cases: Iterable[Case]) -> Report:
    """A report that was written by `to_json`, with the cases that there are now.

    Raises:
        ValueError: It is none, or of another format.
    """
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(f"no report of the lab's in format {FORMAT}")
    known = {one.id: one for one in cases}
    results = [
        Result(
            row["case"],
            row["host"],
            row["release"],
            Verdict(row["verdict"]),
            row["reason"],
            row["seconds"],
            tuple(
                Event(time_s, kind, port, base64.b64decode(frame), text)
                for time_s, kind, port, frame, text in row["ladder"]
            ),
        )
        for row in data["results"]
    ]
    return Report(
        [known[row["id"]] for row in data["cases"] if row["id"] in known],
        [row["name"] for row in data["hosts"]],
        results,
        {row["name"]: row["absent"] for row in data["hosts"] if row["absent"]},
        {row["name"]: row["title"] for row in data["hosts"]},
        Made(**data["made"]) if data.get("made") else None,
        bool(data.get("partial")),
    )


def load(path: Path, cases: Sequence[Case]) -> Report:
    """Reads a report from a file; see `from_json`."""
    return from_json(json.loads(path.read_text("utf-8")), cases)
