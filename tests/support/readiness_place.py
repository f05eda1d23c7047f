"""Where a socket comes to a state: on the kernel or on a Stack."""

from __future__ import annotations

import select
import socket
import struct
from contextlib import ExitStack, suppress
from typing import Any

from quiet import settle

LOCAL = "127.0.0.1"
ALL = select.POLLIN | select.POLLPRI | select.POLLOUT | select.POLLRDHUP
RST = struct.pack("ii", 1, 0)  # SO_LINGER


class Place:
    """Makes sockets that are the kernel's or a Stack's, and closes them at the end."""

    def __init__(self, module: Any, watching: select.epoll | None = None) -> None:
        self.module = module
        self._held = ExitStack()
        self._watching = watching

    def close(self) -> None:
        """Closes all that was made."""
        self._held.close()

    def keep(self, sock: Any) -> Any:
        """Keeps a socket until the end."""
        self._held.callback(sock.close)
        if self._watching is not None:
            self._watching.register(sock, ALL)
        return sock

    def socket(self, kind: int = socket.SOCK_STREAM, proto: int = 0) -> Any:
        """A new one."""
        return self.keep(self.module.socket(socket.AF_INET, kind, proto))

    def listener(self, backlog: int = 8) -> Any:
        """A listening one."""
        sock = self.socket()
        sock.bind((LOCAL, 0))
        sock.listen(backlog)
        return sock

    def connect(self, listener: Any) -> Any:
        """A connection that waits to be accepted."""
        return self.keep(self.module.create_connection(listener.getsockname()))

    def pair(self) -> tuple[Any, Any]:
        """A connection: the socket to look at, and its peer."""
        listener = self.listener()
        near = self.connect(listener)
        far = self.keep(listener.accept()[0])
        for one in (near, far):  # what is sent doesn't wait for a delayed acknowledgement
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return near, far

    def nowhere(self) -> tuple[str, int]:
        """An address at which nobody listens."""
        with self.module.socket() as sock:
            sock.bind((LOCAL, 0))
            where: tuple[str, int] = sock.getsockname()
        return where

    def connecting(self) -> Any:
        """A socket whose SYNs nobody answers: the listener's queue is full."""
        listener = self.listener(0)
        self.connect(listener)
        for _ in range(3):
            sock = self.socket()
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
            self.settle()
        return sock

    def settle(self) -> None:
        """Waits until what is under way has arrived."""
        settle(self.module)

    def fill(self, sock: Any) -> None:
        """Sends until there is no room, here and at the peer."""
        sock.setblocking(False)
        sent, before = 0, -1
        while sent != before:
            before = sent
            with suppress(BlockingIOError):
                while True:
                    sent += sock.send(bytes(1 << 16))
            self.settle()


def reset(far: Any) -> None:
    """Ends a connection with a reset."""
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
    far.close()


def shut(sock: Any, how: int) -> Any:
    """`shutdown`, which may fail and have an effect all the same."""
    with suppress(OSError):
        sock.shutdown(how)
    return sock
