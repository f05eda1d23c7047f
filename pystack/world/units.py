"""Times, rates and sizes as people write them: "20ms", "10 Mbit/s", "64kB"."""

from __future__ import annotations

import re
from numbers import Real

__all__ = ["bits_per_second", "octets", "seconds"]

_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-zµ/]*)\s*")
_SECONDS = {
    "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0,
}  # fmt: skip
_BITS = {
    f"{prefix}bit{per}": factor
    for prefix, factor in (("", 1), ("k", 1_000), ("M", 1_000_000), ("G", 1_000_000_000))
    for per in ("/s", "ps", "")
}
_BYTES = {
    "B": 1, "kB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000,
    "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
}  # fmt: skip
_MOST_SECONDS = 1e12


def _read(value: float | str, units: dict[str, float] | dict[str, int], what: str) -> float:
    if isinstance(value, Real):
        return float(value)
    if not isinstance(value, str):
        raise TypeError(f"{what} is a number, or a string with a unit, not {value!r}")
    found = _QUANTITY.fullmatch(value)
    if found is None or found[2] not in units:
        known = ", ".join(units)
        raise ValueError(f"{what} is a number, not negative, with a unit ({known}), not {value!r}")
    return float(found[1]) * units[found[2]]


def seconds(value: float | str, what: str = "a time") -> float:
    """A time in seconds.

    Args:
        value: Seconds, or a string with a unit, as "20ms".
        what: What it is, for the error.

    Raises:
        ValueError: It is negative, endless, or has no known unit.
    """
    found = _read(value, _SECONDS, what)
    if not 0 <= found < _MOST_SECONDS:
        raise ValueError(f"{what} is from 0 to {_MOST_SECONDS:g} seconds, not {value!r}")
    return found


def bits_per_second(value: float | str, what: str = "a rate") -> int:
    """A rate in bits per second; 0: no limit.

    Args:
        value: Bits per second, or a string with a unit, as "10Mbit/s".
        what: What it is, for the error.

    Raises:
        ValueError: It is negative, endless, or has no known unit.
    """
    found = _read(value, _BITS, what)
    if not 0 <= found < 1e15 or 0 < found < 1:
        raise ValueError(f"{what} is 0 or from 1 to 1e15 bits per second, not {value!r}")
    return round(found)


def octets(value: float | str, what: str = "a size") -> int:
    """A size in bytes.

    Args:
        value: Bytes, or a string with a unit, as "64kB".
        what: What it is, for the error.

    Raises:
        ValueError: It is negative, endless, or has no known unit.
    """
    found = _read(value, _BYTES, what)
    if not 0 <= found < 1e15:
        raise ValueError(f"{what} is from 0 to 1e15 bytes, not {value!r}")
    return round(found)
