"""Segments that the wire's far end cuts: what a peer does to their pieces, in virtual time."""

from __future__ import annotations

import random
import socket
from typing import Any

import pytest
from offload import pattern
from path import path
from quick import representatives
from scapy.all import IP, TCP, Ether, IPv6

import pystack
from pystack.hypercalls import ManualClock
from pystack.nic import Descriptor, Framing, Impairment

pytestmark = pytest.mark.sanitize

MEBIBYTE = 1 << 20
MAC, PEER_MAC = "02:00:00:00:00:02", "02:00:00:00:00:01"
FLAWS = {
    "clean": Impairment(delay=0.001),
    "lossy": Impairment(delay=0.001, loss=0.05, reorder=0.05, duplicate=0.02),
    "slow": Impairment(delay=0.005, rate=10**8, queue_frames=40),
    "very lossy": Impairment(delay=0.001, loss=0.25),
}


@pytest.mark.parametrize("mtu", [576, 1500, 9000])
@pytest.mark.parametrize("flaw", FLAWS)
def test_all_bytes_arrive(flaw: str, mtu: int) -> None:
    data = pattern(MEBIBYTE)
    back = Impairment(delay=FLAWS[flaw].delay)
    with path(FLAWS[flaw], back, mtu=mtu, at_sender=False) as it:
        client, server = it.connected()
        sent, got = 0, bytearray()

        def done() -> bool:
            nonlocal sent
            try:
                while sent < len(data):
                    sent += client.send(data[sent : sent + random.randrange(1, 200_000)])
            except BlockingIOError:
                pass
            try:
                while len(got) < len(data):
                    got.extend(server.recv(1 << 20))
            except BlockingIOError:
                pass
            return len(got) == len(data)

        random.seed(flaw)
        assert it.run(done)
        assert got == data


def test_a_large_write_is_few_frames() -> None:
    with path(FLAWS["clean"], at_sender=False) as it:
        client, server = it.connected()
        it.transfer(client, server, 8 * MEBIBYTE)
        interface = it.sender.interfaces[1]
        assert it.sender.counters()["tcp.out_segments"] > 8 * MEBIBYTE / 1448
        assert interface.nic.statistics().sent_frames < 8 * MEBIBYTE / 1448 / 20


@pytest.mark.parametrize("loss", [0.01, 0.05])
def test_no_more_is_sent_again_than_of_short_segments(loss: float) -> None:
    again = []
    for at_sender in (True, False):
        wire = Impairment(delay=0.01, loss=loss), Impairment(delay=0.01)
        with path(*wire, at_sender=at_sender) as it:
            it.transfer(*it.connected(), 4 * MEBIBYTE)
            again.append(it.sender.counters()["tcp.retransmitted_segments"])
    assert again[1] < 1.2 * again[0]


def test_one_frame_of_many_segments_is_acknowledged_at_once() -> None:
    clock = ManualClock()
    left, right = pystack.nic.wire()
    options: Any = {"threaded": False, "clock": clock}
    with pystack.Stack(**options) as one, pystack.Stack(**options) as two:
        one.attach(left, "10.0.0.1/24")
        two.attach(right, "10.0.0.2/24")

        def settle() -> None:  # no time passes
            for _ in range(20):
                two.step()
                one.step()

        with two.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.bind(("10.0.0.2", 80))
            listener.listen()
            client = one.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            client.connect_ex(("10.0.0.2", 80))
            settle()
            server, _peer = listener.accept()
        with client, server:
            for count in range(6):
                before = two.interfaces[1].nic.statistics().received_frames
                sent = client.send(bytes(20 * 1448 if count else 10 * 1448))  # nobody reads it
                settle()
                assert client.tcp_info().unacked_segments == 0
                frames = two.interfaces[1].nic.statistics().received_frames - before
                assert frames < sent / 1448, "it was to be a frame of several"


def test_the_rest_of_a_write_waits_for_nagle() -> None:
    with path(FLAWS["clean"], at_sender=False) as it:
        client, server = it.connected()
        it.transfer(client, server, MEBIBYTE)
        got = bytearray()

        def arrived() -> bool:
            try:
                got.extend(server.recv(1 << 20))
            except BlockingIOError:
                pass
            return len(got) >= 20 * 1448

        it.run(lambda: False, seconds=0.2)
        client.send(b"x")  # which is in flight when the next write comes
        client.send(bytes(20 * 1448 + 100))
        assert it.run(arrived, seconds=0.0015)
        assert len(got) == 1 + 20 * 1448
        assert it.run(lambda: arrived() and len(got) == 101 + 20 * 1448, seconds=0.1)


