"""The MTU of IPv4's paths, as routers report it: who is believed, how much, and for how long."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from far_end import ICMP, OURS, THEIRS, UDP, FarEnd, checksum, ip4

PORT, NEXT_PORT = 4000, 5000
IP_MTU = 14


@pytest.fixture
def far() -> Iterator[FarEnd]:
    with FarEnd() as made:
        yield made


def report(mtu: int, to: str = THEIRS[4], port: int = PORT, source: str = OURS[4]) -> bytes:
    """A router's word on a datagram from a port of ours."""
    datagram = struct.pack("!4H", port, NEXT_PORT, 1008, 0)
    quoted = ip4(UDP, datagram, source, to)[14:]
    message = struct.pack("!BBHHH", 3, 4, 0, 0, mtu) + quoted
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    return ip4(ICMP, message)


def mtu_to(far: FarEnd, to: str = THEIRS[4]) -> int:
    with far.net.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((to, 1))
        return int(sock.getsockopt(socket.IPPROTO_IP, IP_MTU))


def largest(far: FarEnd, sock: Any) -> int:
    sock.sendto(bytes(3000), (THEIRS[4], NEXT_PORT))
    return max(len(frame) - 14 for frame in far.frames())


def test_reports_reduce_and_are_forgotten(far: FarEnd) -> None:
    sock = far.socket(4, PORT)
    for mtu, known in ((1400, 1400), (1450, 1400), (1500, 1400), (1000, 1000)):
        far.send(report(mtu))
        assert mtu_to(far) == known
        assert largest(far, sock) <= known
    far.run(500, step=10)
    far.send(report(1000))  # says nothing new, and doesn't make it last
    assert mtu_to(far) == 1000
    far.run(110, step=10)
    assert mtu_to(far) == 1500
    assert largest(far, sock) == 1500


def test_others_reports_are_nothing(far: FarEnd) -> None:
    far.socket(4, PORT)
    for forged in (
        report(600, port=PORT + 1),  # nobody sends from there
        report(600, source="10.0.0.77"),
        report(600)[:-1] + b"x",  # of a wrong checksum
        report(600)[:-4],
    ):
        far.send(forged)
        assert mtu_to(far) == 1500
    far.send(report(600))
    assert mtu_to(far) == 600


def test_connected_to_somebody_else(far: FarEnd) -> None:
    sock = far.socket(4, PORT)
    sock.connect(("10.0.0.9", NEXT_PORT))
    far.send(report(600))
    assert mtu_to(far) == 1500
    far.send(report(600, to="10.0.0.9"))
    assert mtu_to(far, "10.0.0.9") == 600
    assert mtu_to(far) == 1500


def test_many_paths_cost_no_memory_and_time(far: FarEnd) -> None:
    far.socket(4, PORT)
    far.send(report(1000))
    before = far.net.arena.used_bytes
    numbers = random.Random(1)
    for _ in range(2000):
        far.send(report(600, to=f"198.51.{numbers.randrange(256)}.{numbers.randrange(256)}"))
    assert far.net.arena.used_bytes == before
    far.send(report(1000))
    assert mtu_to(far) == 1000


def test_the_sender_cuts_what_routers_need_not(far: FarEnd) -> None:
    """Fragments of a datagram are whole again at the far end, the last one shorter."""
    sock = far.socket(4, PORT)
    far.send(report(576))
    data = random.Random(2).randbytes(2000)
    sock.sendto(data, (THEIRS[4], NEXT_PORT))
    whole = bytearray(2008)
    for frame in far.frames():
        packet = frame[14:]
        (field,) = struct.unpack("!H", packet[6:8])
        assert not field & 0x4000
        assert len(packet) <= 576
        begin = (field & 0x1FFF) * 8
        whole[begin : begin + len(packet) - 20] = packet[20:]
    assert bytes(whole[8:]) == data


def test_an_error_waits_for_the_sender(far: FarEnd) -> None:
    """A socket that doesn't queue errors hears of it once, if it is connected."""
    sock = far.socket(4, PORT)
    far.send(report(1300))
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    sock.connect((THEIRS[4], NEXT_PORT))
    far.send(report(1200))
    with pytest.raises(OSError, match="Message too long"):
        sock.send(b"x")
    assert sock.send(b"x") == 1


def test_connections_follow(far: FarEnd) -> None:
    """What UDP's datagrams have found out, TCP's segments go by."""
    far.socket(4, PORT)
    far.send(report(1000))
    with far.net.socket() as sock:
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.connect((THEIRS[4], 80))
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= 960


def test_a_path_of_our_own(far: FarEnd) -> None:
    """A packet to ourselves takes no path."""
    far.socket(4, PORT)
    far.send(report(600, to=OURS[4]))
    with far.net.socket(socket.AF_INET, socket.SOCK_DGRAM) as a:
        b = far.socket(4, 6000)
        a.sendto(bytes(5000), (OURS[4], 6000))
        assert len(b.recv(6000)) == 5000
