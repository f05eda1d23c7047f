"""IP addresses between Python and C."""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import Any, TypeAlias

from pystack._native._host import ffi, lib

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface: TypeAlias = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

NO_ADDRESS = ffi.NULL


def to_c(address: Address | Interface | str, port: int = 0, scope: int = 0) -> Any:
    """A `struct ps_address *` of an address or an interface's address with its prefix.

    Raises:
        ValueError: Not an IP address.
    """
    prefix = None
    if isinstance(address, str):
        address = ipaddress.ip_interface(address) if "/" in address else parse(address)
    if isinstance(address, (ipaddress.IPv4Interface, ipaddress.IPv6Interface)):
        prefix = address.network.prefixlen
        address = address.ip
    elif not isinstance(address, (ipaddress.IPv4Address, ipaddress.IPv6Address)):
        raise TypeError(_no_address(address))
    out = ffi.new("struct ps_address *")
    packed = address.packed
    ffi.memmove(out.bytes, packed, len(packed))
    out.family = lib.PS_INET if address.version == 4 else lib.PS_INET6
    out.prefix = address.max_prefixlen if prefix is None else prefix
    out.port = port
    out.scope = scope
    return out


def _no_address(given: object) -> str:
    return f"an address is a string, such as '10.0.0.1', or an object of ipaddress, not {given!r}"


def network_to_c(network: Network | str) -> Any:
    """A `struct ps_address *` of a network; "default" is not one, for it has two families.

    Raises:
        ValueError: Not a network, or host bits are set.
    """
    network = parse_network(network)
    out = to_c(network.network_address)
    out.prefix = network.prefixlen
    return out


def parse(address: Address | str) -> Address:
    """An address object.

    Raises:
        ValueError: Not an IP address.
        TypeError: Neither a string nor an address.
    """
    if isinstance(address, (ipaddress.IPv4Interface, ipaddress.IPv6Interface)) or not isinstance(
        address, (str, ipaddress.IPv4Address, ipaddress.IPv6Address)
    ):
        raise TypeError(_no_address(address))
    return ipaddress.ip_address(address)


def parse_network(network: Network | str) -> Network:
    """A network object.

    Raises:
        ValueError: Not a network, or host bits are set.
        TypeError: Neither a string nor a network.
    """
    if isinstance(network, (ipaddress.IPv4Network, ipaddress.IPv6Network)):
        return network
    if not isinstance(network, str):
        raise TypeError(f"expected a network, such as '10.1.0.0/16', not {network!r}")
    meant = ipaddress.ip_network(network, strict=False)
    one = ipaddress.ip_interface(network).ip
    if one != meant.network_address:
        raise ValueError(
            f"{network!r} has host bits set: write {meant}, or {one}/{one.max_prefixlen} for this "
            "address alone"
        )
    return meant


def packed(address: Any) -> bytes:
    """The network-order bytes of a `struct ps_address`: 4, 16, or none."""
    if address.family == lib.PS_INET:
        return bytes(ffi.buffer(address.bytes, 4))
    return bytes(ffi.buffer(address.bytes, 16)) if address.family == lib.PS_INET6 else b""


def from_c(address: Any) -> Address:
    """An address object of a `struct ps_address`; its scope is not kept.

    Raises:
        ValueError: It has no family.
    """
    return ipaddress.ip_address(packed(address))


def maybe_from_c(address: Any) -> Address | None:
    """As `from_c`; None for a structure without a family."""
    return from_c(address) if address.family else None


def network_from_c(address: Any) -> Network:
    """A network object of a `struct ps_address` with a prefix."""
    return ipaddress.ip_network((packed(address), address.prefix))


def interface_from_c(address: Any) -> Interface:
    """An address-with-network object of a `struct ps_address` with a prefix."""
    return ipaddress.ip_interface((packed(address), address.prefix))


def text(address: Any) -> str:
    """The address of a `struct ps_address` as text, with its scope behind a percent sign."""
    if address.family == lib.PS_INET:
        return socket.inet_ntop(socket.AF_INET, packed(address))
    shown = socket.inet_ntop(socket.AF_INET6, packed(address) or bytes(16))
    return f"{shown}%{address.scope}" if address.scope else shown


def mac_to_bytes(mac: str | bytes) -> bytes:
    """The six bytes of an Ethernet address.

    Raises:
        ValueError: Not one, as "02:00:00:00:00:01".
    """
    raw = mac
    if isinstance(raw, str):
        try:
            raw = bytes(int(part, 16) for part in raw.replace("-", ":").split(":"))
        except ValueError:
            raw = b""
    elif not isinstance(raw, (bytes, bytearray, memoryview)):
        raise TypeError(f"an Ethernet address is a string or 6 bytes, not {mac!r}")
    if len(raw) != 6:
        raise ValueError(f"{mac!r} is no Ethernet address: one is written as 02:00:00:00:00:01")
    return bytes(raw)


def own_mac_to_bytes(mac: str | bytes) -> bytes:
    """The same of one that an interface may have.

    Raises:
        ValueError: Not one.
        OSError: EADDRNOTAVAIL, a group's (IEEE 802 3.2), or all zeros.
    """
    raw = mac_to_bytes(mac)
    if raw[0] & 1 or not any(raw):
        kind = "a group's" if any(raw) else "nobody's"
        text = f"{mac_text(raw)} is {kind} address: an interface's own begins with 02, say"
        raise OSError(errno.EADDRNOTAVAIL, text)
    return raw


def mac_text(mac: bytes) -> str:
    """An Ethernet address as "02:00:00:00:00:01"."""
    return mac.hex(":")
