"""Stacks whose NICs are sockets of each other."""

from __future__ import annotations

import errno
import threading
from socket import AF_INET, SOCK_DGRAM
from typing import Any

import pytest

import pystack


class Tunnel:
    """A NIC whose frames go through a socket, as datagrams."""

    mtu = 1400
    layer = pystack.nic.Layer.IP

    def __init__(self, to: str) -> None:
        self.to = to
        self.through: Any = None

    def bind(self, deliver: Any) -> None:
        self.deliver = deliver

    def transmit(self, frame: bytes) -> bool:
        if self.through is not None:
            self.through.sendto(frame, (self.to, 9))
        return True


@pytest.mark.timeout(300)
def test_stacks_through_each_other_say_so() -> None:
    """Two threads that would wait for each other's Stack, and one that comes back to its own."""
    tunnels = Tunnel("10.0.1.2"), Tunnel("10.0.0.2")
    with pystack.Stack() as a, pystack.Stack() as b:
        for net, tunnel, address in (a, tunnels[0], "10.0.0.1/24"), (b, tunnels[1], "10.0.1.1/24"):
            net.attach(tunnel, address)
        socks = [net.socket(AF_INET, SOCK_DGRAM) for net in (a, b)]
        tunnels[0].through, tunnels[1].through = socks[1], socks[0]
        refused: set[int | None] = set()

        def send(sock: Any, to: str) -> None:
            for _ in range(300):
                try:
                    sock.sendto(b"x", (to, 9))
                except OSError as error:
                    refused.add(error.errno)

        threads = [
            threading.Thread(target=send, args=(sock, tunnel.to))
            for sock, tunnel in zip(socks, reversed(tunnels), strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert refused == {errno.EDEADLK}
        tunnels[0].through = tunnels[1].through = None
        for sock in socks:
            sock.close()
