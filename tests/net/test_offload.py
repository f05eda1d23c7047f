"""Offload towards the kernel: what it cuts and finishes for us is what we would have sent."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from namespace import Namespace, namespace, needs_namespace
from offload import exchange, inspect

import pystack
from pystack.nic import Impairment, Nic, Offload, Tap, Tun, capture, impair

pytestmark = [needs_namespace, pytest.mark.timeout(120)]

MEBIBYTE = 1 << 20
ALL = Offload.CHECKSUM | Offload.TCP4 | Offload.TCP6
HOSTS = {4: ("10.0.0.1", "10.0.0.2"), 6: ("fd00::1", "fd00::2")}


@contextmanager
def world(
    kind: type[Any], mtu: int, *, offload: bool
) -> Iterator[tuple[Namespace, pystack.Stack, Nic]]:
    with ExitStack() as cleanup:
        place = cleanup.enter_context(namespace())
        nic = cleanup.enter_context(place.call(lambda: kind("dev0", mtu, offload=offload)))
        place.device("dev0", "10.0.0.1/24", "fd00::1/64")
        net = cleanup.enter_context(pystack.Stack())
        net.attach(nic, "10.0.0.2/24", "fd00::2/64")
        yield place, net, nic


def connected(place: Namespace, net: pystack.Stack, version: int, *, stack_serves: bool) -> Any:
    kernel, stack = HOSTS[version]
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    if stack_serves:
        with net.sockets.create_server((stack, 0), family=family) as listener:
            where = listener.getsockname()[:2]
            client = place.call(socket.create_connection, where, 10)
            return client, listener.accept()[0]
    with place.call(lambda: socket.create_server((kernel, 0), family=family)) as listener:
        client = net.sockets.create_connection(listener.getsockname()[:2], 10)
        return client, listener.accept()[0]


@pytest.mark.parametrize("offload", [True, False])
@pytest.mark.parametrize("mtu", [1500, 9000])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kind", [Tap, Tun])
def test_bulk_both_ways(kind: type[Any], version: int, mtu: int, offload: bool) -> None:
    with world(kind, mtu, offload=offload) as (place, net, nic):
        assert nic.offloads == (ALL if offload else Offload(0))
        for stack_serves in (True, False):
            client, server = connected(place, net, version, stack_serves=stack_serves)
            with client, server:
                exchange(client, server, 8 * MEBIBYTE)
        statistics = nic.statistics()
        segments = 2 * 8 * MEBIBYTE // mtu
        if offload:  # most of it in long packets, both ways
            assert statistics.sent_frames < segments / 2
            assert statistics.received_frames < segments / 2
        else:
            assert statistics.sent_frames > segments


@pytest.mark.parametrize("mtu", [1500, 9000])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("loss", [0.0, 0.02])
def test_the_kernel_cuts_it_as_we_would(
    version: int, mtu: int, loss: float, tmp_path: Path
) -> None:
    """Through the kernel's bridge to a TAP without offload: there the frames are ordinary."""
    with ExitStack() as cleanup:
        place = cleanup.enter_context(namespace())
        long = cleanup.enter_context(place.call(lambda: Tap("long0", mtu)))
        short = cleanup.enter_context(place.call(lambda: Tap("short0", mtu, offload=False)))
        place.run("ip", "link", "add", "br0", "type", "bridge")
        place.run("ip", "link", "set", "br0", "mtu", str(mtu), "up")
        for name in ("long0", "short0"):
            place.run("ip", "link", "set", name, "master", "br0", "up")
        one = cleanup.enter_context(pystack.Stack())
        two = cleanup.enter_context(pystack.Stack())
        one.attach(long, *(f"{HOSTS[v][0]}/{24 if v == 4 else 64}" for v in HOSTS))
        path = tmp_path / "short0.pcapng"
        bad = Impairment(loss=loss)
        seen = capture(impair(short, bad, bad, seed=1), path)
        two.attach(seen, *(f"{HOSTS[v][1]}/{24 if v == 4 else 64}" for v in HOSTS))
        family = socket.AF_INET6 if version == 6 else socket.AF_INET
        with two.sockets.create_server((HOSTS[version][1], 0), family=family) as listener:
            client = one.sockets.create_connection(listener.getsockname()[:2], 10)
            server, _peer = listener.accept()
        with client, server:
            exchange(client, server, (1 if loss else 4) * MEBIBYTE)
        statistics = long.statistics()
        seen.flush()
        assert statistics.sent_frames < short.statistics().received_frames
    assert inspect(path, mtu) > 50


def test_a_capture_around_a_tap_sees_ordinary_frames(tmp_path: Path) -> None:
    path = tmp_path / "tap.pcapng"
    with ExitStack() as cleanup:
        place = cleanup.enter_context(namespace())
        inner = cleanup.enter_context(place.call(Tap, "dev0"))
        place.device("dev0", "10.0.0.1/24")
        net = cleanup.enter_context(pystack.Stack())
        seen = capture(inner, path)
        assert seen.offloads == Offload(0)
        net.attach(seen, "10.0.0.2/24")
        client, server = connected(place, net, 4, stack_serves=True)
        with client, server:
            exchange(client, server, MEBIBYTE)
        seen.flush()
    assert inspect(path, 1500) > 500


def test_offload_ends_with_the_stack() -> None:
    """A persistent device does not keep it for the next one who opens it."""
    with namespace() as place:
        place.run("ip", "tuntap", "add", "dev0", "mode", "tap")
        with place.call(Tap, "dev0") as nic, pystack.Stack() as net:
            net.attach(nic, "10.0.0.2/24")
        with place.call(lambda: Tap("dev0", offload=False)) as nic:
            place.device("dev0", "10.0.0.1/24")
            with pystack.Stack() as net:
                net.attach(nic, "10.0.0.2/24")
                client, server = connected(place, net, 4, stack_serves=True)
                with client, server:
                    exchange(client, server, MEBIBYTE)


def test_udp_both_ways() -> None:
    with world(Tap, 1500, offload=True) as (place, net, _nic):
        with place.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as kernel:
            kernel.bind(("10.0.0.1", 0))
            kernel.settimeout(10)
            with net.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
                ours.bind(("10.0.0.2", 0))
                ours.settimeout(10)
                for size in (0, 1, 1472, 1473, 60000):  # the last two in fragments
                    data = bytes(i & 0xFF for i in range(size))
                    kernel.sendto(data, ours.getsockname())
                    assert ours.recv(65536) == data
                    ours.sendto(data, kernel.getsockname())
                    assert kernel.recv(65536) == data


def test_a_router_forwards_ordinary_packets(tmp_path: Path) -> None:
    """What the kernel leaves undone, a Stack that forwards it finishes."""
    with world(Tap, 1500, offload=True) as (place, net, _nic):
        net.sysctl["net.ipv4.ip_forward"] = 1
        left, right = pystack.nic.wire(1500)
        net.attach(left, "10.0.1.1/24")
        place.run("ip", "route", "add", "10.0.1.0/24", "via", "10.0.0.2")
        path = tmp_path / "behind.pcapng"
        with pystack.Stack() as behind:
            seen = capture(right, path)
            behind.attach(seen, "10.0.1.2/24", gateway="10.0.1.1")
            with behind.sockets.create_server(("10.0.1.2", 0)) as listener:
                client = place.call(socket.create_connection, listener.getsockname(), 10)
                server, _peer = listener.accept()
            with client, server:
                exchange(client, server, MEBIBYTE)
            seen.flush()
    assert inspect(path, 1500) > 500
