"""A Stack's sockets as files: `os.read`, `os.write`, `os.fdopen` and the like on their descriptors.

The descriptor itself carries no data. From a process's first Stack on these functions look whose it
is, and for a Stack's they are calls of the socket; for all others they are the library's own.
C code that reads or writes a descriptor doesn't come by here.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import stat
import sys
import warnings
from collections.abc import Callable, Iterable
from operator import index
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from pystack._native import ffi, lib
from pystack.sockets import descriptors
from pystack.sockets.arguments import readable
from pystack.sockets.children import check_stream
from pystack.sockets.descriptors import OpenSocket, find
from pystack.sockets.waiting import until_something

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["introduce_files"]

_SENDFILE_BLOCK = 1 << 18
_MOST_PIECES = 1024  # IOV_MAX
_NULL = ffi.NULL

_read, _write, _close = os.read, os.write, os.close
_dup, _dup2, _closerange = os.dup, os.dup2, os.closerange
_readv: Callable[..., int] | None = getattr(os, "readv", None)
_writev: Callable[..., int] | None = getattr(os, "writev", None)
_sendfile: Callable[..., int] | None = getattr(os, "sendfile", None)
_splice: Callable[..., int] | None = getattr(os, "splice", None)
_open = io.open


def _find(fd: Any) -> OpenSocket | None:
    if isinstance(fd, int) and lib.ps_descriptor_owner(fd, _NULL, _NULL):
        return find(fd)
    return None


def _receive(opened: OpenSocket, buffers: Iterable[Any]) -> int:
    """As `recv` into several buffers; it waits unless the descriptor has O_NONBLOCK."""
    pieces, held = _pieces([_writable(one) for one in buffers])
    if not any(piece.size for piece in pieces):
        return 0
    result = until_something(
        lambda timeout_us: lib.ps_receive(
            opened.handle.pointer, opened.number, pieces, len(pieces), 0, _NULL, timeout_us
        ),
        None,
        opened.receive_timeout,
        opened.handle.monotonic,
    )
    del held
    return opened.handle.check(result)


def _send(opened: OpenSocket, buffers: Iterable[Any]) -> int:
    pieces, held = _pieces([readable(one) for one in buffers])
    result = until_something(
        lambda timeout_us: lib.ps_send(
            opened.handle.pointer, opened.number, pieces, len(pieces), 0, _NULL, _NULL, timeout_us
        ),
        None,
        opened.send_timeout,
        opened.handle.monotonic,
    )
    del held
    return opened.handle.check(result)


def _writable(buffer: Any) -> Any:
    """A C view of a buffer as `os.readv` and `readinto` take it; BufferError: it is read-only."""
    try:
        return ffi.from_buffer("uint8_t[]", buffer, require_writable=True)
    except BufferError:
        raise BufferError("Object is not writable.") from None


def _pieces(held: list[Any]) -> tuple[Any, list[Any]]:
    """An array for C, and the objects that must outlive it.

    Raises:
        OSError: EINVAL, more than readv(2) and writev(2) take.
    """
    if len(held) > _MOST_PIECES:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    pieces = ffi.new("struct ps_piece[]", len(held))
    for piece, one in zip(pieces, held, strict=True):
        piece.base = one
        piece.size = len(one)
    return pieces, held


def read(fd: int, length: int, /) -> bytes:
    """`os.read`.

    Raises:
        OSError: As recv(2).
    """
    opened = _find(fd)
    if opened is None:
        return _read(fd, length)
    size = index(length)
    if size < 0:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    data = bytearray(size)
    return bytes(data[: _receive(opened, [data])])


def readv(fd: int, buffers: Iterable[Buffer], /) -> int:
    """`os.readv`."""
    opened = _find(fd)
    if opened is None:
        return _absent() if _readv is None else _readv(fd, buffers)
    return _receive(opened, buffers)


def write(fd: int, data: Buffer, /) -> int:
    """`os.write`.

    Raises:
        OSError: As send(2).
    """
    opened = _find(fd)
    return _write(fd, data) if opened is None else _send(opened, [data])


def writev(fd: int, buffers: Iterable[Buffer], /) -> int:
    """`os.writev`."""
    opened = _find(fd)
    if opened is None:
        return _absent() if _writev is None else _writev(fd, buffers)
    return _send(opened, buffers)


def _absent() -> NoReturn:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def close(fd: int) -> None:
    """`os.close`."""
    if _find(fd) is None or not descriptors.close(fd):
        _close(fd)


def dup(fd: int, /) -> int:
    """`os.dup`.

    Raises:
        OSError: Also EOPNOTSUPP, the lowest number free is a standard stream's, which reads and
            writes in C.
    """
    copy = _dup(fd)
    opened = _find(copy)
    if opened is not None:
        descriptors.note(opened, copy)
        try:
            check_stream(copy, copy)
        except OSError:
            close(copy)
            raise
    return copy


def _is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False  # nothing is open there


def dup2(fd: int, fd2: int, inheritable: bool = True) -> int:
    """`os.dup2`; what had the second number lost it, and an object that has it follows it.

    Raises:
        OSError: Also EOPNOTSUPP, the second is a standard stream's or a kernel's socket's, which
            read and write in C.
    """
    if isinstance(fd2, int):
        check_stream(fd, fd2)
        if _find(fd) is not None and _find(fd2) is None and _is_socket(fd2):
            raise OSError(
                errno.EOPNOTSUPP,
                f"descriptor {fd2} is a socket of the kernel's, whose object can't become a "
                "Stack's: close it first",
            )
    over = None if fd == fd2 else _find(fd2)
    if over is not None:
        descriptors.note(over, fd2)
    made = _dup2(fd, fd2, inheritable)
    copied = None if fd == fd2 else _find(made)
    if copied is not None and not (over is not None and descriptors.move(made)):
        descriptors.note(copied, made)
    if over is not None:
        descriptors.lost(over)
    return made


def closerange(fd_low: int, fd_high: int, /) -> None:
    """`os.closerange`."""
    for fd in descriptors.numbers():
        if fd_low <= fd < fd_high:
            descriptors.close(fd)
    _closerange(fd_low, fd_high)


def sendfile(out_fd: int, in_fd: int, offset: int | None, count: int, *arguments: Any) -> int:
    """`os.sendfile`.

    Raises:
        OSError: As sendfile(2), pread(2) and send(2).
    """
    if _find(in_fd) is not None:
        code = errno.EINVAL if offset is None else errno.ESPIPE
        raise OSError(code, os.strerror(code))
    opened = _find(out_fd)
    if opened is None:
        return (
            _absent() if _sendfile is None else _sendfile(out_fd, in_fd, offset, count, *arguments)
        )
    size = min(count, _SENDFILE_BLOCK)
    data = _read(in_fd, size) if offset is None else os.pread(in_fd, size, offset)
    if not data:
        return 0
    try:
        sent = _send(opened, [data])
    except OSError:
        if offset is None:
            os.lseek(in_fd, -len(data), os.SEEK_CUR)
        raise
    if offset is None and sent < len(data):
        os.lseek(in_fd, sent - len(data), os.SEEK_CUR)
    return sent


def splice(src: int, dst: int, *arguments: Any, **named: Any) -> int:
    """`os.splice`, which no Stack's socket supports.

    Raises:
        OSError: EINVAL, as splice(2) where it can't be done; read and write instead.
    """
    if _find(src) is not None or _find(dst) is not None:
        raise OSError(errno.EINVAL, "a Stack's socket can't be spliced: read and write it")
    return _absent() if _splice is None else _splice(src, dst, *arguments, **named)


class SocketFile(io.RawIOBase):
    """What `open` of a descriptor gives, as the library's `io.FileIO`.

    Args:
        opened: What the descriptor stands for.
        fd: The descriptor.
        mode: As of `open`; neither text nor buffers.
        closefd: Whether the descriptor is closed with the file.
    """

    def __init__(self, opened: OpenSocket, fd: int, mode: str, *, closefd: bool) -> None:
        self.name, self.closefd = fd, closefd
        self._opened = opened
        self._fd = fd
        self._reads = "r" in mode or "+" in mode
        self._writes = "r" not in mode or "+" in mode
        kind = next((one for one in "xa" if one in mode), "r" if self._reads else "w")
        self.mode = f"{kind}b+" if self._reads and self._writes else f"{kind}b"

    def fileno(self) -> int:
        """The descriptor."""
        self._check()
        return self._fd

    def readable(self) -> bool:
        """Whether it was opened for reading."""
        self._check()
        return self._reads

    def writable(self) -> bool:
        """Whether it was opened for writing."""
        self._check()
        return self._writes

    def _check(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def readinto(self, buffer: Any, /) -> int | None:
        """As `recv_into`; None: there is nothing yet, and it doesn't wait."""
        if not self.readable():
            raise io.UnsupportedOperation("File not open for reading")
        try:
            return _receive(self._opened, [buffer])
        except BlockingIOError:
            return None

    def write(self, data: Any, /) -> int | None:
        """As `send`; None: there is no room, and it doesn't wait."""
        if not self.writable():
            raise io.UnsupportedOperation("File not open for writing")
        try:
            return _send(self._opened, [data])
        except BlockingIOError:
            return None

    def close(self) -> None:
        """Closes it, and with `closefd` the descriptor."""
        if self.closed:
            return
        super().close()
        if self.closefd:
            close(self._fd)


