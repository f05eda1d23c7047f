"""Running cases on Hosts."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pystack.errors import StackPanic
from pystack.lab.case import PATIENCE_S, Case, catalogue, load_file
from pystack.lab.host import Host
from pystack.lab.hosts import hosts
from pystack.lab.interrupt import (
    Stopped,
    at_work,
    end_workers,
    held,
    stoppable,
    stopped,
)
from pystack.lab.ladder import Event, told
from pystack.lab.mutant import MutantHost
from pystack.lab.tester import Tester
from pystack.lab.verdict import CaseFailed, HostCrashed, Inconclusive, Unable, Verdict

__all__ = ["Job", "Result", "jobs_for", "run_case", "run_job", "run_jobs", "run_mutant"]

# A failure on a Host with a real clock counts only if it comes each time.
TRIES = 3
CHUNK = 24  # cases of a job


@dataclass(frozen=True)
class Result:
    """What became of a case on a Host.

    Attributes:
        case: The case's id.
        host: The Host's name.
        release: Its stack's version.
        verdict: How it ended.
        reason: Why, if it did not pass.
        seconds: Real time that it took.
        ladder: What happened.
    """

    case: str
    host: str
    release: str
    verdict: Verdict
    reason: str = ""
    seconds: float = 0.0
    ladder: tuple[Event, ...] = field(default=(), repr=False)


def run_case(
    host: Host, case: Case, *, patience_s: float = PATIENCE_S, tries: int = TRIES
) -> Result:
    """Runs one case. The Host is started for it, and left as the case leaves it.

    Args:
        host: Any Host, started or not; the caller stops it.
        case: The case.
        patience_s: How many seconds a case may last on a Host whose clock is real.
        tries: How many times a failure must occur on such a Host.
    """
    if not host.virtual and case.seconds > patience_s:
        reason = f"lasts {case.seconds:g} s, and the clock is real (--patience)"
        return Result(case.id, host.name, host.release, Verdict.NOT_APPLICABLE, reason)
    if case.area in host.lacks:
        reason = f"{host.name} {host.lacks[case.area]}"
        return Result(case.id, host.name, host.release, Verdict.NOT_APPLICABLE, reason)
    result = _once(host, case)
    if host.virtual or result.verdict in (Verdict.PASS, Verdict.NOT_APPLICABLE):
        return result
    for _ in range(tries - 1):
        again = _once(host, case)
        if again.verdict is not result.verdict:
            reason = f"not the same twice: {result.verdict.value} ({result.reason}), "
            reason += f"then {again.verdict.value}"
            return Result(
                case.id, host.name, host.release, Verdict.INCONCLUSIVE, reason,
                result.seconds + again.seconds, result.ladder,
            )  # fmt: skip
    return result


def _once(host: Host, case: Case) -> Result:
    began = time.monotonic()
    plan = case.topology.plan()
    tester: Tester | None = None
    verdict, reason = Verdict.PASS, ""
    try:
        host.start(plan)
        tester = Tester(host, plan)
        case.run(tester)
    except CaseFailed as failure:
        verdict, reason = Verdict.FAIL, str(failure)
    except (HostCrashed, StackPanic) as crash:
        verdict, reason = Verdict.CRASH, str(crash)
    except Unable as missing:
        verdict, reason = Verdict.NOT_APPLICABLE, str(missing)
    except Inconclusive as nothing:
        verdict, reason = Verdict.INCONCLUSIVE, str(nothing)
    except OSError as error:
        # A socket call of the Host's that the case did not foresee.
        place = _place(case, error)
        at = "" if place is None else place.line
        verdict, reason = Verdict.FAIL, f"{type(error).__name__}: {error} (at: {at})"
    except Exception as error:  # noqa: BLE001 - a mistake in the case; the others go on
        place = _place(case, error)
        at = "" if place is None else f" ({place.filename}:{place.lineno})"
        verdict, reason = Verdict.FAIL, f"the case raised {type(error).__name__}: {error}{at}"
    ladder = () if tester is None else tuple(tester.ladder.events)
    try:
        if tester is not None and verdict is not Verdict.CRASH:
            tester.finish()
    except (HostCrashed, StackPanic) as crash:
        verdict, reason = Verdict.CRASH, str(crash)
    if verdict is Verdict.CRASH:
        host.stop()
    took = time.monotonic() - began
    return Result(case.id, host.name, host.release, verdict, reason, took, ladder)


def _place(case: Case, error: Exception) -> traceback.FrameSummary | None:
    """Where in the case's file it was raised, or what raised it was called."""
    file = case.function.__code__.co_filename
    where = traceback.extract_tb(error.__traceback__)
    return next((one for one in reversed(where) if one.filename == file), None)


