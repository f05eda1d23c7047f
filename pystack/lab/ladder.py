"""What happened in a case, in order: frames both ways, calls on the Host, notes."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from scapy.layers.l2 import Ether

__all__ = ["Event", "Ladder", "pcap", "summary", "told"]


@dataclass(frozen=True)
class Event:
    """One rung.

    Attributes:
        time_s: On the Host's clock, since the case began.
        kind: "send" and "receive" as the tester sees it, "call", "note".
        port: Which wire; -1: none.
        frame: The frame, of a rung that is one.
        text: What happened; of a frame, once it is `told`, what it says.
    """

    time_s: float
    kind: str
    port: int
    frame: bytes = b""
    text: str = ""

    def summary(self) -> str:
        """The rung in one line."""
        return self.text or summary(self.frame)


class Ladder:
    """The rungs of one case."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def frame(self, time_s: float, kind: str, port: int, frame: bytes) -> None:
        """Adds a frame."""
        self.events.append(Event(time_s, kind, port, frame))

    def note(self, time_s: float, kind: str, text: str) -> None:
        """Adds something that is no frame."""
        self.events.append(Event(time_s, kind, -1, b"", text))

    def lines(self) -> list[str]:
        """All of it for a terminal."""
        arrows = {"send": "-->", "receive": "<--", "call": " @ ", "note": " # "}
        return [f"{one.time_s:9.3f}  {arrows[one.kind]} {one.summary()}" for one in self.events]


def summary(frame: bytes) -> str:
    """A frame in one line, as scapy says it."""
    packet = Ether(frame)
    text = packet.summary().removeprefix("Ether / ")
    if packet.haslayer("TCP"):
        tcp = packet["TCP"]
        size = len(tcp.payload)
        text += f" seq={tcp.seq} ack={tcp.ack} win={tcp.window} len={size}"
    return str(text)


def told(event: Event) -> Event:
    """A rung with its frame in words, where scapy is missing or too slow."""
    return replace(event, text=event.summary())


def pcap(events: list[Event], port: int | None = None) -> bytes:
    """The frames as a pcap file (microseconds, Ethernet).

    Args:
        events: A ladder's.
        port: Which wire; None: all.
    """
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)]
    for one in events:
        if one.frame and port in (None, one.port):
            micro = round(one.time_s * 1e6)
            head = struct.pack(
                "<IIII", micro // 10**6, micro % 10**6, len(one.frame), len(one.frame)
            )
            out.append(head + one.frame)
    return b"".join(out)
