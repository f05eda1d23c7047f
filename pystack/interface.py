"""An interface: a NIC attached to a Stack, with addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, IntFlag
from typing import TYPE_CHECKING, Any

from pystack._native import StackHandle, ffi, lib
from pystack._native.address import Address, interface_from_c, mac_text, mac_to_bytes, to_c
from pystack._native.address import Interface as AddressWithNetwork
from pystack.services import InterfaceServices
from pystack.tables import list_counters

if TYPE_CHECKING:
    from pystack.nic import Nic

__all__ = [
    "AddressList",
    "AddressOrigin",
    "AddressState",
    "Interface",
    "InterfaceAddress",
    "InterfaceFlag",
]

_FOREVER = 0xFFFFFFFF


class AddressState(Enum):
    """Whether an address may be used (RFC 4862 2, RFC 5227)."""

    TENTATIVE = lib.PS_ADDRESS_TENTATIVE
    """It is being made sure that nobody else has it."""
    PREFERRED = lib.PS_ADDRESS_PREFERRED
    DEPRECATED = lib.PS_ADDRESS_DEPRECATED
    """Connections that use it go on; new ones take another."""
    DUPLICATE = lib.PS_ADDRESS_DUPLICATE
    """Another host has it."""


class AddressOrigin(Enum):
    """Where an address came from."""

    STATIC = lib.PS_ORIGIN_STATIC
    DHCP = lib.PS_ORIGIN_DHCP
    SLAAC = lib.PS_ORIGIN_SLAAC
    AUTOIP = lib.PS_ORIGIN_AUTOIP
    LINK_LOCAL = lib.PS_ORIGIN_LINK_LOCAL


class InterfaceFlag(IntFlag):
    """What an interface is and does, as netdevice(7) has it."""

    UP = lib.PS_IF_UP
    LINK = lib.PS_IF_LINK
    LOOPBACK = lib.PS_IF_LOOPBACK
    BROADCAST = lib.PS_IF_BROADCAST
    DHCP = lib.PS_IF_DHCP
    DHCP6 = lib.PS_IF_DHCP6
    SLAAC = lib.PS_IF_SLAAC
    AUTOIP = lib.PS_IF_AUTOIP
    MDNS = lib.PS_IF_MDNS


@dataclass(frozen=True)
class InterfaceAddress:
    """One address of an interface, as it was when it was asked for.

    Attributes:
        address: The address and its network.
        state: Whether it may be used.
        origin: Where it came from.
        valid_s: Seconds until it goes; None: it stays.
        preferred_s: Seconds until it is deprecated; None: never.
    """

    address: AddressWithNetwork
    state: AddressState
    origin: AddressOrigin
    valid_s: int | None
    preferred_s: int | None

    @property
    def ip(self) -> Address:
        """The address alone."""
        return self.address.ip


class AddressList:
    """The addresses of one interface."""

    def __init__(self, handle: StackHandle, index: int) -> None:
        self._handle = handle
        self._index = index

    def list(self) -> list[InterfaceAddress]:
        """All of them, of both families; a snapshot."""
        listing = self._handle.listing(
            "struct ps_interface_address",
            lambda out, room: lib.ps_addresses(self._handle.pointer, out, room),
        )
        return [
            InterfaceAddress(
                interface_from_c(entry.address),
                AddressState(entry.state),
                AddressOrigin(entry.origin),
                None if entry.valid_s == _FOREVER else entry.valid_s,
                None if entry.preferred_s == _FOREVER else entry.preferred_s,
            )
            for entry in listing
            if entry.interface == self._index
        ]

    def __iter__(self) -> Iterator[InterfaceAddress]:
        return iter(self.list())

    def __len__(self) -> int:
        return len(self.list())

    def add(self, address: AddressWithNetwork | str, *, detect: bool = False) -> None:
        """Gives the interface another address.

        Args:
            address: With its network, as "10.0.0.2/24"; without one it is the only host of it.
            detect: Make sure first that nobody else has it (RFC 4862 5.4, RFC 5227 2.1). Until
                then the address can't be used, which takes about one second in IPv6 and nine
                in IPv4.

        Raises:
            ValueError: Not an address.
            OSError: EEXIST, the interface has it; ENOSPC, it has as many as lwIP allows;
                EADDRNOTAVAIL, it can't be a host's.
        """
        where = to_c(address)
        self._handle.check(lib.ps_address_add(self._handle.pointer, self._index, where, detect))

    def remove(self, address: Address | AddressWithNetwork | str) -> None:
        """Takes an address from the interface; connections that use it end with an error.

        Raises:
            OSError: EADDRNOTAVAIL, it has no such address.
        """
        where = to_c(address)
        self._handle.check(lib.ps_address_remove(self._handle.pointer, self._index, where))

    def __repr__(self) -> str:
        return repr([str(entry.address) for entry in self.list()])


class Interface(InterfaceServices):
    """A NIC attached to a Stack, made by `Stack.attach`; or the Stack's loopback interface.

    Attributes:
        index: Its number in this Stack, from 1 (the loopback interface).
        nic: The NIC; None for the loopback interface.
        addresses: Its addresses.
    """

    def __init__(self, handle: StackHandle, index: int, nic: Nic | None) -> None:
        self._handle = handle
        self.index = index
        self.nic = nic
        self.addresses = AddressList(handle, index)

    def _read(self) -> Any:
        position = 0
        out = ffi.new("struct ps_interface *")
        while self._handle.check(lib.ps_interface_at(self._handle.pointer, position, out)):
            if out.index == self.index:
                return out
            position += 1
        raise OSError(19, "the interface is detached")  # ENODEV

    @property
    def name(self) -> str:
        """Its name, as "eth0"."""
        raw = self._read()  # kept: the field is a part of it
        return str(ffi.string(raw.name).decode())

    @property
    def flags(self) -> InterfaceFlag:
        """What it is and does now."""
        return InterfaceFlag(self._read().flags)

    @property
    def up(self) -> bool:
        """Whether it is up; assign to change that, as `ip link set up` does."""
        return bool(self._read().flags & lib.PS_IF_UP)

    @up.setter
    def up(self, up: bool) -> None:
        self._handle.check(lib.ps_interface_set_up(self._handle.pointer, self.index, bool(up)))

    @property
    def link(self) -> bool:
        """Whether its wire is there."""
        return bool(self._read().flags & lib.PS_IF_LINK)

    @property
    def mtu(self) -> int:
        """The largest IP packet in bytes; assign to change it.

        New connections offer an MSS that fits, those there are send segments that fit.

        Raises:
            OSError: EINVAL, more than the NIC carries or less than 68. IPv6 asks for 1280 of every
                link (RFC 8200 5); whether it has them is for whoever sets less to say.
        """
        return int(self._read().mtu)

    @mtu.setter
    def mtu(self, mtu: int) -> None:
        self._handle.check(lib.ps_interface_set_mtu(self._handle.pointer, self.index, mtu))

    @property
    def mac(self) -> str | None:
        """Its Ethernet address, as "02:00:00:00:00:01"; None without one. Assign to change it."""
        raw = self._read()
        return mac_text(bytes(raw.mac)) if raw.layer == lib.PS_LAYER_ETHERNET else None

    @mac.setter
    def mac(self, mac: str | bytes) -> None:
        raw = mac_to_bytes(mac)
        self._handle.check(lib.ps_interface_set_mac(self._handle.pointer, self.index, raw))

    @property
    def address(self) -> AddressWithNetwork | None:
        """The first address that may be used, IPv4 before IPv6; None: there is none."""
        usable = [
            entry.address
            for entry in self.addresses.list()
            if entry.state is AddressState.PREFERRED
        ]
        usable.sort(key=lambda entry: entry.version)
        return usable[0] if usable else None

    def counters(self) -> dict[str, int]:
        """Its counters by name (RFC 2863), as "in_octets"; a snapshot, from 0 at `attach`."""
        return list_counters(self._handle, self.index)

    def detach(self) -> None:
        """Takes the interface from the Stack; the NIC can be attached again.

        Raises:
            OSError: ENODEV, it is detached already; EPERM, it is the loopback interface.
        """
        self._handle.check(lib.ps_detach(self._handle.pointer, self.index))
        self._handle.kept.pop(self.index, None)
        if self.nic is not None:
            self.nic._listen_to(None)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Interface):
            return NotImplemented
        return self._handle is other._handle and self.index == other.index

    def __hash__(self) -> int:
        return hash((id(self._handle), self.index))

    def __repr__(self) -> str:
        try:
            raw = self._read()
        except (OSError, RuntimeError) as error:
            return f"<Interface {self.index}: {error}>"
        name = ffi.string(raw.name).decode()
        return f"<Interface {self.index} {name} mtu={raw.mtu} {self.addresses!r}>"


def gateways(gateway: Any) -> list[Address]:
    """The gateways that `Stack.attach` was given: none, one, or one a family."""
    if gateway is None:
        return []
    if isinstance(gateway, (str, ipaddress.IPv4Address, ipaddress.IPv6Address)):
        gateway = [gateway]
    return [ipaddress.ip_address(one) for one in gateway]
