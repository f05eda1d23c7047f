"""A peer: its sessions, what waits for one, and the timers (whitepaper, section 6).

Nothing here reads a clock: each call brings the time, and `due_us` says when the next is due.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from pystack._native.moments import NEVER
from pystack.nic.datagrams import Endpoint
from pystack.nic.wireguard.cookies import CookieJar
from pystack.nic.wireguard.noise import Begun
from pystack.nic.wireguard.session import REKEY_AFTER_MESSAGES, Session

__all__ = ["REJECT_AFTER_US", "Peer", "Wish"]

_SECOND_US = 1_000_000
REKEY_AFTER_US = 120 * _SECOND_US
REJECT_AFTER_US = 180 * _SECOND_US
_REKEY_TIMEOUT_US = 5 * _SECOND_US
_JITTER_US = 334_000
_KEEPALIVE_US = 10 * _SECOND_US
# Attempts within REKEY_ATTEMPT_TIME, 90 s.
_MOST_ATTEMPTS = 18
# An initiation that follows another sooner is a flood, or a replay.
INITIATION_US = _SECOND_US // 50
MOST_STAGED = 128


class Wish(Enum):
    """What a timer asks of the device."""

    INITIATE = auto()
    KEEPALIVE = auto()


@dataclass(eq=False)
class Peer:
    """What is known of a peer, and when something is due.

    Attributes:
        public: Its public key.
        preshared: The preshared key; zeros: none.
        secret: What its key and ours give together.
        jar: Makes the macs of what it is sent.
        jitter: A number from 0 up to 1, drawn anew by each call.
        endpoint: Where it is; None: not known yet.
        persistent_us: How often it is sent something at least; 0: that is left to the protocol.
    """

    public: bytes
    preshared: bytes
    secret: bytes
    jar: CookieJar
    jitter: Callable[[], float]
    endpoint: Endpoint | None = None
    persistent_us: int = 0

    current: Session | None = None
    previous: Session | None = None
    next: Session | None = None
    begun: Begun | None = None
    staged: deque[bytes] = field(default_factory=lambda: deque(maxlen=MOST_STAGED))

    greatest_timestamp: bytes = b""
    initiation_read_us: int | None = None
    initiated_us: int | None = None
    attempts: int = 0
    last_minute: bool = False
    handshake_us: int | None = None
    sent_bytes: int = 0
    received_bytes: int = 0

    # When each timer goes off; NEVER: it isn't set.
    _retransmit_us: int = NEVER
    _keepalive_us: int = NEVER
    _another_keepalive: bool = False
    _silence_us: int = NEVER
    _forget_us: int = NEVER
    _persistent_due_us: int = NEVER
    queued_us: int = NEVER  # by the device

    @property
    def due_us(self) -> int:
        """When `run` is to be called."""
        return min(
            self._retransmit_us,
            self._keepalive_us,
            self._silence_us,
            self._forget_us,
            self._persistent_due_us,
        )

    def _spread(self) -> int:
        return int(self.jitter() * _JITTER_US)

    def start(self, now_us: int) -> None:
        """It is there from now on: what is to be sent at times is sent at once."""
        if self.persistent_us:
            self._persistent_due_us = now_us

    # --- what happened -----------------------------------------------------------------------

    def on_traversal(self, now_us: int) -> None:
        """Something authentic was sent or received."""
        if self.persistent_us:
            self._persistent_due_us = now_us + self.persistent_us

    def on_sent(self, now_us: int) -> None:
        """Something authentic was sent."""
        self._keepalive_us = NEVER
        self.on_traversal(now_us)

    def on_data_sent(self, now_us: int) -> None:
        """A packet was sent: an answer is expected, of any kind."""
        if self._silence_us == NEVER:
            self._silence_us = now_us + _KEEPALIVE_US + _REKEY_TIMEOUT_US + self._spread()

    def on_received(self, now_us: int) -> None:
        """Something authentic came."""
        self._silence_us = NEVER
        self.on_traversal(now_us)

    def on_data_received(self, now_us: int) -> None:
        """A packet came: the peer expects something soon."""
        if self._keepalive_us == NEVER:
            self._keepalive_us = now_us + _KEEPALIVE_US
        else:
            self._another_keepalive = True

    def on_initiated(self, now_us: int) -> None:
        """An initiation was sent."""
        self.initiated_us = now_us
        self._retransmit_us = now_us + _REKEY_TIMEOUT_US + self._spread()

    def on_session(self, session: Session, now_us: int) -> list[Session]:
        """A handshake gave a session; returns those that it drives out."""
        self._forget_us = now_us + 3 * REJECT_AFTER_US
        before = self.sessions()
        if not session.is_initiator:
            # Not used before its first packet has come: then the peer has it too.
            self.previous, self.next = None, session
        else:
            # The peer has answered, so this one is good; what it was about to confirm may be.
            self.previous = self.next if self.next is not None else self.current
            self.current, self.next = session, None
        after = self.sessions()
        return [one for one in before if one not in after]

    def on_handshake(self, now_us: int) -> None:
        """A session is confirmed at both ends."""
        self._retransmit_us = NEVER
        self.attempts = 0
        self.last_minute = False
        self.handshake_us = now_us

    def confirm(self) -> list[Session]:
        """`next` becomes `current`; returns those that are forgotten."""
        dropped = [] if self.previous is None else [self.previous]
        self.previous, self.current, self.next = self.current, self.next, None
        return dropped

    # --- what is to be done ------------------------------------------------------------------

    def sendable(self, now_us: int) -> Session | None:
        """The session to send with; None: there is none that is young enough."""
        current = self.current
        if current is None or now_us - current.born_us >= REJECT_AFTER_US:
            return None
        return current

    def may_initiate(self, now_us: int) -> bool:
        """Whether the last initiation is long enough ago."""
        return self.initiated_us is None or now_us - self.initiated_us >= _REKEY_TIMEOUT_US

    def wants_rekey_to_send(self, session: Session, now_us: int) -> bool:
        """Whether a session is so old that one who sends with it begins another."""
        return session.counter > REKEY_AFTER_MESSAGES or (
            session.is_initiator and now_us - session.born_us >= REKEY_AFTER_US
        )

    def wants_rekey_to_receive(self, session: Session, now_us: int) -> bool:
        """Whether one who only receives by a session has to begin another before it ends."""
        oldest = REJECT_AFTER_US - _KEEPALIVE_US - _REKEY_TIMEOUT_US
        return (
            session.is_initiator
            and session is self.current
            and not self.last_minute
            and now_us - session.born_us >= oldest
        )

    def sessions(self) -> list[Session]:
        """Those it has."""
        return [one for one in (self.current, self.previous, self.next) if one is not None]

    def run(self, now_us: int) -> tuple[list[Wish], list[Session]]:
        """Lets the timers that are due go off: what is to be done, and sessions to forget."""
        wishes: list[Wish] = []
        dropped: list[Session] = []
        if self._retransmit_us <= now_us:
            self._retransmit_us = NEVER
            if self.attempts >= _MOST_ATTEMPTS:
                self._give_up(now_us)
            else:
                self.attempts += 1
                wishes.append(Wish.INITIATE)
        if self._keepalive_us <= now_us:
            self._keepalive_us = NEVER
            wishes.append(Wish.KEEPALIVE)
            if self._another_keepalive:
                self._another_keepalive = False
                self._keepalive_us = now_us + _KEEPALIVE_US
        if self._silence_us <= now_us:
            self._silence_us = NEVER
            wishes.append(Wish.INITIATE)
        if self._persistent_due_us <= now_us:
            self._keepalive_us = NEVER
            self._persistent_due_us = now_us + self.persistent_us
            wishes.append(Wish.KEEPALIVE)
        if self._forget_us <= now_us:
            self._forget_us = NEVER
            dropped = self.forget()
        return wishes, dropped

    def _give_up(self, now_us: int) -> None:
        self._keepalive_us = NEVER
        self.attempts = 0
        self.staged.clear()
        if self._forget_us == NEVER:
            self._forget_us = now_us + 3 * REJECT_AFTER_US

    def forget(self) -> list[Session]:
        """Gives up all keys; returns the sessions that it had."""
        dropped = self.sessions()
        self.current = self.previous = self.next = self.begun = None
        return dropped
