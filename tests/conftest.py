"""What all tests share: first of all, that they test a built pystack."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import signal
import sys
import tempfile
import time
import tracemalloc  # noqa: F401 - or pytest's hook does, and what is collected meanwhile finds half
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest


def pytest_configure() -> None:
    """Stop where `import pystack` would find the source tree and not a built package.

    `pytest` imports the installed package, but `python -m pytest` in the repository's root puts
    that root on `sys.path` first.
    """
    spec = importlib.util.find_spec("pystack")
    if spec is None or spec.origin is None:
        raise pytest.UsageError("pystack is not installed here: pip install '.[test]'")
    package = Path(spec.origin).parent
    if not any((package / "_native").glob("_host.*")):
        raise pytest.UsageError(
            f"{package} is not built. Run `pytest` rather than `python -m pytest`, or build in "
            "place (see pystack/manual/building.md)"
        )


FIRST_S = 60.0


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Have the first of xdist's workers import all tests before the others do.

    On a fresh clone pytest rewrites the assertions of each file, which takes longer than all else
    of the import; the others then find them rewritten.
    """
    given = getattr(session.config, "workerinput", None)
    if given is None or sys.dont_write_bytecode:
        return (yield)
    done = Path(tempfile.gettempdir(), f"pystack-tests-{given['testrunuid']}")
    if given["workerid"] == "gw0":
        session.config.add_cleanup(lambda: done.unlink(missing_ok=True))
        try:
            return (yield)
        finally:
            done.touch()
    deadline = time.monotonic() + FIRST_S
    while not done.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return (yield)


def pytest_collection_finish() -> None:
    """Spare the garbage collector 11,000 collected tests, which it would walk each time.

    A `gc.collect()` takes 0.5 s with them, and tests of what goes with its last reference ask for
    several. Hypothesis looks for referrers when it is imported, and finds none that are frozen.
    """
    importlib.import_module("hypothesis")
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def signals() -> Iterator[None]:
    """What a shell has made the session ignore, programs that tests start would ignore, too.

    nohup(1) does so with SIGHUP, and a shell without job control with SIGINT for what it starts
    in the background.
    """
    before = [(one, signal.getsignal(one)) for one in (signal.SIGHUP, signal.SIGINT)]
    for one, handler in before:
        if handler is signal.SIG_IGN:
            restored = signal.default_int_handler if one is signal.SIGINT else signal.SIG_DFL
            signal.signal(one, restored)
    yield
    for one, handler in before:
        signal.signal(one, handler)


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Say how many workers `-n auto` has: three a processor, for tests mostly wait."""
    return min(3 * processors(), 16)


# Files whose fixtures are dear: one worker has all of their tests.
TOGETHER = (
    "tests/lab/test_catalogue.py",
    "tests/lab/test_hosts.py",
    "tests/lab/test_other_hosts.py",
)
# One worker has a module of CPython, in each way: the reference is run once.
LIBRARY = "tests/cpython/test_library.py"
MANY, A_FEW = 24, 8  # cases of a function, which are short where there are many


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Make the scheduler. xdist's own, "loadgroup", sees no groups with pytest 9.2 (xdist 3.8).

    What it hands a worker is a test, or a few of a function that has many cases: its bookkeeping
    grows with the square of the pieces, and each is a message both ways.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):
        @cached_property
        def _scopes(self) -> dict[str, str]:
            cases = Counter(nodeid.partition("[")[0] for nodeid in self.collection)
            seen: Counter[str] = Counter()
            scopes = {}
            for nodeid in self.collection:
                file, function = nodeid.partition("::")[0], nodeid.partition("[")[0]
                if file in TOGETHER:
                    scopes[nodeid] = file
                elif file == LIBRARY:
                    scopes[nodeid] = f"{file} {nodeid.rpartition('-')[2]}"
                elif cases[function] >= MANY:
                    scopes[nodeid] = f"{function} {seen[function] // A_FEW}"
                    seen[function] += 1
                else:
                    scopes[nodeid] = nodeid
            return scopes

        def _split_scope(self, nodeid: str) -> str:
            return self._scopes[nodeid]

    return Scheduler(config, log)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say that there is more."""
    if config.getoption("markexpr") == "not slow":
        return "without the tests marked slow, which CI runs: `-m slow` for these, `-m ''` for all"
    return None
