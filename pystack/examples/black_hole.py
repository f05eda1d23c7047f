"""A World: a path-MTU black hole. A part of the way carries less, and nobody says so.

Between two hosts are two switches, and between these a tunnel with a smaller MTU. A switch can't
send the ICMP error that path-MTU discovery relies on (RFC 2923 2.1): the handshake and short
messages pass, and the first full-sized segment is sent again and again, for nothing.
"""

from __future__ import annotations

import socket

from pystack.world import Host, World


def serve() -> None:
    """Says how much has come, once all of it has."""
    with socket.create_server(("", 80)) as listener:
        while True:
            with listener.accept()[0] as sock:
                size = 0
                while data := sock.recv(65536):
                    size += len(data)
                sock.sendall(str(size).encode())


def upload(client: Host, size: int) -> str:
    """Sends so many bytes, and waits a minute for the answer."""
    with client.sockets.create_connection(("10.0.0.2", 80), timeout=60) as sock:
        sock.sendall(bytes(size))
        sock.shutdown(socket.SHUT_WR)
        try:
            return f"the server has got {sock.recv(100).decode()}"
        except TimeoutError:
            return f"no answer, and {sock.tcp_info().total_retransmits} segments sent again"


def main() -> None:
    """Falls into the hole, and goes around it."""
    with World(seed=1) as world:
        client, server = world.host("client"), world.host("server")
        near, far = world.switch("near"), world.switch("far")
        world.link(client, near, delay="10ms")
        world.link(near, far, delay="10ms", mtu=1472)  # 28 bytes are the tunnel's own
        world.link(server, far, delay="10ms")
        server.thread(serve)
        print("400 bytes:", upload(client, 400))
        print("40,000 bytes:", upload(client, 40_000))
        print(f"{near} dropped {near.counts().oversized} frames in silence")
        client.interfaces[-1].mtu = 1472
        print("with the tunnel's MTU:", upload(client, 40_000))


if __name__ == "__main__":
    main()
