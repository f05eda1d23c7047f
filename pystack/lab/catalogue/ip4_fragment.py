"""IPv4, group 4: the fragments that a Host sends (RFC 791 3.2, RFC 1122 3.3.3).

A host need not fragment what its programs send; where one does, it has to do so right.
"""

from __future__ import annotations

import socket

from scapy.layers.inet import IP, UDP
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._ip4 import (
    carried,
    fragments_of,
    has_ip,
    is_fragment,
    option,
    program,
    with_header,
)
from pystack.lab.catalogue._mutants import altering
from pystack.lab.mutant import Mutant
from pystack.lab.packets import ipv4
from pystack.lab.tester import Tester

case = group("IP-4", rfc="RFC 791", section="3.2")

DATA = bytes(range(250)) * 16  # 4000 octets


def sent(lab: Tester, data: bytes = DATA) -> list[Packet]:
    """The fragments of a datagram of the Host's program, in the order of their offsets."""
    sock, _port = program(lab)
    return sorted((one[IP] for one in fragments_of(lab, sock, data)), key=lambda one: one.frag)


class _Counting:
    """Gives each fragment another value in a field."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0

    def reset(self) -> None:
        self._count = 0

    def __call__(self, frame: Packet) -> Packet:
        if not is_fragment(frame):
            return frame
        self._count += 1
        return with_header(frame, None, **{self._name: self._count})


def of_fragments(words: str, **fields: object) -> Mutant:
    """A Host whose fragments have other values in IP's header."""

    def outgoing(frame: Packet) -> Packet:
        if not is_fragment(frame):
            return frame
        header = frame[IP]
        return with_header(
            frame,
            None,
            **{
                name: value(getattr(header, name)) if callable(value) else value
                for name, value in fields.items()
            },
        )

    return Mutant(words, outgoing=outgoing)


@case(
    "IP-4.1",
    "Fragments have one identification, and the protocol and addresses of the datagram",
    mutant=Mutant("gives each fragment a new number", outgoing=_Counting("id")),
)
def one_identification(lab: Tester) -> None:
    """These four are what the fragments of a datagram are found by.

    1. The Host's program sends 4000 octets.
    2. All fragments agree in identification, protocol, source and destination.
    """
    found = {(one.id, one.proto, one.src, one.dst) for one in sent(lab)}
    lab.check(len(found) == 1, "one identification, protocol, source and destination", found)


@case(
    "IP-4.2",
    "All fragments but the last have the flag MF, the last has not",
    mutant=of_fragments("sets MF in the last fragment", flags=1),
)
def more_fragments(lab: Tester) -> None:
    """By the flag the receiver knows where the datagram ends.

    1. The Host's program sends 4000 octets.
    2. The fragment with the highest offset has no MF; the others have.
    """
    found = [bool(one.flags.MF) for one in sent(lab)]
    due = [True] * (len(found) - 1) + [False]
    lab.check(found == due, f"MF {due}", found)


@case(
    "IP-4.3",
    "All fragments but the last carry a multiple of eight octets",
    mutant=Mutant(
        "cuts anywhere",
        outgoing=lambda frame: (
            with_header(frame, carried(frame)[:-3])
            if has_ip(frame) and frame[IP].flags.MF
            else frame
        ),
    ),
)
def multiples_of_eight(lab: Tester) -> None:
    """Offsets are counted in units of eight octets. The MTU is one that does not fit that.

    1. The Host's MTU is 1003; its program sends 4000 octets.
    2. Each fragment with MF carries a multiple of eight octets.
    """
    lab.host.set_mtu(1003)
    sock, _port = program(lab)
    try:
        sizes = [
            one[IP].len - 4 * one[IP].ihl
            for one in fragments_of(lab, sock, DATA)
            if one[IP].flags.MF
        ]
    except AssertionError as short:
        lab.check(False, "fragments that make up 4008 octets", short)
    lab.check(not any(size % 8 for size in sizes), "multiples of eight", sizes)


@case(
    "IP-4.4",
    "Each fragment begins where the one before it ends",
    mutant=of_fragments("counts offsets in words of four octets", frag=lambda units: 2 * units),
)
def contiguous(lab: Tester) -> None:
    """Put the fragments one behind the other.

    1. The Host's program sends 4000 octets.
    2. Each fragment's offset is the sum of the sizes before it, and all together are the datagram.
    """
    whole = b""
    for one in sent(lab):
        lab.check(8 * one.frag == len(whole), f"offset {len(whole)}", 8 * one.frag)
        whole += carried(one)
    lab.check(whole[8:] == DATA, "the octets that were sent", f"{len(whole)} others")
    lab.check(UDP(whole).len == len(whole), f"a length of {len(whole)}", UDP(whole).len)


@case(
    "IP-4.5",
    "No fragment is larger than the MTU",
    mutant=of_fragments("sends fragments with options beyond the MTU", options=option(*[1] * 20)),
)
def within_the_mtu(lab: Tester) -> None:
    """The link takes no more. The MTU is the least that all hosts have to reassemble.

    1. The Host's MTU is 576; its program sends 1500 octets.
    2. No fragment has more than 576 octets.
    """
    lab.host.set_mtu(576)
    sizes = [one.len for one in sent(lab, DATA[:1500])]
    lab.check(max(sizes) <= 576, "576 octets at most", sizes)


@case(
    "IP-4.6",
    "What fits into the MTU is not cut",
    mutant=altering(IP, "sends all datagrams as fragments", flags=1),
)
def not_cut(lab: Tester) -> None:
    """Fragments cost: without need there are none.

    1. The Host's program sends 1472 octets, which with both headers is the MTU.
    2. They come in one packet without MF.
    """
    sock, _port = program(lab)
    lab.resolve()
    sock.sendto(DATA[:1472], (lab.tester4, 4000))
    found = lab.expect(ipv4(proto=17))[IP]
    seen = (found.len, bool(found.flags.MF), found.frag)
    lab.check(seen == (1500, False, 0), "1500 octets, no MF, offset 0", seen)


@case(
    "IP-4.7",
    "Each fragment's header checksum is its own",
    mutant=of_fragments("gives all fragments one checksum", chksum=0x1234),
)
def checksums(lab: Tester) -> None:
    """The headers differ, and so do their checksums.

    1. The Host's program sends 4000 octets.
    2. Each fragment's header checksum is the one that is due.
    """
    for one in sent(lab):
        again: Packet = one.copy()
        del again.chksum
        due = IP(bytes(again)).chksum
        lab.check(one.chksum == due, f"{due:#06x}", f"{one.chksum:#06x}")


@case(
    "IP-4.8",
    "Fragments have the type of service and the time to live of the datagram",
    mutant=Mutant("gives each fragment another TTL", outgoing=_Counting("ttl")),
)
def copied_fields(lab: Tester) -> None:
    """All that is not about the cutting is copied.

    1. The Host's program chooses type of service 0x28 and TTL 17, and sends 4000 octets.
    2. All fragments have these.
    """
    sock, _port = program(lab)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x28)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 17)
    found = {(one[IP].tos, one[IP].ttl) for one in fragments_of(lab, sock, DATA)}
    lab.check(found == {(0x28, 17)}, "type of service 0x28 and TTL 17", found)
