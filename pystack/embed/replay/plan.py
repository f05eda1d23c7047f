"""What a captured client waited for before each of its packets."""

from __future__ import annotations

from dataclasses import dataclass

from pystack.embed.replay.flow import (
    ACK,
    FIN,
    HALF,
    SYN,
    CapturedFlow,
    CaptureError,
    Segment,
    Stream,
    distance,
)

__all__ = ["Step", "plan_datagrams", "plan_segments", "server_start"]


@dataclass(frozen=True)
class Step:
    """A packet of the client's, and what has to have come before it.

    Bytes are counted from the one after a SYN; a FIN counts as one.

    Attributes:
        segment: The packet.
        pause: Seconds since the flow's packet before it.
        answered: How much of the server's there had been; of UDP how many datagrams. -1: its SYN
            was still to come.
        acknowledged: How much of the client's the server had acknowledged; -1: nothing yet.
        acknowledges: How much of the server's it acknowledges; None: all that there was.
        brings: Whether it has data that none had before it.
        turns: Whether the server had answered since the last that had.
    """

    segment: Segment
    pause: float
    answered: int
    acknowledged: int = -1
    acknowledges: int | None = None
    brings: bool = False
    turns: bool = False


def plan_datagrams(flow: CapturedFlow) -> list[Step]:
    """The steps of an exchange of datagrams."""
    steps: list[Step] = []
    answered, turns, before = 0, False, 0.0
    for one in flow.segments:
        if one.sent:
            pause = one.time - before
            steps.append(Step(one, pause, answered, brings=True, turns=turns))
            turns = False
        else:
            answered, turns = answered + 1, True
        before = one.time
    return steps


def server_start(flow: CapturedFlow) -> Segment:
    """The server's SYN.

    Raises:
        CaptureError: The capture doesn't have it, or not the client's.
    """
    found = [one for one in flow.segments if not one.sent and one.flags & SYN]
    if not flow.from_its_beginning or not found:
        raise CaptureError(
            "the capture begins in the middle of the connection: its packets can't be sent again, "
            "but what they carried can (replay.stream, --level stream)"
        )
    return found[0]


def plan_segments(flow: CapturedFlow) -> tuple[list[Step], int]:
    """The steps of a TCP connection, and how much the server sent in all.

    Raises:
        CaptureError: The capture begins in the middle of it.
    """
    ours = Stream((flow.segments[0].seq + 1) % (2 * HALF))
    theirs = Stream((server_start(flow).seq + 1) % (2 * HALF))
    steps: list[Step] = []
    highest = acknowledged = -1  # of the server's, and what it acknowledged
    turns, before, ended = False, 0.0, False
    for one in flow.segments:
        seq = (one.seq + bool(one.flags & SYN)) % (2 * HALF)
        if not one.sent:
            end = max(highest, 0) + distance(seq, (theirs.start + max(highest, 0)) % (2 * HALF))
            highest = max(highest, end + len(one.payload) + bool(one.flags & FIN))
            if one.flags & ACK:
                base = max(acknowledged, 0)
                acked = base + distance(one.ack, (ours.start + base) % (2 * HALF))
                acknowledged = max(acknowledged, acked)
            is_end = bool(one.flags & FIN) and not ended
            ended = ended or is_end
            turns = bool(theirs.add(seq, one.payload)) or is_end or turns
        else:
            brings = bool(ours.add(seq, one.payload))
            acknowledges: int | None = None
            answered = highest
            if one.flags & ACK and highest >= 0:
                value = highest + distance(one.ack, (theirs.start + highest) % (2 * HALF))
                answered = max(highest, value)
                acknowledges = None if value >= highest else value
            pause = one.time - before
            steps.append(
                Step(one, pause, answered, acknowledged, acknowledges, brings, brings and turns)
            )
            turns = turns and not brings
        before = one.time
    return steps, max(highest, 0)
