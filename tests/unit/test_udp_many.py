"""Many UDP sockets, each found by its port or by its peer; and long sends that are cut."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

import pystack
from pystack.nic import wire

pytestmark = pytest.mark.sanitize

HOSTS = {4: ("10.0.0.1", "10.0.0.2"), 6: ("fd00::1", "fd00::2")}
UDP_SEGMENT = 103


@contextmanager
def stacks(**options: Any) -> Iterator[tuple[pystack.Stack, pystack.Stack, ExitStack]]:
    with ExitStack() as cleanup:
        nets = []
        for number, end in enumerate(wire(**options)):
            net = cleanup.enter_context(pystack.Stack())
            net.attach(end, *(f"{HOSTS[v][number]}/{24 if v == 4 else 64}" for v in HOSTS))
            nets.append(net)
        yield nets[0], nets[1], cleanup


def opened(net: pystack.Stack, version: int, cleanup: ExitStack) -> Any:
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    made = cleanup.enter_context(net.sockets.socket(family, socket.SOCK_DGRAM))
    made.settimeout(30)
    return made


@pytest.mark.parametrize("version", [4, 6])
def test_each_of_many_ports(version: int) -> None:
    with stacks() as (one, two, cleanup):
        left, right = HOSTS[version]
        client = opened(one, version, cleanup)
        client.bind((left, 0))
        servers = []
        for _ in range(600):
            server = opened(two, version, cleanup)
            server.bind((right, 0))
            servers.append(server)
        ports = [server.getsockname()[1] for server in servers]
        assert len(set(ports)) == len(ports)
        for round_ in range(2):
            for number, server in enumerate(servers):
                if round_ and number % 2:
                    continue
                client.sendto(b"%d" % number, (right, ports[number]))
                assert server.recv(100) == b"%d" % number
            for server in servers[1::2]:
                server.close()
        client.connect((right, ports[1]))  # whose socket is gone
        client.send(b"anybody?")
        with pytest.raises(ConnectionRefusedError):
            client.recv(100)
        again = opened(two, version, cleanup)
        again.bind((right, ports[1]))
        client.send(b"now")
        assert again.recv(100) == b"now"


@pytest.mark.parametrize("version", [4, 6])
def test_who_is_connected_comes_before_who_is_not(version: int) -> None:
    with stacks() as (one, two, cleanup):
        left, right = HOSTS[version]
        clients, servers = [], []
        for _ in range(100):
            client = opened(one, version, cleanup)
            client.bind((left, 0))
            clients.append(client)
            server = opened(two, version, cleanup)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((right, 5000))
            server.connect(client.getsockname()[:2])
            servers.append(server)
        anybody = opened(two, version, cleanup)
        anybody.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        anybody.bind((right, 5000))
        stranger = opened(one, version, cleanup)
        stranger.bind((left, 0))
        for number, (client, server) in enumerate(zip(clients, servers, strict=True)):
            client.sendto(b"%d" % number, (right, 5000))
            assert server.recv(100) == b"%d" % number
            stranger.sendto(b"stranger", (right, 5000))
            assert anybody.recv(100) == b"stranger"
        # Who connects to another, or is closed, is not found by the old one any more.
        servers[0].connect(stranger.getsockname()[:2])
        servers[1].close()
        for client in clients[:2]:
            client.sendto(b"old", (right, 5000))
            assert anybody.recv(100) == b"old"
        stranger.sendto(b"new", (right, 5000))
        assert servers[0].recv(100) == b"new"


def test_no_port_is_left() -> None:
    with stacks() as (one, _two, cleanup):
        one.sysctl["net.ipv4.ip_local_port_first"] = 60_990
        one.sysctl["net.ipv4.ip_local_port_last"] = 60_999
        made = [opened(one, 4, cleanup) for _ in range(11)]
        for sock in made[:10]:
            sock.bind(("10.0.0.1", 0))
        assert {sock.getsockname()[1] for sock in made[:10]} == set(range(60_990, 61_000))
        with pytest.raises(OSError, match="in use") as caught:
            made[10].bind(("0.0.0.0", 0))
        assert caught.value.errno == errno.EADDRINUSE
        made[3].close()
        made[10].bind(("0.0.0.0", 0))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("options", [{}, {"checksums": True}, {"layer": pystack.nic.Layer.IP}])
def test_a_long_send_is_cut(version: int, options: dict[str, Any]) -> None:
    with stacks(**options) as (one, two, cleanup):
        left, right = HOSTS[version]
        client, server = opened(one, version, cleanup), opened(two, version, cleanup)
        client.bind((left, 0))
        server.bind((right, 0))
        client.connect(server.getsockname()[:2])
        client.send(b"so that the neighbour is known: few datagrams wait for it")
        server.recv(100)
        data = bytes(range(256)) * 250
        for size in (1, 100, 1400):
            part = data[: min(len(data), 128 * size)]
            client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
            assert client.send(part) == len(part)
            got = [server.recv(2000) for _ in range(-(-len(part) // size))]
            assert b"".join(got) == part
            assert {len(one) for one in got[:-1]} == {size}
        assert client.send(data[:50]) == 50  # shorter than one
        assert server.recv(2000) == data[:50]
        for wrong in (-1, 1 << 16):
            with pytest.raises(OSError, match=r"[Ii]nvalid"):
                client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, wrong)
        with one.sockets.socket(socket.AF_INET, socket.SOCK_STREAM) as stream:
            with pytest.raises(OSError, match="not available"):
                stream.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 100)
