"""The stateless DHCPv6 client (RFC 8415 18.2.6): name servers, for engines without one.

It asks when a router's advertisement says that servers know more than addresses, and again when
what they said is too old or the link may be another.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv6Address

from pystack._native import lib
from pystack.serving.dhcp6_message import (
    CLIENT_ID,
    CLIENT_PORT,
    DNS,
    DOMAINS,
    ETHERNET_DUID,
    INFORMATION_REQUEST,
    REPLY,
    SERVER_ID,
    SERVER_PORT,
    SERVERS,
    option,
    read_options,
)
from pystack.serving.frame import Arp, Datagram
from pystack.serving.frame6 import Advertisement, group_mac, solicitation_frame, udp6_frame
from pystack.serving.port import NEVER, SECOND_US, Port, Shown, Tap

__all__ = ["CLIENT_PORT", "Dhcp6Client"]

_SERVERS = IPv6Address(SERVERS)
_ASKED, _ELAPSED, _REFRESH, _MOST_S = 6, 8, 32, 83

_FIRST_S, _USUAL_MOST_S = 1.0, 3600  # RFC 8415 7.6
_DELAY_S = 1.0
_MOST_BOUNDS_S = (60, 86400)
_USUAL_REFRESH_S, _LEAST_REFRESH_S, _FOREVER_S = 86400, 600, 0xFFFFFFFF
_SOLICITATIONS, _SOLICIT_S = 3, 4.0  # RFC 4861 10
_ADDRESS_WAIT_S = 0.5
_ADDRESS_WAITS = 20


@dataclass(frozen=True)
class _Reply:
    """What a server says.

    Attributes:
        dns: The name servers.
        refresh_s: When to ask again; None: never.
        most_s: The longest wait between questions.
    """

    dns: tuple[IPv6Address, ...]
    refresh_s: int | None
    most_s: int


def _number(value: bytes | None) -> int | None:
    return None if value is None or len(value) != 4 else int.from_bytes(value, "big")


def _servers(value: bytes) -> tuple[IPv6Address, ...]:
    if len(value) % 16:
        return ()
    found = (IPv6Address(value[at : at + 16]) for at in range(0, len(value), 16))
    return tuple(one for one in found if not (one.is_multicast or one.is_unspecified))


def _read(message: bytes, transaction: int, duid: bytes) -> _Reply | None:
    """A server's answer; None: it is none, or another's (RFC 8415 16.10)."""
    if len(message) < 4 or message[0] != REPLY:
        return None
    if int.from_bytes(message[1:4], "big") != transaction:
        return None
    found = read_options(message[4:])
    if not found.get(SERVER_ID) or found.get(CLIENT_ID) != duid:
        return None
    refresh = _number(found.get(_REFRESH))
    refresh = _USUAL_REFRESH_S if refresh is None else max(refresh, _LEAST_REFRESH_S)
    most = _number(found.get(_MOST_S))
    low, high = _MOST_BOUNDS_S
    return _Reply(
        _servers(found.get(DNS, b"")),
        None if refresh == _FOREVER_S else refresh,
        most if most is not None and low <= most <= high else _USUAL_MOST_S,
    )


class Dhcp6Client:
    """The client of one interface.

    Args:
        port: The interface.
    """

    flag = lib.PS_IF_DHCP6
    origin = lib.PS_ORIGIN_DHCP
    hears = CLIENT_PORT

    def __init__(self, port: Port) -> None:
        self._port = port
        self.shown = Shown()
        self._most_s = _USUAL_MOST_S
        self._restart(0)

    def _restart(self, now_us: int) -> None:
        """Looks for routers, as on a link that it doesn't know."""
        self._solicitations = _SOLICITATIONS
        self._patience = _ADDRESS_WAITS
        self._solicit_us = now_us
        self._ask_us = NEVER
        self._transaction: int | None = None
        self._is_known = False  # a server has answered, here

    @property
    def due_us(self) -> int:
        """See `Service`."""
        return min(self._solicit_us, self._ask_us) if self._port.works else NEVER

    def taps(self) -> int:
        """See `Service`."""
        return Tap.DHCP6 | Tap.ROUTERS

    def tick(self, now_us: int) -> None:
        """See `Service`."""
        if now_us >= self._solicit_us:
            self._solicit(now_us)
        if now_us >= self._ask_us:
            self._ask(now_us)

    def _solicit(self, now_us: int) -> None:
        source = self._port.link_local()
        if source is None:  # it is being checked still, or there is none
            self._patience -= 1
            wait_us = round(_ADDRESS_WAIT_S * SECOND_US)
            self._solicit_us = now_us + wait_us if self._patience > 0 else NEVER
            return
        self._port.transmit(solicitation_frame(self._port.mac, source))
        self._solicitations -= 1
        more = self._solicitations > 0
        self._solicit_us = now_us + round(_SOLICIT_S * SECOND_US) if more else NEVER

    # --- asking ------------------------------------------------------------------------------

    def advertised(self, packet: Advertisement, now_us: int) -> None:
        """See `Service`."""
        self._solicitations, self._solicit_us = 0, NEVER
        if not packet.other:
            if self._transaction is not None:
                self._transaction, self._ask_us = None, NEVER
        elif self._transaction is None and not self._is_known:
            self._begin(now_us)

    def _begin(self, now_us: int) -> None:
        self._transaction = int.from_bytes(self._port.randbytes(3), "big")
        self._began_us: int | None = None
        self._wait_s = 0.0
        # So that all hosts that hear a router don't ask at once (RFC 8415 18.2.6).
        self._ask_us = now_us + self._port.between_us(0, _DELAY_S)

    def _ask(self, now_us: int) -> None:
        if self._transaction is None:  # what is known is too old
            self._begin(now_us)
            return
        if self._began_us is None:
            self._began_us = now_us
        source = self._port.link_local()
        if source is not None:
            self._port.transmit(
                udp6_frame(
                    (self._port.mac, group_mac(_SERVERS)),
                    (source, _SERVERS),
                    (CLIENT_PORT, SERVER_PORT),
                    self._request(now_us - self._began_us),
                    hops=1,
                )
            )
        self._wait_s = min(self._wait_s * 2 or _FIRST_S, self._most_s)
        self._ask_us = now_us + self._port.between_us(self._wait_s * 0.9, self._wait_s * 1.1)

    def _request(self, since_us: int) -> bytes:
        assert self._transaction is not None
        asked = struct.pack(">4H", DNS, DOMAINS, _REFRESH, _MOST_S)
        elapsed = min(since_us // 10_000, 0xFFFF)  # hundredths of a second
        return (
            bytes((INFORMATION_REQUEST,))
            + self._transaction.to_bytes(3, "big")
            + option(CLIENT_ID, ETHERNET_DUID + self._port.mac)
            + option(_ASKED, asked)
            + option(_ELAPSED, elapsed.to_bytes(2, "big"))
        )

    def datagram(self, datagram: Datagram, now_us: int) -> None:
        """See `Service`."""
        if datagram.target_mac != self._port.mac or datagram.source_port != SERVER_PORT:
            return
        if self._transaction is None or self._began_us is None:
            return
        reply = _read(datagram.payload, self._transaction, ETHERNET_DUID + self._port.mac)
        if reply is None:
            return
        self._transaction, self._is_known = None, True
        self._most_s = reply.most_s
        self.shown = Shown(nameservers=reply.dns)
        after = reply.refresh_s
        self._ask_us = NEVER if after is None else now_us + after * SECOND_US

    def arp(self, packet: Arp, now_us: int) -> None:
        """See `Service`: IPv6 has none."""

    def look(self, now_us: int) -> None:
        """See `Service`: an address to ask from may be there now."""
        if self._patience <= 0 < self._solicitations and self._solicit_us == NEVER:
            self._solicit_us = now_us if self._port.link_local() is not None else NEVER

    def link_is_back(self, now_us: int) -> None:
        """See `Service`: another network, perhaps, with other servers."""
        self._restart(now_us)

    def stop(self) -> None:
        """See `Service`."""
        self.shown = Shown()
