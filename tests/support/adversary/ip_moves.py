"""What the peer does with IP, UDP and ICMP: fragments, options, headers, errors about the Stack's
own packets."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from adversary import pattern, tcp_moves, wire
from adversary.draw import Draw

if TYPE_CHECKING:
    from adversary.world import World

UDP_OPEN = 7
DATAGRAM_SALT = 77
_HEAD = struct.Struct("!IH")
_FRAGMENT6 = struct.Struct("!BBHI")
_LARGEST = 1472


def datagram(number: int, size: int) -> bytes:
    """A datagram's content, which says what it has to be."""
    return _HEAD.pack(number, size) + pattern.piece(DATAGRAM_SALT, number * 13, size)


def is_datagram(data: bytes | bytearray) -> bool:
    """Whether it is one of `datagram`'s, whole."""
    number, size = _HEAD.unpack_from(data) if len(data) >= _HEAD.size else (0, -1)
    return len(data) == _HEAD.size + size and pattern.same(
        DATAGRAM_SALT, number * 13, data[_HEAD.size :]
    )


def ends(draw: Draw) -> tuple[bytes, bytes]:
    """Source and destination: the peer and the Stack; now and then what can't be right."""
    if draw.below(2):
        if draw.once_in(20):
            source = wire.six(
                draw.pick((wire.OURS6, "::1", "::", "ff02::1", "fe80::9", "2001:db8::9"))
            )
            return source, wire.six(draw.pick((wire.OURS6, "ff02::1", "ff02::fb")))
        return wire.PEER6_BYTES, wire.OURS6_BYTES
    if draw.once_in(20):
        odd = (wire.OURS, "127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "198.51.100.9")
        source = wire.four(draw.pick(odd))
        return source, wire.four(draw.pick((wire.OURS, "10.0.0.255", "255.255.255.255")))
    return wire.PEER_BYTES, wire.OURS_BYTES


def udp(world: World, draw: Draw) -> None:
    """A datagram, to a socket or to nobody."""
    for _ in range(1 + draw.below(4)):
        addresses = ends(draw)
        port = UDP_OPEN if not draw.once_in(6) else draw.pick((9999, 0, 5353, 68, 53, 546))
        data = datagram(world.sent_frames, draw.pick((10, 0, 1000, 1400, 100)))
        world.send(
            wire.packet(wire.UDP, wire.udp(addresses, (9, port), data), addresses), answers=3
        )


def pieces(draw: Draw, whole: bytes, unit: int) -> list[tuple[int, bool, bytes]]:
    """Cuts a payload: offset, whether more follow, bytes. Complete and in order if unharmed."""
    out = []
    at = 0
    while at < len(whole):
        size = min(unit, len(whole) - at)
        out.append((at, at + size < len(whole), whole[at : at + size]))
        at += size
    for _ in range(draw.below(4)):
        kind, where = draw.below(8), draw.below(len(out))
        offset, more, data = out[where]
        if kind == 0:
            out.append(out[where])
        elif kind == 1:
            del out[where]
        elif kind == 2:
            out.reverse()
        elif kind == 3:  # overlaps what is there
            start = max(0, offset - 8 * draw.below(8))
            out.append((start, True, whole[start : start + 8 * (1 + draw.below(180))]))
        elif kind == 4:
            out[where] = (offset, not more, data)
        elif kind == 5:
            out[where] = (0xFFF8 - 8 * draw.below(3), draw.below(2) == 1, data)
        elif kind == 6:
            out.append((offset, True, b""))
        else:
            out[where] = (offset, more, data[: 8 * draw.below(len(data) // 8 + 1)])
        if not out:
            break
    return out


def fragments(world: World, draw: Draw) -> None:
    """A datagram or a ping in fragments: complete, or overlapping, repeated, short or lying."""
    addresses = ends(draw)
    v6 = len(addresses[0]) == 16
    size = draw.pick((3000, 1480, 8000, 200, 20000, 1473, 50, 60000))
    number = world.sent_frames
    if draw.once_in(4):
        protocol = wire.ICMP6 if v6 else wire.ICMP
        body = bytes((128 if v6 else 8, 0, 0, 0, 0, 1, 0, 1)) + bytes(size)
        if v6:
            whole = wire.summed(protocol, body, 2, *addresses)
        else:
            whole = body[:2] + wire.checksum(body).to_bytes(2, "big") + body[4:]
    else:
        protocol = wire.UDP
        whole = wire.udp(addresses, (9, UDP_OPEN), datagram(number, size))
    unit = draw.pick((1480 if not v6 else 1448, 8, 16, 512, 1232, 64))
    if len(whole) // unit > 60:
        unit = 1448
    for offset, more, data in pieces(draw, whole, unit):
        field = (offset & 0xFFF8) | (1 if more else 0)
        if v6:
            head = _FRAGMENT6.pack(protocol, 0, field, number)
            frame = wire.ip6(44, head + data, *addresses)
        else:
            frame = wire.ip4(
                protocol,
                data,
                *addresses,
                ident=number & 0xFFFF,
                fragment=offset >> 3 | (0x2000 if more else 0),
            )
        # The one that completes a ping has it answered in fragments, too.
        world.send(frame, answers=3 + (size // 1448 if protocol != wire.UDP else 0))


def flood(world: World, draw: Draw) -> None:
    """First fragments of datagrams whose rest never comes."""
    v6 = draw.below(2)
    size = draw.pick((8, 1448, 512))
    for number in range(1 + draw.below(60)):
        ident = (world.sent_frames << 8) + number
        if v6:
            head = _FRAGMENT6.pack(wire.UDP, 0, 1, ident & 0xFFFFFFFF)
            world.send(wire.ip6(44, head + bytes(size)), answers=1)
        else:
            world.send(
                wire.ip4(wire.UDP, bytes(size), ident=ident & 0xFFFF, fragment=0x2000), answers=1
            )


OPTIONS4 = (
    b"\x94\x04\0\0",
    b"\x07\x0b\x04" + bytes(9),
    b"\x44\x0c\x05\x01" + bytes(8),
    b"\x44\x08\x05\x00" + bytes(4),
    b"\x83\x07\x04" + bytes(5),
    b"\x89\x07\x04\x0a\0\0\x02\0",
    b"\x82\x0b" + bytes(10),
    b"\x07\x03\x04\x01",
    b"\x07\x27\x04" + bytes(37),
    b"\x07\x0b\xff" + bytes(9),
    b"\x01\x01\x01\x07",
    b"\x44\x04\x05\xf3",
    b"\x99\x00\x00\x00",
    b"\x01" * 39 + b"\x44",
    b"\x44\x24\x0d\x03" + bytes(32),
)


def options4(world: World, draw: Draw) -> None:
    """IPv4 options, good and bad, on a ping, a datagram or a SYN; lengths that lie."""
    options = draw.pick(OPTIONS4)
    what = draw.below(3)
    addresses = (wire.PEER_BYTES, wire.OURS_BYTES)
    if what == 0:
        body = b"\x08\0\0\0\0\1\0\1" + bytes(draw.pick((8, 56, 1400)))
        protocol = wire.ICMP
        body = body[:2] + wire.checksum(body).to_bytes(2, "big") + body[4:]
    elif what == 1:
        protocol = wire.UDP
        port = draw.pick((UDP_OPEN, 9999))
        body = wire.udp(addresses, (9, port), datagram(world.sent_frames, 20))
    else:
        protocol = wire.TCP
        body = wire.tcp(addresses, (999, draw.pick((80, 9))), 1, 0, wire.SYN, 1000)
    length = draw.pick((0, 20, 19, 24, 2000, 65535)) if draw.once_in(6) else None
    world.send(
        wire.ip4(
            protocol, body, *addresses, options=options, length=length, ttl=draw.pick((64, 1, 0))
        )
    )


HEADERS6 = (
    (0, b"\x05\x02\0\0\1\0"),
    (0, b"\1\4\0\0\0\0"),
    (60, b"\1\4\0\0\0\0"),
    (60, b"\xc3\4\0\0\0\0"),
    (60, b"\x43\4\0\0\0\0"),
    (60, b"\x83\4\0\0\0\0"),
    (60, b"\1\xff\0\0\0\0"),
    (43, b"\0\1\0\0\0\0"),
    (43, b"\0\0\0\0\0\0"),
    (43, b"\4\5\0\0\0\0"),
    (44, b"\0\0\0\0\0\7"),
    (0, b"\xc2\4\0\1\0\0"),
    (51, b"\0\0\0\0\0\0"),
)


def headers6(world: World, draw: Draw) -> None:
    """A chain of extension headers, in any order and number, with lengths that lie."""
    chain = [draw.pick(HEADERS6) for _ in range(1 + draw.below(5))]
    addresses = (wire.PEER6_BYTES, wire.OURS6_BYTES)
    protocol, payload = draw.pick(
        (
            (wire.UDP, wire.udp(addresses, (9, UDP_OPEN), datagram(world.sent_frames, 20))),
            (wire.UDP, wire.udp(addresses, (9, 9999), b"x" * 40)),
            (59, b""),
            (wire.TCP, wire.tcp(addresses, (999, 80), 1, 0, wire.SYN, 1000)),
            (200, b"unknown"),
            (59, bytes(1000)),
        )
    )
    for kind, body in reversed(chain):
        words = draw.pick((0, 1, 255)) if draw.once_in(8) else 0
        payload = bytes((protocol, words)) + body + payload
        protocol = kind
    cut = draw.below(len(payload)) if draw.once_in(6) else len(payload)
    to = wire.six("ff02::1") if draw.once_in(10) else wire.OURS6_BYTES
    world.send(wire.ip6(protocol, payload[:cut], wire.PEER6_BYTES, to), answers=3)


MTUS = (1400, 1280, 576, 552, 296, 68, 0, 1279, 1500, 65535, 1300)


def error(world: World, draw: Draw) -> None:
    """An ICMP error about a segment of the Stack's: unreachable, too big, and so on."""
    flow = tcp_moves.live(world, draw)
    if flow is None or flow.irs is None:
        return echo(world, draw)
    theirs, ours = flow.addresses
    seq = (
        flow.irs
        + 1
        + draw.pick(
            (flow.acked, flow.their_end - 1, flow.their_end, 0, flow.taken, flow.their_end + 70000)
        )
    )
    quoted = wire.tcp((ours, theirs), flow.ports[::-1], seq, 0, wire.ACK, 0)
    size = draw.pick((28, 8, 20, 0, 4))
    mtu = draw.pick(MTUS)
    if len(theirs) == 4:
        packet = wire.ip4(wire.TCP, quoted + bytes(1000), ours, theirs)[14:]
        kind, code = draw.pick(((3, 4), (3, 1), (3, 3), (3, 2), (4, 0), (11, 0), (12, 0), (5, 1)))
        rest = mtu.to_bytes(4, "big") if kind == 3 else wire.PEER_BYTES
        world.send(wire.icmp4(kind, code, rest + packet[: 20 + size]))
    else:
        packet = wire.ip6(wire.TCP, quoted + bytes(1000), ours, theirs)[14:]
        kind, code = draw.pick(((2, 0), (1, 4), (1, 0), (3, 0), (4, 1), (2, 7)))
        rest = mtu.to_bytes(4, "big")
        world.send(wire.icmp6(kind, code, rest + packet[: 40 + size]))
    return None


def error_datagram(world: World, draw: Draw) -> None:
    """An ICMP error about the last datagram or fragment that the Stack was heard to send."""
    heard = world.heard.get("packet")
    if heard is None:
        return error(world, draw)
    if heard[0] >> 4 == 4:
        kind, code = draw.pick(((3, 3), (3, 4), (11, 1), (3, 1), (12, 0)))
        rest = draw.pick(MTUS).to_bytes(4, "big")
        world.send(wire.icmp4(kind, code, rest + heard[: draw.pick((28, 20, 40, 548))]))
    else:
        kind, code = draw.pick(((1, 4), (2, 0), (3, 1), (1, 3), (4, 2)))
        rest = draw.pick(MTUS).to_bytes(4, "big")
        world.send(wire.icmp6(kind, code, rest + heard[: draw.pick((48, 40, 200, 1232))]))
    return None


def echo(world: World, draw: Draw) -> None:
    """A ping, or an answer to one that was never sent."""
    size = draw.pick((56, 0, 1400, 1))
    number = draw.below(3).to_bytes(2, "big")
    if draw.below(2):
        kind = draw.pick((128, 129))
        world.send(wire.icmp6(kind, 0, number + b"\0\1" + bytes(size)), answers=2)
    else:
        kind = draw.pick((8, 0, 13, 15, 17))
        world.send(wire.icmp4(kind, 0, number + b"\0\1" + bytes(size)), answers=2)


def answer_ping(world: World, draw: Draw) -> None:
    """The answer to the last ping of the program's, perhaps twice, perhaps not quite."""
    heard = world.heard.get("echo")
    if heard is None:
        return echo(world, draw)
    for _ in range(1 + draw.below(2)):
        rest = heard[1] if not draw.once_in(4) else heard[1][: draw.below(12) + 4]
        frame = wire.icmp6(129, 0, rest) if heard[0] else wire.icmp4(0, 0, rest)
        world.send(frame, answers=2)
    return None


def land(world: World, draw: Draw) -> None:
    """A segment that seems to come from the Stack itself, from its own port."""
    v6 = draw.below(2)
    own = wire.OURS6_BYTES if v6 else wire.OURS_BYTES
    flags = draw.pick((wire.SYN, wire.ACK, wire.SYN | wire.ACK, wire.RST))
    message = wire.tcp((own, own), (80, 80), 5, 0, flags, 1000)
    world.send(wire.packet(wire.TCP, message, (own, own)))


def noise(world: World, draw: Draw) -> None:
    """Anything behind a good Ethernet header."""
    kind = draw.pick((0x0800, 0x86DD, 0x0806, 0x8100, 0x05DC, 0x88A8))
    size = draw.pick((0, 1, 13, 27, 46, 100, 1400))
    content = pattern.piece(draw.below(1000), 0, size)
    if kind == 0x0800 and size > 20:
        content = b"\x45" + content[1:]
    elif kind == 0x86DD and size > 40:
        content = b"\x60" + content[1:]
    world.send(wire.ethernet(kind, content), answers=2)


MOVES: tuple[tuple[int, Callable[[World, Draw], None]], ...] = (
    (8, udp),
    (10, fragments),
    (1, flood),
    (4, options4),
    (4, headers6),
    (8, error),
    (4, error_datagram),
    (2, echo),
    (4, answer_ping),
    (1, land),
    (2, noise),
)
_LOTTERY = [move for weight, move in MOVES for _ in range(weight)]


def play(world: World, draw: Draw) -> None:
    """One move."""
    draw.pick(_LOTTERY)(world, draw)
