"""A mature C TCP/IP stack (lwIP) as an ordinary Python object."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from pystack import hypercalls, nic
from pystack.errors import OffStackError, StackPanic
from pystack.interface import Interface
from pystack.sockets import outside
from pystack.stack import Stack, deliver_before

__all__ = [
    "Interface",
    "OffStackError",
    "Stack",
    "StackPanic",
    "deliver_before",
    "hypercalls",
    "nic",
    "outside",
]

try:
    __version__ = version("pystack-lwip")
except PackageNotFoundError:  # built in place
    __version__ = "0+unknown"
