"""Open sockets, and the descriptors that stand for them.

Several socket objects may share one open socket, as several descriptors share one open file
description in the kernel. A descriptor of a Stack's socket shows its readiness and carries no data;
what it stands for is found by the file behind it, so that copies of it (``os.dup``,
``socket.recv_fds``) stand for the same, and a number that was closed and is another's by now for
nothing. The open socket is closed with the last of its descriptors.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from pystack._native import StackHandle, ending, ffi, lib
from pystack._native.fork import keep_over_fork
from pystack._native.handle import reap

__all__ = [
    "STACK_ERRORS",
    "Descriptor",
    "Holder",
    "OpenSocket",
    "adopt",
    "another",
    "close",
    "duplicate",
    "find",
    "lost",
    "make_of_copy",
    "move",
    "note",
    "numbers",
    "show",
]

Made = TypeVar("Made")

_EBADF = -errno.EBADF
# A Stack that is gone, lost or not this process's.
STACK_ERRORS = (
    _EBADF,
    -errno.ENOTRECOVERABLE,
    -errno.EOWNERDEAD,
    -errno.EDEADLK,
    -errno.ECANCELED,
)


class OpenSocket:
    """An engine's socket, closed at the latest when nothing refers to it any more.

    Attributes:
        handle: The Stack.
        number: The engine's handle of the socket.
        family: AF_INET or AF_INET6.
        type: SOCK_*.
        proto: The protocol as it was asked for.
        ancillary: What `recvmsg` is to give besides (pystack.sockets.options).
        kept: Options without effect (pystack.sockets.kept).
        receive_timeout: SO_RCVTIMEO in seconds; None: for ever.
        send_timeout: SO_SNDTIMEO.
    """

    __slots__ = (
        "__weakref__",
        "_finalizer",
        "ancillary",
        "family",
        "handle",
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
        handle.opened[number] = weakref.ref(self)
        self._finalizer = weakref.finalize(self, _collect, handle, number)
        self._finalizer.atexit = False  # the Stack itself is closed then

    def husk(self) -> OpenSocket:
        """What an object keeps that has given the socket up: how it was made, and no hold on it."""
        made = object.__new__(OpenSocket)
        for name in ("handle", "family", "type", "proto", "receive_timeout", "send_timeout"):
            setattr(made, name, getattr(self, name))
        made.number, made.ancillary, made.kept = -1, 0, {}
        return made

    def inherit(self, listener: OpenSocket) -> None:
        """Has what the listener has that accepted it, of what isn't the engine's to know."""
        self.ancillary = listener.ancillary
        self.kept = dict(listener.kept)
        self.receive_timeout = listener.receive_timeout
        self.send_timeout = listener.send_timeout

    def disown(self) -> None:
        """Notes that it is closed with the last of its descriptors."""
        self._finalizer.detach()

    def forget(self) -> None:
        """Notes that it is being closed, and never had a descriptor."""
        self._finalizer.detach()
        self.handle.opened.pop(self.number, None)


class Holder(Protocol):
    """An object that a number belongs to."""

    def _ps_move(self) -> None:
        """Becomes what its number stands for by now."""


class Descriptor:
    """A number that stands for an open socket, and belongs to one object.

    It is closed at the latest when nothing refers to it any more, and the open socket with it if it
    was the last.

    Args:
        opened: The open socket.
        fd: The number.
        file: What file it is, if it isn't the one that the Stack itself closes with its own end.

    Attributes:
        fd: The number.
    """

    __slots__ = ("__weakref__", "_file", "_finalizer", "_holder", "_opened", "fd")

    def __init__(self, opened: OpenSocket, fd: int, file: tuple[int, int] | None = None) -> None:
        self.fd = fd
        self._holder: weakref.ref[Holder] | None = None
        self._opened = opened
        self._file = file
        opened.disown()
        self._finalizer = weakref.finalize(
            self, _collect_descriptor, opened.handle, opened.number, fd, self._file
        )
        self._finalizer.atexit = False
        _known[_key(opened)] = opened

    def hold(self, holder: Holder) -> None:
        """Notes whose it is, to follow another socket that is copied over the number."""
        with contextlib.suppress(TypeError):  # to a `_socket.socket` there are no weak references
            self._holder = weakref.ref(holder)
            _held[self.fd] = self

    def is_ours(self) -> bool:
        """Whether the number still stands for the socket: another may have been put there."""
        return _owner(self.fd) == _key(self._opened)

    def set_blocking(self, blocking: bool) -> None:
        """Sets or clears O_NONBLOCK.

        Raises:
            OSError: EBADF, the number was closed.
        """
        if self.is_ours():
            os.set_blocking(self.fd, blocking)
        else:
            os.fstat(self.fd)  # another file's by now, or closed

    def is_blocking(self) -> bool:
        """Whether O_NONBLOCK is clear."""
        try:
            return os.get_blocking(self.fd) and self.is_ours()
        except OSError:
            return False  # the number was closed

    def let_go(self) -> bool:
        """Closes the number; whether it was the last one of the socket, which the caller closes.

        Raises:
            OSError: EBADF, the number was closed before, and may be another's.
        """
        if self._finalizer.detach() is None:
            return False  # garbage is collected in no order: it has closed the number itself
        return _let_go(self._opened, self.fd, self._file)

    def release(self) -> int:
        """Gives the number away; the new holder closes it."""
        self._finalizer.detach()
        note(self._opened, self.fd)
        return self.fd


def show(opened: OpenSocket, *, blocking: bool) -> Descriptor:
    """A new descriptor for an open socket.

    Raises:
        OSError: EMFILE, ENFILE: see socket(2).
    """
    fd = opened.handle.check(lib.ps_descriptor(opened.handle.pointer, opened.number, not blocking))
    return Descriptor(opened, fd)


def another(opened: OpenSocket) -> int:
    """One more descriptor of an open socket, which belongs to no object."""
    fd = opened.handle.check(lib.ps_descriptor(opened.handle.pointer, opened.number, False))
    if opened.handle.remote:  # where every socket has one from the start
        fd = os.dup(fd)
    note(opened, fd)
    return fd


_Key = tuple[int, int]
lock = threading.RLock()
keep_over_fork(lock)
# Those that have descriptors; and those of which some belong to no object.
_known: weakref.WeakValueDictionary[_Key, OpenSocket] = weakref.WeakValueDictionary()
_loose: dict[_Key, OpenSocket] = {}
_held: weakref.WeakValueDictionary[int, Descriptor] = weakref.WeakValueDictionary()
_swept = 0  # how many were loose when it was last looked which of them are closed


def _key(opened: OpenSocket) -> _Key:
    return int(ffi.cast("uintptr_t", opened.handle.pointer)), opened.number


def _owner(fd: int) -> _Key | None:
    stack, number = ffi.new("ps_stack **"), ffi.new("int64_t *")
    if not lib.ps_descriptor_owner(fd, stack, number):
        return None
    return int(ffi.cast("uintptr_t", stack[0])), number[0]


def _file(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _sweep() -> None:
    """Forgets those whose last descriptor was closed behind our back."""
    global _swept  # noqa: PLW0603
    if len(_loose) < 2 * _swept + 16:
        return
    for key, opened in list(_loose.items()):
        if opened.handle.closed or lib.ps_ready(opened.handle.pointer, opened.number) == _EBADF:
            del _loose[key]
    _swept = len(_loose)


def find(fd: int) -> OpenSocket | None:
    """The socket of a descriptor; None: it is the kernel's."""
    key = _owner(fd)
    if key is None:
        return None
    with lock:
        return _known.get(key) or _loose.get(key)


