"""Looking for a seed with which a program goes wrong, and for the least that makes it do so."""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib
import itertools
import runpy
import shlex
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, TextIO

from pystack._native.values import hinted
from pystack.tables import Connection, format_connections
from pystack.world.faults import Fault, Faults
from pystack.world.schedule import Pct
from pystack.world.shrink import shrink as shrink_tape
from pystack.world.tape import Tape
from pystack.world.times import taking_part
from pystack.world.waits import in_a_line, place_of_error
from pystack.world.world import World

__all__ = [
    "LAST_FRAMES",
    "Exploration",
    "Outcome",
    "explore",
    "find_test",
    "name_of_test",
    "netstat",
    "run_once",
    "tables",
]

Test = Callable[[World], object]
_SHOW_EVERY = 0.2  # seconds
LAST_FRAMES = 30  # of a failure's ladder


@dataclass(frozen=True)
class Outcome:
    """How one run ended.

    Attributes:
        tape: What chance decided in it.
        error: What it failed with, in a line; "": it went well.
        kind: The type of the error, and where in the user's code it was raised: by this, two
            failures are the same.
        report: The traceback.
        ladder: The last frames, where a trace was kept.
        tables: Each host's connections at the end, as netstat shows them, of a run that failed.
        virtual: How long it took, in seconds of the World,
        real: and in real ones.
    """

    tape: Tape
    error: str = ""
    kind: str = ""
    report: str = ""
    ladder: str = ""
    tables: str = ""
    virtual: float = 0.0
    real: float = 0.0


@contextlib.contextmanager
def _quiet_threads() -> Iterator[None]:
    """A World's threads that fail are told by the outcome, and not by `threading`, too."""
    before = threading.excepthook

    def hook(args: Any) -> None:
        if taking_part() is None:
            before(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def netstat(connections: list[Connection]) -> str:
    """Connections as netstat shows them."""
    rows = format_connections(connections)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  " + "  ".join(map(str.ljust, row, widths)).rstrip()  # a line each
        for row in rows
    )


def tables(world: World) -> str:
    """What netstat shows on each host of a World."""
    told = []
    for name, host in world.hosts.items():
        if host.closed:
            told.append(f"{name}: without power")
        elif rows := host.connections():
            told.append(f"{name}:\n{netstat(rows)}")
        else:
            told.append(f"{name}: nothing open")
    return "\n".join(told)


def _is_failure(error: BaseException) -> bool:
    # pytest's own is no Exception, so that programs don't catch it.
    return isinstance(error, Exception) or type(error).__qualname__ == "Failed"


def run_once(
    test: Test,
    *,
    seed: int | None = None,
    schedule: str | Pct = "fifo",
    faults: Faults | Iterable[Fault] | None = (),
    tape: Tape | None = None,
    trace: bool = False,
    capture: str | Path | None = None,
    time: str | None = None,
    wires: str = "memory",
) -> Outcome:
    """Runs a test in a World of its own.

    A test fails if it raises, or one of the World's threads does, or nothing can happen any more.

    Args:
        test: Is called with the open World.
        seed: As `World` has it, and so are the others:
        schedule: which is next;
        faults: what goes wrong;
        tape: what is to happen, in the place of these three;
        trace: whether the outcome has a ladder.
        capture: Writes the trace to this file (pcapng).
        time: As `World` has it, and so are
        wires: what links are made of.
    """
    began = perf_counter()
    keeps = trace or capture is not None
    world = World(
        seed=seed, schedule=schedule, faults=faults, tape=tape, trace=keeps, time=time, wires=wires
    )
    error: BaseException | None = None
    told_tables = ""
    with _quiet_threads(), world:
        try:
            test(world)
        except BaseException as caught:
            if not _is_failure(caught):
                raise
            error = caught
        if error is None and world.failures:
            error = world.failures[0]
        virtual = world.now
        if error is not None:
            told_tables = tables(world)
    ladder = world.sequence(last=LAST_FRAMES) if trace else ""
    if capture is not None:
        world.save_trace(capture)
    real = perf_counter() - began
    if error is None:
        return Outcome(world.tape, ladder=ladder, virtual=virtual, real=real)
    told = f"{type(error).__name__}: {error}".rstrip(": ")
    kind = f"{type(error).__name__} at {place_of_error(error)}"
    report = "".join(traceback.format_exception(error))
    for before in world.failures:
        if before is not error:
            report += "\nbefore, in a thread: " + "".join(traceback.format_exception(before))
    return Outcome(world.tape, told, kind, report, ladder, told_tables, virtual, real)


