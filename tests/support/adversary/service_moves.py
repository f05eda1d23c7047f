"""What the peer does as a server: DHCP, DHCPv6, DNS, mDNS; it answers what was really asked."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from adversary import link_moves, wire
from adversary.draw import Draw

if TYPE_CHECKING:
    from adversary.world import World

_BOOTP = struct.Struct("!BBBBIHH4s4s4s4s16s")
_TIMES = (60, 3600, 0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 300)
NAMES = (b"\7example\4test\0", b"\5other\4test\0", b"\7pystack\5local\0")
MDNS4, MDNS4_MAC = wire.four("224.0.0.251"), bytes.fromhex("01005e0000fb")
MDNS6, MDNS6_MAC = wire.six("ff02::fb"), bytes.fromhex("3333000000fb")


def hear(world: World, frame: bytes) -> None:
    """Remembers what the Stack asks, and what errors may speak of."""
    if link_moves.hear(world, frame):
        return
    heard = world.heard
    kind = frame[12:14]
    if kind == b"\x08\x00":
        at = 14 + (frame[14] & 15) * 4
        protocol, whole = frame[23], not frame[20] & 0x3F and not frame[21]
    elif kind == b"\x86\xdd":
        at, protocol, whole = 54, frame[20], True
    else:
        return
    if protocol == wire.UDP and whole:
        source, to = struct.unpack_from("!HH", frame, at)
        body = frame[at + 8 :]
        if to == 67 and len(body) >= 240:
            heard["dhcp"] = body
        elif to == 547 and len(body) >= 4:
            heard["dhcp6"] = (body[1:4], source)
        elif to == 53 and len(body) >= 12:
            heard["dns"] = (body, source, len(frame[26:30]) if kind == b"\x08\x00" else 16, frame)
        elif to == 5353:
            heard["mdns"] = body
        heard["packet"] = frame[14:]
    elif protocol == wire.UDP:
        heard["packet"] = frame[14:]
    elif whole and (protocol, frame[at]) in ((wire.ICMP, 8), (wire.ICMP6, 128)):
        heard["echo"] = (protocol == wire.ICMP6, frame[at + 4 :])


def _options(draw: Draw, kind: int) -> bytes:
    lease, renew, rebind = (draw.pick(_TIMES).to_bytes(4, "big") for _ in range(3))
    out = (
        bytes((53, 1, kind))
        + b"\x36\4"
        + wire.four(wire.PEER if not draw.once_in(8) else "10.0.0.66")
    )
    out += b"\x33\4" + lease
    if draw.below(2):
        out += b"\x3a\4" + renew
    if draw.below(2):
        out += b"\x3b\4" + rebind
    out += b"\1\4" + draw.pick(
        (b"\xff\xff\xff\0", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\0\xff\0")
    )
    out += b"\3\4" + wire.four(draw.pick((wire.PEER, "10.0.0.50", "224.0.0.1")))
    if draw.below(2):
        out += b"\6\x08" + wire.PEER_BYTES + wire.four("10.0.0.5")
    if draw.once_in(4):
        out += draw.pick(
            (b"\x0c\xff\1", b"\x0f\0", b"\x34\1\3", b"\x2b\x10", b"\x34\1\x09", b"\x33\3\0\0\1")
        )
    if draw.once_in(3):
        out += bytes(draw.below(8)) + (b"" if draw.below(2) else b"\x3d\2")
    return out + (b"\xff" if not draw.once_in(5) else b"")


def dhcp(world: World, draw: Draw) -> None:
    """An answer to the last DHCP message: what is due, or any other, of any server."""
    heard = world.heard.get("dhcp")
    xid, hardware = (
        (struct.unpack_from("!I", heard, 4)[0], heard[28:44])
        if heard is not None
        else (draw.below(1 << 32), wire.MAC + bytes(10))
    )
    asked = heard[242] if heard is not None and len(heard) > 242 else 1
    due = {1: 2, 3: 5}.get(asked, 5)
    kind = due if not draw.once_in(3) else draw.pick((6, 2, 5, 1, 4, 8, 0))
    yours = wire.four(draw.pick(("10.0.0.50", "10.0.0.51", "0.0.0.0", wire.PEER, "224.0.0.9")))
    if draw.once_in(10):
        xid ^= 1
    head = _BOOTP.pack(
        2,
        1,
        draw.pick((6, 0, 16, 255)),
        0,
        xid,
        0,
        draw.pick((0, 0x8000)),
        bytes(4),
        yours,
        wire.PEER_BYTES,
        bytes(4),
        hardware,
    )
    names = bytes(192)
    if draw.once_in(8):
        names = b"\x0c\x04name\xff" + bytes(57) + b"\x33\4\0\0\0\1" + bytes(122)
    body = head + names + b"\x63\x82\x53\x63" + _options(draw, kind)
    if draw.once_in(8):
        body = body[: draw.pick((240, 236, 239, len(body) - 1, 200))]
    source = wire.four(wire.PEER if not draw.once_in(6) else "10.0.0.66")
    to = wire.four("255.255.255.255") if draw.below(2) else yours
    message = wire.udp((source, to), (67, 68), body)
    for _ in range(1 + draw.below(2)):
        world.send(wire.ip4(wire.UDP, message, source, to, mac=wire.BROADCAST), answers=6)


def _association(draw: Draw) -> bytes:
    """What a DHCPv6 server says of addresses."""
    body = b""
    for _ in range(draw.pick((1, 0, 2, 9))):
        address = wire.six(draw.pick(("fd00::50", "fd00::51", "::", "ff02::9", "fe80::9")))
        times = draw.pick(_TIMES), draw.pick(_TIMES)
        inside = b"" if draw.below(4) else b"\0\x0d\0\2\0" + bytes((draw.below(6),))
        size = 24 + len(inside) if not draw.once_in(8) else draw.pick((0, 23, 200, 0xFFFF))
        body += struct.pack("!HH", 5, size) + address + struct.pack("!II", *times) + inside
    if draw.once_in(4):
        body += b"\0\x0d\0\2\0" + bytes((draw.below(6),))
    number = wire.MAC[-4:] if not draw.once_in(6) else bytes(4)
    body = number + struct.pack("!II", draw.pick(_TIMES), draw.pick(_TIMES)) + body
    return struct.pack("!HH", 3, len(body)) + body


def dhcp6(world: World, draw: Draw) -> None:
    """A server's answer to the last DHCPv6 message."""
    transaction, port = world.heard.get("dhcp6", (b"\1\2\3", 546))
    if draw.once_in(6):
        transaction = b"\0\0\1"
    out = bytes((draw.pick((7, 2, 13, 10)),)) + transaction
    out += b"\0\2\0\x0a\0\3\0\1" + wire.PEER_MAC
    client = b"\0\1\0\x0a\0\3\0\1" + wire.MAC
    out += client if not draw.once_in(4) else b""
    if draw.below(3):
        out += _association(draw)
        out += draw.pick((b"", b"\0\7\0\1\xff", b"\0\x0e\0\0", b"\0\x0d\0\2\0\4"))
    count = draw.pick((1, 2, 9, 0))
    out += struct.pack("!HH", 23, 16 * count) + wire.PEER6_BYTES * count
    if draw.below(2):
        out += draw.pick(
            (b"\0\x17\0\x11" + bytes(17), b"\0\x20\0\4\0\0\0\1", b"\0\x17\xff\xff", b"\0")
        )
    source, to = link_moves.LINK6_BYTES, wire.OURS6_BYTES
    world.send(wire.ip6(wire.UDP, wire.udp((source, to), (547, port), out), source, to), answers=4)


