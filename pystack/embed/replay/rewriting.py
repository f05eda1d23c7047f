"""A captured packet with a live connection's addresses, numbers and options in it."""

from __future__ import annotations

from dataclasses import dataclass

from pystack.embed.replay.flow import SYN, Segment
from pystack.nic import Layer, refresh

__all__ = ["Numbers", "option_of", "rewritten", "split"]

MSS, SCALE, SACK_PERMITTED, SACK, TIMESTAMPS = 2, 3, 4, 5, 8
_HALF = 1 << 31
_WRAP = 2 * _HALF


@dataclass
class Numbers:
    """What a live connection has in the place of the captured one's.

    Attributes:
        source: The client's address, packed.
        source_port: Its port.
        target: The server's address, packed.
        target_port: Its port.
        shift: What the client's sequence numbers are more by.
        ack: The acknowledgement number to send.
        ack_shift: What the server's sequence numbers are more by, now.
        received: How far the server's bytes have come: its next sequence number.
        echo: The server's last timestamp; None: it sends none.
        scale: What windows are shifted left by before they are sent; negative: right.
    """

    source: bytes
    source_port: int
    target: bytes
    target_port: int
    shift: int = 0
    ack: int = 0
    ack_shift: int = 0
    received: int = 0
    echo: bytes | None = None
    scale: int = 0


def _write(out: bytearray, at: int, value: int, size: int) -> None:
    out[at : at + size] = value.to_bytes(size, "big")


def _addressed(segment: Segment, numbers: Numbers) -> bytearray:
    out = bytearray(segment.packet)
    first, size = (12, 4) if out[0] >> 4 == 4 else (8, 16)
    out[first : first + 2 * size] = numbers.source + numbers.target
    _write(out, segment.at, numbers.source_port, 2)
    _write(out, segment.at + 2, numbers.target_port, 2)
    return out


def _write_options(out: bytearray, segment: Segment, numbers: Numbers, sack: bool) -> None:
    for kind, at, size in segment.options:
        if kind == TIMESTAMPS and size == 8 and not segment.flags & SYN:
            if numbers.echo is None:
                out[at - 2 : at + size] = b"\1" * (size + 2)  # NOPs: it wasn't agreed on
            else:
                out[at + 4 : at + 8] = numbers.echo
        elif kind == SACK and size % 8 == 0 and sack:
            edges = [int.from_bytes(out[at + n : at + n + 4], "big") for n in range(0, size, 4)]
            moved = [(edge + numbers.ack_shift) % _WRAP for edge in edges]
            if all((edge - numbers.received) % _WRAP < _HALF for edge in moved):
                out[at - 2 : at + size] = b"\1" * (size + 2)  # nothing of it has come
                continue
            for n, edge in enumerate(moved):
                _write(out, at + 4 * n, edge, 4)


def rewritten(segment: Segment, numbers: Numbers, *, sack: bool = True) -> bytes:
    """The packet of a captured segment or datagram, as it is to be sent now.

    Args:
        segment: The captured one.
        numbers: What is now.
        sack: Whether its SACK blocks are the captured connection's.
    """
    out = _addressed(segment, numbers)
    if segment.protocol == 6:
        at = segment.at
        _write(out, at + 4, (segment.seq + numbers.shift) % _WRAP, 4)
        if segment.flags & 16:
            _write(out, at + 8, numbers.ack, 4)
        _write_options(out, segment, numbers, sack)
        if not segment.flags & SYN and numbers.scale:
            scale = numbers.scale
            window = segment.window << scale if scale > 0 else segment.window >> -scale
            _write(out, at + 14, min(window, 0xFFFF), 2)
    # A length of 0: it was to be segmented by the NIC, longer than 64 KiB; `split` writes those.
    return refresh(out, Layer.IP, lengths=True) if len(out) < 65536 else bytes(out)


def split(segment: Segment, packet: bytes, most: int) -> list[bytes]:
    """Packets with at most so many bytes of a segment's payload each.

    Args:
        segment: Where the headers end.
        packet: It, as it is to be sent.
        most: Bytes of payload.
    """
    begin = segment.at + segment.header_size
    size = len(packet) - begin
    if segment.protocol != 6 or size <= most:
        return [packet]
    found = []
    seq = int.from_bytes(packet[segment.at + 4 : segment.at + 8], "big")
    for at in range(0, size, most):
        out = bytearray(packet[:begin] + packet[begin + at : begin + min(size, at + most)])
        _write(out, segment.at + 4, (seq + at) % _WRAP, 4)
        if at + most < size:
            out[segment.at + 13] &= ~(1 | 8)  # FIN and PSH are the last one's
        found.append(refresh(out, Layer.IP, lengths=True))
    return found


def option_of(segment: Segment, kind: int) -> int | None:
    """The number in one of TCP's options; None: it hasn't that one."""
    value = segment.option(kind)
    return None if not value else int.from_bytes(value, "big")
