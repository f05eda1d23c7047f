"""Offload towards the kernel: what it cuts and finishes for us is what we would have sent."""

from __future__ import annotations

import itertools
import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from growth import need
from namespace import Namespace, namespace, needs_namespace
from offload import exchange, inspect, pattern
from quick import representatives

import pystack
from pystack.nic import Impairment, Nic, Offload, Tap, Tun, capture, impair

pytestmark = needs_namespace

MEBIBYTE = 1 << 20
LINUX = tuple(int(number) for number in os.uname().release.split(".")[:2])
ALL = Offload.CHECKSUM | Offload.TCP4 | Offload.TCP6
if LINUX >= (6, 2):
    ALL |= Offload.UDP
if LINUX >= (6, 6):
    ALL |= Offload.TCP4_LONGEST
UDP_SEGMENT = 103  # of IPPROTO_UDP, from Linux 4.18 on
HOSTS = {4: ("10.0.0.1", "10.0.0.2"), 6: ("fd00::1", "fd00::2")}


@contextmanager
def world(
    kind: type[Any], mtu: int, *, offload: bool, engine: str | None = None
) -> Iterator[tuple[Namespace, pystack.Stack, Nic]]:
    with ExitStack() as cleanup:
        place = cleanup.enter_context(namespace())
        nic = cleanup.enter_context(place.call(lambda: kind("dev0", mtu, offload=offload)))
        place.device("dev0", "10.0.0.1/24", "fd00::1/64")
        net = cleanup.enter_context(pystack.Stack(engine=engine))
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
        client = net.sockets.create_connection(listener.getsockname()[:2], 30)
        return client, listener.accept()[0]


def greet(sender: Any, receiver: Any) -> None:
    """Sends a datagram until one comes: a kernel's device that is just up still drops IPv6."""
    receiver.settimeout(0.2)
    for _ in range(50):
        sender.send(b"hello")
        with suppress(TimeoutError):
            assert receiver.recv(100) == b"hello"
            break
    else:
        pytest.fail("no datagram has come in ten seconds")
    receiver.settimeout(30)
    sender.send(b"over")
    while receiver.recv(100) != b"over":
        pass  # one that waited for the neighbour's address as well


@pytest.mark.parametrize("engine", ["lwip", "linux"])
@pytest.mark.parametrize("offload", [True, False])
@pytest.mark.parametrize("mtu", [1500, 9000])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kind", [Tap, Tun])
def test_bulk_both_ways(
    kind: type[Any], version: int, mtu: int, offload: bool, engine: str
) -> None:
    need(engine)
    with world(kind, mtu, offload=offload, engine=engine) as (place, net, nic):
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


@pytest.mark.skipif(LINUX < (6, 6), reason="needs Linux 6.6")
@pytest.mark.parametrize("engine", ["lwip", "linux"])
@pytest.mark.parametrize("kind", [Tap, Tun])
def test_longest_packets(kind: type[Any], engine: str) -> None:
    need(engine)
    with world(kind, 1500, offload=True, engine=engine) as (place, net, nic):
        client, server = connected(place, net, 4, stack_serves=False)
        with client, server:
            exchange(client, server, 4 * MEBIBYTE)  # until the windows are open
            before = nic.statistics()
            thread = threading.Thread(target=client.sendall, args=(pattern(8 * MEBIBYTE),))
            thread.start()
            got = bytearray()
            while len(got) < 8 * MEBIBYTE:
                got += server.recv(1 << 20)
            thread.join()
            assert got == pattern(8 * MEBIBYTE)
            after = nic.statistics()
        assert after.sent_bytes - before.sent_bytes > 80_000 * (
            after.sent_frames - before.sent_frames
        )


@pytest.mark.parametrize("translated", [False, True])
@pytest.mark.parametrize("engine", ["lwip", "linux"])
def test_a_kernel_that_routes_cuts_it_as_we_would(
    engine: str, translated: bool, tmp_path: Path
) -> None:
    """Into a path with a smaller MTU."""
    need(engine)
    with ExitStack() as cleanup:
        place = cleanup.enter_context(namespace())
        inside = cleanup.enter_context(place.call(Tap, "in0"))
        outside = cleanup.enter_context(place.call(lambda: Tap("out0", 1280, offload=False)))
        place.device("in0", "10.0.0.1/24")
        place.device("out0", "10.0.1.1/24")
        place.run("sysctl", "-q", "net.ipv4.ip_forward=1")
        if translated:
            place.run("nft", "add table ip t")
            place.run("nft", "add chain ip t c { type nat hook postrouting priority 100 ; }")
            place.run("nft", "add rule ip t c oifname out0 masquerade")
        one = cleanup.enter_context(pystack.Stack(engine=engine))
        two = cleanup.enter_context(pystack.Stack())
        one.attach(inside, "10.0.0.2/24", gateway="10.0.0.1")
        path = tmp_path / "out0.pcapng"
        seen = capture(outside, path)
        two.attach(seen, "10.0.1.2/24", gateway="10.0.1.1")
        with two.sockets.create_server(("10.0.1.2", 0)) as listener:
            client = one.sockets.create_connection(listener.getsockname()[:2], 30)
            server, peer = listener.accept()
        assert peer[0] == ("10.0.1.1" if translated else "10.0.0.2")
        with client, server:
            exchange(client, server, 4 * MEBIBYTE)
        seen.flush()
    assert inspect(path, 1280) > 50


