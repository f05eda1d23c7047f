"""The Stack under attack, its wire and its clock, and what has to hold at every moment."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container
from typing import Any

import pystack
from adversary import known, wire
from adversary.flow import Flow
from adversary.violation import Violation
from adversary.virtio import Virtio
from pystack.hypercalls import ManualClock

MEMORY_BYTES = 64 << 20
# Answers to one frame of the peer's that are no data sent for the first time: retransmissions
# among them, which one acknowledgement may call for several of.
ANSWERS_MOST = 24
# A step costs more than this many times the median and this much in all: it is looked at again.
SLOW_TIMES, SLOW_NS = 200, 25_000_000 if "PYSTACK_SANITIZED" in os.environ else 5_000_000
_BUCKETS = 64


class World:
    """A Stack with both families on one Ethernet, and what the peer knows of it.

    Attributes:
        net: The Stack.
        mtu: Of the wire; frames that are longer break a promise.
        flows: TCP conversations by their key, the eldest first.
        sent_frames: By the peer.
        answers: What the Stack has sent since the last action began, that is no new data.
        stash: Frames that the peer keeps back, to be sent late.
        slow: Steps that took longer than the bound, by their number: nanoseconds.
        trace: Is told each frame, for a reader.
        tolerated: Invariants that the engine is known to break.
        virtio: The far end of a NIC with virtio's header; None: frames come as they are.
        baseline_bytes: What the Stack uses with nothing to do.
    """

    def __init__(
        self,
        engine: str,
        seed: int,
        trace: Callable[[str, bytes], None] | None = None,
        tolerated: Container[str] = (),
        virtio: bool = False,
    ) -> None:
        self.engine = engine
        self.tolerated = tolerated
        self.clock = ManualClock(1000.0)
        self.net = pystack.Stack(
            engine=engine,
            threaded=False,
            clock=self.clock,
            seed=seed,
            memory_limit=MEMORY_BYTES,
            log=_Quiet(),
        )
        self.mtu = 1500
        self.trace = trace
        self.flows: dict[tuple[int, int, int], Flow] = {}
        self.next_port = 1024
        self.sent_frames = self.got_frames = 0
        self.answers = 0
        self.allowed = 0
        self.slow: dict[int, int] = {}
        self._counted: dict[str, int] = {}
        self.stash: list[bytes] = []
        self.heard: dict[str, Any] = {}  # by the peer's services: the last question of each kind
        self.silent = False
        self.meet: Callable[[Flow, tuple[int, int, int]], None] = lambda _flow, _key: None
        self.hear: Callable[[bytes], None] = lambda _frame: None
        self._out: list[bytes] = []
        self._costs = [0] * _BUCKETS
        self._steps = 0
        self._deliver: Callable[[bytes], None] = lambda _frame: None
        self.virtio = Virtio() if virtio else None
        self.eth = self.net.attach(
            self if self.virtio is None else self.virtio.nic,
            f"{wire.OURS}/24",
            f"{wire.OURS6}/64",
            mac=wire.MAC,
            gateway=wire.PEER,
        )
        self.settle()
        self.advance(3.0)
        self.baseline_bytes = self.net.arena.used_bytes

    # --- the NIC's protocol ----------------------------------------------------------------

    def bind(self, deliver: Callable[[bytes], None]) -> None:
        """See `pystack.nic.NicProtocol`."""
        self._deliver = deliver

    def transmit(self, frame: bytes) -> None:
        """See `pystack.nic.NicProtocol`."""
        self._out.append(frame)

    # --- the wire --------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        """Virtual time."""
        return self.clock.now_us() // 1000

    def send(self, frame: bytes, answers: int = ANSWERS_MOST) -> None:
        """Puts a frame of the peer's on the wire.

        Args:
            frame: It.
            answers: How many it may call for.
        """
        if self.trace is not None:
            self.trace(">", frame)
        self.sent_frames += 1
        self.allowed += answers
        if self.virtio is None:
            self._deliver(frame)
        elif not self.virtio.send(frame):
            self.net.step()  # takes what waits
            self.virtio.send(frame)

    def step(self) -> None:
        """Lets the Stack do what is to be done at once, and looks at the time that takes."""
        begin = time.process_time_ns()
        self.net.step()
        cost = time.process_time_ns() - begin
        if not self.allowed:
            return  # no frame of the peer's: it is time that has passed, or the program's doing
        self._costs[cost.bit_length()] += 1
        self._steps += 1
        if cost > SLOW_NS and cost > SLOW_TIMES * self.median_ns():
            self.slow[self._steps] = cost

    def median_ns(self) -> int:
        """Of all steps, as a power of two."""
        half, seen = self._steps // 2, 0
        for bits, count in enumerate(self._costs):
            seen += count
            if seen > half:
                return 1 << bits
        return 1

    def settle(self) -> None:
        """Lets the Stack take in what was sent, and the peer what the Stack sends.

        Raises:
            Violation: A frame breaks a promise, or there are too many of them.
        """
        for _ in range(8):
            self.step()
            out = self._out
            if self.virtio is not None:
                out = self.virtio.receive()
            if not out:
                return
            self._out = []
            for frame in out:
                self._look(frame)
        self._out.clear()

    def _look(self, frame: bytes) -> None:
        self.got_frames += 1
        if self.trace is not None:
            self.trace("<", frame)
        if len(frame) > self.mtu + 14 and self.virtio is None:
            self.blame("frame longer than the MTU", f"{len(frame)} bytes")
        kind = frame[12:14]
        self.answers += 1
        if kind == b"\x08\x00":
            if frame[23] == wire.TCP and not frame[20] & 0x3F and not frame[21]:
                header = 14 + (frame[14] & 15) * 4
                end = 14 + int.from_bytes(frame[16:18], "big")
                return self._segment(frame[26:30], frame[30:34], frame[header:end])
        elif kind == b"\x86\xdd" and frame[20] == wire.TCP:
            end = 54 + int.from_bytes(frame[18:20], "big")
            return self._segment(frame[22:38], frame[38:54], frame[54:end])
        if not self.silent:
            self.hear(frame)
        return None

    def _segment(self, source: bytes, to: bytes, message: bytes) -> None:
        segment = wire.Segment(source, to, message)
        flow = self.flows.get(segment.key)
        if flow is None:
            if not segment.flags & wire.SYN or segment.flags & wire.ACK:
                return
            flow = Flow((to, source), *segment.ports, 7 * self.sent_frames)
            self.add(flow)
        if flow.program is None:
            self.meet(flow, segment.key)
        before = flow.their_end
        flow.receive(segment)
        if flow.their_end > before:
            self.answers -= 1  # it is the program that these are owed to

    def add(self, flow: Flow) -> None:
        """Makes a conversation known; it may take the place of one with the same ports."""
        flow.tolerated = self.tolerated
        flow.counted = self.counted
        if flow.key in self.flows:
            flow.judged = False
            del self.flows[flow.key]
        self.flows[flow.key] = flow
        if len(self.flows) > 400:
            del self.flows[next(iter(self.flows))]

    def port(self) -> int:
        """A port of the peer's that it has not used for long."""
        self.next_port = 1024 + (self.next_port - 1023) % 60000
        return self.next_port

    def advance(self, seconds: float) -> None:
        """Lets time pass in one go, as after a pause of the process."""
        self.clock.advance(seconds)
        self.settle()
        self.answers = 0

    def pass_time(self, seconds: float, steps: int = 200) -> None:
        """Lets time pass from timer to timer, but in at most so many steps."""
        end = self.clock.now_us() + int(seconds * 1e6)
        for _ in range(steps):
            wait = self.net.step()
            left = (end - self.clock.now_us()) / 1e6
            if left <= 0:
                break
            self.clock.advance(left if wait is None else min(max(wait, seconds / steps), left))
            self.settle()
        self.answers = 0

    def judge(self) -> None:
        """Looks whether the action that ends here was answered with measure.

        Raises:
            Violation: It was not.
        """
        answers, allowed = self.answers, self.allowed
        self.answers = self.allowed = 0
        if answers > allowed + ANSWERS_MOST:
            self.blame("too many answers", f"{answers} frames, {allowed} expected at most")

    def counted(self, invariant: str) -> bool:
        """Whether the Stack has counted one more break of an invariant than was seen."""
        names = known.counted(self.engine).get(invariant, ())
        seen = self._counted.get(invariant, 0) + 1
        counters = self.net.counters() if names else {}
        if sum(counters[name] for name in names) < seen:
            return False
        self._counted[invariant] = seen
        return True

    def blame(self, invariant: str, text: str) -> None:
        """Says that an invariant does not hold, unless the engine is known for it.

        Raises:
            Violation: That.
        """
        if invariant not in self.tolerated:
            raise Violation(invariant, text)

    def close(self) -> None:
        """The end."""
        self.net.close(abrupt=True)
        if self.virtio is not None:
            self.virtio.close()


class _Quiet:
    def log(self, level: int, text: str) -> None:
        """Nothing: what the engine says of a peer's doings is not judged."""
