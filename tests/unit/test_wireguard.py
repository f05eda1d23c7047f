"""`nic.WireGuard` on Stacks: in virtual time, over memory, a Stack's UDP, the kernel's."""

from __future__ import annotations

import errno
import multiprocessing.process  # noqa: F401 - it draws a key, once, and inside a World from its seed
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import pytest

pytest.importorskip("cryptography")

import pystack
from pystack.hypercalls import ManualClock
from pystack.nic.datagrams import Datagrams, StackUdp, datagram_pair
from pystack.nic.wireguard import Drops, PeerConfig, WireGuard
from pystack.nic.wireguard.primitives import PrivateKey
from pystack.world import World

KEYS = [bytes([number]) * 32 for number in (1, 2)]
PUBLIC = [PrivateKey(key).public for key in KEYS]
ADDRESSES = [["10.9.0.1/24", "fd00:9::1/64"], ["10.9.0.2/24", "fd00:9::2/64"]]
ALLOWED = [["10.9.0.1/32", "fd00:9::1/128"], ["10.9.0.2/32", "fd00:9::2/128"]]


def two_nics(
    transports: tuple[Datagrams | None, Datagrams | None], *, keepalive: int = 0
) -> tuple[WireGuard, WireGuard]:
    """Two that know each other; the first knows where the second is."""
    right = WireGuard(
        KEYS[1], [PeerConfig(PUBLIC[0], ALLOWED[0])], addresses=ADDRESSES[1],
        transport=transports[1],
    )  # fmt: skip
    where = right.local if transports[1] else ("127.0.0.1", right.local[1])
    peer = PeerConfig(PUBLIC[1], ALLOWED[1], where, persistent_keepalive=keepalive)
    return (
        WireGuard(KEYS[0], [peer], addresses=ADDRESSES[0], transport=transports[0]),
        right,
    )


def is_clean(nic: WireGuard) -> bool:
    """Whether nothing was dropped, but for what Stacks send to groups, which no peer has."""
    return replace(nic.drops(), unrouted=0) == Drops()


@dataclass
class Virtual:
    """Two Stacks on a clock that is turned, each on one end of a tunnel."""

    clock: ManualClock
    nets: list[pystack.Stack]
    nics: list[WireGuard]
    ends: list[Any]

    def over(self, seconds: float, stride: float = 0.01) -> None:
        spent = 0.0
        while spent < seconds:
            for _each in range(3):
                for net in self.nets:
                    net.step()
            self.clock.advance(stride)
            spent += stride

    def exchange(self, family: int, host: str) -> None:
        """A datagram there and back."""
        with self.nets[1].socket(family, socket.SOCK_DGRAM) as far:
            with self.nets[0].socket(family, socket.SOCK_DGRAM) as near:
                for one in (far, near):
                    one.setblocking(False)
                far.bind((host, 7))
                near.sendto(b"there", (host, 7))
                self.over(0.05)
                data, source = far.recvfrom(100)
                far.sendto(data + b" and back", source[:2])
                self.over(0.05)
                assert near.recv(100) == b"there and back"


@contextmanager
def virtual(**options: Any) -> Iterator[Virtual]:
    clock = ManualClock(1000)
    ends = list(datagram_pair())
    nics = list(two_nics((ends[0], ends[1]), **options))
    made = Virtual(clock, [], nics, ends)
    with pystack.Stack(threaded=False, clock=clock) as one:
        with pystack.Stack(threaded=False, clock=clock) as other:
            made.nets += [one, other]
            for net, nic in zip(made.nets, nics, strict=True):
                nic.up(net)
            made.over(2)
            yield made
    for nic in nics:
        nic.close()


def test_both_families() -> None:
    with virtual() as two:
        two.exchange(socket.AF_INET, "10.9.0.2")
        two.exchange(socket.AF_INET6, "fd00:9::2")
        (status,) = two.nics[0].peers()
        assert status.endpoint == ("192.0.2.2", 51820)
        assert status.latest_handshake is not None
        assert status.sent_bytes > 148
        assert status.received_bytes > 92
        assert [str(one) for one in status.allowed_ips] == ["10.9.0.2/32", "fd00:9::2/128"]
        assert is_clean(two.nics[0])


@pytest.mark.slow
def test_rekeying_over_a_virtual_day() -> None:
    """A packet a minute for 24 hours: a handshake each two minutes, by the Stack's clock alone."""
    with virtual() as two:
        handshakes, arrived = set(), 0
        with two.nets[1].socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
            with two.nets[0].socket(socket.AF_INET, socket.SOCK_DGRAM) as near:
                far.setblocking(False)
                far.bind(("10.9.0.2", 7))
                for _minute in range(24 * 60):
                    near.sendto(b"minute", ("10.9.0.2", 7))
                    two.over(60, stride=12)
                    arrived += far.recv(100) == b"minute"
                    handshakes.add(two.nics[0].peers()[0].latest_handshake)
        assert arrived == 24 * 60
        assert 24 * 60 / 3 - 10 <= len(handshakes) <= 24 * 60 / 2 + 10
        assert max(handshakes) - min(handshakes) > 86000
        for nic in two.nics:
            assert is_clean(nic)


