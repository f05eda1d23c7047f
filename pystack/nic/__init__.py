"""NICs: each is one end of a wire."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pystack.nic.base import Layer, Nic, NicProtocol, NicStatistics, Offload
from pystack.nic.capture import Capture, capture
from pystack.nic.descriptor import Descriptor, Framing
from pystack.nic.device import Packet, Tap, Tun
from pystack.nic.impair import Impaired, Impairment, impair
from pystack.nic.parse import parse
from pystack.nic.python import PythonNic, adapt
from pystack.nic.tamper import Delayed, Frame, Outcome, Tampered, refresh, tamper
from pystack.nic.wire import Switch, wire

if TYPE_CHECKING:
    from pystack.nic.aio import Async
    from pystack.nic.tunnels import Udp, Vxlan
    from pystack.nic.wireguard import WireGuard as WireGuard

# Not WireGuard: `from pystack.nic import *` works without the package that it needs.
__all__ = [
    "Async",
    "Capture",
    "Delayed",
    "Descriptor",
    "Frame",
    "Framing",
    "Impaired",
    "Impairment",
    "Layer",
    "Nic",
    "NicProtocol",
    "NicStatistics",
    "Offload",
    "Outcome",
    "Packet",
    "PythonNic",
    "Switch",
    "Tampered",
    "Tap",
    "Tun",
    "Udp",
    "Vxlan",
    "adapt",
    "capture",
    "impair",
    "parse",
    "refresh",
    "tamper",
    "wire",
]

# Not imported before they are used, nor what they stand on.
_PLACES = {
    "Async": "pystack.nic.aio",
    "Udp": "pystack.nic.tunnels",
    "Vxlan": "pystack.nic.tunnels",
    "WireGuard": "pystack.nic.wireguard",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
