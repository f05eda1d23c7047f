"""The agent of the Host `linux`: the running kernel, in its own network namespaces.

    python namespace.py COMMANDS DESCRIPTORS

Both are descriptors of UNIX stream sockets. The agent serves on the first. At each `reset` it
goes into a namespace that it has just made, so that whatever the kernel remembers of a network
stays behind, makes TAPs there, and sends their descriptors over the second before it answers.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pystack.lab.agent.agent import Agent
    from pystack.lab.agent.tables import Rtnetlink
    from pystack.lab.agent.tap import open_tap
    from pystack.lab.agent.unshare import CLONE_NEWNET, become_root, unshare
else:  # run as a program, with this folder first on the path and no package
    from agent import Agent
    from tables import Rtnetlink
    from tap import open_tap
    from unshare import CLONE_NEWNET, become_root, unshare

PR_SET_PDEATHSIG, SIGKILL = 1, 9

_libc = ctypes.CDLL(None, use_errno=True)


class NamespaceAgent(Agent):
    """An agent whose `reset` is a fresh namespace with fresh TAPs.

    Args:
        descriptors: Where these are sent.
    """

    def __init__(self, descriptors: socket.socket) -> None:
        super().__init__([])
        self._descriptors = descriptors

    def do_reset(self, ports: str = "1") -> None:
        """Starts over in a fresh namespace."""
        self.close_sockets()
        self.tables.close()
        unshare(CLONE_NEWNET)
        self.tables = Rtnetlink()
        self.change(socket.if_nametoindex("lo"), up=True)
        self.interfaces = [f"eth{number}" for number in range(int(ports))]
        taps = [open_tap(name) for name in self.interfaces]
        try:
            socket.send_fds(self._descriptors, [b"+"], taps)
        finally:
            for descriptor in taps:
                os.close(descriptor)


def main() -> None:
    """Serves one stream."""
    _libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    stream, descriptors = (socket.socket(fileno=int(word)) for word in sys.argv[1:3])
    if os.geteuid() != 0:
        become_root()
    NamespaceAgent(descriptors).serve(stream.makefile("rb"), stream.makefile("wb"))


if __name__ == "__main__":
    main()
