"""The Host `uml`: User-Mode Linux, a whole kernel as a program. It needs no root.

Its root file system is this machine's own, read only; its first process is the agent, run by the
same Python as the lab. Frames go over UNIX sockets that keep the packets' borders: UML connects
each time that an interface goes up, so that interfaces can go down, and move into the fresh
network namespace that is made for each case, which takes milliseconds, where booting takes
seconds.
"""

from __future__ import annotations

import os
import platform
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from pystack.lab.hosts.agent import AgentHost, FdWire, Wire
from pystack.lab.hosts.commands import Commands
from pystack.lab.hosts.linux import AGENTS, REPEATABLE
from pystack.lab.provision.uml import PACKAGE, found
from pystack.lab.verdict import HostCrashed, Unable

__all__ = ["UmlHost", "missing"]

PORTS = 2
MEMORY = "256M"  # the largest send buffer is a part of it; what is not used costs nothing
BOOT_S = 40.0
WIRE_S = 5.0
QUIT_S = 5.0
LONGEST_LINE = 2000  # a serial line loses what is past 4096
# Registers that do not live through a page fault there; see uml_start.py. The C library chooses
# its functions by these.
NARROW = "AVX,AVX2,AVX512F,AVX512VL,AVX512BW,AVX512DQ,AVX_Fast_Unaligned_Load,ERMS,FSRM"


def missing() -> str | None:
    """What this Host needs and the machine lacks; None: nothing."""
    if platform.machine() != "x86_64" or not sys.platform.startswith("linux"):
        return "Linux on x86-64: User-Mode Linux runs on nothing else"
    if found() is None:
        return f"Debian's package {PACKAGE}: pystack lab setup uml"
    return None


class UmlHost(AgentHost):
    """A User-Mode Linux.

    Args:
        name: The Host's.
    """

    # Its frames take more of a send buffer than a real NIC's, and cases write much at once.
    tunables = (*REPEATABLE, ("net.ipv4.tcp_wmem", "4096,1048576,4194304"))

    def __init__(self, name: str = "uml") -> None:
        super().__init__(name)
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._listeners: list[socket.socket] = []
        self._stream: socket.socket | None = None

    def _open(self, ports: int) -> Commands:
        kernel = found()
        if kernel is None or ports > PORTS:
            raise Unable(f"{self.name} needs {missing()}" if kernel is None else f"{ports} wires")
        self._folder = folder = Path(tempfile.mkdtemp(prefix="pystack-uml-"))
        wires = []
        for number in range(PORTS):
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._listeners.append(listener)
            listener.settimeout(WIRE_S)
            listener.bind(str(folder / str(number)))
            listener.listen()
            wires.append(
                f"vec{number}:transport=bess,dst={folder}/{number},depth=32,gro=0,vec=0,"
                f"mac=02:00:00:00:00:{number + 1:02x}"
            )
        self._stream, theirs = socket.socketpair()
        with theirs, (folder / "console").open("wb") as console:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-ESsB", str(AGENTS / "uml_start.py"), str(folder)),
                    *(str(kernel.program), f"mem={MEMORY}", "rootfstype=hostfs", "rootflags=/"),
                    *("ro", "quiet", "con=null", "con0=null,fd:1", "ssl=null"),
                    *(f"ssl0=fd:{theirs.fileno()}", f"uml_dir={folder}", *wires),
                    f"GLIBC_TUNABLES=glibc.cpu.hwcaps=-{NARROW.replace(',', ',-')}",
                    *(f"init={sys.executable}", "--", "-ESsB", str(AGENTS / "uml_init.py")),
                    *(str(PORTS), *map(str, kernel.modules)),
                ],
                stdin=subprocess.PIPE,
                stdout=console,
                stderr=console,
                pass_fds=[theirs.fileno()],
            )
        self._ends = [os.pidfd_open(self._process.pid)]
        self._await_ready(self._stream)
        return Commands(self.name, self._stream.fileno(), longest=LONGEST_LINE)

    def _await_ready(self, stream: socket.socket) -> None:
        poll = select.poll()
        poll.register(stream, select.POLLIN)
        if poll.poll(BOOT_S * 1000) and stream.recv(6, socket.MSG_WAITALL) == b"ready\n":
            return
        console = b"" if self._folder is None else (self._folder / "console").read_bytes()
        said = console.decode(errors="replace").strip().splitlines()[-6:]
        raise HostCrashed(f"{self.name} does not boot: {'; '.join(said)}")

    def _wired(self, ports: int) -> list[Wire]:
        wires: list[Wire] = []
        for listener in self._listeners[:ports]:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                raise HostCrashed(f"{self.name} does not connect its wire") from None
            wires.append(FdWire(connection.detach()))
        return wires

    def _close(self) -> None:
        process, self._process = self._process, None
        while self._ends:
            os.close(self._ends.pop())
        folder, self._folder = self._folder, None
        if process is not None and process.stdin is not None:
            process.stdin.close()  # uml_start.py does the rest
            try:
                process.wait(QUIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if folder is not None:
            # There is something left to do if uml_start.py was killed: UML is several processes,
            # and some of them outlive the first one's violent death.
            with suppress(OSError, ValueError):
                os.killpg(int((folder / "group").read_text()), signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.close()
