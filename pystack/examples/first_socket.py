"""A first socket, without root: a Stack and its loopback interface."""

from __future__ import annotations

import pystack


def main() -> None:
    """Sends a line from one socket of a Stack to another."""
    with (
        pystack.Stack() as net,
        net.sockets.create_server(("127.0.0.1", 0)) as listener,
        net.sockets.create_connection(listener.getsockname()) as client,
    ):
        server, peer = listener.accept()
        with server:
            client.sendall(b"hello")
            print(f"{peer[0]} says {server.recv(100).decode()!r}")
            print(net)


if __name__ == "__main__":
    main()
