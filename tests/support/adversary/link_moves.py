"""What the peer does on the link: ARP, Neighbor Discovery, routers, multicast groups."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from adversary import wire
from adversary.draw import Draw

if TYPE_CHECKING:
    from adversary.world import World

ALL_NODES, ALL_NODES_MAC = wire.six("ff02::1"), bytes.fromhex("333300000001")
LINK6_BYTES = wire.six(wire.LINK6)
_LIFETIMES = (1800, 60, 0, 1, 7200, 0xFFFFFFFF, 30)
# What a neighbour's answer may let go: all that had to wait for it.
WAITING_MOST = 256
GROUPS4 = ("224.1.2.3", "239.9.9.9")
GROUPS6 = ("ff02::99", "ff05::1:3")


def hear(world: World, frame: bytes) -> bool:
    """Answers what neighbours ask. Says whether that is all there is to the frame."""
    kind = frame[12:14]
    if kind == b"\x08\x06":
        asked, sender = frame[38:42], frame[28:32]
        nobody = (sender, bytes(4), wire.OURS_BYTES)
        if frame[20:22] == b"\0\1" and sender != bytes(4) and asked not in nobody:
            world.send(wire.arp(2, asked, sender), answers=WAITING_MOST)
        return True
    if kind == b"\x86\xdd" and frame[20] == wire.ICMP6 and frame[54] == 135:
        source, asked = frame[22:38], frame[62:78]
        if source != bytes(16) and asked != wire.OURS6_BYTES:
            world.send(advert(asked, source), answers=WAITING_MOST)
        return True
    return False


def advert(target: bytes, to: bytes, flags: int = 0x60, mac: bytes = wire.PEER_MAC) -> bytes:
    """A neighbour advertisement."""
    rest = bytes((flags, 0, 0, 0)) + target + b"\2\1" + mac
    return wire.icmp6(136, 0, rest, target if target[0] != 0xFF else wire.PEER6_BYTES, to)


def arp(world: World, draw: Draw) -> None:
    """Requests, replies nobody asked for, probes and claims, of the Stack's address too."""
    sender = wire.four(draw.pick((wire.PEER, "10.0.0.9", wire.OURS, "0.0.0.0", "10.0.0.255")))
    asked = wire.four(draw.pick((wire.OURS, "10.0.0.77", wire.PEER, "0.0.0.0")))
    operation = draw.pick((1, 2, 3, 0, 9))
    mac = wire.BROADCAST if draw.below(2) else wire.MAC
    count = 1 if not draw.once_in(12) else 1 + draw.below(60)
    for number in range(count):
        if count > 1:
            sender = wire.four("10.0.0." + str(10 + number))
        world.send(wire.arp(operation, sender, asked, mac=mac), answers=WAITING_MOST)


def solicit(world: World, draw: Draw) -> None:
    """A neighbour solicitation, or a probe for the Stack's own address."""
    source = wire.six(draw.pick((wire.PEER6, wire.LINK6, "::", "fd00::99", wire.OURS6)))
    target = wire.six(draw.pick((wire.OURS6, "fd00::77", "ff02::1")))
    options = b"" if draw.below(2) else b"\1\1" + wire.PEER_MAC
    if draw.once_in(6):
        options = draw.pick((b"\1\0" + bytes(6), b"\1\2" + bytes(6), b"\xfe\1" + bytes(6), b"\1"))
    group = wire.six("ff02::1:ff00:2")
    mac = bytes.fromhex("3333ff000002")
    hops = draw.pick((255, 64, 255))
    to, at = draw.pick(((group, mac), (wire.OURS6_BYTES, wire.MAC)))
    world.send(wire.icmp6(135, 0, bytes(4) + target + options, source, to, hops, at), answers=3)


def advertise(world: World, draw: Draw) -> None:
    """Neighbour advertisements with any flags: a router that is none, another MAC, our address."""
    target = wire.six(draw.pick((wire.PEER6, wire.LINK6, "fd00::77", wire.OURS6)))
    flags = draw.pick((0x60, 0x20, 0x40, 0, 0xE0, 0xA0))
    mac = wire.PEER_MAC if draw.below(3) else bytes.fromhex("0200000000" + "0a")
    if draw.below(2):
        world.send(advert(target, wire.OURS6_BYTES, flags, mac), answers=WAITING_MOST)
    else:
        rest = bytes((flags, 0, 0, 0)) + target + (b"" if draw.below(2) else b"\2\1" + mac)
        world.send(wire.icmp6(136, 0, rest, target, ALL_NODES, 255, ALL_NODES_MAC), answers=3)


def prefix(draw: Draw, number: int) -> bytes:
    """A prefix information option."""
    network = wire.six(f"fd0{1 + number}::")
    if draw.once_in(8):
        network = wire.six(draw.pick(("fe80::", "ff00::", "::", "fd00::")))
    return (
        bytes((3, 4, draw.pick((64, 0, 128, 48, 63, 255)) if draw.once_in(4) else 64))
        + bytes((draw.pick((0xC0, 0x80, 0x40, 0)),))
        + struct.pack("!III", draw.pick(_LIFETIMES), draw.pick(_LIFETIMES), 0)
        + network
    )


