"""Data that comes before its turn, in virtual time: RFC 9293 3.10.7.4, 2018, 2883, 5681 4.2."""

from __future__ import annotations

import random
import socket
import time
from itertools import pairwise

import pytest
from offload import pattern
from quick import slow
from segments import MSS, SACK_PERMITTED, SCALE, Peer, connected, listening

pytestmark = pytest.mark.sanitize

DATA = pattern(1 << 20)
WIDE = MSS + SACK_PERMITTED + SCALE
WRAPS = (1 << 32) - 1000  # sequence numbers begin anew in what is sent


def put(peer: Peer, left: int, right: int, flags: str = "A") -> list[tuple[int, list]]:
    """Sends that part of the data. Returns what is acknowledged at once, and the blocks."""
    return [(one.ack, one.blocks) for one in peer.send(left, DATA[left:right], flags)]


# Each line: from, to, flags; the ACK that comes at once; its blocks. None: it may come later. What
# Linux 6.1 answers, but where a line says otherwise.
EXCHANGES = {
    "a duplicate inside": [
        (200, 300, "A", 0, [(200, 300)]),
        (250, 280, "A", 0, [(250, 280), (200, 300)]),
        (0, 200, "A", 300, []),
    ],
    "the same with more behind": [
        (2000, 2100, "A", 0, [(2000, 2100)]),
        (1000, 1100, "A", 0, [(1000, 1100), (2000, 2100)]),
        (2000, 2500, "A", 0, [(2000, 2100), (2000, 2500), (1000, 1100)]),
        (3000, 3100, "A", 0, [(3000, 3100), (2000, 2500), (1000, 1100)]),
        (0, 1000, "A", 1100, [(3000, 3100), (2000, 2500)]),
        (1100, 2000, "A", 2500, [(3000, 3100)]),
    ],
    "the same with more in front": [
        (200, 300, "A", 0, [(200, 300)]),
        (150, 250, "A", 0, [(200, 250), (150, 300)]),
        (0, 150, "A", 300, []),
    ],
    "over several": [
        (200, 300, "A", 0, [(200, 300)]),
        (400, 500, "A", 0, [(400, 500), (200, 300)]),
        (600, 700, "A", 0, [(600, 700), (400, 500), (200, 300)]),
        (150, 750, "A", 0, [(200, 300), (150, 750)]),
        (0, 150, "A", 750, []),
    ],
    "between two": [
        (200, 300, "A", 0, [(200, 300)]),
        (400, 500, "A", 0, [(400, 500), (200, 300)]),
        (300, 400, "A", 0, [(200, 500)]),
        (0, 200, "A", 500, []),
    ],
    "one that touches, before and behind": [
        (200, 300, "A", 0, [(200, 300)]),
        (300, 400, "A", 0, [(200, 400)]),
        (100, 200, "A", 0, [(100, 400)]),
        (0, 100, "A", 400, []),
    ],
    "a fifth": [
        (200, 300, "A", 0, [(200, 300)]),
        (400, 500, "A", 0, [(400, 500), (200, 300)]),
        (600, 700, "A", 0, [(600, 700), (400, 500), (200, 300)]),
        (800, 900, "A", 0, [(800, 900), (600, 700), (400, 500), (200, 300)]),
        (1000, 1100, "A", 0, [(1000, 1100), (800, 900), (600, 700), (400, 500)]),
        (0, 200, "A", 300, [(1000, 1100), (800, 900), (600, 700), (400, 500)]),
    ],
    "the gap is filled": [
        (0, 1000, "A", None, []),
        (2000, 3000, "A", 1000, [(2000, 3000)]),
        (1000, 2000, "A", 3000, []),
    ],
    "the gap is covered": [
        (0, 1000, "A", None, []),
        (2000, 3000, "A", 1000, [(2000, 3000)]),
        (1000, 3000, "A", 3000, [(2000, 3000)]),
    ],
    "the gap is covered, and old data with it": [
        (0, 1000, "A", None, []),
        (1200, 1400, "A", 1000, [(1200, 1400)]),
        (500, 1500, "A", 1500, [(500, 1000)]),
    ],
    "one gap is filled, another stays": [
        (200, 300, "A", 0, [(200, 300)]),
        (400, 500, "A", 0, [(400, 500), (200, 300)]),
        (0, 200, "A", 300, [(400, 500)]),
        (300, 400, "A", 500, []),
    ],
    "part of a gap is filled": [
        (2000, 3000, "A", 0, [(2000, 3000)]),
        (0, 500, "A", 500, [(2000, 3000)]),
        (500, 2000, "A", 3000, []),
    ],
    "old data, in part, without a gap": [
        (0, 1000, "A", None, []),
        (500, 1500, "A", 1500, [(500, 1000)]),
    ],
    "old data": [
        (0, 1000, "A", None, []),
        (500, 1000, "A", 1000, [(500, 1000)]),
        (2000, 2100, "A", 1000, [(2000, 2100)]),
        (0, 1000, "A", 1000, [(0, 1000), (2000, 2100)]),
    ],
    "a FIN": [
        (100, 200, "FA", 0, [(100, 201)]),
        (0, 100, "A", 201, []),
    ],
    "a FIN alone, and what touches it": [
        (200, 200, "FA", 0, [(200, 201)]),
        (100, 200, "A", 0, [(100, 201)]),
        (0, 100, "A", 201, []),
    ],
    "a FIN twice": [
        (200, 300, "FA", 0, [(200, 301)]),
        (200, 300, "FA", 0, [(200, 301), (200, 301)]),
        (300, 300, "FA", 0, [(300, 301), (200, 301)]),
        (0, 200, "A", 301, []),
        (200, 300, "FA", 301, [(200, 301)]),
    ],
    "data behind the FIN": [
        (200, 300, "FA", 0, [(200, 301)]),
        (250, 450, "A", 0, [(250, 301), (200, 301)]),  # Linux holds it, and drops it at the FIN
        (0, 200, "A", 301, []),
    ],
}


