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

# ffi.new clears what it allocates; what recv is about to fill needs none of that.
_uncleared = ffi.new_allocator(should_clear_after_alloc=False)
_bytes = ffi.typeof("uint8_t[]")
_NULL = ffi.NULL


class ReceivingSocket(WaitingSocket):
    """See the module."""

    __slots__ = ("_ps_family", "_ps_said", "_ps_type")

    _ps_open: OpenSocket
    _ps_family: int
    _ps_type: int
    # Family, type and protocol as this object's creator gave them, right or wrong.
    _ps_said: tuple[int, int, int]

    def _ps_recv(self, size: int, flags: int = 0, /) -> bytes:
        """`recv`, with whatever arguments."""
        size, flags = to_size(size), to_int(flags)
        if size == 0:
            return b""
        return self._ps_receive_new(size, flags, _NULL, "recv")

    def _ps_recv_on(self, size: int | bytes, result: int, /) -> bytes:
        """Goes on with a `recv` without flags that said `result`; after data, with the data."""
        if isinstance(size, bytes):  # a hypercall has raised; perhaps another thread's call tells
            self._ps_handle.check(result)
            return size
        buffer = _uncleared(_bytes, size)
        got = self._ps_received_plain(result, buffer, size)
        return bytes(ffi.buffer(buffer, got))

    def recvfrom(self, size: int, flags: int = 0, /) -> tuple[bytes, SocketAddress | None]:
        """As `recv`, and where it came from."""
        size, flags = to_size(size), to_int(flags)
        message = ffi.new("struct ps_message *")
        data = self._ps_receive_new(size, flags, message, "recvfrom")
        return data, self._ps_sender(message)

    def _ps_receive_new(self, size: int, flags: int, message: Any, caller: str) -> bytes:
        if size < 0:
            raise ValueError(f"negative buffersize in {caller}")
        buffer = _uncleared(_bytes, size)
        got = self._ps_receive(buffer, size, flags, message)
        # MSG_TRUNC: as many as the datagram has, so that their number can be asked for; which
        # those beyond the size are, CPython doesn't say.
        return bytes(ffi.buffer(buffer, min(got, size))).ljust(got, b"\0")

    def _ps_recv_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> int:
        """`recv_into` with whatever arguments."""
        return self._ps_receive_into(buffer, nbytes, flags, ffi.NULL, "recv_into")

    _ps_recv_into.__qualname__ = "Socket.recv_into"  # what Python says of wrong arguments

    def _ps_recv_into_on(self, buffer: bytearray, result: int, /) -> int:
        """Goes on with a `recv_into` of a whole bytearray that said `result`."""
        with writable(buffer, "recv_into") as target:
            return self._ps_received_plain(result, target, len(target))

    def recvfrom_into(
        self, buffer: Buffer, nbytes: int = 0, flags: int = 0
    ) -> tuple[int, SocketAddress | None]:
        """As `recv_into`, and where it came from."""
        message = ffi.new("struct ps_message *")
        got = self._ps_receive_into(buffer, nbytes, flags, message, "recvfrom_into")
        return got, self._ps_sender(message)

    def _ps_receive_into(
        self, buffer: Buffer, nbytes: int, flags: int, message: Any, caller: str
    ) -> int:
        with writable(buffer, caller) as target:
            nbytes, flags = to_size(nbytes), to_int(flags)
            if nbytes < 0:
                raise ValueError(f"negative buffersize in {caller}")
            if nbytes > len(target):
                raise ValueError(
                    "buffer too small for requested bytes"
                    if caller == "recv_into"
                    else "nbytes is greater than the length of the buffer"
                )
            size = nbytes or len(target)
            if size == 0 and not message:
                return 0
            return self._ps_receive(target, size, flags, message)

    def _ps_receive(self, target: Any, size: int, flags: int, message: Any) -> int:
        if not flags and not message:
            return self._ps_receive_plain(target, size)
        piece = ffi.new("struct ps_piece[1]")
        piece[0].base = target
        piece[0].size = size
        return self._ps_receive_pieces(piece, 1, flags, message)

    def _ps_receive_plain(self, target: Any, size: int) -> int:
        handle, number = self._ps_handle, self._ps_number
        limit = self._ps_open.receive_timeout
        at_once = -1 if self._ps_timeout is None and limit is None else 0
        got = lib.ps_receive_plain(handle.pointer, number, target, size, at_once)
        if got >= 0 and handle.answers.raised is None:
            return int(got)
        return self._ps_received_plain(got, target, size, at_once)

    def _ps_received_plain(self, result: int, target: Any, size: int, at_once: int = 0) -> int:
        """Goes on with a call that said `result`."""
        pointer, number = self._ps_handle.pointer, self._ps_number
        return self._ps_settle(
            result,
            lambda timeout_us: lib.ps_receive_plain(pointer, number, target, size, timeout_us),
            self._ps_open.receive_timeout,
            lib.PS_READY_READ,
            at_once,
        )

    def _ps_receive_pieces(self, pieces: Any, count: int, flags: int, message: Any) -> int:
        if flags & MSG_ERRQUEUE:
            return self._ps_receive_error(pieces, count, message, ffi.NULL)
        if flags & socket.MSG_OOB and self._ps_type == _STREAM:
            # The call itself never waits for urgent data (recv(2)); CPython does, for any.
            if self._ps_timeout:
                self._ps_wait(lib.PS_READY_READ, self._ps_timeout)
            return self._ps_received(pieces, count, flags_to_c(flags), message, 0.0)
        timeout = self._ps_timeout_of(flags)
        # With a timeout the kernel's descriptor doesn't wait, and the flag says nothing.
        if flags & MSG_WAITALL and self._ps_type == _STREAM and timeout is None:
            return self._ps_receive_whole(pieces, count, flags_to_c(flags), message)
        return self._ps_received(pieces, count, flags_to_c(flags), message, timeout)

    def _ps_received(
        self, pieces: Any, count: int, c_flags: int, message: Any, timeout: float | None
    ) -> int:
        pointer, number = self._ps_handle.pointer, self._ps_number
        return self._ps_repeat(
            lambda timeout_us: lib.ps_receive(
                pointer, number, pieces, count, c_flags, message, timeout_us
            ),
            timeout,
            self._ps_open.receive_timeout,
            lib.PS_READY_READ,
        )

    def _ps_receive_whole(self, pieces: Any, count: int, c_flags: int, message: Any) -> int:
        """MSG_WAITALL: all of it; less at the stream's end, an error or urgent data after some."""
        if c_flags & lib.PS_MSG_PEEK:
            try:
                return self._ps_received(pieces, count, c_flags | WHOLE, message, None)
            except BlockingIOError:  # SO_RCVTIMEO is over
                return self._ps_received(pieces, count, c_flags, message, None)
        done = first = 0
        while first < count:
            try:
                got = self._ps_received(
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

    def _ps_sender(self, message: Any) -> SocketAddress | None:
        # A stream has no sender, nor has what wasn't sent: the module socket gives None.
        if self._ps_type == _STREAM:
            return None
        sender = getattr(message, "from")
        return self._ps_peer(sender) if sender.family else None

    def _ps_peer(self, address: Any) -> SocketAddress:
        """A `struct ps_address` as the module `socket` has it."""
        return addresses.from_c(address, self._ps_family)

    def _ps_need_known_family(self) -> None:
        """The module asks for no address in a family it doesn't know."""
        if self._ps_said[0] not in addresses.KNOWN:
            raise OSError("getsockaddrlen: bad family")
