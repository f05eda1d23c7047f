"""One TCP conversation as the peer sees it: what it may say next, and what the Stack has promised.

Positions count a stream's bytes from 0, the first behind the SYN.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Container
from typing import Any

from adversary import pattern
from adversary.violation import Violation
from adversary.wire import ACK, FIN, RST, SYN, TCP, Segment, packet, tcp

_TWO = struct.Struct("!II")
_TIMESTAMP = struct.Struct("!BBBBII")

Interval = tuple[int, int]


def signed(number: int) -> int:
    """A difference of sequence numbers as a distance."""
    number &= 0xFFFFFFFF
    return number - (1 << 32) if number & 0x80000000 else number


def add(intervals: list[Interval], begin: int, end: int) -> None:
    """Adds one to disjoint, sorted intervals."""
    kept = []
    for left, right in intervals:
        if right < begin or left > end:
            kept.append((left, right))
        else:
            begin, end = min(left, begin), max(right, end)
    kept.append((begin, end))
    kept.sort()
    intervals[:] = kept


class Flow:
    """A conversation from the peer's side.

    Attributes:
        key: Bytes of an address, the Stack's port, the peer's port.
        next: The position that the peer sends next when it behaves.
        sent_end: Behind the last position that it ever sent.
        fins: Positions at which it ever sent a FIN.
        una: What the Stack has acknowledged; -1: not even the SYN.
        sacked: What it has acknowledged selectively.
        taken: What the peer has of the Stack's stream without a gap.
        held: All that it has of it.
        their_end: Behind the last position that the Stack sent.
        their_fin: Where the Stack's FIN stands.
        window: What the peer says of its window, unscaled.
        edge: The right edge of the window that it ever gave.
        judged: Whether invariants hold; not once its ports were used again.
        tolerated: Invariants that the engine is known to break.
        counted: Whether it has counted that it breaks one.
        program: The program's end; None: not yet accepted, or not known.
    """

    def __init__(
        self,
        addresses: tuple[bytes, bytes],
        stack_port: int,
        peer_port: int,
        iss: int,
    ) -> None:
        self.addresses = addresses
        self.ports = (peer_port, stack_port)
        self.key = (len(addresses[0]), stack_port, peer_port)
        self.salt_in, self.salt_out = salts(self.key)
        self.iss = iss & 0xFFFFFFFF
        self.irs: int | None = None
        self.next = self.sent_end = 0
        self.fins: set[int] = set()
        self.una = -1
        self.sacked: list[Interval] = []
        self.taken = self.acked = 0
        self.held: list[Interval] = []
        self.their_end = 0
        self.their_fin: int | None = None
        self.window, self.shift, self.edge = 65535, 0, 65535
        self.their_window, self.their_shift, self.their_scaling = 0, 0, False
        self.timestamps = self.their_timestamps = False
        self.their_sack = False
        self.their_time = 0
        self.their_mss = 536
        self.time_base = 1
        self.options = b""  # of the peer's SYN
        self.open = self.dead = False
        self.answer_due = False
        self.judged = True
        self.lose_every = 0
        self.arrived = 0
        self.program: Any = None
        self.tolerated: Container[str] = ()
        self.counted: Callable[[str], bool] = lambda _invariant: False

    # --- what the peer says ----------------------------------------------------------------

    def segment(
        self,
        flags: int,
        position: int,
        size: int = 0,
        *,
        now_ms: int = 0,
        ack: int | None = None,
        window: int | None = None,
        extra: bytes = b"",
        urgent: int = 0,
        timestamp: tuple[int, int] | None = None,
        without_timestamp: bool = False,
    ) -> bytes:
        """A frame with `size` bytes of the stream from `position` on.

        Args:
            flags: TCP's.
            position: Of the first byte; -1 for a SYN.
            size: Bytes of data.
            now_ms: For the timestamp.
            ack: A position of the Stack's stream; None: what the peer has.
            window: Unscaled; None: what it said last.
            extra: Options beside the timestamp.
            urgent: The urgent pointer.
            timestamp: TSval and TSecr; None: the right ones.
            without_timestamp: Leave it out even where it was agreed on.
        """
        if ack is None:
            ack = self.taken
        if window is None:
            window = self.window
        if flags & ACK:
            self.acked = max(self.acked, ack)
            shift = 0 if flags & SYN else self.shift
            self.edge = max(self.edge, ack + (window << shift))
        if flags & SYN:
            options = self.options
        elif self.timestamps and not without_timestamp:
            value, echo = timestamp or (self.time_base + now_ms, self.their_time)
            options = _TIMESTAMP.pack(1, 1, 8, 10, value & 0xFFFFFFFF, echo & 0xFFFFFFFF) + extra
        else:
            options = extra
        if size:
            self.sent_end = max(self.sent_end, position + size)
        if flags & FIN:
            self.fins.add(position + size + bool(flags & SYN))
        message = tcp(
            self.addresses,
            self.ports,
            self.iss + 1 + position,
            (self.irs or 0) + 1 + ack if flags & ACK else 0,
            flags,
            window,
            options[:40],
            pattern.piece(self.salt_in, position, size) if size else b"",
            urgent,
        )
        return packet(TCP, message, self.addresses)

    def blocks(self, most: int = 3) -> bytes:
        """The honest SACK option for what is held beyond a gap."""
        beyond = [one for one in self.held if one[0] > self.taken][:most]
        return self.sack(beyond) if beyond else b""

    def sack(self, intervals: list[Interval]) -> bytes:
        """A SACK option about positions of the Stack's stream."""
        base = (self.irs or 0) + 1
        return bytes((1, 1, 5, 2 + 8 * len(intervals))) + b"".join(
            _TWO.pack((base + left) & 0xFFFFFFFF, (base + right) & 0xFFFFFFFF)
            for left, right in intervals
        )

    def room(self) -> int:
        """Bytes that the Stack's window still takes."""
        return self.una + self.their_window - self.next

    # --- what the Stack says ---------------------------------------------------------------

    def receive(self, segment: Segment) -> None:
        """Takes in a segment of the Stack's, and holds it to its promises.

        Raises:
            Violation: It broke one.
        """
        flags = segment.flags
        self.answer_due = True
        if flags & RST:
            self.dead = True
            return
        if flags & SYN:
            self._synchronize(segment)
        if self.irs is None:
            return
        stamp = segment.option(8) if self.their_timestamps else None
        if stamp is not None and len(stamp) == 8:
            self.their_time = int.from_bytes(stamp[:4], "big")
        if flags & ACK and not flags & SYN and self.judged:
            self._acknowledged(segment)
        if flags & ACK:
            self.their_window = segment.window << (0 if flags & SYN else self.their_shift)
        if (segment.data or flags & FIN) and self.judged:
            self._data(segment)

    def _synchronize(self, segment: Segment) -> None:
        if self.irs is not None and self.irs != segment.seq:
            # The half-open one was given up, and this is another one.
            if self.taken or self.una > 0:
                self.judged = False
            self.their_end = 0
        self.irs = segment.seq
        mss = segment.option(2)
        if mss is not None:
            self.their_mss = int.from_bytes(mss, "big")
        scale = segment.option(3)
        self.their_scaling = scale is not None
        self.their_shift = min(scale[0], 14) if scale else 0
        self.their_timestamps = segment.option(8) is not None
        self.their_sack = segment.option(4) is not None
        if segment.flags & ACK:
            self._agree()

    def _agree(self) -> None:
        """Both have said what they can do."""
        ours = options_of(self.options)
        self.timestamps = self.their_timestamps and 8 in ours
        scales = 3 in ours and self.their_scaling
        self.shift = min(ours[3], 14) if scales else 0
        if not scales:
            self.their_shift = 0

    def answered(self) -> None:
        """The peer has sent its own SYN and ACK."""
        self._agree()

    def _fail(self, invariant: str, text: str) -> None:
        if invariant not in self.tolerated and not self.counted(invariant):
            raise Violation(invariant, f"{self!r}: {text}")
        self.judged = False

    def _acknowledged(self, segment: Segment) -> None:
        ack = signed(segment.ack - self.iss - 1)
        limit = max(self.sent_end, max(self.fins, default=-1) + 1)
        if ack > limit:
            self._fail("acknowledged what was never sent", f"{ack} of {limit}")
        if ack < self.una:
            self._fail("acknowledgement taken back", f"{ack} after {self.una}")
        self.una = ack
        option = segment.option(5)
        if option is not None:
            for at in range(0, len(option) - 7, 8):
                left, right = _TWO.unpack_from(option, at)
                begin, end = signed(left - self.iss - 1), signed(right - self.iss - 1)
                if end <= begin or end > limit:
                    self._fail("SACK of what was never sent", f"{begin}..{end} of {limit}")
                if end <= ack:
                    continue  # D-SACK
                if begin < ack:
                    self._fail("SACK block around the acknowledgement", f"{begin}..{end}, {ack}")
                add(self.sacked, begin, end)
        if self.sacked:
            for begin, end in self.sacked:
                # What lay behind a FIN went with it.
                if begin <= ack < end and min(self.fins, default=end) >= end:
                    self._fail("SACK taken back", f"{begin}..{end}, acknowledged {ack}")
            self.sacked = [one for one in self.sacked if one[1] > ack]

    def _data(self, segment: Segment) -> None:
        assert self.irs is not None
        begin = signed(segment.seq - self.irs - 1) + bool(segment.flags & SYN)
        data = segment.data
        end = begin + len(data)
        if data and not pattern.same(self.salt_out, begin, data):
            self._fail("sent what was not written", f"{begin}..{end}")
        program = self.program
        if program is not None and end > program.written:
            self._fail("sent more than was written", f"{end} of {program.written}")
        if end > self.edge + 1:
            self._fail("sent beyond the window", f"{end}, edge {self.edge}")
        if self.their_fin is not None and end > self.their_fin:
            self._fail("data behind FIN", f"{end}, FIN at {self.their_fin}")
        if segment.flags & FIN:
            if self.their_fin not in (None, end) or end < self.their_end:
                self._fail("FIN moved", f"{end}, before {self.their_fin}, data to {self.their_end}")
            if program is not None and end != program.written:
                self._fail("FIN before all was sent", f"{end} of {program.written}")
            self.their_fin = end
        self.their_end = max(self.their_end, end)
        self.arrived += 1
        if self.lose_every and self.arrived % self.lose_every == 0:
            return
        if begin <= self.taken and not self.held:
            self.taken = max(self.taken, end)
        elif data:
            add(self.held, begin, end)
            while self.held and self.held[0][0] <= self.taken:
                self.taken = max(self.taken, self.held.pop(0)[1])
        if self.taken == self.their_fin:
            self.taken += 1  # the FIN's own number

    def __repr__(self) -> str:
        return f"<{'v6' if self.key[0] == 16 else 'v4'} {self.ports[1]}<{self.ports[0]}>"


def salts(key: tuple[int, int, int]) -> Interval:
    """Of the stream to the Stack, and of the one from it."""
    base = key[0] + 31 * key[1] + 1009 * key[2]
    return 2 * base, 2 * base + 1


def options_of(options: bytes) -> dict[int, int]:
    """Kind and value of each option that is well-formed; what follows one that is not is lost."""
    found, at = {}, 0
    while at < len(options) and options[at] != 0:
        if options[at] == 1:
            at += 1
            continue
        size = options[at + 1] if at + 1 < len(options) else 0
        if size < 2 or at + size > len(options):
            break
        found[options[at]] = int.from_bytes(options[at + 2 : at + size], "big")
        at += size
    return found
