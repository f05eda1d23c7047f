"""The ancillary data that `recvmsg` gives, in Linux's layouts (ip(7), ipv6(7), socket(7)).

A request is a sum of bits from `pystack.sockets.options.ANCILLARY`.
"""

from __future__ import annotations

import socket
import struct
import time
from typing import TYPE_CHECKING, Any

from pystack._native import ffi, lib
from pystack._native.address import packed
from pystack.sockets import options
from pystack.sockets.options import ANCILLARY, IP, IPV6, _constant

if TYPE_CHECKING:
    from pystack.sockets.descriptors import OpenSocket

__all__ = ["MAPPED", "Item", "fitting", "laid_out", "of_error", "of_message"]

Item = tuple[int, int, bytes]
"""Level, type and data."""

IPV6_PKTINFO = _constant("IPV6_PKTINFO", 50)
IPV6_HOPLIMIT = _constant("IPV6_HOPLIMIT", 52)
IPV6_TCLASS = _constant("IPV6_TCLASS", 67)
IP_TTL, IP_TOS = int(socket.IP_TTL), int(socket.IP_TOS)

# recvmsg(2): struct cmsghdr before each piece, padded to a word.
_WORD = struct.calcsize("N")
_HEADER = struct.calcsize("Nii")

_ORIGINAL = ANCILLARY[IP, options.IP_ORIGDSTADDR] | ANCILLARY[IPV6, options.IPV6_ORIGDSTADDR]

MAPPED = bytes(10) + b"\xff\xff"
# struct sock_extended_err, whose last word is for RFC 4884, and the offender after it.
_ERROR = struct.Struct("=I4BIHBx")
_ADDRESS4 = struct.Struct("=HH4s8x")
_ADDRESS6 = struct.Struct("=HHI16sI")
_TIME = struct.Struct("=qq")
_EXTENSIONS_BROKEN = 1  # SO_EE_RFC4884_FLAG_INVALID


