"""What the peer does in its TCP conversations."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from adversary import wire
from adversary.draw import Draw
from adversary.flow import Flow
from adversary.wire import ACK, FIN, PSH, RST, SYN, URG

if TYPE_CHECKING:
    from adversary.world import World

LISTENING = (80, 81, 82)
WINDOWS = (65535, 0, 1, 2, 536, 1460, 8192, 64, 65534, 32768)
SIZES = (1460, 1, 100, 536, 1448, 7, 1000, 3, 1220, 64)
SHIFTS = (7, 0, 1, 14, 16, 3, 255, 10)
MSS = (1460, 536, 1, 0, 65535, 100, 48, 1440, 8, 1220)
_MSS, _TIME = struct.Struct("!BBH"), struct.Struct("!BBII")


def options(draw: Draw, world: World) -> bytes:
    """What a SYN says; well-formed, whatever it says."""
    kinds = draw.below(16)
    out = b""
    if not kinds & 1:
        out += _MSS.pack(2, 4, draw.pick(MSS) if draw.once_in(3) else 1460)
    if not kinds & 2:
        out += bytes((1, 3, 3, draw.pick(SHIFTS)))
    if not kinds & 4:
        out += b"\4\2"
    if not kinds & 8:
        out += _TIME.pack(8, 10, (1 + world.now_ms) & 0xFFFFFFFF, 0)
    return out


def live(world: World, draw: Draw) -> Flow | None:
    """A conversation, the youngest sooner than the others; None: there is none."""
    count = len(world.flows)
    if not count:
        return None
    keys = list(world.flows)
    back = draw.below(min(count, 6)) if not draw.once_in(8) else draw.below(count)
    return world.flows[keys[count - 1 - back]]


def begin(world: World, draw: Draw) -> None:
    """The peer calls a listener, ordinarily or oddly."""
    v6 = draw.below(2)
    ours, theirs = (
        (wire.OURS6_BYTES, wire.PEER6_BYTES) if v6 else (wire.OURS_BYTES, wire.PEER_BYTES)
    )
    port = LISTENING[draw.below(2)] if not draw.once_in(12) else 9
    iss = draw.pick((1000, 0xFFFFFFFE, 0x7FFFFFF0, 0xFFFF0000))
    count = 1 if not draw.once_in(30) else 1 + draw.below(40)
    for _ in range(count):
        flow = Flow((theirs, ours), port, world.port(), iss)
        flow.options = options(draw, world)
        flow.time_base = draw.pick((1, 0xFFFFF000, 0x7FFFFF00))
        flow.window = draw.pick(WINDOWS) if draw.once_in(3) else 65535
        world.add(flow)
        flags = SYN
        size = 0
        if draw.once_in(16):
            flags |= draw.pick((FIN, PSH, RST, 0xC0))
        if draw.once_in(16):
            size = draw.pick(SIZES)
        world.send(flow.segment(flags, -1, now_ms=world.now_ms))
        if size:  # data behind the SYN comes as a copy of its own, early
            world.send(flow.segment(ACK, 0, size, now_ms=world.now_ms))
    if draw.once_in(3):
        return
    world.settle()
    if count == 1:
        proceed(world, flow, draw)


def proceed(world: World, flow: Flow, draw: Draw) -> None:
    """What an honest peer would do now: shake hands, acknowledge, send what the window takes."""
    now = world.now_ms
    if flow.irs is None:
        if flow.una < 0:
            world.send(flow.segment(SYN, -1, now_ms=now))
        return
    if not flow.open:
        flow.open = True
        if not flow.options:  # the Stack called: its SYN is answered
            flow.options = options(draw, world)
            flow.answered()
            world.send(flow.segment(SYN | ACK, -1, now_ms=now))
            world.settle()
    size = min(draw.pick(SIZES), max(flow.room(), 0), flow.their_mss or 536)
    if size:
        position, flow.next = flow.next, flow.next + size
        world.send(flow.segment(ACK | PSH, position, size, now_ms=now))
    else:
        world.send(flow.segment(ACK, flow.next, now_ms=now, extra=flow.blocks()))


def honest(world: World, flow: Flow, draw: Draw) -> None:
    """As `proceed`, some times, and without losing anything."""
    flow.lose_every = 0
    for _ in range(1 + draw.below(6)):
        proceed(world, flow, draw)
        world.settle()


def order(world: World, flow: Flow, draw: Draw) -> None:
    """A window's part in pieces that overlap, repeat, leave gaps and come in any order."""
    room = max(flow.una + flow.their_window - flow.next, 0)
    span = min(room, draw.pick((4000, 200, 20000, 60000, 16)))
    if not span:
        return probe(world, flow, draw)
    frames = []
    last = 0
    for _ in range(2 + draw.below(14)):
        at = draw.below(span)
        size = min(draw.pick(SIZES), span - at)
        if draw.once_in(6):
            at = max(0, last - draw.below(20))
        frames.append(flow.segment(ACK, flow.next + at, size, now_ms=world.now_ms))
        last = at + size
    for frame in frames:
        world.send(frame)
    if draw.below(2):
        step = 1400
        for at in range(0, span, step):
            size = min(step, span - at)
            world.send(flow.segment(ACK, flow.next + at, size, now_ms=world.now_ms))
        flow.next += span
    return None


