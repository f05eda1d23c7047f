"""`Stack.sysctl`: what can be tuned while a Stack runs, by the names that Linux has for it."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass

from pystack._native import StackHandle, ffi, lib

__all__ = ["Sysctl", "Tunable"]


@dataclass(frozen=True)
class Tunable:
    """One setting.

    Attributes:
        name: As "net.ipv4.ip_forward".
        value: What it is now.
        minimum: The least it may be.
        maximum: The most it may be.
        initial: What it is in a new Stack.
        description: What it does, its unit and the RFC it comes from.
    """

    name: str
    value: int
    minimum: int
    maximum: int
    initial: int
    description: str


class Sysctl(MutableMapping[str, int]):
    """A mapping from names to ints: ``stack.sysctl["net.ipv4.ip_forward"] = 1``.

    A new value holds from then on; what a socket copied when it was made (TTL, buffers) stays
    as it was.

    Raises:
        KeyError: No such name; the message has the nearest ones.
        ValueError: Out of bounds, which the message names, or at odds with another setting.
    """

    def __init__(self, handle: StackHandle) -> None:
        self._handle = handle

    def _read(self) -> dict[str, Tunable]:
        listing = self._handle.listing(
            "struct ps_tunable",
            lambda out, room: lib.ps_tunables(self._handle.pointer, out, room),
            64,
        )
        found = {}
        for raw in listing:
            name = ffi.string(raw.name).decode()
            found[name] = Tunable(
                name,
                raw.value,
                raw.minimum,
                raw.maximum,
                raw.initial,
                ffi.string(raw.description).decode(),
            )
        return found

    def describe(self, name: str) -> Tunable:
        """All that there is to know of a setting."""
        found = self._read()
        if name not in found:
            near = difflib.get_close_matches(str(name), found, 3, 0.4)
            raise KeyError(f"no sysctl {name!r}" + (f"; near: {', '.join(near)}" if near else ""))
        return found[name]

    def __getitem__(self, name: str) -> int:
        return self.describe(name).value

    def __setitem__(self, name: str, value: int) -> None:
        number = value.__index__() if hasattr(value, "__index__") else None
        if number is None:
            raise TypeError(f"{name} is an int, not {type(value).__name__}")
        tunable = self.describe(name)
        if not tunable.minimum <= number <= tunable.maximum:
            raise ValueError(f"{name} is from {tunable.minimum} to {tunable.maximum}")
        try:
            self._handle.check(
                lib.ps_tunable_set(self._handle.pointer, ffi.new("char[]", name.encode()), number)
            )
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise ValueError(f"{name} = {number} is at odds with another setting") from error

    def __delitem__(self, name: str) -> None:
        raise TypeError("a setting can't be deleted; reset() gives it its first value")

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def reset(self, name: str | None = None) -> None:
        """Gives one setting, or all, the value of a new Stack."""
        if name is not None:
            self[name] = self.describe(name).initial
            return
        # Some bound each other, such as the first and the last of the local ports: what one value
        # forbids may be right when the others are back.
        wanted = [one for one in self._read().values() if one.value != one.initial]
        while wanted:
            refused = []
            for tunable in wanted:
                try:
                    self[tunable.name] = tunable.initial
                except ValueError:
                    refused.append(tunable)
            if len(refused) == len(wanted):
                self[refused[0].name] = refused[0].initial  # raises, and says which
            wanted = refused

    def __repr__(self) -> str:
        return repr({name: tunable.value for name, tunable in self._read().items()})
