"""User-mode networking for virtual machines, containers and namespaces: see `Gateway`."""

from __future__ import annotations

from pystack.embed.gateway.forwards import Forward, parse_forward
from pystack.embed.gateway.gateway import Gateway, Published
from pystack.embed.gateway.namespace import tap_in_namespace
from pystack.embed.gateway.plan import Plan, planned
from pystack.embed.gateway.wires import WireListener, wire_from_descriptor

__all__ = [
    "Forward",
    "Gateway",
    "Plan",
    "Published",
    "WireListener",
    "parse_forward",
    "planned",
    "tap_in_namespace",
    "wire_from_descriptor",
]
