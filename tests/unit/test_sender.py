"""TCP as a sender against a receiver that is small, fickle or hostile, in virtual time."""

from __future__ import annotations

import itertools
import random
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from offload import pattern
from peer import ACK, FIN, RST, Peer, Segment, stamp

pytestmark = pytest.mark.sanitize

SACK_OK = b"\4\2\1\1"


def mss(size: int) -> bytes:
    return b"\2\4" + struct.pack("!H", size)


def scale(shift: int) -> bytes:
    return b"\1\3\3" + bytes([shift])


def blocks(peer: Peer, *edges: tuple[int, int]) -> bytes:
    numbers = [(peer.start + edge) % (1 << 32) for block in edges for edge in block]
    return b"\1\1\5" + bytes([2 + 4 * len(numbers)]) + struct.pack(f"!{len(numbers)}I", *numbers)


@contextmanager
def connected(
    options: bytes = mss(1460), *, window: int | None = None, **how: Any
) -> Iterator[tuple[Peer, Any]]:
    """A peer and the Stack's socket; no check of input has failed at the end."""
    peer = Peer(**how)
    try:
        yield peer, peer.connect(options, window=window)
        assert peer.net.counters()["assertions"] == 0
    finally:
        peer.close()


def data_of(peer: Peer, segments: list[Segment]) -> list[tuple[int, int]]:
    """Where each segment with data or a FIN begins, and how much it has."""
    return [(peer.at(one), len(one.data)) for one in segments if one.data or one.flags & FIN]


def next_data(peer: Peer) -> Segment:
    """The next segment with data or a FIN."""
    for _ in range(1300):
        peer.run(0.1, step=0.1)
        for segment in peer.frames():
            if segment.data or segment.flags & FIN:
                return segment
    raise AssertionError("nothing came")


# --- closed and small windows ---------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0, 8])
def test_behind_a_closed_window_what_comes_is_acknowledged(shift: int) -> None:
    with connected(mss(1460) + scale(shift), window=0) as (peer, sock):
        sock.send(b"x" * 3000)
        probe = next_data(peer)
        assert (peer.at(probe), len(probe.data)) == (0, 1)  # and the peer doesn't take it
        peer.send(ACK, window=0, data=b"hello")
        peer.run(1, step=0.1)
        told = [one for one in peer.frames() if not one.data]
        assert {(peer.at(one), one.ack - peer.seq) for one in told} == {(0, 5)}
        sock.close()  # with five bytes unread: a reset
        assert [peer.at(one) for one in peer.frames() if one.flags & RST] == [0]


@pytest.mark.parametrize("size", [1, 2, 5, 3000])
@pytest.mark.parametrize("close", [False, True])
@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("sack", [False, True])
def test_probes_that_are_taken_go_on_from_there(
    size: int, close: bool, offload: bool, sack: bool
) -> None:
    data = pattern(size)
    with connected(mss(1460) + (SACK_OK if sack else b""), window=0, offload=offload) as (
        peer,
        sock,
    ):
        sock.send(data)
        if close:
            sock.shutdown(socket.SHUT_WR)
        again = itertools.cycle([True, False]).__next__  # every other one is refused
        got, total = b"", min(size, 12) + (close and size < 12)
        while len(got) < min(size, 12):
            probe = next_data(peer)
            assert (peer.at(probe), len(probe.data)) == (len(got), 1)  # only ever the next byte
            if again():
                peer.send(ACK, len(got), window=0)
                continue
            got += probe.data
            peer.send(ACK, len(got), window=0)
        assert got == data[:12]
        if total > len(got):
            fin = next_data(peer)
            assert (fin.flags & FIN, peer.at(fin), fin.data) == (FIN, size, b"")
            peer.send(ACK, size + 1, window=0)
        peer.run(200, step=0.1)
        if size <= 12:
            assert data_of(peer, peer.frames()) == []  # nothing is left to say
        else:
            peer.frames()
            peer.send(ACK, len(got), window=65535)
            peer.run(1)
            first = peer.frames()[0]
            assert peer.at(first) == len(got)
            assert data[12:].startswith(first.data)


