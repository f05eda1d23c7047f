"""Any destination: connections, datagrams and pings to hosts that aren't there are answered here.

The client is a Stack, too. In practice its place is a TUN's: see ``pystack manual intercept``.
"""

from __future__ import annotations

import errno
import threading

import pystack
from pystack.intercept import EchoFlow, Intercept, TcpFlow


def answer(taken: Intercept) -> None:
    """Decides on each flow, until the Intercept is closed."""
    for flow in taken:
        host, port = flow.destination[:2]
        if isinstance(flow, EchoFlow):
            flow.accept()
        elif isinstance(flow, TcpFlow) and port == 80:
            with flow.accept() as connection:
                connection.sendall(f"you asked {host}\n".encode())
        elif port == 25:
            flow.refuse(errno.EACCES)  # "administratively prohibited"
        else:
            flow.refuse()  # a RST, or "port unreachable"


def main() -> None:
    """Asks for hosts of both families, and shows what came of it."""
    ours, theirs = pystack.nic.wire()
    with pystack.Stack() as client, pystack.Stack() as gateway:
        client.attach(ours, "10.0.0.1/24", "fd00::1/64", gateway=["10.0.0.2", "fd00::2"])
        gateway.attach(theirs, "10.0.0.2/24", "fd00::2/64")
        with gateway.intercept() as taken:
            thread = threading.Thread(target=answer, args=(taken,))
            thread.start()
            for host in ("198.51.100.7", "2001:db8::7"):
                with client.sockets.create_connection((host, 80), 10) as asked:
                    print(asked.recv(100).decode(), end="")
                for port in (25, 81):
                    try:
                        client.sockets.create_connection((host, port), 10)
                    except OSError as error:
                        print(f"port {port}: {error.strerror}")
                print(f"{client.ping(host).received} of 1 pings answered")
        thread.join()


if __name__ == "__main__":
    main()