def numbers() -> list[int]:
    """All numbers of this process that stand for sockets."""
    if not _known and not _loose:
        return []
    return [fd for each in Path("/dev/fd").iterdir() if find(fd := int(each.name)) is not None]


def adopt(fd: int) -> tuple[OpenSocket, Descriptor] | None:
    """The socket of a descriptor, which the caller owns from now on; None: it is the kernel's.

    Two objects may have one descriptor, as they may of the kernel's: the first that is closed
    closes it for both.
    """
    opened = find(fd)
    if opened is None:
        return None
    opened.handle.check(lib.ps_descriptor_use(opened.handle.pointer, opened.number, fd, False))
    return opened, Descriptor(opened, fd, _file(fd))


def duplicate(fd: int) -> int | None:
    """Another descriptor of the same socket, which belongs to no object; None: it is the kernel's.

    Raises:
        OSError: As dup(2).
    """
    opened = find(fd)
    if opened is None:
        return None
    copy = os.dup(fd)
    note(opened, copy)
    return copy


def make_of_copy(fd: int, make: Callable[[int], Made]) -> Made | None:
    """What `make` makes of another descriptor of the same socket; None: it is the kernel's.

    Raises:
        OSError: As dup(2).
    """
    copy = duplicate(fd)
    if copy is None:
        return None
    try:
        return make(copy)
    except BaseException:
        os.close(copy)
        raise


