"""How a case can end, and the exceptions that end it."""

from __future__ import annotations

from enum import Enum

__all__ = [
    "CaseFailed",
    "HostCrashed",
    "Inconclusive",
    "Level",
    "Unable",
    "Verdict",
]


class Level(Enum):
    """The strength of a requirement (RFC 2119)."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    MAY = "MAY"


class Verdict(Enum):
    """The outcome of one case on one Host."""

    PASS = "pass"
    FAIL = "fail"
    CRASH = "crash"
    """The Host died, and was restarted."""
    NOT_APPLICABLE = "n/a"
    """The Host lacks what the case needs."""
    INCONCLUSIVE = "inconclusive"
    """The case didn't get as far as its question, because of the Host or the machine."""


class CaseFailed(AssertionError):  # noqa: N818 - a verdict, no error
    """The Host does not meet the requirement.

    Args:
        expected: What the requirement demands.
        came: What the Host did instead.
    """

    def __init__(self, expected: str, came: str) -> None:
        super().__init__(f"expected {expected}; came {came}")
        self.expected = expected
        self.came = came


class Inconclusive(Exception):  # noqa: N818 - a verdict, no error
    """A precondition of the case failed, so its question was never asked."""


class Unable(Exception):  # noqa: N818 - a verdict, no error
    """The Host lacks an ability, named in the message."""


class HostCrashed(Exception):  # noqa: N818 - a verdict, no error
    """The Host is gone: a failed assertion, a dead process."""
