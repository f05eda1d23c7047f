"""A NIC over a file descriptor that carries frames."""

from __future__ import annotations

import errno
import os
import socket
from enum import Enum

from pystack._native import ffi, lib
from pystack.nic.base import Layer, Nic, made, member_value, valid_mtu


class Framing(Enum):
    """How a descriptor carries frames."""

    DATAGRAM = lib.PS_FRAMING_DATAGRAM
    """One frame per read and write: datagram sockets, opened TAP devices."""
    LENGTH16 = lib.PS_FRAMING_LENGTH_16
    """A stream, each frame after its length in 16 bits, big-endian."""
    LENGTH32 = lib.PS_FRAMING_LENGTH_32
    """The same with 32 bits, as in QEMU's socket netdev and passt."""
    VIRTIO = lib.PS_FRAMING_VIRTIO
    """One frame per read and write, after virtio's header of ten bytes, as in an opened TAP or
    macvtap with IFF_VNET_HDR. The far end completes checksums and segments long TCP packets as the
    header asks."""
    IP = lib.PS_FRAMING_IP
    """A stream of IP packets, each as long as its header says; for `Async` alone."""


class Descriptor(Nic):
    """Frames over a descriptor, which it takes over: it is closed with the NIC.

    Args:
        source: A descriptor or a socket of the kernel's (which is detached).
        framing: How frames stand in it.
        layer: What frames begin with.
        mtu: Bytes of IP packet.

    Raises:
        ValueError: The MTU; or a Stack's socket.
        TypeError: `source`, `framing` or `layer` is something else.
        OSError: EBADF, no descriptor; then, and after any other error, it stays the caller's.
    """

    def __init__(
        self,
        source: int | socket.socket,
        *,
        framing: Framing = Framing.DATAGRAM,
        layer: Layer = Layer.ETHERNET,
        mtu: int = 1500,
    ) -> None:
        if not isinstance(source, int) and not hasattr(source, "fileno"):
            raise TypeError(
                f"frames go through a descriptor or a socket of the kernel's, not {source!r}: "
                "`nic.Tap` and `nic.Tun` take a name"
            )
        fd = source if isinstance(source, int) else source.fileno()
        if fd < 0:
            raise OSError(errno.EBADF, f"{os.strerror(errno.EBADF)}: {source!r} is closed")
        if lib.ps_descriptor_owner(fd, ffi.NULL, ffi.NULL):
            raise ValueError(
                f"descriptor {fd} stands for a Stack's socket, and carries no frames: use a socket "
                "of the kernel's, or `nic.PythonNic` around that one"
            )
        error = ffi.new("int *")
        way = member_value(Framing, "the framing", framing)
        if framing is Framing.IP:
            raise ValueError(
                "Framing.IP is nic.Async's: use LENGTH16, or a descriptor of datagrams"
            )
        pointer = lib.ps_nic_descriptor(
            fd, way, member_value(Layer, "the layer", layer), valid_mtu(mtu), error
        )
        super().__init__(
            made(pointer, error, {errno.EBADF: f"{os.strerror(errno.EBADF)}: {fd} is not open"})
        )
        if isinstance(source, socket.socket):
            source.detach()