def name_of_test(test: Test) -> str:
    """By which `python -m pystack.world` finds it: "module:name", or "file.py:name"."""
    module = getattr(test, "__module__", "")
    name = getattr(test, "__qualname__", type(test).__qualname__)
    if module == "__main__":
        path = getattr(sys.modules["__main__"], "__file__", None)
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        module = spec.name if spec is not None else str(path)
    return f"{module}:{name}"


def find_test(name: str) -> Test:
    """The test of that name.

    Raises:
        ValueError: The name isn't "module:function" or "file.py:function", or there is none, or it
            is a `world_test`, or what it is in can't be loaded.
    """
    module, _colon, function = name.rpartition(":")
    if not module:
        raise ValueError(f'a test is named "module:function" or "file.py:function", not {name!r}')
    found: Any
    try:
        if module.endswith(".py"):
            found = runpy.run_path(module, run_name=module).get(function)  # as it is replayed
        else:
            found = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{module} can't be loaded: {in_a_line(error)}") from error
    if not module.endswith(".py"):
        for part in function.split("."):
            found = getattr(found, part, None)
    if not callable(found):
        raise ValueError(  # noqa: TRY004 - the name is wrong
            f"there is no function {function!r} in {module}"
        )
    if getattr(found, "is_world_test", False):
        raise ValueError(
            f"{function} is a world_test, which makes its Worlds itself: run it by pytest, with "
            "--world-seed N or --world-tape TAPE"
        )
    return found  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Exploration:
    """What was found.

    Attributes:
        runs: How many runs there were, without those of the shrinking.
        failure: The first outcome that went wrong; None: none did.
        shrunk: The same failure with as little as possible; the failure itself, where it can't be
            replayed.
        tries: How many runs the shrinking took.
        is_repeatable: Whether the failure's tape gives the same failure again. Otherwise something
            takes part that is no World's: the time of day, hashes, other processes.
        coverage: In how many runs there was each kind of fault and choice.
        virtual: Seconds of the Worlds' clocks, all together,
        real: and real ones.
        command: Replays the failure.
    """

    runs: int
    failure: Outcome | None = None
    shrunk: Outcome | None = None
    tries: int = 0
    is_repeatable: bool = True
    coverage: Counter[str] = field(default_factory=Counter)
    virtual: float = 0.0
    real: float = 0.0
    command: str = ""

    def __str__(self) -> str:
        seen = ", ".join(f"{kind} {count}" for kind, count in sorted(self.coverage.items()))
        lines = [
            f"{self.runs} run{'s' * (self.runs != 1)}, {self.virtual:.0f} s of virtual time "
            f"in {self.real:.1f} s; runs with: {seen or 'no fault'}"
        ]
        if self.failure is None or self.shrunk is None:
            return lines[0] + "\nnone failed"
        # pytest's summary has room for this line's beginning alone.
        lines.insert(0, f"seed {self.failure.tape.seed}: {self.failure.error}")
        lines += ["", self.shrunk.report.rstrip(), ""]
        if self.shrunk.ladder:
            lines += [self.shrunk.ladder, ""]
        lines.append(f"seed {self.failure.tape.seed} fails: {self.failure.error}")
        if not self.is_repeatable:
            lines.append("but not when it is replayed: something takes part that is no World's")
        before, after = len(self.failure.tape.entries), len(self.shrunk.tape.entries)
        lines.append(f"shrunk in {self.tries} runs from {before} surprises to {after}:")
        lines += [f"    {one}" for one in self.shrunk.tape.entries] or ["    none: it always fails"]
        lines.append(f"replay: {self.command}")
        return "\n".join(lines)

    def check(self) -> None:
        """Raises AssertionError with all of this, if a run failed."""
        if self.failure is not None:
            raise AssertionError(str(self))


