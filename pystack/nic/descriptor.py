"""A NIC over a descriptor that carries frames."""

from __future__ import annotations

import errno
import os
import socket
from enum import Enum

from pystack._native import ffi, lib
from pystack.nic.base import Layer, Nic, made, valid_mtu


class Framing(Enum):
    """How frames stand in what a descriptor carries."""

    DATAGRAM = lib.PS_FRAMING_DATAGRAM
    """One in each read and write: datagram sockets, opened TAP devices."""
    LENGTH16 = lib.PS_FRAMING_LENGTH_16
    """In a stream, each behind its length in 16 bits, big-endian."""
    LENGTH32 = lib.PS_FRAMING_LENGTH_32
    """The same in 32 bits, as qemu's socket netdev and passt have it."""
    VIRTIO = lib.PS_FRAMING_VIRTIO
    """One in each read and write, behind the ten bytes of virtio's header, as an opened TAP or
    macvtap with IFF_VNET_HDR has it. The far end has to finish checksums and to cut long TCP
    packets, as the header tells it."""


class Descriptor(Nic):
    """Frames over a descriptor, which it takes over: it is closed with the NIC.

    Args:
        source: A descriptor or a socket of the kernel's (which is detached).
        framing: How frames stand in it.
        layer: What frames begin with.
        mtu: Bytes of IP packet.

    Raises:
        ValueError: The MTU.
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
        fd = source if isinstance(source, int) else source.fileno()
        if fd < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        error = ffi.new("int *")
        pointer = lib.ps_nic_descriptor(fd, framing.value, layer.value, valid_mtu(mtu), error)
        super().__init__(made(pointer, error))
        if isinstance(source, socket.socket):
            source.detach()
