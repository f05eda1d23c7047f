"""Two Stacks with drivers' threads of their own, on an in-memory wire."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pystack

LEFT, RIGHT = "10.0.0.1", "10.0.0.2"
LEFT6, RIGHT6 = "fd00::1", "fd00::2"


@dataclass
class Pair:
    """The two Stacks and their interfaces."""

    left: pystack.Stack
    right: pystack.Stack
    left_interface: pystack.Interface
    right_interface: pystack.Interface

    def connected(self, v6: bool = False) -> tuple[Any, Any]:
        """A TCP connection from left to right: the client's and the server's socket."""
        host = RIGHT6 if v6 else RIGHT
        with self.right.sockets.create_server((host, 0), family=10 if v6 else 2) as listener:
            client = self.left.sockets.create_connection(listener.getsockname()[:2], 30)
            server, _peer = listener.accept()
        client.settimeout(60)
        server.settimeout(60)
        return client, server


def whole(sock: Any, size: int) -> bytes:
    """So many bytes of a stream, or all up to its end (MSG_WAITALL says nothing with a timeout)."""
    got = b""
    while len(got) < size and (data := sock.recv(size - len(got))):
        got += data
    return got


@contextmanager
def pair(
    mtu: int = 1500, *, engines: tuple[str, str] = ("lwip", "lwip"), **options: Any
) -> Iterator[Pair]:
    """A `Pair` for the block; its arenas have to be empty at the end."""
    a, b = pystack.nic.wire(mtu)
    with (
        pystack.Stack(engine=engines[0], **options) as left,
        pystack.Stack(engine=engines[1], **options) as right,
    ):
        yield Pair(
            left,
            right,
            left.attach(a, f"{LEFT}/24", f"{LEFT6}/64"),
            right.attach(b, f"{RIGHT}/24", f"{RIGHT6}/64"),
        )
    assert left.arena.live_blocks == right.arena.live_blocks == 0


@contextmanager
def routed() -> Iterator[Pair]:
    """A `Pair` whose left Stack's packets to anywhere go to the right one."""
    with pair() as both:
        both.left.routes.add("default", gateway=RIGHT)
        both.left.routes.add("::/0", gateway=RIGHT6)
        yield both
