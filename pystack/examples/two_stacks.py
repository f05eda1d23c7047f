"""Two Stacks on an in-memory wire: a client, a server, and what netstat shows."""

from __future__ import annotations

import threading

import pystack
from pystack.sockets import Socket
from pystack.tables import format_connections


def serve(listener: Socket) -> None:
    """Sends back what one client says, in capitals."""
    connection, _peer = listener.accept()
    with connection:
        while data := connection.recv(4096):
            connection.sendall(data.upper())


def main() -> None:
    """Talks over the wire, over IPv6."""
    left, right = pystack.nic.wire()
    with pystack.Stack() as a, pystack.Stack() as b:
        a.attach(left, "10.0.0.1/24", "fd00::1/64")
        b.attach(right, "10.0.0.2/24", "fd00::2/64")
        print(a.ping("10.0.0.2"))

        family = b.sockets.AF_INET6
        with b.sockets.create_server(("fd00::2", 7), family=family) as listener:
            server = threading.Thread(target=serve, args=(listener,))
            server.start()
            with a.sockets.create_connection(("fd00::2", 7)) as client:
                client.sendall(b"hello over there")
                print(client.recv(4096).decode())
                for row in format_connections(a.connections()):
                    print(*(f"{cell:<24}" for cell in row))
            server.join()


if __name__ == "__main__":
    main()
