"""The network around a Host when a case begins: addresses, routers, MTU.

All addresses are reserved for documentation (RFC 5737, RFC 3849), in case a frame ever leaves the
lab.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import Enum

__all__ = ["Plan", "Port", "Topology", "link_local"]


def link_local(mac: str) -> str:
    """The link-local IPv6 address formed from a MAC (RFC 4291 appendix A)."""
    raw = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes((raw[0] ^ 2, *raw[1:3], 0xFF, 0xFE, *raw[3:]))
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + identifier))


@dataclass(frozen=True)
class Port:
    """One wire: the Host's interface at one end, the tester at the other.

    Attributes:
        host_mac: The Host's.
        tester_mac: The tester's.
        host4: The Host's IPv4 address; "": none yet.
        tester4: The tester's.
        host6: The Host's global IPv6 address; "": none yet.
        tester6: The tester's.
        prefix4: Length of the IPv4 network's prefix.
        prefix6: Length of the IPv6 network's prefix.
        mtu: Bytes of IP packet.
    """

    host_mac: str
    tester_mac: str
    host4: str
    tester4: str
    host6: str
    tester6: str
    prefix4: int = 24
    prefix6: int = 64
    mtu: int = 1500

    @property
    def host_link_local(self) -> str:
        """The Host's link-local IPv6 address."""
        return link_local(self.host_mac)

    @property
    def tester_link_local(self) -> str:
        """The tester's link-local IPv6 address."""
        return link_local(self.tester_mac)

    @property
    def network4(self) -> ipaddress.IPv4Network:
        """The wire's IPv4 network."""
        return ipaddress.IPv4Network(f"{self.tester4}/{self.prefix4}", strict=False)

    @property
    def network6(self) -> ipaddress.IPv6Network:
        """The wire's IPv6 network."""
        return ipaddress.IPv6Network(f"{self.tester6}/{self.prefix6}", strict=False)


@dataclass(frozen=True)
class Plan:
    """All of a Host's wires and its routing.

    Attributes:
        ports: Its wires.
        gateway4: Its default router; None: none.
        gateway6: The same for IPv6.
        forwarding: Whether it forwards.
    """

    ports: tuple[Port, ...]
    gateway4: str | None = None
    gateway6: str | None = None
    forwarding: bool = False


_FIRST = Port(
    host_mac="02:00:5e:00:53:02",
    tester_mac="02:00:5e:00:53:01",
    host4="192.0.2.2",
    tester4="192.0.2.1",
    host6="2001:db8:1::2",
    tester6="2001:db8:1::1",
)
_SECOND = Port(
    host_mac="02:00:5e:00:53:12",
    tester_mac="02:00:5e:00:53:11",
    host4="203.0.113.2",
    tester4="203.0.113.1",
    host6="2001:db8:2::2",
    tester6="2001:db8:2::1",
)
_BARE = Port(
    host_mac=_FIRST.host_mac,
    tester_mac=_FIRST.tester_mac,
    host4="",
    tester4=_FIRST.tester4,
    host6="",
    tester6=_FIRST.tester6,
)


class Topology(Enum):
    """The topologies that cases choose from, each described by its value."""

    HOST = "The Host has one interface, 192.0.2.2/24 and 2001:db8:1::2/64. The tester is at the \
other end, 192.0.2.1 and 2001:db8:1::1, and is the Host's default router."
    ROUTER = "The Host forwards between two interfaces: 192.0.2.2/24 and 2001:db8:1::2/64, \
203.0.113.2/24 and 2001:db8:2::2/64. The tester is at the other end of both (.1, ::1)."
    BARE = "The Host has one interface, with no addresses but its link-local one. The tester is \
at the other end, as whatever server or router the case needs."

    def plan(self) -> Plan:
        """The topology as addresses."""
        if self is Topology.HOST:
            return Plan((_FIRST,), _FIRST.tester4, _FIRST.tester6)
        if self is Topology.ROUTER:
            return Plan((_FIRST, _SECOND), forwarding=True)
        return Plan((_BARE,))
