"""Link-local IPv4 addresses (RFC 3927): lwIP's choice of them, for engines that choose none."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface

from pystack._native import lib
from pystack._native.moments import NEVER
from pystack.serving.conflict import MAX_CONFLICTS, Detector, Verdict
from pystack.serving.frame import Arp, Datagram
from pystack.serving.frame6 import Advertisement
from pystack.serving.port import Port, Shown, Tap

__all__ = ["AutoIp"]

_FIRST, _LAST = int(IPv4Address("169.254.1.0")), int(IPv4Address("169.254.254.255"))
_PREFIX = 16
_WORD = 0xFFFFFFFF


def _candidate(mac: bytes, tried: int) -> IPv4Address:
    """The same host tries the same addresses in the same order, and no other does (2.1)."""
    found = 2166136261  # FNV-1a
    for byte in mac:
        found = (found ^ byte) * 16777619 & _WORD
    found = (found ^ tried) * 16777619 & _WORD
    found ^= found >> 15  # the last octets have not reached the lower bits yet
    found = found * 2246822519 & _WORD
    found ^= found >> 13
    offset = found % (_LAST - _FIRST + 1) + tried
    return IPv4Address(_FIRST + offset % (_LAST - _FIRST + 1))


class AutoIp:
    """Claims an address for one interface, for as long as it has no leased one.

    Args:
        port: The interface.
        is_leased: Whether it has a leased address now.
    """

    flag = lib.PS_IF_AUTOIP
    origin = lib.PS_ORIGIN_AUTOIP
    hears = 0
    is_parting = False

    def __init__(self, port: Port, is_leased: Callable[[], bool]) -> None:
        self._port = port
        self._is_leased = is_leased
        self.shown = Shown()
        self._detector: Detector | None = None
        self._tried = self._conflicts = 0
        self._yields = False
        self.due_us = 0

    def taps(self) -> int:
        """See `Service`."""
        return Tap.ARP if self._detector is not None else 0

    def _begin(self, now_us: int) -> None:
        if not self._port.works:
            self._wait(NEVER)  # until the link is back
            return
        address = _candidate(self._port.mac, self._tried)
        self._detector = Detector(self._port, address, now_us, self._conflicts)
        self._wait(self._detector.due_us)

    def _wait(self, due_us: int) -> None:
        self.due_us = due_us

    def tick(self, now_us: int) -> None:
        """See `Service`."""
        if self._detector is None:
            self._begin(now_us)
            return
        self._judge(self._detector.tick(now_us), now_us)

    def arp(self, packet: Arp, now_us: int) -> None:
        """See `Service`."""
        if self._detector is not None:
            self._judge(self._detector.arp(packet, now_us), now_us)

    def _judge(self, verdict: Verdict, now_us: int) -> None:
        assert self._detector is not None
        address = IPv4Interface((self._detector.address, _PREFIX))
        if verdict is Verdict.FREE:
            self._conflicts = 0
            if self._port.put(address):
                self.shown.address = address
        elif verdict is Verdict.TAKEN:
            self._port.warn(f"another host has the address {address.ip} too")
            self._withdraw()
            self._tried += 1
            self._conflicts = min(self._conflicts + 1, MAX_CONFLICTS)
            self._begin(now_us)
            return
        self._wait(self._detector.due_us)

    def _withdraw(self) -> None:
        if self.shown.address is not None:
            self._port.take(self.shown.address)
        self.shown = Shown()
        self._detector = None

    def look(self, now_us: int) -> None:
        """See `Service`: gives way to a leased address, and comes back."""
        leased = self._is_leased()
        if leased and not self._yields:
            self._withdraw()
            self._wait(NEVER)
        elif self._yields and not leased:
            self._begin(now_us)
        self._yields = leased

    def datagram(self, datagram: Datagram, now_us: int) -> None:
        """See `Service`: it hears none."""

    def advertised(self, packet: Advertisement, now_us: int) -> None:
        """See `Service`: routers have nothing to say to it."""

    def link_is_back(self, now_us: int) -> None:
        """See `Service`: another network, perhaps, and another host with the address."""
        if not self._yields:
            self._withdraw()
            self._begin(now_us)

    def stop(self) -> None:
        """See `Service`."""
        self._withdraw()
