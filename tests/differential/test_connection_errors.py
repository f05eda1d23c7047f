"""ICMP errors about a connection, with IP_RECVERR and without, beside the kernel.

Without it Linux ends a connect at a soft error (no route to the network or host, time exceeded),
which RFC 1122 4.2.3.9 forbids, and this Stack goes on; all else is alike.
"""

from __future__ import annotations

import errno
import itertools
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from compare import outcome
from declared import ENGINE
from namespace import needs_namespace
from place import OURS, PEER, Place, checksum, kernels, stacks
from quiet import BOUND_S

pytestmark = needs_namespace

PORT = 80
ECHOES = itertools.count()
ROUTER = {socket.AF_INET: "10.9.0.77", socket.AF_INET6: "fd09::77"}
RECVERR = {socket.AF_INET: (0, 11), socket.AF_INET6: (41, 25)}
FAMILIES = pytest.mark.parametrize(
    "family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"]
)
ERRORS = {
    socket.AF_INET: [(3, code) for code in range(16)] + [(4, 0), (11, 0), (12, 0)],
    socket.AF_INET6: [(1, code) for code in range(8)] + [(3, 0), (3, 1), (4, 0), (100, 0)],
}
SOFT = {
    socket.AF_INET: {(3, 0), (3, 1), (3, 5), (3, 11), (3, 12), (11, 0)},
    socket.AF_INET6: {(1, 0), (1, 2), (1, 3), (3, 0), (3, 1), (100, 0)},
}


@pytest.fixture(scope="module")
def places() -> Iterator[tuple[Place, Place]]:
    with kernels() as kernel, stacks() as stack:
        yield kernel, stack


class Segment(NamedTuple):
    """One of the host's, with its IP header."""

    packet: bytes
    port: int
    sequence: int
    flags: int


def segments(place: Place) -> list[Segment]:
    found = []
    while (packet := place.read()) is not None:
        header = 20 if packet[0] >> 4 == 4 else 40
        if packet[9 if header == 20 else 6] == socket.IPPROTO_TCP:
            port, _, sequence, _, _, flags = struct.unpack("!HHIIBB", packet[header : header + 14])
            found.append(Segment(packet, port, sequence, flags))
    return found


def say(place: Place, family: int, kind: int, code: int, about: bytes) -> None:
    """A router's ICMP error about a packet of the host's."""
    message = struct.pack("!BBHI", kind, code, 0, 0) + about[:200]
    message += bytes(len(message) % 2)
    ends = socket.inet_pton(family, ROUTER[family]) + socket.inet_pton(family, OURS[family])
    summed = message
    if family == socket.AF_INET6:
        summed = ends + struct.pack("!II", len(message), socket.IPPROTO_ICMPV6) + message
    message = message[:2] + struct.pack("!H", checksum(summed)) + message[4:]
    if family == socket.AF_INET6:
        header = struct.pack("!IHBB", 0x60000000, len(message), socket.IPPROTO_ICMPV6, 64) + ends
    else:
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(message), 7, 0, 64, 1, 0) + ends
        header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    place.write(header + message)


def taken_in(place: Place, family: int) -> None:
    """Waits until the host has seen what it was sent: it answers an echo request behind that.

    The kernel may lose the first answers of a device that has just been made.
    """
    token = b"echo" + struct.pack("!Q", next(ECHOES))
    for _ in range(int(BOUND_S / 0.1)):
        say(place, family, 8 if family == socket.AF_INET else 128, 0, token)
        end = time.monotonic() + 0.1
        while time.monotonic() < end:
            packet = place.read()
            if packet is None:
                time.sleep(0.001)
            elif packet.endswith(token):
                return
    pytest.fail("no answer to an echo request")


def so_error(sock: Any) -> int:
    return int(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def queued(sock: Any) -> Any:
    """The first of the queue; the data begins with our own port, and holds numbers."""
    came = outcome(sock.recvmsg, 2000, 500, socket.MSG_ERRQUEUE)
    if came[0] == "raises":
        return came
    kind, data, items, flags, where = came[1]
    return kind, data[2:4], items, flags, where


def connecting(place: Place, family: int, on: bool, kind: int, code: int) -> Any:
    """The SYN meets an error."""
    segments(place)
    with place.module.socket(family) as sock:
        sock.setblocking(False)
        sock.setsockopt(*RECVERR[family], on)
        begun = outcome(sock.connect, (PEER[family], PORT))
        (syn,) = segments(place)
        say(place, family, kind, code, syn.packet)
        taken_in(place, family)
        error = so_error(sock)
        again = outcome(sock.connect, (PEER[family], PORT))
        return begun, error, queued(sock), queued(sock), again


@FAMILIES
@pytest.mark.parametrize("on", [False, True], ids=["without", "with"])
def test_connecting(places: tuple[Place, Place], family: int, on: bool) -> None:
    for kind, code in ERRORS[family]:
        kernel, stack = (place.run(connecting, place, family, on, kind, code) for place in places)
        if ENGINE == "lwip" and not on and (kind, code) in SOFT[family]:
            assert stack[:2] == kernel[:2], (kind, code)
            assert stack[4] == ("raises", "BlockingIOError", errno.EALREADY)
        else:
            assert stack == kernel, (kind, code)


def answer(place: Place, family: int, syn: Segment) -> None:
    """The peer's SYN-ACK."""
    header = struct.pack(
        "!HHIIBBHHH", PORT, syn.port, 1, (syn.sequence + 1) & 0xFFFFFFFF, 5 << 4, 0x12, 65535, 0, 0
    )
    ends = socket.inet_pton(family, PEER[family]) + socket.inet_pton(family, OURS[family])
    total = checksum(ends + struct.pack("!II", len(header), socket.IPPROTO_TCP) + header)
    header = header[:16] + struct.pack("!H", total) + header[18:]
    if family == socket.AF_INET6:
        packet = struct.pack("!IHBB", 0x60000000, len(header), socket.IPPROTO_TCP, 64) + ends
    else:
        packet = struct.pack("!BBHHHBBH", 0x45, 0, 40, 7, 0, 64, socket.IPPROTO_TCP, 0) + ends
        packet = packet[:10] + struct.pack("!H", checksum(packet)) + packet[12:]
    place.write(packet + header)


def established(place: Place, family: int, on: bool, kind: int, code: int) -> Any:
    """Data on its way meets an error: the connection goes on."""
    segments(place)
    with place.module.socket(family) as sock:
        sock.setsockopt(*RECVERR[family], on)
        sock.setblocking(False)
        outcome(sock.connect, (PEER[family], PORT))
        answer(place, family, segments(place)[0])
        taken_in(place, family)
        sock.send(b"some data")
        say(place, family, kind, code, segments(place)[0].packet)
        taken_in(place, family)
        error = so_error(sock)
        found = error, queued(sock), outcome(sock.send, b"more"), outcome(sock.recv, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return found


@FAMILIES
@pytest.mark.parametrize("on", [False, True], ids=["without", "with"])
def test_established(places: tuple[Place, Place], family: int, on: bool) -> None:
    for kind, code in ERRORS[family]:
        kernel, stack = (place.run(established, place, family, on, kind, code) for place in places)
        assert stack == kernel, (kind, code)
