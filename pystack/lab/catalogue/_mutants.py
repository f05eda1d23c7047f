"""Faults that many cases share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from pystack.lab.mutant import Mutant

__all__ = [
    "SILENT",
    "altering",
    "answering",
    "computed",
    "dropping",
    "hiding",
    "is_arp",
    "mending",
    "unreachable",
]

# Fields that scapy works out anew when they are missing.
_COMPUTED = ("chksum", "cksum", "len", "plen", "ihl")

SILENT = Mutant("sends nothing", outgoing=lambda frame: None)


def computed(frame: Packet) -> Packet:
    """The frame with its lengths and checksums recomputed."""
    layer = frame
    while layer:
        for name in _COMPUTED:
            if name in layer.fields:
                layer.delfieldval(name)  # which forgets the bytes that it was parsed from, too
        layer = layer.payload
    return Ether(bytes(frame))


def altering(kind: type[Packet], words: str, exact: bool = False, **fields: Any) -> Mutant:
    """A Host that sends other values in a header's fields.

    Args:
        kind: Frames with this header are altered.
        words: What it does, after "a Host that ...".
        exact: Whether lengths and checksums stay as they were.
        fields: The values; a function is given the right one.
    """
    return Mutant(words, outgoing=lambda frame: _altered(frame, kind, fields, exact))


def mending(kind: type[Packet], words: str, exact: bool = False, **fields: Any) -> Mutant:
    """A Host that does not look at a header's fields: it always sees these values.

    For the arguments see `altering`; with no fields at all it does not look at lengths and
    checksums.
    """
    return Mutant(words, incoming=lambda frame: _altered(frame, kind, fields, exact))


def _altered(frame: Packet, kind: type[Packet], fields: dict[str, Any], exact: bool) -> Packet:
    header = frame.getlayer(kind)
    if header is None:
        return frame
    for name, value in fields.items():
        setattr(header, name, value(header.getfieldval(name)) if callable(value) else value)
    return frame if exact else computed(frame)


def dropping(test: Callable[[Packet], bool], words: str) -> Mutant:
    """A Host that does not send frames of a kind."""
    return Mutant(words, outgoing=lambda frame: None if test(frame) else frame)


def hiding(test: Callable[[Packet], bool], words: str) -> Mutant:
    """A Host that does not see frames of a kind."""
    return Mutant(words, incoming=lambda frame: None if test(frame) else frame)


def answering(
    test: Callable[[Packet], bool], make: Callable[[Packet], Packet], words: str
) -> Mutant:
    """A Host that answers frames of a kind on its own, with what a function makes."""
    return Mutant(words, answer=lambda frame: make(frame) if test(frame) else None)


def is_arp(frame: Packet) -> bool:
    """Whether a frame carries ARP."""
    return bool(frame.haslayer(ARP))


def unreachable(frame: Packet, kind: int = 3, code: int = 3) -> Packet:
    """An ICMP error about an IPv4 packet, from whom it was sent to."""
    packet = frame[IP]
    return (
        Ether(src=frame.dst, dst=frame.src)
        / IP(src=packet.dst if not packet.dst.startswith(("2", "255")) else "192.0.2.2",
             dst=packet.src)
        / ICMP(type=kind, code=code)
        / bytes(packet)[:28]
    )  # fmt: skip
