"""NICs: each is one end of a wire."""

from __future__ import annotations

from pystack.nic.base import Layer, Nic, NicProtocol, NicStatistics, Offload
from pystack.nic.capture import Capture, capture
from pystack.nic.descriptor import Descriptor, Framing
from pystack.nic.device import Packet, Tap, Tun
from pystack.nic.impair import Impaired, Impairment, impair
from pystack.nic.parse import parse
from pystack.nic.python import PythonNic, adapt
from pystack.nic.tamper import Delayed, Frame, Outcome, Tampered, refresh, tamper
from pystack.nic.wire import Switch, wire

__all__ = [
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
    "adapt",
    "capture",
    "impair",
    "parse",
    "refresh",
    "tamper",
    "wire",
]
