"""IPv4, group 5: datagrams that are put together (RFC 791 3.2, RFC 815, RFC 1122 3.3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scapy.layers.inet import ICMP, IP
from scapy.packet import Packet, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._ip4 import (
    changing,
    datagram,
    is_fragment,
    pieces,
    program,
    receives,
)
from pystack.lab.catalogue._mutants import hiding
from pystack.lab.mutant import Mutant
from pystack.lab.packets import icmp
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("IP-5", rfc="RFC 1122", section="3.3.2")

MERGING = ("RFC 791", "3.2")
DATA = bytes(range(240)) * 5  # 1200 octets; with UDP's header 1208
CUTS = (400, 800)
IDENTITY = 0x3355


class _InOrder:
    """Drops a fragment that does not go on where the last one ended."""

    def __init__(self) -> None:
        self._next = 0

    def reset(self) -> None:
        self._next = 0

    def __call__(self, frame: Packet) -> Packet | None:
        if not is_fragment(frame):
            return frame
        if 8 * frame[IP].frag != self._next:
            return None
        self._next += frame[IP].len - 4 * frame[IP].ihl
        return frame


IN_ORDER = Mutant("takes fragments in order alone", incoming=_InOrder())
NO_FRAGMENTS = hiding(is_fragment, "does not put fragments together")


def put_together(
    lab: Tester, order: Callable[[list[Packet]], Sequence[Packet]], cuts: Sequence[int] = CUTS
) -> None:
    """A datagram in fragments in some order reaches the program whole."""
    sock, port = program(lab)
    for one in order(pieces(lab, datagram(lab, port, DATA), cuts, id=IDENTITY)):
        lab.send(one)
    receives(lab, sock, DATA)


@case(
    "IP-5.1",
    "Fragments that come in order are put together",
    aliases=("packetimpact:ipv4_reassembly_basic",),
    mutant=NO_FRAGMENTS,
)
def in_order(lab: Tester) -> None:
    """The plain case.

    1. The tester sends a datagram of 1208 octets in three fragments.
    2. The program receives its data.
    """
    put_together(lab, lambda all_of_them: all_of_them)


@case(
    "IP-5.2",
    "Fragments that come in the reverse order are put together",
    mutant=IN_ORDER,
)
def reversed_order(lab: Tester) -> None:
    """The last one first: the length is known at once, the header at last.

    1. The tester sends a datagram in three fragments, the last one first.
    2. The program receives its data.
    """
    put_together(lab, lambda all_of_them: all_of_them[::-1])


@case(
    "IP-5.3",
    "Fragments that come in any order are put together",
    aliases=("packetimpact:ipv4_reassembly_out_of_order",),
    mutant=IN_ORDER,
)
def any_order(lab: Tester) -> None:
    """Holes are filled wherever they are.

    1. The tester sends a datagram in six fragments, in the order 4, 1, 6, 3, 2, 5.
    2. The program receives its data.
    """
    put_together(
        lab,
        lambda found: [found[position - 1] for position in (4, 1, 6, 3, 2, 5)],
        (200, 400, 600, 800, 1000),
    )


@case(
    "IP-5.4",
    "A datagram of 576 octets is put together",
    mutant=hiding(
        lambda frame: is_fragment(frame) and 8 * frame[IP].frag + frame[IP].len > 520,
        "has room for 500 octets",
    ),
)
def least_size(lab: Tester) -> None:
    """Every host has to be able to reassemble that much.

    1. The tester sends a datagram of 576 octets, header included, in two fragments.
    2. The program receives its data.
    """
    sock, port = program(lab)
    data = DATA[: 576 - 28]
    for one in pieces(lab, datagram(lab, port, data), (288,), id=IDENTITY):
        lab.send(one)
    receives(lab, sock, data)


@case(
    "IP-5.5",
    "The largest datagram there is is put together",
    level=Level.SHOULD,
    mutant=hiding(
        lambda frame: is_fragment(frame) and frame[IP].frag > 2000, "has room for 16000 octets"
    ),
)
def largest(lab: Tester) -> None:
    """What a host can reassemble is best not limited at all.

    1. The tester sends a datagram with 65507 octets of data, in fragments of 1480.
    2. The program receives all of them.
    """
    sock, port = program(lab)
    data = bytes(range(256)) * 255 + bytes(227)
    whole = datagram(lab, port, data)
    for one in pieces(lab, whole, range(1480, len(whole), 1480), id=IDENTITY):
        lab.send(one)
    receives(lab, sock, data)


@case(
    "IP-5.6",
    "The fragments of two datagrams that come mixed are kept apart by identification",
    rfc=MERGING[0],
    section=MERGING[1],
    mutant=changing(is_fragment, "does not look at the identification", id=1),
)
def by_identification(lab: Tester) -> None:
    """Two datagrams are under way at once.

    1. The tester sends two datagrams in two fragments each, a fragment of each in turn.
    2. The program receives both, each with its own data.
    """
    sock, port = program(lab)
    both = (b"\xaa" * 800, b"\xbb" * 800)
    first, second = (
        pieces(lab, datagram(lab, port, data), (400,), id=IDENTITY + number)
        for number, data in enumerate(both)
    )
    for one in (first[0], second[0], first[1], second[1]):
        lab.send(one)
    for data in both:
        receives(lab, sock, data)


@case(
    "IP-5.7",
    "Fragments from two sources with one identification are kept apart",
    rfc=MERGING[0],
    section=MERGING[1],
    mutant=changing(is_fragment, "does not look at the source", src="192.0.2.1"),
)
def by_source(lab: Tester) -> None:
    """Each source counts for itself.

    1. The tester sends a datagram in two fragments from each of two addresses, with one
       identification, a fragment of each in turn.
    2. The program receives both, each with its own data.
    """
    sock, port = program(lab)
    other = lab.own("192.0.2.66")
    first, second = (
        pieces(lab, datagram(lab, port, data, src=source), (400,), id=IDENTITY, src=source)
        for data, source in ((b"\xaa" * 800, lab.tester4), (b"\xbb" * 800, other))
    )
    for one in (first[0], second[0], first[1], second[1]):
        lab.send(one)
    for data in (b"\xaa" * 800, b"\xbb" * 800):
        receives(lab, sock, data)


@case(
    "IP-5.8",
    "Fragments of two protocols with one identification are kept apart",
    rfc=MERGING[0],
    section=MERGING[1],
    mutant=changing(is_fragment, "does not look at the protocol", proto=17),
)
def by_protocol(lab: Tester) -> None:
    """Identifications may be counted for each protocol.

    1. The tester sends an echo request and a UDP datagram, in two fragments each, with one
       identification, a fragment of each in turn.
    2. The program receives the datagram, and the echo request is answered.
    """
    sock, port = program(lab)
    request = bytes(ICMP(type=8, id=7, seq=7) / Raw(DATA[:792]))
    first = pieces(lab, request, (400,), proto=1, id=IDENTITY)
    second = pieces(lab, datagram(lab, port, DATA[:792]), (400,), id=IDENTITY)
    for one in (first[0], second[0], first[1], second[1]):
        lab.send(one)
    receives(lab, sock, DATA[:792])
    lab.expect(icmp(type=0, id=7, seq=7))


@case(
    "IP-5.9",
    "Fragments to two addresses with one identification are kept apart",
    rfc=MERGING[0],
    section=MERGING[1],
    mutant=changing(is_fragment, "does not look at the destination", dst="192.0.2.2"),
)
def by_destination(lab: Tester) -> None:
    """The tester sends to the Host's own address and to everybody.

    1. The tester sends a datagram in two fragments to each of 192.0.2.2 and 192.0.2.255, with one
       identification, a fragment of each in turn.
    2. The program receives both, each with its own data.
    """
    sock, port = program(lab)
    first, second = (
        pieces(lab, datagram(lab, port, data, dst=target), (400,), id=IDENTITY, dst=target)
        for data, target in ((b"\xaa" * 800, lab.host4), (b"\xbb" * 800, "192.0.2.255"))
    )
    for one in (first[0], second[0], first[1], second[1]):
        lab.send(one)
    for data in (b"\xaa" * 800, b"\xbb" * 800):
        receives(lab, sock, data)
