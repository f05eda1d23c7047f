"""Captures (pcap, pcapng), read into flows."""

from __future__ import annotations

import contextlib
import gzip
import ipaddress
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pystack.embed.replay.flow import ACK, RST, SYN, CapturedFlow, CaptureError, End, Segment
from pystack.scapy.flows import TCP, Flow, flow_of, transport_of

__all__ = ["CaptureError", "read"]

_ETHERNET, _COOKED, _COOKED2 = 1, 113, 276
_TYPES = {b"\x08\x00": 4, b"\x86\xdd": 6}
_TAGS = (b"\x81\x00", b"\x88\xa8", b"\x91\x00")


def _behind_type(frame: bytes, type_at: int, at: int) -> bytes:
    """The IP packet behind a header whose type is there, and VLAN tags; empty: none."""
    while frame[type_at : type_at + 2] in _TAGS:
        type_at, at = at + 2, at + 4
    return frame[at:] if frame[type_at : type_at + 2] in _TYPES else b""


# The link types of the registry of pcap(5), and where the IP packet is in a frame of each.
_LINKS: dict[int, Callable[[bytes], bytes]] = {
    0: lambda frame: frame[4:],  # BSD's loopback
    _ETHERNET: lambda frame: _behind_type(frame, 12, 14),
    12: lambda frame: frame,  # raw IP, by what systems call it
    14: lambda frame: frame,
    101: lambda frame: frame,
    108: lambda frame: frame[4:],
    _COOKED: lambda frame: _behind_type(frame, 14, 16),
    228: lambda frame: frame,
    229: lambda frame: frame,
    _COOKED2: lambda frame: _behind_type(frame, 0, 20),
}


class _Captured(NamedTuple):
    number: int
    time: float
    link: int
    data: bytes
    wire_size: int


def _frames(path: str) -> Iterator[_Captured]:
    from scapy.error import Scapy_Exception  # noqa: PLC0415 - scapy takes a second to import
    from scapy.utils import RawPcapNgReader, RawPcapReader  # noqa: PLC0415

    with contextlib.ExitStack() as cleanup:
        file: Any = cleanup.enter_context(Path(path).open("rb"))
        if file.peek(2)[:2] == b"\x1f\x8b":
            file = cleanup.enter_context(gzip.open(file))
        try:
            reader: Any = RawPcapReader(file)
            is_new = isinstance(reader, RawPcapNgReader)
            unit = 1e-9 if getattr(reader, "nano", False) else 1e-6
            for number, (data, given) in enumerate(reader, 1):
                if is_new:
                    ticks = ((given.tshigh or 0) << 32) + (given.tslow or 0)
                    moment, link = ticks / (given.tsresol or 1_000_000), given.linktype
                else:
                    moment, link = given.sec + given.usec * unit, reader.linktype
                yield _Captured(number, moment, link, bytes(data), given.wirelen)
        except (Scapy_Exception, EOFError, struct.error, zlib.error) as error:
            raise CaptureError(f"{path} is no capture (pcap, pcapng): {error}") from None


def _packet(captured: _Captured) -> bytes:
    """The IP packet in a frame, without what is behind it; empty: there is none."""
    way = _LINKS.get(captured.link)
    if way is None:
        raise CaptureError(
            f"frame {captured.number} has link type {captured.link}: Ethernet, raw IP, Linux's "
            "cooked captures and BSD's loopback are read"
        )
    packet = way(captured.data)
    if len(packet) < 20:
        return b""
    if packet[0] >> 4 == 4:
        size = int.from_bytes(packet[2:4], "big")
    elif packet[0] >> 4 == 6:
        size = 40 + int.from_bytes(packet[4:6], "big")
    else:
        return b""
    # 0, or 40 with IPv6: a packet that was to be segmented by the NIC, longer than 64 KiB.
    return packet if size in (0, 40) else packet[:size]


class _Growing:
    """A flow that is being read."""

    def __init__(self, key: Flow, begun: float) -> None:
        self.key, self.begun = key, begun
        self.segments: list[Segment] = []
        self.cut: int | None = None
        self.syn: int | None = None
        self.is_over = False

    def finished(self) -> CapturedFlow:
        client, server = (
            End(str(ipaddress.ip_address(address)), port)
            for address, port in (
                (self.key.source, self.key.source_port),
                (self.key.target, self.key.target_port),
            )
        )
        return CapturedFlow(self.key.protocol, client, server, tuple(self.segments), self.cut)


def _whole_header(packet: bytes, at: int, protocol: int) -> bool:
    least = 20 if protocol == TCP else 8
    if at + least > len(packet):
        return False
    return protocol != TCP or 20 <= (packet[at + 12] >> 4) * 4 <= len(packet) - at


def read(path: str | os.PathLike[str]) -> list[CapturedFlow]:
    """Reads the flows of TCP and UDP in a capture, in the order in which they begin.

    The client of a flow is the sender of its SYN; without one, the first sender.

    Args:
        path: The file: pcap or pcapng, of Ethernet (VLAN tags are passed over), raw IP, Linux's
            cooked captures or BSD's loopback; perhaps compressed by gzip.

    Raises:
        CaptureError: It is no capture; another link type; it has fragments of IP packets.
        OSError: It can't be read.
    """
    name = os.fspath(path)
    open_flows: dict[Flow, _Growing] = {}
    found: list[_Growing] = []
    for captured in _frames(name):
        packet = _packet(captured)
        _refuse_fragment(captured.number, packet)
        flow, place = (flow_of(packet), transport_of(packet)) if packet else (None, None)
        if flow is not None and place is not None:
            _add(captured, packet, flow, place, open_flows, found)
    return [one.finished() for one in found if one.segments]


def _add(
    captured: _Captured, packet: bytes, key: Flow, place: tuple[int, int],
    open_flows: dict[Flow, _Growing], found: list[_Growing],
) -> None:  # fmt: skip
    protocol, at = place
    flags = packet[at + 13] if protocol == TCP and at + 13 < len(packet) else 0
    begins = flags & (SYN | ACK | RST) == SYN
    flow = open_flows.get(key) or open_flows.get(key.back)
    seq = int.from_bytes(packet[at + 4 : at + 8], "big")
    again = flow is not None and begins and (flow.syn != seq or flow.key != key)
    if flow is None or again:
        backwards = flags & (SYN | ACK) == SYN | ACK  # an answer: the SYN itself is missing
        flow = _Growing(key.back if backwards else key, captured.time)
        open_flows.pop(key.back, None)
        open_flows[flow.key] = flow
        found.append(flow)
        flow.syn = seq if begins else None
    if len(captured.data) < captured.wire_size or not _whole_header(packet, at, protocol):
        flow.cut = flow.cut or captured.number
        if not _whole_header(packet, at, protocol):
            return
    time, sent = captured.time - flow.begun, key == flow.key
    flow.segments.append(Segment(captured.number, time, sent, protocol, packet, at))


def _refuse_fragment(number: int, packet: bytes) -> None:
    if len(packet) < 20:
        return
    four = packet[0] >> 4 == 4
    is_fragment = (four and (packet[6] & 0x3F or packet[7])) or (not four and packet[6] == 44)
    if is_fragment and (not four or packet[9] in (6, 17)):
        raise CaptureError(f"frame {number} is a fragment of an IP packet: captures of whole ones")
