"""Retries unexpected results of Hosts with a real clock, alone on the machine.

Such a Host shares the processor with the others of a run. One that was kept waiting may give up
where it would have gone on, or be asked too early, and the tries that `run_case` makes at once are
all under the same load. A result that differs from what is declared (`pystack.lab.expected`) is
tried again when everything else is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

from pystack.lab.expected import Expectation, surprise
from pystack.lab.hosts import hosts
from pystack.lab.run import Job, Result, run_jobs
from pystack.lab.verdict import Verdict

__all__ = ["confirm", "doubtful"]


def doubtful(results: Iterable[Result], known: list[Expectation]) -> list[Result]:
    """The results that want a second try: of Hosts with a real clock that ran beside others.

    A Host of whose release nothing is declared has none: there is nothing that it could differ
    from, and all its failures would be tried again.
    """
    kinds = hosts()
    found = list(results)
    declared = {(one.host, one.release) for one in found if any(row.covers(one) for row in known)}
    return [
        one
        for one in found
        if (one.host, one.release) in declared
        and not kinds[one.host].virtual
        and not kinds[one.host].alone
        and surprise(one, known) is not None
    ]


def confirm(
    results: Sequence[Result],
    doubts: Sequence[Result],
    executor: Executor,
    progress: Callable[[Result], None] = lambda result: None,
    **options: Any,
) -> list[Result]:
    """Tries some results again, one at a time.

    Args:
        results: All results of a run.
        doubts: Those among them that `doubtful` found.
        executor: It has to be idle.
        progress: Told of each result of a second try.
        options: What the cases were run with: see `Job`.

    Returns:
        All results. One that did not end in the same way again is inconclusive.

    Raises:
        Exception: See `run_jobs`.
    """
    # Once: the verdict comes again, or the two say that there is none.
    phases = [[Job(one.host, (one.case,), tries=1, **options)] for one in doubts]
    again = {(one.host, one.case): one for one in run_jobs(phases, executor, progress)}
    return [
        _both(one, again[one.host, one.case]) if (one.host, one.case) in again else one
        for one in results
    ]


def _both(first: Result, alone: Result) -> Result:
    seconds = first.seconds + alone.seconds
    if first.verdict is alone.verdict:
        return replace(alone, seconds=seconds)
    reason = f"not the same twice: {first.verdict.value}"
    reason += f" ({first.reason})" if first.reason else ""
    reason += f" beside other Hosts, {alone.verdict.value}"
    reason += f" ({alone.reason})" if alone.reason else ""
    reason += " alone"
    return replace(alone, verdict=Verdict.INCONCLUSIVE, reason=reason, seconds=seconds)
