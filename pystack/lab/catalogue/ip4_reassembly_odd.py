"""IPv4, group 6: fragments that are odd, late or missing (RFC 791 3.2, RFC 1122 3.3.2)."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, UDP
from scapy.packet import Packet, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._ip4 import (
    carried,
    datagram,
    dying,
    is_alive,
    is_fragment,
    option,
    pieces,
    program,
    receives,
    receives_nothing,
    with_header,
)
from pystack.lab.catalogue._mutants import hiding
from pystack.lab.catalogue.ip4_reassembly import CUTS, DATA, IDENTITY, MERGING, put_together
from pystack.lab.mutant import Mutant
from pystack.lab.packets import icmp
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("IP-6", rfc="RFC 1122")

RFC, SECTION = "RFC 1122", "3.3.2"


class _Once:
    """Kills the datagram when a fragment comes twice: hides all after it."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._dead = False

    def reset(self) -> None:
        self._seen.clear()
        self._dead = False

    def __call__(self, frame: Packet) -> Packet | None:
        if not is_fragment(frame):
            return frame
        self._dead = self._dead or frame[IP].frag in self._seen
        self._seen.add(frame[IP].frag)
        return None if self._dead else frame


@case(
    "IP-6.1",
    "A fragment that comes twice does no harm",
    rfc=MERGING[0],
    section=MERGING[1],
    aliases=("packetimpact:ipv4_reassembly_duplicate",),
    mutant=Mutant("gives the datagram up when a fragment comes twice", incoming=_Once()),
)
def duplicate(lab: Tester) -> None:
    """The network may double any packet.

    1. The tester sends a datagram in three fragments, the first and the second one twice.
    2. The program receives its data, once.
    """
    sock, port = program(lab)
    first, second, third = pieces(lab, datagram(lab, port, DATA), CUTS, id=IDENTITY)
    for one in (first, first, second, second, third):
        lab.send(one)
    receives(lab, sock, DATA)
    receives_nothing(lab, sock)


