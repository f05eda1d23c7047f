"""An interface as its services see it."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Any, Protocol, TypeAlias

from pystack._native import ffi, lib
from pystack._native.address import interface_from_c, to_c
from pystack._native.moments import SECOND_US
from pystack.serving.frame import Arp, Datagram
from pystack.serving.frame6 import Advertisement

__all__ = [
    "Address", "Cancelled", "Ended", "Port", "Served", "Service", "Shown", "Tap",
]  # fmt: skip

_ETHERNET = 14
_LOST = {errno.ENOBUFS, errno.ENODEV, errno.ENETDOWN, errno.EIO}
# Why a datagram can't leave: as if it was lost.
_UNSENT = _LOST | {
    errno.EAGAIN, errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.ENETUNREACH, errno.EHOSTUNREACH,
    errno.EHOSTDOWN, errno.ECONNREFUSED, errno.ENOMEM, errno.EINVAL,
}  # fmt: skip

# An interface's address with its network.
Address: TypeAlias = "IPv4Interface | IPv6Interface"
_USABLE = (lib.PS_ADDRESS_PREFERRED, lib.PS_ADDRESS_DEPRECATED)


class Ended(Exception):  # noqa: N818 - no error: there is nothing left to serve
    """The Stack has ended, or failed."""


class Cancelled(Exception):  # noqa: N818 - the error is another, which is kept
    """A hypercall of Python's raised; the exception is in `Answers.raised`."""


class Tap(IntEnum):
    """What frames a service is shown."""

    ARP = lib.PS_TAP_ARP
    DHCP = lib.PS_TAP_DHCP
    DHCP6 = lib.PS_TAP_DHCP6
    MDNS = lib.PS_TAP_MDNS
    ROUTERS = lib.PS_TAP_ROUTERS
    FRAGMENTS = lib.PS_TAP_FRAGMENTS


@dataclass(frozen=True)
class Served:
    """A leased IPv6 address of the interface.

    Attributes:
        address: It, with the length of its network's prefix.
        preferred_us: Until when it is preferred; `NEVER`: for ever.
        valid_us: Until when it may be used; likewise.
    """

    address: IPv6Interface
    preferred_us: int
    valid_us: int


@dataclass
class Shown:
    """What a service has done to the interface.

    Attributes:
        address: The IPv4 address that it gave it.
        leased: The IPv6 addresses that it gave it.
        gateway: The default router's.
        nameservers: Those that it learnt.
    """

    address: IPv4Interface | None = None
    leased: tuple[Served, ...] = ()
    gateway: IPv4Address | None = None
    nameservers: tuple[IPv4Address | IPv6Address, ...] = ()


class Service(Protocol):
    """One service of an interface.

    Attributes:
        flag: The interface's flag that stands for it.
        origin: Of the address that it gives.
        hears: The UDP port whose datagrams it is shown; 0: of none.
        shown: What it has done.
        is_parting: Whether it has something to say still after `stop`.
    """

    flag: int
    origin: int
    hears: int

    @property
    def shown(self) -> Shown:
        """See above."""
        ...

    @property
    def is_parting(self) -> bool:
        """See above."""
        ...

    @property
    def due_us(self) -> int:
        """When it wants to be told the time."""
        ...

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

    def advertised(self, packet: Advertisement, now_us: int) -> None:
        """A router's advertisement has come."""
        ...

    def look(self, now_us: int) -> None:
        """The interface, or another service of it, may have changed."""
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

    def now_us(self) -> int:
        """The Stack's time."""
        out = ffi.new("uint64_t *")
        self.call(lib.ps_serving_now(self.pointer, out))
        return int(out[0])

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
        """Sends a frame past the engine; a wire without room, or too small for it, loses it."""
        if self.works and len(frame) <= self.mtu + _ETHERNET:
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

    # --- groups ------------------------------------------------------------------------------

    def join(self, group: IPv4Address | IPv6Address) -> int | None:
        """Joins a group; what `leave` takes. None: the engine has no room, or no such family."""
        where = to_c(group)
        handle = lib.ps_socket(self.pointer, where.family, lib.PS_DATAGRAM, 0)
        if self.call(handle, _UNSENT | {errno.EAFNOSUPPORT}) < 0:
            return None
        membership = ffi.new("struct ps_membership *")
        membership.group, membership.interface = where[0], self.index
        result = lib.ps_membership(self.pointer, handle, True, membership)
        if result < 0:
            lib.ps_close(self.pointer, handle)
            self.call(result, _UNSENT)
            self.warn(f"can't join {group}: {os.strerror(-result)}")
            return None
        return int(handle)

    def leave(self, member: int) -> None:
        """Undoes `join`."""
        lib.ps_close(self.pointer, member)

    # --- the interface's addresses -----------------------------------------------------------

    def addresses(self) -> list[Address]:
        """Those that it has and may use now."""
        return [
            address
            for index, state, address in self._addresses()
            if index == self.index and state in _USABLE
        ]

    def stack_addresses(self) -> set[bytes]:
        """Those of all interfaces, whatever their state, as they stand in a packet."""
        return {address.packed for _, _, address in self._addresses()}

    def _addresses(self) -> list[tuple[int, int, Address]]:
        room = 64
        while True:
            out = ffi.new("struct ps_interface_address[]", room)
            count = self.call(lib.ps_addresses(self.pointer, out, room))
            if count <= room:
                entries = (out[i] for i in range(count))
                return [
                    (one.interface, one.state, interface_from_c(one.address)) for one in entries
                ]
            room = count + 16

    def states(self) -> dict[Any, int]:
        """The state (`enum ps_address_state`) of each of its addresses."""
        return {
            address.ip: state for index, state, address in self._addresses() if index == self.index
        }

    def link_local(self) -> IPv6Address | None:
        """Its IPv6 address for what doesn't leave the link; None: it has none yet."""
        for entry in self.addresses():
            if isinstance(entry, IPv6Interface) and entry.ip.is_link_local:
                return entry.ip
        return None

    def put(self, address: Address) -> bool:
        """Gives it an address; whether it has it now, one of IPv6 after it was looked for."""
        detect = address.version == 6
        result = lib.ps_address_add(self.pointer, self.index, to_c(address), detect)
        refused = self.call(result, {errno.EEXIST, errno.ENOSPC, errno.EINVAL, errno.ENOMEM}) < 0
        if refused:
            self.warn(f"can't have the address {address}: {os.strerror(-result)}")
        return not refused

    def take(self, address: Address) -> None:
        """Takes an address away."""
        result = lib.ps_address_remove(self.pointer, self.index, to_c(address))
        self.call(result, {errno.EADDRNOTAVAIL, errno.ENODEV})

    def prefer(self, address: IPv6Interface, preferred: bool) -> None:
        """Says whether connections may begin from an address while there is another."""
        result = lib.ps_address_prefer(self.pointer, self.index, to_c(address), preferred)
        self.call(result, {errno.EADDRNOTAVAIL, errno.ENODEV, errno.EOPNOTSUPP})

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