@pytest.mark.parametrize("bridged", [False, True])
@pytest.mark.parametrize("engine", ["lwip", "linux"])
def test_a_kernel_that_hands_it_on_need_not_cut_it(engine: str, bridged: bool) -> None:
    """Packets beyond 64 KiB it would cut into segments, since veth takes none."""
    need(engine)
    size = 16 * MEBIBYTE
    with ExitStack() as cleanup:
        near = cleanup.enter_context(namespace())
        far = cleanup.enter_context(namespace())
        nic = cleanup.enter_context(near.call(Tap, "tap0"))
        near.run("ip", "link", "add", "near0", "type", "veth", "peer", "far0", "netns", far.path)
        net = cleanup.enter_context(pystack.Stack(engine=engine))
        if bridged:
            near.run("ip", "link", "add", "br0", "up", "type", "bridge")
            for name in ("tap0", "near0"):
                near.run("ip", "link", "set", name, "master", "br0", "up")
            net.attach(nic, "10.0.1.2/24")
        else:
            near.device("tap0", "10.0.0.1/24")
            near.device("near0", "10.0.1.2/24")
            near.run("sysctl", "-q", "net.ipv4.ip_forward=1")
            net.attach(nic, "10.0.0.2/24", gateway="10.0.0.1")
        far.device("far0", "10.0.1.1/24")
        far.run("ip", "route", "add", "10.0.0.0/24", "via", "10.0.1.2")
        with far.call(lambda: socket.create_server(("10.0.1.1", 0))) as listener:
            client = net.sockets.create_connection(listener.getsockname()[:2], 30)
            server, _ = listener.accept()
        with client, server:
            exchange(client, server, size)
        (seen,) = json.loads(far.run("ip", "-j", "-s", "link", "show", "far0").stdout)
        assert seen["stats64"]["rx"]["packets"] < size // 1500 // 2
        statistics = nic.statistics()
        assert statistics.sent_bytes > size
        assert statistics.dropped_frames == 0


@pytest.mark.parametrize("engine", ["lwip", "linux"])
@pytest.mark.parametrize(
    ("loss", "version", "mtu"),
    representatives(
        itertools.product([0.0, 0.02], [4, 6], [1500, 9000]), [(0.0, 4, 1500), (0.02, 6, 9000)]
    ),
)
def test_the_kernel_cuts_it_as_we_would(
    version: int, mtu: int, loss: float, engine: str, tmp_path: Path
) -> None:
    """Through the kernel's bridge to a TAP without offload: there the frames are ordinary."""
    need(engine)
    with ExitStack() as cleanup:
        place = cleanup.enter_context(namespace())
        long = cleanup.enter_context(place.call(lambda: Tap("long0", mtu)))
        short = cleanup.enter_context(place.call(lambda: Tap("short0", mtu, offload=False)))
        place.run("ip", "link", "add", "br0", "type", "bridge")
        place.run("ip", "link", "set", "br0", "mtu", str(mtu), "up")
        for name in ("long0", "short0"):
            place.run("ip", "link", "set", name, "master", "br0", "up")
        one = cleanup.enter_context(pystack.Stack(engine=engine))
        two = cleanup.enter_context(pystack.Stack())
        one.attach(long, *(f"{HOSTS[v][0]}/{24 if v == 4 else 64}" for v in HOSTS))
        path = tmp_path / "short0.pcapng"
        bad = Impairment(loss=loss)
        seen = capture(impair(short, bad, bad, seed=1), path)
        two.attach(seen, *(f"{HOSTS[v][1]}/{24 if v == 4 else 64}" for v in HOSTS))
        family = socket.AF_INET6 if version == 6 else socket.AF_INET
        with two.sockets.create_server((HOSTS[version][1], 0), family=family) as listener:
            client = one.sockets.create_connection(listener.getsockname()[:2], 30)
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


# Around what the engines copy frames into: linux's headers, its pages, a NIC's longest frame.
SIZES = (0, 1, 213, 214, 215, 1472, 1473, 32_725, 32_726, 32_727, 60_000, 65_458, 65_507)


