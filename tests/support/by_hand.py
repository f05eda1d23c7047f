"""A Stack under a virtual clock, and at the other end of its wire a test that makes TCP segments by
hand, quickly enough for floods, and reads those that come."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from socket import SO_REUSEADDR, SOL_SOCKET
from typing import Any

import pystack
from pystack.hypercalls import ManualClock
from pystack.sockets import Socket

OUR_MAC, FAR_MAC = bytes.fromhex("020000000002"), bytes.fromhex("020000000001")
OURS, OURS6, FAR, FAR6 = "10.0.0.2", "fd00::2", "10.0.0.1", "fd00::1"
FLAGS = "FSRPAUEC"
MSS = b"\2\4\5\xb4"
SACK = b"\4\2\1\1"
SCALE_7 = b"\3\3\7\1"


def timestamp(value: int, echo: int = 0) -> bytes:
    """The option, padded."""
    return b"\1\1\x08\x0a" + struct.pack("!II", value & 0xFFFFFFFF, echo & 0xFFFFFFFF)


def _sum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    total = (total >> 16) + (total & 0xFFFF)
    return ~((total >> 16) + total) & 0xFFFF


@dataclass
class Segment:
    """A TCP segment with its addresses. Towards the Stack if nothing else is said."""

    sport: int
    dport: int
    flags: str
    seq: int = 0
    ack: int = 0
    data: bytes = b""
    options: bytes = b""
    window: int = 65535
    src: str = FAR
    dst: str = OURS

    def frame(self) -> bytes:
        """The Ethernet frame, for the Stack."""
        source, destination = ip_address(self.src).packed, ip_address(self.dst).packed
        flags = sum(1 << FLAGS.index(flag) for flag in self.flags)
        header = struct.pack(
            "!HHIIBBHHH",
            self.sport,
            self.dport,
            self.seq & 0xFFFFFFFF,
            self.ack & 0xFFFFFFFF,
            (5 + len(self.options) // 4) << 4,
            flags,
            self.window,
            0,
            0,
        )
        whole = header + self.options + self.data
        pseudo = source + destination + struct.pack("!II", len(whole), 6)
        whole = whole[:16] + struct.pack("!H", _sum(pseudo + whole)) + whole[18:]
        if len(source) == 16:
            fixed = struct.pack("!IHBB", 6 << 28, len(whole), 6, 64)
            return OUR_MAC + FAR_MAC + b"\x86\xdd" + fixed + source + destination + whole
        fixed = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(whole), 0, 0, 64, 6, 0)
        fixed += source + destination
        fixed = fixed[:10] + struct.pack("!H", _sum(fixed)) + fixed[12:]
        return OUR_MAC + FAR_MAC + b"\x08\x00" + fixed + whole

    @classmethod
    def read(cls, frame: bytes) -> Segment | None:
        """What a frame of the Stack's carries; None: no TCP."""
        if frame[12:14] == b"\x08\x00" and frame[23] == 6:
            total = struct.unpack("!H", frame[16:18])[0]
            source, destination, whole = frame[26:30], frame[30:34], frame[34 : 14 + total]
        elif frame[12:14] == b"\x86\xdd" and frame[20] == 6:
            source, destination, whole = frame[22:38], frame[38:54], frame[54:]
        else:
            return None
        sport, dport, seq, ack, offset, flags, window = struct.unpack("!HHIIBBH", whole[:16])
        size = (offset >> 4) * 4
        return cls(
            sport,
            dport,
            "".join(flag for bit, flag in enumerate(FLAGS) if flags >> bit & 1),
            seq,
            ack,
            whole[size:],
            whole[20:size],
            window,
            str(ip_address(source)),
            str(ip_address(destination)),
        )

    def option(self, kind: int) -> bytes | None:
        """An option's value; None: there is none of the kind."""
        at = 0
        while at < len(self.options) and self.options[at]:
            if self.options[at] == 1:
                at += 1
                continue
            size = self.options[at + 1]
            if self.options[at] == kind:
                return self.options[at + 2 : at + size]
            at += size
        return None

    @property
    def stamps(self) -> tuple[int, int] | None:
        """TSval and TSecr; None: there is no timestamp."""
        value = self.option(8)
        return None if value is None else struct.unpack("!II", value)  # type: ignore[return-value]


@dataclass
class ByHand:
    """The Stack, its clock, and the end of its wire."""

    net: pystack.Stack
    clock: ManualClock
    end: pystack.nic.Nic
    unread: list[bytes] = field(default_factory=list)

    def sent(self) -> list[Segment]:
        """The TCP segments that the Stack sends at once."""
        self.net.step()
        return self.left_behind()

    def left_behind(self) -> list[Segment]:
        """The TCP segments that are on the wire."""
        found = []
        while (frame := self.end.receive(0)) is not None:
            segment = Segment.read(frame)
            if segment is not None:
                found.append(segment)
        return found

    def give(self, *segments: Segment) -> list[Segment]:
        """Sends segments, and returns the answers to them."""
        for segment in segments:
            self.end.send(segment.frame())
        return self.sent()

    def over(self, seconds: float, step: float = 0.05) -> list[tuple[float, Segment]]:
        """What is sent in a span of time, and when."""
        found, spent = [], 0.0
        while spent < seconds:
            self.clock.advance(step)
            spent += step
            found += [(spent, segment) for segment in self.sent()]
        return found

    def listen(self, backlog: int = 128, host: str = "::", port: int = 80) -> Socket:
        """A non-blocking listener, of both families if nothing else is said."""
        listener = self.net.socket(10 if ":" in host else 2)
        listener.setblocking(False)
        listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(backlog)
        return listener

    def open(
        self, listener: Socket, sport: int, *, options: bytes = MSS, seq: int = 1000, **where: Any
    ) -> tuple[Socket, Segment]:
        """A whole handshake: the socket accepted, and what the next segment is to begin as."""
        (answer,) = self.give(Segment(sport, 80, "S", seq, options=options, **where))
        stamps = answer.stamps
        last = Segment(sport, 80, "A", seq + 1, answer.seq + 1, **where)
        if stamps is not None:
            last.options = timestamp(stamps[1], stamps[0])
        assert self.give(last) == []
        sock = listener.accept()[0]
        sock.setblocking(False)
        return sock, last


@contextmanager
def by_hand(seed: int | None = 1, **options: Any) -> Iterator[ByHand]:
    """A `ByHand` for the block. Addresses beyond the link are behind it, too."""
    clock = ManualClock(1000.0)
    ours, theirs = pystack.nic.wire(queue_frames=4096)
    with pystack.Stack(threaded=False, clock=clock, seed=seed, **options) as net:
        net.attach(ours, f"{OURS}/24", f"{OURS6}/64", mac=OUR_MAC, gateway=FAR)
        net.neighbours.add(FAR, "02:00:00:00:00:01")
        net.neighbours.add(FAR6, "02:00:00:00:00:01")
        net.routes.add("::/0", gateway=FAR6)
        made = ByHand(net, clock, theirs)
        made.over(3)
        yield made
    assert net.arena.live_blocks == 0
