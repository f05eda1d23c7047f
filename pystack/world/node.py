"""What links join: hosts, switches and the sides of NATs, and the addresses that they get."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pystack.nic import Nic

__all__ = ["Network", "Node", "Segment", "addresses_of"]


class Node(Protocol):
    """What a link may end at."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def world(self) -> object:
        """Where it is."""
        ...

    @property
    def machine(self) -> Any:
        """The host or switch that it is, or is a part of."""
        ...

    @property
    def segment(self) -> Segment | None:
        """The switches that it is one of; None: it is none."""
        ...

    def accept(self, addresses: list[str]) -> None:
        """Raises what `plug` would with these addresses, before anything is made."""
        ...

    def plug(self, end: Nic, nic: Nic, addresses: list[str]) -> None:
        """Takes an end of a link, and what is around it, if anything is: it is that itself."""
        ...


class Network:
    """Addresses of both families, given out in their order.

    Args:
        four: IPv4's.
        six: IPv6's.

    Raises:
        ValueError: They are no networks.
    """

    def __init__(self, four: str, six: str) -> None:
        self.four, self.six = ipaddress.IPv4Network(four), ipaddress.IPv6Network(six)
        self._given = 0

    @classmethod
    def numbered(cls, number: int) -> Network:
        """The World's own: 10.0.NUMBER.0/24 and fd00:0:0:NUMBER::/64."""
        four = ipaddress.IPv4Address("10.0.0.0") + (number << 8)
        six = ipaddress.IPv6Address("fd00::") + (number << 64)
        return cls(f"{four}/24", f"{six}/64")

    def give(self) -> list[str]:
        """The next pair, with prefixes.

        Raises:
            ValueError: There is none left.
        """
        number = self._given + 1
        if number >= min(self.four.num_addresses, self.six.num_addresses) - 1:
            raise ValueError(
                f"{self.four} has no address left: world.switch(name, "
                'networks=("10.128.0.0/16", "fd80::/64")) has more'
            )
        self._given = number
        return [f"{network[number]}/{network.prefixlen}" for network in (self.four, self.six)]


class Segment:
    """Switches that are linked to each other.

    Attributes:
        switches: By their names.
        network: Whose addresses hosts on them get; None: not chosen yet.
    """

    def __init__(self, name: str, network: Network | None) -> None:
        self.switches = {name}
        self.network = network


def addresses_of(left: Node, right: Node, number: int) -> tuple[list[str], list[str]]:
    """The addresses of a new link's ends; a switch has none.

    Args:
        left: What is at one end.
        right: What is at the other.
        number: The link's.

    Raises:
        ValueError: A switch's network has none left.
    """
    network = Network.numbered(number)
    if left.segment is not None and right.segment is not None:
        return [], []
    for one in (left, right):
        if one.segment is not None:
            one.segment.network = network = one.segment.network or network
            break
    first, second = ([] if one.segment else network.give() for one in (left, right))
    return first, second
