"""`fcntl.ioctl` on a Stack's descriptors: how much is queued, and where urgent data stands.

The descriptor itself knows nothing of these. From a process's first Stack on `fcntl.ioctl` looks
whose it is; for all others it is the library's own.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from operator import index
from typing import Any

from pystack._native import ffi, lib
from pystack.sockets.descriptors import OpenSocket, find

__all__ = ["introduce_controls"]

# Linux's numbers: tcp(7), udp(7), ioctl_tty(2).
FIONREAD, SIOCOUTQ, SIOCOUTQNSD, SIOCATMARK = 0x541B, 0x5411, 0x894B, 0x8905
FIONCLEX, FIOCLEX, FIONBIO = 0x5450, 0x5451, 0x5421
# FIONREAD is SIOCINQ, too.
_OPTIONS = {
    FIONREAD: lib.PS_OPT_BYTES_QUEUED,
    SIOCOUTQ: lib.PS_OPT_BYTES_UNSENT,
    SIOCOUTQNSD: lib.PS_OPT_BYTES_NOT_SENT,
    SIOCATMARK: lib.PS_OPT_AT_MARK,
}
_OF_THE_DESCRIPTOR = (FIONCLEX, FIOCLEX, FIONBIO)
_LONGEST_COPIED = 1024
_INT = struct.Struct("i")

_ioctl = fcntl.ioctl


def _answer(opened: OpenSocket, request: int) -> bytes:
    option = _OPTIONS.get(request)
    if option is None:
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
    value = ffi.new("int64_t *")
    result = lib.ps_option_get(opened.handle.pointer, opened.number, option, value)
    if result == -errno.ENOPROTOOPT:  # not of this kind of socket
        result = -errno.ENOTTY
    opened.handle.check(result)
    return _INT.pack(value[0])


def ioctl(fd: Any, request: int, arg: Any = 0, mutate_flag: bool = True, /) -> Any:
    """`fcntl.ioctl`, for a Stack's sockets with the requests of tcp(7) and udp(7).

    Raises:
        OSError: ENOTTY, no request for such a socket; EINVAL, a listener's; EFAULT, no buffer.
    """
    number = fd if isinstance(fd, int) else fd.fileno() if hasattr(fd, "fileno") else -1
    opened = find(number) if isinstance(number, int) and number >= 0 else None
    if opened is None:
        return _ioctl(fd, request, arg, mutate_flag)
    request = index(request) & 0xFFFFFFFF
    if request in _OF_THE_DESCRIPTOR:
        return _ioctl(number, request, arg, mutate_flag)
    if hasattr(arg, "__index__"):
        _answer(opened, request)
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
    with (
        memoryview(arg.encode() if isinstance(arg, str) else arg) as view,
        view.cast("B") as octets,
    ):
        if mutate_flag and not octets.readonly:
            answer = _answer(opened, request)
            octets[: len(answer)] = answer[: len(octets)]
            return 0
        if len(octets) > _LONGEST_COPIED:
            raise ValueError("ioctl string arg too long")
        answer = _answer(opened, request)
        return answer[: len(octets)] + bytes(octets[len(answer) :])


def introduce_controls() -> None:
    """Puts it in place; doing it again changes nothing."""
    fcntl.ioctl = ioctl
