"""A gateway for a guest: an address by DHCP, names, the way out, and a port that leads in.

The guest is a Stack in this process; in practice it is a virtual machine, a container or a process
in a network namespace. What it opens leaves by this machine's sockets.
"""

from __future__ import annotations

import socket
import threading
from http.server import HTTPServer, SimpleHTTPRequestHandler
from urllib.request import urlopen

import pystack
from pystack.embed.gateway import Gateway


class Hello(SimpleHTTPRequestHandler):
    """Answers every GET."""

    def do_GET(self) -> None:
        """Says who asked."""
        body = f"hello, {self.client_address[0]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Leaves standard error alone."""


def main() -> None:
    """A server of this machine's that the guest reaches, and one of the guest's."""
    ours, theirs = pystack.nic.wire()
    outside = HTTPServer(("127.0.0.1", 0), Hello)
    threading.Thread(target=outside.handle_request).start()
    with outside, pystack.Stack() as guest, Gateway(ours, host_loopback="192.0.2.2") as gateway:
        lease = guest.attach(theirs).dhcp()
        print(f"the guest is {lease.address}, its router {lease.gateway}")
        print("gateway.internal is", guest.resolve("gateway.internal", socket.AF_INET)[0])
        with guest.active():  # this thread's sockets are the guest's
            with urlopen(f"http://192.0.2.2:{outside.server_port}/", timeout=10) as page:
                print("to the guest:", page.read().decode(), end="")
            inside = HTTPServer(("0.0.0.0", 80), Hello)
        answering = threading.Thread(target=inside.handle_request)
        answering.start()
        port = gateway.publish("127.0.0.1:0:80").forward.port
        with inside, socket.create_connection(("127.0.0.1", port), 10) as one:
            one.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = one.makefile("rb").read()
            print("from the guest:", answer.partition(b"\r\n\r\n")[2].decode(), end="")
            answering.join()


if __name__ == "__main__":
    main()
