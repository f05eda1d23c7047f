"""IPv6, group 9: the fragments that a Host sends (RFC 8200 4.5, 7112, 8504)."""

from __future__ import annotations

from itertools import pairwise

from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._ip6 import FRAGMENT
from pystack.lab.catalogue._mutants import altering, computed
from pystack.lab.catalogue._udp import bound, sum_is_right
from pystack.lab.host import HostSocket
from pystack.lab.mutant import Mutant
from pystack.lab.packets import ipv6
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("IPV6-9", rfc="RFC 8200", section="4.5")

SIZE = 4000


def _fragments(lab: Tester, sock: HostSocket, size: int = SIZE) -> list[Packet]:
    """All fragments of one datagram that a program sends."""
    sock.sendto(bytes(range(250)) * (size // 250), (lab.tester6, 4000))
    found: list[Packet] = []
    have = 0
    while have < size + 8:
        packet = lab.expect(ipv6(dst=lab.tester6, nh=FRAGMENT))
        found.append(packet)
        have += packet[IPv6].plen - 8
    return found


def _offset(packet: Packet) -> int:
    return int(packet[IPv6ExtHdrFragment].offset) * 8


def _wrapped(frame: Packet) -> Packet:
    if not frame.haslayer(UDP):
        return frame
    inner = frame[UDP]
    frame[IPv6].remove_payload()
    frame[IPv6].nh = FRAGMENT
    return computed(frame / IPv6ExtHdrFragment(nh=17, id=1) / inner)


@case(
    "IPV6-9.1",
    "An IPv6 datagram larger than the MTU goes out in fragments that make it whole",
    mutant=altering(
        IPv6ExtHdrFragment, "counts offsets in octets", offset=lambda found: found * 8 % 8192
    ),
)
def in_fragments(lab: Tester) -> None:
    """Have the program send more than one frame can hold.

    1. The Host's program sends 4000 bytes.
    2. They come in fragments of one identification, none above the MTU. All but the last one say
       that more follow, and are multiples of 8 long.
    3. Put together they are the datagram, with the right length and checksum.
    """
    sock, _port = bound(lab, family=6)
    whole = bytearray(8 + SIZE)
    pieces = _fragments(lab, sock)
    for one in pieces:
        header = one[IPv6ExtHdrFragment]
        body = bytes(one)[62 : 54 + one[IPv6].plen]
        lab.check(one[IPv6].plen <= 1460, "no fragment above the MTU", one[IPv6].plen + 40)
        lab.check(header.nh == 17, "next header 17 in all fragments", header.nh)
        last = _offset(one) + len(body) == len(whole)
        lab.check(bool(header.m) != last, "the flag in all but the last fragment", header.m)
        lab.check(last or len(body) % 8 == 0, "a multiple of 8 octets", len(body))
        whole[_offset(one) : _offset(one) + len(body)] = body
    lab.check(len(whole) == 8 + SIZE, f"{8 + SIZE} octets", len(whole))
    identities = {one[IPv6ExtHdrFragment].id for one in pieces}
    lab.check(len(identities) == 1, "one identification", identities)
    again: Packet = pieces[0].copy()
    again[IPv6].remove_payload()
    del again[IPv6].plen
    again[IPv6].nh = 17
    again = again / UDP(bytes(whole))
    lab.check(again[UDP].len == len(whole), f"length {len(whole)}", again[UDP].len)
    lab.check(sum_is_right(again), "the right checksum", hex(again[UDP].chksum))


@case(
    "IPV6-9.2",
    "Packets in fragments that follow each other have other identifications",
    mutant=altering(IPv6ExtHdrFragment, "always sends one identification", id=1),
)
def identifications_differ(lab: Tester) -> None:
    """The identification tells the fragments of one packet from those of another.

    1. The Host's program sends three datagrams in fragments.
    2. Their identifications are three different ones.
    """
    sock, _port = bound(lab, family=6)
    found = [_fragments(lab, sock, 1750)[0][IPv6ExtHdrFragment].id for _ in range(3)]
    lab.check(len(set(found)) == 3, "three identifications", found)


class _Counts:
    """Numbers fragments' identifications one after the other."""

    def __init__(self) -> None:
        self.names: dict[int, int] = {}

    def reset(self) -> None:
        """See `Mutant`."""
        self.names.clear()

    def __call__(self, frame: Packet) -> Packet:
        if frame.haslayer(IPv6ExtHdrFragment):
            header = frame[IPv6ExtHdrFragment]
            header.id = self.names.setdefault(header.id, 100 + len(self.names))
        return frame


@case(
    "IPV6-9.3",
    "Identifications can't be guessed from earlier ones",
    rfc="RFC 8504",
    section="5.1",
    level=Level.SHOULD,
    mutant=Mutant("counts its fragmented packets", outgoing=_Counts()),
)
def identifications_are_random(lab: Tester) -> None:
    """An attacker who guesses them can insert fragments into a packet.

    1. The Host's program sends four datagrams in fragments.
    2. The steps from one identification to the next are not all the same, nor all small.
    """
    sock, _port = bound(lab, family=6)
    found = [_fragments(lab, sock, 1750)[0][IPv6ExtHdrFragment].id for _ in range(4)]
    steps = [(after - before) % (1 << 32) for before, after in pairwise(found)]
    small = [min(one, (1 << 32) - one) < 1000 for one in steps]
    lab.check(len(set(steps)) > 1 and not all(small), "identifications without an order", found)


def _two_bytes(frame: Packet) -> Packet | list[Packet]:
    """A first fragment cut in two behind the first eight octets of its data."""
    if not frame.haslayer(IPv6ExtHdrFragment) or frame[IPv6ExtHdrFragment].offset:
        return frame
    raw = bytes(frame)
    first: Packet = frame.copy()
    second: Packet = frame.copy()
    for one, data, offset in ((first, raw[62:66], 0), (second, raw[66:], 1)):
        one[IPv6ExtHdrFragment].remove_payload()
        one[IPv6ExtHdrFragment].add_payload(data)
        one[IPv6ExtHdrFragment].offset = offset
    return [computed(first), computed(second)]


@case(
    "IPV6-9.4",
    "The first fragment has all headers in it",
    rfc="RFC 7112",
    section="5",
    mutant=Mutant("cuts the upper layer's header in two", outgoing=_two_bytes),
)
def whole_chain(lab: Tester) -> None:
    """Look at the first fragment of what a program sends.

    1. The Host's program sends 1750 bytes.
    2. The first fragment has at least UDP's header.
    """
    sock, _port = bound(lab, family=6)
    first = next(one for one in _fragments(lab, sock, 1750) if _offset(one) == 0)
    lab.check(first[IPv6].plen >= 16, "UDP's header in it", first[IPv6].plen - 8)


@case(
    "IPV6-9.5",
    "What fits is sent without a fragment header",
    rfc="RFC 8504",
    section="5.1",
    mutant=Mutant(
        "gives all packets a fragment header",
        outgoing=_wrapped,
    ),
)
def no_atomic_fragments(lab: Tester) -> None:
    """A fragment that is a whole packet helps nobody but attackers.

    1. The Host's program sends 1452 bytes, which with both headers fill the MTU.
    2. They come in one packet, without a fragment header.
    """
    sock, _port = bound(lab, family=6)
    sock.sendto(bytes(1452), (lab.tester6, 4000))
    found = lab.expect(ipv6(dst=lab.tester6, nh={17, FRAGMENT}))
    lab.check(found[IPv6].nh == 17, "no fragment header", found.summary())
