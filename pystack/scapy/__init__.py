"""scapy on a Stack's wires, with a real TCP/IP beside it that leaves scapy's flows alone.

`share` wraps a NIC before it is attached: the Stack answers ARP and pings, while packets of a
flow that scapy has begun go to scapy alone, so that nobody resets it. `installed` puts the Stack in
the place of the kernel for scapy's own functions. `FarEnd` is a NIC without any stack: scapy is
the other end of the wire. `tcp_link` is a connection of the Stack's TCP that carries packets of
scapy's.

Needs scapy: ``pip install 'pystack-lwip[scapy]'``.
"""

from __future__ import annotations

from pystack.scapy.flows import Flow, flow_of
from pystack.scapy.installed import installed
from pystack.scapy.link import tcp_link
from pystack.scapy.shared import Shared, share
from pystack.scapy.sockets import FarEnd, LinkSocket, NetworkSocket

__all__ = [
    "FarEnd",
    "Flow",
    "LinkSocket",
    "NetworkSocket",
    "Shared",
    "flow_of",
    "installed",
    "share",
    "tcp_link",
]
