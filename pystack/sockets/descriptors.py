"""Open sockets, and the descriptors that stand for them.

Several socket objects may share one open socket, as several descriptors share one open file
description in the kernel: by `dup`, or by `detach` and ``socket(fileno=...)``. The descriptors
themselves only show readiness; what they stand for is written down here.
"""

from __future__ import annotations

import errno
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

from pystack._native import StackHandle, ffi, lib
from pystack._native.handle import reap

__all__ = [
    "OpenSocket",
    "close",
    "duplicate",
    "find",
    "register",
    "release",
    "sendfile",
    "take",
]


class OpenSocket:
    """An engine's socket, closed at the latest when nothing refers to it any more.

    Attributes:
        handle: The Stack.
        number: The engine's handle of the socket.
        family: AF_INET or AF_INET6.
        type: SOCK_*.
        proto: The protocol as it was asked for.
        holders: How many socket objects and detached descriptors stand for it.
        descriptor: The one that the host made for it, and closes with it; -1: none yet. Any
            other is a copy.
        ancillary: What `recvmsg` is to give besides (pystack.sockets.options).
        kept: Options without effect (pystack.sockets.kept).
        receive_timeout: SO_RCVTIMEO in seconds; None: for ever.
        send_timeout: SO_SNDTIMEO.
    """

    __slots__ = (
        "__weakref__",
        "_finalizer",
        "ancillary",
        "descriptor",
        "family",
        "handle",
        "holders",
        "kept",
        "number",
        "proto",
        "receive_timeout",
        "send_timeout",
        "type",
    )

    def __init__(
        self, handle: StackHandle, number: int, family: int, kind: int, proto: int
    ) -> None:
        self.handle = handle
        self.number = number
        self.ancillary = 0
        self.kept: dict[tuple[int, int], int] = {}
        self.receive_timeout: float | None = None
        self.send_timeout: float | None = None
        self.family = family
        self.type = kind
        self.proto = proto
        self.holders = 1
        self.descriptor = -1
        handle.opened[number] = weakref.ref(self)
        self._finalizer = weakref.finalize(self, _collect, handle, number)
        self._finalizer.atexit = False  # the Stack itself is closed then

    def inherit(self, listener: OpenSocket) -> None:
        """Has what the listener has that accepted it, of what isn't the engine's to know."""
        self.ancillary = listener.ancillary
        self.kept = dict(listener.kept)

    def let_go(self) -> bool:
        """One holder less; whether it was the last, who then has to close the socket.

        Raises:
            OSError: EBADF, somebody else closed it by the same descriptor.
        """
        with _lock:
            if self.holders == 0:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            self.holders -= 1
            last = self.holders == 0
            if last:
                forget(self.descriptor)
        if last:
            self._finalizer.detach()
            self.handle.opened.pop(self.number, None)
        return last

    def another(self) -> OpenSocket:
        """The same, with one holder more."""
        with _lock:
            self.holders += 1
        return self

    def show(self) -> int:
        """The host's descriptor for it, which is made when first asked for."""
        if self.descriptor < 0:
            self.descriptor = self.handle.check(lib.ps_descriptor(self.handle.pointer, self.number))
            _shown[self.descriptor] = self
        return self.descriptor

    def detached(self) -> int:
        """Its descriptor, which now holds it."""
        descriptor = self.show()
        release(descriptor, self)
        return descriptor


def _collect(handle: StackHandle, number: int) -> None:
    handle.opened.pop(number, None)
    reap(lib.ps_close, handle.pointer, number)


_lock = threading.RLock()
# Descriptors that were detached, or duplicated by number: each is a holder.
_loose: dict[int, OpenSocket] = {}
# Descriptors that a socket object has shown.
_shown: weakref.WeakValueDictionary[int, OpenSocket] = weakref.WeakValueDictionary()


def register(descriptor: int, opened: OpenSocket) -> None:
    """Notes that a socket object shows this descriptor."""
    _shown[descriptor] = opened


def forget(descriptor: int) -> None:
    """Notes that a descriptor is about to be closed: its number may soon be another's."""
    with _lock:
        _shown.pop(descriptor, None)
        _loose.pop(descriptor, None)


def release(descriptor: int, opened: OpenSocket) -> None:
    """Notes that a socket object gives its descriptor away, and its hold with it."""
    with _lock:
        _loose[descriptor] = _shown[descriptor] = opened


def find(descriptor: int) -> OpenSocket | None:
    """What a descriptor stands for; None: it is the kernel's."""
    return _loose.get(descriptor) or _shown.get(descriptor)


def take(descriptor: int) -> OpenSocket | None:
    """What a descriptor stands for; the hold is the caller's now.

    If it is not detached, two socket objects have one hold, as they would have one descriptor of
    the kernel's: the first that is closed closes it for both.
    """
    with _lock:
        return _loose.pop(descriptor, None) or _shown.get(descriptor)


def duplicate(descriptor: int) -> int | None:
    """Another descriptor of the same socket, detached; None: it is the kernel's.

    Raises:
        OSError: As dup(2).
    """
    with _lock:
        opened = find(descriptor)
        if opened is None:
            return None
        copy = os.dup(descriptor)
        opened.holders += 1
        _loose[copy] = opened
        return copy


def close(descriptor: int) -> bool:
    """Closes a descriptor, of whomever it is; False: it is the kernel's."""
    opened = take(descriptor)
    if opened is None:
        return False
    last = opened.let_go()
    if last:
        lib.ps_close(opened.handle.pointer, opened.number)
    close_copy(descriptor, opened)
    return True


def close_copy(descriptor: int, opened: OpenSocket) -> None:
    """Closes a descriptor that is a copy; the host's own goes with the socket."""
    if descriptor not in (-1, opened.descriptor):
        forget(descriptor)
        os.close(descriptor)


_sendfile: Callable[..., int] | None = getattr(os, "sendfile", None)
_SENDFILE_BLOCK = 1 << 18


def sendfile(out_fd: int, in_fd: int, offset: int | None, count: int, *arguments: Any) -> int:
    """`os.sendfile` that also knows the descriptors of a Stack's sockets.

    Nothing may be written to those themselves: they only show readiness.

    Raises:
        OSError: As sendfile(2), pread(2) and send(2).
    """
    opened = find(out_fd)
    if opened is None:
        if _sendfile is None:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return _sendfile(out_fd, in_fd, offset, count, *arguments)
    size = min(count, _SENDFILE_BLOCK)
    data = os.read(in_fd, size) if offset is None else os.pread(in_fd, size, offset)
    if not data:
        return 0
    piece = ffi.new("struct ps_piece[1]")
    with ffi.from_buffer("uint8_t[]", data) as source:
        piece[0].base = source
        piece[0].size = len(source)
        timeout_us = -1 if os.get_blocking(out_fd) else 0
        while True:
            sent = lib.ps_send(
                opened.handle.pointer, opened.number, piece, 1, 0, ffi.NULL, ffi.NULL, timeout_us
            )
            if sent != -errno.EINTR:
                break
    sent = opened.handle.check(sent)
    if offset is None and sent < len(data):
        os.lseek(in_fd, sent - len(data), os.SEEK_CUR)
    return sent
