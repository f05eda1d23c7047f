"""`Stack.sysctl`: settings of a running Stack, by Linux's names."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

from pystack._native import StackHandle, ffi, lib
from pystack._native.shown import shown
from pystack.serving import SETTINGS, serving_of

__all__ = ["Sysctl", "Tunable"]

_TEXT_GUESS = 256
# What an engine says to a value that it doesn't take; Linux has all of these.
_REFUSED = (errno.EINVAL, errno.ERANGE, errno.ENOENT, errno.EIO)


@dataclass(frozen=True)
class Tunable:
    """One setting.

    Attributes:
        name: Such as "net.ipv4.ip_forward".
        value: Its value now: an int where it is one number, else text as sysctl(8) prints it.
        minimum: Its least value; None: not known, the engine refuses what it doesn't take.
        maximum: Its greatest value; None: likewise.
        initial: Its value in a new Stack.
        description: What it does, its unit and the RFC it comes from.
        read_only: Whether it can't be set.
    """

    name: str
    value: int | str
    minimum: int | None
    maximum: int | None
    initial: int | str
    description: str
    read_only: bool = False


class Sysctl(MutableMapping[str, int | str]):
    """A mapping from names to values: ``stack.sysctl["net.ipv4.ip_forward"] = 1``.

    A value is an int where it is one number, and else a str as sysctl(8) prints it, with tabs
    between several numbers. Only the engine linux has such. A new value applies from then on; what
    a socket copied when it was created (TTL, buffer sizes) stays as it was.

    Raises:
        KeyError: No such name; the message suggests the nearest.
        ValueError: Out of bounds (the message names them), in conflict with another setting, or
            not what the engine takes.
        PermissionError: EACCES, it can only be read, or only be set.
    """

    def __init__(self, handle: StackHandle) -> None:
        self._handle = handle

    def _text(self, name: str, *, initial: bool) -> str:
        room = _TEXT_GUESS
        while True:
            out = ffi.new("char[]", room)
            length = self._handle.check(
                lib.ps_tunable_text(self._handle.pointer, _c(name), initial, out, room)
            )
            if length < room:
                return str(ffi.string(out).decode("utf-8", "surrogateescape"))
            room = length + 1

    def _tunable(self, raw: Any) -> Tunable:
        name = ffi.string(raw.name).decode()
        text = raw.flags & lib.PS_TUNABLE_TEXT
        bounded = not raw.flags & (lib.PS_TUNABLE_TEXT | lib.PS_TUNABLE_UNBOUNDED)
        return Tunable(
            name,
            _number_or(self._text(name, initial=False)) if text else raw.value,
            raw.minimum if bounded else None,
            raw.maximum if bounded else None,
            _number_or(self._text(name, initial=True)) if text else raw.initial,
            ffi.string(raw.description).decode(),
            bool(raw.flags & lib.PS_TUNABLE_READ_ONLY),
        )

    def _listed(self) -> Iterator[Any]:
        missing = set(SETTINGS)
        for raw in self._handle.listing(
            "struct ps_tunable",
            lambda out, room: lib.ps_tunables(self._handle.pointer, out, room),
            64,
        ):
            missing.discard(ffi.string(raw.name).decode())
            yield raw
        for name in sorted(missing):
            yield self._of_services(name)

    def _of_services(self, name: str) -> Any:
        """A setting of the services in Python, which an engine with its own has itself."""
        serving = serving_of(self._handle)
        raw = ffi.new("struct ps_tunable *")
        raw.name, raw.description = name.encode(), SETTINGS[name].encode()
        raw.value = 0 if serving is None else serving.settings[name]
        raw.minimum, raw.maximum, raw.initial = 0, 1, 0
        return raw

    def _get(self, name: str) -> Any:
        raw = ffi.new("struct ps_tunable *")
        try:
            self._handle.check(lib.ps_tunable_get(self._handle.pointer, _c(name), raw))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            if name in SETTINGS:
                return self._of_services(name)
            near = difflib.get_close_matches(str(name), list(self), 3, 0.4)
            message = f"no sysctl {name!r}" + (f"; near: {', '.join(near)}" if near else "")
            raise KeyError(message) from None
        return raw

    def describe(self, name: str) -> Tunable:
        """A setting with its bounds, initial value and meaning."""
        raw = self._get(name)
        if raw.flags & lib.PS_TUNABLE_WRITE_ONLY:
            raise PermissionError(errno.EACCES, f"{name} can only be set")
        return self._tunable(raw)

    def __getitem__(self, name: str) -> int | str:
        return self.describe(name).value

    def __setitem__(self, name: str, value: int | str) -> None:
        raw = self._get(name)
        if raw.flags & lib.PS_TUNABLE_READ_ONLY:
            raise PermissionError(errno.EACCES, f"{name} can only be read")
        if isinstance(value, str):
            text = _c(value)
            self._set(name, value, lambda: lib.ps_tunable_set_text(
                self._handle.pointer, _c(name), text))  # fmt: skip
            return
        number = value.__index__() if hasattr(value, "__index__") else None
        if number is None:
            raise TypeError(f"{name} is an int or a str, not {value!r}")
        bounded = not raw.flags & (lib.PS_TUNABLE_TEXT | lib.PS_TUNABLE_UNBOUNDED)
        if bounded and not raw.minimum <= number <= raw.maximum:
            raise ValueError(f"{name} is from {raw.minimum} to {raw.maximum}, not {number}")
        if not -(1 << 63) <= number < 1 << 63:
            raise ValueError(f"{name} = {number}: a setting has 64 bits at most")
        self._set(name, number, lambda: lib.ps_tunable_set(self._handle.pointer, _c(name), number))

    def _set(self, name: str, value: int | str, call: Callable[[], int]) -> None:
        try:
            self._handle.check(call())
        except OSError as error:
            if error.errno == errno.ENOENT and name in SETTINGS and isinstance(value, int):
                serving = serving_of(self._handle, begin=True)
                assert serving is not None
                serving.settings[name] = value
                return
            numeric = error.errno == errno.EOPNOTSUPP or (
                error.errno == errno.ENOENT and name in SETTINGS
            )
            if numeric and isinstance(value, str):
                raise TypeError(f"{name} is an int, not {value!r}") from None
            if error.errno in _REFUSED:
                raise ValueError(
                    f"{name} = {value!r} conflicts with another setting, or is none of its values"
                ) from error
            raise

    def __delitem__(self, name: str) -> None:
        raise TypeError("a setting can't be deleted; reset() restores its initial value")

    def __iter__(self) -> Iterator[str]:
        return iter([ffi.string(raw.name).decode() for raw in self._listed()])

    def __len__(self) -> int:
        return sum(1 for _ in self._listed())

    def reset(self, name: str | None = None) -> None:
        """Restores one setting, or all, to the initial value."""
        if name is not None:
            self[name] = self.describe(name).initial
            return
        # Some bound each other, such as the first and last local port: a value refused now may be
        # accepted once the others are restored.
        found = [self._tunable(raw) for raw in self._listed()]
        wanted = [one for one in found if one.value != one.initial and not one.read_only]
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
        return shown(
            self, lambda: repr({one.name: one.value for one in map(self._tunable, self._listed())})
        )


def _c(text: str) -> Any:
    return ffi.new("char[]", str(text).encode("utf-8", "surrogateescape"))


def _number_or(text: str) -> int | str:
    """What a setting's text is as a value: a number that stands alone is an int."""
    return int(text) if text.removeprefix("-").isdecimal() else text