def edges(world: World, flow: Flow, draw: Draw) -> None:
    """Data and FIN at, over and beyond the window's right edge, then perhaps the gap."""
    edge = flow.una + flow.their_window
    for _ in range(1 + draw.below(3)):
        at = draw.near(edge, 3000 if draw.below(2) else 3)
        size = draw.pick((1, 0, 100, 1460, 3000, 2))
        flags = ACK | (FIN if draw.once_in(4) else 0)
        if size > 1460 and world.mtu < 9000:
            size = 1400
        world.send(flow.segment(flags, at - draw.below(2) * size, size, now_ms=world.now_ms))
    if draw.below(2):
        size = min(1460, max(edge - flow.next, 0))
        world.send(flow.segment(ACK, flow.next, size, now_ms=world.now_ms))


def acknowledge(world: World, flow: Flow, draw: Draw) -> None:
    """Acknowledgements: old, partial, repeated, of what was not sent, with any window."""
    kind = draw.below(7)
    ack = flow.taken
    if kind == 1:
        ack = draw.near(flow.taken, 1460)
    elif kind == 2:
        ack = flow.their_end
    elif kind == 3:
        ack = flow.their_end + 1 + draw.below(3000)
    elif kind == 4:
        ack = flow.acked - draw.below(5000)
    elif kind == 5:
        ack = flow.taken + 0x7FFFFFFF + draw.below(3)
    elif kind == 6:
        ack = flow.acked + 1
    if draw.once_in(3):
        flow.window = draw.pick(WINDOWS)
    for _ in range(1 if draw.below(3) else 1 + draw.below(5)):
        world.send(flow.segment(ACK, flow.next, now_ms=world.now_ms, ack=ack, extra=flow.blocks()))


def sacks(world: World, flow: Flow, draw: Draw) -> None:
    """SACK blocks that lie: anywhere, reversed, empty, overlapping, taken back, D-SACKs."""
    blocks = []
    for _ in range(1 + draw.below(3)):
        left = draw.near(draw.pick((flow.taken, flow.their_end, flow.acked)), 4000)
        size = draw.pick((1460, 1, 0, 100, 3000, 65536, -1460, -1, 0x7FFFFFFF))
        blocks.append((left, left + size))
    if draw.once_in(2):
        blocks = [(flow.acked + 1 + draw.below(1460), flow.their_end - draw.below(3))]
    if draw.once_in(3):
        flow.lose_every = draw.pick((0, 2, 3, 7))
    ack = flow.acked if draw.below(2) else flow.taken
    for _ in range(1 + draw.below(4)):
        frame = flow.segment(ACK, flow.next, now_ms=world.now_ms, ack=ack, extra=flow.sack(blocks))
        world.send(frame)


