"""A Stack in virtual time whose wire's far end is the test, and frames made by hand, in bulk."""

from __future__ import annotations

import socket
import struct
from types import TracebackType
from typing import Any

import pystack
from pystack.hypercalls import ManualClock

OURS, THEIRS = {4: "10.0.0.2", 6: "fd00::2"}, {4: "10.0.0.1", 6: "fd00::1"}
OUR_MAC, THEIR_MAC = "02:00:00:00:00:02", "02:00:00:00:00:01"
ICMP, UDP, FRAGMENT, ICMP6 = 1, 17, 44, 58
MORE = 0x2000  # IPv4's bit


def packed(address: str) -> bytes:
    """An address as it is on the wire."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def ethernet(kind: int, payload: bytes, to: str = OUR_MAC) -> bytes:
    """A frame from the far end."""
    macs = bytes.fromhex((to + THEIR_MAC).replace(":", ""))
    return macs + struct.pack("!H", kind) + payload


def checksum(octets: bytes) -> int:
    """RFC 1071's."""
    octets += bytes(len(octets) % 2)
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ip4(
    protocol: int,
    payload: bytes,
    source: str = THEIRS[4],
    to: str = OURS[4],
    *,
    identification: int = 0,
    offset: int = 0,
    options: bytes = b"",
    mac: str = OUR_MAC,
) -> bytes:
    """A frame with an IPv4 packet; `offset` is the field, in eights, with its flags."""
    size = 20 + len(options)
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x40 | size // 4, 0, size + len(payload), identification, offset, 64,
        protocol, 0, packed(source), packed(to),
    ) + options  # fmt: skip
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    return ethernet(0x0800, header + payload, mac)


def ip6(
    following: int, payload: bytes, source: str = THEIRS[6], to: str = OURS[6], mac: str = OUR_MAC
) -> bytes:
    """A frame with an IPv6 packet."""
    header = struct.pack("!IHBB", 6 << 28, len(payload), following, 64)
    return ethernet(0x86DD, header + packed(source) + packed(to) + payload, mac)


def upper(protocol: int, message: bytes, at: int, source: str, to: str) -> bytes:
    """A message with its checksum, which is `at` its offset."""
    body = packed(source) + packed(to) + struct.pack("!II", len(message), protocol) + message
    if protocol == ICMP:
        body = message
    return message[:at] + struct.pack("!H", checksum(body) or 0xFFFF) + message[at + 2 :]


def udp(version: int, source_port: int, port: int, data: bytes, **addresses: str) -> bytes:
    """A UDP datagram with its checksum, to go into one packet or several."""
    source = addresses.get("source", THEIRS[version])
    to = addresses.get("to", OURS[version])
    header = struct.pack("!HHHH", source_port, port, 8 + len(data), 0)
    return upper(UDP, header + data, 6, source, to)


def fragment(
    version: int, whole: bytes, start: int, end: int, identification: int, protocol: int = UDP,
    *, more: bool | None = None, **fields: Any,
) -> bytes:  # fmt: skip
    """A fragment of a packet's payload; those that do not reach its end say that more come."""
    more = end < len(whole) if more is None else more
    if version == 4:
        offset = start // 8 | (MORE if more else 0)
        fields["identification"] = identification & 0xFFFF
        return ip4(protocol, whole[start:end], offset=offset, **fields)
    header = struct.pack("!BBHI", protocol, 0, start | more, identification)
    return ip6(FRAGMENT, header + whole[start:end], **fields)


class FarEnd:
    """The far end of a Stack's wire. It answers nothing by itself."""

    def __init__(self, *, mtu: int = 1500, **options: Any) -> None:
        """`options` are the Stack's."""
        self.clock = ManualClock(1000.0)
        near, self.wire = pystack.nic.wire(mtu=mtu, queue_frames=100_000)
        options = {"seed": 1, **options}
        self.net = pystack.Stack(threaded=False, clock=self.clock, **options)
        self.sockets: list[Any] = []
        self.nic = self.net.attach(near, f"{OURS[4]}/24", f"{OURS[6]}/64", mac=OUR_MAC)
        for address in THEIRS.values():
            self.net.neighbours.add(address, THEIR_MAC)
        self.run(2)  # duplicate address detection
        self.frames()

    def __enter__(self) -> FarEnd:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for made in self.sockets:
            made.close()
        self.net.close(abrupt=True)

    def run(self, seconds: float = 0, step: float = 0.05) -> None:
        """Lets time pass."""
        self.net.step()
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            self.net.step()

    def frames(self) -> list[bytes]:
        """What the Stack has sent."""
        found = []
        while (frame := self.wire.receive(0)) is not None:
            found.append(frame)
        return found

    def send(self, *frames: bytes) -> None:
        """Sends to the Stack, which takes all of it."""
        for at in range(0, len(frames), 64):
            for frame in frames[at : at + 64]:
                self.wire.send(frame)
            self.net.step()

    def answers(self, *frames: bytes) -> list[bytes]:
        """What the Stack sends at once in answer to these."""
        self.frames()
        self.send(*frames)
        return self.frames()

    def socket(self, version: int, port: int, kind: int = socket.SOCK_DGRAM) -> Any:
        """A socket on a port of every address, which never blocks and is closed at the end."""
        made = self.net.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, kind)
        made.bind(("::" if version == 6 else "0.0.0.0", port))
        made.setblocking(False)
        self.sockets.append(made)
        return made
