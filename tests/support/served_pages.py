"""A web server on a Stack, for tests of what asks it from elsewhere."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pystack


@contextmanager
def pages(
    net: pystack.Stack, address: str, pages: dict[str, bytes], port: int = 0
) -> Iterator[int]:
    """Serves pages by their paths until the end of the block; gives the port.

    Args:
        net: The server's.
        address: Its own.
        pages: What there is.
        port: Where; 0: one that is free.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = pages.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def date_time_string(self, timestamp: Any = None) -> str:
            return "Sat, 28 Nov 2026 12:00:00 GMT"  # so that two answers are the same

        def log_message(self, *_words: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        address_family = net.sockets.AF_INET6 if ":" in address else net.sockets.AF_INET

        def server_bind(self) -> None:
            self.socket.bind(self.server_address)
            self.server_name, self.server_port = address, self.socket.getsockname()[1]

        def handle_error(self, *_words: Any) -> None:
            pass  # a client that fuzzes

    with net.active():
        server = Server((address, port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
