"""`nic.WireGuard` beside wireguard-go, in a namespace of the test's own."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256

import pytest

pytest.importorskip("cryptography")

from namespace import Namespace, namespace
from wireguard_go import latest_handshake, needs_wireguard_go, pair, wireguard_go

import pystack
from pystack.nic.wireguard import Drops, PeerConfig, WireGuard

pytestmark = needs_wireguard_go
_number = itertools.count()
PORT = 51820


@dataclass
class Both:
    """The namespace with wireguard-go in it, and ours."""

    place: Namespace
    device: str
    net: pystack.Stack
    nic: WireGuard


@contextmanager
def both(
    outside: str = "127.0.0.1", *, we_begin: bool = True, psk: bool = True, loaded: bool = False
) -> Iterator[Both]:
    """Ours has 10.9.0.2 and fd00:9::2, wireguard-go 10.9.0.1 and fd00:9::1.

    Ours is `loaded` before wireguard-go may begin a handshake.
    """
    (ours, our_public), (theirs, their_public), (preshared, _) = pair(), pair(), pair()
    device = f"wg{os.getpid() % 1000000}x{next(_number)}"
    with namespace() as place:
        peer = PeerConfig(
            their_public,
            ["10.9.0.1", "fd00:9::1"],
            (outside, PORT) if we_begin else None,
            preshared_key=preshared if psk else None,
        )
        addresses = ["10.9.0.2/24", "fd00:9::2/64"]
        nic = place.call(lambda: WireGuard(ours, [peer], addresses=addresses))
        if loaded:
            nic._device._load._until_us = 1 << 62
        host = f"[{outside}]" if ":" in outside else outside
        config = (
            f"[Interface]\nPrivateKey={theirs}\nListenPort={PORT}\n[Peer]\nPublicKey={our_public}\n"
            "AllowedIPs=10.9.0.2/32, fd00:9::2/128\n"
            + (f"PresharedKey={preshared}\n" if psk else "")
            + ("" if we_begin else f"Endpoint={host}:{nic.local[1]}\nPersistentKeepalive=1\n")
        )
        with wireguard_go(place, device, config, "10.9.0.1/24", "fd00:9::1/64"):
            with pystack.Stack() as net, nic:
                nic.up(net)
                yield Both(place, device, net, nic)


def transfer(two: Both, host: str, size: int) -> None:
    """Bytes there, and as many back, each side by hash."""
    block = os.urandom(1 << 16)
    blocks = size // len(block)
    expected = sha256()
    for _each in range(blocks):
        expected.update(block)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = two.place.call(lambda: socket.create_server((host, 80), family=family))
    told: list[str] = []

    def serve() -> None:
        with listener, listener.accept()[0] as near:
            got = sha256()
            while part := near.recv(1 << 18):
                got.update(part)
            told.append(got.hexdigest())
            for _each in range(blocks):
                near.sendall(block)

    thread = threading.Thread(target=serve)
    thread.start()
    with two.net.sockets.create_connection((host, 80), 30) as far:
        for _each in range(blocks):
            far.sendall(block)
        far.shutdown(socket.SHUT_WR)
        got = sha256()
        while part := far.recv(1 << 18):
            got.update(part)
    thread.join()
    assert told == [expected.hexdigest()]
    assert got.hexdigest() == expected.hexdigest()


@pytest.mark.parametrize("outside", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("inside", ["10.9.0.1", "fd00:9::1"])
def test_bulk_both_ways(outside: str, inside: str) -> None:
    with both(outside) as two:
        transfer(two, inside, 4 << 20)
        assert latest_handshake(two.place, two.device) > 0
        assert replace(two.nic.drops(), unrouted=0) == Drops()


def test_they_begin_and_ping() -> None:
    with both(we_begin=False, psk=False) as two:
        assert two.place.ping("10.9.0.2", 3, "-i", "0.2") == [1, 2, 3]
        assert two.nic.peers()[0].endpoint == ("127.0.0.1", PORT)
        assert two.net.ping("10.9.0.1", timeout=30).received == 1


def test_they_roam() -> None:
    """wireguard-go changes its port: the next authentic datagram says where it is."""
    with both() as two:
        assert two.net.ping("10.9.0.1", timeout=30).received == 1
        two.place.run("wg", "set", two.device, "listen-port", str(PORT + 1))
        two.place.run("ping", "-c", "1", "10.9.0.2")
        assert two.nic.peers()[0].endpoint == ("127.0.0.1", PORT + 1)
        assert two.net.ping("10.9.0.1", timeout=30).received == 1


def test_what_they_sent_is_taken_once() -> None:
    """Their datagrams, again from elsewhere: whole, cut short, with a bit changed, in disorder."""
    with both() as two:
        come: list[bytes] = []
        receive = two.nic._transport.receive

        def listening() -> object:
            found = receive()
            if found is not None:
                come.extend(map(bytes, found[0]))
            return found

        two.nic._transport.receive = listening
        assert two.net.ping("10.9.0.1", timeout=30).received == 1
        two.nic._transport.receive = receive
        assert {datagram[0] for datagram in come} == {2, 4}
        before = two.nic.statistics()
        sender = two.place.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with sender:
            for datagram in reversed(come):
                changed = datagram[:-20] + bytes([datagram[-20] ^ 1]) + datagram[-19:]
                for forged in (datagram, datagram[:-5], changed):
                    sender.sendto(forged, ("127.0.0.1", two.nic.local[1]))
        assert two.net.ping("10.9.0.1", timeout=30).received == 1  # behind all of them
        drops = two.nic.drops()
        data = sum(datagram[0] == 4 for datagram in come)
        assert drops.replayed == data
        assert drops.forged == 2 * data + 1  # and the response's mac
        assert drops.unknown == 1  # the response, to a handshake that is over
        assert drops.malformed == 1
        assert two.nic.statistics().received_frames == before.received_frames + 1
        assert two.nic.peers()[0].endpoint == ("127.0.0.1", PORT)


@pytest.mark.slow
def test_they_bring_a_cookie_when_we_are_under_load() -> None:
    with both(we_begin=False, loaded=True) as two:
        two.place.run("ping", "-c", "1", "-w", "60", "10.9.0.2")
        assert two.nic.drops().refused >= 1
        assert two.nic.peers()[0].latest_handshake is not None


def test_pystack_run_needs_no_root_for_it(tmp_path) -> None:
    """A program under `pystack run --nic wg:FILE`, as another user, fetches a page."""
    (ours, our_public), (theirs, their_public) = pair(), pair()
    device = f"wg{os.getpid() % 1000000}r"
    path = tmp_path / "peer.conf"
    path.write_text(
        f"[Interface]\nPrivateKey = {ours}\nAddress = 10.9.0.2/24\nDNS = 10.9.0.1\n[Peer]\n"
        f"PublicKey = {their_public}\nAllowedIPs = 0.0.0.0/0\nEndpoint = 127.0.0.1:{PORT}\n"
    )
    script = (
        "import socket\n"
        "with socket.create_connection(('10.9.0.1', 80), 20) as near:\n"
        "    near.sendall(b'from ' + near.getsockname()[0].encode())\n"
        "    near.shutdown(socket.SHUT_WR)\n"
        "    print(near.recv(100).decode())\n"
    )
    config = (
        f"[Interface]\nPrivateKey={theirs}\nListenPort={PORT}\n[Peer]\nPublicKey={our_public}\n"
        "AllowedIPs=10.9.0.2/32\n"
    )
    with namespace() as place, wireguard_go(place, device, config, "10.9.0.1/24"):
        routes = place.run("ip", "route").stdout
        listener = place.call(lambda: socket.create_server(("10.9.0.1", 80)))
        command = [
            sys.executable,
            "-m",
            "pystack",
            "run",
            "--nic",
            f"wg:{path}",
            "--",
            "-c",
            script,
        ]
        child = place.start(*command, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
        try:
            listener.settimeout(30)
            with listener, listener.accept()[0] as near:
                assert near.recv(100) == b"from 10.9.0.2"
                near.sendall(b"welcome")
            output, _errors = child.communicate(timeout=60)
        finally:
            child.kill()
            child.wait()
        assert output == "welcome\n"
        assert child.returncode == 0
        assert place.run("ip", "route").stdout == routes


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_gigabyte_with_rekeying() -> None:
    """1 GB, half of it each way, and a session that is too old meanwhile."""
    with both() as two:
        transfer(two, "10.9.0.1", 128 << 20)
        first = two.nic.peers()[0].latest_handshake
        with two.nic._lock:
            for peer in two.nic._device.peers.values():
                peer.current.born_us -= 125_000_000  # REKEY_AFTER_TIME
        transfer(two, "fd00:9::1", 384 << 20)
        assert two.nic.peers()[0].latest_handshake > first
        assert two.nic.drops().forged == two.nic.drops().replayed == 0
