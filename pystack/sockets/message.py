"""`sendmsg` and `recvmsg`.

Linux's layouts of ancillary data that is sent: `IP_PKTINFO`, `IP_TTL`, `IP_TOS`, `IPV6_PKTINFO`,
`IPV6_HOPLIMIT`, `IPV6_TCLASS`, `IPV6_DONTFRAG`, `UDP_SEGMENT`; what is received:
`pystack.sockets.ancillary`.
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
from pystack.sockets import address as addresses
from pystack.sockets import ancillary, options
from pystack.sockets.address import SocketAddress
from pystack.sockets.ancillary import IP_TOS, IP_TTL, IPV6_HOPLIMIT, IPV6_PKTINFO, IPV6_TCLASS, Item
from pystack.sockets.arguments import MSG_ERRQUEUE, readable, to_int, to_size, writable
from pystack.sockets.core import CoreSocket
from pystack.sockets.options import IP, IPV6

if TYPE_CHECKING:
    from typing_extensions import Buffer

_LARGEST_ANCILLARY = (1 << 31) - 1
# IOV_MAX of sendmsg(2).
_MOST_PIECES = 1024

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
        """Sends the buffers, joined, which are copied: see sendmsg(2). How many bytes went.

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
        to = ffi.NULL if address is None else self._address(address, "sendmsg")
        control = self._control(list(ancdata))
        with ExitStack() as views:
            sources = [views.enter_context(readable(buffer)) for buffer in buffers]
            if len(sources) > _MOST_PIECES and self._number >= 0:
                raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
            pieces = ffi.new("struct ps_piece[]", max(len(sources), 1))
            for position, source in enumerate(sources):
                pieces[position].base = source
                pieces[position].size = len(source)
            if not any(map(len, sources)):
                self._wait_to_send_nothing()
            return self._send_pieces(pieces, len(sources), flags, to, control)

    def _control(self, ancdata: list[Any]) -> Any:
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
        for key, data in items:
            # What the kernel's functions for such a socket don't look at.
            if key[0] != options.SOL and (
                self._type == socket.SOCK_STREAM
                or (key[0] == IPV6 and self._family == socket.AF_INET)
            ):
                continue
            try:
                self._control_one(out, key, data)
            except struct.error:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL)) from None
        return out

    def _control_one(self, out: Any, key: tuple[int, int], data: bytes) -> None:
        if key == (IP, options.IP_PKTINFO):
            interface, source, _destination = struct.unpack("i4s4s", data)
            self._source(out, interface, source, lib.PS_INET)
        elif key == (IPV6, IPV6_PKTINFO):
            source, interface = struct.unpack("16sI", data)
            self._source(out, interface, source, lib.PS_INET6)
        elif key in ((IP, IP_TTL), (IPV6, IPV6_HOPLIMIT)):
            out.ttl = self._byte(data, 1 if key[0] == IP else -1)
        elif key in ((IP, IP_TOS), (IPV6, IPV6_TCLASS)):
            one = len(data) == 1 and key[0] == IP
            out.tos = data[0] if one else self._byte(data, 0 if key[0] == IP else -1)
        elif key == (IPV6, options.IPV6_DONTFRAG):
            out.dont_fragment = self._flag(data)
        elif key == (options.UDP, options.UDP_SEGMENT):
            out.segment_size = struct.unpack("H", data)[0]
        elif key[0] in (options.SOL, self._own_level(), options.UDP) and key not in _IGNORED:
            raise OSError(errno.EINVAL, f"no ancillary data of level {key[0]}, type {key[1]} here")

    def _own_level(self) -> int:
        return IP if self._family == socket.AF_INET else IPV6

    @staticmethod
    def _flag(data: bytes) -> int:
        value = int(struct.unpack("i", data)[0])
        if value not in (0, 1):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return value

    @staticmethod
    def _byte(data: bytes, least: int) -> int:
        value = int(struct.unpack("i", data)[0])
        if not least <= value <= 255:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return value

    @staticmethod
    def _source(out: Any, interface: int, source: bytes, family: int) -> None:
        out.interface = interface
        if source.strip(b"\0"):
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
        got, ancillary, out_flags, sender = self.recvmsg_into([buffer], ancbufsize, flags)
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
                raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
            pieces = ffi.new("struct ps_piece[]", max(len(targets), 1))
            for position, target in enumerate(targets):
                pieces[position].base = target
                pieces[position].size = len(target)
            room = sum(len(target) for target in targets)
            if flags & MSG_ERRQUEUE:
                error = ffi.new("struct ps_socket_error *")
                got = self._receive_error(pieces, len(targets), message, error)
                items = ancillary.of_error(self._open, message, error)
                out_flags = MSG_ERRQUEUE
            else:
                got = self._receive_pieces(pieces, len(targets), flags, message)
                items = ancillary.of_message(self._open, message, got)
                out_flags = 0
        if message.flags & lib.PS_MSG_TRUNC:
            out_flags |= int(socket.MSG_TRUNC)
        given, cut = ancillary.fitting(items, ancbufsize)
        if cut:
            out_flags |= int(socket.MSG_CTRUNC)
        sender = self._destination(message) if flags & MSG_ERRQUEUE else self._sender(message)
        return min(got, room), given, out_flags, sender

    def _destination(self, message: Any) -> SocketAddress | None:
        """Where that went which an error is about."""
        return addresses.from_c(getattr(message, "from"), self._family)