def _open_socket(
    opened: OpenSocket,
    fd: int,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Any = None,
) -> Any:
    """As `open` makes it of a file."""
    del opener  # asked for a path's descriptor only
    kinds = set(mode) & set("rwxa")
    text = "b" not in mode
    if set(mode) - set("rwxabt+") or len(mode) > len(set(mode)) or ("t" in mode and not text):
        raise ValueError(f"invalid mode: {mode!r}")
    if len(kinds) != 1:
        raise ValueError("must have exactly one of create/read/write/append mode")
    if buffering == 1 and not text:
        warnings.warn(
            "line buffering (buffering=1) isn't supported in binary mode, the default buffer size "
            "will be used",
            RuntimeWarning,
            stacklevel=3,
        )
    raw = SocketFile(opened, fd, mode, closefd=closefd)
    try:
        buffer = _buffered(raw, buffering, text=text)
        if not text:
            return buffer
        wrapper: Any = io.TextIOWrapper(buffer, encoding, errors, newline, buffering == 1)
        wrapper.mode = mode
    except BaseException:
        raw.close()
        raise
    return wrapper


def _buffered(raw: SocketFile, buffering: int, *, text: bool) -> Any:
    """A raw file with the buffer that `open` gives it."""
    if buffering == 0:
        if text:
            raise ValueError("can't have unbuffered text I/O")
        return raw
    if raw.readable() and raw.writable():
        raise io.UnsupportedOperation("File or stream is not seekable.")
    size = io.DEFAULT_BUFFER_SIZE if buffering in (-1, 1) else buffering
    return io.BufferedReader(raw, size) if raw.readable() else io.BufferedWriter(raw, size)


