"""Bulk transfers whose content is compared, and captures whose every checksum is."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

from scapy.all import IP, TCP, UDP, Ether, IPv6, Packet, PcapReader, Raw

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


def checksum_fault(packet: Packet) -> str | None:
    """What is wrong with a packet's checksums; None: nothing."""
    bare = packet.copy()
    for layer in (IP, TCP, UDP):
        if layer in bare:
            del bare[layer].chksum
    rebuilt = type(packet)(bytes(bare))
    for layer in (IP, TCP, UDP):
        if layer not in packet:
            continue
        found, right = packet[layer].chksum, rebuilt[layer].chksum
        # 0xffff is 0 in ones' complement, and what Linux, too, puts in its place (RFC 768 asks for
        # it, for UDP).
        if found != right and {found, right} != {0, 0xFFFF}:
            return f"{layer.__name__}: {found:#x}, not {right:#x}"
    return None


def inspect(path: Path, mtu: int, most: int = 4000) -> int:
    """Looks at a capture's frames: none longer than the MTU, all checksums right.

    Returns:
        How many segments of the full size there were.
    """
    full = 0
    with PcapReader(str(path)) as frames:
        for number, frame in enumerate(frames):
            if number == most:
                break
            packet = frame.payload if isinstance(frame, Ether) else frame
            assert len(packet) <= mtu, frame.summary()
            if isinstance(packet, (IP, IPv6)):
                assert (fault := checksum_fault(packet)) is None, f"{frame.summary()}: {fault}"
                # Timestamps, and a little room for what else may stand among the options.
                full += Raw in packet and len(packet) > mtu - 40
    return full
