"""Which flow a packet belongs to, read from its headers alone: it runs for each frame."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["TCP", "UDP", "Flow", "flow_of", "transport_of"]

TCP, UDP = 6, 17
_PORTS = frozenset({TCP, UDP})
_SKIPPED = frozenset({0, 43, 60})  # IPv6's hop-by-hop options, routing header, destination options
_IPV4, _IPV6 = 20, 40


class Flow(NamedTuple):
    """One direction of a TCP connection, or of an exchange of UDP datagrams.

    Attributes:
        protocol: 6 for TCP, 17 for UDP.
        source: The sender's address, packed.
        source_port: Its port.
        target: The receiver's address, packed.
        target_port: Its port.
    """

    protocol: int
    source: bytes
    source_port: int
    target: bytes
    target_port: int

    @property
    def back(self) -> Flow:
        """The other direction."""
        protocol, source, source_port, target, target_port = self
        return Flow(protocol, target, target_port, source, source_port)


def transport_of(packet: bytes) -> tuple[int, int] | None:
    """The protocol above IP, and where its header begins; None: not a sound packet, or a fragment.

    Args:
        packet: From its IP header on.
    """
    if len(packet) < _IPV4:
        return None
    version = packet[0] >> 4
    if version == 4:
        at = (packet[0] & 15) * 4
        if at < _IPV4 or (packet[6] & 0x1F) or packet[7]:
            return None
        return packet[9], at
    if version != 6 or len(packet) < _IPV6:
        return None
    protocol, at = packet[6], _IPV6
    while protocol in _SKIPPED:
        if at + 8 > len(packet):
            return None
        protocol, at = packet[at], at + (packet[at + 1] + 1) * 8
    return protocol, at


def flow_of(packet: bytes) -> Flow | None:
    """The flow of a packet of TCP or UDP; None: it is of neither, or not its first fragment.

    Args:
        packet: From its IP header on.
    """
    found = transport_of(packet)
    if found is None or found[0] not in _PORTS:
        return None
    protocol, at = found
    if at + 4 > len(packet):
        return None
    first, size = (12, 4) if packet[0] >> 4 == 4 else (8, 16)
    source, target = packet[first : first + size], packet[first + size : first + 2 * size]
    ports = packet[at : at + 2], packet[at + 2 : at + 4]
    from_port, to_port = (int.from_bytes(one, "big") for one in ports)
    return Flow(protocol, source, from_port, target, to_port)