@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("window", [1, 7, 24, 25, 47, 535, 1459])
def test_a_small_window_is_filled(window: int, offload: bool) -> None:
    options = mss(1460) + SACK_OK + stamp(0)
    with connected(options, window=window, offload=offload) as (peer, sock):
        data = pattern(20 * window)
        sock.send(data)
        got = b""
        for _ in range(200):
            peer.run(0.3)
            for segment in peer.frames():
                assert peer.at(segment) + len(segment.data) <= len(got) + window
                got += segment.data[len(got) - peer.at(segment) :]
            peer.send(ACK, len(got), window=window)
            if got == data:
                break
        assert got == data


@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("unit", [1, 2, 16])
def test_windows_of_whole_turns_of_sixteen_bits(unit: int, offload: bool) -> None:
    options = mss(1460) + scale(14) + SACK_OK
    with connected(options, window=0, offload=offload) as (peer, sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        data = pattern(2 << 20)
        assert sock.send(data) == len(data)
        peer.run(1)  # probes
        got, edge = bytearray(), 1
        for _ in range(2000):
            for segment in peer.frames():
                begin = peer.at(segment)
                assert begin <= len(got)
                got += segment.data[len(got) - begin :]
                assert len(got) <= edge
            if len(got) == len(data):
                break
            edge = max(edge, len(got) + 65536 * unit)
            peer.send(ACK, len(got), window=4 * unit)
            peer.run(0.01)
        assert got == data


@pytest.mark.parametrize("sack", [False, True])
@pytest.mark.parametrize("change", [0, 1, 300, 1500])
def test_a_window_changes_without_a_new_number(change: int, sack: bool) -> None:
    with connected(mss(1460) + (SACK_OK if sack else b""), window=5000) as (peer, sock):
        peer.send(ACK, 0, window=change)
        sock.send(pattern(3000))
        peer.run(0.15)
        assert all(begin + size <= change for begin, size in data_of(peer, peer.frames()))
        for _ in range(30 if change == 0 else 3):  # an hour; what has room must be taken some day
            peer.run(120 if change == 0 else 10, step=0.1)
            for begin, size in data_of(peer, peer.frames()):
                assert begin + size <= max(change, 1)
            peer.send(ACK, 0, window=change)
        peer.send(ACK, 0, window=5000)
        have = 0
        for _ in range(1300):
            peer.run(0.1)
            ends = [have] + [begin + size for begin, size in data_of(peer, peer.frames())]
            have = max(ends)
            if len(ends) > 1:
                peer.send(ACK, have, window=5000)
        assert have == 3000


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("v6", [False, True])
def test_the_window_with_the_latest_ack_counts(v6: bool, late: bool) -> None:
    """The peer's first segment was lost, and comes again with another window."""
    with connected(v6=v6) as (peer, sock):
        sock.send(bytes(100_000))
        peer.frames()
        if not late:
            peer.send(ACK, 0, seq=2000, data=b"later")
        peer.send(ACK, 5000, data=bytes(1000), window=1000)
        if late:
            peer.send(ACK, 0, seq=2000, data=b"later")
        peer.run(1)
        assert all(begin + size <= 6000 for begin, size in data_of(peer, peer.frames()))


@pytest.mark.parametrize("then", ["write", "close", "wait"])
@pytest.mark.parametrize("v6", [False, True])
def test_a_lost_segment_that_the_window_keeps_back_stays_in_its_place(v6: bool, then: str) -> None:
    """Duplicate ACKs ask for the first of two, and the window is smaller than it by now."""
    data = pattern(1100)
    with connected(v6=v6) as (peer, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.send(data[:100])
        sock.send(data[100:])
        for _ in range(5):
            peer.send(ACK, 0, window=50)
        if then == "write":
            data += b"more"
            sock.send(b"more")
        elif then == "close":
            sock.shutdown(socket.SHUT_WR)
        got, ended = bytearray(), False
        for turn in range(100):
            window = 50 if then == "wait" and turn < 10 else 5000
            for segment in peer.frames():
                begin = peer.at(segment)
                assert not segment.flags & RST
                assert segment.data == data[begin : begin + len(segment.data)]
                assert not segment.flags & FIN or begin + len(segment.data) == len(data)
                if begin <= len(got):
                    got += segment.data[len(got) - begin :]
                    ended = ended or bool(segment.flags & FIN)
            peer.send(ACK, len(got) + ended, window=window)
            peer.run(0.5)
        assert got == data
        assert ended == (then == "close")


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "size"), [(0, 536), (1, 48), (47, 48), (48, 48), (49, 49), (1460, 1460), (65535, 1460)]
)
def test_a_peers_segment_size_has_a_floor(said: int, size: int) -> None:
    with connected(mss(said)) as (peer, sock):
        sock.send(bytes(4000))
        assert max(len(one.data) for one in peer.frames()) == size
        peer.send(ACK, 0, options=mss(100))  # counts on a SYN alone
        sock.send(bytes(4000))
        peer.run(0.01)
        assert max(len(one.data) for one in peer.frames()) == size


