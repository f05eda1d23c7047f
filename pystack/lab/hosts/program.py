"""Hosts that run a third-party stack inside a program of ours, on one wire.

The program is in pystack/lab/agent. Beyond the line protocol it has one verb, `begin`, that gives
it the whole plan: such stacks are told of their addresses once, before they start.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import IO

from pystack.lab.hosts.agent import AgentHost, FdWire, Wire
from pystack.lab.hosts.commands import Commands
from pystack.lab.hosts.linux import AGENTS
from pystack.lab.plan import Plan
from pystack.lab.verdict import HostCrashed, Unable

__all__ = ["ProgramHost"]

QUIT_S = 2.0
LAST = 4096  # bytes of what it said
IPV6 = b"\x86\xdd"


class ProgramHost(AgentHost):
    """A stack in a program.

    Args:
        name: The Host's.
        program: Its file in pystack/lab/agent.
        words: Tells what the program is given on its command line, when it is started.
        ipv6: Whether it speaks IPv6; frames of it are refused otherwise.
        bare: Whether it can begin without addresses, and get them by itself.
        lacks: See `Host.lacks`.
    """

    def __init__(
        self,
        name: str,
        program: str,
        words: Callable[[], list[str]] = list,
        *,
        ipv6: bool = True,
        bare: bool = False,
        lacks: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(name)
        self.lacks = lacks
        self._program = program
        self._words = words
        self._ipv6 = ipv6
        self._bare = bare
        self._process: subprocess.Popen[bytes] | None = None
        self._stream: socket.socket | None = None
        self._wire: FdWire | None = None
        self._said: IO[bytes] | None = None  # on its standard error

    def start(self, plan: Plan) -> None:
        """See `Host.start`."""
        if len(plan.ports) != 1 or plan.forwarding:
            raise Unable(f"{self.name} has one wire, and does not forward")
        if not plan.ports[0].host4 and not self._bare:
            raise Unable(f"{self.name} needs its addresses from the beginning")
        super().start(plan)

    def _open(self, ports: int) -> Commands:
        stream, theirs = socket.socketpair()
        wire, their_wire = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._stream, self._wire = stream, FdWire(wire.detach())
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        with theirs, their_wire:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-ESsB", str(AGENTS / self._program)),
                    *(str(theirs.fileno()), str(their_wire.fileno()), *self._words()),
                ],
                pass_fds=[theirs.fileno(), their_wire.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
            )
        return Commands(self.name, stream.fileno())

    def _fresh(self, plan: Plan) -> None:
        port = plan.ports[0]
        self.ask("reset", 1)
        self._watch(self._wired(1))
        host4 = f"{port.host4}/{port.prefix4}" if port.host4 else ""
        host6 = f"{port.host6}/{port.prefix6}" if port.host6 and self._ipv6 else ""
        self.ask(
            "begin", f"mac={port.host_mac}", f"mtu={port.mtu}",
            f"host4={host4}", f"tester4={port.tester4}",
            f"host6={host6}", f"tester6={port.tester6}", f"tester_mac={port.tester_mac}",
            f"tester_link_local={port.tester_link_local}",
        )  # fmt: skip
        self._receive()

    def _wired(self, ports: int) -> list[Wire]:
        if self._wire is None:
            raise HostCrashed(f"{self.name} is not running")
        return [self._wire]

    def ask(self, *words: object) -> list[str]:
        """See `AgentHost.ask`; what the program said last is the reason if it is gone.

        Raises:
            HostCrashed: It is gone.
        """
        try:
            return super().ask(*words)
        except HostCrashed as crash:
            said = b""
            if self._said is not None:
                size = self._said.seek(0, os.SEEK_END)
                self._said.seek(max(0, size - LAST))
                said = self._said.read().strip().rpartition(b"\n")[2]
            if not said:
                raise
            raise HostCrashed(f"{crash}: {said.decode(errors='replace')}") from crash

    def send(self, port: int, frame: bytes) -> None:
        """See `Host.send`.

        Raises:
            Unable: It is IPv6, which this Host does not speak.
        """
        if frame[12:14] == IPV6 and not self._ipv6:
            raise Unable(f"{self.name} has no IPv6")
        super().send(port, frame)

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        if self._wire is not None:
            self._wire.close()
        if self._said is not None:
            self._said.close()
        self._stream = self._wire = self._said = None
        process, self._process = self._process, None
        if process is not None:
            try:
                process.wait(QUIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
