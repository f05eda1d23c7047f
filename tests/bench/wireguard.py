"""A Stack behind `nic.WireGuard` beside wireguard-go: rate and latency to another wireguard-go.

    sudo .venv/bin/python tests/bench/wireguard.py [MEGABYTES [ROUNDS]]

Two namespaces on a veth. In one is wireguard-go, with the kernel's TCP. In the other, by turns,
wireguard-go with the kernel's TCP, and a Stack. Both are driven by this program.
"""

from __future__ import annotations

import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from namespace import Namespace, namespace
from wireguard_go import pair, wireguard_go

import pystack
from pystack.nic.wireguard import PeerConfig, WireGuard

PORT, FAR = 51820, "10.9.0.1"
BLOCK = bytes(1 << 18)
Connect = Callable[[], Any]


def serve(listener: socket.socket, size: int) -> None:
    """Takes bytes to the end, then gives as many; then echoes single ones."""
    with listener.accept()[0] as near:
        while near.recv(1 << 18):
            pass
        for _each in range(size // len(BLOCK)):
            near.sendall(BLOCK)
    with listener.accept()[0] as near:
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while part := near.recv(1):
            near.sendall(part)


def measure(place: Namespace, connect: Connect, size: int) -> tuple[float, float, float]:
    """Mbit/s there, Mbit/s back, and the median round trip of a byte in microseconds."""
    listener = place.call(lambda: socket.create_server((FAR, 80)))
    thread = threading.Thread(target=serve, args=(listener, size))
    thread.start()
    with connect() as near:
        started = time.perf_counter()
        for _each in range(size // len(BLOCK)):
            near.sendall(BLOCK)
        near.shutdown(socket.SHUT_WR)
        left = size - len(near.recv(1 << 18))
        there = time.perf_counter()
        while left > 0:
            left -= len(near.recv(1 << 18))
        back = time.perf_counter()
    trips = []
    with connect() as near:
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _each in range(300):
            before = time.perf_counter()
            near.sendall(b"x")
            near.recv(1)
            trips.append((time.perf_counter() - before) * 1e6)
    thread.join()
    listener.close()
    bits = size * 8 / 1e6
    return bits / (there - started), bits / (back - there), statistics.median(trips)


def main() -> None:
    """Takes turns, and prints each one's medians."""
    size = int(sys.argv[1] if len(sys.argv) > 1 else 64) << 20
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    (far, far_public), (go, go_public), (ours, our_public) = pair(), pair(), pair()
    with namespace() as here, namespace() as there:
        there.run("ip", "link", "add", "v0", "type", "veth", "peer", "v1", "netns", here.path)
        there.device("v0", "192.0.2.1/24")
        here.device("v1", "192.0.2.2/24")
        config = (
            f"[Interface]\nPrivateKey={far}\nListenPort={PORT}\n"
            f"[Peer]\nPublicKey={go_public}\nAllowedIPs=10.9.0.2/32\n"
            f"[Peer]\nPublicKey={our_public}\nAllowedIPs=10.9.0.3/32\n"
        )
        near = (
            f"[Interface]\nPrivateKey={go}\n[Peer]\nPublicKey={far_public}\n"
            f"AllowedIPs=10.9.0.0/24\nEndpoint=192.0.2.1:{PORT}\n"
        )
        peer = PeerConfig(far_public, ["10.9.0.0/24"], ("192.0.2.1", PORT))
        with (
            wireguard_go(there, "wgbench0", config, f"{FAR}/24"),
            wireguard_go(here, "wgbench1", near, "10.9.0.2/24"),
            here.call(lambda: WireGuard(ours, [peer], addresses=["10.9.0.3/24"])) as nic,
            pystack.Stack() as net,
        ):
            nic.up(net)
            ways: dict[str, Connect] = {
                "wireguard-go": lambda: here.call(lambda: socket.create_connection((FAR, 80))),
                "nic.WireGuard": lambda: net.sockets.create_connection((FAR, 80)),
            }
            found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
            for _each in range(rounds):
                for name, connect in ways.items():
                    found[name].append(measure(there, connect, size))
    for name, rows in found.items():
        up, down, trip = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:14} {up:6.0f} Mbit/s there {down:6.0f} back {trip:6.0f} us a round trip")


if __name__ == "__main__":
    main()