def test_a_keepalive_keeps_an_idle_tunnel() -> None:
    with virtual(keepalive=25) as two:
        two.over(300, stride=1)
        (status,) = two.nics[1].peers()
        assert status.endpoint == ("192.0.2.1", 51820)  # it called
        assert two.nics[0].datagrams().sent >= 12


def test_forged_and_replayed_datagrams_reach_no_stack() -> None:
    with virtual() as two:
        seen: list[bytes] = []
        inject = two.ends[1].inject
        two.ends[1].inject = lambda datagram, source: (
            seen.append(datagram),
            inject(datagram, source),
        )
        two.exchange(socket.AF_INET, "10.9.0.2")
        before = two.nics[1].statistics()
        for datagram in seen:
            inject(datagram, ("203.0.113.5", 9))
            inject(datagram[:-1], ("203.0.113.5", 9))
            inject(datagram[:10], ("203.0.113.5", 9))
            inject(datagram[:-20] + b"\0" + datagram[-19:], ("203.0.113.5", 9))
        two.over(0.1)
        assert two.nics[1].statistics() == before
        drops = two.nics[1].drops()
        assert drops.replayed
        assert drops.forged
        assert drops.malformed
        assert two.nics[1].peers()[0].endpoint == ("192.0.2.1", 51820)
        two.exchange(socket.AF_INET, "10.9.0.2")


def test_peers_come_and_go() -> None:
    with virtual() as two:
        two.nics[1].remove_peer(PUBLIC[0])
        with pytest.raises(KeyError):
            two.nics[1].remove_peer(PUBLIC[0])
        with two.nets[0].socket(socket.AF_INET, socket.SOCK_DGRAM) as near:
            near.sendto(b"lost", ("10.9.0.2", 7))
            two.over(0.1)
        assert two.nics[1].drops().unknown
        two.nics[1].add_peer(PeerConfig(PUBLIC[0], ALLOWED[0]))
        two.over(20, stride=0.1)
        two.exchange(socket.AF_INET, "10.9.0.2")


def test_over_another_stacks_udp() -> None:
    """The tunnel's datagrams are those of Stacks on a wire: a tunnel in a network of ours."""
    clock = ManualClock(50)
    outer = [pystack.Stack(threaded=False, clock=clock) for _each in range(2)]
    for net, end, address in zip(
        outer, pystack.nic.wire(), ("192.0.2.1", "192.0.2.2"), strict=True
    ):
        net.attach(end, f"{address}/24")
    ends = [StackUdp(net, port=51820, host=f"192.0.2.{n}") for n, net in enumerate(outer, 1)]
    nics = two_nics((ends[0], ends[1]))
    inner = [pystack.Stack(threaded=False, clock=clock) for _each in range(2)]
    for net, nic in zip(inner, nics, strict=True):
        nic.up(net)
    two = Virtual(clock, [*inner, *outer], list(nics), ends)
    try:
        two.over(1)
        two.exchange(socket.AF_INET, "10.9.0.2")
        assert nics[1].peers()[0].endpoint == ("192.0.2.1", 51820)
    finally:
        for net in (*inner, *outer):
            net.close(abrupt=True)
        for nic in nics:
            nic.close()


def test_the_stack_that_carries_it_goes() -> None:
    """Its datagrams have no way any more: the link is down, and it isn't asked again."""
    left, right = pystack.nic.wire()
    outer, net = pystack.Stack(), pystack.Stack(threaded=False)
    outer.attach(left, "192.0.2.1/24")
    nic = WireGuard(KEYS[0], addresses=["10.9.0.1/24"], transport=StackUdp(outer))
    with pytest.raises(ValueError, match="its own tunnel"):
        nic.up(outer)
    interface = nic.up(net)
    net.step()
    assert interface.link
    outer.close()
    net.step()
    assert not interface.link
    assert nic.datagrams().last_error is not None
    nic._transport.receive = None  # type: ignore[assignment]
    net.step()
    net.close()
    nic.close()
    right.close()


# --- in a World ---------------------------------------------------------------------------------


