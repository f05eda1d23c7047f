"""Bulk transfers whose content is compared, and captures whose every checksum is."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

from scapy.utils import RawPcapReader

BLOCK = hashlib.shake_256(b"offload").digest(1 << 18)


def pattern(size: int) -> bytes:
    """Bytes in which no part is like another one nearby."""
    blocks = bytearray()
    number = 0
    while len(blocks) < size:
        blocks += number.to_bytes(8, "big") + BLOCK[8:]
        number += 1
    return bytes(blocks[:size])


def exchange(client: Any, server: Any, size: int) -> None:
    """Sends `size` bytes each way at once, and compares them."""
    data = pattern(size)
    failures: list[BaseException] = []

    def send(sock: Any) -> None:
        try:
            sock.sendall(data)
        except BaseException as error:
            failures.append(error)

    def receive(sock: Any) -> None:
        try:
            got = bytearray()
            while len(got) < size:
                part = sock.recv(1 << 18)
                assert part, f"the stream ended after {len(got)} bytes"
                got += part
            assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=work, args=(sock,))
        for work in (send, receive)
        for sock in (client, server)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


def adds_up(*parts: bytes) -> bool:
    """Whether the ones' complement sum of all 16-bit words is 0, in either of its forms (RFC 1071).

    65536 is 1 modulo 65535: there the sum of the words is their number, taken as a whole. All
    parts but the last are even in length.
    """
    data = b"".join(parts)
    return int.from_bytes(data + b"\0" * (len(data) % 2), "big") % 0xFFFF == 0


# The protocols with a checksum over a pseudo-header, and where it stands. ICMP's has none.
TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
NAMES = {TCP: "TCP", UDP: "UDP", ICMP: "ICMP", ICMPV6: "ICMPv6"}
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60


def upper(packet: bytes) -> tuple[int, bytes, bytes]:
    """The protocol above IP, the addresses, and what IP carries. A fragment has no protocol: -1."""
    if packet[0] >> 4 == 4:
        size = (packet[0] & 15) * 4
        whole = int.from_bytes(packet[6:8], "big") & 0x3FFF == 0
        length = int.from_bytes(packet[2:4], "big")
        return packet[9] if whole else -1, packet[12:20], packet[size:length]
    protocol, at = packet[6], 40
    while protocol in (HOP_BY_HOP, ROUTING, DESTINATION):
        protocol, at = packet[at], at + 8 + packet[at + 1] * 8
    length = 40 + int.from_bytes(packet[4:6], "big")
    return -1 if protocol == FRAGMENT else protocol, packet[8:40], packet[at:length]


def checksum_fault(packet: bytes) -> str | None:
    """What is wrong with the checksums of an IP packet; None: nothing."""
    if packet[0] >> 4 == 4 and not adds_up(packet[: (packet[0] & 15) * 4]):
        return f"IP: {packet[10:12].hex()}"
    protocol, addresses, inner = upper(packet)
    if protocol not in NAMES:
        return None
    pseudo = b""
    if protocol != ICMP:
        pseudo = addresses + len(inner).to_bytes(4, "big") + protocol.to_bytes(4, "big")
    return None if adds_up(pseudo, inner) else f"{NAMES[protocol]}: {inner[:20].hex()}"


ETHERNET = 1  # a capture's link type (LINKTYPE_ETHERNET)


def inspect(path: Path, mtu: int) -> int:
    """Looks at a capture's frames: none longer than the MTU, all checksums right.

    Returns:
        How many TCP segments and UDP datagrams of the full size there were.
    """
    full = 0
    with RawPcapReader(str(path)) as frames:
        for frame, about in frames:
            link = getattr(about, "linktype", None) or frames.linktype
            packet, kind = (frame[14:], frame[12:14]) if link == ETHERNET else (frame, None)
            assert len(packet) <= mtu, frame.hex()
            if kind in (None, b"\x08\x00", b"\x86\xdd"):
                assert (fault := checksum_fault(packet)) is None, f"{fault} in {frame[:100].hex()}"
                # Timestamps, and a little room for what else may stand among the options.
                full += upper(packet)[0] in (TCP, UDP) and len(packet) > mtu - 40
    return full
