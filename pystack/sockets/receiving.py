"""What of a socket receives: `recv` and its like; see `core`."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from pystack._native import ffi, lib
from pystack.sockets import address as addresses
from pystack.sockets.address import SocketAddress
from pystack.sockets.arguments import (
    MSG_ERRQUEUE,
    MSG_WAITALL,
    NO_FLAGS,
    REST,
    WHOLE,
    flags_to_c,
    to_int,
    to_size,
    writable,
)
from pystack.sockets.descriptors import OpenSocket
from pystack.sockets.waiting import WaitingSocket

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["ReceivingSocket"]

_STREAM = int(socket.SOCK_STREAM)
_LARGEST_RECV = (1 << 31) - 1

# ffi.new clears what it allocates; what recv is about to fill needs none of that.
_uncleared = ffi.new_allocator(should_clear_after_alloc=False)
_bytes = ffi.typeof("uint8_t[]")
_NULL = ffi.NULL


class ReceivingSocket(WaitingSocket):
    """See the module."""

    __slots__ = ("_family", "_open", "_type")

    _open: OpenSocket
    _family: int
    _type: int

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Up to `size` bytes, or one datagram's: see recv(2). b"" is the stream's end.

        A size of 0 asks nothing of the Stack, as CPython asks nothing of the kernel then: no error
        is told and no datagram taken. The same holds for `recv_into` an empty buffer.
        """
        if flags is not NO_FLAGS or type(size) is not int or not 0 < size <= _LARGEST_RECV:
            size, flags = to_size(size), to_int(flags)
            if size == 0:
                return b""
            buffer, got = self._receive_new(size, flags, _NULL, "recv")
            return bytes(ffi.buffer(buffer, min(got, size)))
        buffer = _uncleared(_bytes, size)
        data: bytes = ffi.buffer(buffer, self._receive_plain(buffer, size))[:]
        return data

    def recvfrom(self, size: int, flags: int = 0, /) -> tuple[bytes, SocketAddress | None]:
        """As `recv`, and where it came from."""
        size, flags = to_size(size), to_int(flags)
        message = ffi.new("struct ps_message *")
        buffer, got = self._receive_new(size, flags, message, "recvfrom")
        return bytes(ffi.buffer(buffer, min(got, size))), self._sender(message)

    def _receive_new(self, size: int, flags: int, message: Any, caller: str) -> tuple[Any, int]:
        if size < 0:
            raise ValueError(f"negative buffersize in {caller}")
        buffer = _uncleared(_bytes, size)
        return buffer, self._receive(buffer, size, flags, message)

    def recv_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> int:
        """As `recv` into a writable buffer: at most `nbytes`, or all of it. How many bytes."""
        return self._receive_into(buffer, nbytes, flags, ffi.NULL, "recv_into")

    def recvfrom_into(
        self, buffer: Buffer, nbytes: int = 0, flags: int = 0
    ) -> tuple[int, SocketAddress | None]:
        """As `recv_into`, and where it came from."""
        message = ffi.new("struct ps_message *")
        got = self._receive_into(buffer, nbytes, flags, message, "recvfrom_into")
        return got, self._sender(message)

    def _receive_into(
        self, buffer: Buffer, nbytes: int, flags: int, message: Any, caller: str
    ) -> int:
        with writable(buffer, caller) as target:
            nbytes, flags = to_size(nbytes), to_int(flags)
            if nbytes < 0:
                raise ValueError(f"negative buffersize in {caller}")
            if nbytes > len(target):
                raise ValueError("buffer too small for requested bytes")
            size = nbytes or len(target)
            if size == 0 and not message:
                return 0
            return self._receive(target, size, flags, message)

    def _receive(self, target: Any, size: int, flags: int, message: Any) -> int:
        if not flags and not message:
            return self._receive_plain(target, size)
        piece = ffi.new("struct ps_piece[1]")
        piece[0].base = target
        piece[0].size = size
        return self._receive_pieces(piece, 1, flags, message)

    def _receive_plain(self, target: Any, size: int) -> int:
        handle, number = self._handle, self._number
        limit = self._open.receive_timeout
        at_once = -1 if self._timeout is None and limit is None else 0
        got = lib.ps_receive_plain(handle.pointer, number, target, size, at_once)
        if got >= 0 and handle.answers.raised is None:
            return int(got)
        return self._settle(
            got,
            lambda timeout_us: lib.ps_receive_plain(
                handle.pointer, number, target, size, timeout_us
            ),
            limit,
            lib.PS_READY_READ,
        )

    def _receive_pieces(self, pieces: Any, count: int, flags: int, message: Any) -> int:
        if flags & MSG_ERRQUEUE:
            return self._receive_error(pieces, count, message, ffi.NULL)
        if flags & socket.MSG_OOB and self._type == _STREAM:
            # The call itself never waits for urgent data (recv(2)); CPython does, for any.
            if self._timeout:
                self._wait(lib.PS_READY_READ, self._timeout)
            return self._received(pieces, count, flags_to_c(flags), message, 0.0)
        timeout = self._timeout_of(flags)
        # With a timeout the kernel's descriptor doesn't wait, and the flag says nothing.
        if flags & MSG_WAITALL and self._type == _STREAM and timeout is None:
            return self._receive_whole(pieces, count, flags_to_c(flags), message)
        return self._received(pieces, count, flags_to_c(flags), message, timeout)

    def _received(
        self, pieces: Any, count: int, c_flags: int, message: Any, timeout: float | None
    ) -> int:
        pointer, number = self._handle.pointer, self._number
        return self._repeat(
            lambda timeout_us: lib.ps_receive(
                pointer, number, pieces, count, c_flags, message, timeout_us
            ),
            timeout,
            self._open.receive_timeout,
            lib.PS_READY_READ,
        )

    def _receive_whole(self, pieces: Any, count: int, c_flags: int, message: Any) -> int:
        """MSG_WAITALL: all of it; less at the stream's end, an error or urgent data after some."""
        if c_flags & lib.PS_MSG_PEEK:
            try:
                return self._received(pieces, count, c_flags | WHOLE, message, None)
            except BlockingIOError:  # SO_RCVTIMEO is over
                return self._received(pieces, count, c_flags, message, None)
        done = first = 0
        while first < count:
            try:
                got = self._received(
                    pieces + first, count - first, c_flags | (REST if done else 0), message, None
                )
            except BlockingIOError:  # SO_RCVTIMEO is over
                if done:
                    break
                raise
            if got == 0:
                break
            done += got
            while first < count and got >= pieces[first].size:
                got -= pieces[first].size
                first += 1
            if first < count:
                pieces[first].base += got
                pieces[first].size -= got
        return done

    def _sender(self, message: Any) -> SocketAddress | None:
        # A stream has no sender, nor has what wasn't sent: the module socket gives None.
        if self._type == _STREAM:
            return None
        sender = getattr(message, "from")
        return addresses.from_c(sender, self._family) if sender.family else None
