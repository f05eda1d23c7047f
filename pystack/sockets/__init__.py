"""Sockets of a Stack: drop-ins for those of the module `socket`."""

from __future__ import annotations

from pystack.sockets.active import outside
from pystack.sockets.module import SocketModule
from pystack.sockets.selector import StackSelector
from pystack.sockets.socket import Socket

__all__ = ["Socket", "SocketModule", "StackSelector", "outside"]
