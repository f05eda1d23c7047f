"""Options of an engine that takes all that Linux has, by Linux's numbers and layouts."""

from __future__ import annotations

import errno
import os
import socket
import struct
from pathlib import Path
from typing import Any

from pystack._native import ffi, lib
from pystack.sockets.receiving import ReceivingSocket

__all__ = ["get_option", "set_option"]

_SOL, _IPV6 = int(socket.SOL_SOCKET), int(socket.IPPROTO_IPV6)

# Numbers of asm-generic/socket.h and linux/in6.h. Those that would have the kernel look into the
# program's memory later, or make the socket one of another family, would need more than the option.
_SO_ZEROCOPY, _IPV6_ADDRFORM = 60, 1
_REFUSED = ((_SOL, _SO_ZEROCOPY), (_IPV6, _IPV6_ADDRFORM))
# SO_ATTACH_FILTER and SO_ATTACH_REUSEPORT_CBPF have a pointer in their value.
_FILTERS = ((_SOL, 26), (_SOL, 51))
_PROGRAM = struct.Struct("@HP")
_INSTRUCTION_BYTES = 8

_INT = struct.Struct("i")


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _program_at(value: bytes) -> bytes:
    """The instructions that a `struct sock_fprog` points to.

    Read as a file: a pointer that points nowhere is an error there, and not the process's end.
    """
    if len(value) != _PROGRAM.size:
        raise _error(errno.EINVAL)
    count, address = _PROGRAM.unpack(value)
    try:
        with Path("/proc/self/mem").open("rb", buffering=0) as memory:
            memory.seek(address)
            program = memory.read(count * _INSTRUCTION_BYTES)
    except (OSError, OverflowError):
        raise _error(errno.EFAULT) from None
    if len(program) != count * _INSTRUCTION_BYTES:
        raise _error(errno.EFAULT)
    return program


def set_option(sock: ReceivingSocket, key: tuple[int, int], value: bytes) -> None:
    """Sets an option to bytes in Linux's layout.

    Raises:
        OSError: As setsockopt(2).
    """
    if key in _REFUSED:
        raise _error(errno.ENOPROTOOPT)
    if key in _FILTERS:
        value = _program_at(value)
    handle = sock._ps_handle
    data = ffi.from_buffer(value)
    handle.check(lib.ps_option_set_raw(handle.pointer, sock._ps_number, *key, data, len(value)))


def get_option(sock: ReceivingSocket, key: tuple[int, int], length: int) -> Any:
    """An option as an int, or as up to `length` bytes in Linux's layout.

    Raises:
        OSError: As getsockopt(2).
    """
    if key in _REFUSED:
        raise _error(errno.ENOPROTOOPT)
    handle = sock._ps_handle
    room = length or _INT.size
    out = ffi.new("uint8_t[]", room)
    got = handle.check(lib.ps_option_get_raw(handle.pointer, sock._ps_number, *key, out, room))
    return bytes(ffi.buffer(out, got)) if length else _INT.unpack(ffi.buffer(out, _INT.size))[0]
