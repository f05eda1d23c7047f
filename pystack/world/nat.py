"""NATs of a World."""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass
from typing import Any

from pystack._native import check, ffi, lib
from pystack.nic import Nic
from pystack.world.host import Host, HostsWorld
from pystack.world.units import seconds

__all__ = ["Nat", "NatCounts", "NatMapping", "NatSide"]

_KINDS = {
    "full-cone": lib.PS_NAT_FULL_CONE,
    "restricted": lib.PS_NAT_RESTRICTED,
    "port-restricted": lib.PS_NAT_PORT_RESTRICTED,
    "symmetric": lib.PS_NAT_SYMMETRIC,
}
_PROTOCOLS = {
    "udp": socket.IPPROTO_UDP,
    "tcp": socket.IPPROTO_TCP,
    "icmp": socket.IPPROTO_ICMP,
}
_NAMES = {int(number): name for name, number in _PROTOCOLS.items()}
_MOST_SESSIONS = 1 << 20

Endpoint = tuple[ipaddress.IPv4Address, int]


@dataclass(frozen=True)
class NatMapping:
    """A mapping that lives.

    Attributes:
        protocol: "udp", "tcp" or "icmp".
        inside: The endpoint inside: address, and port or (ICMP echo) identifier.
        outside: What it is outside.
        remote: The only remote endpoint that it is for, if the NAT is symmetric; else None.
        sessions: How many remote endpoints it was used for and has not forgotten.
        fixed: Whether it is a forwarded port.
    """

    protocol: str
    inside: Endpoint
    outside: Endpoint
    remote: Endpoint | None
    sessions: int
    fixed: bool


@dataclass(frozen=True)
class NatCounts:
    """What became of packets.

    Attributes:
        outgoing: Translated on their way out.
        incoming: Translated on their way in.
        hairpinned: From inside to inside.
        filtered: Dropped, for nothing had opened the port to their sender.
        refused: Dropped, for the table or the ports were all taken.
        untranslatable: Dropped, for there is nothing in them to translate: other protocols,
            fragments that overtook the first, malformed ones.
    """

    outgoing: int
    incoming: int
    hairpinned: int
    filtered: int
    refused: int
    untranslatable: int


class NatSide:
    """One side of a NAT, for `World.link`.

    Attributes:
        nat: Whose.
        name: The NAT's name and its own.
    """

    def __init__(self, nat: Nat, name: str, *, is_outside: bool) -> None:
        self.nat = nat
        self.name = f"{nat.name}.{name}"
        self._is_outside = is_outside

    @property
    def world(self) -> object:
        """Where it is."""
        return self.nat.world

    @property
    def machine(self) -> Nat:
        """The NAT."""
        return self.nat

    @property
    def segment(self) -> None:
        """None: it is no switch."""
        return None

    def accept(self, addresses: list[str]) -> None:
        """Says whether a link with these addresses is possible.

        Raises:
            ValueError: It is a second one outside, or has no IPv4 address there.
        """
        if self._is_outside:
            self.nat._outside_address(addresses)

    def plug(self, end: Nic, nic: Nic, addresses: list[str]) -> None:
        """Attaches the end of a link; `World.link` does it.

        Raises:
            ValueError: As of `accept`.
        """
        self.nat._plug_side(end, nic, addresses, is_outside=self._is_outside)

    def __repr__(self) -> str:
        return f"<NatSide {self.name}>"


