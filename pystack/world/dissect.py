"""A frame in one line: Ethernet, ARP, IPv4, IPv6, TCP, UDP, ICMP."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

__all__ = ["Packet", "dissect"]

_FLAGS = (
    (0x02, "SYN"), (0x01, "FIN"), (0x04, "RST"), (0x08, "PSH"), (0x10, "ACK"), (0x20, "URG"),
    (0x40, "ECE"), (0x80, "CWR"),
)  # fmt: skip
_ICMP = {0: "echo reply", 3: "unreachable", 5: "redirect", 8: "echo", 11: "time exceeded"}
_UNREACHABLE = {0: "net", 1: "host", 2: "protocol", 3: "port", 4: "fragmentation needed"}
_ICMP6 = {
    1: "unreachable", 2: "packet too big", 3: "time exceeded", 128: "echo", 129: "echo reply",
    130: "MLD query", 131: "MLD report", 132: "MLD done", 133: "router solicitation",
    134: "router advertisement", 135: "neighbour solicitation", 136: "neighbour advertisement",
    143: "MLDv2 report",
}  # fmt: skip
_MODULUS = 1 << 32
_EXTENSIONS = (0, 43, 60)
_TCP, _UDP, _ICMP_4, _ICMP_6, _FRAGMENT = 6, 17, 1, 58, 44


@dataclass(frozen=True)
class Packet:
    """What a frame says.

    Attributes:
        protocol: "tcp", "udp", "icmp", "arp" or "other".
        source: The sender's address, "" where there is none.
        target: The receiver's.
        ports: Both ports, of TCP and UDP; else (0, 0).
        text: The rest in words: of TCP its flags.
        sequence: TCP's sequence number,
        acknowledged: what it acknowledges (None: nothing),
        window: and the window it announces, not scaled.
        length: Bytes of payload, of TCP and UDP.
    """

    protocol: str
    source: str = ""
    target: str = ""
    ports: tuple[int, int] = (0, 0)
    text: str = ""
    sequence: int = 0
    acknowledged: int | None = None
    window: int = 0
    length: int = 0

    def __str__(self) -> str:
        return self.told()

    def told(self, sent_from: int = 0, heard_from: int = 0) -> str:
        """In one line.

        Args:
            sent_from: TCP's sequence number that is shown as 0,
            heard_from: and the one of the other direction.
        """
        if not any(self.ports):
            return self.text
        ports = f"{self.ports[0]} > {self.ports[1]}"
        length = f" len={self.length}" if self.length or self.protocol == "udp" else ""
        if self.protocol == "udp":
            return f"UDP {ports}{length}"
        told = f"{ports} {self.text} seq={(self.sequence - sent_from) % _MODULUS}"
        if self.acknowledged is not None:
            told += f" ack={(self.acknowledged - heard_from) % _MODULUS}"
        return told + length


def _tcp(source: str, target: str, data: bytes, size: int) -> Packet:
    one, other, sequence, acknowledged, offset, flags, window = struct.unpack_from("!HHIIBBH", data)
    words = [name for bit, name in _FLAGS if flags & bit]
    if len(words) > 1 and "ACK" in words:
        words.remove("ACK")
    return Packet(
        "tcp", source, target, (one, other), ",".join(words), sequence,
        acknowledged if flags & 0x10 else None, window, size - (offset >> 4) * 4,
    )  # fmt: skip


def _payload(source: str, target: str, number: int, data: bytes, size: int) -> Packet:
    if number == _TCP and len(data) >= 20:
        return _tcp(source, target, data, size)
    if number == _UDP and len(data) >= 8:
        one, other, length = struct.unpack_from("!HHH", data)
        return Packet("udp", source, target, (one, other), length=length - 8)
    if number == _ICMP_4 and len(data) >= 2:
        told = _ICMP.get(data[0], f"type {data[0]}")
        if data[0] == 3:
            told = f"{_UNREACHABLE.get(data[1], f'code {data[1]}')} {told}".replace(
                "fragmentation needed unreachable", "fragmentation needed"
            )
        return Packet("icmp", source, target, text=f"ICMP {told}")
    if number == _ICMP_6 and len(data) >= 2:
        return Packet(
            "icmp", source, target, text=f"ICMPv6 {_ICMP6.get(data[0], f'type {data[0]}')}"
        )
    return Packet("other", source, target, text=f"IP protocol {number}, {size} bytes")


def _ipv4(data: bytes) -> Packet:
    head = (data[0] & 0xF) * 4
    total, _identification, fragment = struct.unpack_from("!HHH", data, 2)
    source, target = (str(ipaddress.IPv4Address(data[at : at + 4])) for at in (12, 16))
    if fragment & 0x1FFF:
        told = f"fragment at {(fragment & 0x1FFF) * 8}, {total - head} bytes"
        return Packet("other", source, target, text=told)
    return _payload(source, target, data[9], data[head:total], total - head)


def _ipv6(data: bytes) -> Packet:
    size, number = struct.unpack_from("!HB", data, 4)
    source, target = (str(ipaddress.IPv6Address(data[at : at + 16])) for at in (8, 24))
    at, end = 40, 40 + size
    while number in _EXTENSIONS and at + 8 <= len(data):
        number, length = data[at], (data[at + 1] + 1) * 8
        at += length
    if number == _FRAGMENT:
        return Packet("other", source, target, text=f"fragment, {end - at - 8} bytes")
    return _payload(source, target, number, data[at:end], end - at)


def _arp(data: bytes) -> Packet:
    operation = struct.unpack_from("!H", data, 6)[0]
    sender, target = (str(ipaddress.IPv4Address(data[at : at + 4])) for at in (14, 24))
    told = f"ARP who has {target}" if operation == 1 else f"ARP {sender} is here"
    return Packet("arp", sender, target, text=told)


def dissect(frame: bytes) -> Packet:
    """What an Ethernet frame says; of one too short for what it claims: "other"."""
    kind = struct.unpack_from("!H", frame, 12)[0] if len(frame) >= 14 else 0
    data = frame[14:]
    try:
        if kind == 0x0800 and len(data) >= 20:
            return _ipv4(data)
        if kind == 0x86DD and len(data) >= 40:
            return _ipv6(data)
        if kind == 0x0806 and len(data) >= 28:
            return _arp(data)
    except (struct.error, ValueError, IndexError):
        return Packet("other", text=f"a broken packet of type 0x{kind:04x}")
    return Packet("other", text=f"Ethernet type 0x{kind:04x}, {len(data)} bytes")
