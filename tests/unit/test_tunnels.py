"""`nic.Udp` and `nic.Vxlan`: on loopback, in memory, and what strangers send."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import pystack
from pystack.hypercalls import ManualClock
from pystack.nic import Layer, Udp, Vxlan
from pystack.nic.datagrams import KernelUdp, MemoryDatagrams, datagram_pair

FRAME = bytes.fromhex("020000000002020000000001") + b"\x08\x00" + bytes(50)
HEADER = struct.pack("!II", 0x08000000, 42 << 8)
FAR = ("192.0.2.2", 4789)


def memory() -> MemoryDatagrams:
    """The near end of a pair; what it sends is found in its far end."""
    return datagram_pair(("192.0.2.1", 4789), FAR)[0]


def sent(near: MemoryDatagrams) -> list[bytes]:
    assert near.far is not None
    found = []
    while (come := near.far.receive()) is not None:
        found += come[0]
    return found


@contextmanager
def together(left: pystack.nic.Nic, right: pystack.nic.Nic) -> Iterator[list[pystack.Stack]]:
    with pystack.Stack() as one, pystack.Stack() as other, left, right:
        one.attach(left, "10.9.0.1/24", "fd00:9::1/64")
        other.attach(right, "10.9.0.2/24", "fd00:9::2/64")
        yield [one, other]


def exchange(nets: list[pystack.Stack]) -> None:
    size = 1 << 20
    with nets[1].sockets.create_server(("10.9.0.2", 80)) as listener:
        with nets[0].sockets.create_connection(("10.9.0.2", 80), 20) as far:
            near = listener.accept()[0]
            with near:
                near.settimeout(20)
                for _each in range(16):
                    far.sendall(bytes(size // 16))
                    left = size // 16
                    while left:
                        left -= len(near.recv(left))
    assert nets[0].ping("fd00:9::2", timeout=30).received == 1


@pytest.mark.parametrize("layer", Layer)
def test_udp_on_loopback(layer: Layer) -> None:
    right = Udp(("127.0.0.1", 0), layer=layer)
    left = Udp(("127.0.0.1", 0), ("localhost", right.local[1]), layer=layer)
    assert right.peer is None
    with together(left, right) as nets:
        exchange(nets)
        assert right.peer == left.local
        assert left.peer == right.local
        assert left.drops() == type(left.drops())()
    assert left.mtu == (1438 if layer is Layer.ETHERNET else 1452)


def test_udp_over_ipv6_with_addresses_of_both_families() -> None:
    right = Udp()
    left = Udp(("::1", 0), ("::1", right.local[1]))
    with together(left, right) as nets:
        exchange(nets)


def test_udp_takes_frames_of_its_peer_alone() -> None:
    near = memory()
    with Udp(peer=FAR, transport=near) as nic:
        near.inject(FRAME, ("203.0.113.1", 4789))
        near.inject(FRAME, ("192.0.2.2", 4790))
        near.inject(b"short", FAR)
        near.inject(bytes(2000), FAR)
        near.inject(FRAME, FAR)
        assert nic.receive(1) == FRAME
        assert nic.receive(0) is None
        assert (nic.drops().strangers, nic.drops().malformed) == (2, 2)
        assert nic.datagrams().received == 5


def test_udp_learns_its_peer() -> None:
    near = memory()
    with Udp(transport=near) as nic:
        nic.send(FRAME)
        assert nic.drops().no_peer == 1
        near.inject(b"no frame", FAR)
        near.inject(FRAME, FAR)
        assert nic.receive(1) == FRAME
        nic.send(FRAME)
        assert sent(near) == [FRAME]


def test_vxlan_on_loopback() -> None:
    right = Vxlan(42, None, local=("127.0.0.1", 0))
    left = Vxlan(42, [("127.0.0.1", right.local[1])], local=("127.0.0.1", 0))
    # Several ends on one machine have ports of their own; only then it isn't 4789 at each.
    right._peers.append(left.local)
    right._hosts.add("127.0.0.1")
    with together(left, right) as nets:
        exchange(nets)
        assert left.learned() == {nets[1].interfaces[1].mac: right.local}


def test_vxlan_learns_and_floods() -> None:
    near = memory()
    others = [FAR, ("192.0.2.3", 4789), ("192.0.2.4", 4789)]
    with Vxlan(42, others, transport=near, static={"02:00:00:00:00:09": "192.0.2.9"}) as nic:
        assert nic.peers == [*others, ("192.0.2.9", 4789)]
        broadcast = b"\xff" * 6 + FRAME[6:]
        nic.send(broadcast)
        assert sent(near) == [HEADER + broadcast] * 4
        nic.send(FRAME)  # unknown: to all
        assert len(sent(near)) == 4
        answer = FRAME[6:12] + FRAME[:6] + FRAME[12:]
        near.inject(HEADER + answer, ("192.0.2.3", 55555))  # a port chosen by flow
        assert nic.receive(1) == answer
        assert nic.learned() == {"02:00:00:00:00:02": ("192.0.2.3", 4789)}
        nic.send(FRAME)
        assert sent(near) == [HEADER + FRAME]
        nic.send(bytes.fromhex("020000000009") + FRAME[6:])
        assert len(sent(near)) == 1


def test_vxlan_forgets_after_five_minutes() -> None:
    near = memory()
    clock = ManualClock(1)
    nic = Vxlan(42, [FAR, ("192.0.2.3", 4789)], transport=near, static={})
    with pystack.Stack(threaded=False, clock=clock) as net, nic:
        net.attach(nic, "10.9.0.1/24")
        near.inject(HEADER + b"\xff" * 6 + FRAME[6:], FAR)
        net.step()
        sent(near)
        net.neighbours.add("10.9.0.2", "02:00:00:00:00:01")
        with net.socket(socket.AF_INET, socket.SOCK_DGRAM) as near_socket:
            near_socket.sendto(b"x", ("10.9.0.2", 9))
            assert len(sent(near)) == 1
            clock.advance(301)
            near_socket.sendto(b"x", ("10.9.0.2", 9))
            assert len(sent(near)) >= 2


@pytest.mark.sanitize
def test_vxlan_drops() -> None:
    near = memory()
    with Vxlan(42, [FAR], transport=near, learn=False) as nic:
        near.inject(HEADER + FRAME, ("203.0.113.1", 4789))
        near.inject(struct.pack("!II", 0x08000000, 43 << 8) + FRAME, FAR)
        near.inject(struct.pack("!II", 0, 42 << 8) + FRAME, FAR)
        for size in range(22):
            near.inject((HEADER + FRAME)[:size], FAR)
        near.inject(HEADER + bytes(2000), FAR)
        near.inject(HEADER + FRAME, FAR)
        assert nic.receive(1) == FRAME
        drops = nic.drops()
        assert (drops.strangers, drops.other_network, drops.malformed) == (1, 1, 24)
        assert nic.learned() == {}


def test_vxlan_bounds_what_it_learns(monkeypatch) -> None:
    monkeypatch.setattr("pystack.nic.tunnels._MOST_LEARNED", 64)
    near = memory()
    with Vxlan(42, None, transport=near) as nic:
        for number in range(100):
            frame = b"\xff" * 6 + bytes([2, 0, 0, 0, 0, number]) + FRAME[12:]
            near.inject(HEADER + frame, (f"198.18.0.{number}", 4789))
            assert nic.receive(1) == frame
        assert len(nic.learned()) == 64
        assert len(nic.peers) == 64


def test_closed_just_when_its_stack_leaves() -> None:
    class Left(Udp):
        @property
        def attached(self) -> bool:
            before = super().attached
            net.close()
            return before

    transport = memory()
    far = transport.far
    assert far is not None
    with pystack.Stack() as net:
        nic = Left(peer=FAR, transport=transport)
        net.attach(nic, "10.9.0.1/24")
        nic.close()
    assert far.far is None  # the transport is closed


def test_bad_arguments() -> None:
    for arguments, words in (((1 << 24,), "VNI"), ((-1,), "VNI")):
        with pytest.raises(ValueError, match=words):
            Vxlan(*arguments)
    with pytest.raises(ValueError, match="MTU"):
        Vxlan(1, mtu=10, transport=memory())
    with pytest.raises(ValueError, match="Ethernet address"):
        Vxlan(1, static={"nonsense": "192.0.2.1"}, transport=memory())
    with pytest.raises(TypeError, match=r"nic\.Layer"):
        Udp(layer="ip")  # type: ignore[arg-type]
    with pytest.raises(OSError):
        Udp(peer=("no-such-host.invalid", 1))
    with pytest.raises(OSError, match="UDP port"):
        Udp(("203.0.113.77", 5))


@pytest.mark.parametrize(
    "text",
    ["udp:", "udp:here", "udp::99999", "udp::0,colour=blue", "udp::0,ip=1", "udp:::1:5",
     "udp::0,mtu=x", "vxlan:", "vxlan:x", "vxlan:1,peer=[::1]:x", "vxlan:99999999,local=:0",
     "vxlan:1,port=5", "wg:", "wg:/no/such/file"],
)  # fmt: skip
def test_bad_names(text: str) -> None:
    with pytest.raises(ValueError):
        pystack.nic.parse(text)


def test_names() -> None:
    with pystack.nic.parse("udp:127.0.0.1:0,peer=127.0.0.1:7,ip,mtu=1400") as one:
        assert (one.mtu, one.layer, one.peer) == (1400, Layer.IP, ("127.0.0.1", 7))
    with pystack.nic.parse("vxlan:42,local=127.0.0.1:0,peer=127.0.0.1,peer=127.0.0.2:9") as two:
        assert two.peers == [("127.0.0.1", 4789), ("127.0.0.2", 9)]


@pytest.mark.parametrize(
    "sizes",
    [
        [100],
        [100] * 200,
        [1400] * 60,
        [100, 100, 40, 100, 200, 200, 10, 10],
        [1, 2, 3],
        [65000] * 2,
    ],
)
def test_datagrams_of_any_sizes_stay_whole(sizes: list[int]) -> None:
    """What leaves in one system call comes as it was, and in order."""
    near, far = KernelUdp("127.0.0.1"), KernelUdp("127.0.0.1")
    try:
        datagrams = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
        assert near.send(datagrams, far.local) == len(sizes)
        come: list[bytes] = []
        while (found := far.receive()) is not None:
            come += map(bytes, found[0])
            assert found[1] == near.local
        assert come == datagrams
        near._segments = False  # as where the kernel can't
        assert near.send(datagrams, far.local) == len(sizes)
        come = []
        while (found := far.receive()) is not None:
            come += map(bytes, found[0])
        assert come == datagrams
    finally:
        near.close()
        far.close()


def test_datagrams_of_two_senders_are_told_apart() -> None:
    far = KernelUdp("127.0.0.1")
    senders = [KernelUdp("127.0.0.1") for _each in range(2)]
    try:
        sent = []
        for number in range(40):
            which = number // 3 % 2
            sent.append((senders[which].local, bytes([number])))
            assert senders[which].send([bytes([number])], far.local) == 1
        assert senders[0].send([b""], far.local) == 1  # one of no bytes is one, too
        come = []
        while (found := far.receive()) is not None:
            come += [(found[1], bytes(one)) for one in found[0]]
        assert come == [*sent, (senders[0].local, b"")]
    finally:
        for one in (far, *senders):
            one.close()


@pytest.mark.parametrize(
    ("peer", "words"),
    [
        (("127.0.0.1", 99999), "99999"),
        (("127.0.0.1", 0), "not 0"),
        (("a..b", 5), "'a..b'"),
        (("x" * 64, 5), "x{64}"),
    ],
)
def test_what_can_be_no_peer_is_named(peer: tuple[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Udp(("127.0.0.1", 0), peer)
