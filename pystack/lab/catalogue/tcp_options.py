"""TCP, group 7: options, and the maximum segment size (RFC 9293 3.1, 3.2, 3.7.1; RFC 6691)."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

from scapy.layers.inet import TCP
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._tcp import (
    MSS,
    After,
    Test,
    all_of,
    altered,
    any_segment,
    data_segments,
    flagged,
    having,
    lacking,
    loaded,
    loses,
    pattern,
    segments,
    with_option,
    without_option,
    write,
)
from pystack.lab.mutant import Mutant
from pystack.lab.packets import tcp
from pystack.lab.tcp import Connection, connect, in_state, listen, segment_data
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level, Unable

case = group("TCP-7", rfc="RFC 9293", section="3.7.1")

# An option that has a length and that nobody implements (RFC 4727 2.2).
UNKNOWN = (253, b"\x12\x34\x56\x78")
SMALL = 600


def optioned(*names: str) -> Test:
    """A segment that has all of these options, by scapy's names or numbers."""
    return lambda frame: set(names) <= {str(one[0]) for one in frame[TCP].options}


def _host_syn(lab: Tester, family: int = 4) -> Packet:
    """The SYN of a connection that the Host's program opens."""
    port = lab.fresh_port()
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    sock = lab.socket(kind, socket.SOCK_STREAM)
    with suppress(BlockingIOError):
        sock.connect((lab.tester4 if family == 4 else lab.tester6, port))
    return lab.expect(tcp(dport=port, flags=lambda flags: "S" in flags))


def _mss_of(packet: Packet) -> Any:
    return dict(packet[TCP].options).get("MSS")


NO_MSS = Mutant("sends no MSS", outgoing=without_option("MSS"))
LARGE_MSS = Mutant(
    "offers more than the link takes",
    outgoing=altered(having("S"), options=[("MSS", 1480)]),
)


@case(
    "TCP-7.1",
    "The Host's SYN has an MSS, of the link's MTU less 40 octets",
    level=Level.SHOULD,
    aliases=("9293:SHLD-5", "9293:MAY-3", "9293:MUST-14"),
    mutant=NO_MSS,
    family=4,
)
@case(
    "TCP-7.2",
    "The Host's SYN over IPv6 has an MSS, of the link's MTU less 60 octets",
    level=Level.SHOULD,
    aliases=("9293:SHLD-5", "9293:MAY-3"),
    mutant=NO_MSS,
    family=6,
)
def syn_has_mss(lab: Tester, family: int) -> None:
    """Look at the Host's SYN.

    1. The program connects.
    2. The SYN has an MSS of 1460 octets; over IPv6, 1440.
    """
    found = _mss_of(_host_syn(lab, family))
    wanted = MSS if family == 4 else MSS - 20
    lab.check(found == wanted, f"an MSS of {wanted}", found)


@case(
    "TCP-7.3",
    "The Host's SYN-ACK has an MSS",
    level=Level.SHOULD,
    aliases=("9293:SHLD-5", "9293:MUST-14"),
    mutant=NO_MSS,
)
def syn_ack_has_mss(lab: Tester) -> None:
    """Look at the Host's SYN-ACK.

    1. The Host listens. The tester's SYN has its own MSS.
    2. The SYN-ACK has an MSS of 1460 octets.
    """
    connection = in_state(lab, "SYN-RECEIVED")
    found = dict(connection.host_options).get("MSS")
    lab.check(found == MSS, "an MSS of 1460", found)


@case(
    "TCP-7.4",
    "The MSS that is sent is no more than what the link can bring",
    aliases=("9293:MUST-67",),
    mutant=LARGE_MSS,
)
def mss_fits(lab: Tester) -> None:
    """Compare the MSS with the MTU.

    1. The Host's link has an MTU of 1500 octets. The program connects, and a SYN is answered.
    2. An MSS in SYN or SYN-ACK is at most 1460 octets: what a datagram that can be received has
       room for.
    """
    sizes = [_mss_of(_host_syn(lab))]
    sizes.append(dict(in_state(lab, "SYN-RECEIVED").host_options).get("MSS"))
    lab.check(all(one is None or one <= MSS for one in sizes), "at most 1460", sizes)


