"""A captured flow: its packets in order, and what they carried."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from pystack.scapy.flows import TCP

__all__ = ["CaptureError", "CapturedFlow", "End", "Event", "Kind", "Segment", "Stream", "distance"]

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
HALF = 1 << 31


class CaptureError(ValueError):
    """A capture that can't be replayed, and why."""


class End(NamedTuple):
    """An address and a port."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self[0]}:{self[1]}"


def distance(number: int, start: int) -> int:
    """How far a sequence number is behind another; negative: before it (RFC 9293 3.4)."""
    return (number - start + HALF) % (2 * HALF) - HALF


@dataclass(frozen=True)
class Segment:
    """A packet of a flow.

    Attributes:
        number: Its frame's in the capture, from 1.
        time: Seconds since the flow's first packet.
        sent: Whether the client sent it.
        protocol: 6 for TCP, 17 for UDP.
        packet: The IP packet, without padding.
        at: Where TCP's or UDP's header begins in it.
    """

    number: int
    time: float
    sent: bool
    protocol: int
    packet: bytes
    at: int

    def _number(self, offset: int, size: int) -> int:
        return int.from_bytes(self.packet[self.at + offset : self.at + offset + size], "big")

    @property
    def seq(self) -> int:
        """TCP's sequence number."""
        return self._number(4, 4)

    @property
    def ack(self) -> int:
        """TCP's acknowledgement number."""
        return self._number(8, 4)

    @property
    def flags(self) -> int:
        """TCP's flags: FIN is 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32."""
        return self._number(13, 1)

    @property
    def window(self) -> int:
        """TCP's window, as it stands there."""
        return self._number(14, 2)

    @property
    def header_size(self) -> int:
        """Bytes of TCP's header with its options, or of UDP's."""
        return (self._number(12, 1) >> 4) * 4 if self.protocol == TCP else 8

    @property
    def options(self) -> Iterator[tuple[int, int, int]]:
        """TCP's options: each one's kind, where its value begins in the packet, and its size."""
        at, end = self.at + 20, self.at + self.header_size
        while at < end and self.packet[at] != 0:
            if self.packet[at] == 1:
                at += 1
                continue
            size = self.packet[at + 1] if at + 1 < end else 0
            if size < 2 or at + size > end:
                return
            yield self.packet[at], at + 2, size - 2
            at += size

    def option(self, kind: int) -> bytes | None:
        """The value of one of TCP's options; None: it hasn't that one."""
        for found, at, size in self.options:
            if found == kind:
                return self.packet[at : at + size]
        return None

    @property
    def payload(self) -> bytes:
        """What it carries."""
        return self.packet[self.at + self.header_size :]

    @property
    def space(self) -> int:
        """How many sequence numbers it takes."""
        flags = self.flags
        return len(self.payload) + bool(flags & SYN) + bool(flags & FIN)


class Kind(Enum):
    """What happened in a flow."""

    SENT = "sent"
    """The client sent data that it hadn't before."""
    ANSWERED = "answered"
    """The server did."""
    FINISHED = "finished"
    """The client sends no more (a FIN)."""
    ENDED = "ended"
    """The server sends no more."""
    RESET = "reset"
    """The client reset the connection."""


@dataclass(frozen=True)
class Event:
    """Something that happened in a flow.

    Attributes:
        kind: What.
        time: Seconds since the flow's first packet.
        data: The bytes that were sent or answered; of UDP a datagram's.
    """

    kind: Kind
    time: float
    data: bytes = b""


