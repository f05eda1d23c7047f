"""A World: a client that retries with exponential back-off, and a server that loses power.

The server goes down in the middle of an answer, for a minute. The client's connection is half open:
only its own timeout ends it. It takes a moment, and each run prints the same.
"""

from __future__ import annotations

import socket
import time

from pystack.world import World


def serve() -> None:
    """Answers each connection, half at once and half three seconds later."""
    with socket.create_server(("", 80)) as listener:
        while True:
            connection, _peer = listener.accept()
            with connection:
                connection.sendall(b"half ")
                time.sleep(3)
                connection.sendall(b"and half")


def fetch() -> bytes:
    """Asks once, and waits for five seconds at most, of the World's."""
    with socket.create_connection(("server", 80), timeout=5) as sock:
        return b"".join(iter(lambda: sock.recv(100), b""))


def main() -> None:
    """Crashes the server under the client, and brings it back."""
    with World(seed=1) as world:
        client, server = world.host("client"), world.host("server")
        world.link(client, server, delay="20ms")

        def ask() -> None:
            for attempt in range(8):
                began = world.now
                try:
                    print(f"{began:6.2f} s  {fetch().decode()!r}")
                    return
                except OSError as error:
                    what = f"{type(error).__name__}, after {world.now - began:.2f} s"
                    print(f"{began:6.2f} s  {what}")
                time.sleep(2**attempt)

        server.service(serve)  # and again after a restart
        asking = client.thread(ask)
        time.sleep(1)
        server.crash()
        time.sleep(60)
        server.restart()
        asking.join()


if __name__ == "__main__":
    main()
