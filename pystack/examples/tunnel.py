"""HTTP through a tunnel: frames over a pair of UNIX sockets, the way a VPN carries them.

Both ends are Stacks in this process. In practice the other end of the pair is another process, a
virtual machine, or whatever else reads a frame from each datagram.
"""

from __future__ import annotations

import socket
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pystack


class Hello(BaseHTTPRequestHandler):
    """Answers every GET."""

    def do_GET(self) -> None:
        """Says where the request came from."""
        body = f"hello, {self.client_address[0]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Leaves standard error alone."""


def main() -> None:
    """Serves on the far Stack, and fetches through the near one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with pystack.Stack() as near, pystack.Stack() as far:
        near.attach(pystack.nic.Descriptor(ours), "10.0.0.1/24")
        far.attach(pystack.nic.Descriptor(theirs), "10.0.0.2/24")
        with far.active():  # this thread's sockets: the server's listener
            server = ThreadingHTTPServer(("10.0.0.2", 80), Hello)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            with near.active(), urllib.request.urlopen("http://10.0.0.2/", timeout=10) as answer:
                print(answer.read().decode(), end="")
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


if __name__ == "__main__":
    main()
