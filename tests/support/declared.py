"""What differs between the kernel's sockets and a Stack's, and stays so: by name, with the reason.

The names are those of the tests in `tests/differential`, or ``state/call`` of a table's. The engine
is that of a Stack for which nobody chose one: `PYSTACK_ENGINE=linux pytest tests/differential`.
"""

from __future__ import annotations

from typing import TypeVar

import pytest

from pystack._native.engines import default_engine

Table = TypeVar("Table")

# Without the series of a release.
ENGINE = default_engine().partition("-")[0]


def of_engine(**tables: Table) -> Table:
    """Of the tables of all engines, by name, that of the one which is tested."""
    return tables[ENGINE]


# Bounds that are seen in the arena: Linux has one block of it, and accounts of its own.
by_arena = pytest.mark.skipif(ENGINE != "lwip", reason="what it holds is lwIP's to see")

# What the layers above do otherwise, whichever the engine.
ABOVE = {
    "getaddrinfo(NUL)": "CPython asks for what stands before the NUL, and a Stack for nothing",
    "getaddrinfo(NUL port)": "as above",
    "file_over_a_number": "there is no socket any more, and somebody's file isn't closed for it",
    "close_during_a_recv": "what is under way ends with EBADF, and on Linux goes on",
    "close_during_a_recv_whose_peer_ends": "as above",
    "close_during_a_recv_of_a_datagram": "as above",
    "close_during_a_send": "as above",
    "close_during_an_accept": "as above, and nobody connects to a listener that was closed",
    "socket(2, 10)": "SOCK_PACKET, Linux's old name of a family that a Stack hasn't",
}

LWIP = {
    "raw_too_short_for_icmp": "Linux looks at ICMP's type and code, and says EFAULT without them",
    "by_the_loopback_to_another_host": "refused at once: Linux takes any host to be on an interface"
    " that is named, and the loopback drops what it gets",
    "stream_urgent_twice": "Linux gives an urgent byte that another one follows back to the stream",
    "udp_connected6/send-large": "lwIP counts a packet and its headers in 16 bits",
    "udp_connected6/send-too-large": "as above",
    "udp_connected6/sendto-too-large": "as above",
    "udp_fresh6/sendto-too-large": "as above",
}

LINUX = {
    "socket(2, 5)": "SCTP is built in, whose SOCK_SEQPACKET this is; the machine's has a module",
}

TABLES = {"lwip": {**ABOVE, **LWIP}, "linux": {**ABOVE, **LINUX}}
DIFFERENT = of_engine(**TABLES)
