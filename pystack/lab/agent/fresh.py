"""Agents that begin each case as a fresh process, for stacks that can't forget what was.

    python NAME.py COMMANDS WIRE WORD...

The descriptors are inherited: the command stream, and a UNIX socket that keeps the frames' borders.
This process has nothing to do with the stack: it forks one that has at each `reset`, and ends when
that one ends otherwise. The words are the program's own.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pystack.lab.agent.agent import SocketAgent
else:  # run as a program, with this folder first on the path and no package
    from agent import SocketAgent

PR_SET_PDEATHSIG, SIGKILL = 1, 9
AGAIN, BROKEN = 100, 101
FRAME = 1 << 17

_libc = ctypes.CDLL(None, use_errno=True)


class FreshAgent(SocketAgent):
    """An agent of a stack that lives as long as one case.

    Args:
        wire: Frames, one a message.

    Attributes:
        release: What `hello` says after whose clock it is.
    """

    release = "?"

    def __init__(self, wire: socket.socket) -> None:
        super().__init__()
        self.wire = wire

    def do_hello(self, *_version: str) -> list[str]:
        """Which protocol, whose clock, which stack."""
        return ["1", "real", self.release]

    def do_reset(self, _ports: str = "1") -> None:
        """The end of this process: the next one answers."""
        self.end()
        os._exit(AGAIN)

    def do_begin(self, *words: str) -> None:
        """Begins: `begin mac=... mtu=... host4=192.0.2.2/24 tester4=... host6=... tester6=...`."""
        self.begin(dict(word.split("=", 1) for word in words))

    def begin(self, plan: dict[str, str]) -> None:
        """Brings the stack up, with these addresses; "": none."""
        raise NotImplementedError

    def end(self) -> None:
        """Takes down what would outlive the process."""

    def send_frame(self, frame: bytes) -> None:
        """Puts a frame on the wire; a wire that is full loses it."""
        with suppress(BlockingIOError):
            self.wire.send(frame, socket.MSG_DONTWAIT)


def die_with_parent() -> None:
    """Has the kernel end this process when its parent does."""
    _libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)


def main(make: Callable[..., FreshAgent]) -> None:
    """Serves the stream of the command line.

    Args:
        make: Called with the wire and the program's arguments, in a new process.
    """
    die_with_parent()
    stream, wire = (socket.socket(fileno=int(word)) for word in sys.argv[1:3])
    again = False
    while True:
        if os.fork() == 0:
            _serve(make, stream, wire, again)
        _process, status = os.wait()
        if not os.WIFEXITED(status) or os.WEXITSTATUS(status) != AGAIN:
            return
        again = True


def _serve(
    make: Callable[..., FreshAgent], stream: socket.socket, wire: socket.socket, again: bool
) -> None:
    """One process of the stack; it does not return."""
    die_with_parent()
    threading.excepthook = _broken
    status = BROKEN
    try:
        if again:  # what the process before has not taken
            while _waiting(wire):
                pass
        agent = make(wire, *sys.argv[3:])
        if again:
            stream.sendall(b"ok\n")
        agent.serve(stream.makefile("rb"), stream.makefile("wb"))
        agent.end()
        status = 0
    except BaseException:  # noqa: BLE001 - it is said, and this process ends
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _waiting(wire: socket.socket) -> bool:
    try:
        return bool(wire.recv(FRAME, socket.MSG_DONTWAIT))
    except BlockingIOError:
        return False


def _broken(what: Any) -> None:
    """A thread of the stack's that dies takes the stack along: a crash, not a silent Host."""
    traceback.print_exception(what.exc_type, what.exc_value, what.exc_traceback)
    os._exit(BROKEN)
