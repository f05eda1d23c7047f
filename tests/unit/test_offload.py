"""Offload without the kernel: between two Stacks, and behind virtio's header."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from offload import checksum_fault, exchange, inspect
from pair import LEFT, RIGHT, pair
from scapy.all import IP, TCP, UDP, Ether, IPv6, Raw

import pystack
from pystack.nic import Descriptor, Framing, Layer, Nic, Offload, capture, wire

pytestmark = pytest.mark.sanitize

MEBIBYTE = 1 << 20
MAC, PEER_MAC = "02:00:00:00:00:02", "02:00:00:00:00:01"
NEEDS_CHECKSUM, DATA_VALID = 1, 2
TCP4, UDP4, TCP6 = 1, 3, 4


@pytest.mark.parametrize("mtu", [576, 1500, 9000, 65500])
@pytest.mark.parametrize("v6", [False, True])
def test_two_stacks_exchange_long_packets(mtu: int, v6: bool) -> None:
    if v6 and mtu < 1280:
        pytest.skip("IPv6 asks for 1280 bytes")
    with pair(mtu) as both:
        client, server = both.connected(v6)
        with client, server:
            exchange(client, server, 4 * MEBIBYTE)


def frames_of(checksums: bool) -> int:
    left, right = wire(checksums=checksums)
    with pystack.Stack() as one, pystack.Stack() as two:
        one.attach(left, f"{LEFT}/24")
        two.attach(right, f"{RIGHT}/24")
        with two.sockets.create_server((RIGHT, 0)) as listener:
            client = one.sockets.create_connection(listener.getsockname(), 30)
            server, _peer = listener.accept()
        with client, server:
            exchange(client, server, MEBIBYTE)
        return left.statistics().sent_frames


def test_checksums_on_request() -> None:
    assert wire(checksums=True)[0].offloads == Offload(0)
    assert wire()[0].offloads == ~Offload.TCP4_LONGEST
    assert frames_of(True) > MEBIBYTE / 1500
    assert frames_of(False) < MEBIBYTE / 1500


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("layer", list(Layer))
def test_a_capture_at_one_end_sees_ordinary_frames(layer: Layer, v6: bool, tmp_path: Path) -> None:
    left, right = wire(layer=layer)
    path = tmp_path / "wire.pcapng"
    with pystack.Stack() as one, pystack.Stack() as two:
        one.attach(left, "10.0.0.1/24", "fd00::1/64")
        seen = capture(right, path)
        two.attach(seen, "10.0.0.2/24", "fd00::2/64")
        host, family = ("fd00::2", socket.AF_INET6) if v6 else ("10.0.0.2", socket.AF_INET)
        with two.sockets.create_server((host, 0), family=family) as listener:
            client = one.sockets.create_connection(listener.getsockname()[:2], 30)
            server, _peer = listener.accept()
        with client, server:
            exchange(client, server, MEBIBYTE)
        seen.flush()
        assert left.statistics().sent_frames < seen.statistics().received_frames
    assert inspect(path, 1500) > 1000


def test_a_python_frame_out_sees_ordinary_frames() -> None:
    class Look:
        def __init__(self) -> None:
            self.frames: list[bytes] = []

        def frame_out(self, interface: int, frame: bytes) -> bool:
            self.frames.append(frame)
            return True

    look = Look()
    left, right = wire()
    with pystack.Stack(frame_out=look) as one, pystack.Stack() as two:
        one.attach(left, f"{LEFT}/24")
        two.attach(right, f"{RIGHT}/24")
        with two.sockets.create_server((RIGHT, 0)) as listener:
            client = one.sockets.create_connection(listener.getsockname(), 30)
            server, _peer = listener.accept()
        with client, server:
            exchange(client, server, MEBIBYTE // 4)
    for frame in look.frames[:500]:
        packet = Ether(frame)
        assert len(packet) <= 1514
        assert IP not in packet or checksum_fault(frame[14:]) is None


def test_to_ourselves() -> None:
    """What goes to an address of our own never meets the wire's far end."""
    left, _right = wire()
    with pystack.Stack() as net:
        net.attach(left, "10.0.0.1/24", "fd00::1/64")
        for host, family in (("10.0.0.1", socket.AF_INET), ("fd00::1", socket.AF_INET6)):
            with net.sockets.create_server((host, 0), family=family) as listener:
                client = net.sockets.create_connection(listener.getsockname()[:2], 30)
                server, _peer = listener.accept()
            with client, server:
                exchange(client, server, MEBIBYTE)


