"""A socket of a Stack with the methods that CPython writes in C, as in the module `_socket`.

Rules: a call that the engine can't do at once waits in C with the GIL released, as often as it
takes; after a signal, and every half second, it comes back here so that Python runs its
handlers. errno values come from the engine as the kernel would give them.
"""

from __future__ import annotations

import errno
import os
import socket
import warnings
from collections.abc import Callable
from operator import index
from typing import TYPE_CHECKING, Any

from pystack._native import StackHandle, ffi, lib
from pystack.sockets import address as addresses
from pystack.sockets import descriptors, options
from pystack.sockets.accepting import AcceptingSocket
from pystack.sockets.address import SocketAddress
from pystack.sockets.arguments import (
    HOW,
    MSG_FASTOPEN,
    NO_FLAGS,
    TYPES,
    TYPES_END,
    flags_to_c,
    readable,
    to_int,
    to_size,
    to_timeout,
)
from pystack.sockets.descriptors import STACK_ERRORS, Descriptor, OpenSocket

if TYPE_CHECKING:
    from typing_extensions import Buffer

_STREAM = int(socket.SOCK_STREAM)
_SOL, _SO_PROTOCOL = int(socket.SOL_SOCKET), getattr(socket, "SO_PROTOCOL", 38)

# Linux has names for protocols beyond those that fit into IP's header.
_PROTOCOLS, _PROTOCOLS_END = 256, 263

SOCK_NONBLOCK = getattr(socket, "SOCK_NONBLOCK", 0)
SOCK_CLOEXEC = getattr(socket, "SOCK_CLOEXEC", 0)

_EAGAIN, _EINTR, _EINPROGRESS = -errno.EAGAIN, -errno.EINTR, -errno.EINPROGRESS
_EPIPE = -errno.EPIPE

_NULL = ffi.NULL


