"""A small report of the lab's, for tests of what is made of one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from pystack.lab.case import catalogue
from pystack.lab.report import Made, Report
from pystack.lab.run import Result, jobs_for, run_jobs
from pystack.lab.verdict import Verdict


def some_report() -> Report:
    """Two cases on lwIP, and a Host that is not there."""
    cases = [one for one in catalogue() if one.id in ("ARP-3.1", "ARP-3.2")]
    phases = jobs_for(["lwip"], cases, ladders=True, chunk=1)
    assert [len(one) for one in phases] == [0, 2]
    seen: list[Result] = []
    with ThreadPoolExecutor(2) as executor:
        results = run_jobs(phases, executor, seen.append)
    assert len(seen) == len(results) == 2
    return Report(
        cases, ["lwip", "gone"], results, {"gone": "not made"}, {"lwip": "lwIP", "gone": "made up"}
    )


def report_with_failures() -> Report:
    """The same with a third Host, which fails both cases."""
    report = some_report()
    failed = [
        Result(one.id, "strange", "9", Verdict.FAIL, f"{one.id} went wrong", 0.1)
        for one in report.cases
    ]
    made = Made("2026-01-02T03:04:05+00:00", "1.2", "a machine", "pystack lab run --html x.html")
    return Report(
        report.cases, ["lwip", "strange", "gone"], report.results + failed, report.absent,
        {**report.titles, "strange": "made up"}, made,
    )  # fmt: skip
