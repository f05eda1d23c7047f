"""A Stack under a clock turned by hand, on a wire to a DHCPv6 server and router: the test."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from link import ALL_NODES, ALL_NODES_MAC
from scapy.all import Ether, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.inet import UDP

import pystack
from pystack.serving.frame6 import read_udp6

SOLICIT, ADVERTISE, REQUEST, CONFIRM, RENEW, REBIND, REPLY, RELEASE, DECLINE, INFORMATION = (
    1, 2, 3, 4, 5, 6, 7, 8, 9, 11,
)  # fmt: skip
CLIENT_ID, SERVER_ID, IA_NA, ADDRESS, ASKED, PREFERENCE, ELAPSED, STATUS, RAPID, DNS, DOMAINS = (
    1, 2, 3, 5, 6, 7, 8, 13, 14, 23, 24,
)  # fmt: skip
UNSPECIFIED, NO_ADDRESSES, NO_BINDING, NOT_ON_LINK = 1, 2, 3, 4
FOREVER = 0xFFFFFFFF
MAC, SERVER_MAC = "02:00:00:00:00:02", "02:00:00:00:00:01"
HOST, ROUTER, OURS, OTHER, NAMES = (
    "fe80::ff:fe00:2", "fe80::1", "2001:db8::100", "2001:db8::200", "2001:db8::53",
)  # fmt: skip
DUID, SECOND = b"\0\3\0\1" + bytes.fromhex("020000000001"), b"\0\3\0\1" + bytes(6)


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6, address)


def option(code: int, value: bytes, size: int | None = None) -> bytes:
    return struct.pack(">HH", code, len(value) if size is None else size) + value


def options(area: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(area):
        code, size = struct.unpack_from(">HH", area, at)
        found.append((code, area[at + 4 : at + 4 + size]))
        at += 4 + size
    return found


def of(message: bytes) -> dict[int, bytes]:
    """A message's options."""
    return dict(options(message[4:]))


def wanted(message: bytes) -> list[str]:
    """The addresses that a message speaks of."""
    inside = options(of(message)[IA_NA][12:])
    return [str(socket.inet_ntop(socket.AF_INET6, one[:16])) for code, one in inside
            if code == ADDRESS]  # fmt: skip


def status(code: int) -> bytes:
    return option(STATUS, code.to_bytes(2, "big") + b"so it is")


def address(one: str = OURS, preferred: int = 300, valid: int = 600, more: bytes = b"") -> bytes:
    return option(ADDRESS, packed(one) + struct.pack(">II", preferred, valid) + more)


def association(
    *inside: bytes, t1: int = 100, t2: int = 200, identity: bytes = bytes.fromhex("00000002")
) -> bytes:
    return option(IA_NA, identity + struct.pack(">II", t1, t2) + b"".join(inside))


def reply(
    asked: bytes,
    kind: int,
    *more: bytes,
    server: bytes = DUID,
    client: bytes | None = None,
    transaction: bytes = b"",
    port: int = 547,
    size: int | None = None,
    station: str = MAC,
) -> bytes:
    """The frame of a server's message, of which `size` bytes are sent."""
    head = bytes((kind,)) + (transaction or asked[1:4])
    head += option(SERVER_ID, server) if server else b""
    head += option(CLIENT_ID, of(asked)[CLIENT_ID] if client is None else client)
    payload = head + b"".join(more)
    frame = Ether(src=SERVER_MAC, dst=station) / IPv6(src=ROUTER, dst=HOST)
    return bytes(frame / UDP(sport=port, dport=546) / payload[:size])


