"""The agent of the Host `passt`: passt, whose guest is the tester.

    python passt_agent.py COMMANDS WIRE PROGRAM RELEASE

passt takes the place of the guest's router: that is the Host's address here, and what the tester
sends there arrives on the loopback of a separate network namespace. What is sent to the tester's
ports goes through ports of the loopback that passt listens at. All that the tester sees is passt's.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pystack.lab.agent.fresh import FRAME, FreshAgent, main
    from pystack.lab.agent.loopback import LOOPBACK, LOOPBACK6, LoopbackSocket, own_loopback
    from pystack.lab.agent.tables import Tables
    from pystack.lab.agent.tap import open_tap
else:  # run as a program, with this folder first on the path and no package
    from fresh import FRAME, FreshAgent, main
    from loopback import LOOPBACK, LOOPBACK6, LoopbackSocket, own_loopback
    from tables import Tables
    from tap import open_tap

LENGTH = struct.Struct("!I")  # before each frame
ARP = b"\x08\x06"
# The tester's ports that can be reached: those that cases name, and those that they count up.
PORTS = "4000-4100,40001-40300"
GATE = "u0"  # passt asks for an interface with a default route; nothing goes there
OUTSIDE = (("198.51.100.2/24", "0.0.0.0/0", "198.51.100.1"), ("3fff::2/64", "::/0", "3fff::1"))


class PasstAgent(FreshAgent):
    """passt."""

    def __init__(self, wire: socket.socket, program: str, release: str) -> None:
        super().__init__(wire)
        self._program = program
        self.release = release
        self._reachable: set[str] = set()

    def begin(self, plan: dict[str, str]) -> None:
        """Starts passt in a namespace where it can't reach anything."""
        own_loopback()
        # Its echo requests are the kernel's too, from sockets that need no root.
        Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647")
        self._gate = open_tap(GATE)
        tables = Tables([GATE, "lo"])
        tables.do_interface("0", "up")
        for own in (plan["host4"], plan["host6"]):  # where its echo requests go
            tables.do_address("add", "1", own)
        self._reachable = {plan["tester4"], plan["tester6"]}
        for address, destination, gateway in OUTSIDE:
            tables.do_address("add", "0", address)
            tables.do_route("add", destination, gateway, "0")
        self._end, theirs = socket.socketpair()
        self._stream = self._end.makefile("rb")
        with theirs:
            subprocess.Popen(
                [
                    *(self._program, "--foreground", "--quiet", "--fd", str(theirs.fileno())),
                    *("--address", plan["tester4"], "--netmask", plan["host4"].split("/")[1]),
                    *("--gateway", plan["host4"].split("/")[0]),
                    *("--address", plan["tester6"], "--gateway", plan["host6"].split("/")[0]),
                    *("--mac-addr", plan["mac"], "--mtu", plan["mtu"]),
                    *("--dns", "none", "--search", "none", "-t", PORTS, "-u", PORTS),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._await()
        threading.Thread(target=self._out, daemon=True).start()
        threading.Thread(target=self._in, daemon=True).start()

    def _await(self) -> None:
        """Waits until it answers ARP; what it says on its own before is not for the tester."""
        ask = struct.pack("!HHBBH6x4s6x4s", 1, 0x0800, 6, 4, 1, bytes(4), bytes(4))
        frame = b"\xff" * 6 + bytes(6) + ARP + ask
        self._end.sendall(LENGTH.pack(len(frame)) + frame)
        while self._frame()[12:14] != ARP:
            pass

    def _frame(self) -> bytes:
        """The next frame of passt's."""
        size = self._stream.read(LENGTH.size)
        if not size:
            os._exit(1)  # passt has ended; when we do first, it does as its socket closes
        return self._stream.read(LENGTH.unpack(size)[0])

    def _in(self) -> None:
        """From the tester to passt."""
        while True:
            frame = self.wire.recv(FRAME)
            self._end.sendall(LENGTH.pack(len(frame)) + frame)

    def _out(self) -> None:
        """From passt to the tester."""
        while True:
            self.send_frame(self._frame())

    def make(self, family: int, kind: int, protocol: int) -> Any:
        """A socket on the loopback."""
        if kind == socket.SOCK_RAW:
            raise OSError(errno.ENOSYS, "raw sockets")
        return LoopbackSocket(socket.socket(family, kind), self._through)

    def _through(self, _kind: int, address: tuple[Any, ...]) -> tuple[Any, ...]:
        """Its own port on the loopback, at which passt listens."""
        if address[0] not in self._reachable:
            raise OSError(errno.ENOSYS, "a way to anybody but the tester")
        return (LOOPBACK6 if ":" in address[0] else LOOPBACK), address[1]


if __name__ == "__main__":
    main(PasstAgent)