class _Open:
    """`open`. No function: that would bind where a class has it for an attribute."""

    def __call__(self, file: Any, *arguments: Any, **named: Any) -> Any:
        opened = _find(file)
        if opened is None:
            return _open(file, *arguments, **named)
        return _open_socket(opened, file, *arguments, **named)

    def __repr__(self) -> str:
        return repr(_open)


Put = TypeVar("Put")


def _as_was(made: Put, original: Any) -> Put:
    """With the name and text of what it stands for."""
    for name in ("__name__", "__qualname__", "__doc__", "__module__", "__text_signature__"):
        if hasattr(original, name):
            setattr(made, name, getattr(original, name))
    return made


def introduce_files() -> None:
    """Puts all in place; doing it again changes nothing."""
    if os.read is read:
        return
    for made in (read, readv, write, writev, close, dup, dup2, closerange, sendfile, splice):
        original = getattr(os, made.__name__, None)
        if original is not None:
            setattr(os, made.__name__, _as_was(made, original))
    opening: Any = _as_was(_Open(), _open)
    io.open = builtins.open = opening
    connection = sys.modules.get("multiprocessing.connection")
    if connection is not None:  # what it took from os before
        made_of: Any = connection.Connection
        made_of._send.__defaults__ = (write,)
        made_of._recv.__defaults__ = (read,)
        made_of._close.__defaults__ = (close,)