class Peer:
    """A hostile receiver by hand: it loses, acknowledges and selects whatever bytes it likes."""

    def __init__(self, seed: int, v6: bool, options: list[Any]) -> None:
        self.random = random.Random(seed)
        self.options = options
        self.ip = IPv6(src="fd00::1", dst="fd00::2") if v6 else IP(src="10.0.0.1", dst="10.0.0.2")
        self.family = socket.AF_INET6 if v6 else socket.AF_INET
        self.host = "fd00::2" if v6 else "10.0.0.2"
        ours, self.wire = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (ours, self.wire):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        self.wire.setblocking(False)
        self.clock = ManualClock()
        self.net = pystack.Stack(clock=self.clock, threaded=False, seed=seed)
        interface = self.net.attach(
            Descriptor(ours, framing=Framing.VIRTIO), "10.0.0.2/24", "fd00::2/64", mac=MAC
        )
        for address in ("10.0.0.1", "fd00::1"):
            self.net.neighbours.add(address, PEER_MAC, interface=interface)
        self.has = bytearray()  # in order
        self.parts: dict[int, bytes] = {}  # beyond that, by offset
        self.start = 0

    def send(self, flags: str, seq: int, ack: int = 0, options: Any = (), window: int = 0) -> None:
        window = window or self.random.choice([65535, 65535, 30000, 5000])
        tcp = TCP(sport=1, dport=80, seq=seq, ack=ack, flags=flags, window=window)
        tcp.options = list(options)
        self.wire.send(bytes(10) + bytes(Ether(src=PEER_MAC, dst=MAC) / self.ip / tcp))
        self.net.step()

    def frames(self) -> list[TCP]:
        found = []
        while True:
            try:
                packet = Ether(self.wire.recv(1 << 17)[10:])
            except BlockingIOError:
                return found
            if TCP in packet:
                found.append(packet[TCP])

    def connect(self) -> Any:
        with self.net.socket(self.family, socket.SOCK_STREAM) as listener:
            listener.setblocking(False)
            listener.bind((self.host, 80))
            listener.listen(1)
            self.send("S", 99, options=self.options)
            self.start = self.frames()[-1].seq + 1
            self.send("A", 100, self.start)
            return listener.accept()[0]

    def take(self, segment: TCP) -> None:
        """Keeps some of a segment's bytes, from anywhere to anywhere."""
        data, begin = bytes(segment.payload), (segment.seq - self.start) % (1 << 32)
        choice = self.random.random()
        if not data or choice < 0.03:
            return
        low, high = 0, len(data)
        if choice < 0.25:
            low, high = sorted(self.random.randrange(len(data) + 1) for _ in range(2))
        if choice < 0.15:  # as a wire that cuts would lose them
            low, high = low // 1448 * 1448, high // 1448 * 1448
        if high > low:
            self.parts[begin + low] = max(data[low:high], self.parts.get(begin + low, b""), key=len)
        for offset in sorted(self.parts):
            if offset <= len(self.has):
                part = self.parts.pop(offset)
                self.has += part[len(self.has) - offset :]

    def answer(self) -> None:
        """An acknowledgement, perhaps of less than it has, with up to three blocks."""
        blocks = [
            (self.start + offset, self.start + offset + len(part))
            for offset, part in self.parts.items()
            if offset > len(self.has)
        ]
        self.random.shuffle(blocks)
        options = []
        if blocks and any(name == "SAckOK" for name, _ in self.options):
            edges = tuple(edge % (1 << 32) for block in blocks[:3] for edge in block)
            options = [("NOP", None), ("NOP", None), ("SAck", edges)]
        back = self.random.choice([0, 0, 0, 1, 1447, 5000])
        ack = self.start + max(0, len(self.has) - back)
        self.send("A", 100, ack % (1 << 32), options)


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("sack", [True, False])
@pytest.mark.parametrize("seed", representatives(range(6), [0]))
@pytest.mark.slow
def test_a_peer_that_takes_what_it_likes(seed: int, sack: bool, v6: bool) -> None:
    options: list[Any] = [("MSS", 1448 if seed % 2 else 1001), ("WScale", 4)]
    if sack:
        options.append(("SAckOK", b""))
    peer = Peer(seed, v6, options)
    data = pattern(MEBIBYTE)
    with peer.wire, peer.net, peer.connect() as sock:
        sock.setblocking(False)
        sent = 0
        for _ in range(20_000):
            try:
                while sent < len(data):
                    sent += sock.send(data[sent : sent + peer.random.randrange(1, 150_000)])
            except BlockingIOError:
                pass
            due = peer.net.step()
            came = peer.frames()
            for segment in came:
                peer.take(segment)
            if came or peer.random.random() < 0.2:
                peer.answer()
            if len(peer.has) == len(data):
                break
            peer.clock.advance(min(due or 0.001, 1.0) if not came else 0.001)
        assert peer.has == data
        assert peer.net.arena.failures == 0
