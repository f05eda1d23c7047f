"""What an engine is known to do wrong, by the invariant's name: declared, not looked at."""

from __future__ import annotations

FAULTS: dict[str, frozenset[str]] = {
    "lwip": frozenset(
        # Open in this order: what is held of early segments, what is cut again for a smaller MTU,
        # windows of 0, who closed and is never let go, a segment from ourselves.
        {
            "SACK taken back",
            "acknowledged what was never sent",
            "acknowledgement taken back",
            "read what was not sent",
            "end of a stream that goes on",
            "crash",
            "panic",
            "a conversation that does not end",
            "memory that is kept",
            "hang",
        }
    ),
    "gvisor": frozenset(
        # netstack keeps a closed connection whose neighbour is gone, and its segments overlap what
        # it has acknowledged when it says what it holds.
        {
            "a conversation that does not end",
            "memory that is kept",
            "SACK block around the acknowledgement",
            "sent more than was written",
        }
    ),
}
