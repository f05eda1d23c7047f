"""A SOCKS5 and HTTP CONNECT server on the kernel whose connections leave through a Stack."""

from __future__ import annotations

from pystack.embed.socks.server import SocksServer, SocksStatistics

__all__ = ["SocksServer", "SocksStatistics"]