@pytest.mark.parametrize("v6", [False, True])
def test_segments_follow_the_mtu(v6: bool) -> None:
    """Segments that were made for a larger MTU are made smaller, and not cut by IP."""
    left, right = wire(9000)
    with pystack.Stack() as one, pystack.Stack() as two:
        interface = one.attach(left, "10.0.0.1/24", "fd00::1/64")
        two.attach(right, "10.0.0.2/24", "fd00::2/64")
        host, family = ("fd00::2", socket.AF_INET6) if v6 else ("10.0.0.2", socket.AF_INET)
        with two.sockets.create_server((host, 0), family=family) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            client = one.sockets.create_connection(listener.getsockname()[:2], 30)
            server, _peer = listener.accept()
        with client, server:
            client.settimeout(0)
            data = bytes(range(256)) * 2048
            sent = client.send(data)  # more than the window: the rest waits in segments
            assert sent > 65536
            interface.mtu = 1280
            server.settimeout(30)
            got = bytearray()
            while len(got) < sent:
                got += server.recv(65536)
            assert got == data[:sent]
        counters = two.counters()
        assert counters["ip6_fragment.in_packets" if v6 else "ip.reassembled"] == 0
        assert not [name for name in counters if "checksum" in name and counters[name]]


@pytest.mark.parametrize("v6", [False, True])
def test_fragments_carry_their_checksum(v6: bool, tmp_path: Path) -> None:
    """A datagram that IP cuts has its checksum, though the wire would have made it."""
    left, right = wire()
    path = tmp_path / "fragments.pcapng"
    with pystack.Stack() as one, pystack.Stack() as two:
        one.attach(left, "10.0.0.1/24", "fd00::1/64")
        two.attach(capture(right, path), "10.0.0.2/24", "fd00::2/64")
        host, family = ("fd00::2", socket.AF_INET6) if v6 else ("10.0.0.2", socket.AF_INET)
        data = bytes(range(256)) * 32
        with two.socket(family, socket.SOCK_DGRAM) as receiver:
            receiver.bind((host, 0))
            receiver.settimeout(30)
            with one.socket(family, socket.SOCK_DGRAM) as sender:
                sender.sendto(data, receiver.getsockname()[:2])
                assert receiver.recv(65536) == data
        counters = two.counters()
        assert counters["ip6_fragment.in_packets" if v6 else "ip.reassembled"] > 0
        assert not [name for name in counters if "checksum" in name and counters[name]]


# --- virtio's header --------------------------------------------------------------------------


