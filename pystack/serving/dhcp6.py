"""The DHCPv6 client (RFC 9915): addresses and name servers, as routers say that there are any.

Addresses are leased (dhcp6_lease.py) where a router's advertisement has the M flag; with the O flag
alone servers are asked for what else they know, and again when what they said is too old or the
link may be another.
"""

from __future__ import annotations

from ipaddress import IPv6Address

from pystack._native import lib
from pystack._native.moments import NEVER, SECOND_US
from pystack.serving.dhcp6_exchange import Exchange, duid, identity
from pystack.serving.dhcp6_lease import Lessee, Phase
from pystack.serving.dhcp6_message import CLIENT_PORT, FOREVER, SERVER_PORT, Code, Kind, read
from pystack.serving.frame import Arp, Datagram
from pystack.serving.frame6 import Advertisement, solicitation_frame
from pystack.serving.port import Port, Shown, Tap

__all__ = ["CLIENT_PORT", "Dhcp6Client"]

_ASKED = (Code.DNS, Code.DOMAINS, Code.REFRESH, Code.INFORMATION_MOST)
_USUAL_REFRESH_S, _LEAST_REFRESH_S = 86400, 600  # RFC 9915 7.6
_SOLICITATIONS, _SOLICIT_S = 3, 4.0  # RFC 4861 10
_ADDRESS_WAIT_S = 0.5
_ADDRESS_WAITS = 20


class Dhcp6Client:
    """The client of one interface.

    Args:
        port: The interface.
        stateful: Whether it asks for addresses; None: where a router says that there are any.
        is_rapid: Whether a server may give addresses at once, without being chosen (21.14).

    Attributes:
        lessee: Who asks for addresses.
    """

    flag = lib.PS_IF_DHCP6
    origin = lib.PS_ORIGIN_DHCP
    hears = CLIENT_PORT

    def __init__(self, port: Port, stateful: bool | None = None, *, is_rapid: bool = False) -> None:
        self._port = port
        self._stateful = stateful
        self.lessee = Lessee(port, is_rapid)
        self._servers: tuple[IPv6Address, ...] = ()  # of what was asked without addresses
        self._most_s: int | None = None
        self._restart(0)

    def _restart(self, now_us: int) -> None:
        """Looks for routers, as on a link that it doesn't know."""
        self._solicitations = _SOLICITATIONS
        self._patience = _ADDRESS_WAITS
        self._solicit_us = now_us
        self._ask_us = NEVER  # when what is known is too old
        self._exchange: Exchange | None = None
        self._is_known = False  # a server has answered, here
        self._told_by: dict[bool, IPv6Address] = {}  # the routers by whom it asks, managed or not
        self._wants = self._stateful is True

    @property
    def phase(self) -> Phase:
        """What it is about."""
        return self.lessee.phase

    @property
    def shown(self) -> Shown:
        """See `Service`."""
        answer = self.lessee.answer
        return Shown(
            leased=self.lessee.served(), nameservers=self._servers if answer is None else answer.dns
        )

    @property
    def is_parting(self) -> bool:
        """See `Service`."""
        return bool(self.lessee.partings)

    @property
    def due_us(self) -> int:
        """See `Service`."""
        due = self.lessee.due_us
        if not self._port.works:
            return due
        if self._exchange is not None:
            due = min(due, self._exchange.due_us)
        return min(due, self._solicit_us, self._ask_us, 0 if self._wants else NEVER)

    def taps(self) -> int:
        """See `Service`."""
        return Tap.DHCP6 | Tap.ROUTERS

    def tick(self, now_us: int) -> None:
        """See `Service`."""
        self.lessee.tick(now_us)
        if not self._port.works:
            return
        if self._wants:
            self._wants = False
            self.lessee.start(now_us)
        if now_us >= self._solicit_us:
            self._solicit(now_us)
        if now_us >= self._ask_us:
            self._begin(now_us)
        if self._exchange is not None and now_us >= self._exchange.due_us:
            self._exchange.say(now_us)

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

    # --- what routers say ----------------------------------------------------------------------

    def advertised(self, packet: Advertisement, now_us: int) -> None:
        """See `Service`."""
        self._solicitations, self._solicit_us = 0, NEVER
        managed = packet.managed and self._stateful is not False
        if self._is_said(managed, True, packet.source):
            self.lessee.start(now_us)
        elif self._stateful is None and True not in self._told_by:
            self.lessee.give_up()
        # Who gives addresses says all else, too (RFC 4861 4.2).
        if self._is_said(packet.other and not managed, False, packet.source):
            if self._exchange is None and not self._is_known:
                self._begin(now_us)
        elif self._exchange is not None and False not in self._told_by:
            self._exchange, self._ask_us = None, NEVER

    def _is_said(self, says: bool, what: bool, router: IPv6Address) -> bool:
        """Notes who says it; only who has said it takes it back, for routers need not agree."""
        if says:
            self._told_by[what] = router
        elif self._told_by.get(what) == router:
            del self._told_by[what]
        return says

    # --- asking for information ----------------------------------------------------------------

    def _begin(self, now_us: int) -> None:
        self._ask_us = NEVER
        self._exchange = Exchange(
            self._port, Kind.INFORMATION_REQUEST, now_us, asked=_ASKED, most_s=self._most_s
        )

    def datagram(self, datagram: Datagram, now_us: int) -> None:
        """See `Service`."""
        if datagram.target_mac != self._port.mac or datagram.source_port != SERVER_PORT:
            return
        self.lessee.heard(datagram.payload, now_us)
        exchange = self._exchange
        if exchange is None or exchange.began_us is None:
            return
        reply = read(datagram.payload, exchange.transaction, duid(self._port), identity(self._port))
        if reply is None or reply.kind is not Kind.REPLY:
            return
        self._exchange, self._is_known = None, True
        self._most_s = reply.information_most_s
        self._servers = reply.dns
        after = _USUAL_REFRESH_S if reply.refresh_s is None else reply.refresh_s
        forever = after == FOREVER
        self._ask_us = NEVER if forever else now_us + max(after, _LEAST_REFRESH_S) * SECOND_US

    # --- the interface -------------------------------------------------------------------------

    def arp(self, packet: Arp, now_us: int) -> None:
        """See `Service`: IPv6 has none."""

    def look(self, now_us: int) -> None:
        """See `Service`: an address to ask from may be there now, or a leased one."""
        self.lessee.look(now_us)
        if self._patience <= 0 < self._solicitations and self._solicit_us == NEVER:
            self._solicit_us = now_us if self._port.link_local() is not None else NEVER

    def link_is_back(self, now_us: int) -> None:
        """See `Service`: another network, perhaps, with other servers."""
        self._restart(now_us)
        self.lessee.link_is_back(now_us)

    def stop(self) -> None:
        """See `Service`."""
        self._restart(NEVER)
        self._solicitations, self._wants = 0, False
        self._servers = ()
        self.lessee.stop(self._port.now_us())