def test_the_floor_is_a_setting() -> None:
    peer = Peer()
    peer.net.sysctl["net.ipv4.tcp_min_snd_mss"] = 500
    with pytest.raises(ValueError, match="48"):
        peer.net.sysctl["net.ipv4.tcp_min_snd_mss"] = 47
    with peer.connect(mss(60)) as sock:
        sock.send(bytes(4000))
    assert max(len(one.data) for one in peer.frames()) == 500
    peer.close()


def lower_by_interface(peer: Peer, mtu: int) -> None:
    peer.interface.mtu = mtu


def lower_by_router(peer: Peer, mtu: int) -> None:
    peer.advertise(mtu)


def lower_by_path(peer: Peer, mtu: int) -> None:
    peer.too_big(lower_by_path.quoted, mtu)  # type: ignore[attr-defined]


LOWER = {
    "interface": (False, lower_by_interface),
    "interface6": (True, lower_by_interface),
    "router": (True, lower_by_router),
    "path": (True, lower_by_path),
}


@pytest.mark.parametrize("how", LOWER)
@pytest.mark.parametrize("sack", [False, True])
@pytest.mark.parametrize("offload", [False, True])
def test_what_is_sent_after_the_path_became_narrow_fits(
    how: str, sack: bool, offload: bool
) -> None:
    """In flight, held back and not yet written; with a FIN; and wide again at the end."""
    v6, lower = LOWER[how]
    narrow = 1280 if v6 else 576
    data = pattern(60_000)
    options = mss(1440) + (SACK_OK if sack else b"")
    with connected(options, v6=v6, offload=offload) as (peer, sock):
        sock.send(data[:40_000])
        packets = peer.packets()
        lower_by_path.quoted = packets[0][1]  # type: ignore[attr-defined]
        lower(peer, narrow)
        if sack:
            peer.send(ACK, 0, options=blocks(peer, (5 * 1440, 6 * 1440)))
        sock.send(data[40_000:])
        sock.close()
        got: dict[int, bytes] = {}
        have, fin = 0, False
        for _ in range(400):
            peer.run(0.1)
            for segment in peer.frames():
                assert not segment.is_fragment
                assert segment.size <= narrow
                got[peer.at(segment)] = segment.data
                fin |= bool(segment.flags & FIN)
            for begin in sorted(got):
                part = got[begin]
                assert part == data[begin : begin + len(part)]
                if begin <= have < begin + len(part):
                    have = begin + len(part)
            peer.send(ACK, have + (fin and have == len(data)))
            if fin and have == len(data):
                break
        assert (have, fin) == (len(data), True)


def test_a_path_that_becomes_wide_again_is_used() -> None:
    with connected(mss(1460)) as (peer, sock):
        sizes = []
        done = 0
        for mtu in (1500, 576, 1500):
            peer.interface.mtu = mtu
            sock.send(bytes(6000))
            peer.run(0.1)
            sizes.append(max(len(one.data) for one in peer.frames()))
            done += 6000
            peer.send(ACK, done)
        assert sizes == [1460, 536, 1460]


