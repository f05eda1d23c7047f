"""What an engine is known to do wrong, by the invariant's name: declared, not looked at."""

from __future__ import annotations

FAULTS: dict[str, frozenset[str]] = {
    "lwip": frozenset(),
    "gvisor": frozenset(
        # netstack keeps a closed connection whose neighbour is gone, and its segments overlap what
        # it has acknowledged when it says what it holds. After SACK blocks that lie it loses its
        # place in what it sends.
        {
            "a conversation that does not end",
            "memory that is kept",
            "SACK block around the acknowledgement",
            "sent more than was written",
            "sent what was not written",
            "slow",  # Go's collector works on other threads, and their time counts
        }
    ),
}
