"""Fragments: what a hostile wire makes of them, and how ours are cut."""

from __future__ import annotations

import os
import random
import socket
import struct
import time
from typing import Any

import pytest
from far_end import OURS, THEIRS, UDP, FarEnd, fragment, udp

pytestmark = pytest.mark.sanitize

PORT = 7
MEBIBYTE = 1 << 20
SLACK = 64 << 10
VERSIONS = pytest.mark.parametrize("version", [4, 6])
THRESHOLD = {4: "net.ipv4.ipfrag_high_thresh", 6: "net.ipv6.ip6frag_high_thresh"}


def received(sock: Any) -> bytes | None:
    try:
        return bytes(sock.recv(1 << 16))
    except BlockingIOError:
        return None


def cut(
    version: int, whole: bytes, size: int, identification: int = 1, **fields: Any
) -> list[bytes]:
    return [
        fragment(version, whole, at, min(at + size, len(whole)), identification, **fields)
        for at in range(0, len(whole), size)
    ]


def pattern(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@VERSIONS
@pytest.mark.parametrize("order", ["as sent", "backwards", "shuffled", "twice"])
@pytest.mark.parametrize("size", [8, 1024, 1032, 1448, 8184])
def test_in_whatever_order(version: int, order: str, size: int) -> None:
    data = pattern(20_001)
    with FarEnd(mtu=9000) as far:
        sock, used = far.socket(version, PORT), far.net.arena.used_bytes
        pieces = cut(version, udp(version, 9, PORT, data), size)
        if order == "backwards":
            pieces.reverse()
        elif order == "shuffled":
            random.Random(1).shuffle(pieces)
        elif order == "twice":
            pieces = [piece for piece in pieces[:-1] for _ in range(2)] + pieces[-1:]
        far.send(*pieces)
        assert received(sock) == data
        assert far.net.arena.used_bytes - used < 1024


@VERSIONS
def test_the_longest(version: int) -> None:
    data = pattern(65535 - 28 if version == 4 else 65535 - 48)
    with FarEnd(mtu=9000) as far:
        sock = far.socket(version, PORT)
        whole = udp(version, 9, PORT, data)
        far.send(*cut(version, whole, 8000))
        assert received(sock) == data
        far.send(*cut(version, whole + bytes(64), 8000, 2))
        assert received(sock) is None


@VERSIONS
@pytest.mark.parametrize("size", [8, 1400])
@pytest.mark.parametrize("sources", [1, 1000])
def test_a_flood_leaves_room(version: int, size: int, sources: int) -> None:
    """Memory stays below its limit, and a datagram that comes in the midst of it is received."""
    prefix = {4: "10.1.{}.{}", 6: "fd00::1:{:x}:{:x}"}[version]
    with FarEnd() as far:
        sock, used = far.socket(version, PORT), far.net.arena.used_bytes
        mine = cut(version, udp(version, 9, PORT, b"mine" * 500), 1000)
        for round_ in range(8):
            flood = []
            for number in range(1000):
                source = prefix.format(*divmod(number % sources, 250))
                some = number + round_ * 1000
                flood.append(
                    fragment(version, bytes(size), 0, size, some, more=True, source=source)
                )
            far.send(mine[0], *flood, *mine[1:])
            assert received(sock) == b"mine" * 500
            assert far.net.arena.used_bytes - used < 4 * MEBIBYTE * 1.1 + SLACK
        far.run(75, 1)  # and errors about them that wait for a neighbour
        assert far.net.arena.used_bytes - used < 1024


@VERSIONS
def test_the_limit_is_of_memory(version: int) -> None:
    """Few long fragments take as much as many small ones."""
    with FarEnd(mtu=9000) as far:
        used = far.net.arena.used_bytes
        far.net.sysctl[THRESHOLD[version]] = MEBIBYTE
        for number in range(500):
            far.send(fragment(version, bytes(8000), 0, 8000, number, more=True))
        assert MEBIBYTE * 0.9 < far.net.arena.used_bytes - used < MEBIBYTE * 1.1
        sock = far.socket(version, PORT)
        far.net.sysctl[THRESHOLD[version]] = 4096
        far.send(*cut(version, udp(version, 9, PORT, bytes(2000)), 1000))
        assert received(sock) == bytes(2000)
        far.send(*cut(version, udp(version, 9, PORT, bytes(9000)), 1000, 2))
        assert received(sock) is None


@VERSIONS
def test_the_cost_of_many_fragments(version: int) -> None:
    """Linear lists cost a hundred times as much for the last of them as for the first."""
    kinds = {
        "datagrams": [fragment(version, bytes(8), 0, 8, n, more=True) for n in range(20_000)],
        "one": [
            fragment(version, bytes(60_000), at, at + 8, 1 + number // 3000, more=True)
            for number, at in enumerate([2 * n % 48_000 // 16 * 16 for n in range(0, 160_000, 8)])
        ],
    }
    for frames in kinds.values():
        with FarEnd() as far:
            far.net.sysctl["net.ipv4.ipfrag_max_fragments"] = 65535
            spent = []
            for at in range(0, len(frames), 2500):
                begin = time.process_time()
                far.send(*frames[at : at + 2500])
                spent.append(time.process_time() - begin)
            assert min(spent[4:]) < 10 * min(spent[:4])


@VERSIONS
def test_without_memory_a_fragment_is_dropped(version: int) -> None:
    data = pattern(3000)
    pieces = cut(version, udp(version, 9, PORT, data), 1000)
    with FarEnd() as far:
        sock = far.socket(version, PORT)
        for nth in range(30):
            used = far.net.arena.used_bytes
            far.net.arena.fail_allocations(after=nth)
            far.send(*cut(version, udp(version, 9, PORT, data), 1000, 100 + nth))
            far.net.arena.fail_allocations(after=0, count=0)
            got = received(sock)
            assert got in (None, data)
            far.run(62, 1)
            assert far.net.arena.used_bytes - used < 1024
        far.send(*pieces)
        assert received(sock) == data


@VERSIONS
@pytest.mark.parametrize("size", [8, 1400])
def test_where_memory_runs_out_the_oldest_make_room(version: int, size: int) -> None:
    """An arena smaller than what may wait: others get memory all the same, and what is honest."""
    with FarEnd(memory_limit=2 * MEBIBYTE) as far:
        sock = far.socket(version, PORT)
        for round_ in range(12):
            for number in range(round_ * 400, round_ * 400 + 400, 16):
                far.send(
                    *(
                        fragment(version, bytes(2000), 0, size, one)
                        for one in range(number, number + 16)
                    )
                )
            data = pattern(3000)
            far.send(*cut(version, udp(version, 9, PORT, data), 1000, 50_000 + round_))
            assert received(sock) == data
            with far.net.socket() as other:
                other.bind((OURS[4], 0))
        assert far.net.arena.failures > 0


@VERSIONS
@pytest.mark.parametrize("end", [1000, 3000])
def test_two_ends(version: int, end: int) -> None:
    """What says that the datagram ends elsewhere is not believed; IPv6 gives up the packet."""
    whole = udp(version, 9, PORT, pattern(1992))
    with FarEnd() as far:
        sock = far.socket(version, PORT)
        first, last = cut(version, whole, 1000)
        far.send(last, fragment(version, bytes(3000), 992, end, 1, more=False), first)
        assert received(sock) == (whole[8:] if version == 4 else None)
        far.send(*cut(version, whole, 1000, 2))
        assert received(sock) == whole[8:]


def test_part_of_a_copy_is_an_overlap() -> None:
    """RFC 8200 4.5: only an exact duplicate may be ignored."""
    whole = udp(6, 9, PORT, pattern(1992))
    for start, end in ((0, 496), (496, 1000), (8, 16), (496, 1504)):
        with FarEnd() as far:
            sock = far.socket(6, PORT)
            first, last = cut(6, whole, 1000)
            far.send(first, fragment(6, whole, start, end, 1, more=True), last)
            assert received(sock) is None


def test_hop_by_hop_options_before_fragments() -> None:
    """They are the packet's first header still, when it is put together."""
    whole = udp(6, 9, PORT, pattern(1992))
    options = struct.pack("!BBBBI", 44, 0, 1, 4, 0)
    pieces = [
        frame[:20] + b"\0" + frame[21:54] + options + frame[54:] for frame in cut(6, whole, 1000)
    ]
    pieces = [frame[:18] + struct.pack("!H", len(frame) - 54) + frame[20:] for frame in pieces]
    with FarEnd() as far:
        sock = far.socket(6, PORT)
        assert far.answers(*pieces) == []
        assert received(sock) == whole[8:]


def test_the_first_header_is_kept() -> None:
    """Its options come to a raw socket, as in Linux."""
    options = bytes([0x94, 4, 0, 0])
    with FarEnd() as far:
        raw = far.net.socket(socket.AF_INET, socket.SOCK_RAW, UDP)
        raw.setblocking(False)
        whole = udp(4, 9, PORT, pattern(1992))
        first, last = cut(4, whole, 1000, options=options)[0], cut(4, whole, 1000)[1]
        far.send(last, first)
        got = raw.recv(4000)
        assert got[:1] + got[20:] == b"\x46" + options + whole
        assert struct.unpack("!H", got[2:4]) == (24 + len(whole),)


# --- how ours are cut ------------------------------------------------------------------------


def joined(version: int, frames: list[bytes], mtu: int) -> bytes:
    """A model of reassembly: each fragment fits, has its place, and there is one last one."""
    found, ends = {}, []
    for frame in frames:
        assert len(frame) - 14 <= mtu
        if version == 4:
            field, header = struct.unpack("!H", frame[20:22])[0], 34
            start, more = (field & 0x1FFF) * 8, bool(field & 0x2000)
        elif frame[20] != 44:
            start, more, header = 0, False, 54
        else:
            field, header = struct.unpack("!H", frame[56:58])[0], 62
            start, more = field & 0xFFF8, bool(field & 1)
        data = frame[header:]
        assert data
        assert not (more and len(data) % 8)
        found[start] = data
        if not more:
            ends.append(start + len(data))
    whole = b""
    for start in sorted(found):
        assert start == len(whole)
        whole += found[start]
    assert ends == [len(whole)]
    return whole


@VERSIONS
def test_every_cut_is_right(version: int) -> None:
    least, headers = (68, 20) if version == 4 else (1280, 40)
    with FarEnd() as far:
        sock = far.socket(version, 0)
        for mtu in range(least, 1501, 31 if os.environ.get("PYSTACK_SANITIZED") else 1):
            far.nic.mtu = mtu
            room = mtu - headers - (8 if version == 6 else 0)
            edges = {n * each - 8 for n in (1, 2, 3) for each in (room, room & ~7)}
            for size in {edge + more for edge in edges for more in (-8, -1, 0, 1, 8)}:
                sock.sendto(bytes(size), (THEIRS[version], 9))
                assert joined(version, far.frames(), mtu)[8:] == bytes(size)
