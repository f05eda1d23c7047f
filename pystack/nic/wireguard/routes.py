"""The cryptokey routing table: which peer an address is behind (whitepaper, section 2)."""

from __future__ import annotations

import ipaddress
from typing import Generic, TypeVar

__all__ = ["Network", "Routes"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
T = TypeVar("T")

_MOST_CACHED = 4096


class Routes(Generic[T]):
    """Networks and whose they are; the longest that holds an address is its."""

    def __init__(self) -> None:
        # By version: by length of prefix, the longest first: by the prefix's number.
        self._tables: dict[int, dict[int, dict[int, T]]] = {4: {}, 6: {}}
        self._cache: dict[bytes, T | None] = {}

    def add(self, network: Network, owner: T) -> None:
        """Gives a network to an owner; it is the last one's that got it."""
        table = self._tables[network.version]
        bits = network.max_prefixlen - network.prefixlen
        table.setdefault(network.prefixlen, {})[int(network.network_address) >> bits] = owner
        self._tables[network.version] = dict(sorted(table.items(), reverse=True))
        self._cache.clear()

    def remove(self, owner: T) -> None:
        """Takes all networks from an owner."""
        for version, table in self._tables.items():
            kept = {
                length: {prefix: whose for prefix, whose in of_length.items() if whose is not owner}
                for length, of_length in table.items()
            }
            self._tables[version] = {length: those for length, those in kept.items() if those}
        self._cache.clear()

    def of(self, owner: T) -> tuple[Network, ...]:
        """An owner's networks."""
        found: list[Network] = []
        kinds = ((4, ipaddress.IPv4Network, 32), (6, ipaddress.IPv6Network, 128))
        for version, kind, bits in kinds:
            for length, of_length in self._tables[version].items():
                found += [
                    kind((prefix << bits - length, length))
                    for prefix, whose in of_length.items()
                    if whose is owner
                ]
        return tuple(found)

    def find(self, address: bytes) -> T | None:
        """Whose an address is.

        Args:
            address: 4 or 16 bytes, as in a packet.
        """
        try:
            return self._cache[address]
        except KeyError:
            pass
        number, bits = int.from_bytes(address, "big"), 8 * len(address)
        found = None
        for length, of_length in self._tables[4 if bits == 32 else 6].items():
            found = of_length.get(number >> bits - length)
            if found is not None:
                break
        if len(self._cache) >= _MOST_CACHED:
            self._cache.clear()
        self._cache[address] = found
        return found
