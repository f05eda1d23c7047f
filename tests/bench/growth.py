"""What a frame costs a Stack that others have filled: it must not grow with how much there is.

``.venv/bin/python tests/bench/growth.py [--plot growth.svg] [--part TEXT]``. In memory and in
virtual time; what is counted is processor time of `Stack.step` alone. It ends with 1 where the last
tenth of the frames costs more than twice what the first did.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import pystack
from pystack.bench import hostile
from pystack.bench.hostile import ACK, FLOODS, FLOWING, LISTENING, PSH, SYN, VICTIM, segment
from pystack.hypercalls import ManualClock

HALF_OPEN, GAPS, FRAGMENTS, PEERS = 100_000, 30_000, 20_000, 10_000
BATCH = 50  # frames in a step, whose time is one sample
SCALED = b"\x02\x04\x05\xb4\x01\x03\x03\x07\x04\x02\x01\x01"  # MSS, window scale, SACK
TWICE = 2.0


class Victim:
    """A Stack that does nothing by itself, and the far end of its wire."""

    def __init__(self) -> None:
        self.clock = ManualClock(1000.0)
        ours, self.wire = pystack.nic.wire(queue_frames=4 * BATCH)
        self.net = pystack.Stack(threaded=False, clock=self.clock, seed=1)
        addresses = (f"{VICTIM}/{hostile.PREFIX}", f"{hostile.VICTIM6}/{hostile.PREFIX6}")
        self.net.attach(ours, *addresses, gateway=hostile.ASKER, mac=hostile.VICTIM_MAC)
        self.net.neighbours.add(hostile.ASKER, hostile.ASKER_MAC)
        self.run(3.0)

    def run(self, seconds: float) -> None:
        """Lets time pass."""
        for _ in range(int(seconds / 0.1)):
            self.clock.advance(0.1)
            self.net.step()
        self.sent()

    def sent(self) -> list[bytes]:
        """What the Stack has sent since."""
        frames = []
        while (frame := self.wire.receive(0)) is not None:
            frames.append(bytes(frame))
        return frames

    def take(self, frames: list[bytes]) -> float:
        """Gives it frames; the processor time that they cost, in seconds."""
        for frame in frames:
            self.wire.send(frame)
        began = time.process_time()
        self.net.step()
        return time.process_time() - began

    def listen(self, backlog: int, port: int = LISTENING) -> Any:
        """A listening socket that does not block."""
        listener = self.net.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setblocking(False)
        listener.bind((VICTIM, port))
        listener.listen(backlog)
        return listener


def sequence_of(frame: bytes) -> int:
    """The sequence number of a TCP segment over IPv4."""
    found: int = struct.unpack_from(">I", frame, 14 + 20 + 4)[0]
    return found


def batches(count: int) -> Iterator[range]:
    """The numbers of the frames, a batch at a time."""
    for begin in range(0, count, BATCH):
        yield range(begin, min(begin + BATCH, count))


Samples = list[float]  # microseconds a frame, of each batch


def half_open(victim: Victim) -> Samples:
    """SYNs of strangers who say no more, to two listeners: a backlog ends at 65,535."""
    ports = (LISTENING, FLOWING)
    for limit in ("net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog"):
        victim.net.sysctl[limit] = HALF_OPEN // len(ports)
    listeners = [victim.listen(HALF_OPEN // len(ports), port) for port in ports]
    found = []
    for batch in batches(HALF_OPEN):
        frames = [segment(ports[i % 2], i, SYN, i, options=SCALED) for i in batch]
        found.append(victim.take(frames) / len(batch) * 1e6)
        victim.sent()
    for one in listeners:
        one.close()
    return found


def gaps(victim: Victim) -> Samples:
    """Every other byte of one connection's window."""
    listener = victim.listen(1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    victim.take([segment(LISTENING, 0, SYN, 0, options=SCALED)])
    acknowledged = sequence_of(victim.sent()[0]) + 1
    victim.take([segment(LISTENING, 0, ACK, 1, acknowledged)])
    connection, _peer = listener.accept()
    found = []
    for batch in batches(GAPS):
        frames = [
            segment(LISTENING, 0, ACK | PSH, 2 + 2 * i, acknowledged, data=b"z") for i in batch
        ]
        found.append(victim.take(frames) / len(batch) * 1e6)
        victim.sent()
    connection.close()
    return found


def fragments(victim: Victim, name: str) -> Samples:
    """The first parts of as many datagrams."""
    (flood,) = [one for one in FLOODS if one.name == name]
    return [
        victim.take([flood.frame(i) for i in batch]) / len(batch) * 1e6
        for batch in batches(FRAGMENTS)
    ]


def zero_windows(victim: Victim) -> Samples:
    """Peers who connect, are sent something, and never have room for it."""
    listener = victim.listen(2 * BATCH)
    kept, found = [], []
    for batch in batches(PEERS):
        spent = victim.take([segment(LISTENING, i, SYN, 0, window=0) for i in batch])
        answers = [sequence_of(frame) + 1 for frame in victim.sent()]
        spent += victim.take(
            [
                segment(LISTENING, i, ACK, 1, answer, window=0)
                for i, answer in zip(batch, answers, strict=True)
            ]
        )
        for _ in batch:
            connection, _peer = listener.accept()
            connection.setblocking(False)
            connection.send(bytes(1000))
            kept.append(connection)
        # Each answers once more, with no room still, while its probes' timer runs.
        spent += victim.take(
            [
                segment(LISTENING, i, ACK, 1, answer, window=0)
                for i, answer in zip(batch, answers, strict=True)
            ]
        )
        victim.sent()
        found.append(spent / (3 * len(batch)) * 1e6)
    return found


@dataclass(frozen=True)
class Part:
    """What is there more and more of.

    Attributes:
        title: What.
        count: How many in the end.
        measure: Gives the samples.
    """

    title: str
    count: int
    measure: Callable[[Victim], Samples]


PARTS = (
    Part("half-open handshakes", HALF_OPEN, half_open),
    Part("gaps in one connection", GAPS, gaps),
    Part("fragments, v4", FRAGMENTS, lambda victim: fragments(victim, "fragments, v4")),
    Part("fragments, v6", FRAGMENTS, lambda victim: fragments(victim, "fragments, v6")),
    Part("tiny fragments, v6", FRAGMENTS, lambda victim: fragments(victim, "tiny fragments, v6")),
    Part("zero-window peers", PEERS, zero_windows),
)


@dataclass(frozen=True)
class Grown:
    """What was found.

    Attributes:
        part: Of what.
        samples: Microseconds a frame, of each batch.
        memory_bytes: What the arena held more, at most.
    """

    part: Part
    samples: Samples
    memory_bytes: int

    def tenth(self, last: bool) -> float:
        """The median of the first tenth of the samples, or of the last."""
        size = max(1, len(self.samples) // 10)
        return statistics.median(self.samples[-size:] if last else self.samples[:size])


def grow(part: Part) -> Grown:
    """Fills a Stack."""
    victim = Victim()
    try:
        before = victim.net.arena.used_bytes
        samples = part.measure(victim)
        return Grown(part, samples, victim.net.arena.peak_bytes - before)
    finally:
        victim.net.close(abrupt=True)


def plot(found: list[Grown], path: Path) -> None:
    """Draws the cost of a frame by how much there is, a panel for each part."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    columns = min(3, len(found))
    rows = -(-len(found) // columns)
    figure, panels = pyplot.subplots(
        rows, columns, figsize=(4 * columns, 2.6 * rows), squeeze=False
    )
    for number, panel in enumerate(panels.flat):
        if number >= len(found):
            panel.axis("off")
            continue
        one = found[number]
        width = max(1, len(one.samples) // 50)
        middle = [
            statistics.median(one.samples[i : i + width]) for i in range(0, len(one.samples), width)
        ]
        panel.plot([(i + 0.5) * width * BATCH for i in range(len(middle))], middle)
        panel.set_title(f"{one.part.title}: {one.memory_bytes / 1e6:.1f} MB", fontsize=9)
        panel.set_xlim(0, one.part.count)
        panel.set_ylim(0, 2 * max(middle))
        panel.set_ylabel("µs a frame", fontsize=8)
        panel.tick_params(labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--plot", type=Path, metavar="FILE", help="where to draw it: SVG, PNG")
    parser.add_argument("--part", default="", help="only those whose title has it")
    arguments = parser.parse_args()
    table = Table(title="processor time of a frame, µs: medians of the first and the last tenth")
    for heading in ("how many of what", "first", "last", "ratio", "memory, MB", "bytes each"):
        table.add_column(heading, justify="left" if not table.columns else "right")
    found = [grow(one) for one in PARTS if arguments.part in one.title]
    for one in found:
        first, last = one.tenth(False), one.tenth(True)
        table.add_row(
            f"{one.part.count:,} {one.part.title}", f"{first:.2f}", f"{last:.2f}",
            f"{last / first:.2f}", f"{one.memory_bytes / 1e6:.1f}",
            f"{one.memory_bytes / one.part.count:,.0f}",
        )  # fmt: skip
    Console(width=120).print(table)
    if arguments.plot is not None and found:
        plot(found, arguments.plot)
    sys.exit(any(one.tenth(True) > TWICE * one.tenth(False) for one in found))


if __name__ == "__main__":
    main()
