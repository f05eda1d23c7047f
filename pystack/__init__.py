"""Mature TCP/IP stacks (lwIP, gVisor's netstack, Linux) as ordinary Python objects.

PYTEST_DONT_REWRITE: its plugin for pytest is the package `pytest_pystack`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pystack import hypercalls, nic
from pystack._native.values import near
from pystack.errors import OffStackError, StackPanic
from pystack.interface import Interface, InterfaceAddress
from pystack.leases import Lease, Lease6
from pystack.probe import PingResult, TracerouteResult
from pystack.qdisc import Qdisc
from pystack.snapshot import Snapshot
from pystack.sockets import outside
from pystack.stack import Stack, deliver_before
from pystack.tables import Connection, Neighbour, Route, TcpInfo

__all__ = [
    "Connection",
    "Interface",
    "InterfaceAddress",
    "Lease",
    "Lease6",
    "Neighbour",
    "OffStackError",
    "PingResult",
    "Qdisc",
    "Route",
    "Snapshot",
    "Stack",
    "StackPanic",
    "TcpInfo",
    "TracerouteResult",
    "deliver_before",
    "hypercalls",
    "nic",
    "outside",
    "world_test",
]

if TYPE_CHECKING:
    from pystack.world.testing import world_test

    __version__: str


# What a program imports for itself.
_APART = frozenset({"bench", "embed", "lab", "scapy", "world"})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        return version("pystack-lwip")
    except PackageNotFoundError:  # built in place
        return "0+unknown"


def __getattr__(name: str) -> Any:
    # What is for tests alone is imported when it is used.
    if name == "world_test":
        from pystack.world.testing import world_test  # noqa: PLC0415

        return world_test
    if name == "__version__":  # not when it is imported: importlib.metadata takes a third of that
        return _version()
    lack = f"module {__name__!r} has no attribute {name!r}"
    if name in _APART:
        raise AttributeError(f"{lack} before `import {__name__}.{name}`")
    raise AttributeError(lack + ("" if name.startswith("_") else near(name, __all__)))
