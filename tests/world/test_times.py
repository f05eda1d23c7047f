"""What time it is in a World, by each function of Python's library that says so."""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import functools
import logging
import subprocess
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timezone

import pytest

from pystack._native.diverted import divert
from pystack.world import World

EPOCH = 1_704_067_200  # 2024-01-01 00:00:00 UTC
BEFORE_NOW = datetime.datetime.now  # as a program takes it: at its import
DIVERTED = (time.time, time.sleep, time.localtime, datetime.datetime.now, datetime.date.today)


class OwnKind(datetime.datetime):
    """A class of the user's."""


@dataclass
class Entry:
    made: datetime.datetime = field(default_factory=BEFORE_NOW)
    at: float = field(default_factory=time.time)


def measure(clock: Callable[[], float] = time.monotonic) -> float:
    return clock()


def local(seconds: float = EPOCH) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds)


def utcnow() -> datetime.datetime:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return datetime.datetime.utcnow()


HOUR = EPOCH + 3600


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (datetime.datetime.now, local(HOUR)),
        (BEFORE_NOW, local(HOUR)),
        (OwnKind.now, OwnKind.fromtimestamp(HOUR)),
        (datetime.datetime.today, local(HOUR)),
        (datetime.date.today, local(HOUR).date()),
        (utcnow, datetime.datetime(2024, 1, 1, 1)),
        (lambda: datetime.datetime.now(timezone.utc).timestamp(), HOUR),
        (lambda: datetime.datetime.now(tz=timezone.utc).hour, 1),
        (Entry, Entry(local(HOUR), HOUR)),
        (time.time, HOUR),
        (time.time_ns, HOUR * 10**9),
        (time.localtime, time.localtime(HOUR)),
        (lambda: time.localtime(None), time.localtime(HOUR)),
        (lambda: time.localtime(0), time.localtime(0)),
        (time.gmtime, time.gmtime(HOUR)),
        (time.ctime, time.ctime(HOUR)),
        (time.asctime, time.ctime(HOUR)),
        (lambda: time.strftime("%F %T"), time.strftime("%F %T", time.localtime(HOUR))),
        (lambda: time.strftime("%F", time.gmtime(0)), "1970-01-01"),
        (lambda: time.clock_gettime(time.CLOCK_REALTIME), HOUR),
        (lambda: time.clock_gettime_ns(time.CLOCK_REALTIME), HOUR * 10**9),
        (measure, 3601),  # a World's steady clock begins at 1
        (functools.partial(measure), 3601),
        (time.monotonic_ns, 3601 * 10**9),
        (time.perf_counter, 3601),
        (time.perf_counter_ns, 3601 * 10**9),
        (lambda: time.clock_gettime(time.CLOCK_MONOTONIC), 3601),
        (email.utils.formatdate, "Mon, 01 Jan 2024 01:00:00 -0000"),
        (lambda: email.utils.localtime().timestamp(), HOUR),
        (lambda: logging.makeLogRecord({}).created, HOUR),
        (lambda: uuid.uuid1().time, (HOUR + 12_219_292_800) * 10**7),  # since 1582
    ],
)
def test_an_hour_later(ask: Callable[[], object], expected: object) -> None:
    with World() as world:
        world.sleep(3600)
        found = ask()
        assert found == expected
        assert type(found) is type(expected) or isinstance(expected, (int, float))
    assert not isinstance(found, datetime.datetime) or found < ask()


def test_a_sleep_that_was_taken_before() -> None:
    nap = functools.partial(time.sleep)
    with World() as world:
        for sleep in (nap, time.sleep, functools.partial(nap)):
            sleep(2.5)
        assert world.now == 7.5
        with pytest.raises(ValueError, match="non-negative"):
            nap(-1)
        with pytest.raises(TypeError):
            nap("1")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: datetime.datetime.now(5),  # type: ignore[arg-type]
        lambda: datetime.datetime.now(None, 5),  # type: ignore[call-arg]
        lambda: datetime.datetime.now(zone=1),  # type: ignore[call-arg]
        lambda: time.time(1),  # type: ignore[call-arg]
        lambda: time.ctime(1, 2),  # type: ignore[call-arg]
        time.sleep,  # type: ignore[list-item]
        lambda: time.clock_gettime("x"),  # type: ignore[arg-type]
    ],
)
def test_wrong_arguments_are_refused(wrong: Callable[[], object]) -> None:
    with World(), pytest.raises(TypeError):
        wrong()


def test_only_the_threads_in_it() -> None:
    begin, end = threading.Event(), threading.Event()
    seen: list[int] = []

    def outside() -> None:
        begin.wait()
        seen.extend((BEFORE_NOW().year, datetime.date.today().year, time.localtime().tm_year))
        end.set()

    threading.Thread(target=outside).start()
    with World(epoch=0) as world:
        world.sleep(86_400)
        begin.set()
        while len(seen) < 3:
            world.sleep(1)
        assert BEFORE_NOW().year == 1970
    end.wait()
    assert min(seen) > 2024


def test_two_at_once_have_an_epoch_each() -> None:
    years: dict[int, int] = {}
    met = threading.Barrier(2, timeout=60)

    def live(year: int) -> None:
        epoch = datetime.datetime(year, 6, 1, tzinfo=timezone.utc).timestamp()
        met.wait()
        with World(epoch=epoch):
            ready.append(year)
            while len(ready) < 2:
                pass
            years[year] = datetime.datetime.now().year
            ready.append(year)
            while len(ready) < 4:
                pass

    ready: list[int] = []
    threads = [threading.Thread(target=live, args=(year,)) for year in (1980, 2040)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert years == {1980: 1980, 2040: 2040}


def test_afterwards_all_is_as_before() -> None:
    before = [str(each) for each in DIVERTED]
    with contextlib.suppress(ZeroDivisionError), World(epoch=0):
        assert [str(each) for each in DIVERTED] == before
        raise ZeroDivisionError
    assert abs(BEFORE_NOW().timestamp() - time.time()) < 5
    assert time.gmtime().tm_year > 2024
    with World(epoch=0):
        assert BEFORE_NOW(timezone.utc).year == 1970


@pytest.mark.skipif(sys.version_info < (3, 12), reason="it is not deprecated")
def test_what_is_deprecated_says_so() -> None:
    with World(), pytest.warns(DeprecationWarning, match="utcnow") as caught:
        datetime.datetime.utcnow()
    assert caught[0].filename == __file__


def test_only_functions_of_pythons_own_are_diverted() -> None:
    for none in (measure, 5, OwnKind, str.upper):
        with pytest.raises(TypeError, match="of Python's own"):
            divert(none, measure)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="2 arguments, not 1"):
        divert(time.time)  # type: ignore[call-arg]


def test_many_cost_no_memory() -> None:
    with World():
        divert(time.time, lambda: NotImplemented)
        for answer in (5, NotImplemented):
            before = sys.getrefcount(answer)
            divert(time.time, lambda answer=answer: answer)
            for _ in range(1000):
                time.time()
            divert(time.time, None)
            assert abs(sys.getrefcount(answer) - before) < 100
        before = sys.getrefcount(OwnKind)
        for _ in range(1000):
            OwnKind.now(tz=timezone.utc)
        assert abs(sys.getrefcount(OwnKind) - before) < 100


def test_a_module_that_stands_in_the_way_is_named() -> None:
    program = """
import time
time.time = lambda: 0
try:
    import pystack.world
    pystack.world.World().__enter__()
except TypeError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True
    )
    assert "import pystack.world before what replaces it" in done.stdout
