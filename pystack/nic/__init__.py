"""NICs: each is one end of a wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pystack.nic.base import Layer, Nic, NicProtocol, NicStatistics, Offload
from pystack.nic.capture import Capture, capture
from pystack.nic.descriptor import Descriptor, Framing
from pystack.nic.device import Packet, Tap, Tun
from pystack.nic.impair import Impaired, Impairment, impair
from pystack.nic.parse import parse
from pystack.nic.python import PythonNic, adapt
from pystack.nic.wire import Switch, wire

if TYPE_CHECKING:
    from pystack.nic.aio import Async

__all__ = [
    "Async",
    "Capture",
    "Descriptor",
    "Framing",
    "Impaired",
    "Impairment",
    "Layer",
    "Nic",
    "NicProtocol",
    "NicStatistics",
    "Offload",
    "Packet",
    "PythonNic",
    "Switch",
    "Tap",
    "Tun",
    "adapt",
    "capture",
    "impair",
    "parse",
    "wire",
]


def __getattr__(name: str) -> Any:
    # asyncio is imported by those who use it.
    if name == "Async":
        from pystack.nic.aio import Async  # noqa: PLC0415

        return Async
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
