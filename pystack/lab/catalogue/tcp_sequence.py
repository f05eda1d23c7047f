"""TCP, group 3: which segments are acceptable, and checksums (RFC 9293 3.1, 3.4, 3.10.7.4)."""

from __future__ import annotations

from contextlib import suppress

from scapy.layers.inet import TCP
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._tcp import (
    NO_EMPTY_ACKS,
    acks,
    all_of,
    altered,
    empty,
    fill,
    flagged,
    having,
    lacking,
    loaded,
    loses,
    pattern,
    rebuilt,
    replying,
    resets,
    small_listener,
    write,
)
from pystack.lab.mutant import Mutant
from pystack.lab.tcp import MODULUS, Connection, connect, in_state
from pystack.lab.tester import Tester

case = group("TCP-3", rfc="RFC 9293", section="3.10.7.4")

RFC = "RFC 9293"
TABLE = "3.10.7.4, table 6"


def _nothing_to_read(connection: Connection, why: str) -> None:
    with suppress(BlockingIOError):
        got = connection.socket.recv(1)
        connection.lab.check(False, f"nothing for the program: {why}", repr(got))


def _unacceptable(connection: Connection, flags: str, data: bytes, offset: int) -> None:
    """A segment that has to be answered with an ACK, and dropped."""
    connection.send(flags, data, seq=connection.seq + offset)
    connection.expect("A", seq=connection.ack, ack=connection.seq)
    connection.lab.drain(20)


def _taken_in(frame: Packet) -> Packet:
    """A segment as it would have to be to be acceptable: what a Host sees that checks nothing."""
    header = frame[TCP]
    near = (header.seq - 1_000_001) % MODULUS
    if near:
        header.seq = 1_000_001
    return rebuilt(frame)


@case(
    "TCP-3.1",
    "Data before the window is acknowledged and dropped",
    section=TABLE,
    mutant=NO_EMPTY_ACKS,
    family=4,
)
@case("TCP-3.3", "Old data is dropped over IPv6 too", section=TABLE, mutant=NO_EMPTY_ACKS, family=6)
def data_before_window(lab: Tester, family: int) -> None:
    """Send data that is all old.

    1. The tester sends four octets that end where the window begins.
    2. An empty ACK comes with the number that the Host waits for; the program reads nothing.
    """
    connection = connect(lab, family=family)
    _unacceptable(connection, "PA", b"olds", -4)
    _nothing_to_read(connection, "the data was old")
    connection.still_works()


@case(
    "TCP-3.2",
    "Data beyond the window is acknowledged and dropped",
    section=TABLE,
    mutant=NO_EMPTY_ACKS,
)
def data_beyond_window(lab: Tester) -> None:
    """Send data that is too far ahead.

    1. Without window scaling, no window reaches 70000 octets. The tester sends data that begins
       70000 octets ahead.
    2. An empty ACK comes with the number that the Host waits for; the program reads nothing.
    """
    connection = connect(lab)
    _unacceptable(connection, "PA", b"far off", 70000)
    _nothing_to_read(connection, "the data was beyond the window")
    connection.still_works()


@case(
    "TCP-3.4",
    "Of a segment that is partly old the new part is taken",
    mutant=Mutant(
        "drops segments that are partly old",
        incoming=loses(lambda frame: loaded(frame) and frame[TCP].seq == 1_000_001 + 3),
    ),
)
def partly_old(lab: Tester) -> None:
    """Send data that overlaps what was received.

    1. The tester sends "abcdef", then "defghi" with the number of the "d".
    2. All nine octets are acknowledged; the program reads "abcdefghi".
    """
    connection = connect(lab)
    connection.push(b"abcdef")
    connection.expect_ack()
    connection.seq -= 3
    connection.push(b"defghi")
    connection.expect_ack()
    got = connection.read(9)
    lab.check(got == b"abcdefghi", "abcdefghi", got)


@case(
    "TCP-3.5",
    "An empty segment before the window is answered with an ACK",
    section=TABLE,
    mutant=NO_EMPTY_ACKS,
)
def empty_before_window(lab: Tester) -> None:
    """Send what a keepalive looks like.

    1. The tester sends an empty ACK one octet before the window.
    2. An ACK comes with the number that the Host waits for.
    """
    _unacceptable(connect(lab), "A", b"", -1)


