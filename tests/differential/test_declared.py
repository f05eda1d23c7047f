"""What is declared as different is the name of something that is tried, and has a reason.

That it still differs is for the test of that name: it fails if the two come to the same.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from declared import DIFFERENT, TABLES


def names_in(path: Path) -> set[str]:
    """The functions that are compared, and the rows of tables."""
    spec = importlib.util.spec_from_file_location(f"declared_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tables = vars(module)
    found = {name.removeprefix("test_") for name in tables if name.startswith("test_")}
    found |= {*tables.get("CASES", ()), *tables.get("MADE", ())}
    found |= {f"{state}/{call}" for state in tables.get("STATES", ()) for call in tables["CALLS"]}
    return found


def test_each_is_the_name_of_something() -> None:
    known: set[str] = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        if "from differential import" in path.read_text("utf-8"):
            known |= names_in(path)
    assert not set(DIFFERENT) - known


@pytest.mark.parametrize(
    ("engine", "name"), [(engine, name) for engine, table in TABLES.items() for name in table]
)
def test_each_has_a_reason(engine: str, name: str) -> None:
    reason = TABLES[engine][name]
    before = list(TABLES[engine])[: list(TABLES[engine]).index(name)]
    assert len(reason) > 20 or (reason.startswith("as above") and before)
