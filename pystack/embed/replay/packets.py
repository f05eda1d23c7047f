"""Replay by packets: the client's as they were captured, with the live connection's numbers."""

from __future__ import annotations

import time

from pystack.embed.replay.answers import Answers, check_times, resolved
from pystack.embed.replay.connection import Connection, ResetError
from pystack.embed.replay.flow import FIN, RST, CapturedFlow
from pystack.embed.replay.live import LiveEnd, UnreachableError
from pystack.embed.replay.plan import Step, plan_datagrams, plan_segments
from pystack.embed.replay.result import Ending, Pace, Result
from pystack.embed.replay.rewriting import Numbers, rewritten
from pystack.stack import Stack

__all__ = ["packets"]


_MOST_AT_ONCE = 1000


class _Segments:
    """A TCP connection that is replayed."""

    def __init__(self, connection: Connection, timeout: float, quiet: float) -> None:
        self._live, self._timeout, self._quiet = connection, timeout, quiet

    def wait_for(self, answered: int, acknowledged: int) -> None:
        """Waits until as much came as in the capture, or no more does.

        Raises:
            TimeoutError: Nothing came.
        """
        live = self._live
        began = live.received
        progress, seen = time.monotonic(), (live.received, live.acknowledged)
        while True:
            lacks_data = live.received < (answered + live.skew if answered > 0 else answered)
            if lacks_data and live.ended:
                live.skew, lacks_data = live.received - answered, False
            if not lacks_data and live.acknowledged >= acknowledged:
                return
            some = live.received > max(began, 0)
            left = progress + (self._quiet if some else self._timeout) - time.monotonic()
            if left <= 0:
                if not some:
                    raise TimeoutError
                live.skew = live.received - answered
                return
            live.take(left)
            live.acknowledge()
            if seen != (live.received, live.acknowledged):
                progress, seen = time.monotonic(), (live.received, live.acknowledged)

    def rest(self, seconds: float) -> None:
        """Lets time pass; what comes is kept, and acknowledged when the capture does."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._live.take(left)

    def finish(self, answered: int, is_finished: bool, answers: Answers) -> Ending:
        """Takes what is still to come, and leaves no connection behind."""
        live = self._live
        wanted = max(answered + live.skew, 0)
        progress, seen = time.monotonic(), live.received
        end = 0.0  # not before all of the capture's answer is here
        while not (live.ended and live.everything_acknowledged):
            wait = self._quiet if live.received >= wanted or live.received > seen else self._timeout
            left = progress + wait - time.monotonic()
            if live.received >= wanted:
                end = end or time.monotonic() + self._timeout
                left = min(left, end - time.monotonic())
            if left <= 0 or answers.is_too_much:
                break
            before = live.received
            live.take(left)
            live.acknowledge(at_once=True)
            if live.received > before:
                progress = time.monotonic()
        live.acknowledge(at_once=True)
        if live.ended and is_finished:
            return Ending.CLOSED
        live.reset()
        if live.received < wanted and live.received == seen:
            return Ending.SILENT
        return Ending.CLOSED if live.ended else Ending.OPEN


def _notes(live: Connection) -> tuple[str, ...]:
    found = []
    if live.again:
        found.append(f"{live.again} segments sent again: they weren't acknowledged")
    if live.parts:
        found.append(f"{live.parts} segments sent in parts: they are too long for this path")
    if live.own:
        found.append(f"{live.own} acknowledgements that are not in the capture")
    return tuple(found)


def _tcp(
    flow: CapturedFlow, end: LiveEnd, answers: Answers, pace: Pace, timeout: float, quiet: float
) -> tuple[Ending, tuple[str, ...]]:
    steps, total = plan_segments(flow)
    live = Connection(flow, end, answers)
    replay = _Segments(live, timeout, quiet)
    try:
        for step in steps:
            replay.wait_for(step.answered, step.acknowledged)
            if pace is Pace.CAPTURE:
                replay.rest(step.pause)
            for _ in range(_MOST_AT_ONCE):  # what came meanwhile is acknowledged with the rest
                if not live.take(0):
                    break
            if step.turns:
                answers.turn()
            if step.brings:
                answers.sent()
            live.send(step)
            if step.segment.flags & RST:
                return Ending.CLOSED, _notes(live)
        is_finished = any(one.sent and one.flags & FIN for one in flow.segments)
        ending = replay.finish(total, is_finished, answers)
    except ResetError:
        ending = Ending.RESET
    except UnreachableError as error:
        return Ending.UNREACHABLE, (*_notes(live), str(error))
    except TimeoutError:
        live.reset()
        ending = Ending.SILENT
    except BaseException:
        live.reset()
        raise
    return ending, _notes(live)


def _udp(
    flow: CapturedFlow, end: LiveEnd, answers: Answers, pace: Pace, timeout: float, quiet: float
) -> tuple[Ending, tuple[str, ...]]:
    received = skew = 0
    numbers = Numbers(*end.flow[1:])

    def take(wait: float) -> bool:
        nonlocal received
        datagram = end.receive(wait)
        if datagram is None:
            return False
        answers.add(datagram.payload)
        received += 1
        return True

    def wait_for(wanted: int) -> None:
        nonlocal skew
        before = received
        while received < wanted + skew:
            if not take(quiet if received > before else timeout):
                if received == before:
                    raise TimeoutError
                break
        for _ in range(_MOST_AT_ONCE):
            if not take(0):
                break
        skew = received - wanted

    def send(step: Step) -> None:
        if step.turns:
            answers.turn()
        answers.sent()
        end.send(rewritten(step.segment, numbers))

    try:
        for step in plan_datagrams(flow):
            wait_for(step.answered)
            until = time.monotonic() + (step.pause if pace is Pace.CAPTURE else 0)
            while (left := until - time.monotonic()) > 0:
                take(left)
            send(step)
        wait_for(sum(not one.sent for one in flow.segments))
        last = time.monotonic() + timeout
        while time.monotonic() < last and not answers.is_too_much and take(quiet):
            pass
    except TimeoutError:
        return Ending.SILENT, ()
    except UnreachableError as error:
        return Ending.UNREACHABLE, (str(error),)
    return Ending.CLOSED, ()


def packets(
    net: Stack,
    flow: CapturedFlow,
    server: tuple[str, int] | None = None,
    *,
    pace: Pace = Pace.ANSWERS,
    timeout: float = 10.0,
    quiet: float = 1.0,
    port: int = 0,
) -> Result:
    """Sends a captured client's packets, each when what it waited for has come.

    They are as they were, odd segmentation, retransmissions, urgent pointers and options included;
    rewritten are addresses and ports, sequence and acknowledgement numbers, the echoed timestamps,
    SACK blocks, lengths and checksums. Segments longer than the path carries, as captures of a
    sending machine have them, are cut. What this connection loses is sent again, and what the
    server could not go on without is acknowledged: the result's notes say so.

    A server whose answer is shorter than in the capture is given `quiet` seconds to go on; what it
    says beyond the capture is acknowledged by the client's next packet.

    Args:
        net: A Stack in real time, with a NIC made by `pystack.scapy.share`: its address is the
            client's, and it leaves the flow alone.
        flow: A captured flow; of TCP one that begins with its SYN.
        server: Where to; default: where the capture's client did.
        pace: As fast as answers come, or with the client's pauses.
        timeout: Seconds to wait for each thing that the capture's client had before it went on.
        quiet: Seconds without a byte after which an answer, and at the end the replay, is over.
            What goes on beyond the capture is taken for `timeout` seconds, and up to 16 MiB.
        port: The client's port; 0: one that is free.

    Raises:
        CaptureError: The capture begins in the middle of the connection, is of another family than
            the server, or frames in it are cut.
        ValueError: No NIC is shared; a time is out of range.
        OSError: No route, no neighbour (EHOSTUNREACH), the port is taken.
    """
    check_times(timeout, quiet)
    flow.check()
    if flow.is_tcp:
        plan_segments(flow)
    to = resolved(net, flow, server)
    answers = Answers(flow)
    with LiveEnd(net, flow, to, port) as end:
        way = _tcp if flow.is_tcp else _udp
        ending, notes = way(flow, end, answers, pace, timeout, quiet)
    return Result(flow, to, answers.exchanges(), ending, notes)
