"""Flows to any address, forwarded by the kernel's sockets or a proxy.

A `Forwarder` takes what an `Intercept` yields, connects upstream before it answers, and carries
bytes both ways with a `Pump`. Where it connects is an `Upstream`: `Direct`, `Socks5` or
`HttpConnect`. All of it runs on asyncio's loop.
"""

from __future__ import annotations

from pystack.embed.proxy.direct import Direct
from pystack.embed.proxy.forwarder import Forwarder, ForwarderStatistics
from pystack.embed.proxy.http_connect import HttpConnect
from pystack.embed.proxy.parse import parse_upstream
from pystack.embed.proxy.pump import Pump, pump
from pystack.embed.proxy.socks5 import Socks5
from pystack.embed.proxy.upstream import Channel, Upstream

__all__ = [
    "Channel",
    "Direct",
    "Forwarder",
    "ForwarderStatistics",
    "HttpConnect",
    "Pump",
    "Socks5",
    "Upstream",
    "parse_upstream",
    "pump",
]
