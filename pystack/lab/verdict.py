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
    """How strongly an RFC asks for something (RFC 2119)."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    MAY = "MAY"


class Verdict(Enum):
    """What became of one case on one Host."""

    PASS = "pass"
    FAIL = "fail"
    CRASH = "crash"
    """The Host went away, and was started again."""
    NOT_APPLICABLE = "n/a"
    """The Host lacks what the case needs."""
    INCONCLUSIVE = "inconclusive"
    """The Host, or the machine under it, did not let the case come to its question."""


class CaseFailed(AssertionError):  # noqa: N818 - a verdict, no error
    """The Host does not meet the requirement.

    Args:
        expected: What the requirement asks for.
        came: What the Host did instead.
    """

    def __init__(self, expected: str, came: str) -> None:
        super().__init__(f"expected {expected}; came {came}")
        self.expected = expected
        self.came = came


class Inconclusive(Exception):  # noqa: N818 - a verdict, no error
    """What a case needs first did not happen, so that its question was never put."""


class Unable(Exception):  # noqa: N818 - a verdict, no error
    """The Host lacks an ability, which the message names."""


class HostCrashed(Exception):  # noqa: N818 - a verdict, no error
    """The Host is gone: a failed assertion, a dead process."""
