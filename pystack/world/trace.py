"""The trace of a World: each frame, and what became of it."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pystack._native import WorldClock, ffi, lib
from pystack._native.address import text
from pystack.world.dissect import Packet, dissect

__all__ = ["Frame", "Note", "Record", "SocketEvent", "Trace", "read_trace"]

_FATES = {
    lib.PS_TRACE_LOST: "lost",
    lib.PS_TRACE_CUT_OFF: "cut off",
    lib.PS_TRACE_OVERFLOWED: "queue full",
    lib.PS_TRACE_DROPPED: "dropped by CoDel",
}
_RECORD = struct.Struct("=QQQII")
_EVENTS = {
    lib.PS_SOCKET_LISTENS: "listens",
    lib.PS_SOCKET_CONNECTS: "connects",
    lib.PS_SOCKET_ASKED: "asked",
    lib.PS_SOCKET_ESTABLISHED: "established",
    lib.PS_SOCKET_ACCEPTED: "accepted",
    lib.PS_SOCKET_PEER_CLOSED: "peer closed",
    lib.PS_SOCKET_CLOSES: "closes",
    lib.PS_SOCKET_CLOSED: "closed",
    lib.PS_SOCKET_FAILED: "failed",
    lib.PS_SOCKET_RESET: "reset",
    lib.PS_SOCKET_TIMEOUT: "RTO",
    lib.PS_SOCKET_RETRANSMITS: "retransmits",
}


@dataclass(frozen=True)
class Frame:
    """A frame that was sent.

    Attributes:
        at: When, in seconds of the World.
        sender: The name of the host that sent it.
        taker: Of the one at the link's other end.
        link: The link's name.
        number: Which it is of those that were sent this way, from 1.
        data: Its bytes, as they were sent.
        fate: "arrived", "lost", "cut off" (the link was down), "queue full", "dropped by CoDel" or
            "on its way".
        arrivals: When it arrived; two of a frame that was doubled.
        corrupted: Whether a bit was flipped.
        marked: Whether CoDel marked it as having met congestion (ECN).
    """

    at: float
    sender: str
    taker: str
    link: str
    number: int
    data: bytes = field(repr=False)
    fate: str = "on its way"
    arrivals: tuple[float, ...] = ()
    corrupted: bool = False
    marked: bool = False

    @cached_property
    def packet(self) -> Packet:
        """What it says."""
        return dissect(self.data)

    @property
    def dropped(self) -> bool:
        """Whether it never arrives."""
        return self.fate in _FATES.values()

    @property
    def what_happened(self) -> str:
        """Its fate in words; "" if it arrived as it was sent."""
        told = [] if self.fate == "arrived" else [self.fate]
        told += ["corrupted"] * self.corrupted
        told += ["marked"] * self.marked
        told += ["doubled"] * (len(self.arrivals) > 1)
        return ", ".join(told)

    def __str__(self) -> str:
        told = f"; {self.what_happened}" if self.what_happened else ""
        return f"{self.at:11.6f}  {self.sender} > {self.taker}  {self.packet}{told}"


@dataclass(frozen=True)
class Note:
    """Something else that happened: a crash, a restart, what `World.note` was told.

    Attributes:
        at: When, in seconds of the World.
        text: What.
    """

    at: float
    text: str

    def __str__(self) -> str:
        return f"{self.at:11.6f}  {self.text}"


@dataclass(frozen=True)
class SocketEvent:
    """What a TCP socket did, or what became of it.

    Attributes:
        at: When, in seconds of the World.
        host: The name of its host.
        kind: "listens"; "connects" (SYN sent), "asked" (SYN received), "established", "accepted";
            "retransmits" so many segments, "RTO" (the retransmission timed out); "closes" (its own
            end has begun), "peer closed", "closed" (both sides' FIN has been acknowledged, or it
            was listening); "failed" before it was established; "reset", by either side's RST or by
            a timeout.
        local: Its address and port.
        remote: The peer's; ("", 0) where it listens.
        count: Of "retransmits" and "RTO": how many.
        rto: With these: the retransmission's timeout from now on, in seconds.
    """

    at: float
    host: str
    kind: str
    local: tuple[str, int]
    remote: tuple[str, int]
    count: int = 0
    rto: float = 0.0

    @property
    def told(self) -> str:
        """In words, without time and host."""
        words = f":{self.local[1]} {self.kind}"
        if self.count > 1 or self.kind == "retransmits":
            words += f" {self.count}"
        return words + (f", next in {self.rto:g} s" if self.kind == "RTO" else "")

    def __str__(self) -> str:
        ends = " - ".join(
            f"{address}:{port}" for address, port in (self.local, self.remote) if port
        )
        told = self.told.partition(" ")[2]
        return f"{self.at:11.6f}  {self.host}  {ends} {told}"


Record = Frame | SocketEvent | Note


class Trace(Sequence[Record]):
    """Frames, events of sockets and notes, in the order of their times.

    Attributes:
        forgotten: How many records there were before, for which there was no room.
    """

    def __init__(self, records: Sequence[Record], forgotten: int = 0) -> None:
        self._records = list(records)
        self.forgotten = forgotten

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, place: Any) -> Any:
        found = self._records[place]
        return Trace(found, self.forgotten) if isinstance(place, slice) else found

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    @property
    def frames(self) -> list[Frame]:
        """The frames alone."""
        return [one for one in self._records if isinstance(one, Frame)]

    @property
    def sockets(self) -> list[SocketEvent]:
        """The events of sockets alone."""
        return [one for one in self._records if isinstance(one, SocketEvent)]

    def events(
        self,
        *kinds: str,
        host: str | None = None,
        port: int | None = None,
        since: float = 0.0,
        until: float = float("inf"),
    ) -> list[SocketEvent]:
        """The events of sockets for which all of this holds.

        Args:
            kinds: One of these, as `SocketEvent.kind` has them; none given: any.
            host: The host's name.
            port: Its own port, or the peer's.
            since: Then or later, in seconds of the World,
            until: and before.

        Raises:
            ValueError: There is no such kind.
        """
        if unknown := set(kinds) - set(_EVENTS.values()):
            known = ", ".join(_EVENTS.values())
            raise ValueError(f"{min(unknown)!r} is no kind of event; there are {known}")
        return [
            one
            for one in self.sockets
            if since <= one.at < until
            and (not kinds or one.kind in kinds)
            and host in (None, one.host)
            and (port is None or port in (one.local[1], one.remote[1]))
        ]

    def where(
        self,
        test: Callable[[Frame], bool] | None = None,
        *,
        link: str | None = None,
        sender: str | None = None,
        protocol: str | None = None,
        port: int | None = None,
        dropped: bool | None = None,
        since: float = 0.0,
        until: float = float("inf"),
    ) -> Trace:
        """The frames for which all of this holds.

        Args:
            test: Of one's own.
            link: The link's name.
            sender: The sender's.
            protocol: "tcp", "udp", "icmp", "arp" or "other".
            port: One of the two ports.
            dropped: Whether it never arrives.
            since: Sent then or later, in seconds of the World,
            until: and before.
        """
        return Trace(
            [
                one
                for one in self.frames
                if since <= one.at < until
                and link in (None, one.link)
                and sender in (None, one.sender)
                and dropped in (None, one.dropped)
                and protocol in (None, one.packet.protocol)
                and (port is None or port in one.packet.ports)
                and (test is None or test(one))
            ],
            self.forgotten,
        )

    def __str__(self) -> str:
        return "\n".join(map(str, self._records))

    def save(self, path: str | os.PathLike[str], epoch: float = 0.0) -> None:
        """Writes a capture (pcapng) with an interface for each link.

        A frame is there once, at the time of its sending; its comment says what became of it.

        Args:
            path: The file.
            epoch: Seconds since 1970 at the World's beginning.
        """
        links = sorted({one.link for one in self.frames})
        blocks = [_block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))]
        for link in links:
            options = _option(2, link.encode()) + _option(9, b"\x06") + _option(0, b"")
            blocks.append(_block(1, struct.pack("<HHI", 1, 0, 0) + options))
        for one in self.frames:
            moment = round((epoch + one.at) * 1e6)
            size = len(one.data)
            head = struct.pack(
                "<IIIII", links.index(one.link), moment >> 32, moment & 0xFFFFFFFF, size, size
            )
            words = f"{one.sender} > {one.taker} #{one.number}"
            told = f"{words}: {one.what_happened}" if one.what_happened else words
            comment = _option(1, told.encode()) + _option(0, b"")
            blocks.append(_block(6, head + _padded(one.data) + comment))
        Path(path).write_bytes(b"".join(blocks))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _block(kind: int, body: bytes) -> bytes:
    size = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + size + body + size


def read_trace(
    clock: WorldClock,
    start_us: int,
    streams: Mapping[int, tuple[str, str, str]],
    places: Mapping[int, str],
    notes: Sequence[Note],
) -> Trace:
    """What a World's trace has.

    Args:
        clock: The World's.
        start_us: Its reading at the World's beginning.
        streams: Each direction's link, sender and taker, by its stream.
        places: The name of each host by the place of its Stack.
        notes: To be put among the frames.
    """
    forgotten = ffi.new("uint64_t *")
    size = int(lib.ps_trace_read(clock.pointer, ffi.NULL, 0, forgotten))
    raw = ffi.new("uint8_t[]", size)
    lib.ps_trace_read(clock.pointer, raw, size, forgotten)
    data = bytes(ffi.buffer(raw))
    found: dict[tuple[int, int], Frame | SocketEvent] = {}
    at = 0
    while at < size:
        moment_us, stream, number, kind, kept = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        moment = (moment_us - start_us) / 1e6
        key = (stream, number)
        if kind == lib.PS_TRACE_SENT:
            link, sender, taker = streams[stream]
            found[key] = Frame(moment, sender, taker, link, number, data[at : at + kept])
        elif kind == lib.PS_TRACE_SOCKET:
            found[-stream, number] = _event(moment, places[stream], raw + at)
        elif isinstance(before := found.get(key), Frame):
            found[key] = _after(before, kind, moment)
        at += kept
    # Notes go before frames of the same moment: they are what led to them.
    records: list[Record] = [*notes, *found.values()]
    records.sort(key=lambda one: (one.at, not isinstance(one, Note)))
    return Trace(records, int(forgotten[0]))


def _end(address: Any) -> tuple[str, int]:
    return (text(address), int(address.port)) if address.port else ("", 0)


def _event(moment: float, host: str, at: Any) -> SocketEvent:
    raw = ffi.new("struct ps_trace_socket *")
    ffi.memmove(raw, at, ffi.sizeof(raw[0]))
    return SocketEvent(
        moment, host, _EVENTS[raw.event], _end(raw.local), _end(raw.remote), int(raw.count),
        raw.rto_us / 1e6,
    )  # fmt: skip


def _after(frame: Frame, kind: int, moment: float) -> Frame:
    if kind == lib.PS_TRACE_ARRIVED:
        return replace(frame, fate="arrived", arrivals=(*frame.arrivals, moment))
    if kind == lib.PS_TRACE_CORRUPTED:
        return replace(frame, corrupted=True)
    if kind == lib.PS_TRACE_MARKED:
        return replace(frame, marked=True)
    if kind == lib.PS_TRACE_DUPLICATED or frame.arrivals:  # one of the two has arrived
        return frame
    return replace(frame, fate=_FATES[kind])
