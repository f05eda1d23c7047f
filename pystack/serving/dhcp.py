"""The DHCP client (RFC 2131 4.4): what lwIP's does, for engines that have none.

Frames to and from a client without an address go past the engine; the lease is renewed by a
datagram of the engine's. An address is probed before it is used where the Stack's setting
net.ipv4.dhcp_conflict_check says so, and then defended as long as it is leased.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface
from typing import TypeAlias

from pystack._native import lib
from pystack._native.moments import NEVER, SECOND_US
from pystack.serving import dhcp_message
from pystack.serving.conflict import Detector, Verdict, announce
from pystack.serving.dhcp_message import CLIENT_PORT, SERVER_PORT, Kind, Message, Reply, is_host
from pystack.serving.frame import BROADCAST, Arp, Datagram, udp4_frame
from pystack.serving.frame6 import Advertisement
from pystack.serving.port import Port, Shown, Tap

__all__ = ["DhcpClient", "Phase"]

_NOBODY, _ALL = IPv4Address(0), IPv4Address("255.255.255.255")
_FOREVER_S = 0xFFFFFFFF
_MINUTE_US = 60 * SECOND_US
_SHORT_S = 60  # a lease of no time, or of none that is said
_REQUESTS = 4  # a minute's (RFC 2131 3.1)
_REBOOT_REQUESTS = 2
_AFTER_DECLINE_US = 10 * SECOND_US


# A lease's length, T1 and T2 in seconds; None: never.
Times: TypeAlias = "tuple[int | None, float | None, float | None]"


class Phase(Enum):
    """The client's state (RFC 2131 figure 5)."""

    INIT = lib.PS_LEASE_SEARCHING, "init"
    SELECTING = lib.PS_LEASE_SEARCHING, "selecting"
    REQUESTING = lib.PS_LEASE_SEARCHING, "requesting"
    CHECKING = lib.PS_LEASE_CHECKING, "checking"
    BOUND = lib.PS_LEASE_BOUND, "bound"
    RENEWING = lib.PS_LEASE_RENEWING, "renewing"
    REBINDING = lib.PS_LEASE_REBINDING, "rebinding"
    REBOOTING = lib.PS_LEASE_REBINDING, "rebooting"
    """The link is back: the address is used, and any server asked whether it is right here."""

    @property
    def state(self) -> int:
        """The number of `LeaseState`."""
        return int(self.value[0])

    @property
    def holds(self) -> bool:
        """Whether the interface has the leased address."""
        return self in (Phase.BOUND, Phase.RENEWING, Phase.REBINDING, Phase.REBOOTING)


_ASKING = (
    Phase.SELECTING,
    Phase.REQUESTING,
    Phase.RENEWING,
    Phase.REBINDING,
    Phase.REBOOTING,
)


def _times(reply: Reply) -> Times:
    """The lease's length, T1 and T2 in seconds; None: never.

    Fractions of seconds keep a lease of one second from being renewed without end at one moment.
    """
    lease = reply.lease_s or _SHORT_S
    if lease == _FOREVER_S:
        return None, None, None
    t1 = lease / 2 if reply.t1_s is None else reply.t1_s
    t2 = lease * 7 / 8 if reply.t2_s is None else reply.t2_s
    if not 0 < t1 < t2 < lease:  # or it would never be renewed
        t1, t2 = lease / 2, lease * 7 / 8
    return lease, t1, t2


def _class_prefix(address: IPv4Address) -> int:
    """Of a network whose mask nobody says."""
    first = address.packed[0]
    return 8 if first < 128 else 16 if first < 192 else 24


