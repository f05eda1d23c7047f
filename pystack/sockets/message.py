"""`sendmsg` and `recvmsg`.

Linux's layouts of ancillary data that is sent: `IP_PKTINFO`, `IP_TTL`, `IP_TOS`, `IPV6_PKTINFO`,
`IPV6_HOPLIMIT`, `IPV6_TCLASS`, `IPV6_DONTFRAG`, `UDP_SEGMENT`; what is received:
`pystack.sockets.ancillary`. An engine that takes any option takes any of Linux's.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from pystack._native import ffi, lib
from pystack._native.address import packed
from pystack.sockets import ancillary, options
from pystack.sockets.address import SocketAddress
from pystack.sockets.ancillary import (
    IP_TOS,
    IP_TTL,
    IPV6_HOPLIMIT,
    IPV6_PKTINFO,
    IPV6_TCLASS,
    MAPPED,
    Item,
)
from pystack.sockets.arguments import MSG_ERRQUEUE, readable, to_int, to_size, writable
from pystack.sockets.core import CoreSocket
from pystack.sockets.options import IP, IPV6

if TYPE_CHECKING:
    from typing_extensions import Buffer

_LARGEST_ANCILLARY = (1 << 31) - 1
# IOV_MAX of sendmsg(2).
_MOST_PIECES = 1024

# MSG_NOTIFICATION (linux/sctp.h) has the number of MSG_MORE.
_TOLD = {
    int(lib.PS_MSG_TRUNC): int(socket.MSG_TRUNC),
    int(lib.PS_MSG_CTRUNC): int(socket.MSG_CTRUNC),
    int(lib.PS_MSG_EOR): int(socket.MSG_EOR),
    int(lib.PS_MSG_NOTIFICATION): 0x8000,
}

_MARK = (options.SOL, 36)
# SCM_RIGHTS and SCM_CREDENTIALS, which say something to AF_UNIX alone.
_IGNORED = ((options.SOL, 1), (options.SOL, 2))


class MessageSocket(CoreSocket):
    """`CoreSocket` with scattered buffers and ancillary data."""

    __slots__ = ()

    def sendmsg(
        self,
        buffers: Iterable[Buffer],
        ancdata: Iterable[Any] = (),
        flags: int = 0,
        address: SocketAddress | None = None,
        /,
    ) -> int:
        """Sends the buffers joined, as a copy: see sendmsg(2). Returns how many bytes were sent.

        Args:
            buffers: The data.
            ancdata: `(level, type, data)`: the source address, interface, TTL or TOS of a
                datagram, or the size of those it is to be cut into (udp(7), UDP_SEGMENT).
            flags: MSG_*.
            address: Where to; None: where the socket is connected to.

        Raises:
            OSError: EINVAL, ancillary data that is not of these kinds; EMSGSIZE.
        """
        flags = to_int(flags)
        to = ffi.NULL if address is None else self._ps_address(address, "sendmsg")
        control = self._ps_control(list(ancdata), to)
        with ExitStack() as views:
            sources = [views.enter_context(readable(buffer)) for buffer in buffers]
            if len(sources) > _MOST_PIECES and self._ps_number >= 0:
                raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
            pieces = ffi.new("struct ps_piece[]", max(len(sources), 1))
            for position, source in enumerate(sources):
                pieces[position].base = source
                pieces[position].size = len(source)
            if not any(map(len, sources)):
                self._ps_wait_to_send_nothing()
            return self._ps_send_pieces(pieces, len(sources), flags, to, control)

    def _ps_control(self, ancdata: list[Any], to: Any) -> Any:
        if not ancdata:
            return ffi.NULL
        out = ffi.new("struct ps_send_control *")
        out.ttl = out.tos = out.segment_size = out.dont_fragment = -1
        items = []
        for entry in ancdata:
            if not isinstance(entry, (tuple, list)) or len(entry) != 3:
                raise TypeError("[sendmsg() ancillary data items]: expected a tuple of length 3")
            with memoryview(entry[2]) as view:
                items.append(((to_int(entry[0]), to_int(entry[1])), view.tobytes()))
        if self._ps_number >= 0 and self._ps_handle.takes_any_option(self._ps_number):
            return self._ps_raw_control(out, ancillary.laid_out(items))
        own = self._ps_own_level(to)
        for key, data in items:
            # Linux looks at what is of the packet's own version, and of a stream at nothing else.
            mapped = key == (IPV6, IPV6_PKTINFO) and self._ps_family == socket.AF_INET6
            if key[0] != options.SOL and (
                self._ps_type == socket.SOCK_STREAM
                or (key[0] in (IP, IPV6) and key[0] != own and not mapped)
            ):
                continue
            try:
                self._ps_control_one(out, key, data, own)
            except struct.error:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL)) from None
        return out

    @staticmethod
    def _ps_raw_control(out: Any, data: bytes) -> Any:
        """All of it as it is, for an engine that knows what Linux knows."""
        if len(data) > lib.PS_ANCILLARY_SIZE:
            raise OSError(
                errno.ENOBUFS,
                f"{len(data)} bytes of ancillary data, {lib.PS_ANCILLARY_SIZE} at most",
            )
        out.ancillary_bytes = len(data)
        ffi.memmove(out.ancillary, data, len(data))
        return out

    def _ps_control_one(self, out: Any, key: tuple[int, int], data: bytes, own: int) -> None:
        if key == (IP, options.IP_PKTINFO):
            interface, source, _destination = struct.unpack("i4s4s", data)
            self._ps_source(out, interface, source, lib.PS_INET)
        elif key == (IPV6, IPV6_PKTINFO):
            source, interface = struct.unpack_from("16sI", data)
            if own == IPV6:
                self._ps_source(out, interface, source, lib.PS_INET6)
            elif source.startswith(MAPPED):
                self._ps_source(out, interface, source[len(MAPPED) :], lib.PS_INET)
            else:
                raise OSError(errno.EINVAL, "an IPv6 source address, and an IPv4 destination")
        elif key in ((IP, IP_TTL), (IPV6, IPV6_HOPLIMIT)):
            out.ttl = self._ps_byte(data, 1 if key[0] == IP else -1)
        elif key in ((IP, IP_TOS), (IPV6, IPV6_TCLASS)):
            one = len(data) == 1 and key[0] == IP
            out.tos = data[0] if one else self._ps_byte(data, 0 if key[0] == IP else -1)
        elif key == (IPV6, options.IPV6_DONTFRAG):
            out.dont_fragment = self._ps_flag(data)
        elif key == _MARK:  # changes nothing here, as the option
            struct.unpack("I", data)
        elif key == (options.UDP, options.UDP_SEGMENT):
            out.segment_size = struct.unpack("H", data)[0]
        elif key[0] in (options.SOL, own, options.UDP) and key not in _IGNORED:
            raise OSError(errno.EINVAL, f"no ancillary data of level {key[0]}, type {key[1]} here")

    def _ps_own_level(self, to: Any) -> int:
        """That of the packets that go to `to`, or to where the socket is connected to."""
        if self._ps_family == socket.AF_INET:
            return IP
        if self._ps_type != socket.SOCK_DGRAM:
            return IPV6
        if not to:
            to = ffi.new("struct ps_address *")
            peer = lib.PS_NAME_REMOTE
            if lib.ps_name(self._ps_handle.pointer, self._ps_number, peer, to) < 0:
                return IPV6  # sending says why there is no destination
        return IP if packed(to).startswith(MAPPED) else IPV6

    @staticmethod
    def _ps_flag(data: bytes) -> int:
        value = int(struct.unpack("i", data)[0])
        if value not in (0, 1):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return value

    @staticmethod
    def _ps_byte(data: bytes, least: int) -> int:
        value = int(struct.unpack("i", data)[0])
        if not least <= value <= 255:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return value

    @staticmethod
    def _ps_source(out: Any, interface: int, source: bytes, family: int) -> None:
        # A negative one is none, as any that isn't there; 0 leaves what was asked for before.
        out.interface = interface & 0xFFFFFFFF or out.interface
        out.source.family = family
        ffi.memmove(out.source.bytes, source, len(source))

    def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[bytes, list[Item], int, SocketAddress | None]:
        """Up to `bufsize` bytes, ancillary data, flags and the sender: see recvmsg(2)."""
        bufsize, ancbufsize, flags = to_size(bufsize), to_size(ancbufsize), to_int(flags)
        if bufsize < 0:
            raise ValueError("negative buffer size in recvmsg()")
        buffer = bytearray(bufsize)
        got, ancillary, out_flags, sender = MessageSocket.recvmsg_into(
            self, [buffer], ancbufsize, flags
        )
        return bytes(memoryview(buffer)[:got]), ancillary, out_flags, sender

    def recvmsg_into(
        self, buffers: Iterable[Buffer], ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[int, list[Item], int, SocketAddress | None]:
        """As `recvmsg`, into writable buffers that are filled one after the other."""
        flags = to_int(flags)
        if not 0 <= to_size(ancbufsize) <= _LARGEST_ANCILLARY:
            raise ValueError("invalid ancillary data buffer length")
        message = ffi.new("struct ps_message *")
        with ExitStack() as views:
            targets = [views.enter_context(writable(buffer, "recvmsg_into")) for buffer in buffers]
            if len(targets) > _MOST_PIECES:
                if self._ps_timeout:  # CPython asks the kernel only once there is something
                    self._ps_wait(lib.PS_READY_READ, self._ps_timeout)
                raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
            pieces = ffi.new("struct ps_piece[]", max(len(targets), 1))
            for position, target in enumerate(targets):
                pieces[position].base = target
                pieces[position].size = len(target)
            room = sum(len(target) for target in targets)
            if flags & MSG_ERRQUEUE:
                error = ffi.new("struct ps_socket_error *")
                got = self._ps_receive_error(pieces, len(targets), message, error)
                items = ancillary.of_error(self._ps_open, message, error)
                out_flags = MSG_ERRQUEUE
            else:
                got = self._ps_receive_pieces(pieces, len(targets), flags, message)
                items = ancillary.of_message(self._ps_open, message, got)
                out_flags = 0
        for c_flag, flag in _TOLD.items():
            if message.flags & c_flag:
                out_flags |= flag
        given, cut = ancillary.fitting(items, ancbufsize)
        if cut:
            out_flags |= int(socket.MSG_CTRUNC)
        sender = self._ps_destination(message) if flags & MSG_ERRQUEUE else self._ps_sender(message)
        return min(got, room), given, out_flags, sender

    def _ps_destination(self, message: Any) -> SocketAddress | None:
        """The destination of the packet that caused an error."""
        return self._ps_peer(getattr(message, "from"))