class Server:
    """A DHCPv6 server, and a router, at the far end of a wire.

    Attributes:
        heard: When each message came, in seconds, and its type.
        asked: The messages.
        says: What it says beside its name to a message of a type; one that is missing gets no
            answer.
        taken: Addresses that another host has.
    """

    def __init__(self, clock: pystack.hypercalls.ManualClock) -> None:
        self.nic = pystack.nic.PythonNic(self._frame)
        self._clock = clock
        self.heard: list[tuple[float, int]] = []
        self.asked: list[bytes] = []
        self.frames = self.router_solicitations = 0
        self.taken: set[str] = set()
        given = (association(address()), option(DNS, packed(NAMES)))
        self.says: dict[int, Sequence[bytes]] = dict.fromkeys(
            (SOLICIT, REQUEST, RENEW, REBIND), given
        )
        self.says |= {CONFIRM: (status(0),), RELEASE: (status(0),), DECLINE: (status(0),)}

    def kinds(self) -> list[int]:
        return [kind for _, kind in self.heard]

    def times(self, kind: int) -> list[float]:
        """When a message of a type came."""
        return [when for when, one in self.heard if one == kind]

    def forget(self) -> None:
        self.heard.clear()
        self.asked.clear()

    def advertise(self, *, managed: int = 1, other: int = 0, source: str = ROUTER) -> None:
        """A router's advertisement."""
        head = Ether(src=SERVER_MAC, dst=ALL_NODES_MAC) / IPv6(src=source, dst=ALL_NODES, hlim=255)
        self.nic.deliver(bytes(head / ICMPv6ND_RA(M=managed, O=other)))

    def _frame(self, frame: bytes) -> None:
        self.frames += 1
        if frame[12:14] != b"\x86\xdd":
            return
        if frame[20] == 58:
            self._neighbour(frame)
        elif frame[20] == 17 and frame[56:58] == (547).to_bytes(2, "big"):
            self._message(frame)

    def _neighbour(self, frame: bytes) -> None:
        packet = Ether(frame)
        self.router_solicitations += frame[54] == 133
        if ICMPv6ND_NS in packet and packet[ICMPv6ND_NS].tgt in self.taken:
            target = packet[ICMPv6ND_NS].tgt
            head = Ether(src=SERVER_MAC, dst=ALL_NODES_MAC)
            head /= IPv6(src=target, dst=ALL_NODES, hlim=255)
            said = ICMPv6ND_NA(tgt=target, R=0, S=0, O=1)
            self.nic.deliver(bytes(head / said / ICMPv6NDOptDstLLAddr(lladdr=SERVER_MAC)))

    def _message(self, frame: bytes) -> None:
        datagram = read_udp6(frame, True)
        assert datagram is not None
        assert str(datagram.target) == "ff02::1:2"
        assert str(datagram.source) == HOST
        kind = datagram.payload[0]
        self.heard.append((self._clock.now_us() / 1e6, kind))
        self.asked.append(datagram.payload)
        said = self.says.get(kind)
        if said is not None:
            rapid = any(one == option(RAPID, b"") for one in said)
            answer = ADVERTISE if kind == SOLICIT and not rapid else REPLY
            self.nic.deliver(reply(datagram.payload, answer, *said))


class Place:
    """A Stack under a clock turned by hand, on a wire to a server."""

    def __init__(self, engine: str, **options: Any) -> None:
        self.clock = pystack.hypercalls.ManualClock(start=1)
        self.server = Server(self.clock)
        self.lines: list[str] = []
        settings = {"seed": 1, "log": self, "threaded": False, **options}
        self.net = pystack.Stack(engine=engine, clock=self.clock, **settings)
        self.eth = self.net.attach(self.server.nic, mac=MAC)
        self.run(3)  # its own address is checked

    def log(self, level: int, text: str) -> None:
        self.lines.append(text)

    def run(self, seconds: float) -> None:
        """Lets time pass, timer by timer."""
        until = self.clock.now_us() + round(seconds * 1e6)
        while True:
            seen = self.server.frames
            due = self.net.step()
            if self.server.frames != seen:
                continue  # the answers are there now
            left = (until - self.clock.now_us()) / 1e6
            if left <= 0:
                return
            self.clock.advance(max(1e-6, left if due is None else min(left, due)))

    def say(self, kind: int, *more: bytes, asked: bytes | None = None, **fields: Any) -> None:
        """The server says something about the last message, or another."""
        asked = self.server.asked[-1] if asked is None else asked
        self.server.nic.deliver(reply(asked, kind, *more, **fields))
        self.run(0.01)

    def leased(self) -> list[Any]:
        """The interface's addresses but its own."""
        return [one for one in self.eth.addresses
                if one.ip.version == 6 and not one.ip.is_link_local]  # fmt: skip

    def addresses(self) -> list[str]:
        return [str(one.address) for one in self.leased()]

    def nameservers(self) -> list[str]:
        return [str(one) for one in self.net.nameservers]

    def bind(self) -> None:
        """Has it get its addresses."""
        self.eth.dhcp6()
        self.server.advertise()
        self.run(6)
        assert self.addresses() == [f"{OURS}/128"]
        assert self.eth.lease6.bound


@contextmanager
def placed(engine: str, **options: Any) -> Iterator[Place]:
    place = Place(engine, **options)
    try:
        yield place
    finally:
        place.net.close(abrupt=True)
