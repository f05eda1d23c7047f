"""A live TCP connection whose client's segments come from a capture."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace

from pystack.embed.replay.answers import Answers
from pystack.embed.replay.flow import (
    ACK,
    FIN,
    HALF,
    RST,
    SYN,
    CapturedFlow,
    Segment,
    Stream,
    distance,
)
from pystack.embed.replay.live import LiveEnd
from pystack.embed.replay.plan import Step, server_start
from pystack.embed.replay.rewriting import (
    MSS,
    SACK,
    SACK_PERMITTED,
    SCALE,
    TIMESTAMPS,
    Numbers,
    option_of,
    rewritten,
    split,
)

__all__ = ["Connection", "ResetError"]

_WRAP = 2 * HALF
_FIRST_WAIT, _MOST_TRIES = 1.0, 6  # RFC 6298 2.1
_STALL = 0.02  # seconds without a byte after which a server may be waiting for acknowledgements
_WINDOW = 1 << 30  # the largest that there is (RFC 7323 2.3)
_MOST_WAITING = 10_000
_MOST_BLOCKS = 3  # beside timestamps (RFC 2018 3)
_LEAST_MSS = {4: 536, 6: 1220}  # RFC 9293 3.7.1


class ResetError(Exception):
    """The server reset the connection."""


class Connection:
    """What both sides have sent and acknowledged, in bytes behind the SYN; a FIN counts as one.

    Attributes:
        received: How much of the server's has come without a hole; -1: not its SYN.
        acknowledged: How much of the client's the server has; -1: not the SYN.
        ended: Whether the server sends no more.
        skew: How much more than in the capture has come of the server's.
        again: Segments that were sent again since the server did not acknowledge them.
        own: Acknowledgements that are not the capture's.
        parts: Segments that were too long for this path.
    """

    def __init__(self, flow: CapturedFlow, end: LiveEnd, answers: Answers) -> None:
        self._flow, self._end, self._answers = flow, end, answers
        first = flow.segments[0]
        self._start = (first.seq + 1) % _WRAP  # in the capture
        self._their_start = (server_start(flow).seq + 1) % _WRAP
        self._numbers = Numbers(*end.flow[1:], shift=secrets.randbits(32))
        self._stream: Stream | None = None  # the server's, once its SYN is here
        self._end_at: int | None = None
        self._their_mss = _LEAST_MSS[first.packet[0] >> 4]
        self._last = first
        self._sent = -1  # how much of the client's
        self._unacknowledged: list[tuple[int, list[bytes]]] = []
        self._resend_at, self._tries = 0.0, 0
        self._acked = 0  # of the server's, by us
        self._arrived_at = time.monotonic()
        self._repeated = False
        self._has_sack = False
        self.received = self.acknowledged = -1
        self.ended = False
        self.skew = self.again = self.own = self.parts = 0

    @property
    def everything_acknowledged(self) -> bool:
        """Whether the server has all that was sent."""
        return self.acknowledged >= self._sent

    # --- what comes ------------------------------------------------------------------------

    def take(self, timeout: float) -> bool:
        """Handles the next segment; False: none came in time.

        Raises:
            ResetError: The server reset the connection.
            UnreachableError: An ICMP error.
            TimeoutError: Sent again and again, a segment wasn't acknowledged.
        """
        self._send_again()
        segment = self._end.receive(min(timeout, _STALL))
        if segment is None:
            return False
        if segment.header_size < 20 or segment.at + segment.header_size > len(segment.packet):
            return True
        if segment.flags & RST:
            if self._is_credible(segment):
                raise ResetError
            return True
        if segment.flags & SYN and (self._stream is not None or self._is_credible(segment)):
            self._begin(segment)
        if self._stream is None:
            return True
        echo = segment.option(TIMESTAMPS)
        is_next = distance(segment.seq, self._next) <= 0
        if echo is not None and self._numbers.echo is not None and is_next:
            self._numbers.echo = echo[:4]
        if segment.flags & ACK:
            self._hear_of(segment.ack)
        self._add(segment)
        return True

    def _is_credible(self, segment: Segment) -> bool:
        """Whether a RST, or the server's SYN, belongs to this connection (RFC 9293 3.10.7.3)."""
        if self._stream is None:
            wanted = (self._start + self._numbers.shift) % _WRAP
            return bool(segment.flags & ACK) and segment.ack == wanted
        return 0 <= distance(segment.seq, self._next) < _WINDOW

    @property
    def _next(self) -> int:
        """The sequence number that is to come."""
        start = 0 if self._stream is None else self._stream.start
        return (start + max(self.received, 0)) % _WRAP

    def _begin(self, segment: Segment) -> None:
        if self._stream is not None:
            self._repeated = True
            return
        self._stream = Stream((segment.seq + 1) % _WRAP, _MOST_WAITING)
        self.received = 0
        self._their_mss = option_of(segment, MSS) or self._their_mss
        syn, captured = self._flow.segments[0], server_start(self._flow)
        scale = option_of(syn, SCALE)
        if scale is not None:
            was, now = (option_of(one, SCALE) is not None for one in (captured, segment))
            self._numbers.scale = (was - now) * min(scale, 14)
        self._has_sack = all(one.option(SACK_PERMITTED) is not None for one in (syn, segment))
        echo = segment.option(TIMESTAMPS)
        self._numbers.echo = None if syn.option(TIMESTAMPS) is None or not echo else echo[:4]

    def _hear_of(self, ack: int) -> None:
        base = max(self.acknowledged, 0)
        number = (self._start + self._numbers.shift + base) % _WRAP
        now = base + distance(ack, number)
        if self.acknowledged < now <= max(self._sent, 0):
            self.acknowledged = now
            left = [one for one in self._unacknowledged if one[0] > now]
            self._unacknowledged = left
            self._resend_at, self._tries = time.monotonic() + _FIRST_WAIT, 0

    def _add(self, segment: Segment) -> None:
        stream = self._stream
        if stream is None or not segment.space or segment.flags & SYN:
            return
        payload = segment.payload
        at = self.received + distance(segment.seq, self._next)
        new = stream.add(segment.seq, payload)
        self._answers.add(new)
        if segment.flags & FIN:
            self._end_at = at + len(payload)
        before = self.received
        self.received = stream.size
        if self._end_at is not None and stream.size >= self._end_at:
            self.ended = True
            self.received = self._end_at + 1
        if self.received > before:
            self._arrived_at = time.monotonic()
        else:
            self._repeated = True

    # --- what leaves -----------------------------------------------------------------------

    def send(self, step: Step) -> None:
        """Sends a captured segment, with the live numbers in it."""
        segment = step.segment
        numbers = self._numbers
        self._set_ack(
            self.received
            if step.acknowledges is None
            else min(max(step.acknowledges + self.skew, 0), self.received)
        )
        packet = rewritten(segment, numbers)
        most = min(
            self._their_mss + 20 - segment.header_size,
            self._end.shared.mtu - segment.at - segment.header_size,
        )
        parts = split(segment, packet, max(most, 1))
        self.parts += len(parts) > 1
        for part in parts:
            self._end.send(part)
        end = self._offset(segment) + segment.space - bool(segment.flags & SYN)
        if segment.space and end > self.acknowledged:
            if not self._unacknowledged:
                self._resend_at, self._tries = time.monotonic() + _FIRST_WAIT, 0
            if end > self._sent or segment.flags & SYN:
                self._unacknowledged.append((end, parts))
        self._sent = max(self._sent, end)
        self._last = segment

    def _offset(self, segment: Segment) -> int:
        """Where a captured segment's bytes are in what the client sends."""
        base = max(self._sent, 0)
        seq = (segment.seq + bool(segment.flags & SYN)) % _WRAP
        return base + distance(seq, (self._start + base) % _WRAP)

    def _set_ack(self, amount: int) -> None:
        numbers = self._numbers
        if self._stream is None:
            numbers.ack = 0
            return
        numbers.ack = (self._stream.start + amount) % _WRAP
        numbers.received = self._next
        numbers.ack_shift = (self._stream.start - self._their_start + self.skew) % _WRAP
        self._acked = max(self._acked, amount)
        self._repeated = False

    def acknowledge(self, *, at_once: bool = False) -> None:
        """Acknowledges what the capture doesn't, where the server would stop otherwise."""
        behind = self.received > self._acked
        stalled = time.monotonic() - self._arrived_at >= _STALL
        if self._repeated or (behind and (at_once or stalled)):
            self._bare(ACK)
            self.own += 1

    def reset(self) -> None:
        """Ends the connection."""
        if self._stream is not None:
            self._bare(RST | ACK)

    def _bare(self, flags: int) -> None:
        """A segment without data, after the last one that was sent: RFC 7323's and 2018's too."""
        self._set_ack(self.received)
        last, numbers = self._last, self._numbers
        options = b""
        if numbers.echo is not None:
            options = b"\1\1\x08\x0a" + (last.option(TIMESTAMPS) or bytes(8))[:4] + numbers.echo
        beyond = self._stream.beyond[:_MOST_BLOCKS] if self._stream and self._has_sack else []
        if beyond and not flags & RST:
            start = 0 if self._stream is None else self._stream.start
            edges = [(start + edge) % _WRAP for block in beyond for edge in block]
            blocks = b"".join(edge.to_bytes(4, "big") for edge in edges)
            options += bytes((1, 1, SACK, 2 + len(blocks))) + blocks
        at = last.at
        packet = bytearray(last.packet[: at + 20]) + options
        seq = (self._start + max(self._sent, 0)) % _WRAP
        packet[at + 4 : at + 8] = seq.to_bytes(4, "big")
        packet[at + 12] = (20 + len(options)) // 4 << 4
        packet[at + 13] = flags
        packet[at + 18 : at + 20] = b"\0\0"
        self._end.send(rewritten(replace(last, packet=bytes(packet)), numbers, sack=False))

    def _send_again(self) -> None:
        if not self._unacknowledged or time.monotonic() < self._resend_at:
            return
        self._tries += 1
        if self._tries >= _MOST_TRIES:
            raise TimeoutError
        for packet in self._unacknowledged[0][1]:
            self._end.send(packet)
        self.again += 1
        self._resend_at = time.monotonic() + _FIRST_WAIT * 2**self._tries
