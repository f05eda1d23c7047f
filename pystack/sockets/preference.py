"""In which order a host's addresses are given: RFC 6724 6, as getaddrinfo(3) has it.

An address that packets can reach from here stands before one that they can't, so that a program
which tries the first alone gets through.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import TypeAlias, TypeVar

from pystack._native import StackHandle, ffi, lib
from pystack._native.address import Interface, interface_from_c, maybe_from_c, to_c

__all__ = ["preferred"]

_IP: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Named = TypeVar("Named", bound="tuple[object, str]")

# RFC 6724 2.1, with the labels and precedences of the GNU C library: prefix, label, precedence.
_POLICY = tuple(
    (ipaddress.IPv6Network(prefix), label, precedence)
    for prefix, label, precedence in (
        ("::1/128", 0, 50),
        ("::ffff:0:0/96", 4, 10),
        ("::/96", 3, 20),
        ("2001::/32", 7, 40),
        ("2002::/16", 2, 30),
        ("fec0::/10", 5, 40),
        ("fc00::/7", 6, 40),
        ("::/0", 1, 40),
    )
)
_LINK, _SITE, _GLOBAL = 2, 5, 14


def _as_six(address: _IP) -> ipaddress.IPv6Address:
    if isinstance(address, ipaddress.IPv6Address):
        return ipaddress.IPv6Address(address.packed)  # without its zone
    return ipaddress.IPv6Address(bytes(10) + b"\xff\xff" + address.packed)


def _policy(address: _IP) -> tuple[int, int]:
    """An address's label and precedence."""
    six = _as_six(address)
    return next((label, order) for prefix, label, order in _POLICY if six in prefix)


def _scope(address: _IP) -> int:
    if address.is_multicast and isinstance(address, ipaddress.IPv6Address):
        return address.packed[1] & 15
    if address.is_loopback or address.is_link_local:
        return _LINK
    return (
        _SITE if isinstance(address, ipaddress.IPv6Address) and address.is_site_local else _GLOBAL
    )


def _common(one: _IP, other: _IP) -> int:
    """How many bits two addresses of one version begin with alike."""
    return one.max_prefixlen - (int(one) ^ int(other)).bit_length()


def _own(handle: StackHandle) -> list[tuple[Interface, int]]:
    """The Stack's addresses, and the interfaces that have them."""
    return [
        (interface_from_c(entry.address), int(entry.interface))
        for entry in handle.listing(
            "struct ps_interface_address",
            lambda out, room: lib.ps_addresses(handle.pointer, out, room),
        )
    ]


def _source(
    handle: StackHandle, all_own: Sequence[tuple[Interface, int]], to: _IP
) -> Interface | None:
    """The address that packets to `to` have, in its network; None: there is no way there."""
    own = [one for one in all_own if one[0].version == to.version]
    here = next((address for address, _interface in own if address.ip == to), None)
    if here is not None or to.is_loopback:
        return here or ipaddress.ip_interface(to)
    if isinstance(to, ipaddress.IPv6Address) and to.is_link_local and not to.scope_id:
        return None  # on which link?
    route = ffi.new("struct ps_route *")
    if lib.ps_route_lookup(handle.pointer, to_c(to), route) < 0:
        return None
    chosen = maybe_from_c(route.source)
    if chosen is not None:
        return next((one for one, _interface in own if one.ip == chosen), None)
    others = [address for address, _interface in own if not address.ip.is_loopback]
    there = [address for address, interface in own if interface == route.interface]
    return max(
        there or others,
        key=lambda one: (_scope(one.ip) == _scope(to), _common(one.ip, to)),
        default=None,
    )


def _rank(handle: StackHandle, own: Sequence[tuple[Interface, int]], text: str) -> tuple[int, ...]:
    """What an address is sorted by; the least comes first."""
    to = ipaddress.ip_address(text)
    label, precedence = _policy(to)
    source = _source(handle, own, to)
    if source is None:
        return (1, 0, 0, -precedence, _scope(to))
    # Outside its network what an IPv4 address begins with says nothing.
    near = to.version == 6 or to in source.network
    return (
        0,
        _scope(to) != _scope(source.ip),
        label != _policy(source.ip)[0],
        -precedence,
        _scope(to),
        -_common(to, source.ip) if near else 0,
    )


def preferred(handle: StackHandle, found: Sequence[Named]) -> list[Named]:
    """A name's addresses, `(family, text)`, the best first; equals stay as they came."""
    if len(found) < 2:
        return list(found)
    own = _own(handle)
    return sorted(found, key=lambda one: _rank(handle, own, one[1]))