@case(
    "TCP-3.6",
    "An empty segment beyond the window is answered with an ACK",
    section=TABLE,
    mutant=NO_EMPTY_ACKS,
)
def empty_beyond_window(lab: Tester) -> None:
    """Send an empty segment that is too far ahead.

    1. The tester sends an empty ACK 70000 octets ahead.
    2. An ACK comes with the number that the Host waits for.
    """
    _unacceptable(connect(lab), "A", b"", 70000)


@case(
    "TCP-3.7",
    "An acceptable empty ACK is not answered",
    section="3.4",
    mutant=Mutant(
        "acknowledges acknowledgements",
        answer=replying(empty, "A", seq=lambda header: header.ack, ack=lambda header: header.seq),
    ),
)
def ack_of_ack(lab: Tester) -> None:
    """Acknowledge what is acknowledged.

    1. On a connection with nothing under way the tester sends an empty ACK with right numbers.
    2. Nothing comes: acknowledgements are not acknowledged.
    """
    connection = connect(lab)
    lab.drain(50)
    connection.send("A")
    connection.expect_nothing(500)


@case(
    "TCP-3.8",
    "A segment without ACK is dropped in ESTABLISHED",
    mutant=Mutant(
        "does not look at the flag ACK",
        incoming=altered(all_of(lacking("A"), loaded), flags="PA"),
    ),
)
def without_ack(lab: Tester) -> None:
    """Leave out the ACK.

    1. The tester sends data without the flag ACK.
    2. It is not acknowledged, and the program reads nothing.
    3. The same data with the ACK is taken.
    """
    connection = connect(lab)
    connection.send("P", b"data", ack=connection.ack)
    connection.expect_nothing(600, ack=connection.seq + 4)
    _nothing_to_read(connection, "the segment had no ACK")
    connection.still_works()


@case(
    "TCP-3.9",
    "Data with an ACK of something never sent is answered with an ACK and dropped",
    mutant=Mutant(
        "does not look at the acknowledgement number",
        incoming=altered(loaded, ack=lambda header: header.ack - 1000),
    ),
)
def ack_of_unsent(lab: Tester) -> None:
    """Acknowledge what the Host has not sent.

    1. The tester sends data with an acknowledgement number 1000 past SND.NXT.
    2. An empty ACK comes that does not count the data; the program reads nothing.
    """
    connection = connect(lab)
    assert connection.ack is not None
    connection.send("PA", b"data", ack=connection.ack + 1000)
    connection.expect("A", seq=connection.ack, ack=connection.seq)
    connection.expect_nothing(600, ack=connection.seq + 4)
    _nothing_to_read(connection, "the ACK was unacceptable")


@case(
    "TCP-3.10",
    "Data with a duplicate acknowledgement number is taken",
    mutant=Mutant(
        "drops segments with an old ACK",
        incoming=loses(lambda frame: loaded(frame) and frame[TCP].window == 65000),
    ),
)
def old_ack(lab: Tester) -> None:
    """Send data that was under way when an acknowledgement overtook it.

    1. The Host sends data, which is acknowledged.
    2. The tester sends data with the acknowledgement number of before.
    3. It is acknowledged.
    """
    connection = connect(lab)
    write(connection, b"from the host")
    connection.acknowledge(lab.expect(connection.with_data()))
    assert connection.ack is not None
    connection.push(b"late", ack=connection.ack - 5, window=65000)
    connection.expect_ack()


@case(
    "TCP-3.11",
    "Sequence numbers wrap round while data is received",
    section="3.4",
    mutant=Mutant(
        "compares sequence numbers as plain numbers",
        incoming=loses(lambda frame: loaded(frame) and frame[TCP].seq < 100_000),
    ),
)
def receive_wraps(lab: Tester) -> None:
    """Send data across the end of the sequence space.

    1. The tester's ISN is 2**32 - 6. It sends six segments of three octets.
    2. All are acknowledged, and the program reads them in order.
    """
    connection = connect(lab, isn=MODULUS - 6)
    for index in range(6):
        connection.push(bytes([65 + index]) * 3)
        connection.expect_ack()
    got = connection.read(18)
    lab.check(got == b"AAABBBCCCDDDEEEFFF", "the data in order", got)


