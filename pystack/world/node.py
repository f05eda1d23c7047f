"""What links join: hosts, switches and the sides of NATs, and the addresses that they get."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pystack._native import lib

if TYPE_CHECKING:
    from pystack.nic import Nic

__all__ = ["Network", "Node", "Segment", "addresses_of", "check_link", "check_name", "plug_both"]

_LEAST_MTU, _MOST_MTU = 68, lib.PS_MTU_MAXIMUM


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


def check_link(world: object, ends: tuple[Node, Node], addresses: Any, mtu: int) -> None:
    """Raises TypeError or ValueError for what can't be a link."""
    if not isinstance(mtu, int):
        raise TypeError(f"an MTU is a number of bytes, not {mtu!r}")
    if not _LEAST_MTU <= mtu <= _MOST_MTU:
        raise ValueError(f"an MTU is from {_LEAST_MTU} to {_MOST_MTU} bytes, not {mtu}")
    if addresses is not None and len(addresses) != len(ends):
        raise ValueError(f"addresses are two, one for each end, not {addresses!r}")
    for one in ends:
        if getattr(one, "plug", None) is None:
            raise TypeError(f"a link is between hosts, as world.host makes them, not {one!r}")
        if one.world is not world:
            raise ValueError(f"{one} is not in this World")
    if ends[0] is ends[1]:
        raise ValueError(f"a link has two ends, and {ends[0]} is only one")


def plug_both(
    nodes: Sequence[Node],
    ends: Sequence[Nic],
    nics: Sequence[Nic],
    addresses: Sequence[list[str]],
) -> None:
    """Plugs a link in at its two ends, or, where the second one can't be, at no host.

    Args:
        nodes: What is at them.
        ends: The link's own.
        nics: What is attached: these, or what is around them.
        addresses: Of each.
    """
    first, second = zip(nodes, ends, nics, addresses, strict=True)
    first[0].plug(*first[1:])
    try:
        second[0].plug(*second[1:])
    except Exception:
        getattr(first[0], "unplug", int)()
        raise


def check_name(name: str, others: Mapping[str, str]) -> None:
    """Raises TypeError or ValueError for what can't be a name, or is one of the others'.

    Args:
        name: The name.
        others: Those there are, by themselves in small letters.
    """
    if not isinstance(name, str):
        raise TypeError(f"a name is a string, not {name!r}")
    if name.lower() in others:
        raise ValueError(f"there is a host or a switch {others[name.lower()]!r} already")
    parts = name.replace("-", ".").split(".")
    if not name.isascii() or not all(map(str.isalnum, parts)):
        raise ValueError(
            f"a host's name has ASCII letters, digits, '-' and '.', as DNS has them, not {name!r}"
        )
    if name.lower() == "localhost" or name.replace(".", "").isdigit():
        raise ValueError(f"{name!r} is looked up as an address, and never found as a name")
