"""pystack's plugin for pytest: fixtures `world` and `stack`, and what is shown of a failure.

It is a package of its own, and imports pystack where a test uses it, so that it costs nothing
where none does.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pystack import Stack
    from pystack.world import World

_OPTIONS = {
    "--world-seed": "PYSTACK_WORLD_SEED",
    "--world-tape": "PYSTACK_WORLD_TAPE",
    "--world-time": "PYSTACK_WORLD_TIME",
}


# A clock of the machine that goes on in a World, where pytest's own are the World's.
_CLOCK = getattr(time, "CLOCK_MONOTONIC_RAW", None)
_EPOCH = 0.0 if _CLOCK is None else time.time() - time.clock_gettime(_CLOCK)
_TIMES = pytest.StashKey[tuple[float, float]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The three options."""
    group = parser.getgroup("pystack")
    group.addoption(
        "--world-seed",
        type=int,
        metavar="N",
        help="the seed of the fixture `world`, and the only one that world_test runs",
    )
    group.addoption(
        "--world-tape",
        metavar="TAPE",
        help="the tape of both instead: a file, or its text as 'seed=7 lost:a>b:5'",
    )
    group.addoption(
        "--world-time",
        choices=["virtual", "real", "tap"],
        help="the time of both: virtual, real, or real with links over TAP devices",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Tells the options to whatever uses them, without an import of it."""
    for option, variable in _OPTIONS.items():
        given = config.getoption(option)
        if given is not None:
            os.environ[variable] = str(given)


@pytest.fixture
def world() -> Iterator[World]:
    """An open World with a trace; its seed is 0, or `--world-seed`, or that of `--world-tape`."""
    from pystack.world.testing import given_world  # noqa: PLC0415 - only where it is used

    with given_world() as made:
        yield made
        if made.failures:
            raise made.failures[0]


@pytest.fixture
def stack() -> Iterator[Stack]:
    """A Stack without NICs, closed at the end."""
    from pystack import Stack  # noqa: PLC0415 - only where it is used

    with Stack() as made:
        yield made


def _timed(item: pytest.Item) -> Generator[None, Any, Any]:
    began = 0.0 if _CLOCK is None else time.clock_gettime(_CLOCK)
    try:
        return (yield)
    finally:
        if _CLOCK is not None:
            item.stash[_TIMES] = began, time.clock_gettime(_CLOCK)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """Takes the time, as of the other two parts of a test."""
    return (yield from _timed(item))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Takes the time."""
    return (yield from _timed(item))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Takes the time."""
    return (yield from _timed(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    """Gives a test its time on the machine, and adds what a failed one's World and Stack show."""
    times = item.stash.get(_TIMES, None)
    if times is not None and "pystack.world" in sys.modules:
        call.start, call.stop = _EPOCH + times[0], _EPOCH + times[1]
        call.duration = times[1] - times[0]
    report = yield
    if call.when != "call" or not report.failed:
        return report
    given = getattr(item, "funcargs", {})
    if "world" in given and hasattr(given["world"], "sequence"):
        from pystack.world.testing import told_world  # noqa: PLC0415 - only where it is used

        report.sections.append(("pystack world", told_world(given["world"])))
    if "stack" in given and hasattr(given["stack"], "connections"):
        from pystack.world.explore import netstat  # noqa: PLC0415 - only where it is used

        report.sections.append(("pystack stack", netstat(given["stack"].connections())))
    return report
