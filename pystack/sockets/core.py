"""A socket of a Stack with the methods that CPython writes in C, as in the module `_socket`.

Rules: a call that the engine can't do at once waits in C with the GIL released, as often as it
takes; after a signal, and every half second, it comes back here so that Python runs its
handlers. errno values come from the engine as the kernel would give them.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pystack._native import StackHandle, ending, ffi, lib
from pystack.sockets import address as addresses
from pystack.sockets import descriptors, options
from pystack.sockets.accepting import AcceptingSocket
from pystack.sockets.address import SocketAddress
from pystack.sockets.arguments import (
    HOW,
    MSG_DONTWAIT,
    MSG_FASTOPEN,
    NO_FLAGS,
    TYPES,
    TYPES_END,
    flags_to_c,
    readable,
    to_descriptor,
    to_int,
    to_size,
    to_timeout,
)
from pystack.sockets.descriptors import STACK_ERRORS, Descriptor, OpenSocket

if TYPE_CHECKING:
    from typing_extensions import Buffer

_STREAM, _SEQPACKET = int(socket.SOCK_STREAM), int(socket.SOCK_SEQPACKET)
_SOL, _SO_PROTOCOL = int(socket.SOL_SOCKET), getattr(socket, "SO_PROTOCOL", 38)

# Linux has names for protocols beyond those that fit into IP's header.
_PROTOCOLS, _PROTOCOLS_END = 256, 263
_LINUX_PROTOCOLS = (132, 262)
_OF_LINUX = {errno.EPROTONOSUPPORT: 'of the engines "linux" alone has SCTP (132) and MPTCP (262)'}
_NO_WORDS: dict[int, str] = {}

SOCK_NONBLOCK = getattr(socket, "SOCK_NONBLOCK", 0)
SOCK_CLOEXEC = getattr(socket, "SOCK_CLOEXEC", 0)
_KIND_FLAGS = SOCK_NONBLOCK | SOCK_CLOEXEC

# What a connect may end with and is no errno of connect(2).
_NOT_CONNECTS = (*STACK_ERRORS[1:], -lib.PS_STALLED, -lib.PS_CARRIED)
_EAGAIN, _EINTR, _EINPROGRESS = -errno.EAGAIN, -errno.EINTR, -errno.EINPROGRESS
_EPIPE, _EBADF = -errno.EPIPE, -errno.EBADF

_NULL = ffi.NULL


class CoreSocket(AcceptingSocket):
    """See the module; `pystack.sockets.Socket` completes it.

    Several threads may use one socket, as they may a kernel's.
    """

    __slots__ = ("_ps_sent_to",)

    # The class of a Stack's own sockets has these (pystack.sockets.module).
    _ps_stack_handle: StackHandle | None = None
    _ps_resolve: Callable[[str, int], str]

    def __init__(
        self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
    ) -> None:
        self._ps_number = -1
        handle = self._ps_stack_handle
        if handle is None:
            raise TypeError("sockets are made by a Stack: stack.socket(...), stack.sockets.socket")
        self._ps_handle = handle
        if fileno is not None:
            # As socket.socket: the caller's word about the descriptor is taken.
            said = (to_int(family), to_int(type), to_int(proto))
            self._ps_take(fileno)
            protocol = int(options.get_option(self, _SOL, _SO_PROTOCOL, 0))
            self._ps_said = (
                self._ps_family if said[0] == -1 else said[0],
                self._ps_type if said[1] == -1 else said[1] & ~_KIND_FLAGS,
                protocol if said[2] == -1 else said[2],
            )
            if said[1] != -1 and said[1] & SOCK_NONBLOCK:
                self._ps_timeout = 0.0
            return
        family = int(socket.AF_INET) if family == -1 else to_int(family)
        kind = int(socket.SOCK_STREAM) if type == -1 else to_int(type)
        proto = 0 if proto == -1 else to_int(proto)
        if family not in addresses.FAMILIES:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        plain = kind & ~_KIND_FLAGS
        if not 0 <= plain < TYPES_END:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if plain not in TYPES:
            raise OSError(errno.ESOCKTNOSUPPORT, os.strerror(errno.ESOCKTNOSUPPORT))
        made = lib.ps_socket(handle.pointer, addresses.FAMILIES[family], TYPES[plain], proto)
        number = handle.made(made)
        if number == -errno.EINVAL and _PROTOCOLS <= proto < _PROTOCOLS_END:
            number = -errno.EPROTONOSUPPORT
        handle.check(number, _OF_LINUX if proto in _LINUX_PROTOCOLS else _NO_WORDS)
        timeout = 0.0 if kind & SOCK_NONBLOCK else socket.getdefaulttimeout()
        self._ps_adopt(OpenSocket(handle, number, family, plain, proto), timeout)

    def _ps_adopt(
        self, opened: OpenSocket, timeout: float | None, descriptor: Descriptor | None = None
    ) -> None:
        self._ps_open = opened
        self._ps_handle = opened.handle
        self._ps_number = opened.number
        self._ps_family = opened.family
        self._ps_type = opened.type
        self._ps_said = (opened.family, opened.type, opened.proto)
        self._ps_timeout = timeout
        self._ps_sent_to: tuple[SocketAddress, Any] | None = None
        self._ps_descriptor = descriptor
        if descriptor is not None:
            descriptor.hold(self)

    def _ps_move(self) -> None:
        """Becomes what its descriptor stands for since another was copied over it (dup2(2))."""
        assert self._ps_descriptor is not None
        found = descriptors.adopt(self._ps_descriptor.fd)
        assert found is not None
        said = self._ps_said  # stays as it was, as with socket.socket
        self._ps_adopt(found[0], self._ps_timeout, found[1])
        self._ps_said = said

    def _ps_take(self, fileno: int) -> None:
        """Becomes what a detached descriptor stands for."""
        found = descriptors.adopt(to_descriptor(fileno))
        if found is None:
            raise OSError(errno.EBADF, "not a descriptor of a Stack's socket")
        opened, descriptor = found
        timeout = socket.getdefaulttimeout()
        if timeout is not None:
            descriptor.set_blocking(False)
        self._ps_adopt(opened, timeout, descriptor)

    def __del__(self) -> None:
        # Nothing is freed here: what was open is closed when nothing refers to it any more.
        if getattr(self, "_ps_number", -1) >= 0 and not self._ps_handle.closed:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)

    # --- connections -----------------------------------------------------------------------

    def _ps_address(self, address: Any, caller: str) -> Any:
        return addresses.to_c(address, self._ps_said[0], self._ps_handle, self._ps_resolve, caller)

    def bind(self, address: SocketAddress, /) -> None:
        """Sets the local address: see bind(2)."""
        self._ps_handle.check(
            lib.ps_bind(self._ps_handle.pointer, self._ps_number, self._ps_address(address, "bind"))
        )

    def listen(self, backlog: int = 128, /) -> None:
        """Accepts connections: see listen(2). The sysctl "net.core.somaxconn" bounds `backlog`."""
        backlog = to_int(backlog)
        self._ps_handle.check(
            lib.ps_listen(self._ps_handle.pointer, self._ps_number, max(0, backlog))
        )

    def connect(self, address: SocketAddress, /) -> None:
        """Connects: see connect(2). Waits for the handshake as long as the timeout allows."""
        code = self._ps_connect(self._ps_address(address, "connect"))
        if code == errno.EAGAIN:
            raise TimeoutError("timed out")
        if code:
            raise OSError(code, os.strerror(code))

    def connect_ex(self, address: SocketAddress, /) -> int:
        """As `connect`, and returns the errno, or 0."""
        try:
            where = self._ps_address(address, "connect_ex")
        except OSError as error:
            if error.errno in addresses.REFUSALS:
                return error.errno
            raise
        return self._ps_connect(where)

    def _ps_connect(self, where: Any) -> int:
        pointer, number = self._ps_handle.pointer, self._ps_number
        limit = self._ps_open.send_timeout
        at_once = -1 if self._ps_timeout is None and limit is None else 0
        result = lib.ps_connect(pointer, number, where, at_once)
        at_an_end = result not in (_EINPROGRESS, _EINTR) or self._ps_timeout == 0
        if at_an_end or (result == _EINPROGRESS and at_once):  # the descriptor has O_NONBLOCK
            if self._ps_handle.answers.raised is not None or result in _NOT_CONNECTS:
                self._ps_handle.fail(result)
            if result == _EBADF:
                self._ps_handle.end_thread_if_lost()
                ending.stay_if_over()
            return int(-result)
        try:
            self._ps_wait(
                lib.PS_READY_WRITE, limit if self._ps_timeout is None else self._ps_timeout
            )
        except TimeoutError:
            return errno.EINPROGRESS if self._ps_timeout is None else errno.EAGAIN
        if self._ps_timeout is None:
            return int(-lib.ps_connect(pointer, number, where, 0))
        # With a timeout connect goes in steps; the kernel reports the end to the next connect.
        return self._ps_take_error()

    def shutdown(self, how: int, /) -> None:
        """Ends one direction or both: see shutdown(2)."""
        how = to_int(how)
        self._ps_handle.check(
            lib.ps_shutdown(self._ps_handle.pointer, self._ps_number, HOW.get(how, 0))
        )

    def close(self) -> None:
        """Closes the socket. With SO_LINGER, waits until the peer has everything: socket(7)."""
        number, descriptor = self._ps_give_up()
        if number < 0:
            return
        if descriptor is None:
            self._ps_open.forget()
            self._ps_close_last(number)
        elif descriptor.let_go():
            self._ps_close_last(number)

    def _ps_close_last(self, number: int) -> None:
        pointer = self._ps_handle.pointer
        result = 1
        try:
            if self._ps_type in (_STREAM, _SEQPACKET) and self._ps_timeout != 0:
                result = lib.ps_close_unless_lingering(pointer, number)
                if result == 1:
                    self._ps_linger(number)
        finally:
            if result == 1:
                result = lib.ps_close(pointer, number)
            # A Stack that is gone, lost or not ours any more has closed it before.
            if result < 0 and result not in STACK_ERRORS:
                self._ps_handle.fail(result)

    def _ps_linger(self, number: int) -> None:
        pointer = self._ps_handle.pointer
        seconds = ffi.new("int64_t *")
        if lib.ps_option_get(pointer, number, lib.PS_OPT_LINGER, seconds) < 0 or seconds[0] <= 0:
            return
        if lib.ps_shutdown(pointer, number, lib.PS_SHUT_WRITE) < 0:
            return  # not connected: nothing to wait for
        try:
            self._ps_repeat(
                lambda timeout_us: lib.ps_wait(pointer, number, lib.PS_READY_DRAINED, timeout_us),
                float(seconds[0]),
            )
        except TimeoutError:
            return  # as the kernel: close() succeeds, and the rest goes on in the background

    # --- sending ---------------------------------------------------------------------------

    def sendto(self, data: Buffer, *arguments: Any) -> int:
        """Sends a datagram: `sendto(data, address)` or `sendto(data, flags, address)`."""
        if len(arguments) not in (1, 2):
            raise TypeError(f"sendto() takes 2 or 3 arguments ({len(arguments) + 1} given)")
        flags = to_int(arguments[0]) if len(arguments) == 2 else NO_FLAGS
        address = arguments[-1]
        last = self._ps_sent_to  # most datagrams go where the previous one went
        # 80 == 80.0, which is no port.
        if last is not None and last[0] == address and type(address[1]) is int:
            return self._ps_send(data, flags, last[1])
        to = addresses.literal(address, self._ps_said[0])
        if to is not None:
            self._ps_sent_to = (address, to)
        else:
            to = self._ps_address(address, "sendto")
        return self._ps_send(data, flags, to)

    def _ps_send_on(self, data: bytes, result: int, /) -> int:
        """Goes on with a `send` without flags that said `result`."""
        return self._ps_sent_plain(result, data, len(data), _NULL)

    def _ps_send(self, data: Buffer, flags: int = 0, to: Any = _NULL) -> int:
        """`send` with whatever arguments, and `sendto`."""
        if type(data) is bytes and data and flags is NO_FLAGS:  # cffi passes them as they are
            handle = self._ps_handle
            limit = self._ps_open.send_timeout
            at_once = -1 if self._ps_timeout is None and limit is None else 0
            sent = lib.ps_send_plain(handle.pointer, self._ps_number, data, len(data), to, at_once)
            if sent >= 0 and handle.answers.raised is None:
                return int(sent)
            return self._ps_sent_plain(sent, data, len(data), to, at_once)
        flags = to_int(flags)
        with readable(data) as source:
            if not len(source):
                self._ps_wait_to_send_nothing()
            if not flags:
                return self._ps_sent_plain(_EINTR, source, len(source), to)
            piece = ffi.new("struct ps_piece[1]")
            piece[0].base = source
            piece[0].size = len(source)
            return self._ps_send_pieces(piece, 1, flags, to, ffi.NULL)

    def _ps_wait_to_send_nothing(self) -> None:
        """CPython waits for room whatever is to be sent, if the socket has a timeout."""
        if self._ps_timeout:
            self._ps_wait(lib.PS_READY_WRITE, self._ps_timeout)

    def _ps_sent_plain(self, result: int, source: Any, size: int, to: Any, at_once: int = 0) -> int:
        """Continues a call that returned `result`."""
        pointer, number = self._ps_handle.pointer, self._ps_number
        return self._ps_settle(
            result,
            lambda timeout_us: lib.ps_send_plain(pointer, number, source, size, to, timeout_us),
            self._ps_open.send_timeout,
            lib.PS_READY_WRITE,
            at_once,
        )

    def _ps_send_pieces(self, pieces: Any, count: int, flags: int, to: Any, control: Any) -> int:
        if flags & MSG_FASTOPEN and self._ps_type == _STREAM:
            self._ps_connect_to_send(flags, to)
        pointer, number = self._ps_handle.pointer, self._ps_number
        c_flags = flags_to_c(flags)
        return self._ps_repeat(
            lambda timeout_us: lib.ps_send(
                pointer, number, pieces, count, c_flags, to, control, timeout_us
            ),
            self._ps_timeout_of(flags),
            self._ps_open.send_timeout,
            lib.PS_READY_WRITE,
        )

    def _ps_connect_to_send(self, flags: int, to: Any) -> None:
        """MSG_FASTOPEN where there is no cookie, as here: data waits for the handshake (Linux)."""
        if not to:  # the peer, if there is one, as Linux's connect would say
            to = ffi.new("struct ps_address *")
            if lib.ps_name(self._ps_handle.pointer, self._ps_number, lib.PS_NAME_REMOTE, to) < 0:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if self._ps_timeout_of(flags) is None:
            code = self._ps_connect(to)
        else:
            code = -lib.ps_connect(self._ps_handle.pointer, self._ps_number, to, 0)
        if code:
            self._ps_handle.fail(-code)

    def _ps_sendall_on(self, data: bytes, result: int, done: int, /) -> None:
        """Goes on with a `sendall` without flags that said `result` after `done` bytes."""
        waits = result in (_EAGAIN, _EINTR, _EPIPE) and (done > 0 or self._ps_may_wait())
        if not waits:
            self._ps_handle.fail(result)
        if done < len(data):
            with readable(data) as source:
                self._ps_send_rest(source, done, 0)

    def _ps_sendall(self, data: Buffer, flags: int = 0, /) -> None:
        """`sendall` with whatever arguments."""
        flags = to_int(flags)
        with readable(data) as source:
            if not len(source):
                self._ps_send(data, flags, _NULL)
                return
            done = 0 if flags else self._ps_send_what_fits(source)
            if done < len(source):
                self._ps_send_rest(source, done, flags)

    def _ps_send_what_fits(self, source: Any) -> int:
        """Sends as much as there is room for now; 0: no room."""
        handle = self._ps_handle
        done = lib.ps_send_plain(handle.pointer, self._ps_number, source, len(source), ffi.NULL, 0)
        if done in (_EAGAIN, _EPIPE) and self._ps_may_wait():
            return 0  # or it can't send in this state, which is reported when CPython would
        if done < 0 or handle.answers.raised is not None:
            handle.fail(done)
        return max(int(done), 0)

    def _ps_may_wait(self) -> bool:
        """Whether the timeout lets a call wait, or the descriptor does though it is 0."""
        return self._ps_timeout != 0 or self._ps_file_waits()

    def _ps_send_rest(self, source: Any, done: int, flags: int) -> None:
        pointer, number, size = self._ps_handle.pointer, self._ps_number, len(source)
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
            timeout = self._ps_timeout_of(flags)
            if timeout == 0 and not flags & MSG_DONTWAIT and self._ps_may_wait():
                timeout = None
            try:
                self._ps_repeat(send_rest, timeout, self._ps_open.send_timeout, lib.PS_READY_WRITE)
            except BlockingIOError:
                # SO_SNDTIMEO applies to each send(2), which says how much was sent.
                if self._ps_timeout is not None or done == before:
                    raise

    # --- names, options, timeouts ----------------------------------------------------------

    def getsockname(self) -> SocketAddress:
        """The socket's own address: see getsockname(2)."""
        return self._ps_name(lib.PS_NAME_LOCAL)

    def getpeername(self) -> SocketAddress:
        """The peer's address: see getpeername(2)."""
        return self._ps_name(lib.PS_NAME_REMOTE)

    def _ps_name(self, which: int) -> SocketAddress:
        self._ps_need_known_family()
        out = ffi.new("struct ps_address *")
        self._ps_handle.check(lib.ps_name(self._ps_handle.pointer, self._ps_number, which, out))
        return self._ps_peer(out)

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
        self._ps_set_timeout(to_timeout(timeout))

    def _ps_set_timeout(self, timeout: float | None) -> None:
        self._ps_timeout = timeout
        if self._ps_number < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if self._ps_descriptor is not None:
            self._ps_descriptor.set_blocking(timeout is None)

    def gettimeout(self) -> float | None:
        """How long calls may wait, in seconds."""
        return self._ps_timeout

    def setblocking(self, flag: bool, /) -> None:
        """`settimeout(None)` or `settimeout(0)`. Since Python 3.12 it takes any object."""
        is_blocking = flag if sys.version_info >= (3, 12) else to_size(flag)
        self._ps_set_timeout(None if is_blocking else 0.0)

    def getblocking(self) -> bool:
        """Whether the timeout is not 0."""
        return self._ps_timeout != 0

    @property
    def timeout(self) -> float | None:
        """As `gettimeout`."""
        return self._ps_timeout

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6; for `fileno=`, what the caller said."""
        return self._ps_said[0]

    @property
    def type(self) -> int:
        """SOCK_STREAM, SOCK_DGRAM or SOCK_RAW; for `fileno=`, what the caller said."""
        return self._ps_said[1]

    @property
    def proto(self) -> int:
        """The protocol's number, as requested."""
        return self._ps_said[2]

    def fileno(self) -> int:
        """A descriptor with the socket's readiness, for select, poll and epoll; -1 once closed.

        Made when first asked for, closed with the socket.

        Raises:
            OSError: EMFILE, ENFILE, there is no descriptor left, when it is made.
        """
        descriptor = self._ps_descriptor
        if descriptor is None:
            if self._ps_number < 0:
                return -1
            descriptor = self._ps_show()
        return -1 if descriptor is None else descriptor.fd

    def _ps_show(self) -> Descriptor | None:
        """Makes the descriptor. None: another thread has closed the socket meanwhile."""
        blocking = self._ps_timeout is None
        made = descriptors.show(self._ps_open, blocking=blocking)
        with descriptors.lock:
            if self._ps_descriptor is None and self._ps_number >= 0:
                self._ps_descriptor = made
                made.hold(self)
            descriptor = self._ps_descriptor
        if descriptor is not made:  # another thread was quicker
            with suppress(OSError):  # and may have closed the socket since
                made.let_go()
        elif blocking != (self._ps_timeout is None):
            made.set_blocking(not blocking)
        return descriptor

    def _ps_give_up(self) -> tuple[int, Descriptor | None]:
        """Takes the socket's handle and descriptor from this object; one thread alone gets them."""
        with descriptors.lock:
            number, self._ps_number = self._ps_number, -1
            descriptor, self._ps_descriptor = self._ps_descriptor, None
        return number, descriptor

    def detach(self) -> int:
        """Gives the socket up without closing it.

        Returns:
            A descriptor that stands for it: make a socket of it again with
            ``socket(fileno=...)``, in this process. The connection ends when it, and all that were
            made of it by dup(2) and the like, are closed.
        """
        CoreSocket.fileno(self)  # a class derived from it may have its own
        _number, descriptor = self._ps_give_up()
        return -1 if descriptor is None else descriptor.release()
