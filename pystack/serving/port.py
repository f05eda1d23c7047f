"""An interface as its services see it."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Interface, IPv6Address
from typing import Any, Protocol

from pystack._native import ffi, lib
from pystack._native.address import to_c
from pystack.serving.frame import Arp, Datagram

__all__ = ["NEVER", "SECOND_US", "Cancelled", "Ended", "Port", "Service", "Shown", "Tap"]

SECOND_US = 1_000_000
NEVER = (1 << 64) - 1

_LOST = {errno.ENOBUFS, errno.ENODEV, errno.ENETDOWN, errno.EIO}
# Why a datagram can't leave: as if it was lost.
_UNSENT = _LOST | {
    errno.EAGAIN, errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.ENETUNREACH, errno.EHOSTUNREACH,
    errno.EHOSTDOWN, errno.ECONNREFUSED, errno.ENOMEM, errno.EINVAL,
}  # fmt: skip


class Ended(Exception):  # noqa: N818 - no error: there is nothing left to serve
    """The Stack has ended, or failed."""


class Cancelled(Exception):  # noqa: N818 - the error is another, which is kept
    """A hypercall of Python's raised; the exception is in `Answers.raised`."""


class Tap(IntEnum):
    """What frames a service is shown."""

    ARP = lib.PS_TAP_ARP
    DHCP = lib.PS_TAP_DHCP


@dataclass
class Shown:
    """What a service has done to the interface.

    Attributes:
        address: That it gave it.
        gateway: The default router's.
        nameservers: Those that it learnt.
    """

    address: IPv4Interface | None = None
    gateway: IPv4Address | None = None
    nameservers: tuple[IPv4Address | IPv6Address, ...] = ()


class Service(Protocol):
    """One service of an interface.

    Attributes:
        due_us: When it wants to be told the time.
        flag: The interface's flag that stands for it.
        origin: Of the address that it gives.
        shown: What it has done.
    """

    due_us: int
    flag: int
    origin: int
    shown: Shown

    def taps(self) -> int:
        """The frames that it is to be shown now."""
        ...

    def tick(self, now_us: int) -> None:
        """It is `due_us`, or later."""
        ...

    def arp(self, packet: Arp, now_us: int) -> None:
        """An ARP packet has come."""
        ...

    def datagram(self, datagram: Datagram, now_us: int) -> None:
        """A datagram for it has come."""
        ...

    def link_is_back(self, now_us: int) -> None:
        """The interface was down, or without a link: it may be on another network now."""
        ...

    def stop(self) -> None:
        """Gives back what it has, and ends."""
        ...


class Port:
    """An interface of a Stack.

    Attributes:
        index: Its number.
        name: Its name.
        mac: Its Ethernet address.
        mtu: The largest IP packet, bytes.
        works: Whether it is up and has a link.
    """

    def __init__(self, pointer: Any, index: int, warn: Any) -> None:
        self.pointer = pointer
        self.index = index
        self.name = ""
        self.mac = b""
        self.mtu = 0
        self.works = False
        self._warn = warn
        self._identification = 0

    def __deepcopy__(self, memo: Any) -> Port:
        return self  # what services are copied for is the same interface

    def warn(self, text: str) -> None:
        """A line for the Stack's log."""
        self._warn(f"{self.name}: {text}")

    def call(self, result: int, accepted: set[int] | frozenset[int] = frozenset()) -> int:
        """Gives back what a call of the Stack returned, if it is no error or an accepted one."""
        if result >= 0 or -result in accepted:
            return result
        if result == -errno.ECANCELED:
            raise Cancelled
        if -result in (errno.EBADF, errno.ENOTRECOVERABLE, errno.EOWNERDEAD):
            raise Ended
        raise OSError(-result, os.strerror(-result))

    # --- chance ------------------------------------------------------------------------------

    def randbytes(self, size: int) -> bytes:
        """Random bytes, of the Stack's."""
        out = ffi.new("uint8_t[]", size)
        self.call(lib.ps_serving_random(self.pointer, out, size))
        return bytes(ffi.buffer(out, size))

    def between_us(self, low_s: float, high_s: float) -> int:
        """A random time, in microseconds."""
        part = int.from_bytes(self.randbytes(4), "big") / 0xFFFFFFFF
        return round((low_s + (high_s - low_s) * part) * SECOND_US)

    # --- sending -----------------------------------------------------------------------------

    def transmit(self, frame: bytes) -> None:
        """Sends a frame past the engine; a wire without room loses it."""
        if self.works:
            self.call(lib.ps_serving_transmit(self.pointer, self.index, frame, len(frame)), _LOST)

    def identification(self) -> int:
        """The next packet's (RFC 791)."""
        self._identification = self._identification + 1 & 0xFFFF
        return self._identification

    def send(
        self, source: IPv4Address, destination: IPv4Address, ports: tuple[int, int], payload: bytes
    ) -> None:
        """Sends a datagram by the engine, which finds the way; one that can't leave is lost."""
        handle = self.call(lib.ps_socket(self.pointer, lib.PS_INET, lib.PS_DATAGRAM, 0), _UNSENT)
        if handle < 0:
            return
        try:
            where, there = to_c(source, ports[0]), to_c(destination, ports[1])
            if self.call(lib.ps_bind(self.pointer, handle, where), _UNSENT) >= 0:
                sent = lib.ps_send_plain(self.pointer, handle, payload, len(payload), there, 0)
                self.call(sent, _UNSENT)
        finally:
            lib.ps_close(self.pointer, handle)

    # --- the interface's addresses -----------------------------------------------------------

    def put(self, address: IPv4Interface) -> bool:
        """Gives it an address; whether it has it now."""
        result = lib.ps_address_add(self.pointer, self.index, to_c(address), False)
        refused = self.call(result, {errno.EEXIST, errno.ENOSPC, errno.EINVAL, errno.ENOMEM}) < 0
        if refused:
            self.warn(f"can't have the address {address}: {os.strerror(-result)}")
        return not refused

    def take(self, address: IPv4Interface) -> None:
        """Takes an address away."""
        result = lib.ps_address_remove(self.pointer, self.index, to_c(address))
        self.call(result, {errno.EADDRNOTAVAIL, errno.ENODEV})

    def _route(self, gateway: IPv4Address) -> Any:
        route = ffi.new("struct ps_route *")
        route.destination = to_c("0.0.0.0/0")[0]
        route.gateway = to_c(gateway)[0]
        route.interface = self.index
        return route

    def put_gateway(self, gateway: IPv4Address) -> None:
        """Makes it the default router; a default route that is there already stays."""
        result = lib.ps_route_add(self.pointer, self._route(gateway))
        if self.call(result, {errno.EEXIST, errno.ENETUNREACH, errno.ENETDOWN, errno.EINVAL}) < 0:
            self.warn(f"no default route by {gateway}: {os.strerror(-result)}")

    def take_gateway(self, gateway: IPv4Address) -> None:
        """Undoes `put_gateway`."""
        result = lib.ps_route_remove(self.pointer, self._route(gateway))
        self.call(result, {errno.ESRCH, errno.ENODEV})
