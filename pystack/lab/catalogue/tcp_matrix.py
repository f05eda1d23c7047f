"""TCP, groups 20 to 30: every state, with every kind of segment, at every edge of the window.

The cases are made of the table in `_tcp_table`: a group is a state, in the table's order.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from scapy.layers.inet import TCP
from scapy.packet import Packet

from pystack.lab.case import case
from pystack.lab.catalogue._tcp import altered, loses, replying
from pystack.lab.catalogue._tcp_table import (
    EDGES,
    KINDS,
    MATRIX_STATES,
    UNSENT,
    Kind,
    Reaction,
    Rule,
    cells,
)
from pystack.lab.mutant import Mutant
from pystack.lab.tcp import ISN, MODULUS, in_state
from pystack.lab.tester import Tester

FIRST_GROUP = 20
MARK = 4321  # the window in the segment's header: a mutant knows it by that
INSIDE = 100
QUIET_MS = 150
THROTTLE_MS = (
    550  # acknowledgements of what is unacceptable may be kept this far apart (RFC 5961 7)
)
# The states in which a FIN of the Host's waits for its acknowledgement: to leave it there, the
# tester acknowledges all before it.
UNFINISHED = ("FIN-WAIT-1", "CLOSING", "LAST-ACK")


def marked(frame: Packet) -> bool:
    """The segment that a case is about."""
    return bool(frame[TCP].window == MARK)


def _next_number(state: str) -> int:
    """What a Host in a state waits for next."""
    if state in ("CLOSED", "LISTEN", "SYN-SENT"):
        return ISN
    return ISN + 1 + (state in ("CLOSE-WAIT", "CLOSING", "LAST-ACK", "TIME-WAIT"))


def _mutant(state: str, kind: Kind, edge: str, rule: Rule) -> Mutant:
    """A Host that does what the row forbids."""
    if edge not in ("left", "ack right") and rule.reaction in (Reaction.ACK, Reaction.DROP):
        if edge.startswith("ack"):
            return Mutant(
                "does not look at the acknowledgement number",
                incoming=altered(
                    marked, ack=lambda header: header.ack + (1 if edge == "ack below" else -1)
                ),
            )
        if "S" not in kind.flags and state != "TIME-WAIT":
            return Mutant(
                "takes it as if it began at the window's left edge",
                incoming=altered(marked, seq=_next_number(state)),
            )
    if kind.ack:
        return Mutant(
            "does not look at the acknowledgement number",
            incoming=altered(marked, ack=lambda header: header.ack - UNSENT),
        )
    if rule.reaction is Reaction.IGNORE and kind is KINDS["BARE"]:
        return Mutant("resets for want of an ACK", answer=_reset)
    if rule.reaction in (Reaction.DROP, Reaction.IGNORE, Reaction.NOTHING):
        return Mutant("resets for it", answer=_reset)
    return Mutant("drops it", incoming=loses(marked))


_reset = replying(marked, "R", seq=lambda header: header.ack)


class _Try:
    """One segment to a Host in a state, and what to look for afterwards."""

    def __init__(self, lab: Tester, state: str, kind: Kind, edge: str) -> None:
        self.lab, self.state, self.kind = lab, state, kind
        self.connection = connection = in_state(lab, state)
        lab.drain(30)
        self.next = connection.seq  # RCV.NXT
        self.una = connection.ack or 0
        if state in UNFINISHED:
            self.una -= 1
        window = max(connection.host_window, 1)
        offset = {
            "before": -max(1, kind.length),
            "inside": INSIDE,
            "right": window - 1,
            "beyond": window,
        }.get(edge, 0)
        self.seq = (self.next + offset) % MODULUS
        self.ack = self.una + kind.ack + {"ack below": -1, "ack above": 1}.get(edge, 0)
        if state in ("CLOSED", "LISTEN"):
            self.ack = 777_777
        self.ack %= MODULUS

    def send(self) -> None:
        """Sends the segment."""
        self.connection.send(
            self.kind.flags, self.kind.data, seq=self.seq, ack=self.ack, window=MARK
        )

    def quiet(self) -> None:
        """Makes sure that nothing comes but what the Host sends again by itself."""
        self.connection.expect_nothing(
            QUIET_MS, flags=lambda flags: "R" in flags or not set(str(flags)) & set("SF")
        )

    def alive(self, taken: int = 0) -> None:
        """Makes sure that the connection is where it was, but for what it has taken."""
        connection, expected = self.connection, (self.next + taken) % MODULUS
        if self.state == "CLOSED":
            return
        if self.state in ("LISTEN", "SYN-SENT"):
            if self.state == "LISTEN":
                connection.send("S")
                connection.expect("SA", ack=connection.isn + 1)
            else:
                connection.send("SA", options=[("MSS", 1460)])
                connection.expect("A", ack=connection.isn + 1, seq=connection.ack)
            return
        connection.send("A", seq=expected - 1, ack=self.una)
        connection.expect("A", seq=connection.ack, ack=expected)

    def gone(self) -> None:
        """Makes sure that nothing is left of the connection."""
        self.connection.send("A", seq=self.next, ack=self.una)
        self.connection.expect_reset(seq=self.una % MODULUS)


def _react(attempt: _Try, reaction: Reaction) -> None:
    connection, kind = attempt.connection, attempt.kind
    end = (attempt.seq + kind.length) % MODULUS
    attempt.send()
    match reaction:
        case Reaction.ACK:
            connection.expect("A", seq=connection.ack, ack=attempt.next)
            attempt.lab.drain(THROTTLE_MS)
            attempt.alive()
        case Reaction.DROP:
            attempt.quiet()
            attempt.alive()
        case Reaction.NOTHING:
            attempt.quiet()
        case Reaction.IGNORE:
            connection.expect_no_reset(THROTTLE_MS)
            attempt.alive()
        case Reaction.TAKE:
            connection.expect(flags="A", ack=end)
            if attempt.state != "SYN-SENT":
                attempt.alive(kind.length)
        case Reaction.RESET:
            connection.expect("R", seq=attempt.ack)
            if attempt.state != "SYN-RECEIVED":
                attempt.alive()
        case Reaction.RESET_ACK:
            connection.expect("RA", seq=0, ack=end)
        case Reaction.GONE:
            attempt.quiet()
            attempt.gone()
        case Reaction.SYN_ACK:
            connection.expect("SA", ack=end)


AFTER = {
    Reaction.ACK: "An old ACK is answered: the connection is where it was.",
    Reaction.DROP: "The connection, if there is one, is where it was: an old ACK is answered, a \
handshake goes on.",
    Reaction.IGNORE: "An old ACK is answered: the connection is where it was.",
    Reaction.TAKE: "An old ACK is answered, with the number after what was taken.",
    Reaction.GONE: "An ACK is answered with a reset.",
}


def _steps(state: str, kind: Kind, edge: str, rule: Rule) -> str:
    where = "" if state in ("CLOSED", "LISTEN") else f", {EDGES[edge]}"
    if state == "SYN-SENT" and edge == "left":
        where = ""
    lines = [
        f"Send {kind.words} to a Host in {state}.",
        "",
        f"1. The Host is brought to {state}.",
        f"2. The tester sends {kind.words}{where}.",
        f"3. In answer {rule.reaction.value}.",
    ]
    after = AFTER.get(rule.reaction)
    if after is not None and state != "CLOSED":
        lines.append(f"4. {after}")
    return "\n".join(lines)


def _title(state: str, kind: Kind, edge: str, rule: Rule) -> str:
    where = "" if state in ("CLOSED", "LISTEN") else f" {EDGES[edge]}"
    if state == "SYN-SENT" and edge == "left":
        where = ""
    outcome = {
        Reaction.ACK: "is answered with an ACK",
        Reaction.DROP: "is not answered",
        Reaction.IGNORE: "is not taken",
        Reaction.TAKE: "is acknowledged",
        Reaction.RESET: "is answered with a reset of its number",
        Reaction.RESET_ACK: "is answered with a reset that acknowledges it",
        Reaction.GONE: "ends the connection",
        Reaction.NOTHING: "leads to no answer",
        Reaction.SYN_ACK: "is answered with SYN and ACK",
    }[rule.reaction]
    return f"{state}: {kind.words}{where} {outcome}"


def _made(state: str, kind: Kind, edge: str, rule: Rule) -> Callable[[Tester], None]:
    def function(lab: Tester) -> None:
        _react(_Try(lab, state, kind, edge), rule.reaction)

    function.__doc__ = _steps(state, kind, edge, rule)
    function.__qualname__ = f"matrix_{state}_{kind.words}_{edge}"
    return function


def _register() -> None:
    numbers = {state: count(1) for state in MATRIX_STATES}
    for state, name, edge, rule in cells():
        kind = KINDS[name]
        group = FIRST_GROUP + MATRIX_STATES.index(state)
        case(
            f"TCP-{group}.{next(numbers[state])}",
            _title(state, kind, edge, rule),
            rfc=rule.rfc,
            section=rule.section,
            level=rule.level,
            mutant=_mutant(state, kind, edge, rule),
        )(_made(state, kind, edge, rule))


_register()
