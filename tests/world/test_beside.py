"""The comparison with other simulators: what our side of it finds, as the manual's table says."""

from __future__ import annotations

import gc
import importlib
import warnings
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture(autouse=True)
def collected():
    """The programs run until their World ends, and leave their transports to the collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


@pytest.fixture
def beside(monkeypatch):
    monkeypatch.syspath_prepend(BENCH)
    monkeypatch.syspath_prepend(BENCH / "beside")
    return importlib.import_module("worlds_beside")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "seeds", "left"),
    [
        ("lossy_echo", range(11, 12), ["lost"]),
        ("exclusive_lease", range(20, 21), ["late", "late", "cut"]),
        ("half_open", range(2, 3), ["crash"]),
        ("window_stall", range(4, 5), ["choice"]),
        ("back_off", range(53, 54), ["cut"]),
        ("head_of_line", range(1, 2), ["choice"]),
    ],
)
def test_our_side_finds_its_fault_and_shrinks_it(beside, name, seeds, left) -> None:
    found = beside.look(getattr(beside, name), seeds)
    assert found.failure is not None
    assert found.is_repeatable
    assert [one.kind for one in found.shrunk.tape.entries] == left


@pytest.mark.slow
def test_a_cut_that_nobody_made_is_no_back_off(beside) -> None:
    assert beside.look(beside.back_off, range(3)).failure is None


def test_lines_are_counted_without_what_is_empty(beside) -> None:
    source = "def one():\n    # why\n\n    return 1\n\n\nasync def two():\n    pass\n"
    assert (beside.lines(source, "one"), beside.lines(source, "two")) == (2, 2)
