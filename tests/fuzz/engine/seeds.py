"""Writes the seeds of the engine's fuzzer: a folder of small inputs (see target.c, frames.c).

python tests/fuzz/engine/seeds.py FOLDER
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
SYN_OPTIONS = b"\x02\x04\x05\xb4\x01\x03\x03\x07\x04\x02\x08\x0a\0\0\0\1\0\0\0\0"


def segment(
    flags: int,
    *,
    seq: int = 0,
    ack: int = 0,
    window: int = 0xFFFF,
    data: int = 0,
    options: bytes = b"",
    which: int = 0,
) -> bytes:
    """A TCP segment; `data` in steps of 128 bytes, up to 15."""
    shape = data << 4 | (
        10 if len(options) > 32 else 8 if len(options) > 8 else 2 if options else 0
    )
    room = (shape & 10) * 4
    head = struct.pack(
        "!BBBHHHB", 0, which, flags, seq & 0xFFFF, ack & 0xFFFF, window & 0xFFFF, shape
    )
    return head + options.ljust(room, b"\1")


def packet(protocol: int, body: bytes, shape: int = 0) -> bytes:
    """An IP packet; `shape` says which family and addresses."""
    return struct.pack("!BBBH", 1, shape, protocol, len(body)) + body


def raw(frame: bytes) -> bytes:
    """A frame as it is."""
    return struct.pack("!BH", 2, len(frame)) + frame


def time_ms(milliseconds: int) -> bytes:
    """Time that passes."""
    if milliseconds < 600:
        return struct.pack("!BH", 3, milliseconds * 50)
    return struct.pack("!BH", 3, 0x8000 + min(milliseconds // 4, 0x7FFF))


def call(what: int, which: int = 0, number: int = 0) -> bytes:
    """A socket call: see `call` in target.c."""
    return struct.pack("!BBBH", 4, what, which, number)


def udp(source: int, to: int, body: bytes) -> bytes:
    """A UDP datagram."""
    return struct.pack("!HHHH", source, to, 8 + len(body), 0) + body


def seeds() -> dict[str, bytes]:
    """Each by its name."""
    opened = segment(SYN, which=0x41, options=SYN_OPTIONS) + segment(ACK)
    accepted = opened + call(0, 0)
    called = call(7) + segment(SYN | ACK, options=SYN_OPTIONS)
    dhcp = bytes((2, 1, 6, 0)) + bytes(224 + 8) + b"\x63\x82\x53\x63\x35\1\2\x36\4\x0a\0\0\1\xff"
    advert = bytes((134, 0, 0, 0, 64, 0x40, 7, 8)) + bytes(8)
    advert += bytes((3, 4, 64, 0xC0)) + struct.pack("!III", 600, 300, 0) + b"\xfd\1" + bytes(14)
    advert += b"\5\1\0\0\0\0\5\0" + bytes((25, 3, 0, 0)) + struct.pack("!I", 60) + bytes(16)
    answer = struct.pack("!6H", 0, 0x8180, 1, 1, 0, 0) + b"\7example\4test\0\0\1\0\1"
    answer += b"\xc0\x0c\0\1\0\1\0\0\0\x78\0\4\x0a\0\0\x09"
    return {
        "open": opened,
        "data": accepted + segment(ACK | PSH, data=5) + call(1, 4, 500) + time_ms(50),
        "gap": accepted + segment(ACK, seq=200, data=2) + segment(ACK, data=2) + call(1, 4, 900),
        "send": accepted + call(2, 4, 4000) + segment(ACK, ack=-500) + segment(ACK) + time_ms(900),
        "window": accepted + segment(ACK, window=0) + call(2, 4, 3) + time_ms(1000)
        + segment(ACK, window=0, ack=-2) + time_ms(5000) + segment(ACK, window=9),
        "buffer": accepted + call(6, 10, 2048) + segment(ACK, data=15)
        + segment(FIN | ACK, data=15),
        "urgent": accepted + segment(ACK | URG, data=1) + call(1, 4, 50),
        "close": accepted + segment(FIN | ACK) + call(4, 4) + segment(ACK) + time_ms(70000),
        "reset": accepted + segment(RST) + segment(RST, seq=100),
        "client": called + call(2, 4, 1000) + segment(ACK) + call(5, 4, 1) + segment(FIN | ACK),
        "simultaneous": call(7) + segment(SYN, options=SYN_OPTIONS) + segment(SYN | ACK),
        "udp": packet(17, udp(9, 7, bytes(40))) + packet(17, udp(9, 7, bytes(40)), 1)
        + call(1, 1, 99),
        "ping": packet(1, b"\x08\0\0\0\0\1\0\1" + bytes(40)) + packet(58, b"\x80\0\0\0\0\1\0\1", 1),
        "fragments": packet(44, b"\x11\0\0\1\0\0\0\1" + bytes(64), 1)
        + packet(44, b"\x11\0\0\x40\0\0\0\1" + bytes(9), 1),
        "unreachable": opened + packet(1, b"\3\4\0\0\0\0\2\x40\x45" + bytes(27)),
        "too big": accepted + packet(58, b"\2\0\0\0\0\0\5\0\x60" + bytes(59), 1),
        "router": call(8, 3, 2) + packet(58, advert, 16 | 4 | 2 | 1) + time_ms(3000),
        "dhcp": call(8, 3, 0) + time_ms(500) + packet(17, udp(67, 68, dhcp), 4) + time_ms(9000),
        "dns": call(10, 1, 1) + packet(17, udp(53, 1024, answer)) + time_ms(9000),
        "mdns": call(8, 3, 4) + time_ms(3000) + packet(17, udp(5353, 5353, answer), 16 | 8),
        "headers": packet(
            0, b"\x3c\0\5\2\0\0\1\0\x2c\0\1\4\0\0\0\0\x11\0\0\0\0\0\0\1" + bytes(20), 1
        ),
        "arp": raw(b"\xff" * 6 + b"\2\0\0\0\0\1\x08\6\0\1\x08\0\6\4\0\1\2\0\0\0\0\1\x0a\0\0\1"
                   + bytes(6) + b"\x0a\0\0\2"),
        "options": raw(b"\2\0\0\0\0\2\2\0\0\0\0\1\x08\0\x46\0\0\x20" + bytes(5) + b"\x01\0\0"
                       + b"\x0a\0\0\1\x0a\0\0\2\x94\4\0\0" + bytes(8)),
        "igmp": packet(2, b"\x11\x64\0\0\0\0\0\0", 8) + time_ms(10000),
        "mld": packet(0, b"\x3a\0\5\2\0\0\1\0\x82\0\0\0\x27\x10\0\0" + bytes(16), 7)
        + time_ms(9000),
        "mtu": accepted + call(2, 4, 4000) + call(9, 0, 1) + time_ms(2000) + segment(ACK),
    }  # fmt: skip


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, seed in seeds().items():
        (folder / name.replace(" ", "-")).write_bytes(seed)


if __name__ == "__main__":
    main()