def _whole(frame: Packet) -> Packet:
    """The last fragment's data as if it followed the first one's at once."""
    if is_fragment(frame) and not frame[IP].flags.MF:
        return with_header(frame, frag=CUTS[0] // 8)
    return frame


@case(
    "IP-6.2",
    "A datagram with a hole in it is not delivered before the hole is filled",
    rfc=MERGING[0],
    section=MERGING[1],
    mutant=Mutant("does not see holes", incoming=_whole),
)
def hole(lab: Tester) -> None:
    """The first and the last fragment are not enough. The datagram has no checksum to help.

    1. The tester sends the first and the third of three fragments; the program receives nothing.
    2. The tester sends the second; the program receives the data.
    """
    sock, port = program(lab)
    plain = bytes(UDP(sport=4000, dport=port, len=len(DATA) + 8, chksum=0) / Raw(DATA))
    first, second, third = pieces(lab, plain, CUTS, id=IDENTITY)
    lab.send(first)
    lab.send(third)
    receives_nothing(lab, sock)
    lab.send(second)
    receives(lab, sock, DATA)


def _filled(frame: Packet) -> Packet:
    """The first fragment as if it had eight octets more."""
    if is_fragment(frame) and frame[IP].frag == 0:
        return with_header(frame, carried(frame) + bytes(4))
    return frame


@case(
    "IP-6.3",
    "A fragment with MF that is no multiple of eight octets does not stand for one",
    rfc=MERGING[0],
    section=MERGING[1],
    mutant=Mutant("fills fragments up to multiples of eight", incoming=_filled),
)
def odd_fragment(lab: Tester) -> None:
    """Four octets are missing between such a fragment and the next.

    1. The tester sends a first fragment of 396 octets, and the second and last one at 400; the
       datagram has no checksum.
    2. The program receives nothing; a whole datagram after it is received.
    """
    sock, port = program(lab)
    plain = bytes(UDP(sport=4000, dport=port, len=808, chksum=0) / Raw(bytes(800)))
    lab.send(lab.ip(id=IDENTITY, proto=17, flags="MF") / Raw(plain[:396]))
    lab.send(lab.ip(id=IDENTITY, proto=17, frag=50) / Raw(plain[400:]))
    receives_nothing(lab, sock)
    lab.send(lab.udp(4000, port, b"whole"))
    receives(lab, sock, b"whole")


@case(
    "IP-6.4",
    "Fragments that reach past the largest length do no harm",
    section="1.2.2",
    level=Level.SHOULD,
    mutant=dying(
        lambda frame: is_fragment(frame) and 8 * frame[IP].frag + frame[IP].len > 65535,
        "falls over datagrams of more than 65535 octets",
    ),
)
def too_long(lab: Tester) -> None:
    """Offset and length together can say more than the total length can.

    1. The tester sends the first fragment of an echo request, and last ones that end at 65512 and
       at 65912 octets.
    2. Nothing comes; a right request after them is answered.
    """
    request = bytes(ICMP(type=8, id=7, seq=7) / Raw(bytes(392)))
    lab.send(lab.ip(id=IDENTITY, proto=1, flags="MF") / Raw(request))
    lab.send(lab.ip(id=IDENTITY, proto=1, frag=8189, flags="MF") / Raw(bytes(400)))
    lab.send(lab.ip(id=IDENTITY, proto=1, frag=8189) / Raw(bytes(400)))
    lab.send(lab.ip(id=IDENTITY + 1, proto=1, frag=8191) / Raw(bytes(1000)))
    lab.expect_nothing(icmp(type=0), 100)
    is_alive(lab)


@case(
    "IP-6.5",
    "Fragments of eight octets are put together",
    section=SECTION,
    mutant=hiding(
        lambda frame: is_fragment(frame) and frame[IP].len < 68, "drops fragments of 8 octets"
    ),
)
def tiny(lab: Tester) -> None:
    """The smallest fragments there are; the first one has UDP's header and nothing else.

    1. The tester sends a datagram of 40 octets in five fragments.
    2. The program receives its data.
    """
    sock, port = program(lab)
    for one in pieces(lab, datagram(lab, port, DATA[:32]), (8, 16, 24, 32), id=IDENTITY):
        lab.send(one)
    receives(lab, sock, DATA[:32])


def _is_empty(frame: Packet) -> bool:
    return is_fragment(frame) and bool(frame[IP].len == 4 * frame[IP].ihl)


@case(
    "IP-6.6",
    "Fragments without any octets do no harm",
    section="1.2.2",
    level=Level.SHOULD,
    mutant=dying(_is_empty, "falls over empty fragments"),
)
def empty(lab: Tester) -> None:
    """There is nothing in them, but they take a place.

    1. The tester sends a fragment with MF and no octets at all, at offset 400 of a datagram of
       which nothing else comes.
    2. A datagram in fragments with another identification is received.
    """
    lab.send(lab.ip(id=IDENTITY + 1, proto=17, flags="MF", frag=50))
    put_together(lab, lambda all_of_them: all_of_them)


@case(
    "IP-6.7",
    "An identification may be used again once its datagram is complete",
    rfc=MERGING[0],
    section=MERGING[1],
    mutant=hiding(
        lambda frame: is_fragment(frame) and frame[IP].tos == 4, "knows each identification once"
    ),
)
def used_again(lab: Tester) -> None:
    """What is complete is forgotten.

    1. The tester sends a datagram in three fragments; the program receives it.
    2. The tester sends another one with the same identification; the program receives that, too.
    """
    sock, port = program(lab)
    for data, tos in ((DATA, 0), (DATA[::-1], 4)):
        for one in pieces(lab, datagram(lab, port, data), CUTS, id=IDENTITY, tos=tos):
            lab.send(one)
        receives(lab, sock, data)


class _SameTtl:
    """Drops fragments whose TTL is not the first one's."""

    def __init__(self) -> None:
        self._ttl: int | None = None

    def reset(self) -> None:
        self._ttl = None

    def __call__(self, frame: Packet) -> Packet | None:
        if not is_fragment(frame):
            return frame
        self._ttl = self._ttl or frame[IP].ttl
        return frame if frame[IP].ttl == self._ttl else None


@case(
    "IP-6.8",
    "Fragments may differ in their time to live",
    rfc=MERGING[0],
    section=MERGING[1],
    mutant=Mutant("wants one TTL of all fragments", incoming=_SameTtl()),
)
def different_ttl(lab: Tester) -> None:
    """They may have come by different ways. Four fields say what belongs together, no other.

    1. The tester sends a datagram in three fragments that come with a TTL of 60, 1 and 255.
    2. The program receives its data.
    """
    sock, port = program(lab)
    found = pieces(lab, datagram(lab, port, DATA), CUTS, id=IDENTITY)
    for one, ttl in zip(found, (60, 1, 255), strict=True):
        one.ttl = ttl
        lab.send(one)
    receives(lab, sock, DATA)


@case(
    "IP-6.9",
    "Fragments with options are put together",
    section=SECTION,
    mutant=hiding(
        lambda frame: is_fragment(frame) and frame[IP].ihl > 5, "drops fragments with options"
    ),
)
def with_options(lab: Tester) -> None:
    """The header's length differs from fragment to fragment: some options are copied, some not.

    1. The tester sends a datagram in three fragments; the first has 8 octets of options, the
       second and third 4.
    2. The program receives its data.
    """
    sock, port = program(lab)
    found = pieces(lab, datagram(lab, port, DATA), CUTS, id=IDENTITY)
    found[0].options = option(0x94, 4, 0, 0, 0x5E, 4, 0, 0)
    found[1].options = option(0x94, 4, 0, 0)
    found[2].options = option(0x94, 4, 0, 0)
    for one in found:
        lab.send(one)
    receives(lab, sock, DATA)


def _moved(frame: Packet) -> Packet | None:
    """The overlapping fragment's octets as if they came behind the first one's."""
    if not is_fragment(frame) or frame[IP].frag == 0:
        return frame
    if frame[IP].frag == 50:
        return None
    return with_header(frame, carried(frame) + bytes(8), frag=50, flags=0)


@case(
    "IP-6.10",
    "Fragments that overlap make one of the two datagrams, or none",
    rfc=MERGING[0],
    section=MERGING[1],
    level=Level.MAY,
    mutant=Mutant("moves what overlaps", incoming=_moved),
)
def overlap(lab: Tester) -> None:
    """RFC 791 has an example that takes the later octets; to drop such a datagram is safer.

    1. The tester sends fragments with octets 0 to 399, 200 to 599 and 400 to 807 of a datagram
       without a checksum, the second of them with other octets.
    2. The program receives the datagram with the old octets or the new ones where they overlap, or
       nothing. Nothing else is different, and a right datagram is received after it.
    """
    sock, port = program(lab)
    old = bytes(UDP(sport=4000, dport=port, len=808, chksum=0) / Raw(b"\x11" * 800))
    new = b"\x22" * 400
    lab.send(lab.ip(id=IDENTITY, proto=17, flags="MF") / Raw(old[:400]))
    lab.send(lab.ip(id=IDENTITY, proto=17, flags="MF", frag=25) / Raw(new))
    lab.send(lab.ip(id=IDENTITY, proto=17, frag=50) / Raw(old[400:]))
    lab.run(100)
    try:
        got = sock.recv(65535)
    except BlockingIOError:
        got = b""
    # The second may lose to the first, to the third, to both or to neither.
    possible = {b""} | {
        (old[:start] + new[start - 200 : end - 200] + old[end:])[8:]
        for start in (200, 400)
        for end in (400, 600)
    }
    lab.check(got in possible, "one of the possible datagrams, or none", f"{len(got)} others")
    lab.send(lab.udp(4000, port, b"whole"))
    receives(lab, sock, b"whole")


class _Patient:
    """Holds fragments back, and shows them all when the last one comes."""

    def __init__(self) -> None:
        self._held: list[Packet] = []

    def reset(self) -> None:
        self._held = []

    def __call__(self, frame: Packet) -> list[Packet]:
        if not is_fragment(frame):
            return [frame]
        self._held.append(frame)
        if frame[IP].flags.MF:
            return []
        held, self._held = self._held, []
        return held


@case(
    "IP-6.11",
    "What is not complete after two minutes is given up",
    section=SECTION,
    mutant=Mutant("keeps fragments for ever", incoming=_Patient()),
    seconds=125,
)
def given_up(lab: Tester) -> None:
    """There must be a limit to waiting, and a minute or two is what is recommended.

    1. The tester sends the first two of three fragments, and the third one 121 seconds later.
    2. The program receives nothing; a datagram sent after that is received.
    """
    sock, port = program(lab)
    first, second, third = pieces(lab, datagram(lab, port, DATA), CUTS, id=IDENTITY)
    lab.send(first)
    lab.send(second)
    lab.drain(121_000)
    lab.send(third)
    receives_nothing(lab, sock)
    for one in pieces(lab, datagram(lab, port, DATA), CUTS, id=IDENTITY + 1):
        lab.send(one)
    receives(lab, sock, DATA)


@case(
    "IP-6.12",
    "What is not complete is waited for for a minute",
    section=SECTION,
    level=Level.SHOULD,
    mutant=hiding(
        lambda frame: is_fragment(frame) and not frame[IP].flags.MF, "gives fragments up at once"
    ),
    seconds=60,
)
def waited_for(lab: Tester) -> None:
    """The time is fixed, and between 60 and 120 seconds.

    1. The tester sends the first two of three fragments, and the third one 58 seconds later.
    2. The program receives the datagram.
    """
    sock, port = program(lab)
    first, second, third = pieces(lab, datagram(lab, port, DATA), CUTS, id=IDENTITY)
    lab.send(first)
    lab.send(second)
    lab.drain(58_000)
    lab.send(third)
    receives(lab, sock, DATA)


@case(
    "IP-6.13",
    "A datagram that was not completed does not keep others from being put together",
    section="1.2.2",
    level=Level.SHOULD,
    mutant=dying(
        lambda frame: is_fragment(frame) and frame[IP].id >= IDENTITY + 10,
        "has room for ten datagrams that are not complete",
    ),
)
def many_incomplete(lab: Tester) -> None:
    """A flood of first fragments must not stop everything else.

    1. The tester sends the first fragments of forty datagrams, and nothing more of them.
    2. A datagram in fragments is received after them.
    """
    sock, port = program(lab)
    whole = datagram(lab, port, DATA)
    for number in range(40):
        lab.send(pieces(lab, whole, CUTS, id=IDENTITY + number)[0])
    for one in pieces(lab, whole, CUTS, id=IDENTITY + 100):
        lab.send(one)
    receives(lab, sock, DATA)
