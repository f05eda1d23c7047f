"""pcap-filter(7) on frames that no capture device has seen: libpcap compiles, the kernel runs."""

from __future__ import annotations

import ctypes
import socket
import struct
import threading

from scapy.arch.common import compile_filter
from scapy.data import DLT_EN10MB, DLT_RAW, SO_ATTACH_FILTER

from pystack.nic import Layer

__all__ = ["PacketFilter"]


class PacketFilter:
    """A filter: which frames match is asked of a pair of the kernel's datagram sockets (Linux).

    Args:
        expression: As in tcpdump(8).
        layer: What frames start with.

    Raises:
        ImportError: libpcap isn't there.
        scapy.error.Scapy_Exception: The expression is wrong.
        OSError: The system has no such filters.
    """

    def __init__(self, expression: str, layer: Layer) -> None:
        kind = DLT_EN10MB if layer is Layer.ETHERNET else DLT_RAW
        program = compile_filter(expression, linktype=kind)
        self._lock = threading.Lock()
        self._near, self._far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        # struct sock_fprog of socket(7): how many instructions, and where.
        instructions = ctypes.cast(program.bf_insns, ctypes.c_void_p).value
        fields = struct.pack("HP", program.bf_len, instructions)
        try:
            self._far.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, fields)
        except OSError:
            self.close()
            raise
        for end in (self._near, self._far):
            end.setblocking(False)

    def matches(self, frame: bytes) -> bool:
        """Whether a frame matches."""
        with self._lock:
            try:
                self._near.send(frame)
                self._far.recv(1)
            except OSError:
                return False  # it doesn't, or the filter is closed
        return True

    def close(self) -> None:
        """Closes it; nothing matches any more."""
        self._near.close()
        self._far.close()
