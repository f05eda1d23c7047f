"""What of a long row of alike tests is worth its time at each run; CI alone tries the rest."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def representatives(values: Iterable[Any], quick: Collection[Any]) -> list[Any]:
    """Values for `parametrize`, all marked slow but those that stand for the others."""
    every = list(values)
    unknown = [one for one in quick if one not in every]
    assert not unknown, f"none of the values: {unknown}"
    return [one if one in quick else slow(*(one if isinstance(one, tuple) else (one,)))
            for one in every]  # fmt: skip


def slow(*values: Any) -> Any:
    """One set of values for `parametrize` that is left to CI."""
    return pytest.param(*values, marks=pytest.mark.slow)