def _largest(connection: Connection, size: int = 6000) -> int:
    """The largest segment that comes of so much data."""
    lab = connection.lab
    write(connection, pattern(size))
    largest, got = 0, 0
    while got < size:
        packet = lab.expect(connection.with_data(), 2000)
        largest = max(largest, len(segment_data(packet)))
        got += len(connection.take(packet))
        connection.send("A")
    return largest


@case(
    "TCP-7.5",
    "Without an MSS from the other end segments have at most 536 octets",
    aliases=("9293:MUST-15",),
    mutant=Mutant("assumes 1460", incoming=with_option(flagged("S"), ("MSS", MSS))),
    family=4,
)
@case(
    "TCP-7.6",
    "Without an MSS over IPv6 segments have at most 1220 octets",
    aliases=("9293:MUST-15",),
    mutant=Mutant("assumes 1440", incoming=with_option(flagged("S"), ("MSS", 1440))),
    family=6,
)
def default_mss(lab: Tester, family: int) -> None:
    """Leave the MSS out.

    1. The tester's SYN has no MSS. The program sends 6000 octets.
    2. No segment has more than 536; over IPv6, 1220.
    """
    largest = _largest(connect(lab, family=family, options=[("NOP", None)] * 4))
    most = 536 if family == 4 else 1220
    lab.check(largest <= most, f"at most {most} octets", largest)


DEAF_TO_MSS = Mutant(
    "does not look at the MSS", incoming=altered(having("S"), options=[("MSS", MSS)])
)


@case(
    "TCP-7.7",
    "Segments are no larger than the MSS of the other end",
    aliases=("9293:MUST-16", "9293:MUST-14"),
    mutant=DEAF_TO_MSS,
)
def small_mss(lab: Tester) -> None:
    """Offer a small MSS.

    1. The tester's SYN has an MSS of 600. The program sends 6000 octets.
    2. No segment has more than 600.
    """
    largest = _largest(connect(lab, options=[("MSS", SMALL)]))
    lab.check(largest <= SMALL, "at most 600 octets", largest)


@case(
    "TCP-7.8",
    "Segments are no larger than the link takes, whatever the other end's MSS",
    aliases=("9293:MUST-16",),
    mutant=Mutant(
        "sends what it was offered",
        outgoing=lambda frame: (
            None if frame.haslayer(TCP) and len(segment_data(frame)) == MSS else frame
        ),
    ),
)
def large_mss(lab: Tester) -> None:
    """Offer an MSS that the link has no room for.

    1. The tester's SYN has an MSS of 9000. The program sends 6000 octets.
    2. All of it comes, and no segment has more than 1460.
    """
    largest = _largest(connect(lab, options=[("MSS", 9000)]))
    lab.check(largest <= MSS, "at most 1460 octets", largest)


@case(
    "TCP-7.9",
    "Options of a segment take room from its data",
    rfc="RFC 6691",
    section="2",
    aliases=("9293:MUST-16",),
    mutant=Mutant(
        "does not count options",
        outgoing=with_option(all_of(loaded, lacking("S")), ("NOP", None), ("NOP", None),
                             ("NOP", None), ("NOP", None)),
    ),
)  # fmt: skip
def options_take_room(lab: Tester) -> None:
    """Have the Host send segments with options.

    1. The tester's SYN has an MSS of 600 and a timestamp. If the SYN-ACK has none, the case does
       not apply.
    2. The program sends 6000 octets: data and options together are at most 600 octets.
    """
    stamp = [("NOP", None), ("NOP", None), ("Timestamp", (7, 0))]
    connection = connect(lab, options=[("MSS", SMALL), *stamp])
    if "Timestamp" not in dict(connection.host_options):
        raise Unable("the Host has no timestamps")
    write(connection, pattern(6000))
    found = data_segments(connection, 100)
    lab.need(bool(found), "segments with data")
    largest = max(len(segment_data(one)) + 4 * one[TCP].dataofs - 20 for one in found)
    lab.check(largest <= SMALL, "at most 600 octets with options", largest)


