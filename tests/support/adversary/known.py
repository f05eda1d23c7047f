"""What an engine is known to do wrong, by the invariant's name: declared, not looked at.

And what it may do as often as it counts it, by the counters' names.
"""

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

COUNTED: dict[str, dict[str, tuple[str, ...]]] = {
    # A receive buffer that is full gives up what lies beyond a gap, though it was acknowledged
    # selectively (RFC 2018 8 lets it): each time tcp_prune_ofo_queue does so, it counts one.
    "linux": {"SACK taken back": ("TcpExtOfoPruned",)},
}


def faults(engine: str) -> frozenset[str]:
    """What isn't looked at, for an engine or one of its series (linux-6.12)."""
    return FAULTS.get(engine.partition("-")[0], frozenset())


def counted(engine: str) -> dict[str, tuple[str, ...]]:
    """What an engine, or one of its series, may do as often as these counters say."""
    return COUNTED.get(engine.partition("-")[0], {})