def router(world: World, draw: Draw) -> None:
    """A router's advertisement, ordinary or not: lifetimes, prefixes, MTU, name servers."""
    rest = struct.pack(
        "!BBHII",
        draw.pick((64, 0, 1, 255)),
        draw.pick((0, 0x40, 0x80, 0xC0)),
        draw.pick((1800, 0, 1, 9000, 65535)),
        draw.pick((0, 30000, 1, 3600000, 0xFFFFFFFF)),
        draw.pick((0, 1000, 1, 0xFFFFFFFF)),
    )
    if not draw.once_in(3):
        rest += b"\1\1" + wire.PEER_MAC
    for _ in range(draw.below(3)):
        rest += prefix(draw, draw.below(6))
    if draw.below(2):
        mtu = draw.pick((1500, 1280, 1400, 1279, 0, 68, 9000, 0xFFFFFFFF))
        rest += b"\5\1\0\0" + mtu.to_bytes(4, "big")
    if draw.below(2):
        count = draw.pick((1, 2, 5))
        rest += bytes((25, 1 + 2 * count, 0, 0)) + draw.pick(_LIFETIMES).to_bytes(4, "big")
        rest += b"".join(wire.six(f"fd00::{5 + one}") for one in range(count))
    if draw.once_in(6):
        rest += draw.pick(
            (b"\5\0", b"\3\1" + bytes(6), b"\x19\2" + bytes(14), b"\x1f\1" + bytes(6), b"\1")
        )
    source = LINK6_BYTES if not draw.once_in(5) else wire.six(draw.pick(("fe80::2", wire.PEER6)))
    hops = 255 if not draw.once_in(8) else 64
    world.send(wire.icmp6(134, 0, rest, source, ALL_NODES, hops, ALL_NODES_MAC), answers=6)


def redirect(world: World, draw: Draw) -> None:
    """A redirect, of either family, to a router or a neighbour that there may not be."""
    if draw.below(2):
        target = wire.six(draw.pick((wire.PEER6, "fe80::2", wire.OURS6, "ff02::1")))
        rest = bytes(4) + target + wire.six(draw.pick((wire.PEER6, "2001:db8::1", wire.OURS6)))
        if draw.below(2):
            rest += b"\2\1" + wire.PEER_MAC
        world.send(wire.icmp6(137, 0, rest, LINK6_BYTES), answers=3)
        return
    gateway = wire.four(draw.pick(("10.0.0.9", wire.OURS, "224.0.0.1", "198.51.100.1")))
    to = wire.four(draw.pick(("198.51.100.7", wire.PEER)))
    quoted = wire.ip4(wire.UDP, bytes(8), wire.OURS_BYTES, to)[14:]
    world.send(wire.icmp4(5, draw.below(4), gateway + quoted), answers=3)


def groups6(world: World, draw: Draw) -> None:
    """MLD: queries of both versions, reports, dones."""
    group = wire.six(draw.pick(("::", *GROUPS6, "ff02::1")))
    delay = draw.pick((1000, 0, 1, 65535))
    kind = draw.pick((130, 131, 132, 143))
    rest = struct.pack("!HH", delay, 0) + group
    if draw.once_in(3):
        rest += draw.pick((b"\2\x7d\0\0", b"\2\x7d\0\1" + bytes(16), b"\0"))
    message = wire.summed(wire.ICMP6, bytes((kind, 0, 0, 0)) + rest, 2, LINK6_BYTES, ALL_NODES)
    alert = bytes((wire.ICMP6, 0)) + b"\5\2\0\0\1\0"
    world.send(
        wire.ip6(0, alert + message, LINK6_BYTES, ALL_NODES, hops=1, mac=ALL_NODES_MAC), answers=12
    )


def groups4(world: World, draw: Draw) -> None:
    """IGMP: queries of all versions, reports, leaves."""
    group = wire.four(draw.pick(("0.0.0.0", *GROUPS4, "224.0.0.1")))
    kind = draw.pick((0x11, 0x16, 0x17, 0x12, 0x22, 0x99))
    body = bytes((kind, draw.pick((100, 0, 1, 255)), 0, 0)) + group
    if draw.once_in(3):
        body += draw.pick((b"\2\x7d\0\0", b"\2\x7d\0\1" + bytes(4), b"\0"))
    body = body[:2] + wire.checksum(body).to_bytes(2, "big") + body[4:]
    to = wire.four("224.0.0.1")
    frame = wire.ip4(
        wire.IGMP,
        body,
        wire.PEER_BYTES,
        to,
        ttl=1,
        options=b"\x94\4\0\0",
        mac=bytes.fromhex("01005e000001"),
    )
    world.send(frame, answers=12)


MOVES: tuple[tuple[int, Callable[[World, Draw], None]], ...] = (
    (4, arp),
    (3, solicit),
    (3, advertise),
    (6, router),
    (2, redirect),
    (2, groups6),
    (2, groups4),
)
_LOTTERY = [move for weight, move in MOVES for _ in range(weight)]


def play(world: World, draw: Draw) -> None:
    """One move."""
    draw.pick(_LOTTERY)(world, draw)
