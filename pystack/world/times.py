"""What time it is in a World, for the threads that take part in it.

The functions of `time` and `datetime` stay the objects that they are, and what a program has taken
from them before (a default argument, a field's factory, a bound method) follows as well: C answers
them while a World is open (bindings/python/divert.c). What measures the machine stays real:
`process_time`, `thread_time`, and `clock_gettime` for the clocks of processors and
`CLOCK_MONOTONIC_RAW`.
"""

from __future__ import annotations

import datetime
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pystack._native import WorldClock
from pystack._native.diverted import divert

__all__ = ["is_any_open", "taking_part", "times_of_world"]

# The open Worlds' clocks, and what the time of day is at 0 of each, in microseconds since 1970.
_open: list[tuple[WorldClock, int]] = []
_OF_DAY = ("CLOCK_REALTIME", "CLOCK_TAI")
_STEADY = ("CLOCK_MONOTONIC", "CLOCK_BOOTTIME", "CLOCK_HIGHRES", "CLOCK_UPTIME")
# asyncio runs a timer whose moment is less than the clock's resolution away, and looks again at
# once where that is more. A nanosecond, which Linux tells, is lost in a `float` after half a year.
_RESOLUTION_S = 1e-6
_INFOS = {name: time.get_clock_info(name) for name in ("time", "monotonic", "perf_counter")}
_UTCNOW_IS_DEPRECATED = sys.version_info >= (3, 12)
_make = vars(datetime.datetime)["fromtimestamp"]


def taking_part() -> WorldClock | None:
    """The clock of the World that this thread takes part in; None: it takes part in none."""
    for clock, _epoch_us in reversed(_open):
        if clock.takes_part():
            return clock
    return None


def is_any_open() -> bool:
    """Whether any World is open, in whatever thread."""
    return bool(_open)


def _steady_us() -> int | None:
    clock = taking_part()
    return None if clock is None else clock.now_us()


def _of_day_us() -> int | None:
    for clock, epoch_us in reversed(_open):
        if clock.takes_part():
            return epoch_us + clock.now_us()
    return None


# --- what stands for each function ----------------------------------------------------------


def _reading(now_us: Callable[[], int | None], in_ns: bool) -> Callable[[], Any]:
    def read() -> Any:
        now = now_us()
        if now is None:
            return NotImplemented
        return now * 1000 if in_ns else now / 1e6

    return read


def _reading_of_clock(in_ns: bool) -> Callable[[int], Any]:
    known = {getattr(time, name, None): _of_day_us for name in _OF_DAY}
    known |= {getattr(time, name, None): _steady_us for name in _STEADY}
    readings = {number: _reading(now_us, in_ns) for number, now_us in known.items()}

    def read(number: int) -> Any:
        return readings[number]() if number in readings else NotImplemented

    return read


def _clock_info(name: str) -> Any:
    if name not in _INFOS or taking_part() is None:
        return NotImplemented
    return types.SimpleNamespace(**{**vars(_INFOS[name]), "resolution": _RESOLUTION_S})


def _sleep(duration: float) -> Any:
    clock = taking_part()
    if clock is None:
        return NotImplemented
    if duration < 0:
        raise ValueError("sleep length must be non-negative")
    clock.sleep(duration)
    return None


def _of_now(original: Callable[..., Any], before: int, *, broken_down: bool) -> Any:
    """A function that takes the present where an argument isn't given, behind so many others."""

    def answer(*given: Any) -> Any:
        now_us = _of_day_us()
        missing = len(given) == before or (len(given) == before + 1 and given[before] is None)
        if now_us is None or not missing:
            return NotImplemented
        now = now_us / 1e6
        return original(*given[:before], time.localtime(now) if broken_down else now)

    return answer


def _now(kind: Any, tz: datetime.tzinfo | None = None) -> Any:
    now_us = _of_day_us()
    return NotImplemented if now_us is None else _make.__get__(None, kind)(now_us / 1e6, tz)


def _utcnow(kind: Any) -> Any:
    now_us = _of_day_us()
    if now_us is None:
        return NotImplemented
    if _UTCNOW_IS_DEPRECATED:
        warnings.warn(
            "datetime.datetime.utcnow() is deprecated and scheduled for removal in a future "
            "version. Use timezone-aware objects to represent datetimes in UTC: "
            "datetime.datetime.now(datetime.UTC).",
            DeprecationWarning,
            stacklevel=2,
        )
    return _make.__get__(None, kind)(now_us / 1e6, datetime.timezone.utc).replace(tzinfo=None)


def _today(kind: Any) -> Any:
    now_us = _of_day_us()
    return NotImplemented if now_us is None else kind.fromtimestamp(now_us / 1e6)


_diverted: dict[Callable[..., Any], Callable[..., Any]] = {
    time.time: _reading(_of_day_us, False),
    time.time_ns: _reading(_of_day_us, True),
    time.monotonic: _reading(_steady_us, False),
    time.monotonic_ns: _reading(_steady_us, True),
    time.perf_counter: _reading(_steady_us, False),
    time.perf_counter_ns: _reading(_steady_us, True),
    time.get_clock_info: _clock_info,
    time.sleep: _sleep,
    time.localtime: _of_now(time.localtime, 0, broken_down=False),
    time.gmtime: _of_now(time.gmtime, 0, broken_down=False),
    time.ctime: _of_now(time.ctime, 0, broken_down=False),
    time.asctime: _of_now(time.asctime, 0, broken_down=True),
    time.strftime: _of_now(time.strftime, 1, broken_down=True),
    datetime.datetime.now: _now,
    datetime.datetime.utcnow: _utcnow,
    datetime.date.today: _today,
}
if hasattr(time, "clock_gettime"):
    _diverted[time.clock_gettime] = _reading_of_clock(False)
    _diverted[time.clock_gettime_ns] = _reading_of_clock(True)


@contextmanager
def times_of_world(clock: WorldClock, epoch: float) -> Iterator[None]:
    """In this block, the time of threads that take part is the World's.

    Args:
        clock: The World's.
        epoch: What `time.time` says at 0 of the World's clock.
    """
    entry = (clock, round(epoch * 1e6))
    for function, answer in _diverted.items():
        divert(function, answer)
    _open.append(entry)
    try:
        yield
    finally:
        _open.remove(entry)
        for function in _diverted if not _open else ():
            divert(function, None)