class Stream:
    """One direction's bytes, put in order.

    Args:
        start: The first byte's sequence number.
        most: Segments that may wait for what comes before them; more are as if lost.

    Attributes:
        start: The first byte's sequence number.
        size: How many there are without a hole.
    """

    def __init__(self, start: int, most: int = 1 << 62) -> None:
        self.start = start
        self.size = 0
        self._most = most
        self._waiting: dict[int, bytes] = {}

    def add(self, seq: int, data: bytes) -> bytes:
        """Takes a segment's bytes; those that are new and follow what there was."""
        at = self.size + distance(seq, (self.start + self.size) % (2 * HALF))
        if at > self.size:
            kept = self._waiting.get(at)
            if len(data) > len(kept or b"") and (kept or len(self._waiting) < self._most):
                self._waiting[at] = data
            return b""
        new = data[self.size - at :]
        self.size += len(new)
        if new and self._waiting:
            for at in sorted(self._waiting):
                if at > self.size:
                    break
                more = self._waiting.pop(at)[self.size - at :]
                new += more
                self.size += len(more)
        return new

    @property
    def beyond(self) -> list[tuple[int, int]]:
        """Where bytes are that are behind a hole: begins and ends, counted from the first byte."""
        found: list[tuple[int, int]] = []
        for at in sorted(self._waiting):
            end = at + len(self._waiting[at])
            if found and at <= found[-1][1]:
                found[-1] = found[-1][0], max(found[-1][1], end)
            else:
                found.append((at, end))
        return found

    @property
    def has_hole(self) -> bool:
        """Whether there are bytes behind some that are missing."""
        return bool(self._waiting)


@dataclass(frozen=True)
class CapturedFlow:
    """A TCP connection or an exchange of UDP datagrams, as a capture has it.

    Attributes:
        protocol: 6 for TCP, 17 for UDP.
        client: Who began it.
        server: The other one.
        segments: Its packets, as captured.
        cut: The number of the first frame that the capture has not the whole of; None: there
            is none.
    """

    protocol: int
    client: End
    server: End
    segments: tuple[Segment, ...]
    cut: int | None = None

    @property
    def is_tcp(self) -> bool:
        """Whether it is TCP."""
        return self.protocol == TCP

    @property
    def from_its_beginning(self) -> bool:
        """Whether the client's SYN is in the capture."""
        first = self.segments[0]
        return self.is_tcp and first.sent and first.flags & (SYN | ACK) == SYN

    def check(self) -> None:
        """Makes sure that the capture has what a replay needs.

        Raises:
            CaptureError: Frames are cut, or bytes that the client sent are missing.
        """
        if self.cut is not None:
            raise CaptureError(
                f"frame {self.cut} of the capture is cut: capture whole frames (tcpdump -s 0)"
            )
        _ = self.events

    @functools.cached_property
    def events(self) -> tuple[Event, ...]:
        """What happened, in order; retransmissions and reordering are undone.

        Raises:
            CaptureError: Bytes that the client sent are missing.
        """
        if not self.is_tcp:
            return tuple(
                Event(Kind.SENT if one.sent else Kind.ANSWERED, one.time, one.payload)
                for one in self.segments
            )
        starts: dict[bool, int] = {}
        for one in self.segments:
            if one.flags & SYN:
                starts[one.sent] = (one.seq + 1) % (2 * HALF)
        for one in self.segments:
            starts.setdefault(one.sent, one.seq)
        ways = {sent: Stream(starts.get(sent, 0)) for sent in (True, False)}
        found: list[Event] = []
        ended: set[bool] = set()
        for one in self.segments:
            seq = (one.seq + bool(one.flags & SYN)) % (2 * HALF)
            new = ways[one.sent].add(seq, one.payload)
            if new:
                found.append(Event(Kind.SENT if one.sent else Kind.ANSWERED, one.time, new))
            if one.flags & FIN and one.sent not in ended:
                ended.add(one.sent)
                found.append(Event(Kind.FINISHED if one.sent else Kind.ENDED, one.time))
            if one.flags & RST and one.sent:
                found.append(Event(Kind.RESET, one.time))
                break
        if ways[True].has_hole:
            raise CaptureError(
                f"the capture lacks what the client sent after its first {ways[True].size} bytes"
            )
        return tuple(found)

    def __str__(self) -> str:
        name = "TCP" if self.is_tcp else "UDP"
        sent = sum(len(one.payload) for one in self.segments if one.sent)
        answered = sum(len(one.payload) for one in self.segments if not one.sent)
        part = "" if self.from_its_beginning or not self.is_tcp else ", without its beginning"
        return (
            f"{name} {self.client} -> {self.server}: {len(self.segments)} packets, "
            f"{sent} bytes sent, {answered} answered{part}"
        )
