"""What a stranger's frames can do to the elements of a World."""

from __future__ import annotations

import random
import socket
import struct

import pytest
from far_end import checksum

from pystack._native import lib
from pystack.nic import Nic
from pystack.world import FqCoDel, World

pytestmark = pytest.mark.sanitize

OUTSIDE, STRANGER, INSIDE = "198.51.100.1", "198.51.100.9", "192.168.1.2"


class Stranger:
    """The end of a link from which any frame may come."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name, self.segment = world, name, None
        self.machine = self

    def accept(self, addresses: list[str]) -> None:
        del addresses

    def plug(self, end: Nic, nic: Nic, addresses: list[str]) -> None:
        del addresses
        self.nic = nic

    def send(self, frame: bytes) -> None:
        lib.ps_nic_transmit(self.nic._pointer, frame, len(frame), self.world.clock.now_us())


def packet(source: str, destination: str, protocol: int, data: bytes, flags: int = 0) -> bytes:
    head = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 2, 20 + len(data), 7, flags, 64, protocol, 0,
        socket.inet_aton(source), socket.inet_aton(destination),
    )  # fmt: skip
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + data


def icmp(kind: int, code: int, rest: bytes) -> bytes:
    data = struct.pack(">BBH", kind, code, 0) + rest
    data += bytes(len(data) % 2)
    return data[:2] + struct.pack(">H", checksum(data)) + data[4:]


def frames(mac: bytes, source: str, destination: str) -> list[bytes]:
    udp = struct.pack(">HHHH", 7, 4000, 12, 0) + b"data"
    tcp = struct.pack(">HHIIBBHHH", 80, 4000, 1, 2, 0x50, 0x12, 1000, 0, 0)
    quotes = [
        packet(destination, source, 17, struct.pack(">HHHH", 4000, 7, 8, 0)),
        packet(destination, source, 6, struct.pack(">HHI", 4000, 80, 1)),
        packet(destination, source, 1, icmp(8, 0, struct.pack(">HH", 5, 1))),
        packet(destination, source, 17, udp[:4], 0x2000),
    ]
    packets = [
        packet(source, destination, 17, udp),
        packet(source, destination, 17, udp, 0x2000),
        packet(source, destination, 17, b"rest", 0x0001),
        packet(source, destination, 6, tcp),
        packet(source, destination, 1, icmp(8, 0, struct.pack(">HH", 5, 1))),
        packet(source, destination, 1, icmp(0, 0, struct.pack(">HH", 5, 1))),
        packet(source, destination, 47, b"GRE?"),
        *(packet(source, destination, 1, icmp(3, 3, bytes(4) + quote)) for quote in quotes),
        *(packet(source, destination, 1, icmp(3, 4, bytes(4) + one[:24])) for one in quotes),
    ]
    return [mac + b"\x02\0\0\0\0\x09\x08\x00" + one for one in packets]


def mangled(frame: bytes, chance: random.Random) -> bytes:
    data = bytearray(frame)
    for _each in range(chance.randrange(3)):
        data[chance.randrange(12, len(data))] = chance.choice((0, 1, 0x0F, 0x46, 0x4F, 0xFF))
    if chance.random() < 0.4:
        del data[chance.randrange(1, len(data)) :]
    return bytes(data)


@pytest.mark.parametrize("kind", ["full-cone", "symmetric"])
def test_a_nat_survives_what_is_no_packet(kind: str) -> None:
    chance = random.Random(kind)
    with World(seed=2) as world:
        nat, inside = world.nat("nat", kind, limit=50), world.host("inside")
        wan, lan = world.switch("wan"), world.switch("lan")
        outer, inner = Stranger(world, "outer"), Stranger(world, "inner")
        server = world.host("server")
        world.link(nat.outside, wan, addresses=(f"{OUTSIDE}/24", ()))
        world.link(server, wan, addresses=(f"{STRANGER}/24", ()))
        world.link(nat.inside, lan, addresses=("192.168.1.1/24", ()))
        world.link(inside, lan, addresses=(f"{INSIDE}/24", ()))
        queue = FqCoDel(target="1us", interval="1us", flows=3)
        for stranger, switch in ((outer, wan), (inner, lan)):
            world.link(stranger, switch, addresses=((), ()), rate="100Mbit/s", queue=queue)
        inside.routes.add("0.0.0.0/0", gateway="192.168.1.1")
        assert inside.ping(STRANGER).received == 1
        outer_mac, inner_mac = (
            bytes.fromhex(one.mac.replace(":", "")) for one in nat.interfaces if one.mac
        )
        for _each in range(3000):
            outer.send(mangled(chance.choice(frames(outer_mac, STRANGER, OUTSIDE)), chance))
            to = chance.choice((STRANGER, OUTSIDE))
            inner.send(mangled(chance.choice(frames(inner_mac, "192.168.1.7", to)), chance))
            if chance.random() < 0.1:
                world.sleep(chance.random())
        counts = nat.counts()
        assert min(counts.filtered, counts.untranslatable, counts.outgoing) > 100
        world.sleep(600)
        assert inside.ping(STRANGER).received == 1
        assert server.ping(OUTSIDE).received == 1