def _record(draw: Draw, name: bytes, kind: int) -> bytes:
    data = {1: b"\x0a\0\0\x09", 28: wire.six("fd00::9")}.get(kind, b"\5other\4test\0")
    if draw.once_in(6):
        kind, data = draw.pick(
            (
                (5, b"\xc0\x0c"),
                (12, b"\x07pystack\xc0\x12"),
                (16, b"\3abc"),
                (33, bytes(6) + b"\0"),
                (1, b"\x0a\0\0"),
                (28, bytes(4)),
                (255, b""),
                (47, b"\xc0\x0c\0\4\x40\0\0\0"),
            )
        )
    size = len(data) if not draw.once_in(8) else draw.pick((0, 255, 65535, 3))
    ttl = draw.pick((120, 0, 0xFFFFFFFF))
    return name + struct.pack("!HHIH", kind, draw.pick((1, 0x8001, 255)), ttl, size) + data


def _name(draw: Draw, asked: bytes) -> bytes:
    if not draw.once_in(3):
        return b"\xc0\x0c"
    return draw.pick(
        (
            asked,
            NAMES[1],
            b"\xc0\xff",
            b"\xc0\x0b",
            b"\x3f" + bytes(63) + b"\0",
            b"\xff\xff",
            b"\0",
            b"\1a" * 130 + b"\0",
            b"\xc0\x0e",
            b"\x80a",
        )
    )


