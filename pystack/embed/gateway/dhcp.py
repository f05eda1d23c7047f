"""A DHCP server for the guests of one gateway (RFC 2131 4.3)."""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import islice

from pystack.embed.gateway.plan import Plan
from pystack.serving.dhcp_message import Answer, Kind, Option, Query, read_query
from pystack.serving.dns_message import wire_name

__all__ = ["LEASE_S", "DhcpServer", "Lease"]

LEASE_S = 24 * 3600
_OFFER_S = 60.0  # for which an offer is kept
_DECLINED_S = 600.0  # for which an address that is in use is left alone
_MOST_LEASES = 4096  # also of a network that has more addresses
_NOBODY = IPv4Address(0)


@dataclass
class Lease:
    """A guest's address.

    Attributes:
        address: The address.
        client: What the guest is known by: its identifier (RFC 2132 9.14), else its MAC.
        mac: Its Ethernet address.
        ends: When it ends, in seconds of the server's clock.
        taken: Whether the guest has asked for it, after the offer.
    """

    address: IPv4Address
    client: bytes
    mac: bytes
    ends: float
    taken: bool


class DhcpServer:
    """What a server answers.

    It is the only one of its link: it refuses addresses that it hasn't given, where RFC 2131 4.3.2
    has one of several servers keep silent.

    Args:
        plan: The network.
        search: The domains in which guests look names up.
        mtu: The link's, if guests are to be told of it (RFC 2132 5.1).
        clock: Gives seconds that only grow.
        lease_s: How long a lease holds.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        search: Sequence[str] = (),
        mtu: int | None = None,
        clock: Callable[[], float],
        lease_s: int = LEASE_S,
    ) -> None:
        self._plan, self._clock, self._lease_s = plan, clock, lease_s
        self._by_client: dict[bytes, Lease] = {}
        self._by_address: dict[IPv4Address, Lease] = {}
        # No message costs more with many leases than with few. Whoever asks again goes to the end,
        # so each of these stands in the order in which it ends.
        self._declined: OrderedDict[IPv4Address, float] = OrderedDict()
        self._offered: OrderedDict[IPv4Address, Lease] = OrderedDict()
        self._taken: OrderedDict[IPv4Address, Lease] = OrderedDict()
        self._pool = frozenset(islice(plan.pool(), _MOST_LEASES))
        self._spare = OrderedDict.fromkeys(islice(plan.pool(), _MOST_LEASES))
        options = [
            (Option.MASK, plan.network.netmask.packed),
            (Option.ROUTER, plan.gateway.packed),
            (Option.DNS, plan.dns.packed),
        ]
        if mtu is not None:
            options.append((Option.MTU, struct.pack(">H", mtu)))
        if search:
            options.append((Option.DOMAIN, search[0].encode("idna")))
            options.append((Option.SEARCH, b"".join(map(wire_name, search))))
        self._settings = tuple((int(code), value) for code, value in options)

    @property
    def leases(self) -> list[Lease]:
        """Those that hold, the newest last; from any thread."""
        now = self._clock()
        # A list in one step, as the loop goes on.
        return [one for one in list(self._by_client.values()) if one.taken and one.ends > now]

    def datagram(self, payload: bytes) -> tuple[bytes, IPv4Address | None] | None:
        """Answers a client's message.

        Returns:
            The answer and where it goes, None for everybody on the link; None: there is none.
        """
        query = read_query(payload)
        if query is None or query.relay != _NOBODY:
            return None
        answer = self._answer(query)
        if answer is None:
            return None
        # A client without an address hears what goes to all, whatever its flag says (4.1).
        is_there = query.address != _NOBODY and answer.kind is not Kind.NAK
        return answer.packed(), query.address if is_there else None

    def _answer(self, query: Query) -> Answer | None:
        own = self._by_client.get(query.client)
        if query.kind is Kind.DISCOVER:
            return self._offer(query)
        if query.kind is Kind.REQUEST:
            return self._request(query, own)
        if query.kind is Kind.INFORM:
            return Answer(Kind.ACK, query, self._plan.gateway, options=self._settings)
        if own is not None and query.kind is Kind.DECLINE and query.requested == own.address:
            self._decline(own)
        elif own is not None and query.kind is Kind.RELEASE and query.address == own.address:
            self._forget(own)
        return None

    def _decline(self, lease: Lease) -> None:
        while len(self._declined) >= _MOST_LEASES:
            self._give_back(self._declined.popitem(last=False)[0])
        self._forget(lease)
        self._spare.pop(lease.address, None)
        self._declined[lease.address] = self._clock() + _DECLINED_S

    def _offer(self, query: Query) -> Answer | None:
        lease = self._lease_for(query, query.requested)
        return None if lease is None else self._gives(Kind.OFFER, query, lease)

    def _request(self, query: Query, own: Lease | None) -> Answer | None:
        if query.server is not None and query.server != self._plan.gateway:
            if own is not None and not own.taken:  # it has chosen another's offer
                self._forget(own)
            return None
        wanted = query.requested if query.address == _NOBODY else query.address
        if wanted is None:
            return None
        lease = own if own is not None and own.address == wanted else None
        if lease is None and query.server is None:  # of before we began: give it again
            lease = self._lease_for(query, wanted)
        if lease is None or lease.address != wanted:
            return Answer(Kind.NAK, query, self._plan.gateway)
        lease.taken, lease.mac = True, query.mac
        lease.ends = self._clock() + self._lease_s
        self._queue(lease, self._taken)
        self._by_client[lease.client] = self._by_client.pop(lease.client)  # the newest
        return self._gives(Kind.ACK, query, lease)

    def _gives(self, kind: Kind, query: Query, lease: Lease) -> Answer:
        times = (
            (int(Option.LEASE), struct.pack(">I", self._lease_s)),
            (int(Option.T1), struct.pack(">I", self._lease_s // 2)),
            (int(Option.T2), struct.pack(">I", self._lease_s * 7 // 8)),
        )
        options = (*times, *self._settings)
        return Answer(kind, query, self._plan.gateway, lease.address, options)

    def _lease_for(self, query: Query, wanted: IPv4Address | None) -> Lease | None:
        """The client's lease, or a new one, at the address that it wants if that is free."""
        own = self._by_client.get(query.client)
        if own is not None:
            if wanted is None or wanted == own.address or not self._is_free(wanted):
                ends = self._clock() + _OFFER_S
                if ends > own.ends:
                    own.ends = ends
                    self._queue(own, self._offered)
                return own
            self._forget(own)
        address = wanted if wanted is not None and self._is_free(wanted) else self._free()
        if address is None:
            return None
        old = self._by_address.get(address)
        if old is not None:
            self._forget(old)
        if len(self._by_client) >= _MOST_LEASES and not self._forget_ended():
            return None
        self._spare.pop(address, None)
        self._declined.pop(address, None)
        lease = Lease(address, query.client, query.mac, self._clock() + _OFFER_S, taken=False)
        self._by_client[lease.client] = self._by_address[address] = lease
        self._queue(lease, self._offered)
        return lease

    def _queue(self, lease: Lease, queue: OrderedDict[IPv4Address, Lease]) -> None:
        """Puts a lease, which has got the longest time of a queue's, at its end."""
        self._offered.pop(lease.address, None)
        self._taken.pop(lease.address, None)
        queue[lease.address] = lease

    def _is_free(self, address: IPv4Address) -> bool:
        plan, now = self._plan, self._clock()
        ends = (plan.network.network_address, plan.network.broadcast_address)
        if address not in plan.network or address in (*ends, plan.gateway, plan.dns):
            return False
        lease = self._by_address.get(address)
        return (lease is None or lease.ends <= now) and self._declined.get(address, now) <= now

    def _free(self) -> IPv4Address | None:
        """An address for a new guest; None: all are taken."""
        now = self._clock()
        while self._declined and next(iter(self._declined.values())) <= now:
            self._give_back(self._declined.popitem(last=False)[0])
        while not self._spare:
            if not self._forget_ended():
                return None
        return next(iter(self._spare))

    def _forget_ended(self) -> bool:
        """Forgets the lease that ended first, which waits for its client until then."""
        oldest = [next(iter(one.values())) for one in (self._offered, self._taken) if one]
        first = min(oldest, key=lambda lease: lease.ends, default=None)
        if first is None or first.ends > self._clock():
            return False
        self._forget(first)
        return True

    def _give_back(self, address: IPv4Address) -> None:
        if address in self._pool:
            self._spare[address] = None
            self._spare.move_to_end(address, last=False)

    def _forget(self, lease: Lease) -> None:
        self._by_client.pop(lease.client, None)
        self._by_address.pop(lease.address, None)
        self._offered.pop(lease.address, None)
        self._taken.pop(lease.address, None)
        self._give_back(lease.address)
