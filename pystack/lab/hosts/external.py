"""The Host `external`: anything on a wire, with an agent that opens its sockets.

Where both are is said on the command line, `--external-wire` and `--external-agent`; see
PROTOCOL.md in pystack/lab/agent.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from contextlib import suppress

from pystack.lab.agent.tap import open_tap
from pystack.lab.hosts.agent import FRAME, AgentHost, FdWire, Wire
from pystack.lab.hosts.commands import Commands
from pystack.lab.hosts.linux import REPEATABLE
from pystack.lab.plan import Plan
from pystack.lab.verdict import HostCrashed, Unable

__all__ = ["AGENT", "WIRES", "ExternalHost", "missing", "open_wire"]

# Where the command line leaves what it was told: Hosts are made by name alone.
WIRES, AGENT = "PYSTACK_LAB_WIRES", "PYSTACK_LAB_AGENT"
KINDS = ("tap", "interface", "unix", "stream", "fd")
SOL_PACKET, PACKET_IGNORE_OUTGOING, ETH_P_ALL = 263, 23, 3
CONNECT_S = 5.0
SEND_S = 2.0
LENGTH = struct.Struct("!I")


class StreamWire:
    """A stream of frames, each after its length in four bytes: QEMU's and passt's.

    Args:
        stream: It is closed with this object.
    """

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._rest = b""

    def fileno(self) -> int:
        """See `Wire.fileno`."""
        return self._stream.fileno()

    def send(self, frame: bytes) -> None:
        """See `Wire.send`.

        Raises:
            HostCrashed: The other end is gone, or takes nothing.
        """
        try:
            self._stream.settimeout(SEND_S)
            self._stream.sendall(LENGTH.pack(len(frame)) + frame)
        except OSError as error:
            raise HostCrashed(f"the wire is gone: {error}") from error

    def receive(self) -> bytes | None:
        """See `Wire.receive`.

        Raises:
            HostCrashed: The other end is gone.
        """
        while True:
            if len(self._rest) >= LENGTH.size:
                end = LENGTH.size + LENGTH.unpack_from(self._rest)[0]
                if len(self._rest) >= end:
                    frame, self._rest = self._rest[LENGTH.size : end], self._rest[end:]
                    return frame
            try:
                data = self._stream.recv(FRAME, socket.MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError):
                return None
            except OSError as error:
                raise HostCrashed(f"the wire is gone: {error}") from error
            if not data:
                raise HostCrashed("the wire has no other end any more")
            self._rest += data

    def close(self) -> None:
        """See `Wire.close`."""
        self._stream.close()


def open_wire(where: str) -> Wire:
    """Opens a wire.

    Args:
        where: As on the command line: "tap:NAME", "interface:NAME", "unix:PATH", "stream:PATH" or
            "fd:N".

    Raises:
        OSError: It can't be opened.
        ValueError: There is no such kind.
    """
    kind, _, name = where.partition(":")
    if kind == "tap":
        return FdWire(open_tap(name))
    if kind == "interface":
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        with suppress(OSError):  # an older kernel shows us what others send there
            packets.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        packets.bind((name, 0))
        return FdWire(packets.detach())
    if kind in ("unix", "stream"):
        form = socket.SOCK_STREAM if kind == "stream" else socket.SOCK_SEQPACKET
        end = socket.socket(socket.AF_UNIX, form)
        try:
            end.connect(name)
        except OSError:
            end.close()
            raise
        return StreamWire(end) if kind == "stream" else FdWire(end.detach())
    if kind == "fd":
        return FdWire(os.dup(int(name)))
    raise ValueError(f"a wire is {', '.join(f'{one}:...' for one in KINDS)}, not {where!r}")


def missing() -> str | None:
    """What was not said on the command line; None: all was."""
    if os.environ.get(WIRES) and os.environ.get(AGENT):
        return None
    return "your own stack: --external-wire and --external-agent; see PROTOCOL.md"


class ExternalHost(AgentHost):
    """The user's own Host, which is neither started nor stopped here.

    Args:
        name: As on the command line.
        wires: Of each port; see `open_wire`. Default: as the command line says.
        agent: "unix:PATH" or "HOST:PORT". Default: as the command line says.
    """

    tunables = REPEATABLE

    def __init__(
        self, name: str = "external", wires: list[str] | None = None, agent: str | None = None
    ) -> None:
        super().__init__(name)
        self._where = os.environ.get(WIRES, "").split("\n") if wires is None else wires
        self._agent = os.environ.get(AGENT, "") if agent is None else agent
        self._opened: list[Wire] = []
        self._stream: socket.socket | None = None

    def start(self, plan: Plan) -> None:
        """See `Host.start`."""
        if len(plan.ports) > len(self._where):
            raise Unable(f"{self.name} has {len(self._where)} wires")
        super().start(plan)

    def _open(self, ports: int) -> Commands:
        self._open_wires()
        until = time.monotonic() + CONNECT_S
        while self._stream is None:
            try:
                self._stream = self._connected()
            except OSError as error:  # it may be restarting
                if time.monotonic() > until:
                    raise HostCrashed(f"{self.name}'s agent, {self._agent}: {error}") from error
                time.sleep(0.05)
        return Commands(self.name, self._stream.fileno())

    def _connected(self) -> socket.socket:
        if self._agent.startswith("unix:"):
            stream = socket.socket(socket.AF_UNIX)
            try:
                stream.connect(self._agent.removeprefix("unix:"))
            except OSError:
                stream.close()
                raise
            return stream
        host, _, port = self._agent.rpartition(":")
        return socket.create_connection((host, int(port)), CONNECT_S)

    def _open_wires(self) -> None:
        """All of them, and first: a TAP is an interface only while it is open."""
        for where in self._where:
            try:
                self._opened.append(open_wire(where))
            except OSError as error:
                raise HostCrashed(f"{self.name}'s wire, {where}: {error}") from error

    def _wired(self, ports: int) -> list[Wire]:
        return self._opened[:ports]

    def _close(self) -> None:
        while self._opened:
            self._opened.pop().close()
        if self._stream is not None:
            self._stream.close()
            self._stream = None