def test_a_path_is_forgotten_and_then_wide_again() -> None:  # RFC 8201 4
    with connected(mss(1440), v6=True) as (peer, sock):
        sock.send(bytes(1440))
        [(_, quoted)] = peer.packets()
        peer.too_big(quoted, 1280)
        peer.send(ACK, 1440)
        sock.send(bytes(2440))
        assert max(len(one.data) for one in peer.frames()) == 1220
        peer.send(ACK, 3880)
        peer.run(601, step=1.0)
        sock.send(bytes(3000))
        assert max(len(one.data) for one in peer.frames()) == 1440


# --- selective acknowledgements that lie ----------------------------------------------------------


LIES = {
    "before": (-3000, -1500),
    "around the first": (-100, 1460),
    "from the first": (0, 1460),
    "beyond": (1460, 1 << 20),
    "never sent": (1 << 20, 1 << 21),
    "reversed": (2920, 1460),
    "empty": (1460, 1460),
    "half the space": (1460, (1 << 31) + 1460),
    "wrapped": (-(1 << 31) + 2, 1460),
}


@pytest.mark.parametrize("lie", LIES)
def test_blocks_that_lie_are_nothing(lie: str) -> None:
    with connected(mss(1460) + SACK_OK) as (peer, sock):
        data = pattern(10 * 1460)
        sock.send(data)
        peer.run(0.01)
        peer.frames()
        for _ in range(5):
            peer.send(ACK, 0, options=blocks(peer, LIES[lie]))
            peer.send(ACK, 0, options=blocks(peer, (1460, 2920), LIES[lie]))
        peer.run(0.1)
        # RACK sends the first again, or a probe of the tail the last, once; not what was not lost.
        assert len(data_of(peer, peer.frames())) <= 1
        peer.send(ACK, len(data))
        peer.run(5)
        assert data_of(peer, peer.frames()) == []


@pytest.mark.parametrize("v6", [False, True])
def test_the_last_byte_resets_nothing(v6: bool) -> None:
    """Acknowledgements of what was never sent are answered, and take nothing away."""
    with connected(mss(1440), v6=v6) as (peer, sock):
        sock.send(b"x")
        peer.frames()
        peer.send(ACK, 2)
        peer.send(ACK, 1 << 31)
        assert not any(one.flags & RST for one in peer.frames())
        peer.run(1)
        assert (0, 1) in data_of(peer, peer.frames())


# --- everything at once ---------------------------------------------------------------------------


