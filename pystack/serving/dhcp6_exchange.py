"""How a DHCPv6 client says a thing until it is answered (RFC 9915 15)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address

from pystack._native.moments import NEVER, SECOND_US
from pystack.serving.dhcp6_message import (
    CLIENT_PORT,
    ETHERNET_DUID,
    SERVER_PORT,
    SERVERS,
    Kind,
    message,
)
from pystack.serving.frame6 import group_mac, udp6_frame
from pystack.serving.port import Port

__all__ = ["TIMES", "Exchange", "Parting", "Times", "duid", "identity"]

_SERVERS = IPv6Address(SERVERS)
_RANDOM = 0.1  # a wait is so much longer or shorter
_ADDRESS_WAIT_US, _ADDRESS_WAITS = SECOND_US // 2, 20


@dataclass(frozen=True)
class Times:
    """How often a message is said (7.6, 15).

    Attributes:
        first_s: The first wait (IRT).
        most_s: The longest one (MRT); 0: there is none.
        tries: How often at most (MRC); 0: there is no limit.
        all_s: For how long at most (MRD); 0: there is no limit.
        delay_s: Before the first, at most.
    """

    first_s: float
    most_s: float = 0
    tries: int = 0
    all_s: float = 0
    delay_s: float = 0


TIMES = {
    Kind.SOLICIT: Times(1, 3600, delay_s=1),
    Kind.REQUEST: Times(1, 30, tries=10),
    Kind.CONFIRM: Times(1, 4, all_s=10, delay_s=1),
    Kind.RENEW: Times(10, 600),
    Kind.REBIND: Times(10, 600),
    Kind.RELEASE: Times(1, tries=4),
    Kind.DECLINE: Times(1, tries=4),
    Kind.INFORMATION_REQUEST: Times(1, 3600, delay_s=1),
}


def duid(port: Port) -> bytes:
    """What servers know the client by (11.4)."""
    return ETHERNET_DUID + port.mac


def identity(port: Port) -> bytes:
    """The number of the interface's association: the same ever again, and no other's (12)."""
    return port.mac[-4:]


class Exchange:
    """A message and its repetitions.

    Args:
        port: The interface.
        kind: The message's type.
        now_us: When it begins.
        server: The DUID of whom it is for; None: all servers.
        more: Options beside those that every message has.
        asked: The options that the answer should have.
        most_s: The longest wait, if it is not the usual one.
        delay_s: Before the first message, at most, if it is not the usual one.

    Attributes:
        kind: The message's type.
        transaction: Its identifier.
        server: See above.
        due_us: When it is said again, or has ended without an answer.
        tries: How often it was said.
        most_s: The longest wait.
        began_us: When it was said first; None: not yet.
    """

    def __init__(
        self,
        port: Port,
        kind: Kind,
        now_us: int,
        *,
        server: bytes | None = None,
        more: bytes = b"",
        asked: Sequence[int] = (),
        most_s: float | None = None,
        delay_s: float | None = None,
    ) -> None:
        self._port, self._times = port, TIMES[kind]
        self._more, self._asked = more, tuple(asked)
        self.kind, self.server = kind, server
        self.transaction = int.from_bytes(port.randbytes(3), "big")
        self.most_s = self._times.most_s if most_s is None else most_s
        self._wait_s = 0.0
        self._patience = _ADDRESS_WAITS
        self.tries = 0
        self.began_us: int | None = None
        most_delay_s = self._times.delay_s if delay_s is None else delay_s
        # So that all hosts that hear a router, or come up together, don't ask at once.
        self.due_us = now_us + (port.between_us(0, most_delay_s) if most_delay_s else 0)

    def has_failed(self, now_us: int) -> bool:
        """Whether there is nothing more to say, and no answer."""
        if now_us < self.due_us or self.began_us is None:
            return False
        if self._times.tries and self.tries >= self._times.tries:
            return True
        return bool(self._times.all_s) and now_us >= self._end_us()

    def _end_us(self) -> int:
        return (self.began_us or 0) + round(self._times.all_s * SECOND_US)

    def say(self, now_us: int) -> None:
        """Says it, the first time or again.

        An address to say it from may still be checked: then it begins later. Without one it is
        lost.
        """
        source = self._port.link_local()
        if source is None and self._patience > 0 and self.began_us is None:
            self._patience -= 1
            self.due_us = now_us + _ADDRESS_WAIT_US
            return
        if self.began_us is None:
            self.began_us = now_us
        if source is not None:
            packed = message(
                self.kind,
                self.transaction,
                duid(self._port),
                self._more,
                server=self.server,
                elapsed_us=now_us - self.began_us,
                asked=self._asked,
            )
            self._port.transmit(
                udp6_frame(
                    (self._port.mac, group_mac(_SERVERS)),
                    (source, _SERVERS),
                    (CLIENT_PORT, SERVER_PORT),
                    packed,
                    hops=1,
                )
            )
        self.tries += 1
        self.due_us = now_us + self._next_wait_us()
        if self._times.all_s:
            self.due_us = min(self.due_us, self._end_us())

    def _next_wait_us(self) -> int:
        first = self._wait_s == 0
        # Who collects advertisements doesn't end before the first second (18.2.1).
        least = 0 if first and self.kind is Kind.SOLICIT else -_RANDOM
        chance = self._port.between_us(least, _RANDOM) / SECOND_US
        base_s = self._times.first_s if first else self._wait_s
        self._wait_s = (1 if first else 2) * base_s + chance * base_s
        if self.most_s and self._wait_s > self.most_s:
            self._wait_s = self.most_s + chance * self.most_s
        return round(self._wait_s * SECOND_US)


class Parting:
    """The last words about addresses that the client has no longer: a release, or a refusal.

    They are repeated until the server has heard them, when nothing else of the client may be left.

    Args:
        exchange: What is said.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.is_over = False

    @property
    def due_us(self) -> int:
        """When it wants to be told the time."""
        return NEVER if self.is_over else self._exchange.due_us

    def tick(self, now_us: int) -> None:
        """Says it again if it is time."""
        if self._exchange.has_failed(now_us):
            self.is_over = True
        elif now_us >= self._exchange.due_us:
            self._exchange.say(now_us)

    def heard(self, payload: bytes) -> None:
        """A server has said something: a reply, whatever is in it, ends it (18.2.10.2)."""
        end = self._exchange.transaction.to_bytes(3, "big")
        if payload[:4] == bytes((Kind.REPLY,)) + end:
            self.is_over = True
