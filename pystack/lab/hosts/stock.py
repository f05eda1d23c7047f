"""The Hosts `lwip-stock` and `lwip-2.1.3`: upstream's source and options, in virtual time.

They are what an embedder gets without pystack's port, so that a comparison shows what the port
changes. Each is a process: stock lwIP's assertions end it.
"""

from __future__ import annotations

import socket
import subprocess

from pystack.lab.hosts.agent import AgentHost, FdWire, Wire
from pystack.lab.hosts.commands import Commands
from pystack.lab.plan import Plan
from pystack.lab.provision.lwip import built
from pystack.lab.verdict import HostCrashed, Unable

__all__ = ["StockHost", "missing"]

WIRES = 2
QUIT_S = 2.0


def missing(name: str) -> str | None:
    """What this Host needs and the machine lacks; None: nothing."""
    return None if built(name) else f"compile it first: pystack lab setup {name}"


class StockHost(AgentHost):
    """Stock lwIP.

    Args:
        name: "lwip-stock" or "lwip-2.1.3".
    """

    virtual = True

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._process: subprocess.Popen[bytes] | None = None
        self._ours: list[Wire] = []

    def start(self, plan: Plan) -> None:
        """See `Host.start`."""
        if plan.forwarding:
            raise Unable(f"{self.name} does not forward: upstream's options leave it out")
        super().start(plan)

    def _open(self, ports: int) -> Commands:
        program = built(self.name)
        if program is None:
            raise HostCrashed(f"{self.name}: {missing(self.name)}")
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(WIRES)]
        for _, other in pairs:
            other.setblocking(False)
        descriptors = [other.fileno() for _, other in pairs]
        try:
            self._process = subprocess.Popen(
                [str(program), *map(str, descriptors)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=descriptors,
            )
        finally:
            for _, other in pairs:
                other.close()
        self._ours = [FdWire(ours.detach()) for ours, _ in pairs]
        reader, writer = self._process.stdout, self._process.stdin
        if reader is None or writer is None:
            raise HostCrashed(f"{self.name} has no command stream")
        return Commands(self.name, reader.fileno(), writer.fileno())

    def _wired(self, ports: int) -> list[Wire]:
        return self._ours[:ports]

    def _close(self) -> None:
        for wire in self._ours:
            wire.close()
        self._ours = []
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        try:
            process.wait(QUIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