@case(
    "TCP-7.10",
    "No segment but a SYN has an MSS",
    section="3.2",
    aliases=("9293:MUST-65",),
    mutant=Mutant(
        "sends its MSS always",
        outgoing=with_option(lacking("S"), ("MSS", MSS)),
    ),
)
def mss_on_syn_only(lab: Tester) -> None:
    """Look at the options of all segments of a short connection.

    1. Data goes both ways; the program closes its direction.
    2. No segment after the SYN-ACK has an MSS.
    """
    connection = connect(lab)
    connection.push(b"question")
    connection.read(8)
    write(connection, pattern(3000))
    connection.socket.shutdown(socket.SHUT_WR)
    found = segments(connection, 300)
    lab.need(len(found) >= 3, "three segments")
    lab.check(not any(_mss_of(one) for one in found), "no MSS", [_mss_of(one) for one in found])


def _honoured(lab: Tester, options: list[Any]) -> None:
    """The MSS of 600 among these options counts."""
    largest = _largest(connect(lab, options=options), 3000)
    lab.check(largest <= SMALL, "at most 600 octets", largest)


@case(
    "TCP-7.11",
    "End of option list, no-operation and MSS are understood",
    section="3.1",
    aliases=("9293:MUST-4",),
    mutant=Mutant(
        "stops at a no-operation",
        incoming=altered(optioned("NOP"), options=[("MSS", MSS)]),
    ),
)
def mandatory_options(lab: Tester) -> None:
    """Send the three options that everybody has to know.

    1. The tester's SYN has two NOPs, an MSS of 600, a NOP and an EOL. A connection comes about.
    2. Segments of the Host's have at most 600 octets.
    """
    nop, end = ("NOP", None), ("EOL", None)
    _honoured(lab, [nop, nop, ("MSS", SMALL), nop, end])


@case(
    "TCP-7.12",
    "What follows the end of the option list is ignored",
    section="3.1",
    mutant=Mutant(
        "reads on",
        incoming=altered(flagged("S"), options=[("MSS", 100)]),
    ),
)
def after_the_end(lab: Tester) -> None:
    """Put an MSS behind the end of the list.

    1. The tester's SYN has an MSS of 600, an EOL, and behind it what would be an MSS of 100.
    2. The Host's segments have 600 octets.
    """
    connection = in_state(lab, "LISTEN")
    raw = b"\x02\x04\x02\x58" + b"\x00\x02\x04\x00\x64" + b"\x00" * 3
    connection.send("S", raw, dataofs=8)
    connection.seq += 1
    connection.take(connection.expect("SA", ack=connection.seq))
    connection.send("A")
    assert connection.listener is not None
    connection.sock, _peer = lab.until(connection.listener.accept, 1000, "accept")
    largest = _largest(connection, 3000)
    lab.check(largest == SMALL, "segments of 600 octets", largest)


@case(
    "TCP-7.13",
    "Options are read wherever they begin",
    section="3.2",
    aliases=("9293:MUST-64",),
    mutant=Mutant(
        "reads options at word boundaries",
        incoming=altered(optioned("NOP"), options=[("MSS", MSS)]),
    ),
)
def unaligned(lab: Tester) -> None:
    """Let the MSS begin in the middle of a word.

    1. The tester's SYN has one NOP, and then an MSS of 600.
    2. Segments of the Host's have at most 600 octets.
    """
    _honoured(lab, [("NOP", None), ("MSS", SMALL)])


@case(
    "TCP-7.14",
    "An option that is not implemented is passed over",
    section="3.1",
    aliases=("9293:MUST-6",),
    mutant=Mutant(
        "reads no further than an option that it does not know",
        incoming=altered(optioned("253"), options=[("MSS", MSS)]),
    ),
)
def unknown_option(lab: Tester) -> None:
    """Send an option that is for experiments.

    1. The tester's SYN has option 253 with four octets, and then an MSS of 600.
    2. A connection comes about, and segments of the Host's have at most 600 octets.
    """
    _honoured(lab, [UNKNOWN, ("MSS", SMALL)])


