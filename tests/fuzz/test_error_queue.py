"""ICMP errors with anything in them, at sockets that queue them, extensions looked for."""

from __future__ import annotations

import random
import socket
import struct
from contextlib import suppress
from typing import Any

import pytest
from far_end import ICMP, ICMP6, OURS, THEIRS, UDP, FarEnd, ip4, ip6, upper
from quick import representatives

PORT, NEXT_PORT = 4000, 5000
QUEUE = {4: ((0, 11), (0, 26)), 6: ((41, 25), (41, 31))}


def quoted(version: int, numbers: random.Random, size: int) -> bytes:
    """A datagram of ours, cut or mangled or neither."""
    datagram = struct.pack("!4H", PORT, NEXT_PORT, 8 + size, 0) + numbers.randbytes(size)
    make: Any = ip4 if version == 4 else ip6
    packet = bytearray(make(UDP, datagram, OURS[version], THEIRS[version])[14:])
    match numbers.randrange(4):
        case 0:
            return bytes(packet[: numbers.randrange(len(packet) + 1)])
        case 1:
            for _ in range(numbers.randrange(1, 4)):
                packet[numbers.randrange(min(len(packet), 60))] = numbers.randrange(256)
    return bytes(packet)


def extensions(numbers: random.Random) -> bytes:
    """A structure of RFC 4884 7, whose lengths may lie."""
    found = bytes([0x20, 0, 0, 0])
    for _ in range(numbers.randrange(4)):
        size = numbers.choice([0, 3, 4, 8, 8, 12, 65535, numbers.randrange(70_000) % 65536])
        found += struct.pack("!HBB", size, 1, 1) + numbers.randbytes(numbers.choice([0, 4, 8]))
    return found[: numbers.randrange(len(found) + 1)] if numbers.randrange(3) == 0 else found


def error(version: int, numbers: random.Random) -> bytes:
    """A frame with it, the checksum right."""
    kind = numbers.choice([3, 11, 12, 4] if version == 4 else [1, 2, 3, 4, 100])
    about = quoted(version, numbers, numbers.choice([0, 1, 20, 100, 128, 500, 1200]))
    length = numbers.choice([0, 1, 16, 17, 32, 33, 255, len(about) // 4, len(about) // 8]) & 0xFF
    word = numbers.choice([0, length << 24, length << 16, numbers.randrange(1 << 32)])
    if numbers.randrange(2):
        about += bytes(-len(about) % 4) + extensions(numbers)
    message = struct.pack("!BBHI", kind, numbers.randrange(18), 0, word) + about[:1400]
    protocol = ICMP if version == 4 else ICMP6
    message = upper(protocol, message, 2, THEIRS[version], OURS[version])
    make: Any = ip4 if version == 4 else ip6
    frame: bytes = make(protocol, message)
    return frame


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("seed", representatives(range(3), [0]))
def test_anything(version: int, seed: int) -> None:
    numbers = random.Random(seed)
    with FarEnd() as far:
        udp = far.socket(version, PORT)
        raw = far.net.socket(udp.family, socket.SOCK_RAW, socket.IPPROTO_UDP)
        far.sockets.append(raw)
        raw.setblocking(False)
        for sock in (udp, raw):
            for key in QUEUE[version]:
                sock.setsockopt(*key, 1)
        before = far.net.arena.used_bytes
        told = 0
        for _ in range(60):
            far.send(*(error(version, numbers) for _ in range(40)))
            for sock in (udp, raw):
                with suppress(BlockingIOError):
                    while True:
                        data, items, _, _ = sock.recvmsg(70_000, 500, socket.MSG_ERRQUEUE)
                        extended = struct.unpack("=I4BIHBB", items[-1][2][:16])
                        assert extended[6] <= len(data)  # where extensions begin
                        told += 1
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        assert told > 500
        assert far.net.arena.used_bytes == before
