"""What the forwarding cases share: packets from one wire to the other, and faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from pystack.lab.catalogue._mutants import computed
from pystack.lab.mutant import Mutant
from pystack.lab.packets import Match, where
from pystack.lab.tester import Tester

DATA = b"from one wire to the other"
# The Host's two hardware addresses, and the tester's.
HOST_MACS = ("02:00:5e:00:53:02", "02:00:5e:00:53:12")
TESTER_MACS = ("02:00:5e:00:53:01", "02:00:5e:00:53:11")
NEAR, FAR = "192.0.2.1", "203.0.113.1"
NEAR6, FAR6 = "2001:db8:1::1", "2001:db8:2::1"
# Of no network that the Host has a route to.
ELSEWHERE, ELSEWHERE6 = "198.51.100.1", "2001:db8:9::1"


def ready(lab: Tester) -> None:
    """Makes the router know both of its neighbours."""
    for port in (0, 1):
        wire = lab.plan.ports[port]
        lab.learn(wire.tester4, port=port)


def ready6(lab: Tester) -> None:
    """The same for IPv6."""
    for port in (0, 1):
        wire = lab.plan.ports[port]
        lab.learn(wire.tester6, port=port)


def outward(data: bytes = DATA, **fields: Any) -> Packet:
    """A datagram from the first wire to the second."""
    return IP(**{"src": NEAR, "dst": FAR, **fields}) / UDP(sport=4000, dport=4001) / Raw(data)


def outward6(data: bytes = DATA, **fields: Any) -> Packet:
    """The same over IPv6."""
    return IPv6(**{"src": NEAR6, "dst": FAR6, **fields}) / UDP(sport=4000, dport=4001) / Raw(data)


def to_host(packet: Packet, destination: str = HOST_MACS[0]) -> Packet:
    """A frame on the first wire to the router's hardware address, or another."""
    return Ether(src=TESTER_MACS[0], dst=destination) / packet


def carries(data: bytes = DATA) -> Match:
    """An IP packet, not an ICMP error, that has the data in it."""

    def test(frame: Packet) -> bool:
        raw = bytes(frame)
        error = (raw[12:14] == b"\x08\x00" and raw[23:24] == b"\x01") or (
            raw[12:14] == b"\x86\xdd" and raw[20:21] == b"\x3a"
        )
        return data in raw and not error

    return where("the packet", test)


def expect_forwarded(lab: Tester, data: bytes = DATA, within_ms: float = 1000) -> Packet:
    """Waits for the packet on the second wire."""
    return lab.expect(carries(data), within_ms, port=1)


def expect_not_forwarded(lab: Tester, data: bytes = DATA, family: int = 4) -> None:
    """Makes sure that the packet does not come out, and that others still do."""
    lab.expect_nothing(carries(data), 400, port=1)
    lab.expect_nothing(carries(data), 0)
    other = b"does it still forward?"
    lab.send(to_host(outward(other) if family == 4 else outward6(other)))
    with lab.preamble("an ordinary packet"):
        expect_forwarded(lab, other)


def from_near(frame: Packet) -> bool:
    """Whether a frame of the Host's has another's packet in it."""
    return bool(
        (frame.haslayer(IP) and frame[IP].src == NEAR)
        or (frame.haslayer(IPv6) and frame[IPv6].src == NEAR6)
    )


def forwards(words: str, kind: type[Packet] = IP, **fields: Any) -> Mutant:
    """A router that changes fields of what it forwards; a function is given the right value."""

    def change(frame: Packet) -> Packet:
        if not from_near(frame) or not frame.haslayer(kind):
            return frame
        header = frame[kind]
        for name, value in fields.items():
            setattr(header, name, value(header.getfieldval(name)) if callable(value) else value)
        return computed(frame)

    return Mutant(words, outgoing=change)


def blind(words: str, when: Callable[[Packet], bool], **fields: Any) -> Mutant:
    """A router that forwards what it should not: such a packet looks to it like any other.

    Args:
        words: What it does, after "a Host that ...".
        when: Which packets it does not see rightly.
        fields: What it takes the fields of the IP header to be; "mac" is the frame's destination.
    """

    def change(frame: Packet) -> Packet:
        if not (frame.haslayer(IP) or frame.haslayer(IPv6)) or not when(frame):
            return frame
        if "mac" in fields:
            frame.dst = fields["mac"]
        header = frame[IP] if frame.haslayer(IP) else frame[IPv6]
        for name, value in fields.items():
            if name != "mac":
                setattr(header, name, value)
        return computed(frame)

    return Mutant(words, incoming=change)


def sourced(address: str) -> Callable[[Packet], bool]:
    """Whether a packet comes from an address."""
    return lambda frame: getattr(frame.getlayer(1), "src", "") == address


def aimed(address: str) -> Callable[[Packet], bool]:
    """Whether a packet goes to an address."""
    return lambda frame: getattr(frame.getlayer(1), "dst", "") == address


def quoting(source: str, destination: str) -> Match:
    """An ICMP error that quotes a packet of these addresses."""

    def test(frame: Packet) -> bool:
        quoted = frame.getlayer("IP in ICMP") or frame.getlayer("IPv6 in ICMPv6")
        return quoted is not None and (quoted.src, quoted.dst) == (source, destination)

    return where(f"quoting {source} > {destination}", test)
