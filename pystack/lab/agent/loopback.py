"""Sockets of the kernel's that stand for those of a stack that is a way into them.

slirp and passt take the guest's connections to the loopback. A socket that is bound to the Host's
address is bound there, and what it sends to the tester goes where the stack takes it from.
"""
# ruff: noqa: D102 - a socket's methods are those of the module `socket`

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pystack.lab.agent.tables import Rtnetlink
    from pystack.lab.agent.unshare import CLONE_NEWNET, become_root, unshare
else:  # run as a program, with this folder first on the path and no package
    from tables import Rtnetlink
    from unshare import CLONE_NEWNET, become_root, unshare

LOOPBACK, LOOPBACK6 = "127.0.0.1", "::1"
LINK_NEW, ACKNOWLEDGE = 16, 0x4
# Those that the tester takes for its own are left alone: passt listens at them.
PORTS = "50000 59999"

Through = Callable[[int, "tuple[Any, ...]"], "tuple[Any, ...]"]


def own_loopback() -> None:
    """Goes into a network namespace that has a loopback and nothing else."""
    if os.geteuid() != 0:
        become_root()
    unshare(CLONE_NEWNET)
    tables = Rtnetlink()
    header = struct.pack("=BxHiII", 0, 0, socket.if_nametoindex("lo"), 1, 1)
    tables.ask(LINK_NEW, ACKNOWLEDGE, header)
    tables.close()
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text(PORTS)


class LoopbackSocket:
    """A socket on the loopback.

    Args:
        inner: The kernel's.
        through: Says, of a kind of socket and an address of the tester's, where to send instead.
    """

    def __init__(self, inner: socket.socket, through: Through) -> None:
        self._inner = inner
        self._through = through
        self._ways: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        self._bound = ""
        self._own = LOOPBACK if inner.family == socket.AF_INET else LOOPBACK6

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def bind(self, address: tuple[Any, ...]) -> None:
        self._bound = str(address[0])
        self._inner.bind((self._own, address[1]))

    def _way(self, address: tuple[Any, ...]) -> tuple[Any, ...]:
        if address not in self._ways:
            self._ways[address] = self._through(self._inner.type, address[:2])
        return self._ways[address]

    def connect(self, address: tuple[Any, ...]) -> None:
        self._inner.connect(self._way(address))

    def sendto(self, data: bytes, address: tuple[Any, ...]) -> int:
        if self._inner.getsockname()[1] == 0:
            self._inner.bind((self._own, 0))  # what comes to any address comes from there
        return self._inner.sendto(data, self._way(address))

    def accept(self) -> tuple[LoopbackSocket, Any]:
        made, address = self._inner.accept()
        return LoopbackSocket(made, self._through), address

    def getsockname(self) -> tuple[Any, ...]:
        address, *port = self._inner.getsockname()
        return self._bound or address, *port

    def setsockopt(self, level: int, name: int, value: Any) -> None:
        if (level, name) != (socket.SOL_SOCKET, socket.SO_REUSEADDR):
            raise OSError(errno.ENOSYS, "options: its sockets are the kernel's")
        self._inner.setsockopt(level, name, value)