class DhcpClient:
    """The client of one interface.

    Args:
        port: The interface.
        hostname: The name that it tells servers; empty: none.
        checks: Whether addresses are to be probed, asked for each.

    Attributes:
        phase: Its state.
        address: The leased address, or the one that is being checked.
        server: The identifier of the lease's server.
        reply: What that said.
        times_s: The lease's length, T1 and T2; None: never.
        obtained_us: When the lease began.
    """

    flag = lib.PS_IF_DHCP
    origin = lib.PS_ORIGIN_DHCP
    hears = CLIENT_PORT
    is_parting = False

    def __init__(self, port: Port, hostname: str, checks: Callable[[], bool]) -> None:
        self._port = port
        self.hostname = hostname
        self._checks = checks
        self.shown = Shown()
        self.phase = Phase.INIT
        self.due_us = 0
        self.address: IPv4Interface | None = None
        self.server: IPv4Address | None = None
        self._server_mac = BROADCAST
        self.reply: Reply | None = None
        self.times_s: Times = (None, None, None)
        self.obtained_us = 0
        self._offered = _NOBODY
        self._transaction = 0
        self._began_us = self._sent_us = 0
        self._seconds = 0
        self._tries = 0
        self._naks = 0
        self._detector: Detector | None = None

    def taps(self) -> int:
        """See `Service`."""
        taps = Tap.DHCP | (Tap.ARP if self._detector is not None else 0)
        # Only while an answer is waited for: all of UDP's fragments come with it.
        return taps | (Tap.FRAGMENTS if self.phase in _ASKING else 0)

    # --- time --------------------------------------------------------------------------------

    def _backoff_us(self, tries: int) -> int:
        """4, 8, 16, 32 and then ever 64 seconds, give or take one (RFC 2131 4.1)."""
        seconds = min(4 << min(tries, 4), 64)
        return self._port.between_us(seconds - 1, seconds + 1)

    def _at_us(self, which: int) -> int:
        after = self.times_s[which]
        return NEVER if after is None else self.obtained_us + round(after * SECOND_US)

    def tick(self, now_us: int) -> None:
        """See `Service`."""
        if self._detector is not None:
            self._judge(self._detector.tick(now_us), now_us)
        if self.phase.holds and now_us >= self._at_us(0):
            self._lose()
            self._begin(now_us)
        elif now_us >= self.due_us:
            self._act(now_us)

    def _act(self, now_us: int) -> None:
        if self.phase is Phase.INIT:
            self._begin(now_us)
        elif self.phase is Phase.SELECTING:
            self._discover(now_us)
        elif self.phase is Phase.REQUESTING:
            self._request_again(now_us, _REQUESTS)
        elif self.phase is Phase.BOUND:
            self._exchange(now_us)
            self.phase = Phase.RENEWING
            self._extend(now_us)
        elif self.phase is Phase.REBOOTING:
            self._verify(now_us)
        elif self.phase in (Phase.RENEWING, Phase.REBINDING):
            self._extend(now_us)

    def _wait(self, due_us: int) -> None:
        self.due_us = due_us

    # --- asking ------------------------------------------------------------------------------

    def _exchange(self, now_us: int) -> None:
        """Begins one, with a transaction of its own."""
        self._transaction = int.from_bytes(self._port.randbytes(4), "big")
        self._began_us, self._tries = now_us, 0

    def _message(self, kind: Kind, **fields: object) -> Message:
        return Message(
            kind,
            self._transaction,
            self._port.mac,
            hostname=self.hostname,
            largest=max(self._port.mtu, 576),
            **fields,  # type: ignore[arg-type]
        )

    def _broadcast(self, message: Message, source: IPv4Address = _NOBODY) -> None:
        self._transmit(message, source, _ALL, BROADCAST)

    def _transmit(
        self, message: Message, source: IPv4Address, to: IPv4Address, station: bytes
    ) -> None:
        self._port.transmit(
            udp4_frame(
                (self._port.mac, station),
                (source, to),
                (CLIENT_PORT, SERVER_PORT),
                message.packed(),
                self._port.identification(),
            )
        )

    def _begin(self, now_us: int) -> None:
        if not self._port.works:
            self.phase = Phase.INIT
            self._wait(NEVER)  # until the link is back
            return
        self._exchange(now_us)
        self.phase = Phase.SELECTING
        self._discover(now_us)

    def _discover(self, now_us: int) -> None:
        self._seconds = (now_us - self._began_us) // SECOND_US
        self._broadcast(self._message(Kind.DISCOVER, seconds=self._seconds))
        self._wait(now_us + self._backoff_us(self._tries))
        self._tries += 1

    def _request(self, now_us: int) -> None:
        self._sent_us = now_us
        self._broadcast(
            self._message(
                Kind.REQUEST, seconds=self._seconds, requested=self._offered, server=self.server
            )
        )
        self._wait(now_us + self._backoff_us(self._tries))
        self._tries += 1

    def _request_again(self, now_us: int, most: int) -> None:
        if self._tries < most:
            self._request(now_us)
        else:
            self._begin(now_us)

    def _extend(self, now_us: int) -> None:
        """Asks for more time: the server, and from T2 on all of them."""
        if self.phase is Phase.RENEWING and now_us >= self._at_us(2):
            self._exchange(now_us)
            self.phase = Phase.REBINDING
        assert self.address is not None
        assert self.server is not None
        seconds = (now_us - self._began_us) // SECOND_US
        message = self._message(Kind.REQUEST, seconds=seconds, address=self.address.ip)
        self._sent_us = now_us
        if self.phase is Phase.RENEWING:
            ports = (CLIENT_PORT, SERVER_PORT)
            if self._port.works:
                self._port.send(self.address.ip, self.server, ports, message.packed())
        else:
            self._broadcast(message, self.address.ip)
        end_us = self._at_us(2 if self.phase is Phase.RENEWING else 0)
        # Half of what is left, but not within a minute (RFC 2131 4.4.5).
        self._wait(min(end_us, now_us + max((end_us - now_us) // 2, _MINUTE_US)))

    def _verify(self, now_us: int) -> None:
        """Asks whether the address is right here (INIT-REBOOT, RFC 2131 3.2)."""
        assert self.address is not None
        if self._tries >= _REBOOT_REQUESTS:
            # Nobody says no: it may be used until the lease is over.
            self._bound(now_us)
            return
        seconds = (now_us - self._began_us) // SECOND_US
        self._sent_us = now_us
        message = self._message(Kind.REQUEST, seconds=seconds, requested=self.address.ip)
        self._broadcast(message)
        self._wait(now_us + self._backoff_us(self._tries))
        self._tries += 1

    # --- answers -----------------------------------------------------------------------------

    def datagram(self, datagram: Datagram, now_us: int) -> None:
        """See `Service`."""
        if datagram.target_mac not in (BROADCAST, self._port.mac):
            return
        reply = dhcp_message.read(datagram.payload, self._transaction, self._port.mac)
        if reply is None:
            return
        if reply.kind is Kind.OFFER:
            self._take_offer(reply, now_us)
        elif self._believes(reply):
            if reply.kind is Kind.ACK:
                self._server_mac = datagram.source_mac
                self._take_lease(reply, now_us)
            else:
                self._refused(now_us)

    def _take_offer(self, reply: Reply, now_us: int) -> None:
        if self.phase is not Phase.SELECTING or reply.server is None or not is_host(reply.address):
            return
        self._offered, self.server = reply.address, reply.server
        self.phase, self._tries = Phase.REQUESTING, 0
        self._request(now_us)

    def _believes(self, reply: Reply) -> bool:
        """Whether it is from whom was asked, and about what was (RFC 2131 4.3.2)."""
        asked_one = self.phase in (Phase.REQUESTING, Phase.RENEWING)
        asked_all = self.phase in (Phase.REBINDING, Phase.REBOOTING)
        if not (asked_one or asked_all) or (asked_one and reply.server != self.server):
            return False
        return reply.kind is Kind.NAK or reply.address == self._offered

    def _refused(self, now_us: int) -> None:
        self._lose()
        self.phase = Phase.INIT
        self._wait(now_us + self._backoff_us(self._naks))
        self._naks += 1

    def _take_lease(self, reply: Reply, now_us: int) -> None:
        checked = self.phase is not Phase.REQUESTING
        if reply.server is not None:
            self.server = reply.server
        self.reply = reply
        prefix = reply.prefix or _class_prefix(reply.address)
        before, self.address = self.address, IPv4Interface((reply.address, prefix))
        self.times_s = _times(reply)
        self.obtained_us = self._sent_us  # (RFC 2131 4.4.1)
        self._naks = 0
        if not checked and self._checks():
            self.phase = Phase.CHECKING
            self._detector = Detector(self._port, reply.address, now_us)
            self._wait(self._detector.due_us)
            return
        if checked and before != self.address:
            self._withdraw()
        self._bind(now_us)
        if not checked and self.phase.holds:
            # The address's previous owner is still in others' tables (RFC 2131 4.4.1).
            announce(self._port, reply.address)

    def _bind(self, now_us: int) -> None:
        assert self.address is not None
        assert self.reply is not None
        if self.shown.address is None:
            if not self._port.put(self.address):
                self._refused(now_us)
                return
            self.shown.address = self.address
        gateway = self.reply.router
        if self.shown.gateway not in (None, gateway):
            self._port.take_gateway(self.shown.gateway)
            self.shown.gateway = None
        if gateway is not None and self.shown.gateway is None:
            self.shown.gateway = gateway
            self._port.put_gateway(gateway)
        self.shown.nameservers = self.reply.dns
        self._bound(now_us)

    def _bound(self, now_us: int) -> None:
        self.phase = Phase.BOUND
        self._wait(min(self._at_us(1), self._at_us(0)))
        if self.due_us <= now_us and self.due_us != NEVER:
            self._wait(now_us)

    # --- conflicts ---------------------------------------------------------------------------

    def arp(self, packet: Arp, now_us: int) -> None:
        """See `Service`."""
        if self._detector is not None:
            self._judge(self._detector.arp(packet, now_us), now_us)

    def _judge(self, verdict: Verdict, now_us: int) -> None:
        if verdict is Verdict.FREE:
            self._bind(now_us)
        elif verdict is Verdict.TAKEN:
            assert self.address is not None
            self._port.warn(f"another host has the address {self.address.ip} too")
            decline = self._message(Kind.DECLINE, requested=self.address.ip, server=self.server)
            self._lose()
            self._transaction = decline.transaction
            self._broadcast(decline)
            self.phase = Phase.INIT
            self._wait(now_us + _AFTER_DECLINE_US)

    # --- the end of a lease ------------------------------------------------------------------

    def _withdraw(self) -> None:
        """Takes back what the lease gave the interface."""
        if self.shown.gateway is not None:
            self._port.take_gateway(self.shown.gateway)
        if self.shown.address is not None:
            self._port.take(self.shown.address)
        self.shown = Shown()

    def _lose(self) -> None:
        self._withdraw()
        self._detector = None
        self.address = self.reply = None

    def look(self, now_us: int) -> None:
        """See `Service`."""

    def advertised(self, packet: Advertisement, now_us: int) -> None:
        """See `Service`: routers have nothing to say to it."""

    def link_is_back(self, now_us: int) -> None:
        """See `Service`."""
        if not self.phase.holds:
            if self.phase is Phase.CHECKING:
                self._lose()
            self._begin(now_us)
            return
        assert self.address is not None
        if self.shown.gateway is not None:
            self._port.put_gateway(self.shown.gateway)  # the engine may have dropped it
        self._exchange(now_us)
        self._offered = self.address.ip
        self.phase = Phase.REBOOTING
        self._verify(now_us)

    def stop(self) -> None:
        """See `Service`."""
        if self.phase.holds and self.address is not None and self.server is not None:
            self._transaction = int.from_bytes(self._port.randbytes(4), "big")
            release = self._message(Kind.RELEASE, address=self.address.ip, server=self.server)
            # To the station that the lease came from: the address is gone before ARP could ask.
            self._transmit(release, self.address.ip, self.server, self._server_mac)
        self._lose()