def _padded(size: int) -> int:
    return -(-size // _WORD) * _WORD


def laid_out(items: list[tuple[tuple[int, int], bytes]]) -> bytes:
    """Ancillary data as sendmsg(2) takes it: each piece behind a struct cmsghdr."""
    return b"".join(
        struct.pack("Nii", _HEADER + len(data), *key) + data.ljust(_padded(len(data)), b"\0")
        for key, data in items
    )


def _other(message: Any) -> list[Item]:
    """What came beside what the host has fields for: see engine.h's ps_message."""
    items: list[Item] = []
    left = bytes(ffi.buffer(message.ancillary, message.ancillary_bytes))
    while len(left) >= _HEADER:
        size, level, kind = struct.unpack_from("Nii", left)
        items.append((level, kind, left[_HEADER:size]))
        left = left[_padded(size) :]
    return items


def fitting(items: list[Item], room: int) -> tuple[list[Item], bool]:
    """As much as fits into a buffer for ancillary data, and whether some did not."""
    given: list[Item] = []
    for level, kind, data in items:
        if room < _HEADER:
            return given, True
        if room < _HEADER + len(data):
            given.append((level, kind, data[: room - _HEADER]))
            return given, True
        given.append((level, kind, data))
        room -= _HEADER + _padded(len(data))
    return given, False


def _of_packet(asked: int, message: Any, local: bytes | None) -> list[Item]:
    """What the packet's own headers say.

    Args:
        asked: What was asked for.
        message: The `struct ps_message`.
        local: What IP_PKTINFO gives as the local address; None: the destination.
    """
    items: list[Item] = []
    to, port = packed(message.to), message.to.port
    full = to if len(to) == 16 else MAPPED + to
    if asked & ANCILLARY[IPV6, options.IPV6_RECVPKTINFO]:
        items.append((IPV6, IPV6_PKTINFO, struct.pack("16sI", full, message.interface)))
    if full.startswith(MAPPED):
        to = full[12:]
        if asked & ANCILLARY[IP, options.IP_PKTINFO]:
            data = struct.pack("i4s4s", message.interface, to if local is None else local, to)
            items.append((IP, options.IP_PKTINFO, data))
        if asked & ANCILLARY[IP, options.IP_RECVTTL]:
            items.append((IP, IP_TTL, struct.pack("i", message.ttl)))
        if asked & ANCILLARY[IP, options.IP_RECVTOS]:
            items.append((IP, IP_TOS, bytes([message.tos])))
        if asked & ANCILLARY[IP, options.IP_ORIGDSTADDR]:
            data = _ADDRESS4.pack(socket.AF_INET, socket.htons(port), to)
            items.append((IP, options.IP_ORIGDSTADDR, data))
        return items
    if asked & ANCILLARY[IPV6, options.IPV6_RECVHOPLIMIT]:
        items.append((IPV6, IPV6_HOPLIMIT, struct.pack("i", message.ttl)))
    if asked & ANCILLARY[IPV6, options.IPV6_RECVTCLASS]:
        items.append((IPV6, IPV6_TCLASS, struct.pack("i", message.tos)))
    if asked & ANCILLARY[IPV6, options.IPV6_ORIGDSTADDR]:
        data = _ADDRESS6.pack(socket.AF_INET6, socket.htons(port), 0, to, message.to.scope)
        items.append((IPV6, options.IPV6_ORIGDSTADDR, data))
    return items


def _time(opened: OpenSocket, message: Any) -> list[Item]:
    """When it came, in the time of the system's clock.

    A clock of Python's is taken to count from the epoch.
    """
    asked = opened.ancillary & options.TIMESTAMP_BITS
    if not asked:
        return []
    when_ns = message.time_us * 1000
    if not when_ns:  # the engine doesn't say: now, as Linux has it then
        when_ns = time.time_ns()
    elif opened.handle.answers.clock is None:
        when_ns += time.time_ns() - time.monotonic_ns()
    seconds, rest = divmod(when_ns, 1_000_000_000)
    name = next(name for name, bits in options.TIMESTAMPS.items() if bits == asked)
    if name in (options.SO_TIMESTAMP, options.SO_TIMESTAMP_NEW):
        rest //= 1000
    return [(options.SOL, name, _TIME.pack(seconds, rest))]


def _left(opened: OpenSocket) -> int:
    """How many bytes may be read yet; 1: none but the stream's end."""
    value = ffi.new("int64_t *")
    pointer, number = opened.handle.pointer, opened.number
    opened.handle.check(lib.ps_option_get(pointer, number, lib.PS_OPT_BYTES_QUEUED, value))
    ready = lib.ps_wait(pointer, number, lib.PS_READY_READ, 0) if value[0] == 0 else 0
    return int(value[0]) or int(ready > 0 and ready & lib.PS_READY_READ != 0)


def of_message(opened: OpenSocket, message: Any, size: int) -> list[Item]:
    """What comes with a datagram, or with bytes of a stream."""
    if not opened.ancillary and not message.segment_size and not message.ancillary_bytes:
        return []
    if opened.type == socket.SOCK_STREAM:
        items = (_time(opened, message) if size else []) + _other(message)
        if opened.ancillary & ANCILLARY[options.TCP, options.TCP_INQ]:
            items.append((options.TCP, options.TCP_INQ, struct.pack("i", _left(opened))))
        return items
    items = _time(opened, message)
    if opened.ancillary & ANCILLARY[options.SOL, options.SO_RXQ_OVFL] and message.drops:
        items.append((options.SOL, options.SO_RXQ_OVFL, struct.pack("I", message.drops)))
    if message.segment_size:
        items.append((options.UDP, options.UDP_GRO, struct.pack("i", message.segment_size)))
    return items + _of_packet(opened.ancillary, message, None) + _other(message)


def of_error(opened: OpenSocket, message: Any, error: Any) -> list[Item]:
    """What comes with an error of the queue: the `struct sock_extended_err` and its offender."""
    items: list[Item] = _other(message)
    if opened.ancillary:
        items += _time(opened, message)
        if error.origin != lib.PS_ERROR_LOCAL:
            items += _of_packet(opened.ancillary & ~_ORIGINAL, message, bytes(4))
    family = opened.family
    data = _ERROR.pack(
        error.error, error.origin, error.type, error.code, 0, error.info, error.extensions,
        _EXTENSIONS_BROKEN if error.extensions_broken else 0,
    )  # fmt: skip
    offender, known = packed(error.offender), error.offender.family != lib.PS_UNSPECIFIED
    if family == socket.AF_INET6:
        data += _ADDRESS6.pack(family if known else 0, 0, 0, offender, error.offender.scope)
        return [*items, (IPV6, options.IPV6_RECVERR, data)]
    data += _ADDRESS4.pack(family if known else 0, 0, offender)
    return [*items, (IP, options.IP_RECVERR, data)]
