"""A NIC behind virtio's header, whose numbers lie where nothing of a stream hangs on them."""

from __future__ import annotations

import socket
import struct

from adversary import wire
from pystack.nic import Descriptor, Framing

_HEADER = struct.Struct("=BBHHHH")  # flags, kind of GSO, header, segment, checksum: start, offset
_NOTHING = bytes(_HEADER.size)
_NEEDS_CHECKSUM, _VALID = 1, 2
_KINDS = (0, 1, 3, 4, 5, 0x81, 0xFF, 2)
_EDGES = (0, 1, 14, 34, 54, 20, 40, 66, 1400, 0x7FFF, 0xFFFF, 16, 6, 536)


class Virtio:
    """The far end of such a NIC.

    Attributes:
        nic: The near end, for a Stack.
    """

    def __init__(self) -> None:
        near, self._far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (near, self._far):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 21)
        self._far.setblocking(False)
        self.nic = Descriptor(near, framing=Framing.VIRTIO)
        self._sent = 0

    def send(self, frame: bytes) -> bool:
        """Whether there was room for it."""
        try:
            self._far.send(self._header(frame) + frame)
        except BlockingIOError:
            return False
        self._sent += 1
        return True

    def receive(self) -> list[bytes]:
        """What has come, up to 64 KiB each: the Stack leaves the cutting to this end."""
        frames = []
        try:
            while True:
                frames.append(self._far.recv(1 << 17)[_HEADER.size :])
        except BlockingIOError:
            return frames

    def close(self) -> None:
        """The end."""
        self._far.close()

    def _header(self, frame: bytes) -> bytes:
        """By turns nothing, the truth, and what can't be."""
        turn = self._sent
        v6 = frame[12:14] == b"\x86\xdd"
        at = 54 if v6 else 34
        protocol = frame[20 if v6 else 23] if len(frame) > at else 0
        plain = protocol == wire.TCP and (v6 or frame[14] == 0x45)
        size = len(frame) - at - (frame[at + 12] >> 4) * 4 if plain and len(frame) >= at + 20 else 0
        if size > 0:  # bytes of a stream: whatever is said of them must leave them as they are
            if turn % 4 == 1:
                return _HEADER.pack(_VALID, 0, 0, 0, 0, 0)
            if turn % 4 == 2:
                return _HEADER.pack(_NEEDS_CHECKSUM, 0, 0, 0, at, 16)
            if turn % 4 == 3:
                kind = 4 if v6 else 1
                segment = (536, 1, 1460, 100)[turn // 4 % 4]
                return _HEADER.pack(_NEEDS_CHECKSUM, kind, len(frame) - size, segment, at, 16)
            return _NOTHING
        if turn % 3 or protocol in (wire.UDP, 44):
            return _NOTHING
        numbers = [_EDGES[(turn * step + step) % len(_EDGES)] for step in (3, 5, 11, 13)]
        return _HEADER.pack(turn // 3 % 4, _KINDS[turn // 7 % len(_KINDS)], *numbers)
