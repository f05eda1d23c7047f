"""WireGuard: its protocol without sockets or clock, and the NIC around it.

`device` is the whole of it for one interface: `noise` is the handshake, `session` what it gives,
`cookies` what keeps it from being flooded, `peer` the timers, `routes` who is where. `nic` puts it
between a Stack and UDP; `config` reads files.
"""

from __future__ import annotations

from pystack.nic.wireguard.config import Config, PeerConfig, parse_config, read_config
from pystack.nic.wireguard.device import Drops
from pystack.nic.wireguard.nic import PeerStatus, WireGuard

__all__ = [
    "Config", "Drops", "PeerConfig", "PeerStatus", "WireGuard", "parse_config", "read_config",
]  # fmt: skip