class _Here(concurrent.futures.Executor):
    """Runs each at once, in this thread."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        future.set_result(fn(*args, **kwargs))
        return future


def _outcomes(
    executor: Any, test: Test, seeds: Iterable[int], options: dict[str, Any], ahead: int
) -> Generator[Outcome, None, None]:
    """Those of the seeds in their order, with some under way ahead."""
    left = iter(seeds)
    waiting = [
        executor.submit(run_once, test, seed=seed, **options)
        for seed in itertools.islice(left, ahead)
    ]
    try:
        while waiting:
            outcome = waiting.pop(0).result()
            waiting += [
                executor.submit(run_once, test, seed=seed, **options)
                for seed in itertools.islice(left, 1)
            ]
            yield outcome
    finally:
        for one in waiting:
            one.cancel()


class _Progress:
    def __init__(self, out: TextIO | None) -> None:
        self._out = out
        self._shown = 0.0

    def show(self, text: str) -> None:
        now = monotonic()
        if self._out is not None and now - self._shown >= _SHOW_EVERY:
            self._out.write(f"\r\x1b[K{text}")
            self._out.flush()
            self._shown = now

    def clear(self) -> None:
        if self._out is not None and self._shown:
            self._out.write("\r\x1b[K")
            self._out.flush()


@hinted
def explore(
    test: Test,
    *,
    seeds: Iterable[int] | int = 100,
    schedule: str | Pct = "random",
    faults: Faults | Iterable[Fault] | None = (),
    executor: Any = None,
    shrink: bool = True,
    most_tries: int = 500,
    ahead: int = 8,
    progress: bool | None = None,
    time: str | None = None,
    wires: str = "memory",
) -> Exploration:
    """Runs a test with one seed after the other until one fails, and shrinks that failure.

    Args:
        test: Is called with an open World. For other processes it has to be a module's function.
        seeds: Which; or how many, from 0.
        schedule: As `World` has it.
        faults: What may go wrong (`Faults`), or what does.
        executor: Runs them: any with the methods of `concurrent.futures.Executor`, as a
            `ProcessPoolExecutor`. None: one after the other, in this thread.
        shrink: Whether to look for a smaller tape with the same failure.
        most_tries: How many runs that may take.
        ahead: How many runs are under way at a time in an executor.
        progress: Whether to show it on stderr; None: if that is a terminal.
        time: As `World` has it, and so are
        wires: what links are made of.

    Returns:
        What was found; `check` raises if a run failed, `str` tells it.
    """
    if not callable(test):
        raise TypeError(f"a test is a function of a World, not {test!r}")
    began = monotonic()
    shows = sys.stderr.isatty() if progress is None else progress
    bar = _Progress(sys.stderr if shows else None)
    pool = _Here() if executor is None else executor
    chosen = range(seeds) if isinstance(seeds, int) else seeds
    plan = faults if isinstance(faults, Faults) else tuple(faults or ())
    paced = {"time": time, "wires": wires}
    options = {"schedule": schedule, "faults": plan, **paced}
    coverage: Counter[str] = Counter()
    runs, virtual = 0, 0.0
    failure: Outcome | None = None
    found = _outcomes(pool, test, chosen, options, 1 if executor is None else max(1, ahead))
    with contextlib.closing(found):
        for outcome in found:
            runs += 1
            virtual += outcome.virtual
            coverage.update({one.kind for one in outcome.tape.entries})
            bar.show(f"{runs} runs, {virtual:.0f} s of virtual time, seed {outcome.tape.seed}")
            if outcome.error:
                failure = outcome
                break
    if failure is None:
        bar.clear()
        real = monotonic() - began
        return Exploration(runs, coverage=coverage, virtual=virtual, real=real)
    kind, tries = failure.kind, 0

    def fails(tape: Tape) -> Tape | None:
        nonlocal tries
        tries += 1
        bar.show(f"seed {failure.tape.seed} fails; shrinking: {tries} runs")
        outcome: Outcome = pool.submit(run_once, test, tape=tape, **paced).result()
        return outcome.tape if outcome.kind == kind else None

    is_repeatable = fails(failure.tape) is not None
    best = failure.tape
    if shrink and is_repeatable:
        best, _tries = shrink_tape(failure.tape, fails, most=most_tries)
    shrunk: Outcome = pool.submit(run_once, test, tape=best, trace=True, **paced).result()
    bar.clear()
    told = shlex.quote(str(best))
    command = f"python -m pystack.world replay {name_of_test(test)} {told}"
    return Exploration(
        runs, failure, shrunk if shrunk.kind == kind else failure, tries, is_repeatable, coverage,
        virtual, monotonic() - began, command,
    )  # fmt: skip
