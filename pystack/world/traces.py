"""Delays and rates that change from frame to frame: distributions, and what was measured."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pystack._native import ffi
from pystack.world.units import seconds

__all__ = ["DelayTrace", "NormalDelay", "RateTrace"]

_MOST_MS = (1 << 32) - 1
_OPPORTUNITY_BYTES = 1504


@dataclass(frozen=True)
class NormalDelay:
    """Delays that are normally distributed; none is below 0.

    Attributes:
        mean: Seconds, or a string, as "20ms".
        deviation: The standard deviation.
        correlation: Of each frame's delay with the one before, from 0 to less than 1.

    Raises:
        ValueError: A value is out of range or has no known unit.
    """

    mean: float | str
    deviation: float | str
    correlation: float = 0.0

    def __post_init__(self) -> None:
        for name in ("mean", "deviation"):
            object.__setattr__(self, name, seconds(getattr(self, name), name))
        if not 0 <= self.correlation < 1:
            raise ValueError(f"a correlation is from 0 to less than 1, not {self.correlation!r}")

    def _to_c(self, out: Any) -> list[Any]:
        out.delay_us = round(float(self.mean) * 1e6)
        out.deviation_us = round(float(self.deviation) * 1e6)
        out.correlation = self.correlation
        return []


def _lines(path: str | os.PathLike[str]) -> Iterable[tuple[int, str]]:
    text = Path(path).read_text("utf-8")
    for number, line in enumerate(text.splitlines(), 1):
        content = line.partition("#")[0].strip()
        if content:
            yield number, content


@dataclass(frozen=True, repr=False)
class DelayTrace:
    """Delays as they were measured; behind the last the first comes again.

    Attributes:
        samples: Seconds each, or strings, as "20ms".
        every: For how long each sample holds, seconds or a string; 0: each is one frame's. The
            first begins when the condition is set.

    Raises:
        ValueError: There are no samples, or one is out of range.
    """

    samples: tuple[float, ...]
    every: float | str = 0.0

    def __init__(self, samples: Iterable[float | str], *, every: float | str = 0.0) -> None:
        found = tuple(seconds(one, "a sample") for one in samples)
        if not found:
            raise ValueError("a trace of delays has at least one sample")
        object.__setattr__(self, "samples", found)
        object.__setattr__(self, "every", seconds(every, "every"))

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], *, unit: str = "ms", every: float | str = 0.0
    ) -> DelayTrace:
        """Reads a file with one sample a line; `#` begins a comment.

        Args:
            path: The file's.
            unit: The samples', as "ms", where a line gives none.
            every: As in the class.

        Raises:
            ValueError: A line is no time; the message says which.
            OSError: The file can't be read.
        """
        samples = []
        for number, text in _lines(path):
            try:
                samples.append(seconds(text + unit if text[-1].isdigit() else text, "a sample"))
            except ValueError as error:
                raise ValueError(f"{os.fspath(path)}:{number}: {error}") from error
        if not samples:
            raise ValueError(f"{os.fspath(path)} has no samples")
        return cls(samples, every=every)

    def _to_c(self, out: Any) -> list[Any]:
        array = ffi.new("uint64_t[]", [round(one * 1e6) for one in self.samples])
        out.delays_us = array
        out.delay_count = len(self.samples)
        out.delays_every_us = round(float(self.every) * 1e6)
        return [array]

    def __repr__(self) -> str:
        each = f" of {self.every:g} s" if self.every else ""
        return f"<DelayTrace: {len(self.samples)} samples{each}>"


@dataclass(frozen=True, repr=False)
class RateTrace:
    """A rate as it was measured, in mahimahi's format: when a full-sized packet could leave.

    At each of its moments 1504 bytes may leave, which small frames share; what no frame is there
    for is lost. It begins when the condition is set, and again with its last moment's time as its
    period.

    Attributes:
        opportunities_ms: The moments in milliseconds, not falling; the same one may come more than
            once.

    Raises:
        ValueError: There are none, one is out of range or before the one before it, or the last
            is 0.
    """

    opportunities_ms: tuple[int, ...]

    def __init__(self, opportunities_ms: Iterable[int]) -> None:
        found = tuple(map(operator.index, opportunities_ms))
        if not found or found[-1] == 0:
            raise ValueError("a trace of a rate has at least one moment after 0")
        before = 0
        for one in found:
            if not before <= one <= _MOST_MS:
                raise ValueError(f"the moment {one} is not from {before} to {_MOST_MS}")
            before = one
        object.__setattr__(self, "opportunities_ms", found)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> RateTrace:
        """Reads a file as mahimahi's `mm-link` does: a line for each moment.

        Raises:
            ValueError: A line is no number, or less than the one before; the message says which.
            OSError: The file can't be read.
        """
        moments: list[int] = []
        for number, text in _lines(path):
            if not (text.isascii() and text.isdigit()) or (moments and int(text) < moments[-1]):
                raise ValueError(
                    f"{os.fspath(path)}:{number}: a line is a number of milliseconds, not less "
                    f"than the one before, not {text!r}"
                )
            moments.append(int(text))
        if not moments:
            raise ValueError(f"{os.fspath(path)} has no moments")
        return cls(moments)

    @property
    def mean(self) -> float:
        """The rate it comes to, in bits per second."""
        bits = len(self.opportunities_ms) * _OPPORTUNITY_BYTES * 8
        return bits * 1000 / self.opportunities_ms[-1]

    def _to_c(self, out: Any) -> list[Any]:
        array = ffi.new("uint32_t[]", self.opportunities_ms)
        out.opportunities_ms = array
        out.opportunity_count = len(self.opportunities_ms)
        return [array]

    def __repr__(self) -> str:
        seconds_long = self.opportunities_ms[-1] / 1000
        return f"<RateTrace: {self.mean / 1e6:.3g} Mbit/s over {seconds_long:g} s>"