@case(
    "TCP-3.12",
    "A SYN that is the last number of the sequence space is handled",
    section="3.4",
    mutant=Mutant(
        "adds without wrapping", outgoing=altered(flagged("SA"), ack=lambda header: 0xFFFFFFFF)
    ),
)
def syn_wraps(lab: Tester) -> None:
    """Begin at 2**32 - 1.

    1. The tester's ISN is 2**32 - 1. The SYN-ACK acknowledges 0.
    2. The connection works.
    """
    connection = in_state(lab, "LISTEN", isn=MODULUS - 1)
    connection.send("S", options=[("MSS", 1460)])
    connection.seq = 0
    connection.take(connection.expect("SA", ack=0))
    connection.send("A")
    assert connection.listener is not None
    connection.sock, _peer = lab.until(connection.listener.accept, 1000, "accept")
    connection.still_works()


@case(
    "TCP-3.13",
    "A FIN beyond the window does not end the stream",
    section=TABLE,
    mutant=Mutant(
        "takes a FIN with any number", incoming=altered(having("F"), seq=lambda header: 1_000_001)
    ),
)
def fin_beyond_window(lab: Tester) -> None:
    """End the stream too far ahead.

    1. The tester sends a FIN 70000 octets ahead.
    2. An ACK comes with the number that the Host waits for, and the connection works.
    """
    connection = connect(lab)
    _unacceptable(connection, "FA", b"", 70000)
    connection.still_works()


@case(
    "TCP-3.14",
    "A FIN ahead of missing data waits for it",
    mutant=Mutant(
        "loses a FIN that comes early",
        incoming=altered(having("F"), flags="A"),
    ),
)
def fin_out_of_order(lab: Tester) -> None:
    """End the stream before its data has come.

    1. The tester sends the FIN that follows five octets, but not these: it is not acknowledged.
    2. It sends the five octets (and the FIN again, if the Host has dropped it).
    3. The program reads the octets, and the end of the stream.
    """
    connection = connect(lab)
    connection.send("FA", seq=connection.seq + 5)
    connection.expect_nothing(200, ack=connection.seq + 6)
    connection.push(b"early")
    packets = lab.collect(connection.match(flags=acks), 700)
    if not any(one[TCP].ack == connection.seq + 1 for one in packets):
        connection.send("FA")
    got = connection.read(5)
    lab.check(got == b"early", "the five octets", got)
    connection.expect_end()


@case(
    "TCP-3.22",
    "A segment that reaches past the window's end harms nothing",
    mutant=Mutant("resets for it", answer=resets(all_of(loaded, lacking("P")))),
)
def across_right_edge(lab: Tester) -> None:
    """Send more than the window has room for.

    1. The Host listens with a small receive buffer. The tester fills the window up to less than
       1000 octets, and then sends 1400.
    2. An ACK comes for a part of it, for all or for nothing; never a reset.
    3. The program reads what was acknowledged, as it was sent.
    """
    connection = small_listener(lab)
    start = connection.seq
    sent = fill(connection, leave=2500)
    data = pattern(max(connection.host_window, 1) + 400)[:1460]
    connection.send("A", data)
    connection.expect_no_reset(50)
    connection.send("A", seq=start - 1)
    answer = connection.expect("A")[TCP]
    taken = (answer.ack - start) % MODULUS
    lab.check(taken <= len(sent) + len(data), "an ACK of what was sent", taken)
    got = connection.read(min(taken, len(sent) + len(data)))
    lab.check(got == (sent + data)[: len(got)], "the data as sent", f"{len(got)} octets")


@case(
    "TCP-3.23",
    "A duplicate of data already read is not delivered again",
    mutant=Mutant(
        "delivers duplicates",
        incoming=altered(
            lambda frame: loaded(frame) and frame[TCP].window == 65000,
            seq=lambda header: header.seq + 8,
        ),
    ),
)
def duplicate_data(lab: Tester) -> None:
    """Send the same data twice.

    1. The tester sends eight octets; they are acknowledged and read.
    2. It sends them again: an ACK comes, and the program reads nothing.
    """
    connection = connect(lab)
    connection.push(b"just one")
    connection.expect_ack()
    connection.read(8)
    _unacceptable_again(connection)
    _nothing_to_read(connection, "it has read the data already")


def _unacceptable_again(connection: Connection) -> None:
    connection.send("PA", b"just one", seq=connection.seq - 8, window=65000)
    connection.expect("A", ack=connection.seq)
    connection.lab.drain(20)
