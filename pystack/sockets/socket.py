"""The sockets that a Stack gives: `CoreSocket`, completed as `socket.py` completes its own."""

from __future__ import annotations

import builtins
import errno
import io
import os
import socket
from enum import IntEnum
from typing import IO, TYPE_CHECKING, Any, NoReturn, TypeVar

from pystack._native import StackHandle, ffi, lib
from pystack.sockets import descriptors
from pystack.sockets.address import SocketAddress
from pystack.sockets.message import MessageSocket

if TYPE_CHECKING:
    from pystack.tables import TcpInfo

Self = TypeVar("Self", bound="Socket")
Named = TypeVar("Named", bound=IntEnum)


def _named(number: int, names: builtins.type[Named]) -> Named:
    """The number as a member of `named` if it is one; with `fileno=` it may be any number."""
    try:
        return names(number)
    except ValueError:
        return number  # type: ignore[return-value]


def _of_opened(
    cls: builtins.type[Socket],
    opened: descriptors.OpenSocket,
    descriptor: descriptors.Descriptor | None,
) -> Socket:
    made = cls.__new__(cls)
    made._io_refs = 0
    made._closed = False
    made._ps_adopt(opened, socket.getdefaulttimeout(), descriptor)
    return made


class Socket(MessageSocket):
    """A socket of a Stack, with the methods of `socket.socket`.

    Made by `Stack.socket` or `Stack.sockets.socket`. Where a method is not described here, it
    does what the documentation of the module `socket` says. Closing it late, or never, is a
    `ResourceWarning`, as there.
    """

    __slots__ = ("__weakref__", "_closed", "_io_refs")

    def __init__(
        self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
    ) -> None:
        self._io_refs = 0
        self._closed = False
        super().__init__(family, type, proto, fileno)

    @property
    def family(self) -> socket.AddressFamily:
        """AF_INET or AF_INET6."""
        return _named(self._ps_said[0], socket.AddressFamily)

    @property
    def type(self) -> socket.SocketKind:
        """SOCK_STREAM, SOCK_DGRAM or SOCK_RAW."""
        return _named(self._ps_said[1], socket.SocketKind)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_what: object) -> None:
        if not self._closed:
            self.close()

    def __repr__(self) -> str:
        closed = " [closed]" if self._closed or self._ps_number < 0 else ""
        # A descriptor is not made for this: without one, it is the engine's number.
        shown = f"fd={-1 if self._ps_descriptor is None else self._ps_descriptor.fd}"
        if self._ps_descriptor is None and not closed:
            shown = f"number={self._ps_number & 0xFFFFFFFF}"
        family, kind, proto = self._ps_said
        text = (
            f"<{self.__class__.__module__}.{self.__class__.__qualname__}{closed} {shown}, "
            f"family={family}, type={kind}, proto={proto}"
        )
        if not closed:
            for name, ask in (("laddr", self.getsockname), ("raddr", self.getpeername)):
                try:
                    text += f", {name}={ask()}"
                except (OSError, RuntimeError):
                    continue  # not connected, or the Stack is gone: none to show
        return text + ">"

    def __getstate__(self) -> NoReturn:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    def sendmsg_afalg(self, *_arguments: object, **_named: object) -> NoReturn:
        """Is for sockets of AF_ALG alone."""
        raise OSError("algset is only supported for AF_ALG")

    def dup(self: Self) -> Self:
        """Another object for the same socket, which is closed with the last of them."""
        other = descriptors.make_of_copy(
            self.fileno(),
            lambda copy: type(self)(*self._ps_said, fileno=copy),
        )
        if other is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        other.settimeout(self._ps_timeout)
        return other

    def detach(self) -> int:
        """See `CoreSocket.detach`."""
        self._closed = True
        return super().detach()

    def accept(self) -> tuple[Socket, SocketAddress]:
        """The next connection, as a socket of the Stack's class, and the peer's address."""
        opened, descriptor, peer = self._ps_take_connection()
        # The class is the module's, whatever this one is. As socket.accept: what comes of a socket
        # with a timeout has the default timeout.
        accepted = _of_opened(self._ps_handle.socket_class or type(self), opened, descriptor)
        accepted._ps_said = self._ps_said
        return accepted, peer

    @staticmethod
    def _ps_of_number(
        handle: StackHandle, number: int, family: int, kind: int, protocol: int
    ) -> Socket:
        """A socket that the engine has made by itself, by its number; for pystack's own use."""
        opened = descriptors.OpenSocket(handle, number, family, kind, protocol)
        return _of_opened(handle.socket_class or Socket, opened, None)

    def makefile(
        self,
        mode: str = "r",
        buffering: int | None = None,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """A file on the socket; the connection is closed with the last of the two."""
        if not set(mode) <= {"r", "w", "b"}:
            raise ValueError(f"invalid mode {mode!r} (only r, w, b allowed)")
        writing = "w" in mode
        reading = "r" in mode or not writing
        binary = "b" in mode
        raw = socket.SocketIO(self, ("r" if reading else "") + ("w" if writing else ""))  # type: ignore[arg-type]
        self._io_refs += 1
        if buffering is None or buffering < 0:
            buffering = io.DEFAULT_BUFFER_SIZE
        if buffering == 0:
            if not binary:
                raise ValueError("unbuffered streams must be binary")
            return raw  # type: ignore[return-value]
        buffer: Any
        if reading and writing:
            buffer = io.BufferedRWPair(raw, raw, buffering)
        elif reading:
            buffer = io.BufferedReader(raw, buffering)
        else:
            buffer = io.BufferedWriter(raw, buffering)
        if binary:
            return buffer  # type: ignore[no-any-return]
        text: Any = io.TextIOWrapper(buffer, encoding, errors, newline)
        text.mode = mode
        return text  # type: ignore[no-any-return]

    # The library's own methods, which need nothing that this socket lacks.
    sendfile = socket.socket.sendfile
    _sendfile_use_sendfile = socket.socket._sendfile_use_sendfile  # type: ignore[attr-defined]
    _sendfile_use_send = socket.socket._sendfile_use_send  # type: ignore[attr-defined]
    _check_sendfile_params = socket.socket._check_sendfile_params  # type: ignore[attr-defined]

    def _decref_socketios(self) -> None:
        if self._io_refs > 0:
            self._io_refs -= 1
        if self._closed:
            self.close()

    def close(self) -> None:
        """Closes the socket, or, while a file of `makefile` is open, marks it closed."""
        self._closed = True
        if self._io_refs <= 0:
            self._real_close()

    def _real_close(self) -> None:
        super().close()

    def tcp_info(self) -> TcpInfo:
        """What TCP knows of the connection, typed; `getsockopt(IPPROTO_TCP, TCP_INFO, n)` is bytes.

        Raises:
            OSError: ENOPROTOOPT, not a TCP socket; EBADF.
        """
        from pystack.tables import TcpInfo  # noqa: PLC0415 - tables stand beside, not below

        out = ffi.new("struct ps_tcp_info *")
        self._ps_handle.check(lib.ps_tcp_info(self._ps_handle.pointer, self._ps_number, out))
        return TcpInfo.from_c(out)

    def get_inheritable(self) -> bool:
        """Whether a child process inherits the descriptor, which is of no use to it."""
        return os.get_inheritable(self.fileno())

    def set_inheritable(self, inheritable: bool) -> None:
        """Sets what `get_inheritable` gives."""
        os.set_inheritable(self.fileno(), inheritable)
