"""What DHCP and DHCPv6 have leased to an interface."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from pystack._native import StackHandle, ffi, lib
from pystack._native.moments import NEVER

if TYPE_CHECKING:
    from pystack.serving.dhcp import DhcpClient
    from pystack.serving.dhcp6 import Dhcp6Client

__all__ = [
    "Lease", "Lease6", "LeaseState", "LeasedAddress", "lease6_of", "lease_of", "read_lease",
]  # fmt: skip

_NAME_SERVERS_MAXIMUM = 4
_FOREVER = 0xFFFFFFFF


class LeaseState(Enum):
    """The state of a DHCP client (RFC 2131 4.4), or of one of DHCPv6 (RFC 9915 18.2)."""

    OFF = 0
    """Not running."""
    SEARCHING = 1
    """Looking for a server, or requesting the address that one offered."""
    CHECKING = 2
    """Probing whether another host has the address (RFC 5227 2.1, RFC 4862 5.4)."""
    BOUND = 3
    RENEWING = 4
    """Bound, and asking the lease's server to extend it."""
    REBINDING = 5
    """Bound, and asking any server to extend the lease, or whether it is right on a link that is
    back."""


@dataclass(frozen=True)
class Lease:
    """A DHCP lease; a snapshot.

    Attributes:
        state: The client's state. Before `LeaseState.CHECKING` the rest is empty.
        address: The leased address and its network.
        server: The server's identifier (RFC 2132 9.7).
        gateway: The first router in the server's list.
        dns: The Stack's IPv4 name servers, including the lease's: lwIP doesn't keep a list per
            server.
        obtained_s: Seconds since the lease was granted or last extended.
        lease_s: The lease's length in seconds; None: for ever.
        renew_s: Seconds from the start to the first renewal (T1); None: never.
        rebind_s: Seconds from the start to rebinding (T2); None: never.
        hostname: The name sent to the server; empty: none.
        domain: The domain name from the server (RFC 2132 3.17); empty: none.
    """

    state: LeaseState
    address: ipaddress.IPv4Interface | None
    server: ipaddress.IPv4Address | None
    gateway: ipaddress.IPv4Address | None
    dns: tuple[ipaddress.IPv4Address, ...]
    obtained_s: int
    lease_s: int | None
    renew_s: int | None
    rebind_s: int | None
    hostname: str
    domain: str

    @property
    def bound(self) -> bool:
        """Whether the interface has the leased address now."""
        return self.state in (LeaseState.BOUND, LeaseState.RENEWING, LeaseState.REBINDING)

    @property
    def remaining_s(self) -> int | None:
        """Seconds until the lease expires unless extended; None: never."""
        return None if self.lease_s is None else max(0, self.lease_s - self.obtained_s)


@dataclass(frozen=True)
class LeasedAddress:
    """An address of a DHCPv6 lease.

    Attributes:
        address: The address, alone in its network: routers say who else is on the link.
        preferred_s: Seconds until no connection begins from it where there is another address;
            None: never.
        valid_s: Seconds until it is taken away unless extended; None: never.
    """

    address: ipaddress.IPv6Interface
    preferred_s: int | None
    valid_s: int | None


@dataclass(frozen=True)
class Lease6:
    """A DHCPv6 lease (RFC 9915, IA_NA); a snapshot.

    Attributes:
        state: The client's state. Before `LeaseState.CHECKING` the rest is empty.
        addresses: The leased addresses, those included that are being checked.
        server: The server's DUID; empty: there is no lease.
        dns: The server's name servers.
        domains: The server's search list (RFC 3646).
        obtained_s: Seconds since the lease was granted or last extended.
        renew_s: Seconds from the start to the first renewal (T1); None: never.
        rebind_s: Seconds from the start to rebinding (T2); None: never.
    """

    state: LeaseState
    addresses: tuple[LeasedAddress, ...] = ()
    server: bytes = b""
    dns: tuple[ipaddress.IPv6Address, ...] = ()
    domains: tuple[str, ...] = ()
    obtained_s: int = 0
    renew_s: int | None = 0
    rebind_s: int | None = 0

    @property
    def bound(self) -> bool:
        """Whether the interface has leased addresses now."""
        return self.state in (LeaseState.BOUND, LeaseState.RENEWING, LeaseState.REBINDING)

    @property
    def remaining_s(self) -> int | None:
        """Seconds until the last of the addresses expires unless extended; None: never."""
        left = [one.valid_s for one in self.addresses]
        known = [seconds for seconds in left if seconds is not None]
        return None if len(known) < len(left) else max(known, default=0)


def _address4(pointer: Any) -> ipaddress.IPv4Address | None:
    return ipaddress.IPv4Address(bytes(pointer.bytes)[:4]) if pointer.family else None


def _text(pointer: Any) -> str:
    # The server's bytes, not necessarily text.
    return bytes(ffi.string(pointer)).decode("utf-8", "backslashreplace")


def _seconds(value: int) -> int | None:
    return None if value == _FOREVER else value


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds)


def read_lease(handle: StackHandle, index: int) -> Lease:
    """The lease of the engine's client of DHCP, if it has one."""
    raw = ffi.new("struct ps_lease *")
    handle.check(lib.ps_lease_get(handle.pointer, index, raw))
    address = _address4(raw.address)
    return Lease(
        state=LeaseState(raw.state),
        address=None
        if address is None
        else ipaddress.IPv4Interface((address, raw.address.prefix or 32)),
        server=_address4(raw.server),
        gateway=_address4(raw.gateway),
        dns=tuple(found for found in map(_address4, raw.dns) if found is not None),
        obtained_s=raw.obtained_s,
        lease_s=_seconds(raw.lease_s),
        renew_s=_seconds(raw.renew_s),
        rebind_s=_seconds(raw.rebind_s),
        hostname=_text(raw.hostname),
        domain=_text(raw.domain),
    )


def lease_of(client: DhcpClient, now_us: int) -> Lease:
    """The lease of a client in Python."""
    reply, (lease_s, renew_s, rebind_s) = client.reply, client.times_s
    known = reply is not None
    return Lease(
        state=LeaseState(client.phase.state),
        address=client.address,
        server=client.server if known else None,
        gateway=None if reply is None else reply.router,
        dns=() if reply is None else reply.dns[:_NAME_SERVERS_MAXIMUM],
        obtained_s=max(0, now_us - client.obtained_us) // 1_000_000 if known else 0,
        lease_s=lease_s if known else 0,
        renew_s=_whole(renew_s) if known else 0,
        rebind_s=_whole(rebind_s) if known else 0,
        hostname=client.hostname,
        domain="" if reply is None else reply.domain,
    )


def _until(moment_us: int, now_us: int) -> int | None:
    return None if moment_us == NEVER else max(0, moment_us - now_us) // 1_000_000


def lease6_of(client: Dhcp6Client, now_us: int) -> Lease6:
    """The lease of a client of DHCPv6 at a moment of the Stack's clock."""
    lessee = client.lessee
    state = LeaseState(client.phase.state)
    answer, began_us = lessee.answer, lessee.obtained_us
    if answer is None:
        return Lease6(state)
    return Lease6(
        state=state,
        addresses=tuple(
            LeasedAddress(
                one.interface, _until(one.preferred_us, now_us), _until(one.valid_us, now_us)
            )
            for one in lessee.held.values()
        ),
        server=answer.server,
        dns=answer.dns,
        domains=answer.domains,
        obtained_s=max(0, now_us - began_us) // 1_000_000,
        renew_s=_until(lessee.t1_us, began_us),
        rebind_s=_until(lessee.t2_us, began_us),
    )
