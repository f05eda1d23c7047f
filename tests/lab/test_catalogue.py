"""The catalogue on the Hosts whose clock is ours: no surprises, and every case can fail."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from quick import representatives

from pystack.lab.case import Case, catalogue
from pystack.lab.expected import expectations, surprise
from pystack.lab.hosts import hosts
from pystack.lab.run import Result, jobs_for, run_jobs
from pystack.lab.verdict import Level, Verdict

CASES = catalogue()
VIRTUAL = [name for name in ("lwip", "linux-6.12", "linux-7.2", "gvisor") if name in hosts()]
QUICK = ("lwip",)
every_case = pytest.mark.parametrize("case", CASES, ids=lambda one: one.id)

# Whichever test comes first waits for all that runs, on all processors; with `--dist loadgroup` it
# runs once, and not once for each of xdist's workers.
pytestmark = [pytest.mark.timeout(1800), pytest.mark.xdist_group("catalogue")]


@pytest.fixture(scope="module")
def executor() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as made:
        yield made


@pytest.fixture(scope="module")
def wanted(request: pytest.FixtureRequest) -> list[Case]:
    """The cases of the tests that were chosen."""
    mine = (item for item in request.session.items if item.path == request.path)
    ids = {item.callspec.params["case"].id for item in mine
           if hasattr(item, "callspec") and "case" in item.callspec.params}  # fmt: skip
    return [one for one in CASES if one.id in ids]


@pytest.fixture(scope="module")
def found(
    request: pytest.FixtureRequest, executor: ProcessPoolExecutor, wanted: list[Case]
) -> dict[tuple[str, str], list[Result]]:
    """By case and Host, what two runs of all of it found."""
    chosen = {
        item.callspec.params.get("host")
        for item in request.session.items
        if item.path == request.path and hasattr(item, "callspec")
    }
    present = [name for name in VIRTUAL if name in chosen and hosts()[name].missing() is None]
    results = defaultdict(list)
    for _ in range(2):
        for one in run_jobs(jobs_for(present, wanted, ladders=True), executor):
            results[one.case, one.host].append(one)
    return results


@pytest.fixture(scope="module")
def on_mutants(executor: ProcessPoolExecutor, wanted: list[Case]) -> dict[str, Result]:
    """By case, what it says of a Host that does just this wrong."""
    jobs = jobs_for(["lwip"], wanted, mutants=True)
    return {one.case: one for one in run_jobs(jobs, executor)}


@pytest.mark.parametrize("host", representatives(VIRTUAL, QUICK))
@every_case
def test_no_surprise(case: Case, host: str, found: dict[tuple[str, str], list[Result]]) -> None:
    why = hosts()[host].missing()
    if why is not None:
        pytest.skip(why)
    first, again = found[case.id, host]
    assert surprise(first, expectations()) is None, "\n".join(
        event.summary() for event in first.ladder
    )
    assert first.verdict is not Verdict.INCONCLUSIVE, first.reason
    assert (again.verdict, again.reason) == (first.verdict, first.reason), "not the same twice"


@every_case
def test_a_host_that_does_it_wrong_fails_it(case: Case, on_mutants: dict[str, Result]) -> None:
    result = on_mutants[case.id]
    assert result.verdict is Verdict.FAIL, f"{result.verdict} {result.reason}"
    assert not result.reason.startswith("the case raised")


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
