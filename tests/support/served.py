"""A Stack under a clock turned by hand, on a wire to a DHCP server that the test is."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any

import pystack
from pystack.serving.frame import BROADCAST, read_arp, read_udp4, udp4_frame

MASK, ROUTER, NAMES, DOMAIN, LEASE, OVERLOAD, TYPE, SERVER, T1, T2 = (
    1, 3, 6, 15, 51, 52, 53, 54, 58, 59,
)  # fmt: skip
DISCOVER, OFFER, REQUEST, ACK, NAK, RELEASE = 1, 2, 3, 5, 6, 7
OURS, SERVERS, DNS = map(IPv4Address, ("10.0.0.9", "10.0.0.1", "10.0.0.53"))
SERVER_MAC, MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
ALL = IPv4Address("255.255.255.255")
COOKIE = bytes((99, 130, 83, 99))


def option(code: int, value: bytes) -> bytes:
    return bytes((code, len(value))) + value


def reply(
    asked: bytes,
    kind: int,
    options: bytes,
    *,
    address: IPv4Address = OURS,
    begins: bytes = b"\2\1\6\0",
    transaction: bytes = b"",
    client: bytes = b"",
    sname: bytes = b"",
    file: bytes = b"",
    cookie: bytes = COOKIE,
    station: bytes = BROADCAST,
    port: int = 67,
    size: int | None = None,
) -> bytes:
    """The frame of a server's message (RFC 2131 2), of which `size` bytes are sent."""
    head = begins + (transaction or asked[4:8]) + asked[8:12] + bytes(4) + address.packed
    head += bytes(8) + (client or asked[28:34]).ljust(16, b"\0")
    head += sname.ljust(64, b"\0") + file.ljust(128, b"\0")
    payload = head + cookie + option(TYPE, bytes((kind,))) + options + b"\xff"
    return udp4_frame((SERVER_MAC, station), (SERVERS, ALL), (port, 68), payload[:size])


class Server:
    """A DHCP server at the far end of a wire.

    Attributes:
        heard: The types of the messages that came, in order.
        asked: The last of them.
        lease_s: The lease's length.
        answers: What it says to a message of a type; a type that is missing gets no answer.
    """

    def __init__(self) -> None:
        self.nic = pystack.nic.PythonNic(self._frame)
        self.heard: list[int] = []
        self.asked = b""
        self.lease_s = 600
        self.answers = {DISCOVER: OFFER, REQUEST: ACK}
        self.frames: list[bytes] = []

    def _frame(self, frame: bytes) -> None:
        self.frames.append(frame)
        packet = read_arp(frame) if frame[12:14] == b"\x08\x06" else None
        if packet is not None and packet.target == SERVERS and packet.operation == 1:
            body = struct.pack(">HHBBH6s4s6s4s", 1, 0x800, 6, 4, 2, SERVER_MAC, SERVERS.packed,
                               packet.sender_mac, packet.sender.packed)  # fmt: skip
            self.nic.deliver(packet.sender_mac + SERVER_MAC + b"\x08\x06" + body)
        if frame[12:14] != b"\x08\x00" or frame[23] != 17 or frame[36:38] != b"\0\x43":
            return
        datagram = read_udp4(frame, True)
        assert datagram is not None
        kind = datagram.payload[242]  # the type is the first option
        self.heard.append(kind)
        self.asked = datagram.payload
        if kind in self.answers:
            self.nic.deliver(self.reply(datagram.payload, self.answers[kind]))

    def reply(self, asked: bytes, kind: int) -> bytes:
        """A message of the server's."""
        return reply(asked, kind, self.options(kind))

    def options(self, kind: int) -> bytes:
        """What it says beside the message's type."""
        found = option(SERVER, SERVERS.packed)
        if kind != NAK:
            found += option(LEASE, self.lease_s.to_bytes(4, "big"))
            found += option(MASK, bytes((255, 255, 255, 0))) + option(ROUTER, SERVERS.packed)
            found += option(NAMES, DNS.packed) + option(DOMAIN, b"home")
        return found


class Place:
    """A Stack under a clock turned by hand, on a wire to a server."""

    def __init__(self, engine: str, **options: Any) -> None:
        self.clock = pystack.hypercalls.ManualClock(start=1)
        self.server = Server()
        self.lines: list[str] = []
        settings = {"seed": 1, "log": self, "threaded": False, **options}
        self.net = pystack.Stack(engine=engine, clock=self.clock, **settings)
        self.eth = self.net.attach(self.server.nic, mac=MAC)

    def log(self, level: int, text: str) -> None:
        self.lines.append(text)

    def run(self, seconds: float) -> None:
        """Lets time pass, timer by timer."""
        until = self.clock.now_us() + round(seconds * 1e6)
        while True:
            seen = len(self.server.frames)
            due = self.net.step()
            if len(self.server.frames) != seen:
                continue  # the answers are there now
            left = (until - self.clock.now_us()) / 1e6
            if left <= 0:
                return
            self.clock.advance(max(1e-6, left if due is None else min(left, due)))

    def meet(self) -> None:
        """Has the Stack know the server's station: lwIP's last word doesn't wait for ARP."""
        with self.net.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", (str(SERVERS), 9))
        self.run(1)

    def addresses(self) -> list[str]:
        return [str(one.address) for one in self.eth.addresses if one.address.version == 4]


@contextmanager
def placed(engine: str, **options: Any) -> Iterator[Place]:
    place = Place(engine, **options)
    try:
        yield place
    finally:
        place.net.close(abrupt=True)
