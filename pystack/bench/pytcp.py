"""PyTCP as one end of a way: as much of the module `socket` as a plain program needs.

It is PyTCP 3, installed by ``pystack lab setup pytcp-3`` and started as the lab's agent starts it.
Its sockets are coroutines; each call runs one to completion on its event loop,
in a separate thread.
"""

from __future__ import annotations

import sys
import time
from importlib import import_module
from types import TracebackType
from typing import Any

from pystack.bench.worker import Here
from pystack.bench.workloads import Ends
from pystack.lab.agent.tap import open_tap
from pystack.lab.hosts.linux import AGENTS
from pystack.lab.provision.packages import brought

__all__ = ["begin"]

LONGEST_QUEUE = 1 << 19  # PyTCP takes all that it is given, however much waits
PAUSE_S = 0.001  # the tick of its timer
MAC = "02:00:5e:00:53:02"


class _Connection:
    """A connection, or a listening socket; both wait."""

    def __init__(self, loop: Any, inner: Any) -> None:
        self._loop = loop
        self._inner = inner
        self._is_closed = False

    def getsockname(self) -> tuple[str, int]:
        return str(self._inner.local_ip_address), self._inner.local_port

    def accept(self) -> tuple[_Connection, Any]:
        made, peer = self._loop.run(self._inner.accept())
        return _Connection(self._loop, made), peer

    def setsockopt(self, level: int, name: int, value: int) -> None:
        """TCP_NODELAY and the like."""
        level = import_module("pytcp3_agent").level_of(level)
        self._loop.call(self._inner.setsockopt, level, name, value)

    def sendall(self, data: bytes) -> None:
        while len(self._inner.tcp_session._tx.buffer) > LONGEST_QUEUE:
            time.sleep(PAUSE_S)
        self._loop.run(self._inner.send(data))

    def recv(self, size: int) -> bytes:
        return bytes(self._loop.run(self._inner.recv(size)))

    def recv_into(self, buffer: bytearray) -> int:
        got = self.recv(len(buffer))
        buffer[: len(got)] = got
        return len(got)

    def shutdown(self, _how: int) -> None:
        """TCP's own CLOSE: the other direction goes on."""
        if not self._is_closed:
            self._is_closed = True
            self._loop.call(self._inner.close)

    def __enter__(self) -> _Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown(0)


class _Sockets:
    """The part of the module `socket` that the workloads over TCP use."""

    def __init__(self, loop: Any, theirs: Any) -> None:
        self._loop = loop
        self._theirs = theirs

    def _make(self) -> Any:
        theirs = self._theirs
        return self._loop.call(theirs.socket, theirs.AF_INET4, theirs.SOCK_STREAM)

    def create_server(self, address: tuple[str, int], backlog: int = 0) -> _Connection:
        made = self._make()
        self._loop.call(made.bind, address)
        self._loop.call(made.listen, backlog=max(16, backlog))
        return _Connection(self._loop, made)

    def create_connection(self, address: tuple[str, int]) -> _Connection:
        made = self._make()
        self._loop.run(made.connect(address))
        return _Connection(self._loop, made)


class _Wire:
    """Whatever PyTCP reads frames from and writes them to."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor


def begin(here: Here, device: str, host: str, prefix: int, gateway: str) -> None:
    """Brings PyTCP up on a TAP, in this process, until it ends.

    Raises:
        FileNotFoundError: It has not been brought to this machine.
    """
    folder = brought("pytcp-3")
    if folder is None:
        raise FileNotFoundError("PyTCP is not here: pystack lab setup pytcp-3")
    sys.path.insert(0, str(AGENTS))
    # Its threads read the descriptor until the process ends, which closes it.
    wire = _Wire(open_tap(device))
    agent = import_module("pytcp3_agent").Pytcp3Agent(wire, str(folder))
    agent.begin(
        {
            "mac": MAC,
            "mtu": "1500",
            "host4": f"{host}/{prefix}",
            "tester4": gateway,
            "host6": "2001:db8::2/64",
            "tester6": "2001:db8::1",
        }
    )
    here.server = here.client = Ends(_Sockets(agent.loop, import_module("pmd_pytcp.socket")), host)
