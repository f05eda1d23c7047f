"""Packets that end early, headers without end, and input without memory: all of it is dropped."""

from __future__ import annotations

import struct

import pytest
from far_end import (
    FRAGMENT,
    ICMP,
    ICMP6,
    OURS,
    THEIRS,
    UDP,
    FarEnd,
    checksum,
    fragment,
    ip4,
    ip6,
    packed,
    udp,
    upper,
)

pytestmark = pytest.mark.sanitize

HOP_BY_HOP, IGMP, TCP, ROUTING, NONE, DESTINATION = 0, 2, 6, 43, 59, 60
PORT = 7
OPTIONS = bytes([0x94, 4, 0, 0, 7, 11, 4, *bytes(8), 0x44, 8, 5, 0, *bytes(4), 0x83, 3, 4, 1])
SYN = struct.pack("!HHIIBBHHH", 9, 80, 1, 0, 0xA0, 2, 1000, 0, 0) + bytes(range(1, 21))
LINK_LOCAL, ALL_NODES, ALL_NODES_MAC = "fe80::1", "ff02::1", "33:33:00:00:00:01"
ALL_SYSTEMS, ALL_SYSTEMS_MAC = "224.0.0.1", "01:00:5e:00:00:01"


def message4(body: bytes) -> bytes:
    """An ICMP or IGMP message with its checksum, if it is long enough for one."""
    if len(body) < 4:
        return body
    return body[:2] + struct.pack("!H", checksum(body)) + body[4:]


def message6(body: bytes, source: str = THEIRS[6], to: str = OURS[6]) -> bytes:
    return upper(ICMP6, body, 2, source, to) if len(body) >= 4 else body


def quoted(version: int) -> bytes:
    """A packet that an error may be about."""
    data = udp(version, PORT, 9, b"data", source=OURS[version], to=THEIRS[version])
    addresses = {"source": OURS[version], "to": THEIRS[version]}
    return (ip4 if version == 4 else ip6)(UDP, data, **addresses)[14:]


def prefixes4() -> list[bytes]:
    """IPv4 packets that are right but for their end."""
    found = []
    errors = [bytes([kind, code, *bytes(6)]) for kind, code in ((3, 3), (3, 4), (5, 1), (11, 0))]
    for body in (*(error + quoted(4) for error in errors), b"\x08\0" + bytes(14), bytes(8)):
        found += [ip4(ICMP, message4(body[:n])) for n in range(len(body) + 1)]
    for body in (b"\x11\x64\0\0" + bytes(4), b"\x16\0\0\0\xef\1\1\1", b"\x22\0" + bytes(20)):
        for n in range(len(body) + 1):
            query = {"to": ALL_SYSTEMS, "mac": ALL_SYSTEMS_MAC}
            found.append(ip4(IGMP, message4(body[:n]), **query))
    for protocol, body in ((UDP, udp(4, 9, PORT, b"data")), (136, bytes(12)), (TCP, SYN)):
        found += [ip4(protocol, body[:n]) for n in range(len(body) + 1)]
    for n in range(0, len(OPTIONS) + 1, 4):
        found += [ip4(UDP, udp(4, 9, PORT, b""), options=OPTIONS[at : at + n]) for at in range(9)]
    found += [
        fragment(4, bytes(9), 0, n, 1, more=more) for n in range(10) for more in (True, False)
    ]
    return found


def prefixes6() -> list[bytes]:
    """IPv6 packets that are right but for their end."""
    found = []
    for kind in range(256):
        body = bytes([kind, 0, *bytes(6)]) + quoted(6)
        sizes = range(len(body) + 1) if kind in (1, 2, 3, 4, *range(128, 144)) else (4, 8)
        found += [ip6(ICMP6, message6(body[:n])) for n in sizes]
    query = b"\x82\0\0\0\x27\x10\0\0" + bytes(20)
    for n in range(len(query) + 1):
        message = message6(query[:n], LINK_LOCAL, ALL_NODES)
        found.append(ip6(ICMP6, message, LINK_LOCAL, ALL_NODES, ALL_NODES_MAC))
    for protocol, body in ((UDP, udp(6, 9, PORT, b"data")), (136, bytes(12)), (TCP, SYN)):
        found += [ip6(protocol, body[:n]) for n in range(len(body) + 1)]
    for kind in (HOP_BY_HOP, DESTINATION, ROUTING, FRAGMENT):
        for following in (NONE, UDP, DESTINATION, FRAGMENT, ICMP6):
            header = bytes([following, 0, 1, 4, 0, 0, 0, 0])
            padded = bytes([following, 0, 0, 0, 0, 0, 0, 1])  # a PadN without its length
            for body in (header + header + udp(6, 9, PORT, b""), padded):
                found += [ip6(kind, body[:n]) for n in range(len(body) + 1)]
    found += [
        fragment(6, bytes(9), 0, n, 1, more=more) for n in range(10) for more in (True, False)
    ]
    return found


