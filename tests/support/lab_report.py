"""A small report of the lab's, for tests of what is made of one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from pystack.lab.case import catalogue
from pystack.lab.report import Report
from pystack.lab.run import Result, jobs_for, run_jobs


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