class Nat(Host):
    """A router that gives what leaves its inside the address of its outside (RFC 4787, 5382, 5508).

    Made by `World.nat`. It is a host that forwards, with `World.link` at its sides:
    `world.link(client, nat.inside)`, `world.link(nat.outside, router)`; routes beyond the links are
    yours to add, as on any host. It translates UDP, TCP, ICMP echo and the packet inside ICMP
    errors, of IPv4 alone: IPv6 is routed as it is. Packets for its own sockets are let in as any
    others, once these have sent something; `forward` opens a port for good.

    Attributes:
        kind: "full-cone", "restricted", "port-restricted" or "symmetric".
        inside: For links to what is behind it.
        outside: For the one link to the rest.
    """

    _own_attributes = Host._own_attributes | {"kind", "inside", "outside"}

    def __init__(
        self,
        world: HostsWorld,
        name: str,
        kind: str,
        *,
        udp_timeout: float | str = 300,
        tcp_timeout: float | str = 7440,
        tcp_transitory_timeout: float | str = 240,
        icmp_timeout: float | str = 60,
        preserve_ports: bool = True,
        hairpin: bool = True,
        limit: int = 4096,
        **options: Any,
    ) -> None:
        if kind not in _KINDS:
            raise ValueError(f"a NAT's kind is one of {', '.join(_KINDS)}, not {kind!r}")
        if not 1 <= limit <= _MOST_SESSIONS:
            raise ValueError(f"a NAT holds 1 to {_MOST_SESSIONS} sessions, not {limit!r}")
        settings = ffi.new("struct ps_nat_settings *")
        settings.kind = _KINDS[kind]
        settings.preserves_ports, settings.hairpins = preserve_ports, hairpin
        settings.most_sessions = limit
        for field, value in (
            ("udp", udp_timeout), ("tcp", tcp_timeout),
            ("tcp_transitory", tcp_transitory_timeout), ("icmp", icmp_timeout),
        ):  # fmt: skip
            settings_us = round(seconds(value, f"{field}_timeout") * 1e6)
            if settings_us == 0:
                raise ValueError(f"{field}_timeout is more than 0 seconds, not {value!r}")
            setattr(settings, f"{field}_us", settings_us)
        out = ffi.new("ps_nat **")
        check(lib.ps_nat_create(world.clock.pointer, settings, options["seed"], out))
        self._nat: Any = ffi.gc(out[0], lib.ps_nat_release)
        self._address: ipaddress.IPv4Address | None = None
        self.kind = kind
        super().__init__(world, name, forwards=True, **options)
        self.inside = NatSide(self, "inside", is_outside=False)
        self.outside = NatSide(self, "outside", is_outside=True)

    def _outside_address(self, addresses: list[str]) -> ipaddress.IPv4Address:
        four = [one for one in addresses if ":" not in one]
        if self._address is not None:
            raise ValueError(f"{self} has its outside link already")
        if not four:
            raise ValueError(f"{self} needs an IPv4 address outside, and gets {addresses}")
        return ipaddress.IPv4Address(four[0].partition("/")[0])

    def _plug_side(self, end: Nic, nic: Nic, addresses: list[str], *, is_outside: bool) -> None:
        if is_outside:
            self._address = self._outside_address(addresses)
            lib.ps_nat_set_address(self._nat, _number(self._address))
        error = ffi.new("int *")
        pointer = lib.ps_nat_nic(self._nat, nic._pointer, is_outside, error)
        if pointer == ffi.NULL:
            check(-int(error[0]))
        super().plug(end, Nic(pointer), addresses)

    def accept(self, addresses: list[str]) -> None:
        """Refuses: a link is plugged into one of its sides.

        Raises:
            TypeError: Always.
        """
        raise TypeError(f"link {self.name}.inside or {self.name}.outside, not the NAT itself")

    def restart(self) -> None:
        """As `Host.restart`; mappings are forgotten, but for forwarded ports."""
        lib.ps_nat_reset(self._nat)
        super().restart()

    def forward(self, protocol: str, port: int, address: str, inside_port: int = 0) -> None:
        """Opens an outside port for good, to everybody.

        Args:
            protocol: "udp" or "tcp".
            port: Outside.
            address: Of the host inside; or the NAT's own outside address.
            inside_port: Its port; 0: the same.

        Raises:
            ValueError: A port or protocol that is none.
            OSError: EADDRINUSE, the port is taken.
        """
        if protocol not in ("udp", "tcp"):
            raise ValueError(f'a port is of "udp" or "tcp", not {protocol!r}')
        for one in (port, inside_port or port):
            if not 1 <= one <= 65535:
                raise ValueError(f"a port is from 1 to 65535, not {one}")
        inside = ipaddress.IPv4Address(address)
        result = lib.ps_nat_forward(
            self._nat, _PROTOCOLS[protocol], socket.htons(port), _number(inside),
            socket.htons(inside_port or port),
        )  # fmt: skip
        if result == -errno.EADDRINUSE:
            raise OSError(
                errno.EADDRINUSE, f"{protocol} port {port} of {self.name} is mapped already"
            )
        check(result)

    def mappings(self) -> list[NatMapping]:
        """Those that live now, by protocol and outside port."""
        count = int(lib.ps_nat_mappings(self._nat, ffi.NULL, 0))
        raw = ffi.new("struct ps_nat_mapping[]", count)
        lib.ps_nat_mappings(self._nat, raw, count)
        outside = self._address or ipaddress.IPv4Address(0)
        found = [
            NatMapping(
                _NAMES[one.protocol],
                (_address(one.inside_address), socket.ntohs(one.inside_port)),
                (outside, socket.ntohs(one.outside_port)),
                (_address(one.remote_address), socket.ntohs(one.remote_port))
                if one.remote_address
                else None,
                int(one.sessions),
                bool(one.is_fixed),
            )
            for one in raw
        ]
        return sorted(found, key=lambda one: (one.protocol, one.outside))

    def counts(self) -> NatCounts:
        """What became of packets."""
        raw = ffi.new("struct ps_nat_counts *")
        lib.ps_nat_counts(self._nat, raw)
        return NatCounts(
            int(raw.outgoing), int(raw.incoming), int(raw.hairpinned), int(raw.filtered),
            int(raw.refused), int(raw.untranslatable),
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<Nat {self.name}: {self.kind}>"


def _number(address: ipaddress.IPv4Address) -> int:
    """In network byte order, as C has it."""
    return socket.htonl(int(address))


def _address(number: int) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(socket.ntohl(number))