@contextmanager
def behind_virtio(**options: Any) -> Iterator[tuple[pystack.Stack, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    theirs.settimeout(30)
    with theirs, pystack.Stack(**options) as net:
        net.linger = 0  # nobody answers
        nic: Nic = Descriptor(ours, framing=Framing.VIRTIO)
        interface = net.attach(nic, "10.0.0.2/24", "fd00::2/64", mac=MAC)
        for address in ("10.0.0.1", "fd00::1"):
            net.neighbours.add(address, PEER_MAC, interface=interface)
        yield net, theirs


def header(flags: int = 0, kind: int = 0, size: int = 0, start: int = 0, offset: int = 0) -> bytes:
    return struct.pack("=BBHHHH", flags, kind, 0, size, start, offset)


def receive(theirs: socket.socket, *layers: Any) -> tuple[tuple[int, ...], Any]:
    """The next frame with these layers: what virtio's header says, and the frame."""
    while True:
        data = theirs.recv(1 << 17)
        frame = Ether(data[10:])
        if all(layer in frame for layer in layers):
            return struct.unpack("=BBHHHH", data[:10]), frame


class Far:
    """The far end of one TCP connection to a Stack, by hand."""

    def __init__(self, theirs: socket.socket, net: pystack.Stack, v6: bool) -> None:
        self.theirs = theirs
        self.ip = IPv6(src="fd00::1", dst="fd00::2") if v6 else IP(src="10.0.0.1", dst="10.0.0.2")
        host, family = ("fd00::2", socket.AF_INET6) if v6 else ("10.0.0.2", socket.AF_INET)
        with net.sockets.create_server((host, 80), family=family) as listener:
            self.send(b"", "S", seq=99)
            _header, answer = receive(theirs, TCP)
            self.next_from_stack = answer[TCP].seq + 1
            self.send(b"", "A", seq=100)
            self.socket, _peer = listener.accept()
        self.socket.settimeout(30)

    def frame(self, data: bytes, flags: str, seq: int) -> Any:
        ack = getattr(self, "next_from_stack", 0)
        tcp = TCP(sport=1000, dport=80, seq=seq, ack=ack, flags=flags, window=65535)
        return Ether(src=PEER_MAC, dst=MAC) / self.ip / tcp / Raw(data)

    def send(self, data: bytes, flags: str, seq: int, virtio: bytes = bytes(10)) -> None:
        self.theirs.send(virtio + bytes(self.frame(data, flags, seq)))


@pytest.mark.parametrize("v6", [False, True])
def test_what_a_stack_says_in_virtios_header(v6: bool) -> None:
    with behind_virtio() as (net, theirs):
        far = Far(theirs, net, v6)
        with far.socket:
            far.socket.sendall(bytes(range(200)) * 50)
            (flags, kind, header_size, size, start, offset), frame = receive(theirs, TCP, Raw)
            transport = 14 + (40 if v6 else 20)
            assert flags == NEEDS_CHECKSUM
            assert kind == (TCP6 if v6 else TCP4)
            assert (start, offset, header_size) == (transport, 16, transport + 20)
            assert size == (1220 if v6 else 536)  # RFC 9293 3.7.1: the peer named no other
            # What stands in the field is the pseudo header's part (RFC 9293 3.1).
            bare = frame.copy()
            del bare[TCP].chksum
            raw = bytearray(bytes(frame))
            total = sum(
                struct.unpack(
                    f"!{len(raw[start:]) // 2}H", raw[start:][: len(raw[start:]) // 2 * 2]
                )
            )
            total += raw[-1] << 8 if len(raw[start:]) % 2 else 0
            while total >> 16:
                total = (total & 0xFFFF) + (total >> 16)
            assert Ether(bytes(bare))[TCP].chksum == ~total & 0xFFFF


@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("size", [3000, 40000])
def test_long_packets_and_partial_checksums_come_in(size: int, v6: bool, forward: bool) -> None:
    """Also where the Stack takes only ordinary frames, because it forwards."""
    with behind_virtio() as (net, theirs):
        net.sysctl["net.ipv4.ip_forward"] = forward
        far = Far(theirs, net, v6)
        start = 14 + (40 if v6 else 20)
        data = bytes(range(250)) * (size // 250)
        said = header(NEEDS_CHECKSUM, TCP6 if v6 else TCP4, 1400, start, 16)
        frame = bytearray(bytes(far.frame(data, "PA", 100)))
        length = len(frame) - start
        partial = sum(
            struct.unpack("!16H" if v6 else "!4H", frame[start - (32 if v6 else 8) : start])
        )
        partial += 6 + length
        while partial >> 16:
            partial = (partial & 0xFFFF) + (partial >> 16)
        frame[start + 16 : start + 18] = partial.to_bytes(2, "big")
        with far.socket:
            theirs.send(said + frame)
            got = b""
            while len(got) < len(data):
                got += far.socket.recv(1 << 17)
            assert got == data


def test_a_wrong_checksum_counts_where_nobody_vouches_for_it() -> None:
    with behind_virtio() as (net, theirs), net.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("10.0.0.2", 7))
        sock.settimeout(0.3)
        frame = Ether(src=PEER_MAC, dst=MAC) / IP(src="10.0.0.1", dst="10.0.0.2")
        wrong = bytes(frame / UDP(sport=9, dport=7, chksum=1) / b"abc")
        theirs.send(bytes(10) + wrong)
        with pytest.raises(TimeoutError):
            sock.recv(10)
        sock.settimeout(30)
        theirs.send(header(DATA_VALID) + wrong)
        assert sock.recv(10) == b"abc"
        theirs.send(header(NEEDS_CHECKSUM, 0, 0, 34, 6) + wrong)
        assert sock.recv(10) == b"abc"


def test_a_nic_around_it_sees_ordinary_frames(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with theirs, Descriptor(ours, framing=Framing.VIRTIO) as nic:
        ip, tcp = IP(src="10.0.0.1", dst="10.0.0.2"), TCP(sport=1, dport=2, seq=7, flags="FPA")
        whole = Ether(src=PEER_MAC, dst=MAC) / ip / tcp / Raw(bytes(range(100)))
        pseudo = sum(struct.unpack("!4H", bytes(whole)[26:34])) + 6 + 120
        del whole[TCP].chksum
        raw = bytearray(bytes(whole))
        raw[50:52] = ((pseudo & 0xFFFF) + (pseudo >> 16)).to_bytes(2, "big")
        theirs.send(header(NEEDS_CHECKSUM, TCP4, 40, 34, 16) + raw)
        parts = [Ether(nic.receive(1) or b"") for _ in range(3)]
        assert nic.receive(0) is None
        assert b"".join(part[Raw].load for part in parts) == bytes(range(100))
        assert [part[TCP].seq for part in parts] == [7, 47, 87]
        assert [str(part[TCP].flags) for part in parts] == ["A", "A", "FPA"]
        assert len({part[IP].id for part in parts}) == 3
        assert [checksum_fault(bytes(part[IP])) for part in parts] == [None, None, None]
