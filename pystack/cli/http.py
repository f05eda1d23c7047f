"""The standard library's HTTP server and client on the sockets of a Stack.

Both take their socket from the module ``socket`` and offer no parameter for it. With
`Stack.installed` they need no change at all; here several stacks share a process, so each server
and each connection gets its own.
"""

from __future__ import annotations

import http.client
import socket
import socketserver
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pystack


class HTTPServer(ThreadingHTTPServer):
    """A `ThreadingHTTPServer` that listens on a Stack."""

    daemon_threads = True

    def __init__(
        self,
        net: pystack.Stack,
        address: tuple[str, int],
        handler: type[BaseHTTPRequestHandler],
    ) -> None:
        self._net = net
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler, bind_and_activate=False)
        self.socket.close()
        self.socket = net.socket(self.address_family, socket.SOCK_STREAM)  # type: ignore[assignment]
        try:
            self.server_bind()
            self.server_activate()
        except BaseException:
            self.server_close()
            raise

    def server_bind(self) -> None:
        """Binds without the reverse lookup of `http.server`: that asks the kernel's resolver."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Reports a client that breaks off in one line, and one that the Stack's end cuts off not.

        Anything but an OSError gets its traceback.
        """
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handle_error(request, client_address)
        elif not self._net.closed:
            print(f"{client_address[0]}: {error}", file=sys.stderr)


class HTTPConnection(http.client.HTTPConnection):
    """An `http.client.HTTPConnection` that connects through a Stack."""

    def __init__(self, net: pystack.Stack, host: str, port: int = 80, timeout: float = 30) -> None:
        super().__init__(host, port, timeout=timeout)
        self.net = net

    def connect(self) -> None:
        """Connects the Stack's socket in place of the kernel's."""
        self.sock = self.net.sockets.create_connection((self.host, self.port), self.timeout)
