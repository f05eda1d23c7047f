"""Random segments into a Stack and into a model of RFC 9293, 2018 and 2883, byte for byte."""

from __future__ import annotations

import os
import random
import socket
from dataclasses import dataclass, field

import pytest
from offload import pattern
from segments import MSS, SACK_PERMITTED, SCALE, Answer, connected

pytestmark = pytest.mark.sanitize

ROUNDS = int(os.environ.get("PYSTACK_REASSEMBLY_ROUNDS", "1"))  # more of them, by hand
MOST_BLOCKS = 4
Block = tuple[int, int]


@dataclass
class Model:
    """A receiver, one byte at a time. The FIN is the byte at the stream's end."""

    end: int
    buffer: int  # SO_RCVBUF as it counts
    edge: int  # the right edge of the window, as the farthest that was announced
    next: int = 0
    read: int = 0  # bytes that the program has
    blocks: list[Block] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.there = bytearray(self.end + 2)  # the last one is never there

    @property
    def limit(self) -> int:
        """The first number that is not taken."""
        room = max(self.buffer - (min(self.next, self.end) - self.read), 0)
        return max(self.next + room, self.edge)

    def run(self, at: int) -> Block:
        """What is held around a number."""
        left = self.there.rfind(0, self.next, at) + 1
        return max(left, self.next), self.there.find(0, at)

    def twice(self, left: int, right: int) -> list[Block]:
        """The first run of what is known of a segment."""
        if left < self.next:
            return [(left, min(right, self.next))]
        first = self.there.find(1, left, right)
        if first < 0:
            return []
        last = self.there.find(0, first, right)
        return [(first, right if last < 0 else last)]

    def segment(self, left: int, right: int) -> tuple[bool, list[Block]] | None:
        """Takes numbers. Returns whether it is answered at once, and the blocks of that answer.

        None: it is ignored.
        """
        if self.next > self.end:  # the FIN was taken: the stream is whole
            if right <= self.next:
                return True, [(left, right)]
            return None
        if left >= self.limit:
            return True, self.blocks[:]
        if right <= self.next:
            return True, [(left, right), *self.blocks][:MOST_BLOCKS]
        cut = min(right, self.limit)
        again = self.twice(left, cut)
        if left > self.next:
            self.there[left:cut] = b"\1" * (cut - left)
            first, last = self.run(left)
            others = [one for one in self.blocks if one[1] < first or one[0] > last]
            self.blocks = [(first, last), *others][:MOST_BLOCKS]
            return True, [*again, *self.blocks][:MOST_BLOCKS]
        if cut == self.next:
            return True, [*again, *self.blocks][:MOST_BLOCKS]
        filled = any(self.there[self.next :])
        self.there[self.next : cut] = b"\1" * (cut - self.next)
        self.next = self.there.find(0, self.next)
        self.blocks = [one for one in self.blocks if one[0] > self.next]
        told = [*again, *self.blocks][:MOST_BLOCKS]
        return filled or bool(told) or self.next > self.end, told


def play(seed: int, *, size: int, longest: int, buffer: int | None, isn: int) -> None:
    """One connection. A window that is scaled is larger than all of the stream."""
    rng = random.Random(seed)
    scaled = buffer is None
    data = pattern(size)
    options = MSS + SACK_PERMITTED + (SCALE if scaled else b"")
    got = bytearray()
    with connected(buffer, options=options, isn=isn) as peer:
        set_to = peer.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        model = Model(size, set_to, 0)
        peer.sock.setblocking(False)

        def look(answers: list[Answer], blocks: list[Block]) -> None:
            for one in answers:
                assert (one.ack, one.blocks) == (model.next, blocks), f"seed {seed}"
                edge = one.ack + one.window
                # Nothing is taken back, but what a scaled window is rounded by.
                assert one.ack > size or edge > model.edge - (1 << peer.shift), f"seed {seed}"
                model.edge = max(model.edge, edge)

        model.edge = peer.first_window
        idle = 0
        while len(got) < size or model.next <= size:
            action = rng.random()
            if action < 0.05 or (idle := idle + 1) > 200:
                idle = 0
                piece = b""
                try:
                    piece = peer.sock.recv(rng.choice([1, 100, 1 << 20]))
                except BlockingIOError:
                    assert len(got) == min(model.next, size)
                got += piece
                assert got == data[: len(got)], f"seed {seed}"
                model.read = len(got)
                look(peer.answers(), model.blocks)
            elif action < 0.06:
                look(peer.pass_time(0.2), model.blocks)
            elif action < 0.065 and not scaled:
                peer.sock.setsockopt(
                    socket.SOL_SOCKET, socket.SO_RCVBUF, rng.randrange(1024, buffer // 2)
                )
                model.buffer = peer.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
                look(peer.answers(), model.blocks)
            else:
                span = rng.choice([50, 3 * longest, 65_000])
                left = rng.choice([model.next, model.next + rng.randrange(-span, span)])
                if rng.random() < 0.3 and model.blocks:  # at an end of what is held
                    left = rng.choice(rng.choice(model.blocks)) + rng.randrange(-2, 3)
                left = min(max(left, 0), size)
                length = rng.choice([1, rng.randrange(1, 40), rng.randrange(1, longest)])
                right = min(left + length, size)
                fin = right == size and (left == right or rng.random() < 0.5)
                before = model.segment(left, right + fin)
                answers = peer.send(left, data[left:right], "FA" if fin else "A")
                if before is None:
                    assert not answers
                    continue
                at_once, blocks = before
                assert len(answers) == 1 if at_once else len(answers) <= 1, f"seed {seed}"
                look(answers, blocks)
        assert peer.sock.recv(1) == b""


@pytest.mark.parametrize("isn", [1000, (1 << 32) - 20_000])
@pytest.mark.parametrize("seed", range(4 * ROUNDS))
def test_short_segments_and_small_windows(seed: int, isn: int) -> None:
    play(seed, size=60_000, longest=1460, buffer=3000, isn=isn)


@pytest.mark.parametrize("isn", [1000, (1 << 32) - 100_000])
@pytest.mark.parametrize("seed", range(2 * ROUNDS))
def test_long_segments(seed: int, isn: int) -> None:
    play(seed, size=500_000, longest=60_000, buffer=32_000, isn=isn)


@pytest.mark.parametrize("seed", range(2 * ROUNDS))
def test_a_scaled_window(seed: int) -> None:
    play(seed, size=900_000, longest=60_000, buffer=None, isn=(1 << 32) - 300_000)
