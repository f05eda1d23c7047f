"""A host with one link, of which the test is the far end: the kernel's or a Stack."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from namespace import namespace

import pystack
from pystack.nic import Layer, wire

OURS = {socket.AF_INET: "10.9.0.1", socket.AF_INET6: "fd09::1"}
PEER = {socket.AF_INET: "10.9.0.2", socket.AF_INET6: "fd09::2"}
MTU = 1400
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000


class Place(NamedTuple):
    """A host whose only link has an MTU of 1400, and what it sends there."""

    module: Any
    read: Callable[[], bytes | None]
    write: Callable[[bytes], Any]
    run: Callable[..., Any]

    def packets(self) -> list[tuple[Any, ...]]:
        """Of each packet with UDP in it, the length, and whether DF or a fragment."""
        found: list[tuple[Any, ...]] = []
        while (packet := self.read()) is not None:
            if packet[0] >> 4 == 4 and packet[9] == socket.IPPROTO_UDP:
                found.append((len(packet), bool(packet[6] & 0x40), bool(packet[6] & 0x20)))
            elif packet[0] >> 4 == 6 and packet[6] in (socket.IPPROTO_UDP, 44):
                found.append((len(packet), packet[6] == 44))
        return found


@contextmanager
def kernels() -> Iterator[Place]:
    with namespace() as made:
        tun = made.call(os.open, "/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        try:
            request = struct.pack("16sH22x", b"h0", IFF_TUN | IFF_NO_PI)
            fcntl.ioctl(tun, TUNSETIFF, request)
            made.run("ip", "link", "set", "h0", "mtu", str(MTU))
            made.device("h0", "10.9.0.1/24", "fd09::1/64")

            def read() -> bytes | None:
                try:
                    return os.read(tun, 70_000)
                except BlockingIOError:
                    return None

            yield Place(socket, read, lambda packet: os.write(tun, packet), made.call)
        finally:
            os.close(tun)


@contextmanager
def stacks() -> Iterator[Place]:
    near, far = wire(mtu=MTU, layer=Layer.IP)
    with pystack.Stack() as net:
        net.attach(near, "10.9.0.1/24", "fd09::1/64")
        yield Place(
            net.sockets, lambda: far.receive(0), far.send, lambda call, *given: call(*given)
        )


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
