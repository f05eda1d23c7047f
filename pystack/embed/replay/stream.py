"""Replay by a Stack's TCP or UDP: the bytes of a capture, and not its packets."""

from __future__ import annotations

import errno
import math
import select
import struct
import time
from typing import Any

from pystack.embed.replay.answers import Answers, check_times, resolved
from pystack.embed.replay.flow import CapturedFlow, Kind
from pystack.embed.replay.result import Ending, Pace, Result
from pystack.stack import Stack

__all__ = ["stream"]

_CHUNK = 65536
_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH)


class _Replay:
    """A stream replay under way."""

    def __init__(
        self, flow: CapturedFlow, sock: Any, timeout: float, quiet: float, pace: Pace
    ) -> None:
        self.flow, self.sock, self.pace = flow, sock, pace
        self.timeout, self.quiet = timeout, quiet
        self.answers = Answers(flow)
        self.ended = False  # by the server
        self.skew = 0  # bytes that were answered beyond the capture, so far
        self.datagrams = 0

    def ready(self, events: int, wait: float) -> int:
        """What of poll(2)'s events came within so many seconds."""
        poll = select.poll()
        poll.register(self.sock, events)
        found = poll.poll(max(0.0, wait) * 1000)
        return found[0][1] if found else 0

    def receive(self, wait: float) -> bool:
        """Waits for bytes or the end; False: neither came."""
        if self.ended or not self.ready(select.POLLIN, wait):
            return False
        data = self.sock.recv(_CHUNK)
        self.answers.add(data)
        self.datagrams += 1
        self.ended = self.flow.is_tcp and not data
        return True

    def done(self, wanted: int) -> bool:
        if self.flow.is_tcp:
            return self.answers.size >= wanted + self.skew
        return self.datagrams >= wanted + self.skew

    def wait_for(self, wanted: int, want_end: bool) -> None:
        """Waits until as much was answered as in the capture, or the server is quiet.

        For an end it waits `timeout` seconds once all is answered: a server may go on for ever.

        Raises:
            TimeoutError: It answered nothing at all.
        """
        before, deadline = self.answers.size, math.inf
        while not self.ended and not (self.done(wanted) and not want_end):
            if self.done(wanted):
                deadline = min(deadline, time.monotonic() + self.timeout)
                if self.answers.is_too_much or time.monotonic() >= deadline:
                    break
            some = self.answers.size > before
            if not self.receive(self.quiet if some or self.done(wanted) else self.timeout):
                if not some and not self.done(wanted):
                    raise TimeoutError
                break
        while not self.answers.is_too_much and self.receive(0):  # more than in the capture
            pass
        now = self.answers.size if self.flow.is_tcp else self.datagrams
        self.skew = now - wanted

    def send(self, data: bytes) -> None:
        """Sends, and reads meanwhile: a server may not read on while nobody takes its answers."""
        self.answers.sent()
        if not self.flow.is_tcp:
            self.sock.send(data)
            return
        left = memoryview(data)
        deadline = time.monotonic() + self.timeout
        while left:
            events = select.POLLOUT | (0 if self.ended else select.POLLIN)
            found = self.ready(events, deadline - time.monotonic())
            if not found:
                raise TimeoutError
            if found & select.POLLIN:
                self.receive(0)
            if found & ~select.POLLIN:
                try:
                    left = left[self.sock.send(left) :]
                except BlockingIOError:
                    continue
                deadline = time.monotonic() + self.timeout

    def run(self) -> Ending:
        wanted, want_end, waited = 0, False, True
        then, now = 0.0, time.monotonic()  # of what the next event follows
        for event in self.flow.events:
            if event.kind is Kind.ANSWERED:
                wanted += len(event.data) if self.flow.is_tcp else 1
                waited = False
                then = event.time
                continue
            if event.kind is Kind.ENDED:
                want_end, waited = True, False
                then = event.time
                continue
            if not waited:
                self.wait_for(wanted, want_end)
                self.answers.turn()
                now, waited = time.monotonic(), True
            if self.pace is Pace.CAPTURE:
                self.rest(now + (event.time - then))
            if event.kind is Kind.SENT:
                self.send(event.data)
            elif event.kind is Kind.FINISHED:
                self.sock.shutdown(1)
            else:
                return Ending.CLOSED  # by a reset, as in the capture
            then, now = event.time, time.monotonic()
        if not waited:
            self.wait_for(wanted, want_end)
        end = time.monotonic() + self.timeout
        while time.monotonic() < end and not self.answers.is_too_much and self.receive(self.quiet):
            pass
        return Ending.CLOSED if self.ended or not self.flow.is_tcp else Ending.OPEN

    def rest(self, until: float) -> None:
        """Lets time pass, and reads."""
        while (left := until - time.monotonic()) > 0:
            if not self.receive(left) and self.ended:
                time.sleep(max(0.0, until - time.monotonic()))


def stream(
    net: Stack,
    flow: CapturedFlow,
    server: tuple[str, int] | None = None,
    *,
    pace: Pace = Pace.ANSWERS,
    timeout: float = 10.0,
    quiet: float = 1.0,
    source: tuple[str, int] | None = None,
) -> Result:
    """Sends what a captured client sent, each time after as much was answered as then.

    How it is cut into segments is up to the Stack's TCP. A server whose answer is shorter than in
    the capture, as its date or its length may be, is given `quiet` seconds to go on.

    Args:
        net: The Stack; in real time.
        flow: A captured flow of either protocol.
        server: Where to; default: where the capture's client did.
        pace: As fast as answers come, or with the client's pauses.
        timeout: Seconds to wait for the connection, for the beginning of each answer, and for
            room to send.
        quiet: Seconds without a byte after which an answer, and at the end the replay, is over.
            What goes on beyond the capture is taken for `timeout` seconds, and up to 16 MiB.
        source: The address and port to send from.

    Raises:
        CaptureError: The capture lacks a part of what the client sent.
        ValueError: A time is out of range.
        OSError: The Stack can't send at all: no route, the port is taken.
    """
    check_times(timeout, quiet)
    flow.check()
    to = resolved(net, flow, server)
    kind = net.sockets.SOCK_STREAM if flow.is_tcp else net.sockets.SOCK_DGRAM
    family = net.sockets.AF_INET6 if ":" in to.address else net.sockets.AF_INET
    with net.socket(family, kind) as sock:
        if source is not None:
            sock.bind(source)
        replay = _Replay(flow, sock, timeout, quiet, pace)
        sock.settimeout(timeout)
        try:
            sock.connect(to)
            sock.setblocking(not flow.is_tcp)
            ending = replay.run()
        except TimeoutError:
            ending = Ending.SILENT
        except ConnectionError:
            ending = Ending.RESET
        except OSError as error:
            if error.errno not in _UNREACHABLE:
                raise
            ending = Ending.UNREACHABLE
        if flow.is_tcp and flow.events and flow.events[-1].kind is Kind.RESET:
            at_once = struct.pack("ii", 1, 0)
            sock.setsockopt(net.sockets.SOL_SOCKET, net.sockets.SO_LINGER, at_once)
    return Result(flow, to, replay.answers.exchanges(), ending)