def windows(world: World, flow: Flow, draw: Draw) -> None:
    """Windows of 0, 1, multiples of 65,536, shrinking and growing, with ACK unchanged."""
    for _ in range(1 + draw.below(4)):
        shift = flow.shift
        window = draw.pick(WINDOWS)
        if shift and draw.below(2):
            window = (65536 * (1 + draw.below(4)) >> shift) & 0xFFFF
        flow.window = window
        world.send(flow.segment(ACK, flow.next, now_ms=world.now_ms))


def clocks(world: World, flow: Flow, draw: Draw) -> None:
    """Timestamps: old, far ahead, none, an echo of what was never said."""
    now = flow.time_base + world.now_ms
    value = draw.pick((now, now - 1, now - 100000, now + 0x7FFFFFFF, 0, now + 1000))
    echo = draw.pick((flow.their_time, 0, flow.their_time + 100000, flow.their_time - 1))
    size = draw.pick((0, 1, 100)) if flow.room() > 100 else 0
    frame = flow.segment(
        ACK,
        flow.next,
        size,
        now_ms=world.now_ms,
        timestamp=(value, echo),
        without_timestamp=draw.once_in(3),
    )
    world.send(frame)


def probe(world: World, flow: Flow, draw: Draw) -> None:
    """Keep-alives and window probes: an old byte, or the one behind the window."""
    size = draw.below(2)
    at = draw.pick((flow.next - 1, flow.una - 1, flow.una + flow.their_window))
    world.send(flow.segment(ACK, at, size, now_ms=world.now_ms))


def finish(world: World, flow: Flow, draw: Draw) -> None:
    """A FIN where it belongs, with data or without; now and then elsewhere, or again."""
    at = flow.next if not draw.once_in(5) else draw.near(flow.next, 2000)
    size = draw.pick((0, 1, 100)) if flow.room() > 100 else 0
    if flow.fins and at == flow.next:
        at, size = max(flow.fins) - size, 0
        at = max(flow.fins)
    world.send(flow.segment(FIN | ACK, at, size, now_ms=world.now_ms))


def reset(world: World, flow: Flow, draw: Draw) -> None:
    """A RST: exact, in the window, at its edges, outside."""
    at = draw.pick(
        (
            flow.next + 0x40000000,
            flow.una + 1,
            flow.una + flow.their_window - 1,
            flow.una + flow.their_window,
            flow.una - 1,
            flow.una,
        )
    )
    flags = RST | (ACK if draw.below(2) else 0)
    flow.dead = flow.dead or at == flow.una
    for _ in range(1 + draw.below(3)):
        world.send(flow.segment(flags, at, now_ms=world.now_ms))


def odd_flags(world: World, flow: Flow, draw: Draw) -> None:
    """A SYN or a SYN+ACK within a conversation, no ACK flag, all flags, none."""
    flags = draw.pick((SYN, SYN | ACK, 0, SYN | FIN, SYN | RST, URG | ACK, PSH, FIN, 0xFF))
    at = draw.pick((flow.next, -1, flow.una + 100, flow.next - 1, flow.next + 70000))
    if flags & FIN:
        at = flow.next
    if flow.program is None:
        flags &= ~URG  # urgent data is in line only where the program has said so
    if flags & SYN and at != -1:
        flow.judged = False  # where the first was given up, it is the first of another one
    world.send(flow.segment(flags, at, now_ms=world.now_ms, urgent=draw.pick((0, 1, 65535))))


def urgent(world: World, flow: Flow, draw: Draw) -> None:
    """Urgent data; sockets of the program keep it in line."""
    size = draw.pick((1, 100, 1400))
    if flow.room() < size or flow.program is None:
        return
    pointer = draw.pick((size, 1, 0, 65535, size + 1))
    at, flow.next = flow.next, flow.next + size
    world.send(flow.segment(ACK | URG, at, size, now_ms=world.now_ms, urgent=pointer))


