"""Local ports of TCP connections: shared towards different places, and taken again after a wait."""

from __future__ import annotations

import errno
import socket
import time
from contextlib import ExitStack
from typing import Any

import pytest
from pair import RIGHT, RIGHT6, pair

import pystack
from pystack.world import World

ONLY = 40000


def narrow(net: pystack.Stack) -> None:
    """Leaves the Stack one port to choose."""
    for end in ("first", "last"):
        net.sysctl[f"net.ipv4.ip_local_port_{end}"] = ONLY


def exchange(client: Any, server: Any, word: bytes) -> None:
    client.sendall(word)
    assert server.recv(16) == word


@pytest.mark.parametrize("host", [RIGHT, RIGHT6])
def test_connections_to_different_places_share_a_port(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with pair() as both, ExitStack() as kept:
        listeners = [
            kept.enter_context(both.right.sockets.create_server((host, port), family=family))
            for port in (8001, 8002)
        ]
        narrow(both.left)
        pairs = []
        for listener in listeners:
            client = kept.enter_context(
                both.left.sockets.create_connection(listener.getsockname()[:2], 30)
            )
            server, peer = listener.accept()
            kept.enter_context(server)
            assert client.getsockname()[1] == peer[1] == ONLY
            pairs.append((client, server))
        for number, (client, server) in enumerate(pairs):
            exchange(client, server, b"%d" % number)
            exchange(server, client, b"%d" % number)
        for listener in listeners:  # all four are in use
            with pytest.raises(OSError) as caught:
                both.left.sockets.create_connection(listener.getsockname()[:2], 30)
            assert caught.value.errno == errno.EADDRNOTAVAIL
        with both.left.sockets.socket(family) as other, pytest.raises(OSError) as caught:
            other.bind(("", ONLY))
        assert caught.value.errno == errno.EADDRINUSE


def test_a_port_that_somebody_is_bound_to_is_not_shared() -> None:
    with pair() as both, both.right.sockets.create_server((RIGHT, 8001)) as listener:
        narrow(both.left)
        with both.left.sockets.socket() as holder:
            holder.bind(("", ONLY))
            with pytest.raises(OSError) as caught:
                both.left.sockets.create_connection(listener.getsockname(), 30)
            assert caught.value.errno == errno.EADDRNOTAVAIL
        with both.left.sockets.create_connection(listener.getsockname(), 30) as client:
            server, _peer = listener.accept()
            with server:
                exchange(client, server, b"x")


def test_time_wait_gives_its_place_to_a_new_connection_after_a_second() -> None:
    with World() as world:
        left, right = world.host("left"), world.host("right")
        world.link(left, right)
        listener = right.sockets.create_server((RIGHT, 8001))
        narrow(left)

        def once(word: bytes) -> None:
            with left.sockets.create_connection(listener.getsockname(), 30) as client:
                server, _peer = listener.accept()
                exchange(client, server, word)
                client.shutdown(socket.SHUT_WR)
                assert server.recv(1) == b""
                server.close()
                assert client.recv(1) == b""

        once(b"first")
        for pause in (0, 0.9):
            world.sleep(pause)
            with pytest.raises(OSError) as caught:
                once(b"too early")
            assert caught.value.errno == errno.EADDRNOTAVAIL
        world.sleep(0.2)
        once(b"second")


def test_many_idle_connections_work_and_end() -> None:
    with pair() as both, both.right.sockets.create_server((RIGHT, 8001), backlog=100) as listener:
        pairs = []
        for _ in range(300):
            client = both.left.sockets.create_connection(listener.getsockname(), 30)
            pairs.append((client, listener.accept()[0]))
        time.sleep(2.5)  # they are idle, and stand aside
        for number, (client, server) in enumerate(pairs):
            exchange(client, server, b"%d" % number)
            exchange(server, client, b"back")
        time.sleep(1.5)
        for client, server in pairs[::2]:
            client.close()
            assert server.recv(1) == b""
            server.close()
        for client, server in pairs[1::2]:
            exchange(server, client, b"still here")
            server.close()
            assert client.recv(1) == b""
            client.close()
