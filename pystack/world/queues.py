"""Queueing disciplines of a link's direction: how frames wait for its rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pystack._native import lib
from pystack.world.units import octets, seconds

__all__ = ["CoDel", "Fifo", "FqCoDel", "Queue", "as_queue"]

_MOST_FRAMES = 1 << 20
_MOST_FLOWS = 65536
_ETHERNET_HEADER = 14


def _count(value: object, what: str, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{what} is an int, not {value!r}")
    if not 1 <= value <= most:
        raise ValueError(f"{what} is from 1 to {most}, not {value}")


def _times(of: CoDel | FqCoDel) -> None:
    for name in ("target", "interval"):
        found = seconds(getattr(of, name), name)
        if found <= 0:
            raise ValueError(f"{name} is more than 0 seconds, not {getattr(of, name)!r}")
        object.__setattr__(of, name, found)


def _limits(of: Queue) -> None:
    _count(of.frames, "the number of frames that a queue holds", _MOST_FRAMES)
    if of.bytes is not None:
        size = octets(of.bytes, "bytes")
        if size < 1:
            raise ValueError(f"a queue holds at least one byte, not {of.bytes!r}; None: any number")
        object.__setattr__(of, "bytes", size)


def _to_c(of: Queue, out: Any, kind: int) -> None:
    out.kind = kind
    out.most_frames = of.frames
    out.most_bytes = of.bytes or 0


@dataclass(frozen=True)
class Fifo:
    """First in, first out; what finds no room is dropped.

    Attributes:
        frames: How many may wait.
        bytes: How many bytes of frames may wait, or a string, as "64kB"; None: any number.

    Raises:
        ValueError: A value is out of range or has no known unit.
    """

    frames: int = 1000
    bytes: int | str | None = None

    def __post_init__(self) -> None:
        _limits(self)

    def _to_c(self, out: Any) -> None:
        _to_c(self, out, lib.PS_QUEUE_FIFO)


@dataclass(frozen=True)
class CoDel:
    """CoDel (RFC 8289): drops at the head once frames have waited too long for too long.

    What finds the queue full is dropped as with `Fifo`.

    Attributes:
        target: Seconds that frames may wait without end, or a string, as "5ms".
        interval: Seconds within which they must have waited less than that once.
        ecn: Marks packets whose sender knows ECN instead of dropping them (RFC 3168).
        frames: How many may wait.
        bytes: How many bytes of frames may wait, or a string, as "64kB"; None: any number.

    Raises:
        ValueError: A value is out of range or has no known unit.
    """

    target: float | str = 0.005
    interval: float | str = 0.1
    ecn: bool = False
    frames: int = 1000
    bytes: int | str | None = None

    def __post_init__(self) -> None:
        _limits(self)
        _times(self)

    def _to_c(self, out: Any) -> None:
        _to_c(self, out, lib.PS_QUEUE_CODEL)
        _codel_to_c(self, out)


@dataclass(frozen=True)
class FqCoDel:
    """FQ-CoDel (RFC 8290): a queue with CoDel for each flow, which take turns.

    A flow is known by addresses, protocol and ports; which flows share a queue is the seed's. What
    is too much for all of them is dropped from the longest.

    Attributes:
        target: As `CoDel` has it, and so the next two.
        interval: See there.
        ecn: See there.
        flows: How many queues.
        quantum: Bytes that a flow may send in its turn.
        frames: How many may wait in all of them.
        bytes: How many bytes may wait in all of them, or a string; None: any number.

    Raises:
        ValueError: A value is out of range or has no known unit.
    """

    target: float | str = 0.005
    interval: float | str = 0.1
    ecn: bool = True
    flows: int = 1024
    quantum: int = 1500 + _ETHERNET_HEADER
    frames: int = 10_240
    bytes: int | str | None = "32MiB"

    def __post_init__(self) -> None:
        _limits(self)
        _times(self)
        _count(self.flows, "the number of flows", _MOST_FLOWS)
        _count(self.quantum, "a quantum in bytes", 1 << 20)

    def _to_c(self, out: Any) -> None:
        _to_c(self, out, lib.PS_QUEUE_FQ_CODEL)
        _codel_to_c(self, out)
        out.flows = self.flows
        out.quantum_bytes = self.quantum


#: What `Conditions.queue` takes, beside a number of frames.
Queue = Fifo | CoDel | FqCoDel


def _codel_to_c(of: CoDel | FqCoDel, out: Any) -> None:
    out.ecn = of.ecn
    out.target_us = round(float(of.target) * 1e6)
    out.interval_us = round(float(of.interval) * 1e6)
    out.flows = 1
    out.quantum_bytes = 1 << 20


def as_queue(value: object) -> Queue:
    """A queue from what `Conditions.queue` takes.

    Raises:
        TypeError: It is none.
        ValueError: It is a number of frames, and out of range.
    """
    if isinstance(value, (Fifo, CoDel, FqCoDel)):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Fifo(value)
    raise TypeError(f"a queue is a number of frames, or Fifo, CoDel or FqCoDel, not {value!r}")
