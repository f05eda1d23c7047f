"""Address conflict detection for IPv4 (RFC 5227): before an address is used, and as long as it is.

RFC 3927's for link-local addresses is the same, with the same times.
"""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv4Address

from pystack._native.moments import NEVER, SECOND_US
from pystack.serving.frame import Arp, arp_frame
from pystack.serving.port import Port

__all__ = ["MAX_CONFLICTS", "RATE_LIMIT_S", "Detector", "Verdict", "announce"]

MAX_CONFLICTS = 10
RATE_LIMIT_S = 60
_PROBES, _ANNOUNCEMENTS = 3, 2
_WAIT_S, _LEAST_S, _MOST_S, _ANNOUNCE_WAIT_S, _ANNOUNCE_S, _DEFEND_S = 1, 1, 2, 2, 2, 10
_NOBODY = IPv4Address(0)


class Verdict(Enum):
    """What a detector has found."""

    NOTHING = 0
    """Nothing new."""
    FREE = 1
    """Nobody else has the address: it may be used."""
    TAKEN = 2
    """Another host has it: it must not be used any more."""


def announce(port: Port, address: IPv4Address) -> None:
    """Tells everybody whose the address is."""
    port.transmit(arp_frame(port.mac, address, address))


class Detector:
    """Probes for an address, announces and defends it.

    Args:
        port: The interface.
        address: The address.
        now_us: When it begins.
        conflicts: How many addresses have failed before.

    Attributes:
        address: The address.
        is_free: Whether it may be used.
        due_us: When it has something to do.
    """

    def __init__(self, port: Port, address: IPv4Address, now_us: int, conflicts: int = 0) -> None:
        self._port = port
        self.address = address
        self.is_free = False
        self._probes = self._announcements = 0
        self._defended_us: int | None = None
        self.due_us = now_us + port.between_us(0, _WAIT_S)
        if conflicts >= MAX_CONFLICTS:
            self.due_us += RATE_LIMIT_S * SECOND_US

    def tick(self, now_us: int) -> Verdict:
        """It is `due_us`, or later."""
        if now_us < self.due_us:
            return Verdict.NOTHING
        if self._probes < _PROBES:
            self._port.transmit(arp_frame(self._port.mac, _NOBODY, self.address))
            self._probes += 1
            last = self._probes == _PROBES
            wait = (_ANNOUNCE_WAIT_S, _ANNOUNCE_WAIT_S) if last else (_LEAST_S, _MOST_S)
            self.due_us = now_us + self._port.between_us(*wait)
            return Verdict.NOTHING
        was_free, self.is_free = self.is_free, True
        announce(self._port, self.address)
        self._announcements += 1
        last = self._announcements == _ANNOUNCEMENTS
        self.due_us = NEVER if last else now_us + _ANNOUNCE_S * SECOND_US
        return Verdict.NOTHING if was_free else Verdict.FREE

    def arp(self, packet: Arp, now_us: int) -> Verdict:
        """Looks whether a packet is another host's that has the address, or wants it."""
        if packet.sender_mac == self._port.mac:
            return Verdict.NOTHING
        wants = packet.sender == _NOBODY and packet.target == self.address
        if packet.sender != self.address and (self.is_free or not wants):
            return Verdict.NOTHING
        if not self.is_free:
            return Verdict.TAKEN
        if self._defended_us is not None and now_us < self._defended_us + _DEFEND_S * SECOND_US:
            return Verdict.TAKEN
        self._defended_us = now_us
        announce(self._port, self.address)
        return Verdict.NOTHING