def close(fd: int) -> bool:
    """Closes a descriptor, of whomever it is; False: it is the kernel's."""
    opened = find(fd)
    if opened is None:
        return False
    if _let_go(opened, fd, None):
        lib.ps_close(opened.handle.pointer, opened.number)
    return True


def note(opened: OpenSocket, fd: int) -> None:
    """Notes that a descriptor belongs to no object; its holder closes it."""
    with lock:
        _sweep()
        _loose[_key(opened)] = opened
    lib.ps_descriptor_use(opened.handle.pointer, opened.number, fd, True)


def move(fd: int) -> bool:
    """Has the object that has a number follow it to another socket; False: nobody has it."""
    descriptor = _held.get(fd)
    holder = None if descriptor is None or descriptor._holder is None else descriptor._holder()
    if descriptor is None or holder is None or descriptor._finalizer.detach() is None:
        return False
    holder._ps_move()
    return True


def lost(opened: OpenSocket) -> None:
    """Notes that a number was closed behind our back; closes the socket if it was the last."""
    lib.ps_descriptor_number(opened.handle.pointer, opened.number)


def _let_go(opened: OpenSocket, fd: int, file: tuple[int, int] | None) -> bool:
    handle = opened.handle
    result = lib.ps_descriptor_close(handle.pointer, opened.number, fd)
    with lock:
        if result == 0:
            _loose[_key(opened)] = opened  # others hold numbers of it
        elif result == 1:
            _loose.pop(_key(opened), None)
            handle.opened.pop(opened.number, None)
    if result == -errno.EDEADLK:
        _collect_descriptor(handle, opened.number, fd, file)
    elif result < 0 and not _close_file(fd, file) and result == _EBADF and not handle.closed:
        ending.stay_if_over()
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return bool(result == 1)


def _close_file(fd: int, file: tuple[int, int] | None) -> bool:
    """Closes a number if it still is what it was."""
    try:
        if file is None or _file(fd) != file:
            return False
    except OSError:
        return False
    os.close(fd)
    return True


def _collect(handle: StackHandle, number: int) -> None:
    handle.opened.pop(number, None)
    reap(lib.ps_close, handle.pointer, number)


def _collect_descriptor(
    handle: StackHandle, number: int, fd: int, file: tuple[int, int] | None
) -> None:
    def collect() -> int:
        result = int(lib.ps_descriptor_close(handle.pointer, number, fd))
        if result == 1:
            handle.opened.pop(number, None)
            return int(lib.ps_close(handle.pointer, number))
        if result != -errno.EDEADLK and result < 0:
            _close_file(fd, file)
        return result

    reap(collect)