class CoreSocket(AcceptingSocket):
    """See the module; `pystack.sockets.Socket` completes it.

    Several threads may use one socket, as they may a kernel's.
    """

    __slots__ = ("_sent_to",)

    # The class of a Stack's own sockets has these (pystack.sockets.module).
    _stack_handle: StackHandle | None = None
    _resolve: Callable[[str, int], str]

    def __init__(
        self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
    ) -> None:
        self._number = -1
        handle = self._stack_handle
        if handle is None:
            raise TypeError("sockets are made by a Stack: stack.socket(...), stack.sockets.socket")
        self._handle = handle
        if fileno is not None:
            self._take(fileno)
            self._proto = int(options.get_option(self, _SOL, _SO_PROTOCOL, 0))
            # As socket.socket: what is said of the descriptor is taken at its word.
            if family != -1:
                self._family = index(family)
            if type != -1:
                self._type = index(type)
            if proto != -1:
                self._proto = index(proto)
            return
        family = int(socket.AF_INET) if family == -1 else index(family)
        kind = int(socket.SOCK_STREAM) if type == -1 else index(type)
        proto = 0 if proto == -1 else index(proto)
        if family not in addresses.FAMILIES:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        if _PROTOCOLS <= proto < _PROTOCOLS_END:
            raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))
        plain = kind & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)
        if not 0 <= plain < TYPES_END:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if plain not in TYPES:
            raise OSError(errno.ESOCKTNOSUPPORT, os.strerror(errno.ESOCKTNOSUPPORT))
        number = handle.check(
            lib.ps_socket(handle.pointer, addresses.FAMILIES[family], TYPES[plain], proto)
        )
        timeout = 0.0 if kind & SOCK_NONBLOCK else socket.getdefaulttimeout()
        self._adopt(OpenSocket(handle, number, family, plain, proto), timeout)

    def _adopt(
        self, opened: OpenSocket, timeout: float | None, descriptor: Descriptor | None = None
    ) -> None:
        self._open = opened
        self._handle = opened.handle
        self._number = opened.number
        self._family = opened.family
        self._type = opened.type
        self._proto = opened.proto
        self._timeout = timeout
        self._sent_to: tuple[SocketAddress, Any] | None = None
        self._descriptor = descriptor

    def _take(self, fileno: int) -> None:
        """Becomes what a detached descriptor stands for."""
        found = descriptors.adopt(index(fileno))
        if found is None:
            raise OSError(errno.EBADF, "not a descriptor of a Stack's socket")
        opened, descriptor = found
        timeout = socket.getdefaulttimeout()
        if timeout is not None:
            os.set_blocking(descriptor.fd, False)
        self._adopt(opened, timeout, descriptor)

    def __del__(self) -> None:
        # Nothing is freed here: what was open is closed when nothing refers to it any more.
        if getattr(self, "_number", -1) >= 0 and not self._handle.closed:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)

    # --- connections -----------------------------------------------------------------------

    def _address(self, address: Any, caller: str) -> Any:
        return addresses.to_c(address, self._family, self._handle, self._resolve, caller)

    def bind(self, address: SocketAddress, /) -> None:
        """Gives the socket its own address: see bind(2)."""
        self._handle.check(
            lib.ps_bind(self._handle.pointer, self._number, self._address(address, "bind"))
        )

    def listen(self, backlog: int = 128, /) -> None:
        """Takes connections: see listen(2). The sysctl "net.core.somaxconn" bounds `backlog`."""
        backlog = to_int(backlog)
        self._handle.check(lib.ps_listen(self._handle.pointer, self._number, max(0, backlog)))

    def connect(self, address: SocketAddress, /) -> None:
        """Connects: see connect(2). Waits for the handshake as long as the timeout allows."""
        code = self._connect(self._address(address, "connect"))
        if code == errno.EAGAIN:
            raise TimeoutError("timed out")
        if code:
            raise OSError(code, os.strerror(code))

    def connect_ex(self, address: SocketAddress, /) -> int:
        """As `connect`, and returns the errno, or 0."""
        return self._connect(self._address(address, "connect_ex"))

    def _connect(self, where: Any) -> int:
        pointer, number = self._handle.pointer, self._number
        limit = self._open.send_timeout
        at_once = -1 if self._timeout is None and limit is None else 0
        result = lib.ps_connect(pointer, number, where, at_once)
        at_an_end = result not in (_EINPROGRESS, _EINTR) or self._timeout == 0
        if at_an_end or (result == _EINPROGRESS and at_once):  # the descriptor has O_NONBLOCK
            if self._handle.answers.raised is not None or result in STACK_ERRORS[1:]:
                self._handle.fail(result)
            return int(-result)
        try:
            self._wait(lib.PS_READY_WRITE, limit if self._timeout is None else self._timeout)
        except TimeoutError:
            return errno.EINPROGRESS if self._timeout is None else errno.EAGAIN
        if self._timeout is None:
            return int(-lib.ps_connect(pointer, number, where, 0))
        # With a timeout it is a connect in steps, whose end the kernel tells to the next connect.
        return self._take_error()

    def shutdown(self, how: int, /) -> None:
        """Ends one direction or both: see shutdown(2)."""
        how = to_int(how)
        self._handle.check(lib.ps_shutdown(self._handle.pointer, self._number, HOW.get(how, 0)))

    def close(self) -> None:
        """Closes the socket. With SO_LINGER, waits until the peer has everything: socket(7)."""
        number, self._number = self._number, -1
        if number < 0:
            return
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            self._open.forget()
            self._close_last(number)
        elif descriptor.let_go():
            self._close_last(number)

    def _close_last(self, number: int) -> None:
        pointer = self._handle.pointer
        result = 1
        try:
            if self._type == _STREAM and self._timeout != 0:
                result = lib.ps_close_unless_lingering(pointer, number)
                if result == 1:
                    self._linger(number)
        finally:
            if result == 1:
                result = lib.ps_close(pointer, number)
            # A Stack that is gone, lost or not ours any more has closed it before.
            if result < 0 and result not in STACK_ERRORS:
                self._handle.fail(result)

    def _linger(self, number: int) -> None:
        pointer = self._handle.pointer
        seconds = ffi.new("int64_t *")
        if lib.ps_option_get(pointer, number, lib.PS_OPT_LINGER, seconds) < 0 or seconds[0] <= 0:
            return
        if lib.ps_shutdown(pointer, number, lib.PS_SHUT_WRITE) < 0:
            return  # not connected: nothing to wait for
        try:
            self._repeat(
                lambda timeout_us: lib.ps_wait(pointer, number, lib.PS_READY_DRAINED, timeout_us),
                float(seconds[0]),
            )
        except TimeoutError:
            return  # as the kernel: close() succeeds, and the rest goes on in the background

    # --- sending ---------------------------------------------------------------------------

    def send(self, data: Buffer, flags: int = 0, /) -> int:
        """Sends some of `data`, which is copied: see send(2). Returns how many bytes."""
        return self._send(data, flags, _NULL)

    def sendto(self, data: Buffer, *arguments: Any) -> int:
        """Sends a datagram: `sendto(data, address)` or `sendto(data, flags, address)`."""
        if len(arguments) not in (1, 2):
            raise TypeError(f"sendto() takes 2 or 3 arguments ({len(arguments) + 1} given)")
        flags = to_int(arguments[0]) if len(arguments) == 2 else NO_FLAGS
        address = arguments[-1]
        last = self._sent_to  # most datagrams of a socket go where the one before went
        # 80 == 80.0, which is no port.
        if last is not None and last[0] == address and type(address[1]) is int:
            return self._send(data, flags, last[1])
        to = addresses.literal(address, self._family)
        if to is not None:
            self._sent_to = (address, to)
        else:
            to = self._address(address, "sendto")
        return self._send(data, flags, to)

    def _send(self, data: Buffer, flags: int, to: Any) -> int:
        if type(data) is bytes and data and flags is NO_FLAGS:  # cffi passes them as they are
            handle = self._handle
            limit = self._open.send_timeout
            at_once = -1 if self._timeout is None and limit is None else 0
            sent = lib.ps_send_plain(handle.pointer, self._number, data, len(data), to, at_once)
            if sent >= 0 and handle.answers.raised is None:
                return int(sent)
            return self._sent_plain(sent, data, len(data), to)
        flags = to_int(flags)
        with readable(data) as source:
            if not len(source):
                self._wait_to_send_nothing()
            if not flags:
                return self._sent_plain(_EINTR, source, len(source), to)
            piece = ffi.new("struct ps_piece[1]")
            piece[0].base = source
            piece[0].size = len(source)
            return self._send_pieces(piece, 1, flags, to, ffi.NULL)

    def _wait_to_send_nothing(self) -> None:
        """CPython waits for room whatever is to be sent, if the socket has a timeout."""
        if self._timeout:
            self._wait(lib.PS_READY_WRITE, self._timeout)

    def _sent_plain(self, result: int, source: Any, size: int, to: Any) -> int:
        """Goes on with a call that said `result`."""
        pointer, number = self._handle.pointer, self._number
        return self._settle(
            result,
            lambda timeout_us: lib.ps_send_plain(pointer, number, source, size, to, timeout_us),
            self._open.send_timeout,
            lib.PS_READY_WRITE,
        )

    def _send_pieces(self, pieces: Any, count: int, flags: int, to: Any, control: Any) -> int:
        if flags & MSG_FASTOPEN and self._type == _STREAM:
            self._connect_to_send(flags, to)
        pointer, number = self._handle.pointer, self._number
        c_flags = flags_to_c(flags)
        return self._repeat(
            lambda timeout_us: lib.ps_send(
                pointer, number, pieces, count, c_flags, to, control, timeout_us
            ),
            self._timeout_of(flags),
            self._open.send_timeout,
            lib.PS_READY_WRITE,
        )

    def _connect_to_send(self, flags: int, to: Any) -> None:
        """MSG_FASTOPEN where there is no cookie, as here: data waits for the handshake (Linux)."""
        if not to:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if self._timeout_of(flags) is None:
            code = self._connect(to)
        else:
            code = -lib.ps_connect(self._handle.pointer, self._number, to, 0)
        if code:
            self._handle.fail(-code)

    def sendall(self, data: Buffer, flags: int = 0, /) -> None:
        """Sends all of `data`, which is copied; after an error it is unknown how much went.

        Raises:
            TimeoutError: The timeout holds for the whole of it.
        """
        if type(data) is bytes and data and flags is NO_FLAGS:
            done = self._send_what_fits(data)
            if done < len(data):
                with readable(data) as source:
                    self._send_rest(source, done, 0)
            return
        flags = to_int(flags)
        with readable(data) as source:
            if not len(source):
                self._send(data, flags, _NULL)
                return
            done = 0 if flags else self._send_what_fits(source)
            if done < len(source):
                self._send_rest(source, done, flags)

    def _send_what_fits(self, source: Any) -> int:
        """As much as there is room for now; 0: there is none."""
        handle = self._handle
        done = lib.ps_send_plain(handle.pointer, self._number, source, len(source), ffi.NULL, 0)
        if done in (_EAGAIN, _EPIPE) and self._timeout != 0:
            return 0  # or it is in no state to send, which is told when CPython would tell it
        if done < 0 or handle.answers.raised is not None:
            handle.fail(done)
        return max(int(done), 0)

    def _send_rest(self, source: Any, done: int, flags: int) -> None:
        pointer, number, size = self._handle.pointer, self._number, len(source)
        sent = ffi.new("size_t *")
        c_flags = flags_to_c(flags)

        def send_rest(timeout_us: int) -> int:
            nonlocal done
            result = lib.ps_send_all(
                pointer, number, source + done, size - done, c_flags, timeout_us, sent
            )
            done += sent[0]
            return int(result)

        while done < size:
            before = done
            try:
                self._repeat(
                    send_rest, self._timeout_of(flags), self._open.send_timeout, lib.PS_READY_WRITE
                )
            except BlockingIOError:
                # SO_SNDTIMEO is for each call of send(2), which says how much went.
                if self._timeout is not None or done == before:
                    raise

    # --- names, options, timeouts ----------------------------------------------------------

    def getsockname(self) -> SocketAddress:
        """The socket's own address: see getsockname(2)."""
        return self._name(lib.PS_NAME_LOCAL)

    def getpeername(self) -> SocketAddress:
        """The peer's address: see getpeername(2)."""
        return self._name(lib.PS_NAME_REMOTE)

    def _name(self, which: int) -> SocketAddress:
        out = ffi.new("struct ps_address *")
        self._handle.check(lib.ps_name(self._handle.pointer, self._number, which, out))
        return addresses.from_c(out, self._family)

    def setsockopt(
        self, level: int, optname: int, value: Any, optlen: int | None = None, /
    ) -> None:
        """Sets an option: see socket(7), ip(7), ipv6(7), tcp(7).

        Raises:
            OSError: ENOPROTOOPT, there is no such option here.
        """
        options.set_option(self, level, optname, value, optlen)

    def getsockopt(self, level: int, optname: int, buflen: int = 0, /) -> Any:
        """Gets an option: an int, or bytes when `buflen` is not 0.

        Raises:
            OSError: ENOPROTOOPT, there is no such option here.
        """
        return options.get_option(self, level, optname, buflen)

    def settimeout(self, timeout: float | None, /) -> None:
        """Sets how long calls may wait, in seconds; None: for ever, 0: not at all."""
        self._timeout = to_timeout(timeout)
        if self._number < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if self._descriptor is not None:
            os.set_blocking(self._descriptor.fd, timeout is None)

    def gettimeout(self) -> float | None:
        """How long calls may wait, in seconds."""
        return self._timeout

    def setblocking(self, flag: bool, /) -> None:
        """`settimeout(None)` or `settimeout(0)`."""
        self.settimeout(None if to_size(flag) else 0.0)

    def getblocking(self) -> bool:
        """Whether the timeout is not 0."""
        return self._timeout != 0

    @property
    def timeout(self) -> float | None:
        """As `gettimeout`."""
        return self._timeout

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""
        return self._family

    @property
    def type(self) -> int:
        """SOCK_STREAM, SOCK_DGRAM or SOCK_RAW."""
        return self._type

    @property
    def proto(self) -> int:
        """The protocol's number as it was asked for."""
        return self._proto

    def fileno(self) -> int:
        """A descriptor whose readiness is the socket's, for select, poll and epoll; closed: -1.

        Made when first asked for, closed with the socket.
        """
        if self._descriptor is None:
            if self._number < 0:
                return -1
            self._descriptor = descriptors.show(self._open, blocking=self._timeout is None)
        return self._descriptor.fd

    def detach(self) -> int:
        """Gives the socket up without closing it.

        Returns:
            A descriptor that stands for it: make a socket of it again with
            ``socket(fileno=...)``, in this process. The connection ends when it, and all that were
            made of it by dup(2) and the like, are closed.
        """
        self.fileno()
        descriptor, self._descriptor = self._descriptor, None
        self._number = -1
        return -1 if descriptor is None else descriptor.release()
