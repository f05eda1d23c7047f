"""Hostile frames behind virtio's header: every number in it at random, or at its edges."""

from __future__ import annotations

import os
import random
import socket
import struct
from typing import Any

import pytest
from quick import slow
from scapy.all import ARP, ICMP, IP, TCP, UDP, Dot1Q, Ether, IPv6, IPv6ExtHdrHopByHop, Raw

import pystack
from pystack.nic import Descriptor, Framing, Layer, capture

pytestmark = pytest.mark.sanitize

FRAMES = int(os.environ.get("PYSTACK_FUZZ_FRAMES", "100000")) // 30
MAC, PEER_MAC = "02:00:00:00:00:02", "02:00:00:00:00:01"


def seeds(layer: Layer) -> list[bytes]:
    four, six = IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="fd00::1", dst="fd00::2")
    tcp = TCP(sport=1000, dport=80, seq=100, flags="PA", options=[("Timestamp", (1, 2))])
    packets = [
        four / tcp / Raw(bytes(4000)),
        six / tcp / Raw(bytes(4000)),
        four / tcp / Raw(bytes(50000)),
        six / tcp / Raw(bytes(50000)),
        four / UDP(sport=9, dport=7) / Raw(bytes(3000)),
        four / ICMP() / Raw(bytes(40000)),
        six / IPv6ExtHdrHopByHop() / tcp / Raw(bytes(3000)),
        IP(src="10.0.0.1", dst="10.0.0.2", frag=3) / Raw(bytes(2000)),
    ]
    ethernet = Ether(src=PEER_MAC, dst=MAC)
    if layer is Layer.IP:
        return [bytes(packet) for packet in packets]
    return [bytes(ethernet / packet) for packet in packets] + [
        bytes(ethernet / Dot1Q(vlan=3) / packets[0])
    ]


def number(chance: random.Random, size: int) -> int:
    """Mostly one that matters: an edge, a place in the headers, the frame's end."""
    edges = [0, 1, 14, 16, 20, 34, 54, 1400, 0x7FFF, 0xFFFF, size, size - 1, size - 2, size + 1]
    return chance.choice([*edges, chance.randrange(0x10000), chance.randrange(80)]) & 0xFFFF


def hostile(chance: random.Random, frames: list[bytes]) -> bytes:
    frame = bytearray(chance.choice(frames))
    if chance.random() < 0.3:
        del frame[chance.randrange(len(frame)) :]
    for _ in range(chance.choice((0, 0, 1, 3))):
        if frame:
            frame[chance.randrange(min(len(frame), 80))] = chance.randrange(256)
    size = len(frame)
    flags = chance.choice((0, 1, 1, 1, 2, 3, 255))
    kind = chance.choice((0, 1, 1, 4, 4, 3, 5, 0x81, 0x84, 0x80, 255))
    start = chance.choice((34, 54, 20, 40, number(chance, size)))
    offset = chance.choice((16, 6, number(chance, size)))
    gso = number(chance, size)
    return struct.pack("=BBHHHH", flags, kind, number(chance, size), gso, start, offset) + frame


def waiting(theirs: socket.socket) -> list[bytes]:
    """All that the Stack has sent by now."""
    got = []
    try:
        while True:
            got.append(theirs.recv(1 << 17))
    except BlockingIOError:
        return got


def send(theirs: socket.socket, net: pystack.Stack, frame: bytes) -> None:
    """Sends it when there is room: one frame may be cut into thousands of one byte each."""
    while True:
        try:
            theirs.send(frame)
        except BlockingIOError:
            net.step(0)
            waiting(theirs)
        else:
            return


@pytest.mark.parametrize("count", [FRAMES // 10, slow(FRAMES)])
@pytest.mark.parametrize("layer", list(Layer))
@pytest.mark.parametrize("way", ["whole", "forwarding", "captured"])
def test_hostile_headers(way: str, layer: Layer, count: int, tmp_path: Any) -> None:
    chance = random.Random(f"{way} {layer}")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    theirs.setblocking(False)
    frames = seeds(layer)
    with theirs, pystack.Stack(threaded=False, seed=1) as net:
        nic: Any = Descriptor(ours, framing=Framing.VIRTIO, layer=layer)
        if way == "captured":
            nic = capture(nic, tmp_path / "hostile.pcapng", snap_length=64)
        net.attach(nic, "10.0.0.2/24", "fd00::2/64", mac=MAC if layer is Layer.ETHERNET else None)
        net.sysctl["net.ipv4.ip_forward"] = way == "forwarding"
        listener = net.sockets.create_server(("", 80))
        for _ in range(count):
            send(theirs, net, hostile(chance, frames))
            net.step(0)
            waiting(theirs)
        # It still answers.
        echo = IP(src="10.0.0.1", dst="10.0.0.2") / ICMP(id=3, seq=4) / b"alive"
        if layer is Layer.ETHERNET:
            asked = ARP(op=1, hwsrc=PEER_MAC, psrc="10.0.0.1", pdst="10.0.0.2")
            send(theirs, net, bytes(10) + bytes(Ether(src=PEER_MAC, dst=MAC) / asked))
            echo = Ether(src=PEER_MAC, dst=MAC) / echo
        answers: list[bytes] = []
        for step in range(100_000):  # behind all segments of the last ones
            # What waited for ARP may fill the wire just now, and an answer find no room there.
            if step % 1000 == 0:
                send(theirs, net, bytes(10) + bytes(echo))
            net.step(0)
            answers += waiting(theirs)
            if any(b"alive" in answer for answer in answers):
                break
        else:
            pytest.fail("no answer")
        listener.close()
