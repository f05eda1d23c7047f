"""TCP, group 3: checksums and lengths."""

from __future__ import annotations

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._tcp import (
    acks,
    loaded,
    pattern,
    rebuilt,
    write,
)
from pystack.lab.catalogue.tcp_sequence import RFC, _nothing_to_read
from pystack.lab.mutant import Mutant
from pystack.lab.packets import tcp
from pystack.lab.tcp import Connection, connect, in_state
from pystack.lab.tester import Tester

case = group("TCP-3", section="3.1")


def _mended(frame: Packet) -> Packet:
    return rebuilt(frame) if frame.haslayer(TCP) else frame


@case(
    "TCP-3.15",
    "A segment with a wrong checksum is dropped",
    rfc=RFC,
    aliases=("9293:MUST-3",),
    mutant=Mutant("does not verify checksums", incoming=_mended),
    family=4,
)
@case(
    "TCP-3.16",
    "A segment over IPv6 with a wrong checksum is dropped",
    rfc=RFC,
    aliases=("9293:MUST-3",),
    mutant=Mutant("does not verify checksums", incoming=_mended),
    family=6,
)
def wrong_checksum(lab: Tester, family: int) -> None:
    """Damage a segment.

    1. The tester sends data with a wrong checksum: it is not acknowledged, nor delivered.
    2. The connection works afterwards.
    """
    connection = connect(lab, family=family)
    good = connection.segment("PA", b"damaged")
    right = TCP(bytes(type(good)(bytes(good))[TCP])).chksum
    connection.send("PA", b"damaged", chksum=right ^ 0x0101)
    connection.expect_nothing(600, ack=connection.seq + 7)
    _nothing_to_read(connection, "the checksum was wrong")
    connection.still_works()


@case(
    "TCP-3.17",
    "A SYN with a checksum of zero is dropped",
    rfc=RFC,
    aliases=("9293:MUST-3",),
    mutant=Mutant("takes 0 for no checksum", incoming=_mended),
)
def zero_checksum(lab: Tester) -> None:
    """Leave out the checksum, as UDP may.

    1. The Host listens. The tester sends a SYN whose checksum is 0.
    2. Nothing comes: TCP's checksum is never optional.
    """
    connection = in_state(lab, "LISTEN")
    connection.send("S", chksum=0)
    connection.expect_nothing(400)


BAD_SUMS = Mutant(
    "computes checksums wrong",
    outgoing=lambda frame: _spoilt(frame) if frame.haslayer(TCP) and loaded(frame) else frame,
)


def _spoilt(frame: Packet) -> Packet:
    frame[TCP].chksum ^= 0x0101
    return frame


@case(
    "TCP-3.18",
    "Every segment has the right checksum",
    rfc=RFC,
    aliases=("9293:MUST-2",),
    mutant=BAD_SUMS,
    family=4,
)
@case(
    "TCP-3.19",
    "Every segment over IPv6 has the right checksum",
    rfc=RFC,
    aliases=("9293:MUST-2",),
    mutant=BAD_SUMS,
    family=6,
)
def right_checksums(lab: Tester, family: int) -> None:
    """Look at the Host's checksums.

    1. The tester collects a reset, an ACK, and segments with one, two and 1001 octets.
    2. The checksum of each is right.
    """
    connection = connect(lab, family=family)
    lab.send(Connection(lab, 9, family=family).segment("S"))
    reset = lab.expect(tcp(sport=9, flags="RA"))
    connection.push(b"x")
    packets = [reset, connection.expect(flags=acks)]
    for size in (1, 2, 1001):
        write(connection, pattern(size))
        packets.append(lab.expect(connection.with_data()))
        connection.acknowledge(packets[-1])
    for packet in packets:
        network = packet[IP] if family == 4 else packet[IPv6]
        found = packet[TCP].chksum
        right = rebuilt(type(network)(bytes(network)))
        right = type(network)(bytes(right))[TCP].chksum
        lab.check(found == right, f"the checksum {right:#06x}", f"{found:#06x}")


def _offset_mended(frame: Packet) -> Packet:
    if frame.haslayer(TCP) and frame[TCP].dataofs in (3, 15):
        raw = bytearray(bytes(frame[TCP]))
        raw[12] = 0x50
        frame[frame.firstlayer().payload.__class__].remove_payload()
        return rebuilt(Ether(bytes(frame / TCP(bytes(raw)))))
    return frame


@case(
    "TCP-3.20",
    "A data offset below five words is not accepted",
    rfc=RFC,
    mutant=Mutant("does not look at the data offset", incoming=_offset_mended),
)
def short_data_offset(lab: Tester) -> None:
    """Claim a header of twelve octets.

    1. The Host listens. The tester sends a SYN whose data offset is 3, with a right checksum.
    2. No SYN-ACK comes.
    """
    connection = in_state(lab, "LISTEN")
    connection.send("S", dataofs=3)
    connection.expect_nothing(300, flags=lambda flags: "S" in flags)


@case(
    "TCP-3.21",
    "A data offset past the segment's end is not accepted",
    rfc=RFC,
    mutant=Mutant("does not look at the data offset", incoming=_offset_mended),
)
def long_data_offset(lab: Tester) -> None:
    """Claim a header of sixty octets in a segment of twenty.

    1. The Host listens. The tester sends a SYN whose data offset is 15, with a right checksum.
    2. No SYN-ACK comes.
    """
    connection = in_state(lab, "LISTEN")
    connection.send("S", dataofs=15)
    connection.expect_nothing(300, flags=lambda flags: "S" in flags)