@pytest.mark.parametrize("version", [4, 6])
def test_every_end(version: int) -> None:
    with FarEnd() as far:
        sock = far.socket(version, PORT)
        used = far.net.arena.used_bytes
        far.send(*(prefixes4 if version == 4 else prefixes6)())
        while True:
            try:
                sock.recv(100)
            except BlockingIOError:
                break
        far.run(200, 1)
        assert far.net.arena.used_bytes - used < 4096
        assert far.net.counters()["assertions"] == 0
        data = udp(version, 9, PORT, b"still here")
        far.send((ip4 if version == 4 else ip6)(UDP, data))
        assert sock.recv(100) == b"still here"


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize("version", [4, 6])
def test_without_memory(version: int, count: int) -> None:
    """Each allocation fails in turn: the packet is lost, nothing else."""
    packet = ip4 if version == 4 else ip6
    whole = udp(version, 9, PORT, bytes(2000))
    query = message6(b"\x82\0\0\0" + bytes(20), LINK_LOCAL, ALL_NODES)
    frames = [
        packet(UDP, udp(version, 9, PORT, b"data")),
        packet(UDP, udp(version, 9, PORT + 1, b"data")),
        packet(200, b"what is it?"),
        fragment(version, whole, 0, 1000, 1),
        fragment(version, whole, 1000, 2008, 1),
        ip4(ICMP, message4(b"\x08\0" + bytes(14))),
        ip4(ICMP, message4(b"\x03\x03" + bytes(6) + quoted(4))),
        ip4(IGMP, message4(b"\x11\x64\0\0" + bytes(4)), to=ALL_SYSTEMS, mac=ALL_SYSTEMS_MAC),
        ip6(ICMP6, message6(b"\x80\0" + bytes(14))),
        ip6(ICMP6, message6(b"\x02\0\0\0" + struct.pack("!I", 1280) + quoted(6))),
        ip6(ICMP6, query, LINK_LOCAL, ALL_NODES, ALL_NODES_MAC),
        packet(TCP, upper(TCP, SYN, 16, THEIRS[version], OURS[version])),
    ]
    with FarEnd() as far:
        sock = far.socket(version, PORT)
        raw = far.net.socket(2 if version == 4 else 10, 3, UDP)
        far.sockets.append(raw)
        for after in range(12):
            for frame in frames:
                far.net.arena.fail_allocations(after=after, count=count)
                far.send(frame)
                far.run(1)
        far.net.arena.fail_allocations(after=0, count=0)
        far.run(100, 1)
        far.send(packet(UDP, udp(version, 9, PORT, b"still here")))
        while (got := sock.recv(4000)) != b"still here":
            assert got in (b"data", bytes(2000))


def test_headers_in_a_circle() -> None:
    """Where 16 bits wrap around, a chain of headers came back to its second one, for ever."""

    def header(size: int) -> bytes:
        return bytes([DESTINATION, size // 8 - 1]) + bytes(size - 2)

    chain = header(1960) + header(2048) * 31 + bytes([DESTINATION, 255]) + bytes(6)
    with FarEnd(mtu=65500) as far:
        assert far.answers(ip6(DESTINATION, chain)) == []


def options(following: int, octets: bytes) -> bytes:
    """A header of options, as it is on the wire."""
    assert len(octets) % 8 == 6
    return bytes([following, len(octets) // 8]) + octets


@pytest.mark.parametrize(
    ("octets", "taken"),
    [
        (b"\1\4" + bytes(4), True),
        (bytes(6), True),
        (b"\x1e\2\0\0" * 7 + b"\1\0", True),
        (b"\x1e\1\0" * 8 + b"\1\4" + bytes(4), True),
        (bytes(14), False),
        (b"\1\x0c" + bytes(12), False),
        (b"\x1e\0" * 11, False),
        (bytes(5) + b"\1", False),
    ],
)
def test_how_many_options(octets: bytes, taken: bool) -> None:
    """Linux's limits: eight of them, and seven octets of padding at a time."""
    for kind in (HOP_BY_HOP, DESTINATION):
        with FarEnd() as far:
            echo = message6(b"\x80\0" + bytes(14))
            answers = far.answers(ip6(kind, options(ICMP6, octets) + echo))
            assert len(answers) == taken


@pytest.mark.parametrize(("count", "taken"), [(8, True), (16, True), (17, False), (150, False)])
def test_how_many_headers(count: int, taken: bool) -> None:
    header = options(DESTINATION, b"\1\4" + bytes(4))
    last = options(ICMP6, b"\1\4" + bytes(4))
    with FarEnd() as far:
        echo = message6(b"\x80\0" + bytes(14))
        assert len(far.answers(ip6(DESTINATION, header * (count - 1) + last + echo))) == taken


def test_what_is_quoted_is_ours() -> None:
    """The frames above are what they say: an error about our datagram reaches its socket."""
    with FarEnd() as far:
        sock = far.socket(4, PORT)
        sock.connect((THEIRS[4], 9))
        assert quoted(4)[12:20] == packed(OURS[4]) + packed(THEIRS[4])
        far.send(ip4(ICMP, message4(b"\x03\x03" + bytes(6) + quoted(4))))
        with pytest.raises(ConnectionRefusedError):
            sock.recv(10)
