"""The first process inside User-Mode Linux: loads what is a module there, and is the agent.

    python uml_init.py PORTS MODULE...

Its commands come over the first serial line. When that ends, it turns the machine off.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
import tty
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pystack.lab.agent.agent import Agent
    from pystack.lab.agent.tables import Rtnetlink, attribute
else:  # run as a program, with this folder first on the path and no package
    from agent import Agent
    from tables import Rtnetlink, attribute

CLONE_NEWNET = 0x40000000
FINIT_MODULE = 313  # on x86-64, the only one that UML 6.1 runs on
POWER_OFF = 0x4321FEDC
IFLA_NET_NS_PID = 19

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def mount(kind: str, where: str) -> None:
    """Mounts a file system that is on no disk.

    Raises:
        OSError: It can't be mounted.
    """
    result = _libc.mount(kind.encode(), where.encode(), kind.encode(), 0, None)
    if result != 0 and ctypes.get_errno() != errno.EBUSY:  # the kernel did it by itself
        _check(result, f"mount {where}")


def load(module: str) -> None:
    """Loads a module of the kernel.

    Raises:
        OSError: It can't be loaded.
    """
    with Path(module).open("rb") as file:
        _check(_libc.syscall(FINIT_MODULE, file.fileno(), b"", 0), f"load {module}")


class UmlAgent(Agent):
    """An agent whose `reset` is a fresh namespace, which the interfaces are moved into."""

    def do_reset(self, _ports: str = "1") -> None:
        """Starts over in a fresh namespace."""
        self.close_sockets()
        indices = [socket.if_nametoindex(name) for name in self.interfaces]
        old = self.tables
        _check(_libc.unshare(CLONE_NEWNET), "unshare")
        for index in indices:
            self.change(index, attribute(IFLA_NET_NS_PID, struct.pack("=I", os.getpid())))
        old.close()
        self.tables = Rtnetlink()
        self.change(socket.if_nametoindex("lo"), up=True)


def main() -> None:
    """Serves the serial line."""
    try:
        mount("proc", "/proc")
        mount("devtmpfs", "/dev")
        for word in sys.argv[2:]:
            if word.startswith("/"):  # UML appends its own words, which are no paths
                load(word)
        line = os.open("/dev/ttyS0", os.O_RDWR | os.O_NOCTTY)
        tty.setraw(line)
        os.write(line, b"ready\n")  # what came earlier was lost, or echoed
        agent = UmlAgent([f"vec{number}" for number in range(int(sys.argv[1]))])
        agent.serve(os.fdopen(line, "rb"), os.fdopen(os.dup(line), "wb"))
    except OSError as error:
        print(f"agent: {error}", flush=True)
    finally:
        _libc.reboot(POWER_OFF)


if __name__ == "__main__":
    main()
