"""Captures made by hand, packet by packet."""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

LINK = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
CLIENT, SERVER = "192.0.2.1", "198.51.100.1"


def talk(parts: list[Any], *, sport: int = 4000, dport: int = 7, link: Any = LINK) -> list[Any]:
    """A handshake and segments, by hand: each part is who ("c" or "s"), fields, and data."""
    numbers = {"c": 1000, "s": 5000}
    out: list[Any] = []

    def one(who: str, data: bytes = b"", **fields: Any) -> None:
        other = "s" if who == "c" else "c"
        ends = (CLIENT, SERVER, sport, dport) if who == "c" else (SERVER, CLIENT, dport, sport)
        source, target, from_port, to_port = ends
        given = {"seq": numbers[who], "ack": numbers[other], "flags": "PA" if data else "A"}
        given |= fields
        header = TCP(sport=from_port, dport=to_port, **given)
        packet = link / IP(src=source, dst=target) / header / data
        packet.time = 1_000_000 + len(out) * 0.01
        out.append(packet)
        size = len(data) + ("S" in given["flags"]) + ("F" in given["flags"])
        numbers[who] = max(numbers[who], given["seq"] + size)

    one("c", flags="S", options=[("MSS", 1460), ("WScale", 7)])
    one("s", flags="SA", options=[("MSS", 1460), ("WScale", 7)])
    one("c")
    for part in parts:
        who, data, *rest = part
        one(who, data, **(rest[0] if rest else {}))
    return out
