"""Converts the arguments of a socket's calls (types, flags, buffers) to C's."""

from __future__ import annotations

import math
import socket
import struct
from operator import index
from typing import TYPE_CHECKING, Any

from pystack._native import ffi, lib

if TYPE_CHECKING:
    from typing_extensions import Buffer

TYPES = {
    int(socket.SOCK_STREAM): lib.PS_STREAM,
    int(socket.SOCK_DGRAM): lib.PS_DATAGRAM,
    int(socket.SOCK_RAW): lib.PS_RAW,
    int(socket.SOCK_SEQPACKET): lib.PS_SEQPACKET,
}

# socket(2): beyond SOCK_MAX a type is no type at all.
TYPES_END = 11

HOW = {
    socket.SHUT_RD: lib.PS_SHUT_READ,
    socket.SHUT_WR: lib.PS_SHUT_WRITE,
    socket.SHUT_RDWR: lib.PS_SHUT_READ | lib.PS_SHUT_WRITE,
}

# Plain ints: an enum's arithmetic costs more than the call.
_FLAGS = {
    int(socket.MSG_PEEK): lib.PS_MSG_PEEK,
    int(socket.MSG_TRUNC): lib.PS_MSG_TRUNC,
    int(socket.MSG_OOB): lib.PS_MSG_OOB,
    int(socket.MSG_DONTROUTE): lib.PS_MSG_DONTROUTE,
    int(getattr(socket, "MSG_EOR", 0x80)): lib.PS_MSG_EOR,
    int(getattr(socket, "MSG_MORE", 0x8000)): lib.PS_MSG_MORE,
}
# Most often the flags are this very object; only others are checked.
NO_FLAGS = 0
# The engine's own, that no flag of a user's stands for.
WHOLE, REST = int(lib.PS_MSG_WHOLE), int(lib.PS_MSG_REST)
MSG_DONTWAIT = int(getattr(socket, "MSG_DONTWAIT", 0x40))
MSG_WAITALL = int(socket.MSG_WAITALL)
MSG_FASTOPEN = int(getattr(socket, "MSG_FASTOPEN", 0x20000000))
MSG_ERRQUEUE = int(getattr(socket, "MSG_ERRQUEUE", 0x2000))


_SIZE = struct.Struct("n")
# A timeout is a count of nanoseconds in 64 bits (CPython's PyTime_t).
_NANOSECONDS = 1_000_000_000


def to_int(value: Any) -> int:
    """What CPython makes of an argument that is an int in C.

    Raises:
        TypeError: It isn't an integer.
        OverflowError: It doesn't fit into 32 bits.
    """
    number = index(value)
    if not -(1 << 31) <= number < 1 << 31:
        side = "less than minimum" if number < 0 else "greater than maximum"
        raise OverflowError(f"signed integer is {side}")
    return number


def to_size(value: Any) -> int:
    """What CPython makes of an argument that is a size in C.

    Raises:
        TypeError: It isn't an integer.
        OverflowError: It doesn't fit into a word.
    """
    number = index(value)
    most = 1 << (8 * _SIZE.size - 1)
    if not -most <= number < most:
        raise OverflowError("Python int too large to convert to C ssize_t")
    return number


def to_descriptor(value: Any) -> int:
    """What CPython makes of an argument that is a descriptor: the low 32 bits.

    Raises:
        TypeError: It isn't an integer.
        OverflowError: It doesn't fit into a word.
    """
    return (to_size(value) + (1 << 31)) % (1 << 32) - (1 << 31)


def to_timeout(value: Any) -> float | None:
    """What CPython makes of a timeout: whole nanoseconds, rounded away from 0, in seconds.

    Raises:
        TypeError: Neither a float, nor an integer, nor None.
        ValueError: NaN, or less than 0.
        OverflowError: More than fits into 64 bits, in nanoseconds.
    """
    if value is None:
        return None
    if isinstance(value, float):
        if math.isnan(value):
            raise ValueError("Invalid value NaN (not a number)")
        if math.isinf(value):
            raise OverflowError("timestamp too large to convert to C PyTime_t")
        scaled = value * _NANOSECONDS
        nanoseconds = math.ceil(scaled) if scaled >= 0 else math.floor(scaled)
    else:
        nanoseconds = index(value) * _NANOSECONDS
    if not -(1 << 63) <= nanoseconds < 1 << 63:
        raise OverflowError("timestamp too large to convert to C PyTime_t")
    if nanoseconds < 0:
        raise ValueError("Timeout value out of range")
    return nanoseconds / _NANOSECONDS


def flags_to_c(flags: int) -> int:
    """The engine's flags of MSG_*; as in Linux, unknown ones mean nothing."""
    if not flags:
        return 0
    result, flags = 0, int(flags)
    for python, c in _FLAGS.items():
        if flags & python:
            result |= c
    return result


def readable(data: Buffer) -> Any:
    """A C view of a buffer; a context manager.

    Raises:
        TypeError: It is none.
    """
    try:
        return ffi.from_buffer("uint8_t[]", data)
    except TypeError:
        raise TypeError(f"a bytes-like object is required, not {type(data).__name__!r}") from None


def writable(buffer: Buffer, caller: str) -> Any:
    """A C view of a writable buffer; a context manager.

    Raises:
        TypeError: It can't be written to.
    """
    try:
        return ffi.from_buffer("uint8_t[]", buffer, require_writable=True)
    except BufferError as error:
        raise TypeError(f"{caller}() wants a read-write bytes-like object: {error}") from None


def to_host(host: Any) -> str:
    """What CPython makes of an argument that is the name of a host.

    Raises:
        TypeError: It is no text, or not ASCII as bytes, or has a NUL in it.
    """
    if isinstance(host, (bytes, bytearray)):
        host = host.decode("ascii")
    if not isinstance(host, str):
        raise TypeError(f"str, bytes or bytearray expected, not {type(host).__name__}")
    if "\0" in host:
        raise TypeError("host name must not contain null character")
    return host
