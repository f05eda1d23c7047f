"""What RFC 9293 3.10.7 does with a segment that arrives, as a table.

A row says for states, kinds of segment and places in the sequence space what comes back. The
first row that fits counts; where none does, the RFC leaves it open, or it is the subject of cases
of its own. The order of the rows is the order of the RFC's checks: sequence number, RST, SYN,
ACK, text, FIN.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from pystack.lab.verdict import Level

__all__ = ["EDGES", "KINDS", "MATRIX_STATES", "Kind", "Reaction", "Rule", "cells", "rule_for"]


class Reaction(Enum):
    """What a segment leads to; the values say it in words."""

    ACK = "an empty ACK comes, SEQ=SND.NXT and ACK=RCV.NXT, and nothing of the segment is taken"
    DROP = "nothing comes"
    IGNORE = "nothing of the segment is acknowledged, and no reset comes"
    TAKE = "all that the segment has is acknowledged"
    RESET = "an RST comes, SEQ=SEG.ACK, without ACK"
    RESET_ACK = "an RST comes, SEQ=0 and ACK=SEG.SEQ+SEG.LEN"
    GONE = "nothing comes, and the connection is no more"
    NOTHING = "nothing comes, whether the connection is still there or not"
    SYN_ACK = "SYN and ACK come, and acknowledge the segment's SYN"


@dataclass(frozen=True)
class Kind:
    """A kind of segment.

    Attributes:
        words: What it is called.
        flags: Its flags.
        data: Its data.
        ack: How far its acknowledgement number is from the right one.
    """

    words: str
    flags: str
    data: bytes = b""
    ack: int = 0

    @property
    def length(self) -> int:
        """How much of the sequence space it takes."""
        return len(self.data) + ("S" in self.flags) + ("F" in self.flags)


UNSENT = 1000  # how far past SND.NXT an acknowledgement of something never sent is

KINDS = {
    "RST": Kind("an RST", "R"),
    "RST-ACK": Kind("RST and ACK", "RA"),
    "SYN": Kind("a SYN", "S"),
    "SYN-ACK": Kind("SYN and ACK", "SA"),
    "BARE": Kind("data without ACK", "P", b"bare"),
    "UNSENT": Kind("an ACK of something never sent", "A", ack=UNSENT),
    "ACK": Kind("an empty ACK", "A"),
    "DATA": Kind("data", "PA", b"data"),
    "FIN": Kind("a FIN", "FA"),
}

# Where a segment begins. In SYN-SENT there is no window yet, and it is the acknowledgement number
# that is below, at or above the right one.
EDGES = {
    "before": "just before the window",
    "left": "at the window's left edge",
    "inside": "in the window, not at its left edge",
    "right": "at the last number of the window",
    "beyond": "at the first number beyond the window",
    "ack below": "with the number of the SYN as acknowledgement",
    "ack right": "with the right acknowledgement",
    "ack above": "with an acknowledgement past the SYN",
}

MATRIX_STATES = (
    "CLOSED",
    "LISTEN",
    "SYN-SENT",
    "SYN-RECEIVED",
    "ESTABLISHED",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "CLOSE-WAIT",
    "CLOSING",
    "LAST-ACK",
    "TIME-WAIT",
)

OPEN = ("ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2")  # the other end may still send data
ENDED = ("CLOSE-WAIT", "CLOSING", "LAST-ACK", "TIME-WAIT")  # its FIN has been taken
SYNCHRONIZED = OPEN + ENDED
OTHER = ("SYN-RECEIVED", *SYNCHRONIZED)  # 3.10.7.4

OUTSIDE = ("before", "beyond")
NOT_EXACT = ("inside", "right")
BASE = "RFC 9293"
BLIND = "RFC 5961"  # 1.1: should be implemented where connections last, and may be elsewhere


@dataclass(frozen=True)
class Rule:
    """A row of the table.

    Attributes:
        states: In which states.
        kinds: For which kinds of segment.
        edges: Where in the sequence space they begin.
        reaction: What comes.
        section: Of the RFC.
        rfc: Which one says so.
        level: How strongly.
    """

    states: tuple[str, ...]
    kinds: tuple[str, ...]
    edges: tuple[str, ...]
    reaction: Reaction
    section: str
    rfc: str = BASE
    level: Level = Level.MUST

    def covers(self, state: str, kind: str, edge: str) -> bool:
        """Whether it is about this segment."""
        return state in self.states and kind in self.kinds and edge in self.edges


RULES = (
    # CLOSED: anything but a reset is reset. There is no window; its left edge stands for any place.
    Rule(("CLOSED",), ("RST", "RST-ACK"), ("left",), Reaction.DROP, "3.10.7.1"),
    Rule(("CLOSED",), ("SYN", "BARE"), ("left",), Reaction.RESET_ACK, "3.10.7.1"),
    Rule(("CLOSED",), ("SYN-ACK", "ACK", "DATA", "FIN"), ("left",), Reaction.RESET, "3.10.7.1"),
    # LISTEN: resets are ignored, acknowledgements reset, SYNs answered, the rest is dropped.
    Rule(("LISTEN",), ("RST", "RST-ACK"), ("left",), Reaction.DROP, "3.10.7.2"),
    Rule(("LISTEN",), ("SYN-ACK", "ACK", "DATA", "FIN"), ("left",), Reaction.RESET, "3.10.7.2"),
    Rule(("LISTEN",), ("SYN",), ("left",), Reaction.SYN_ACK, "3.10.7.2"),
    Rule(("LISTEN",), ("BARE",), ("left",), Reaction.DROP, "3.10.7.2"),
    # SYN-SENT: first the ACK, then RST, then SYN.
    Rule(("SYN-SENT",), ("RST-ACK",), ("ack below", "ack above"), Reaction.DROP, "3.10.7.3"),
    Rule(
        ("SYN-SENT",),
        ("SYN-ACK", "ACK", "DATA", "FIN"),
        ("ack below", "ack above"),
        Reaction.RESET,
        "3.10.7.3",
    ),
    Rule(("SYN-SENT",), ("RST-ACK",), ("ack right",), Reaction.GONE, "3.10.7.3"),
    Rule(("SYN-SENT",), ("RST", "BARE"), ("left",), Reaction.DROP, "3.10.7.3"),
    Rule(("SYN-SENT",), ("SYN-ACK",), ("ack right",), Reaction.TAKE, "3.10.7.3"),
    Rule(("SYN-SENT",), ("SYN",), ("left",), Reaction.SYN_ACK, "3.10.7.3"),
    Rule(("SYN-SENT",), ("ACK", "DATA", "FIN"), ("ack right",), Reaction.DROP, "3.10.7.3"),
    # All other states. First, the sequence number. (The SYN that made SYN-RECEIVED comes again when
    # the answer to it was lost: TCP-1.19.)
    Rule(("SYN-RECEIVED",), ("SYN",), ("before",), Reaction.IGNORE, "3.10.7.4"),
    Rule(OTHER, ("RST",), OUTSIDE, Reaction.DROP, "3.10.7.4, first"),
    Rule(
        ("SYN-RECEIVED", *OPEN, "CLOSE-WAIT", "CLOSING", "LAST-ACK"),
        ("SYN",),
        OUTSIDE,
        Reaction.ACK,
        "3.10.7.4, first",
    ),
    Rule(("TIME-WAIT",), ("SYN",), ("before",), Reaction.ACK, "3.10.7.4, first"),
    Rule(OTHER, ("ACK", "DATA", "FIN"), OUTSIDE, Reaction.ACK, "3.10.7.4, first"),
    # Second, RST: at the left edge it counts, elsewhere in the window it is to be confirmed. In
    # TIME-WAIT it may as well be ignored (RFC 1337 3).
    Rule(("TIME-WAIT",), ("RST",), ("left",), Reaction.NOTHING, "3.10.7.4, second"),
    Rule(OTHER, ("RST",), ("left",), Reaction.GONE, "3.10.7.4, second"),
    Rule(
        ("SYN-RECEIVED", *OPEN, "CLOSE-WAIT", "CLOSING", "LAST-ACK"),
        ("RST",),
        NOT_EXACT,
        Reaction.ACK,
        "3.2",
        BLIND,
        Level.SHOULD,
    ),
    # Fourth, SYN: to be confirmed, wherever it is. (In TIME-WAIT one that is ahead may open a new
    # connection, and in SYN-RECEIVED it ends the old one, in one way or another.)
    Rule(SYNCHRONIZED, ("SYN",), ("left",), Reaction.ACK, "4.2", BLIND, Level.SHOULD),
    Rule(
        (*OPEN, "CLOSE-WAIT", "CLOSING", "LAST-ACK"),
        ("SYN",),
        ("inside",),
        Reaction.ACK,
        "4.2",
        BLIND,
        Level.SHOULD,
    ),
    # Fifth, ACK.
    Rule(OTHER, ("BARE",), ("left",), Reaction.IGNORE, "3.10.7.4, fifth"),
    Rule(("SYN-RECEIVED",), ("UNSENT",), ("left",), Reaction.RESET, "3.10.7.4, fifth"),
    Rule(SYNCHRONIZED, ("UNSENT",), ("left",), Reaction.ACK, "3.5.2, 3.10.7.4, fifth"),
    Rule(OTHER, ("ACK",), ("left",), Reaction.DROP, "3.10.7.4, fifth"),
    # Seventh, the text: taken at the left edge, kept or forgotten beyond it, not taken after a FIN.
    Rule(("SYN-RECEIVED", *OPEN), ("DATA",), ("left",), Reaction.TAKE, "3.10.7.4, seventh"),
    Rule(OPEN, ("DATA",), ("right",), Reaction.IGNORE, "3.10.7.4, seventh"),
    Rule(ENDED, ("DATA",), ("left",), Reaction.IGNORE, "3.10.7.4, seventh"),
    # Eighth, FIN.
    Rule(("SYN-RECEIVED", *OPEN), ("FIN",), ("left",), Reaction.TAKE, "3.10.7.4, eighth"),
)


def rule_for(state: str, kind: str, edge: str) -> Rule | None:
    """The row that counts for a segment; None: there is none."""
    return next((one for one in RULES if one.covers(state, kind, edge)), None)


def cells() -> Iterator[tuple[str, str, str, Rule]]:
    """Every state, kind and edge that the table has a row for, with the row."""
    for state in MATRIX_STATES:
        for kind in KINDS:
            for edge in EDGES:
                rule = rule_for(state, kind, edge)
                if rule is not None:
                    yield state, kind, edge, rule
