"""The catalogue on the Hosts whose clock is ours: no surprises, and every case can fail."""

from __future__ import annotations

import re

import pytest

from pystack.lab.case import Case, catalogue
from pystack.lab.expected import expectations, surprise
from pystack.lab.hosts import hosts
from pystack.lab.run import run_case, run_mutant
from pystack.lab.verdict import Level, Verdict

CASES = catalogue()
ENGINES = [name for name in ("lwip", "gvisor") if name in hosts()]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda one: one.id)


@pytest.mark.parametrize("host", ENGINES)
@every_case
def test_no_surprise(case: Case, host: str) -> None:
    kind = hosts()[host]
    why = kind.missing()
    if why is not None:
        pytest.skip(why)
    made = kind.make()
    try:
        first = run_case(made, case)
        again = run_case(made, case)
    finally:
        made.stop()
    assert surprise(first, expectations()) is None, "\n".join(
        event.summary() for event in first.ladder
    )
    assert first.verdict is not Verdict.INCONCLUSIVE, first.reason
    assert (again.verdict, again.reason) == (first.verdict, first.reason), "not the same twice"


@every_case
def test_a_host_that_does_it_wrong_fails_it(case: Case) -> None:
    result = run_mutant(hosts()["lwip"].make, case)
    assert result.verdict is Verdict.FAIL, f"{result.verdict} {result.reason}"


def test_lwip_fails_no_must() -> None:
    musts = {one.id for one in CASES if one.level is Level.MUST}
    declared = {one.case for one in expectations() if one.host == "lwip"}
    assert not musts & declared


def test_what_is_expected_is_about_cases_and_hosts_that_are_there() -> None:
    ids = {one.id for one in CASES}
    for one in expectations():
        assert one.case in ids
        assert one.host in hosts()
        assert len(one.reason) > 10


@every_case
def test_a_case_can_be_read(case: Case) -> None:
    assert re.search(r"^1\. ", case.method, re.MULTILINE), "the method has no numbered steps"
    assert re.match(r"RFC \d+", case.rfc), case.rfc
    assert case.section
    assert len(case.title) < 120
    assert not case.title.endswith(".")


def test_titles_are_not_there_twice() -> None:
    titles = [one.title for one in CASES]
    assert sorted({one for one in titles if titles.count(one) > 1}) == []
