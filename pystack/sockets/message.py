"""`sendmsg` and `recvmsg`, and the ancillary data that a Stack knows (ip(7), ipv6(7)).

Linux's layouts: `IP_PKTINFO`, `IP_TTL`, `IP_TOS`, `IPV6_PKTINFO`, `IPV6_HOPLIMIT`, `IPV6_TCLASS`,
`UDP_SEGMENT`.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable
from contextlib import ExitStack
from operator import index
from typing import TYPE_CHECKING, Any

from pystack._native import ffi, lib
from pystack._native.address import packed
from pystack.sockets import options
from pystack.sockets.address import SocketAddress
from pystack.sockets.arguments import readable, writable
from pystack.sockets.core import CoreSocket
from pystack.sockets.options import ANCILLARY, IP, IPV6, _constant

if TYPE_CHECKING:
    from typing_extensions import Buffer

IPV6_PKTINFO = _constant("IPV6_PKTINFO", 50)
IPV6_HOPLIMIT = _constant("IPV6_HOPLIMIT", 52)
IPV6_TCLASS = _constant("IPV6_TCLASS", 67)
IP_TTL, IP_TOS = int(socket.IP_TTL), int(socket.IP_TOS)

# recvmsg(2): struct cmsghdr before each piece, padded to a word.
_WORD = struct.calcsize("N")
_HEADER = struct.calcsize("Nii")
# IOV_MAX of sendmsg(2).
_MOST_PIECES = 1024

_Ancillary = tuple[int, int, bytes]


def _padded(size: int) -> int:
    return -(-size // _WORD) * _WORD


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
        to = ffi.NULL if address is None else self._address(address, "sendmsg")
        control = self._control(list(ancdata))
        with ExitStack() as views:
            sources = [views.enter_context(readable(buffer)) for buffer in buffers]
            if len(sources) > _MOST_PIECES:
                raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
            pieces = ffi.new("struct ps_piece[]", max(len(sources), 1))
            for position, source in enumerate(sources):
                pieces[position].base = source
                pieces[position].size = len(source)
            return self._send_pieces(pieces, len(sources), flags, to, control)

    def _control(self, ancillary: list[Any]) -> Any:
        if not ancillary:
            return ffi.NULL
        out = ffi.new("struct ps_send_control *")
        out.ttl = out.tos = out.segment_size = -1
        items = []
        for entry in ancillary:
            if not isinstance(entry, tuple) or len(entry) != 3:
                raise TypeError("[sendmsg() ancillary data items]: expected a tuple of length 3")
            with memoryview(entry[2]) as view:
                items.append(((index(entry[0]), index(entry[1])), view.tobytes()))
        for key, data in items:
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
            out.ttl = self._byte(data)
        elif key in ((IP, IP_TOS), (IPV6, IPV6_TCLASS)):
            out.tos = data[0] if len(data) == 1 else self._byte(data)
        elif key == (options.UDP, options.UDP_SEGMENT):
            out.segment_size = struct.unpack("H", data)[0]
        else:
            raise OSError(errno.EINVAL, f"no ancillary data of level {key[0]}, type {key[1]} here")

    @staticmethod
    def _byte(data: bytes) -> int:
        value = int(struct.unpack("i", data)[0])
        if not -1 <= value <= 255:
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
    ) -> tuple[bytes, list[_Ancillary], int, SocketAddress | None]:
        """Up to `bufsize` bytes, ancillary data, flags and the sender: see recvmsg(2)."""
        if bufsize < 0:
            raise ValueError("negative buffer size in recvmsg()")
        buffer = bytearray(bufsize)
        got, ancillary, out_flags, sender = self.recvmsg_into([buffer], ancbufsize, flags)
        return bytes(memoryview(buffer)[:got]), ancillary, out_flags, sender

    def recvmsg_into(
        self, buffers: Iterable[Buffer], ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[int, list[_Ancillary], int, SocketAddress | None]:
        """As `recvmsg`, into writable buffers that are filled one after the other."""
        if ancbufsize < 0:
            raise ValueError("invalid ancillary data buffer length")
        message = ffi.new("struct ps_message *")
        with ExitStack() as views:
            targets = [views.enter_context(writable(buffer, "recvmsg_into")) for buffer in buffers]
            if len(targets) > _MOST_PIECES:
                raise OSError("recvmsg_into() argument 1 is too long")
            pieces = ffi.new("struct ps_piece[]", max(len(targets), 1))
            for position, target in enumerate(targets):
                pieces[position].base = target
                pieces[position].size = len(target)
            room = sum(len(target) for target in targets)
            got = self._receive_pieces(pieces, len(targets), flags, message)
        out_flags = int(socket.MSG_TRUNC) if message.flags & lib.PS_MSG_TRUNC else 0
        ancillary, cut = self._ancillary_of(message, ancbufsize)
        if cut:
            out_flags |= int(socket.MSG_CTRUNC)
        return min(got, room), ancillary, out_flags, self._sender(message)

    def _ancillary_of(self, message: Any, room: int) -> tuple[list[_Ancillary], bool]:
        """The ancillary data that was asked for, as much as fits, and whether some did not."""
        if not self._ancillary or self._type == socket.SOCK_STREAM:
            return [], False
        to = packed(message.to)
        wanted: list[_Ancillary] = []
        if len(to) == 4:
            if self._ancillary & ANCILLARY[IP, options.IP_PKTINFO]:
                data = struct.pack("i4s4s", message.interface, to, to)
                wanted.append((IP, options.IP_PKTINFO, data))
            if self._ancillary & ANCILLARY[IP, options.IP_RECVTTL]:
                wanted.append((IP, IP_TTL, struct.pack("i", message.ttl)))
            if self._ancillary & ANCILLARY[IP, options.IP_RECVTOS]:
                wanted.append((IP, IP_TOS, bytes([message.tos])))
        if self._ancillary & ANCILLARY[IPV6, options.IPV6_RECVPKTINFO]:
            full = to if len(to) == 16 else bytes(10) + b"\xff\xff" + to
            wanted.append((IPV6, IPV6_PKTINFO, struct.pack("16sI", full, message.interface)))
        if self._ancillary & ANCILLARY[IPV6, options.IPV6_RECVHOPLIMIT]:
            wanted.append((IPV6, IPV6_HOPLIMIT, struct.pack("i", message.ttl)))
        if self._ancillary & ANCILLARY[IPV6, options.IPV6_RECVTCLASS]:
            wanted.append((IPV6, IPV6_TCLASS, struct.pack("i", message.tos)))
        given: list[_Ancillary] = []
        for level, kind, data in wanted:
            if room < _HEADER:
                return given, True
            if room < _HEADER + len(data):
                given.append((level, kind, data[: room - _HEADER]))
                return given, True
            given.append((level, kind, data))
            room -= _HEADER + _padded(len(data))
        return given, False