@case(
    "TCP-7.15",
    "Options are taken in any segment",
    section="3.1",
    aliases=("9293:MUST-5",),
    mutant=Mutant(
        "drops data with options",
        incoming=loses(all_of(loaded, lambda frame: frame[TCP].dataofs > 5)),
    ),
)
def option_in_any_segment(lab: Tester) -> None:
    """Send data with options.

    1. On a connection the tester sends data with NOPs, and data with an option that nobody
       implements: both are acknowledged, and read.
    2. So is an ACK of the Host's data that has such an option.
    """
    connection = connect(lab)
    connection.push(b"nop", options=[("NOP", None)] * 4)
    connection.expect_ack()
    connection.push(b"unknown", options=[UNKNOWN])
    connection.expect_ack()
    lab.check(connection.read(10) == b"nopunknown", "the data", "other data")
    write(connection, b"x")
    connection.take(lab.expect(connection.with_data()))
    connection.send("A", options=[UNKNOWN])
    lab.drain(50)
    again = data_segments(connection, 1500)
    lab.check(not again, "nothing again", len(again))


@case(
    "TCP-7.16",
    "An illegal option length does no harm",
    section="3.1",
    aliases=("9293:MUST-7",),
    mutant=Mutant(
        "is stuck for ever",
        incoming=After(
            lambda frame: frame[TCP].dataofs == 6 and not optioned("MSS")(frame),
            loses(any_segment),
        ),
    ),
)
def illegal_length(lab: Tester) -> None:
    """Send options whose length is 0, 1, and past the header's end.

    1. The Host listens. The tester sends SYNs with such options, and data with them on a
       connection. What is answered to them does not matter.
    2. Afterwards a SYN is answered as usual, and a connection works.
    """
    _listener, port = listen(lab)
    for raw in (b"\xfd\x00\x00\x00", b"\xfd\x01\x00\x00", b"\xfd\x20\x00\x00", b"\x01\x01\x01\x02"):
        Connection(lab, port).send("S", raw, dataofs=6)
        lab.drain(50)
    after = Connection(lab, port)
    after.send("S", options=[("MSS", MSS)])
    after.expect("SA", ack=after.isn + 1)
    damaged = connect(lab)
    damaged.send("A", b"\x02\x00\x05\xb4" + b"data", dataofs=6)
    lab.drain(50)
    connect(lab).still_works()


def _padded_wrong(frame: Packet) -> Packet:
    if not frame.haslayer(TCP) or frame[TCP].flags != "S":
        return frame
    changed = altered(any_segment, options=[("MSS", MSS), ("EOL", None)])(frame)
    raw = bytearray(bytes(changed))  # type: ignore[arg-type]
    at = 14 + 20 + 20 + 4
    raw[at : at + 4] = b"\x00\x01\x01\x01"
    return type(frame)(bytes(raw))


@case(
    "TCP-7.17",
    "The Host's options have their lengths, and are padded with zeros",
    section="3.1",
    aliases=("9293:MUST-68", "9293:MUST-69"),
    mutant=Mutant("pads with ones", outgoing=_padded_wrong),
)
def own_options(lab: Tester) -> None:
    """Read the options of the Host's SYN octet by octet.

    1. The program connects.
    2. Up to the header's end each option is NOP, or has a length that fits; after an EOL there is
       nothing but zeros.
    """
    header = bytes(_host_syn(lab)[TCP])
    raw = header[20 : 4 * (header[12] >> 4)]
    while raw:
        if raw[0] == 0:
            lab.check(not any(raw), "zeros after the end of the list", raw.hex())
            return
        if raw[0] == 1:
            raw = raw[1:]
            continue
        size = raw[1] if len(raw) > 1 else 0
        lab.check(2 <= size <= len(raw), "an option with its length", raw.hex())
        raw = raw[size:]


@case(
    "TCP-7.18",
    "Segments of a connection have what options were agreed on, and no others",
    rfc="RFC 7323",
    section="3.2",
    mutant=Mutant(
        "sends timestamps unasked",
        outgoing=with_option(lacking("S"), ("Timestamp", (1, 1))),
    ),
)  # fmt: skip
def only_agreed_options(lab: Tester) -> None:
    """Agree on no option.

    1. The tester's SYN has an MSS and nothing else. Data goes both ways.
    2. No segment of the Host's after its SYN has an option but NOP and EOL.
    """
    connection = connect(lab)
    connection.push(pattern(100))
    connection.expect_ack()
    connection.push(pattern(10), seq=connection.seq + 10)
    write(connection, pattern(2000))
    found = segments(connection, 200)
    lab.need(bool(found), "segments")
    names = {str(one[0]) for packet in found for one in packet[TCP].options}
    lab.check(names <= {"NOP", "EOL"}, "no options", names)
