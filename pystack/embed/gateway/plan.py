"""The addresses of a gateway's network: whose they are, and which are left for guests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from itertools import chain

from pystack._native.address import Network, parse, parse_network

__all__ = ["SUBNET", "SUBNET6", "Plan", "planned"]

SUBNET, SUBNET6 = "10.0.2.0/24", "fd00::/64"

_LINK_LOCAL = IPv6Address("fe80::2")
_GATEWAY, _DNS, _FIRST, _FIRST_IN_SMALL = 2, 3, 100, 4
_LONGEST_PREFIX = 29  # room for the gateway, its name server and a few guests
_LARGEST_PREFIX = 8


@dataclass(frozen=True)
class Plan:
    """A gateway's network; where nothing else was asked for, as slirp4netns lays it out.

    Attributes:
        network: IPv4's.
        gateway: The gateway's address in it.
        dns: Its name server's.
        first: The guest's: what the first lease gives.
        network6: IPv6's, of 64 bits; None: there is no IPv6.
        gateway6: The gateway's address in it.
        dns6: Its name server's.
        link_local: What the guest's default route of IPv6 leads to.
    """

    network: IPv4Network
    gateway: IPv4Address
    dns: IPv4Address
    first: IPv4Address
    network6: IPv6Network | None
    gateway6: IPv6Address | None
    dns6: IPv6Address | None
    link_local: IPv6Address = _LINK_LOCAL

    def pool(self) -> Iterator[IPv4Address]:
        """The addresses for guests, the first one first."""
        low, high = int(self.network.network_address) + 1, int(self.network.broadcast_address)
        kept = {int(self.gateway), int(self.dns)}
        first = int(self.first)
        for number in chain(range(first, high), range(low, first)):
            if number not in kept:
                yield IPv4Address(number)

    def has(self, address: IPv4Address | IPv6Address) -> bool:
        """Whether an address is of the guests' networks."""
        return address in self.network or (self.network6 is not None and address in self.network6)

    def beyond(self, text: str) -> IPv4Address | IPv6Address:
        """An address that guests reach through the gateway.

        Raises:
            ValueError: It is none, or is in their own networks.
        """
        address = ip_address(text)
        if self.has(address):
            raise ValueError(
                f"{text} can't stand for this machine's loopback: take an address outside the "
                "guests' networks, such as 192.0.2.2, which they reach through the gateway"
            )
        return address

    @property
    def addresses(self) -> list[str]:
        """The gateway's own, with their prefixes, its default one of each family first."""
        found = [f"{self.gateway}/{self.network.prefixlen}"]
        if self.dns != self.gateway:  # nothing leaves from it but answers: the network isn't its
            found.append(f"{self.dns}/32")
        if self.network6 is not None:
            six = dict.fromkeys(one for one in (self.gateway6, self.dns6) if one is not None)
            found += [f"{one}/{self.network6.prefixlen}" for one in six]
            found.append(f"{self.link_local}/64")
        return found


def _of_family(subnet: str | Network, version: int) -> Network:
    """A subnet as a network."""
    usual = {4: 24, 6: 64}[version]
    if isinstance(subnet, str) and "/" not in subnet:
        raise ValueError(
            f"the subnet {subnet!r} has no prefix length: write {subnet}/{usual} or what it has"
        )
    try:
        network = parse_network(subnet)
    except ValueError as error:
        raise ValueError(f"the subnet {subnet!r} is no IPv{version} network: {error}") from None
    if network.version != version:
        raise ValueError(f"the subnet {network} is of IPv{network.version}, not IPv{version}")
    return network


def _network(subnet: str | IPv4Network) -> IPv4Network:
    network = _of_family(subnet, 4)
    assert isinstance(network, IPv4Network)
    if not _LARGEST_PREFIX <= network.prefixlen <= _LONGEST_PREFIX:
        raise ValueError(
            f"the subnet {network} has a prefix outside /{_LARGEST_PREFIX} to /{_LONGEST_PREFIX}"
        )
    if network.is_loopback or network.is_multicast or int(network.network_address) < 1 << 24:
        raise ValueError(f"the subnet {network} has no addresses that hosts may have")
    return network


def _network6(subnet: str | IPv6Network | None) -> IPv6Network | None:
    if subnet is None:
        return None
    network = _of_family(subnet, 6)
    assert isinstance(network, IPv6Network)
    if network.prefixlen != 64:
        raise ValueError(
            f"the subnet {network}: hosts form addresses in a prefix of 64 bits alone (RFC 4862)"
        )
    if network.is_multicast or network.is_link_local or network.network_address.is_unspecified:
        raise ValueError(f"the subnet {network} has no addresses that hosts may have")
    return network


def _within(network: IPv4Network, address: str | IPv4Address | None, number: int) -> IPv4Address:
    if address is None:
        return network.network_address + number
    one = parse(address)
    if not isinstance(one, IPv4Address):
        raise ValueError(  # noqa: TRY004 - an address it is
            f"{one} is no IPv4 address: the subnet is {network}"
        )
    if one not in network or one in (network.network_address, network.broadcast_address):
        raise ValueError(f"{one} is no host's address in the subnet {network}")
    return one


def planned(
    subnet: str | IPv4Network = SUBNET,
    subnet6: str | IPv6Network | None = SUBNET6,
    *,
    gateway: str | IPv4Address | None = None,
    dns: str | IPv4Address | None = None,
    guest: str | IPv4Address | None = None,
) -> Plan:
    """The plan of a network.

    Args:
        subnet: IPv4's, of 8 to 29 bits.
        subnet6: IPv6's, of 64 bits; None: none.
        gateway: The gateway's address; default: the second of the subnet.
        dns: Its name server's; default: the third. It may be the gateway's.
        guest: The first guest's; default: the hundredth, in a small subnet the fourth.

    Raises:
        ValueError: No such network, or an address that is not in it or is another's.
    """
    network, network6 = _network(subnet), _network6(subnet6)
    small = network.num_addresses <= _FIRST + 1
    router = _within(network, gateway, _GATEWAY)
    server = _within(network, dns, _DNS if router != network.network_address + _DNS else _GATEWAY)
    first = _within(network, guest, _FIRST_IN_SMALL if small else _FIRST)
    if first in (router, server):
        raise ValueError(f"the guest's address {first} is the gateway's own")
    return Plan(
        network, router, server, first, network6,
        None if network6 is None else network6.network_address + _GATEWAY,
        None if network6 is None else network6.network_address + _DNS,
    )  # fmt: skip