def world_run(*, nested: bool) -> tuple[list[str], str]:
    """Requests through a tunnel, 100 s apart; what came of them, and a hash of all datagrams."""
    told, seen = list[str](), sha256()
    with World(seed=3) as world:
        one, other = world.host("one"), world.host("other")
        inner = [one, other]
        ends: list[Any] = list(datagram_pair())
        where = ends[1].local
        if nested:
            world.link(one, other, delay=0.01)
            ends = [StackUdp(host, port=51820) for host in inner]
            where = str(other.interfaces[1].addresses.list()[0].ip), 51820
            inner = [world.host("three"), world.host("four")]
        peer = PeerConfig(PUBLIC[1], ALLOWED[1], where)
        left = WireGuard(KEYS[0], [peer], addresses=ADDRESSES[0], transport=ends[0])
        right = WireGuard(
            KEYS[1], [PeerConfig(PUBLIC[0], ALLOWED[0])], addresses=ADDRESSES[1], transport=ends[1]
        )
        for end in ends:
            end.send = watched(end.send, seen)
        left.up(inner[0])
        right.up(inner[1])

        def serve() -> None:
            with socket.create_server(("10.9.0.2", 80)) as listener:
                for _each in range(4):
                    with listener.accept()[0] as near:
                        near.sendall(near.recv(100).upper())

        def ask() -> None:
            for _each in range(4):
                with socket.create_connection(("10.9.0.2", 80)) as far:
                    far.sendall(b"hello")
                    told.append(f"{world.now:.2f} {far.recv(100).decode()}")
                time.sleep(100)

        inner[1].thread(serve)
        inner[0].thread(ask)
        world.sleep(500)
        assert not world.failures
        assert is_clean(left)
        assert left.peers()[0].latest_handshake >= 1_704_067_400  # the World's clock
        left.close()
        right.close()
    return told, seen.hexdigest()


def watched(send: Any, seen: Any) -> Any:
    def sending(datagrams: Any, to: Any) -> Any:
        for one in datagrams:
            seen.update(one)
        return send(datagrams, to)

    return sending


@pytest.mark.parametrize("nested", [False, True])
def test_in_a_world(nested: bool) -> None:
    """The same seed gives the same datagrams, keys and all."""
    told, seen = world_run(nested=nested)
    assert [line.split()[1] for line in told] == ["HELLO"] * 4
    assert told[0].startswith("0.06" if nested else "0.00")
    assert world_run(nested=nested) == (told, seen)


# --- in real time, over the kernel's UDP on loopback ----------------------------------------------


@contextmanager
def real() -> Iterator[tuple[pystack.Stack, pystack.Stack, WireGuard, WireGuard]]:
    left, right = two_nics((None, None))
    with pystack.Stack() as one, pystack.Stack() as other, left, right:
        left.up(one)
        right.up(other)
        yield one, other, left, right


def test_tcp_both_ways_over_the_kernels_udp() -> None:
    size = 3 << 20
    data = bytes(range(256)) * (size // 256)
    with real() as (one, other, left, right):
        listener = other.sockets.create_server(("10.9.0.2", 80))
        outcome: list[str] = []

        def serve() -> None:
            with listener, listener.accept()[0] as near:
                got = sha256()
                while part := near.recv(1 << 16):
                    got.update(part)
                outcome.append(got.hexdigest())
                near.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        with one.sockets.create_connection(("10.9.0.2", 80)) as far:
            far.settimeout(60)
            far.sendall(data)
            far.shutdown(socket.SHUT_WR)
            got = b"".join(iter(lambda: far.recv(1 << 16), b""))
        thread.join()
        assert outcome == [sha256(data).hexdigest()]
        assert got == data
        assert is_clean(left)
        assert is_clean(right)


def test_what_was_accepted_is_delivered_after_close() -> None:
    left, right = two_nics((None, None))
    data = bytes(1 << 20)
    with pystack.Stack() as other, right:
        right.up(other)
        with other.sockets.create_server(("10.9.0.2", 80)) as listener:
            with pystack.Stack() as one, left:
                left.up(one)
                far = one.sockets.create_connection(("10.9.0.2", 80))
                near = listener.accept()[0]
                thread = threading.Thread(target=far.sendall, args=(data,))
                thread.start()
                got = near.recv(1 << 16)
                while len(got) < len(data) // 2:
                    got += near.recv(1 << 16)
                reader: list[bytes] = []
                rest = threading.Thread(
                    target=lambda: reader.extend(iter(lambda: near.recv(1 << 16), b""))
                )
                rest.start()
                thread.join()
                far.close()
            rest.join()
            near.close()
        other.linger = 0  # whom it would say farewell to is gone
    assert len(got) + sum(map(len, reader)) == len(data)


def test_closing() -> None:
    made = WireGuard(KEYS[0])
    port = made.local[1]
    with pytest.raises(OSError, match=str(port)) as caught:
        WireGuard(KEYS[1], listen_port=port)
    assert caught.value.errno == errno.EADDRINUSE
    made.close()
    made.close()
    WireGuard(KEYS[1], listen_port=port).close()
    kept = WireGuard(KEYS[1])
    with pystack.Stack() as net:
        kept.up(net)
        kept.close()
        with pytest.raises(OSError):
            kept.send(b"x")
        assert net.interfaces
    assert kept._kept is None


def test_an_unknown_endpoint() -> None:
    with pytest.raises(OSError, match=r"no-such-host\.invalid"):
        WireGuard(KEYS[0], [PeerConfig(PUBLIC[1], endpoint=("no-such-host.invalid", 51820))])