def answer(draw: Draw, identity: int, question: bytes, flags: int) -> bytes:
    """A DNS answer; `question` is the name with type and class."""
    kind = int.from_bytes(question[-4:-2], "big")
    counts = [1, 1 + draw.below(3), draw.below(2), draw.below(2)]
    body = question
    for _ in range(sum(counts[1:])):
        body += _record(draw, _name(draw, question[:-4]), kind)
    if draw.once_in(6):
        counts[draw.below(4)] = draw.pick((0, 65535, 2))
    out = struct.pack("!HH4H", identity, flags, *counts) + body
    return out if not draw.once_in(8) else out[: 12 + draw.below(len(out) - 11)]


def dns(world: World, draw: Draw) -> None:
    """An answer to the last question to a name server: right, forged, broken, truncated."""
    heard = world.heard.get("dns")
    if heard is None:
        return mdns(world, draw)
    body, port, family, frame = heard
    end = body.find(b"\0", 12)
    if end < 0:
        return None
    question = body[12 : end + 5]
    identity = int.from_bytes(body[:2], "big")
    if draw.once_in(6):
        identity ^= 1 + draw.below(3)
    flags = draw.pick((0x8180, 0x8183, 0x8182, 0x8380, 0x8580, 0x0100, 0x8185))
    message = answer(draw, identity, question, flags)
    addresses = (frame[38:54], frame[22:38]) if family == 16 else (frame[30:34], frame[26:30])
    source = 53 if not draw.once_in(8) else 54
    port ^= 1 if draw.once_in(12) else 0
    datagram = wire.udp(addresses, (source, port), message)
    for _ in range(1 + draw.below(2)):
        world.send(wire.packet(wire.UDP, datagram, addresses), answers=4)
    return None


def mdns(world: World, draw: Draw) -> None:
    """A question or an answer by multicast, about the Stack's own name, too."""
    name = draw.pick(
        (NAMES[2], NAMES[0], b"\x09_services\x07_dns-sd\x04_udp\x05local\0", b"\xc0\x0c")
    )
    if draw.below(2):
        message = struct.pack("!HH4H", 0, 0, 1, draw.below(2), 0, 0)
        message += name + struct.pack(
            "!HH", draw.pick((1, 28, 255, 12, 33)), draw.pick((1, 0x8001))
        )
        message += _record(draw, b"\xc0\x0c", 1)
    else:
        message = answer(draw, 0, name + b"\0\1\0\1", 0x8400)
    heard = world.heard.get("mdns")
    if heard is not None and draw.once_in(4):
        message = heard  # its own words, from somebody else
    v6 = draw.below(2)
    addresses = (wire.PEER6_BYTES, MDNS6) if v6 else (wire.PEER_BYTES, MDNS4)
    port = draw.pick((5353, 5353, 999))
    datagram = wire.udp(addresses, (port, 5353), message)
    if v6:
        frame = wire.ip6(wire.UDP, datagram, *addresses, hops=255, mac=MDNS6_MAC)
    else:
        frame = wire.ip4(wire.UDP, datagram, *addresses, ttl=255, mac=MDNS4_MAC)
    world.send(frame, answers=12)


MOVES: tuple[tuple[int, Callable[[World, Draw], None]], ...] = (
    (5, dhcp),
    (2, dhcp6),
    (5, dns),
    (4, mdns),
)
_LOTTERY = [move for weight, move in MOVES for _ in range(weight)]


def play(world: World, draw: Draw) -> None:
    """One move."""
    draw.pick(_LOTTERY)(world, draw)
