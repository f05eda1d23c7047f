"""Connections, datagrams and echo requests to any address, taken before they are answered.

`Stack.intercept` gives an `Intercept`; what it yields is a `TcpFlow`, a `UdpFlow` or an `EchoFlow`.
"""

from __future__ import annotations

from pystack.intercept.flow import EchoFlow, Flow, TcpFlow, UdpFlow
from pystack.intercept.taker import Intercept, InterceptStatistics

__all__ = ["EchoFlow", "Flow", "Intercept", "InterceptStatistics", "TcpFlow", "UdpFlow"]
