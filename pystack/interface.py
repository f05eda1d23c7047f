"""An interface: a NIC attached to a Stack, with addresses."""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, IntFlag
from operator import index
from typing import TYPE_CHECKING, Any, Literal, overload

from pystack._native import StackHandle, ffi, lib
from pystack._native.address import (
    Address,
    interface_from_c,
    mac_text,
    own_mac_to_bytes,
    packed,
    to_c,
)
from pystack._native.address import Interface as AddressWithNetwork
from pystack._native.attributes import KnownAttributes
from pystack._native.shown import shown
from pystack.qdisc import Qdisc, get_qdisc, set_qdisc
from pystack.services import InterfaceServices
from pystack.serving import serving_of
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
_LEAST_MTU, _LEAST_MTU6 = 68, 1280


class AddressState(Enum):
    """Whether an address may be used (RFC 4862 2, RFC 5227)."""

    TENTATIVE = lib.PS_ADDRESS_TENTATIVE
    """Checking that no other host has it."""
    PREFERRED = lib.PS_ADDRESS_PREFERRED
    DEPRECATED = lib.PS_ADDRESS_DEPRECATED
    """Existing connections may use it; new ones choose another."""
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
    """Flags of an interface; see netdevice(7)."""

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
    """An address of an interface; a snapshot.

    Attributes:
        address: The address and its network.
        state: Whether it may be used.
        origin: Where it came from.
        valid_s: Seconds until it expires; None: never.
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
        """All addresses of both families; a snapshot."""
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
        """Adds an address to the interface.

        Args:
            address: With its network, as "10.0.0.2/24"; "10.0.0.2/32" is alone on it.
            detect: Check first that no other host has it (RFC 4862 5.4, RFC 5227 2.1). Until then
                the address can't be used; that takes about one second for IPv6, nine for IPv4.

        Raises:
            ValueError: Not an address, or one without a prefix.
            OSError: EEXIST, the Stack has it; ENOSPC, the interface has as many as lwIP allows;
                EINVAL, it can't be a host's.
        """
        where = to_c(with_prefix(address))
        if not any(packed(where)):
            raise OSError(errno.EINVAL, f"{address} can't be a host's address")
        self._handle.check(
            lib.ps_address_add(self._handle.pointer, self._index, where, detect),
            {
                errno.EEXIST: f"{address}: an interface of this Stack has that address already",
                errno.ENOSPC: f"{address}: the interface holds no more addresses of this family",
                errno.EINVAL: f"{address} can't be a host's address",
                errno.ENODEV: f"{address}: the interface is detached",
            },
        )
        self.warn_of_mtu()

    def warn_of_mtu(self) -> None:
        """Logs a line if there are IPv6 addresses where the MTU is too small for them."""
        mtu = next((raw.mtu for raw in _interfaces(self._handle) if raw.index == self._index), None)
        if mtu is None or mtu >= _LEAST_MTU6:
            return
        for entry in self.list():
            if entry.ip.version == 6 and not entry.ip.is_link_local:
                self._handle.answers.warn(
                    f"{entry.address}: IPv6 asks for an MTU of {_LEAST_MTU6} bytes (RFC 8200 5), "
                    f"and the interface has {mtu}"
                )

    def remove(self, address: Address | AddressWithNetwork | str) -> None:
        """Removes an address from the interface; connections that use it fail.

        Raises:
            OSError: EADDRNOTAVAIL, the interface has no such address.
        """
        self._handle.check(
            lib.ps_address_remove(self._handle.pointer, self._index, to_c(address)),
            {errno.EADDRNOTAVAIL: f"{address} is no address of this interface, which has {self}"},
        )

    def __repr__(self) -> str:
        return shown(self, lambda: repr([str(entry.address) for entry in self.list()]))


class Interface(InterfaceServices, KnownAttributes):
    """A NIC attached to a Stack, made by `Stack.attach`; or the Stack's loopback interface.

    Attributes:
        index: Its number in this Stack, from 1 (the loopback interface).
        nic: The NIC; None for the loopback interface.
        addresses: Its addresses.
    """

    _own_attributes = frozenset({"index", "nic", "addresses"})

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
        """The interface's flags, as they are now."""
        return InterfaceFlag(self._read().flags)

    @property
    def up(self) -> bool:
        """Whether it is up; assign to change that, as `ip link set up` does."""
        return bool(self._read().flags & lib.PS_IF_UP)

    @up.setter
    def up(self, up: bool) -> None:
        self._handle.check(lib.ps_interface_set_up(self._handle.pointer, self.index, bool(up)))
        serving = serving_of(self._handle)
        if serving is not None and not up:
            serving.note_down(self.index)

    @property
    def link(self) -> bool:
        """Whether its wire is connected."""
        return bool(self._read().flags & lib.PS_IF_LINK)

    @property
    def mtu(self) -> int:
        """The largest IP packet in bytes; assign to change it.

        New connections offer an MSS that fits, and existing ones send segments that fit.

        Raises:
            OSError: EINVAL, more than the NIC carries or less than 68. IPv6 asks for 1280 of every
                link (RFC 8200 5); setting less is your decision, and logged.
        """
        return int(self._read().mtu)

    @mtu.setter
    def mtu(self, mtu: int) -> None:
        most = None if self.nic is None else self.nic.mtu
        self._handle.check(
            lib.ps_interface_set_mtu(self._handle.pointer, self.index, mtu_to_c(mtu, most)),
            mtu_words(mtu, most),
        )
        self.addresses.warn_of_mtu()

    @property
    def mac(self) -> str | None:
        """Its Ethernet address, as "02:00:00:00:00:01"; None without one. Assign to change it."""
        raw = self._read()
        return mac_text(bytes(raw.mac)) if raw.layer == lib.PS_LAYER_ETHERNET else None

    @mac.setter
    def mac(self, mac: str | bytes) -> None:
        raw = own_mac_to_bytes(mac)
        self._handle.check(lib.ps_interface_set_mac(self._handle.pointer, self.index, raw))

    @property
    def address(self) -> AddressWithNetwork | None:
        """The first usable address, IPv4 before IPv6; None: there is none."""
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

    @overload
    def qdisc(self, kind: Literal["default"] | None = None, /) -> Qdisc: ...
    @overload
    def qdisc(
        self,
        kind: Literal["fq"],
        /,
        *,
        limit: int | None = None,
        flow_limit: int | None = None,
        rate: float | None = None,
    ) -> Qdisc: ...
    @overload
    def qdisc(
        self,
        kind: Literal["fq_codel"],
        /,
        *,
        limit: int | None = None,
        flows: int | None = None,
        target: float | None = None,
        interval: float | None = None,
        ecn: bool | None = None,
    ) -> Qdisc: ...
    @overload
    def qdisc(
        self,
        kind: Literal["netem"],
        /,
        *,
        delay: float | None = None,
        jitter: float | None = None,
        loss: float | None = None,
        duplicate: float | None = None,
        corrupt: float | None = None,
        reorder: float | None = None,
        gap: int | None = None,
        rate: float | None = None,
        limit: int | None = None,
        ecn: bool | None = None,
    ) -> Qdisc: ...
    @overload
    def qdisc(
        self,
        kind: Literal["tbf"],
        /,
        *,
        rate: float,
        burst: int,
        latency: float | None = None,
        limit: int | None = None,
    ) -> Qdisc: ...
    def qdisc(self, kind: str | None = None, /, **parameters: Any) -> Qdisc:
        """Reads or sets how packets wait for the interface, as tc(8) does; of the engine linux.

        ``qdisc("netem", delay=0.02, loss=0.01)``, ``qdisc("tbf", rate=10_000_000, burst=16_000,
        latency=0.05)``, ``qdisc("fq")``, ``qdisc("fq_codel", target=0.005)``; ``qdisc("default")``
        removes what was set, and ``qdisc()`` only reads. What is set replaces what was there,
        parameters and waiting packets included. It is for what goes out alone.

        Args:
            kind: Which.
            parameters: In seconds, bits per second, probabilities from 0 to 1, packets, and bytes
                (tbf's `burst` and `limit`): the attributes of `Qdisc`. tbf takes `latency`, the
                seconds that a packet waits at most, or `limit`. What is not named is Linux's
                default.

        Returns:
            What the interface has then.

        Raises:
            TypeError: It has no such parameter.
            ValueError: A parameter is out of range, or one that is needed is missing.
            OSError: EOPNOTSUPP, the engine has none; ENODEV, the interface is detached.
        """
        if kind is not None:
            set_qdisc(self._handle, self.index, kind, parameters)
        elif parameters:
            raise TypeError(
                f"a queueing discipline is named first, before its {next(iter(parameters))}"
            )
        return get_qdisc(self._handle, self.index)

    def detach(self) -> None:
        """Removes the interface from the Stack; the NIC can be attached again.

        Raises:
            OSError: ENODEV, it is detached already; EPERM, it is the loopback interface.
        """
        serving = serving_of(self._handle)
        if serving is not None and not self._handle.closed:
            self._read()  # it refuses whoever may not, before anything is given back
            serving.stop_all(self.index)
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
    """The gateways passed to `Stack.attach`: none, one, or one per family."""
    if gateway is None:
        return []
    if isinstance(gateway, (str, ipaddress.IPv4Address, ipaddress.IPv6Address)):
        gateway = [gateway]
    if not isinstance(gateway, Iterable):
        raise TypeError(f"a gateway is an address or a list of them, not {gateway!r}")
    return [_gateway(one) for one in gateway]


