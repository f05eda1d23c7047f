"""What the calls of a socket are given, types, flags and buffers, as C wants it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from pystack._native import ffi, lib

if TYPE_CHECKING:
    from typing_extensions import Buffer

TYPES = {
    int(socket.SOCK_STREAM): lib.PS_STREAM,
    int(socket.SOCK_DGRAM): lib.PS_DATAGRAM,
    int(socket.SOCK_RAW): lib.PS_RAW,
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
    int(getattr(socket, "MSG_MORE", 0x8000)): lib.PS_MSG_MORE,
}
MSG_DONTWAIT = int(getattr(socket, "MSG_DONTWAIT", 0x40))
MSG_WAITALL = int(socket.MSG_WAITALL)
MSG_FASTOPEN = int(getattr(socket, "MSG_FASTOPEN", 0x20000000))
MSG_ERRQUEUE = int(getattr(socket, "MSG_ERRQUEUE", 0x2000))


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
