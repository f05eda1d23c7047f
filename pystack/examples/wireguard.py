"""A request through WireGuard: two Stacks, each behind its tunnel, over the kernel's UDP.

Neither needs root, and the machine's own routes stay as they are. In practice the far end is any
WireGuard, and the near one made by `WireGuard.from_config("peer.conf")`.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import pystack
from pystack.nic.wireguard import PeerConfig, WireGuard


def serve(listener: Any) -> None:
    """Answers one request."""
    connection, address = listener.accept()
    with connection:
        connection.sendall(f"{connection.recv(100).decode()}, {address[0]}".encode())


def main() -> None:
    """Connects the two, asks, and prints what `wg show` would."""
    far_card = WireGuard(os.urandom(32), addresses=["10.9.0.1/24"])
    far_peer = PeerConfig(far_card.public_key, ["10.9.0.0/24"], ("127.0.0.1", far_card.local[1]))
    near_card = WireGuard(os.urandom(32), [far_peer], addresses=["10.9.0.2/24"])
    far_card.add_peer(PeerConfig(near_card.public_key, ["10.9.0.2/32"]))
    with pystack.Stack() as near, pystack.Stack() as far, near_card, far_card:
        near_card.up(near)
        far_card.up(far)
        listener = far.sockets.create_server(("10.9.0.1", 80))
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        with near.sockets.create_connection(("10.9.0.1", 80), timeout=10, all_errors=True) as sock:
            sock.sendall(b"hello")
            print(sock.recv(100).decode())
        server.join()
        listener.close()
        for peer in near_card.peers():
            assert peer.latest_handshake is not None
            print(f"{peer.sent_bytes} bytes sent to {peer.allowed_ips[0]}")


if __name__ == "__main__":
    main()
