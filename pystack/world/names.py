"""The hosts file of a World, which is kept in memory."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["NamesFile"]


class NamesFile:
    """What a hosts file (hosts(5)) would say, without a file: nothing is left of it.

    It is given to `StackSockets.hosts` in the place of a path.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, name: str, addresses: Iterable[str]) -> None:
        """Adds the addresses of a host.

        Args:
            name: The host's.
            addresses: Its addresses; what is behind a "/" is left out.
        """
        self._lines += [f"{address.partition('/')[0]} {name}\n" for address in addresses]

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """All of it, as `Path.read_text` has it.

        Args:
            encoding: Of no use here,
            errors: and neither is this.
        """
        del encoding, errors
        return "".join(self._lines)

    def __repr__(self) -> str:
        return f"<NamesFile: {len(self._lines)} addresses>"
