"""Failures that are known, per Host and release, each with its reason.

They are declared in the files of the folder `expected`, one an area, and have to keep failing: one
that passes is reported as a surprise, as is an undeclared failure.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import resources

from pystack.lab.run import Result
from pystack.lab.verdict import Verdict

__all__ = ["Expectation", "declared", "expectations", "surprise"]


@dataclass(frozen=True)
class Expectation:
    """A failure that is known.

    Attributes:
        host: The Host's name.
        release: Which releases, as a pattern of `fnmatch`.
        case: The case's id.
        reason: Why it fails.
    """

    host: str
    release: str
    case: str
    reason: str

    def covers(self, result: Result) -> bool:
        """Whether a result is of this Host, release and case."""
        return (
            result.host == self.host
            and result.case == self.case
            and fnmatch(result.release, self.release)
        )


def expectations() -> list[Expectation]:
    """All that are declared."""
    folder = resources.files("pystack.lab").joinpath("expected")
    files = sorted(folder.iterdir(), key=lambda one: one.name)
    return [Expectation(**row) for one in files for row in json.loads(one.read_text("utf-8"))]


def declared(result: Result, known: list[Expectation]) -> Expectation | None:
    """The declaration that a result's case fails on its Host; None: there is none."""
    return next((one for one in known if one.covers(result)), None)


def surprise(result: Result, known: list[Expectation]) -> str | None:
    """What is unexpected about a result; None: nothing."""
    expected = declared(result, known)
    failed = result.verdict in (Verdict.FAIL, Verdict.CRASH)
    if failed and expected is None:
        return f"{result.verdict.value}: {result.reason}"
    if expected is not None and result.verdict is Verdict.PASS:
        return f"passes, but is expected to fail: {expected.reason}"
    return None
