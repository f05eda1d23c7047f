"""The index of RFC 9293's appendix B is whole, and true."""

from __future__ import annotations

import re

from click.testing import CliRunner

from pystack.cli.lab import lab
from pystack.lab.case import catalogue
from pystack.lab.requirements import covering, requirements

ROWS = requirements()
FOUND = covering(catalogue())


def test_each_id_is_there_once() -> None:
    ids = [one.id for one in ROWS]
    assert len(ids) == len(set(ids)) == 119
    numbers = dict.fromkeys(("MUST", "SHLD", "MAY", "REC"), 0)
    for one in ids:
        kind, _, number = one.partition("-")
        assert re.fullmatch(r"[1-9]\d?", number)
        numbers[kind] += 1
    assert numbers == {"MUST": 69, "SHLD": 31, "MAY": 18, "REC": 1}


def test_each_id_is_covered_or_explained() -> None:
    assert [one.id for one in ROWS if one.id not in FOUND and len(one.unseen) < 20] == []


def test_none_is_both() -> None:
    assert [one.id for one in ROWS if one.id in FOUND and one.unseen] == []


def test_no_case_names_an_id_that_is_not_there() -> None:
    assert set(FOUND) - {one.id for one in ROWS} == set()


def test_the_command_lists_them() -> None:
    found = CliRunner().invoke(lab, ["index"])
    assert found.exit_code == 0, found.output
    assert re.search(r"MUST-2 .*TCP-3\.18", found.output)
    assert re.search(r"SHLD-13 .*no case", found.output)
    missing = CliRunner().invoke(lab, ["index", "--missing"])
    assert "MUST-2 " not in missing.output