class Fickle:
    """A receiver that does as it likes until it behaves: then all bytes are there, once.

    It keeps what it likes of what comes, acknowledges no more than it has, selects what it has and
    what it has not, opens and shuts its window, and narrows the path.
    """

    def __init__(self, peer: Peer, data: bytes, rng: random.Random, shift: int, sack: bool) -> None:
        self.peer, self.data, self.random = peer, data, rng
        self.shift, self.sack = shift, sack
        self.has = bytearray()
        self.parts: dict[int, bytes] = {}
        self.fin: int | None = None
        self.mtu = peer.interface.mtu
        self.edge = 65535 << shift  # as far as it ever said there was room
        self.quoted = b""

    def take(self, segment: Segment, *, all_of_it: bool) -> None:
        begin = self.peer.at(segment)
        part = segment.data
        assert not segment.is_fragment
        assert segment.size <= self.mtu
        assert begin + len(part) <= self.edge + 1
        assert part == self.data[begin : begin + len(part)]
        if segment.flags & FIN:
            assert self.fin in (None, begin + len(part))
            self.fin = begin + len(part)
        if not all_of_it and self.random.random() < 0.4:
            return
        if not all_of_it and self.random.random() < 0.3:
            part = part[: self.random.randrange(len(part) + 1)]
        if part and len(part) > len(self.parts.get(begin, b"")):
            self.parts[begin] = part
        for offset in sorted(self.parts):
            if offset > len(self.has):
                break
            self.has += self.parts.pop(offset)[len(self.has) - offset :]

    def listen(self, *, all_of_it: bool = False) -> int:
        came = 0
        for cut, packet in self.peer.packets():
            if (segment := self.peer.parse(packet, cut)) is not None:
                self.quoted = packet
                came += 1
                self.take(segment, all_of_it=all_of_it)
        return came

    def is_over(self) -> bool:
        return self.fin is not None and len(self.has) == self.fin

    def ack(self) -> int:
        return len(self.has) + self.is_over()

    def window(self) -> int:
        shift = self.shift
        return self.random.choice(
            [
                0,
                0,
                1,
                2,
                24,
                self.random.randrange(65536),
                65535,
                (65536 * self.random.randrange(8) >> shift) & 0xFFFF,
                1460 >> shift,
            ]
        )

    def selected(self) -> bytes:
        if not self.sack or self.random.random() < 0.4:
            return b""
        edges = [(at, at + len(part)) for at, part in self.parts.items()]
        self.random.shuffle(edges)
        edges = edges[:2]
        if self.random.random() < 0.3:
            middle = len(self.has) + self.random.randrange(-5000, 50_000)
            edges.insert(0, (middle, middle + self.random.choice([-1, 1, 48, 1448, 1 << 31])))
        return blocks(self.peer, *edges) if edges else b""

    def misbehave(self) -> None:
        peer, rng = self.peer, self.random
        choice = rng.random()
        if choice < 0.65:
            window = self.window()
            back = rng.choice([0, 0, 0, 0, 1, 1000])
            ack = max(0, self.ack() - back)
            self.edge = max(self.edge, ack + (window << self.shift))
            peer.send(ACK, ack, window=window, options=self.selected())
        elif choice < 0.7:
            peer.send(ACK, len(self.data) + rng.randrange(2, 1 << 20), window=self.window())
        elif choice < 0.8:
            self.narrow()
        else:
            peer.run(rng.choice([0.001, 0.03, 0.3, 1.0, 3.0]), step=0.03)

    def narrow(self) -> None:
        peer, rng = self.peer, self.random
        self.listen()
        if not peer.v6:
            self.mtu = rng.choice([68, 100, 576, 1000, 1500])
            peer.interface.mtu = self.mtu
            return
        mtu = rng.choice([1280, 1281, 1400, 1500])
        if rng.random() < 0.5:
            peer.advertise(mtu)
            self.mtu = mtu
        elif self.quoted:
            peer.too_big(self.quoted, mtu)


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("sack", [False, True])
@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_all_bytes_arrive_once_at_a_fickle_receiver(
    seed: int, offload: bool, sack: bool, v6: bool
) -> None:
    rng = random.Random(f"{seed} {offload} {sack} {v6}")
    shift = rng.choice([0, 3, 14])
    size = rng.choice([1, 48, 200, 536, 1001, 1440, 9000, 65535])
    options = mss(size) + scale(shift)
    data = pattern(min(rng.choice([3, 1000, 60_000, 200_000]), max(size, 48) * 500))
    with connected(
        options + (SACK_OK if sack else b"") + rng.choice([b"", stamp(0)]),
        window=rng.choice([0, 1, 24, 5000, 65535]),
        v6=v6,
        offload=offload,
        seed=seed,
    ) as (peer, sock):
        fickle = Fickle(peer, data, rng, shift, sack)
        sent, open_ = 0, True

        def write() -> None:
            nonlocal sent, open_
            if not open_:
                return
            try:
                if sent < len(data):
                    size = rng.choice([1, 10, 700, 3000, 65536, 200_000])
                    sent += sock.send(data[sent : sent + size], rng.choice([0, socket.MSG_MORE]))
                elif rng.random() < 0.3:
                    open_ = False
                    rng.choice([sock.close, lambda: sock.shutdown(socket.SHUT_WR)])()
            except BlockingIOError:
                pass

        for _ in range(300):
            if rng.random() < 0.3:
                write()
            fickle.misbehave()
            fickle.listen()
            if fickle.is_over():
                break
        for _ in range(10_000):
            fickle.edge = max(fickle.edge, fickle.ack() + (65535 << shift))
            peer.send(ACK, fickle.ack(), window=65535)
            write()
            peer.net.step()
            if not fickle.listen(all_of_it=True):
                peer.run(0.05, step=0.05)
            if fickle.is_over():
                break
        assert fickle.has == data
        assert fickle.fin == len(data)
        peer.send(ACK, fickle.ack(), window=65535)
        peer.run(60, step=0.5)
        assert data_of(peer, peer.frames()) == []
