"""Which interface a caller means."""

from __future__ import annotations

import errno
from typing import Protocol, TypeAlias

from pystack._native._host import ffi, lib
from pystack._native.handle import StackHandle

__all__ = ["InterfaceLike", "interface_index", "no_interface", "working_links"]


class _HasIndex(Protocol):
    @property
    def index(self) -> int: ...


# An interface, its index, or its name.
InterfaceLike: TypeAlias = "_HasIndex | int | str"


def interface_index(handle: StackHandle, interface: InterfaceLike | None) -> int:
    """An interface's index; 0 for None."""
    if interface is None:
        return 0
    if isinstance(interface, str):
        for one in handle.listing(
            "struct ps_interface", lambda out, room: lib.ps_interfaces(handle.pointer, out, room)
        ):
            if ffi.string(one.name).decode() == interface:
                return int(one.index)
        raise OSError(errno.ENODEV, f"no interface {interface!r}")
    index = interface if isinstance(interface, int) else getattr(interface, "index", None)
    if not isinstance(index, int):
        raise TypeError(f"an interface is an Interface, a name or an index, not {interface!r}")
    return index


def working_links(handle: StackHandle) -> list[int]:
    """The indices of the interfaces that are up and have a link on which others may be."""
    works = lib.PS_IF_UP | lib.PS_IF_LINK
    return [
        int(one.index)
        for one in handle.listing(
            "struct ps_interface", lambda out, room: lib.ps_interfaces(handle.pointer, out, room)
        )
        if one.flags & (works | lib.PS_IF_LOOPBACK) == works
    ]


def no_interface(index: int) -> dict[int, str]:
    """The words of a call that knows no interface of this index."""
    return {errno.ENODEV: f"the Stack has no interface {index}"}
