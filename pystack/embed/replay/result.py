"""What a replay gives: what was sent, what was answered, and what was answered then."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pystack.embed.replay.flow import CapturedFlow, End, Kind

__all__ = ["Ending", "Exchange", "Pace", "Result", "exchanges_of"]

_SHOWN = 32  # bytes


class Pace(Enum):
    """How fast a replay goes on."""

    ANSWERS = "answers"
    """As fast as the server answers."""
    CAPTURE = "capture"
    """No faster than in the capture: the client's pauses are kept."""


class Ending(Enum):
    """How a replay ended."""

    CLOSED = "closed"
    """Both sides ended it, or the client did and the capture has no more."""
    OPEN = "open"
    """All was sent, and the server had not ended the connection; the replay did."""
    RESET = "reset"
    """The server reset it, or refused it."""
    SILENT = "silent"
    """The server did not answer, or no longer, where it did in the capture."""
    UNREACHABLE = "unreachable"
    """A router or the server's host said so."""


@dataclass(frozen=True)
class Exchange:
    """What the client sent at a time, and the answer.

    Attributes:
        sent: The client's bytes; none, where the server speaks first.
        expected: The server's in the capture.
        received: The server's now.
        captured_delay: Seconds from the last byte sent to the first one answered, in the capture;
            None: there was no answer.
        delay: The same now.
    """

    sent: bytes
    expected: bytes
    received: bytes
    captured_delay: float | None
    delay: float | None

    @property
    def difference(self) -> int | None:
        """The offset of the first byte in which the answers differ; None: they are the same."""
        if self.expected == self.received:
            return None
        both = min(len(self.expected), len(self.received))
        pairs = zip(self.expected, self.received, strict=False)
        return next((at for at, (then, now) in enumerate(pairs) if then != now), both)


@dataclass(frozen=True)
class Result:
    """What became of a replay.

    Attributes:
        flow: What was replayed.
        server: Against whom.
        exchanges: In order.
        ending: How it ended.
        notes: What was done beyond the capture: retransmissions, packets split, and so on.
    """

    flow: CapturedFlow
    server: End
    exchanges: tuple[Exchange, ...]
    ending: Ending
    notes: tuple[str, ...] = ()

    @property
    def received(self) -> bytes:
        """All that was answered."""
        return b"".join(one.received for one in self.exchanges)

    @property
    def answered(self) -> bool:
        """Whether the server answered wherever it did in the capture."""
        return all(one.received for one in self.exchanges if one.expected) and self.ending in (
            Ending.CLOSED,
            Ending.OPEN,
        )

    @property
    def difference(self) -> tuple[int, int] | None:
        """Which exchange is the first whose answer differs, from 0, and at which byte."""
        for number, one in enumerate(self.exchanges):
            at = one.difference
            if at is not None:
                return number, at
        return None

    def __str__(self) -> str:
        lines = [f"{self.flow.client} -> {self.server}: {self.ending.value}"]
        for number, one in enumerate(self.exchanges, 1):
            times = [
                "-" if delay is None else f"{delay * 1e3:.1f} ms"
                for delay in (one.delay, one.captured_delay)
            ]
            lines.append(
                f"{number}: {len(one.sent)} bytes sent, {len(one.received)} answered in {times[0]} "
                f"(then {len(one.expected)} in {times[1]})"
            )
        lines += self.notes
        where = self.difference
        if where is None:
            return "\n".join([*lines, "the answers are those of the capture"])
        number, at = where
        one = self.exchanges[number]
        begin = max(0, at - _SHOWN // 2)
        then, now = (text[begin : begin + _SHOWN] for text in (one.expected, one.received))
        lines.append(f"answer {number + 1} differs from byte {at} on: {now!r}, then {then!r}")
        return "\n".join(lines)


def exchanges_of(flow: CapturedFlow) -> list[tuple[bytes, bytes, float | None]]:
    """A flow's exchanges in the capture: what was sent, the answer, and its delay."""
    found: list[tuple[bytes, bytes, float | None]] = []
    last_sent, was_answer = 0.0, True
    for event in flow.events:
        if event.kind is Kind.SENT:
            if was_answer:
                found.append((b"", b"", None))
            sent, answer, delay = found[-1]
            found[-1] = sent + event.data, answer, delay
            last_sent, was_answer = event.time, False
        elif event.kind is Kind.ANSWERED:
            if not found:
                found.append((b"", b"", None))
            sent, answer, delay = found[-1]
            delay = event.time - last_sent if delay is None else delay
            found[-1] = sent, answer + event.data, delay
            was_answer = True
        elif event.kind is Kind.ENDED:
            was_answer = True
    return found