def run_mutant(make: Callable[[], Host], case: Case) -> Result:
    """Runs a case on its own mutant of a Host.

    Raises:
        ValueError: It has none.
    """
    if case.mutant is None:
        raise ValueError(f"{case.id} names no mutant")
    inner = make()
    try:
        return run_case(MutantHost(inner, case.mutant), case)
    finally:
        inner.stop()


@dataclass(frozen=True)
class Job:
    """Some cases on one Host: what one worker does. It can be sent to another process.

    Attributes:
        host: The Host's name.
        cases: Ids.
        files: The user's files with cases and Hosts, to be loaded first.
        mutants: Whether to run each case on its mutant of the Host instead.
        patience_s: See `run_case`.
        tries: See `run_case`.
        ladders: Whether the results keep what happened; those of failures always do.
    """

    host: str
    cases: tuple[str, ...]
    files: tuple[Path, ...] = ()
    mutants: bool = False
    patience_s: float = PATIENCE_S
    tries: int = TRIES
    ladders: bool = False


def run_job(job: Job) -> list[Result]:
    """Does a job, in whatever process or thread; less of it if the run is interrupted."""
    with at_work():
        return [] if stopped() else _do(job)


def _do(job: Job) -> list[Result]:
    for path in job.files:
        load_file(path)
    known = {one.id: one for one in catalogue()}
    kind = hosts()[job.host]
    results: list[Result] = []
    host = None if job.mutants else kind.make()
    try:
        for name in job.cases:
            case = known[name]
            with stoppable():
                if host is not None:
                    result = run_case(host, case, patience_s=job.patience_s, tries=job.tries)
                elif case.mutant is not None:
                    result = run_mutant(kind.make, case)
                else:
                    continue
            if host is not None:
                if result.verdict is Verdict.PASS and not job.ladders:
                    result = replace(result, ladder=())
                result = replace(result, ladder=tuple(map(told, result.ladder)))
            results.append(result)
    except Stopped:
        pass  # the results so far are what is asked for
    finally:
        if host is not None:
            host.stop()
    return results


def jobs_for(
    names: Iterable[str], cases: Sequence[Case], *, chunk: int = CHUNK, **options: Any
) -> tuple[list[Job], list[Job]]:
    """The work cut into jobs: that on Hosts with a real clock, and that on those without.

    The first kind waits most of the time, and suffers when the second kind takes the processor:
    it is done first.
    """
    real: list[Job] = []
    virtual: list[Job] = []
    ids = [one.id for one in cases]
    for name in names:
        where = virtual if hosts()[name].virtual else real
        # A stride, not a slice: the slow cases of an area stand together.
        pieces = max(1, -(-len(ids) // chunk))
        where += [Job(name, tuple(ids[first::pieces]), **options) for first in range(pieces)]
    return real, virtual


def run_jobs(
    phases: Iterable[Sequence[Job]],
    executor: Executor,
    progress: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Does jobs on an executor, one phase after the other.

    Args:
        phases: See `jobs_for`.
        executor: Any: processes, threads, or another machine's.
        progress: Told of each result as it comes.

    Raises:
        KeyboardInterrupt: It came; the jobs have ended, and `progress` was told of all results
            they had, of some again.
        Exception: What a job raised: a Host that can't be made, an error in a case.
    """
    results: list[Result] = []
    for jobs in phases:
        futures: list[Future[list[Result]]] = []
        try:
            with held():
                futures += [executor.submit(run_job, job) for job in jobs]
            for future in as_completed(futures):
                for result in future.result():
                    results.append(result)
                    progress(result)
        except KeyboardInterrupt:
            for future in end_workers(futures):
                for result in future.result():
                    progress(result)
            raise
        finally:
            for future in futures:
                future.cancel()
    return results