@pytest.mark.parametrize("engine", ["lwip", "linux"])
@pytest.mark.parametrize("mtu", [1500, 65_500])  # at the first, long ones are in fragments
def test_udp_both_ways(mtu: int, engine: str) -> None:
    need(engine)
    with world(Tap, mtu, offload=True, engine=engine) as (place, net, _nic):
        with place.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as kernel:
            kernel.bind(("10.0.0.1", 0))
            kernel.settimeout(30)
            with net.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
                ours.bind(("10.0.0.2", 0))
                ours.settimeout(30)
                for size in SIZES:
                    data = pattern(size)
                    kernel.sendto(data, ours.getsockname())
                    assert ours.recv(65536) == data
                    ours.sendto(data, kernel.getsockname())
                    assert kernel.recv(65536) == data


@pytest.mark.parametrize("engine", ["lwip", "linux"])
def test_a_router_forwards_ordinary_packets(tmp_path: Path, engine: str) -> None:
    """What the kernel leaves undone, a Stack that forwards it finishes."""
    need(engine)
    with world(Tap, 1500, offload=True, engine=engine) as (place, net, _nic):
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


@pytest.mark.parametrize("kind", [Tap, Tun])
@pytest.mark.parametrize("offload", [True, False])
@pytest.mark.parametrize("version", [4, 6])
def test_long_sends_are_cut_into_datagrams(kind: type[Any], version: int, offload: bool) -> None:
    """UDP_SEGMENT, both ways: each datagram as it would be on its own."""
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    with world(kind, 1500, offload=offload) as (place, net, nic), ExitStack() as cleanup:
        there = cleanup.enter_context(place.call(socket.socket, family, socket.SOCK_DGRAM))
        here = cleanup.enter_context(net.sockets.socket(family, socket.SOCK_DGRAM))
        for sock, host in ((there, HOSTS[version][0]), (here, HOSTS[version][1])):
            sock.bind((host, 0))
            sock.settimeout(30)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        there.connect(here.getsockname()[:2])
        here.connect(there.getsockname()[:2])
        greet(here, there)  # so that the neighbour is known
        there.send(b"hello")
        assert here.recv(100) == b"hello"
        data = pattern(60_000)
        for sender, receiver in ((here, there), (there, here)):
            before = nic.statistics()
            for size in (1, 500, 1400, 1452):
                part = data[: min(len(data), 60 * size - 1)]
                sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
                assert sender.getsockopt(socket.IPPROTO_UDP, UDP_SEGMENT) == size
                assert sender.send(part) == len(part)
                got = [receiver.recv(2000) for _ in range(-(-len(part) // size))]
                assert b"".join(got) == part
                assert {len(one) for one in got[:-1]} <= {size}
            sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
            ancillary = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("H", 700))]
            assert sender.sendmsg([data[:1000], data[1000:3000]], ancillary) == 3000
            assert [len(receiver.recv(2000)) for _ in range(5)] == [700] * 4 + [200]
            after = nic.statistics()
            frames = max(
                after.sent_frames - before.sent_frames,
                after.received_frames - before.received_frames,
            )
            assert frames < 30 if nic.offloads & Offload.UDP else frames > 100
        for sock in (here, there):
            with pytest.raises(OSError, match=r"too long|[Ii]nvalid"):  # more than the MTU holds
                sock.sendmsg([data[:20_000]], [(17, UDP_SEGMENT, struct.pack("H", 1473))])
            with pytest.raises(OSError, match=r"[Ii]nvalid"):  # too many
                sock.sendmsg([data[:20_000]], [(17, UDP_SEGMENT, struct.pack("H", 10))])
            with pytest.raises(OSError, match=r"[Ii]nvalid"):
                sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1 << 17)


def test_a_capture_sees_the_datagrams(tmp_path: Path) -> None:
    """Cut by us in one direction and by the kernel in the other: with right checksums."""
    path = tmp_path / "udp.pcapng"
    with ExitStack() as cleanup:
        place = cleanup.enter_context(namespace())
        seen = capture(cleanup.enter_context(place.call(Tap, "dev0")), path)
        place.device("dev0", "10.0.0.1/24", "fd00::1/64")
        net = cleanup.enter_context(pystack.Stack())
        net.attach(seen, "10.0.0.2/24", "fd00::2/64")
        for version in (4, 6):
            family = socket.AF_INET6 if version == 6 else socket.AF_INET
            there = cleanup.enter_context(place.call(socket.socket, family, socket.SOCK_DGRAM))
            here = cleanup.enter_context(net.sockets.socket(family, socket.SOCK_DGRAM))
            there.bind((HOSTS[version][0], 0))
            here.bind((HOSTS[version][1], 0))
            for sock, far in ((there, here), (here, there)):
                sock.connect(far.getsockname()[:2])
                sock.settimeout(30)
                sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1440)
            for sock, far in ((here, there), (there, here)):
                for _ in range(3):
                    assert sock.send(pattern(14_401)) == 14_401
                    while len(far.recv(2000)) == 1440:
                        pass
        seen.flush()
    assert inspect(path, 1500) > 100
