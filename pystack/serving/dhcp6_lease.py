"""The addresses that DHCPv6 servers lease to an interface (RFC 9915 18.2, IA_NA).

A server is looked for by solicitations and asked for addresses; what it gives is looked for on the
link before it is used, extended in time, and given back. An address lies alone on the interface:
which others are on the link, and who routes, is said by routers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv6Address, IPv6Interface

from pystack._native import lib
from pystack._native.moments import NEVER, SECOND_US
from pystack.serving.dhcp6_exchange import Exchange, Parting, duid, identity
from pystack.serving.dhcp6_message import (
    FOREVER,
    Answer,
    Binding,
    Code,
    Kind,
    Leased,
    Status,
    association,
    option,
    read,
)
from pystack.serving.port import Port, Served

__all__ = ["Held", "Lessee", "Phase"]

_ALONE = 128  # bits of prefix
_ASKED = (Code.DNS, Code.DOMAINS, Code.SOLICIT_MOST)
_BEST = 255  # a preference that needs no comparing (18.2.1)
_LEAST_US = SECOND_US // 2  # between two renewals, whatever a server says
_MOST_PAUSE_S = 64


class Phase(Enum):
    """What the client is about."""

    IDLE = lib.PS_LEASE_SEARCHING, "idle"
    """No router has said that there are addresses, or it pauses after a refusal."""
    SOLICITING = lib.PS_LEASE_SEARCHING, "soliciting"
    REQUESTING = lib.PS_LEASE_SEARCHING, "requesting"
    CHECKING = lib.PS_LEASE_CHECKING, "checking"
    BOUND = lib.PS_LEASE_BOUND, "bound"
    RENEWING = lib.PS_LEASE_RENEWING, "renewing"
    REBINDING = lib.PS_LEASE_REBINDING, "rebinding"
    CONFIRMING = lib.PS_LEASE_REBINDING, "confirming"

    @property
    def state(self) -> int:
        """The number of `LeaseState`."""
        return int(self.value[0])


_PHASES = {
    Kind.SOLICIT: Phase.SOLICITING,
    Kind.REQUEST: Phase.REQUESTING,
    Kind.RENEW: Phase.RENEWING,
    Kind.REBIND: Phase.REBINDING,
    Kind.CONFIRM: Phase.CONFIRMING,
}


@dataclass
class Held:
    """A leased address.

    Attributes:
        address: It.
        preferred_us: Until when it is preferred; `NEVER`: for ever.
        valid_us: Until when it may be used; likewise.
        is_ours: Whether the interface has it from here; else it had it before.
        is_checked: Whether nobody else has it.
        is_deprecated: Whether the engine has been told that it is no longer preferred.
    """

    address: IPv6Address
    preferred_us: int
    valid_us: int
    is_ours: bool = False
    is_checked: bool = False
    is_deprecated: bool = False

    @property
    def interface(self) -> IPv6Interface:
        """As it is put on an interface."""
        return IPv6Interface((self.address, _ALONE))


def _after(now_us: int, seconds: float) -> int:
    return NEVER if seconds == FOREVER else now_us + round(seconds * SECOND_US)


class Lessee:
    """The client of one interface, as far as addresses go.

    Args:
        port: The interface.
        is_rapid: Whether a server may give addresses at once (21.14).

    Attributes:
        answer: What the server said that gave the addresses; None: there are none.
        held: The addresses.
        obtained_us: When they were given, or last extended.
        t1_us: When to renew them.
        t2_us: When to ask any server.
        partings: What is still being said of addresses that are gone.
    """

    def __init__(self, port: Port, is_rapid: bool) -> None:
        self._port, self._is_rapid = port, is_rapid
        self.answer: Answer | None = None
        self.held: dict[IPv6Address, Held] = {}
        self.obtained_us = 0
        self.t1_us = self.t2_us = NEVER
        self.partings: list[Parting] = []
        self._exchange: Exchange | None = None
        self._best: Answer | None = None
        self._solicit_most_s: int | None = None
        self._pause_us = NEVER
        self._failures = 0
        self._is_elsewhere = False  # a server has said that the link is another

    # --- what it is about ----------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether it has addresses, or wants some."""
        return bool(self.held) or self._exchange is not None or self._pause_us != NEVER

    @property
    def phase(self) -> Phase:
        """What it is about."""
        usable = any(one.is_checked for one in self.held.values())
        found = Phase.IDLE if self._exchange is None else _PHASES[self._exchange.kind]
        if not self.held:
            return found
        if found in (Phase.RENEWING, Phase.REBINDING, Phase.CONFIRMING):
            return found
        return Phase.BOUND if usable else Phase.CHECKING

    @property
    def is_bound(self) -> bool:
        """Whether the interface has a leased address that may be used."""
        return any(one.is_checked for one in self.held.values())

    def served(self) -> tuple[Served, ...]:
        """Its addresses, as the host shows them."""
        return tuple(
            Served(one.interface, one.preferred_us, one.valid_us)
            for one in self.held.values()
            if one.is_ours
        )

    @property
    def due_us(self) -> int:
        """When it wants to be told the time."""
        due = [one.due_us for one in self.partings]
        for one in self.held.values():
            due.append(one.valid_us)
            if one.is_checked and not one.is_deprecated:
                due.append(one.preferred_us)
        if self._port.works:
            due.append(self._pause_us)
            if self._exchange is not None:
                due.append(self._exchange.due_us)
            due += self._turns()
        return min(due, default=NEVER)

    def _turns(self) -> list[int]:
        """When addresses are to be extended in another way than now."""
        kind = None if self._exchange is None else self._exchange.kind
        if not self.is_bound or self._pause_us != NEVER or kind not in (None, Kind.RENEW):
            return []
        return [self.t2_us] if kind is Kind.RENEW else [self.t1_us, self.t2_us]

    # --- time ----------------------------------------------------------------------------------

    def start(self, now_us: int) -> None:
        """Looks for a server, if it doesn't yet."""
        if not self.is_running:
            self._solicit(now_us)

    def give_up(self) -> None:
        """Stops looking; what it has, it keeps and extends."""
        if not self.held:
            self._exchange, self._best, self._pause_us = None, None, NEVER

    def tick(self, now_us: int) -> None:
        """See `Service`."""
        for parting in list(self.partings):
            parting.tick(now_us)
            if parting.is_over:
                self.partings.remove(parting)
        self._expire(now_us)
        if not self._port.works:
            return
        if now_us >= self._pause_us:
            self._solicit(now_us)
        turns = self._turns()
        if turns and now_us >= turns[-1]:
            self._extend(Kind.REBIND, now_us)
        elif turns and now_us >= turns[0]:
            self._extend(Kind.RENEW, now_us)
        exchange = self._exchange
        if exchange is not None and now_us >= exchange.due_us:
            self._go_on(exchange, now_us)

    def _expire(self, now_us: int) -> None:
        had = bool(self.held)
        for one in list(self.held.values()):
            if now_us >= one.valid_us:
                self._drop(one)
            elif now_us >= one.preferred_us and not one.is_deprecated and one.is_checked:
                one.is_deprecated = True
                self._prefer(one)
        if had and not self.held:
            self._port.warn("the leased IPv6 addresses have expired")
            self._forget()
            self._solicit(now_us)

    def _prefer(self, one: Held) -> None:
        if one.is_ours:
            self._port.prefer(one.interface, not one.is_deprecated)

    def _go_on(self, exchange: Exchange, now_us: int) -> None:
        """An answer hasn't come in time."""
        if exchange.kind is Kind.SOLICIT and self._best is not None:
            self._request(self._best, now_us)
        elif exchange.kind is Kind.CONFIRM and self._is_elsewhere:
            self._lose()
            self._solicit(now_us)
        elif not exchange.has_failed(now_us):
            exchange.say(now_us)
        elif exchange.kind is Kind.CONFIRM:
            self._exchange = None  # nobody says no: they may be used until they expire (18.2.3)
        else:
            self._pause(now_us)

    def _pause(self, now_us: int) -> None:
        """Looks for a server again, the later the more often it has led to nothing (14.1)."""
        self._exchange = self._best = None
        seconds = min(1 << min(self._failures, 10), _MOST_PAUSE_S)
        self._failures += 1
        self._pause_us = now_us + self._port.between_us(seconds * 0.9, seconds * 1.1)

    # --- asking --------------------------------------------------------------------------------

    def _association(self) -> bytes:
        return association(identity(self._port), list(self.held))

    def _solicit(self, now_us: int) -> None:
        self._pause_us, self._best = NEVER, None
        more = association(identity(self._port))
        if self._is_rapid:
            more += option(Code.RAPID_COMMIT, b"")
        most = self._solicit_most_s
        self._exchange = Exchange(
            self._port, Kind.SOLICIT, now_us, more=more, asked=_ASKED, most_s=most
        )

    def _request(self, offer: Answer, now_us: int) -> None:
        assert offer.binding is not None
        wanted = [one.address for one in offer.binding.addresses]
        self._ask_for(offer.server, wanted, now_us)

    def _ask_for(self, server: bytes, wanted: list[IPv6Address], now_us: int) -> None:
        more = association(identity(self._port), wanted)
        self._best, self._pause_us = None, NEVER
        self._exchange = Exchange(
            self._port, Kind.REQUEST, now_us, server=server, more=more, asked=_ASKED
        )
        self._exchange.say(now_us)

    def _extend(self, kind: Kind, now_us: int) -> None:
        assert self.answer is not None
        server = self.answer.server if kind is Kind.RENEW else None
        self._exchange = Exchange(
            self._port, kind, now_us, server=server, more=self._association(), asked=_ASKED
        )

    # --- answers -------------------------------------------------------------------------------

    def heard(self, payload: bytes, now_us: int) -> None:
        """A server's datagram."""
        for parting in list(self.partings):
            parting.heard(payload)
            if parting.is_over:
                self.partings.remove(parting)
        exchange = self._exchange
        if exchange is None or exchange.began_us is None:
            return
        said = read(payload, exchange.transaction, duid(self._port), identity(self._port))
        if said is None:
            return
        if said.solicit_most_s is not None:
            self._solicit_most_s = said.solicit_most_s
            if exchange.kind is Kind.SOLICIT:
                exchange.most_s = said.solicit_most_s
        if exchange.kind is Kind.SOLICIT:
            self._take_offer(exchange, said, now_us)
        elif said.kind is Kind.REPLY and exchange.kind is Kind.CONFIRM:
            self._take_confirmation(said)
        elif said.kind is Kind.REPLY and exchange.server in (None, said.server):
            self._take_reply(exchange, said, now_us)

    def _take_offer(self, exchange: Exchange, said: Answer, now_us: int) -> None:
        gives = _gives(said)
        if said.kind is Kind.REPLY:
            if self._is_rapid and said.is_rapid and gives:
                self._take_lease(said, now_us, anew=True)
            return
        if not gives:
            return
        if said.preference == _BEST or exchange.tries > 1:
            self._request(said, now_us)
        elif self._best is None or said.preference > self._best.preference:
            self._best = said

    def _take_confirmation(self, said: Answer) -> None:
        if said.status == Status.SUCCESS:
            self._exchange, self._is_elsewhere = None, False
        elif said.status == Status.NOT_ON_LINK:
            self._is_elsewhere = True  # if no other server knows better until the next question

    def _take_reply(self, exchange: Exchange, said: Answer, now_us: int) -> None:
        status, extends = _status(said), exchange.kind in (Kind.RENEW, Kind.REBIND)
        if status == Status.UNSPECIFIED_FAILURE:
            return  # it is asked again, at the usual pace (18.2.10.1)
        if extends and status == Status.NO_BINDING:
            self._ask_for(said.server, list(self.held), now_us)
        elif _gives(said) or (extends and _speaks(said)):
            self._take_lease(said, now_us, anew=not extends)
        elif not extends:
            self._pause(now_us)  # it has none, or not these here: perhaps another server has

    def _take_lease(self, said: Answer, now_us: int, *, anew: bool) -> None:
        binding, exchange = said.binding, self._exchange
        assert binding is not None
        assert exchange is not None
        given = {one.address: one for one in binding.addresses}
        for one in list(self.held.values()):
            # Of what it doesn't speak stays as it is, if it knows the association (18.2.10.1).
            found = given.get(one.address)
            if anew if found is None else found.valid_s == 0:
                self._drop(one)
        for leased in binding.addresses:
            if leased.valid_s > 0:
                self._hold(leased, now_us)
        self._exchange, self._best, self._pause_us = None, None, NEVER
        self.answer, self.obtained_us = said, now_us
        if not self.held:
            self._forget()
            self._pause(now_us)
            return
        self._failures = 0
        self._set_turns(binding, now_us)

    def _set_turns(self, binding: Binding, now_us: int) -> None:
        """T1 and T2, or in their place parts of the shortest time (14.2, 21.4)."""
        times = [one for one in binding.addresses if one.valid_s > 0]
        shortest = min((one.preferred_s or one.valid_s for one in times), default=FOREVER)
        t1: float = binding.t1_s or (FOREVER if shortest == FOREVER else shortest * 0.5)
        t2: float = binding.t2_s or (FOREVER if shortest == FOREVER else shortest * 0.8)
        self.t2_us = max(_after(now_us, t2), now_us + _LEAST_US)
        self.t1_us = min(max(_after(now_us, t1), now_us + _LEAST_US), self.t2_us)

    # --- the addresses -------------------------------------------------------------------------

    def _hold(self, leased: Leased, now_us: int) -> None:
        preferred_us = _after(now_us, leased.preferred_s)
        valid_us = _after(now_us, leased.valid_s)
        one = self.held.get(leased.address)
        if one is None:
            one = self.held[leased.address] = Held(leased.address, preferred_us, valid_us)
            self._put(one)
            return
        one.preferred_us, one.valid_us = preferred_us, valid_us
        if one.is_deprecated and preferred_us > now_us:
            one.is_deprecated = False
            self._prefer(one)

    def _put(self, one: Held) -> None:
        """Puts it on the interface, which looks whether it is somebody else's."""
        had = one.address in self._port.states()
        one.is_checked = had
        one.is_ours = not had and self._port.put(one.interface)
        if not had and not one.is_ours:
            del self.held[one.address]

    def look(self, now_us: int) -> None:
        """See `Service`: what has become of the addresses that are being checked."""
        waiting = [one for one in self.held.values() if not one.is_checked]
        if not waiting:
            return
        states = self._port.states()
        taken = []
        for one in waiting:
            state = states.get(one.address)
            if state in (lib.PS_ADDRESS_PREFERRED, lib.PS_ADDRESS_DEPRECATED):
                one.is_checked = True
            elif state != lib.PS_ADDRESS_TENTATIVE and self._port.works:
                taken.append(one)
        if taken:
            self._decline(taken, now_us)

    def _decline(self, taken: list[Held], now_us: int) -> None:
        """Tells the server whose addresses others have (18.2.8)."""
        assert self.answer is not None
        for one in taken:
            self._port.warn(f"another host has the address {one.address} too")
            self._drop(one)
        gone = [one.address for one in taken]
        self._part(Kind.DECLINE, self.answer.server, gone, now_us)
        if not self.held:
            self._forget()
            self._pause(now_us)

    def _part(self, kind: Kind, server: bytes, gone: list[IPv6Address], now_us: int) -> None:
        more = association(identity(self._port), gone)
        parting = Parting(Exchange(self._port, kind, now_us, server=server, more=more))
        parting.tick(now_us)
        self.partings.append(parting)

    def _drop(self, one: Held) -> None:
        del self.held[one.address]
        if one.is_ours:
            self._port.take(one.interface)

    def _lose(self) -> None:
        for one in list(self.held.values()):
            self._drop(one)
        self._forget()

    def _forget(self) -> None:
        self.answer = self._exchange = self._best = None
        self.t1_us = self.t2_us = self._pause_us = NEVER
        self._is_elsewhere = False

    # --- links and ends ------------------------------------------------------------------------

    def link_is_back(self, now_us: int) -> None:
        """Asks whether the addresses are right here (18.2.3); without any it begins anew."""
        if not self.held:
            self._forget()
            return
        for one in list(self.held.values()):
            if one.is_ours and one.address not in self._port.states():
                self._put(one)  # an engine may have dropped it with the link
        if not self.held:
            self._forget()
            self._solicit(now_us)
            return
        self._is_elsewhere = False
        self._exchange = Exchange(self._port, Kind.CONFIRM, now_us, more=self._association())

    def stop(self, now_us: int) -> None:
        """Gives the addresses back (18.2.7)."""
        gone = [one.address for one in self.held.values()]
        server = None if self.answer is None else self.answer.server
        self._lose()
        if gone and server is not None:
            self._part(Kind.RELEASE, server, gone, now_us)


def _status(said: Answer) -> int:
    """What became of the whole, or else of the association."""
    inner = Status.SUCCESS if said.binding is None else said.binding.status
    return said.status or inner


def _speaks(said: Answer) -> bool:
    """Whether it speaks of addresses, if only to say that they are no more."""
    binding = said.binding
    return _status(said) == Status.SUCCESS and binding is not None and bool(binding.addresses)


def _gives(said: Answer) -> bool:
    """Whether there is an address in it that may be used for some time."""
    binding = said.binding
    return _speaks(said) and binding is not None and any(one.valid_s for one in binding.addresses)
