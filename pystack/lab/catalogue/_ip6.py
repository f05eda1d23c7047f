"""What the IPv6, ICMPv6 and path MTU cases share: extension headers made by hand, and faults.

Scapy would pad and order extension headers as is right. Here they are bytes, so that a case can
have them wrong, and knows the offset of every field.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from scapy.layers.inet import UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from pystack.lab.mutant import Mutant
from pystack.lab.packets import Match, echo_reply6, where
from pystack.lab.tester import Tester

__all__ = [
    "ALL_NODES",
    "ANSWER",
    "DESTINATION",
    "FRAGMENT",
    "HOP_BY_HOP",
    "ICMPV6",
    "NONE",
    "ROUTING",
    "UDP_CLOSED",
    "alive",
    "answering_with",
    "echo_bytes",
    "fragment",
    "is_answer",
    "options",
    "packed",
    "quoted",
    "quotes",
    "routing",
    "seeing",
    "silence",
    "unanswered",
]

HOP_BY_HOP, ROUTING, FRAGMENT, ICMPV6, NONE, DESTINATION = 0, 43, 44, 58, 59, 60
ALL_NODES = "ff02::1"
UDP_CLOSED = 9  # discard: nobody is there
HEADER = 40
ETHERNET = 14
IDENTIFIER = 0x5053

# An extension header: its number, and all of it after its next header field.
Extension = tuple[int, bytes]


# --- packets -------------------------------------------------------------------------------------


def _padding(size: int) -> bytes:
    """Pad1 or PadN of this many bytes."""
    return b"" if size == 0 else b"\0" if size == 1 else bytes((1, size - 2)) + bytes(size - 2)


def options(*found: bytes, kind: int = DESTINATION) -> Extension:
    """A header of options, padded to the length that it has to have."""
    content = b"".join(found)
    size = -(-(2 + len(content)) // 8) * 8
    return kind, bytes((size // 8 - 1,)) + content + _padding(size - 2 - len(content))


def routing(kind: int, left: int, addresses: Sequence[str] = (), *, more: bytes = b"") -> Extension:
    """A routing header of a type, with some segments left; `more` makes it longer."""
    data = bytes(4) + b"".join(_address(one) for one in addresses) + more
    return ROUTING, bytes(((len(data) + 4) // 8 - 1, kind, left)) + data


def _address(text: str) -> bytes:
    return bytes(IPv6(dst=text))[24:40]


def fragment(
    offset: int, more: bool, identification: int = 0x1234, *, reserved: int = 0
) -> Extension:
    """A fragment header; the offset in bytes. `reserved` sets all reserved bits if it is not 0."""
    word = offset | int(more) | (6 if reserved else 0)
    return FRAGMENT, bytes((reserved,)) + word.to_bytes(2, "big") + identification.to_bytes(
        4, "big"
    )


def echo_bytes(lab: Tester, sequence: int = 1, data: bytes = b"pystack!", **fields: Any) -> bytes:
    """An echo request without its IPv6 header; `fields` are the addresses for its checksum."""
    request = ICMPv6EchoRequest(id=IDENTIFIER, seq=sequence, data=data)
    return bytes(lab.ip6(**fields) / request)[HEADER:]


def packed(
    lab: Tester,
    *extensions: Extension,
    upper: bytes | None = None,
    nh: int = ICMPV6,
    **fields: Any,
) -> Packet:
    """A packet with extension headers.

    Args:
        lab: The case's tester.
        extensions: In this order.
        upper: What follows; default: an echo request.
        nh: What it is.
        fields: Of the IPv6 header.
    """
    if upper is None:
        ends: dict[str, Any] = {name: fields[name] for name in ("src", "dst") if name in fields}
        upper = echo_bytes(lab, **ends)
    kinds = [one for one, _ in extensions] + [nh]
    body = b"".join(
        bytes((following,)) + rest
        for following, (_, rest) in zip(kinds[1:], extensions, strict=True)
    )
    return lab.ip6(nh=kinds[0], **fields) / Raw(body + upper)


# --- what comes back -----------------------------------------------------------------------------


def is_answer(frame: Packet) -> bool:
    """Whether a frame is an ICMPv6 error, an echo reply or a fragment of something."""
    raw = bytes(frame)
    if frame.type != 0x86DD or len(raw) < ETHERNET + HEADER + 1:
        return False
    number = raw[ETHERNET + 6]
    return number == FRAGMENT or (number == ICMPV6 and raw[ETHERNET + HEADER] in (1, 2, 3, 4, 129))


ANSWER = where("an answer", is_answer)


def alive(lab: Tester) -> None:
    """Makes sure that the Host still answers."""
    lab.send(lab.echo6(sequence=0x7777))
    lab.expect(echo_reply6(seq=0x7777))


def silence(lab: Tester, for_ms: float = 300) -> None:
    """Makes sure that nothing is answered, and that the Host does live."""
    lab.expect_nothing(ANSWER, for_ms)
    alive(lab)


def unanswered(lab: Tester, *packets: Packet, for_ms: float = 300) -> None:
    """Sends packets that nobody may answer, to a Host that could."""
    with lab.preamble("an echo"):
        alive(lab)
    for one in packets:
        lab.send(one)
    silence(lab, for_ms)


def quoted(packet: Packet) -> bytes:
    """What an ICMPv6 error says of the packet that it is about."""
    raw = bytes(packet)[ETHERNET:]
    return raw[HEADER + 8 : HEADER + int.from_bytes(raw[4:6], "big")]


def quotes(sent: Packet) -> Match:
    """An error that quotes a packet from its first byte, and all of it if it is not large.

    The hop limit in it may be what a router has made of it.
    """
    whole = bytes(sent)

    def right(packet: Packet) -> bool:
        found = quoted(packet)
        found = found[:7] + whole[7:8] + found[8:]
        return len(found) >= min(len(whole), 1200) and whole.startswith(found)

    return where("which quotes the packet", right)


# --- mutants -------------------------------------------------------------------------------------


def seeing(old: bytes, new: bytes, words: str) -> Mutant:
    """A Host that takes some bytes of what arrives for others."""
    return Mutant(words, incoming=lambda frame: bytes(frame).replace(old, new))


def answering_with(
    make: Callable[[bytes], Packet], words: str, *, next_header: int | None = None
) -> Mutant:
    """A Host that answers unicast and multicast packets on its own.

    Args:
        make: Is given the packet, and makes the answer's message.
        words: What the Host does.
        next_header: Which packets; default: UDP's.
    """

    def answer(frame: Packet) -> Packet | None:
        if not frame.haslayer(IPv6):
            return None
        found = frame[IPv6]
        if found.nh == next_header if next_header is not None else frame.haslayer(UDP):
            return (
                Ether(src="02:00:5e:00:53:02", dst=frame.src)
                / IPv6(src="2001:db8:1::2", dst="2001:db8:1::1")
                / make(bytes(found))
            )
        return None

    return Mutant(words, answer=answer)
