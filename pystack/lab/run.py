"""Running cases on Hosts."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pystack.lab.case import Case
from pystack.lab.host import Host
from pystack.lab.ladder import Event
from pystack.lab.mutant import MutantHost
from pystack.lab.tester import Tester
from pystack.lab.verdict import CaseFailed, HostCrashed, Inconclusive, Unable, Verdict

__all__ = ["Result", "run_case", "run_mutant"]

PATIENCE_S = 20.0
# A failure on a Host with a real clock counts only if it comes again.
CONFIRMATIONS = 2


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


def run_case(host: Host, case: Case, *, patience_s: float = PATIENCE_S) -> Result:
    """Runs one case. The Host is started for it and stopped after it.

    Args:
        host: Any Host; started or not.
        case: The case.
        patience_s: How many seconds a case may last on a Host whose clock is real.
    """
    if not host.virtual and case.seconds > patience_s:
        reason = f"lasts {case.seconds:g} s, and the clock is real (--patience)"
        return Result(case.id, host.name, host.release, Verdict.NOT_APPLICABLE, reason)
    result = _once(host, case)
    if host.virtual or result.verdict in (Verdict.PASS, Verdict.NOT_APPLICABLE):
        return result
    for _ in range(CONFIRMATIONS):
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
        case.function(tester)
    except CaseFailed as failure:
        verdict, reason = Verdict.FAIL, str(failure)
    except HostCrashed as crash:
        verdict, reason = Verdict.CRASH, str(crash)
    except Unable as missing:
        verdict, reason = Verdict.NOT_APPLICABLE, str(missing)
    except Inconclusive as nothing:
        verdict, reason = Verdict.INCONCLUSIVE, str(nothing)
    except OSError as error:
        # A socket call of the Host's that the case did not foresee.
        where = traceback.extract_tb(error.__traceback__)
        line = next((one.line for one in reversed(where) if one.filename == _file(case)), "")
        verdict, reason = Verdict.FAIL, f"{type(error).__name__}: {error} (at: {line})"
    ladder = () if tester is None else tuple(tester.ladder.events)
    try:
        if tester is not None and verdict is not Verdict.CRASH:
            tester.finish()
    except HostCrashed as crash:
        verdict, reason = Verdict.CRASH, str(crash)
    finally:
        host.stop()
    took = time.monotonic() - began
    return Result(case.id, host.name, host.release, verdict, reason, took, ladder)


def _file(case: Case) -> str:
    return case.function.__code__.co_filename


def run_mutant(make: Callable[[], Host], case: Case) -> Result:
    """Runs a case on its own mutant of a Host.

    Raises:
        ValueError: It has none.
    """
    if case.mutant is None:
        raise ValueError(f"{case.id} names no mutant")
    return run_case(MutantHost(make(), case.mutant), case)


def unfailed(make: Callable[[], Host], cases: Iterable[Case]) -> list[tuple[Case, Result | None]]:
    """The cases whose mutant passes them, or that name none."""
    found: list[tuple[Case, Result | None]] = []
    for one in cases:
        result = run_mutant(make, one) if one.mutant is not None else None
        if result is None or result.verdict is not Verdict.FAIL:
            found.append((one, result))
    return found