def odd_options(world: World, flow: Flow, draw: Draw) -> None:
    """A segment without data whose options are malformed, or whose header's length lies."""
    junk = draw.pick(
        (
            b"\x08",
            b"\x05",
            b"\x02\x00",
            b"\x13\x12" + bytes(16),
            b"\x05\x0b" + bytes(9),
            b"\x1e\xff\x00",
            b"\x01" * 39 + b"\x08",
            b"\x00" * 8,
            b"\xfe\x02",
            b"\x08\x0a\x00",
            b"\x03\x03",
            b"\x05\x02",
        )
    )
    junk += b"\1" * (-len(junk) & 3) if draw.below(2) else b""
    junk = b"\1" * (-len(junk) & 3) + junk
    message = wire.tcp(
        flow.addresses,
        flow.ports,
        flow.iss + 1 + flow.next,
        (flow.irs or 0) + 1 + flow.taken,
        draw.pick((ACK, SYN, SYN | ACK, FIN | ACK)) if flow.irs is None else ACK,
        flow.window,
        junk,
        offset=draw.pick((None, None, 0, 4, 15)),
    )
    if flow.irs is None:
        flow.judged = False  # its SYN may be taken for the first, from where it stands
    cut = draw.below(24) if draw.once_in(4) else 0
    world.send(wire.packet(wire.TCP, message[: len(message) - cut], flow.addresses))


def keep_back(world: World, flow: Flow, draw: Draw) -> None:
    """A segment that will come late: see `late`."""
    if flow.room() > 0 and len(world.stash) < 64:
        size = min(draw.pick(SIZES), flow.room())
        world.stash.append(flow.segment(ACK, flow.next, size, now_ms=world.now_ms))
        if draw.below(2):
            flow.next += size


def late(world: World, flow: Flow, draw: Draw) -> None:
    """What was kept back comes now, some of it twice."""
    del flow
    for _ in range(min(len(world.stash), 1 + draw.below(6))):
        frame = world.stash.pop(draw.below(len(world.stash)))
        world.send(frame)
        if draw.once_in(3):
            world.send(frame)


def lossy(world: World, flow: Flow, draw: Draw) -> None:
    """From now on the peer loses some of what the Stack sends."""
    del world
    flow.lose_every = draw.pick((0, 2, 3, 5, 11, 1))


def bulk(world: World, flow: Flow, draw: Draw) -> None:
    """Fills the window, in order."""
    for _ in range(1 + draw.below(24)):
        size = min(1400, flow.room())
        if size <= 0:
            break
        at, flow.next = flow.next, flow.next + size
        world.send(flow.segment(ACK, at, size, now_ms=world.now_ms))


def again(world: World, flow: Flow, draw: Draw) -> None:
    """A new SYN for ports that are in use, or were a moment ago."""
    other = Flow(
        flow.addresses,
        flow.ports[1],
        flow.ports[0],
        flow.iss + flow.next + draw.pick((1000, 100000, 0, 0x80000000)),
    )
    other.options = options(draw, world)
    flow.judged = other.judged = False
    world.add(other)
    world.send(other.segment(SYN, -1, now_ms=world.now_ms))


MOVES: tuple[tuple[int, Callable[[World, Flow, Draw], None]], ...] = (
    (26, honest),
    (10, bulk),
    (16, order),
    (6, edges),
    (12, acknowledge),
    (8, sacks),
    (8, windows),
    (4, clocks),
    (4, probe),
    (3, finish),
    (2, reset),
    (3, odd_flags),
    (2, urgent),
    (2, odd_options),
    (4, keep_back),
    (4, late),
    (3, lossy),
    (1, again),
)
_LOTTERY = [move for weight, move in MOVES for _ in range(weight)]


def converse(world: World, draw: Draw) -> None:
    """One move in one conversation."""
    flow = live(world, draw)
    if flow is None:
        return begin(world, draw)
    move = draw.pick(_LOTTERY)
    if flow.irs is None and move not in (odd_options, again):
        move = honest
    return move(world, flow, draw)