@pytest.mark.parametrize("isn", [1000, WRAPS])
@pytest.mark.parametrize("times", [1, 20])
@pytest.mark.parametrize("title", EXCHANGES)
def test_an_exchange(title: str, times: int, isn: int) -> None:
    """With segments `times` as long, such as a NIC joins them."""

    def scaled(place: int) -> int:
        return place // 10 * 10 * times + place % 10  # one more: the FIN's number

    end = 0
    with connected(65535, isn=isn) as peer:
        peer.pass_time(0.2)  # past the time in which acknowledgements are sent early
        for left, right, flags, ack, blocks in EXCHANGES[title]:
            got = put(peer, scaled(left), scaled(right), flags)
            if ack is None:
                peer.pass_time(0.2)
                continue
            end = scaled(ack)
            assert got == [(end, [(scaled(a), scaled(b)) for a, b in blocks])]
        assert peer.received() == DATA[: end // 10 * 10]


@pytest.mark.parametrize("isn", [1000, WRAPS])
def test_no_answer_has_blocks_without_permission(isn: int) -> None:
    with connected(65535, options=MSS, isn=isn) as peer:
        put(peer, 0, 1000)
        peer.pass_time(0.2)
        assert put(peer, 1200, 1400) == [(1000, [])]
        assert put(peer, 500, 1200) == [(1400, [])]  # at once (RFC 5681 4.2)
        assert put(peer, 1600, 1800) == [(1400, [])]
        assert put(peer, 1400, 1900) == [(1900, [])]
        assert peer.received() == DATA[:1900]


def test_what_is_held_stays_however_long_the_peer_is_silent() -> None:
    with connected() as peer:
        put(peer, 1000, 2000)
        for _ in range(600):
            peer.pass_time(1.0)
        assert put(peer, 0, 1000) == [(2000, [])]


# --- the window's right edge -----------------------------------------------------------------


@pytest.mark.parametrize("accept", [True, False])
@pytest.mark.parametrize("fin", [True, False])
def test_what_is_past_the_window_is_cut_wherever_it_comes(accept: bool, fin: bool) -> None:
    with listening(2048) as (peer, listener):
        peer.handshake(MSS + SACK_PERMITTED)
        edge = peer.first_window
        if accept:
            peer.sock = listener.accept()[0]
        put(peer, edge - 1500, edge - 1200)
        size = 500 if fin else 900  # the data fits exactly, and the FIN does not; or neither
        last = put(peer, edge - 500, edge - 500 + size, "FA" if fin else "A")
        assert last == [(0, [(edge - 500, edge), (edge - 1500, edge - 1200)])]
        put(peer, 0, edge - 1500)
        assert put(peer, edge - 1200, edge - 400)[-1][0] == edge
        assert peer.send(edge, b"x")[0][:3] == ("A", edge, 0)  # the window is full
        assert peer.send(edge) == []  # and an acknowledgement is not answered even so
        if not accept:
            peer.sock = listener.accept()[0]
        peer.sock.setblocking(False)
        assert peer.received() == DATA[:edge]  # and the stream goes on


def test_a_lower_buffer_takes_back_nothing() -> None:
    with connected(65535, options=WIDE) as peer:
        peer.send(10_000, DATA[10_000:20_000])
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        assert put(peer, 0, 10_000) == [(20_000, [])]
        assert put(peer, 20_000, 30_000)[-1][0] == 30_000  # it was promised
        peer.pass_time(0.2)
        left = peer.send(60_000, DATA[60_000:60_100])[0]
        assert left.blocks == [(60_000, 60_100)]
        assert peer.sock.recv(20_000) == DATA[:20_000]
        # 10000 bytes wait in a buffer of 2048: the window does not grow by what was read.
        after = peer.send(60_000, DATA[60_000:60_100])[0]
        assert after.ack + after.window == left.ack + left.window
        put(peer, 30_000, 60_000)
        assert peer.received() == DATA[20_000:60_100]
        end = peer.send(70_000, b"x")[0]
        assert (end.ack, end.blocks) == (60_100, [(70_000, 70_001)])


# --- what it costs ----------------------------------------------------------------------------


@pytest.mark.parametrize("order", [slow("ascending"), slow("descending"), "random"])
def test_thirty_thousand_gaps_are_held_in_little_memory(order: str) -> None:
    count, batch = 30_000, 60
    with connected(options=WIDE) as peer:
        places = list(range(1, 2 * count, 2))
        if order == "descending":
            places.reverse()
        if order == "random":
            random.Random(1).shuffle(places)
        before = peer.stack.arena.used_bytes
        took = []
        for i in range(0, count, batch):
            for place in places[i : i + batch]:
                peer.end.send(peer.frame("A", peer.isn + 1 + place, DATA[place : place + 1]))
            begin = time.process_time()
            peer.stack.step()
            took.append(time.process_time() - begin)
            peer.answers()
        used = peer.stack.arena.used_bytes - before
        assert used < 1.3 * 2 * count  # of the window, gaps and all
        assert min(took[-100:]) < 10 * min(took[:100])  # a walk of all costs hundreds of times that
        put(peer, 0, 1)
        for place in range(2, 2 * count, 1000):
            put(peer, place, min(place + 1000, 2 * count))
        assert peer.received() == DATA[: 2 * count]
        assert peer.stack.arena.used_bytes <= before


def test_a_window_of_bytes_costs_little_more_than_its_bytes() -> None:
    """Each of its bytes comes alone, in order and out of it, and nobody reads."""
    size = 1 << 14
    with connected(size // 2, options=WIDE) as peer:
        before = peer.stack.arena.used_bytes
        for place in range(0, size, 64):
            # Of each 64 bytes the odd ones first, then the others: a gap filled by each.
            for i in [*range(place + 1, place + 64, 2), *range(place, place + 64, 2)]:
                peer.end.send(peer.frame("A", peer.isn + 1 + i, DATA[i : i + 1]))
            peer.answers()
        assert peer.stack.arena.used_bytes - before < 1.5 * size
        assert peer.received() == DATA[:size]


def test_a_few_new_bytes_do_not_keep_the_memory_of_many_old_ones() -> None:
    with connected(options=WIDE) as peer:
        size, step = 60_000, 600
        put(peer, 0, size)
        before = peer.stack.arena.used_bytes
        for end in range(size + step, 2 * size, step):
            put(peer, end - size, end)
        assert peer.stack.arena.used_bytes - before < 1.5 * size
        assert peer.received() == DATA[:end]


@pytest.mark.parametrize("upwards", [True, False])
def test_a_run_of_a_whole_window_is_one_block(upwards: bool) -> None:
    with connected(options=WIDE, isn=WRAPS) as peer:
        size, begin = 910_000, 10_000
        pieces = list(pairwise(range(begin, size + 1, 30_000)))
        for left, right in pieces if upwards else reversed(pieces):
            whole = (begin, right) if upwards else (left, size)
            assert put(peer, left, right)[-1] == (0, [whole])
        assert put(peer, 0, 5_000)[-1] == (5_000, [(begin, size)])
        assert put(peer, 5_000, begin)[-1] == (size, [])
        assert peer.received() == DATA[:size]


# --- memory runs out ---------------------------------------------------------------------------


@pytest.mark.parametrize("after", range(12))
def test_without_memory_a_segment_is_dropped_and_nothing_more(after: int) -> None:
    with connected(65535) as peer:
        before = peer.stack.arena.used_bytes
        rng = random.Random(after)
        step, size = 700, 21_000
        for _ in range(3):
            places = list(range(0, size, step))
            rng.shuffle(places)
            for place in places:
                peer.stack.arena.fail_allocations(after=after, count=rng.randrange(4))
                put(peer, place, place + step + rng.randrange(200))
        peer.stack.arena.fail_allocations(after=0, count=0)
        for place in range(0, size, step):
            put(peer, place, place + step)
        got = peer.received()
        assert got[:size] == DATA[:size]
        assert got == DATA[: len(got)]
        peer.pass_time(0.2)
        assert peer.stack.arena.used_bytes <= before