def _gateway(one: Any) -> Address:
    try:
        return ipaddress.ip_address(one)
    except ValueError:
        raise ValueError(f"gateway {one!r} is not an IP address, such as 10.0.0.1") from None


_ADDRESSES = (
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Interface,
    ipaddress.IPv6Interface,
)


def with_prefix(address: Any) -> Any:
    """An interface's address as it was given.

    Raises:
        ValueError: It has no prefix; that of a single host would leave no one else on its link.
        TypeError: It is no address.
    """
    if isinstance(address, (list, tuple)):
        raise TypeError(f"give each address by itself: attach(nic, *{address!r})")
    if not isinstance(address, (str, *_ADDRESSES)):
        raise TypeError(f"an address is a string, such as '10.0.0.1/24', not {address!r}")
    bare = isinstance(address, str) and "/" not in address
    if bare or type(address) in (ipaddress.IPv4Address, ipaddress.IPv6Address):
        parsed = ipaddress.ip_address(address)
        usual, alone = (24, 32) if parsed.version == 4 else (64, 128)
        raise ValueError(
            f"{address} has no prefix length: write {address}/{usual} or what its network has, "
            f"or {address}/{alone} for a network of one host"
        )
    return address


def mtu_to_c(mtu: Any, most: int | None) -> int:
    """An MTU that fits into C.

    Raises:
        TypeError: Not an int.
        OSError: EINVAL, out of range.
    """
    try:
        value = index(mtu)
    except TypeError:
        raise TypeError(f"an MTU is an int, not {mtu!r}") from None
    if not 0 <= value <= _FOREVER:
        raise OSError(errno.EINVAL, mtu_words(mtu, most)[errno.EINVAL])
    return value


def mtu_words(mtu: int, most: int | None) -> dict[int, str]:
    """What is said of an MTU that is refused."""
    bound = f"and at most the NIC's {most}" if most is not None else "and at most 65535"
    return {errno.EINVAL: f"MTU {mtu}: at least {_LEAST_MTU} bytes (RFC 791), {bound}"}


def _interfaces(handle: StackHandle) -> Iterator[Any]:
    return handle.listing(
        "struct ps_interface", lambda out, room: lib.ps_interfaces(handle.pointer, out, room)
    )
