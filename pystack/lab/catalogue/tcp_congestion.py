"""TCP, group 9: congestion control (RFC 5681, 6582, 6928, 3168; RFC 9293 3.8.2)."""

from __future__ import annotations

from scapy.layers.inet import IP, TCP
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._tcp import (
    MSS,
    NO_RETRANSMISSION,
    After,
    Again,
    Counted,
    acknowledge,
    altered,
    and_next,
    data_segments,
    empty,
    having,
    highest,
    loaded,
    offer,
    pattern,
    stay_grown,
    widen,
)
from pystack.lab.mutant import Change, Mutant
from pystack.lab.packets import where
from pystack.lab.tcp import MODULUS, Connection, connect, in_state, open_from_host, segment_data
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level, Unable

case = group("TCP-9", rfc="RFC 5681")

ROUND_MS = 40.0
INITIAL = 10  # segments: the initial window of the Host that mutants are made of


def _flight(connection: Connection) -> int:
    """How far what has been sent reaches past what is acknowledged, in octets."""
    assert connection.ack is not None
    return highest(data_segments(connection, ROUND_MS), connection.ack)


def _eager(lab: Tester, segments: int = 60, room: int = 0) -> Connection:
    """A connection whose program wants to send more than the tester will take.

    Args:
        lab: The case's tester.
        segments: So many full ones.
        room: How many segments the congestion window shall have room for.
    """
    _MARK[0] = None  # another case's number may well come again
    connection = connect(lab, window=65535)
    if room:
        widen(connection, room * MSS)
    offer(connection, pattern(segments * MSS))
    return connection


def _later(segments: int) -> Change:
    """Each full segment, and what would come so many segments later."""

    def change(frame: Packet) -> Packet | list[Packet]:
        if not frame.haslayer(TCP) or len(segment_data(frame)) < MSS:
            return frame
        more = altered(loaded, seq=lambda header: header.seq + segments * MSS)(frame.copy())
        return [frame, more]  # type: ignore[list-item]

    return change


_greedy = _later(13)
GREEDY = Mutant("sends everything at once", outgoing=_greedy)
GREEDY_LATER = Mutant("sends more than it may", outgoing=Counted(loaded, INITIAL, _greedy))
_MARK: list[int | None] = [None]  # a sequence number that a case tells its mutant


def _marked(frame: Packet) -> bool:
    return bool(frame[TCP].seq == _MARK[0])


def _unmarked(frame: Packet) -> Packet:
    if frame.haslayer(TCP) and frame[IP].tos & 3 == 3:
        frame[IP].tos = 2
        del frame[IP].chksum
    return frame


@case(
    "TCP-9.1",
    "At first no more than the initial window is sent",
    rfc="RFC 6928",
    section="2",
    aliases=("9293:MUST-19",),
    mutant=GREEDY,
)
def initial_window(lab: Tester) -> None:
    """Have the program send much on a fresh connection.

    1. The program sends 60 segments' worth, and the tester's window has room for 44.
    2. Before anything is acknowledged at most ten segments come (14600 octets).
    """
    reach = _flight(_eager(lab))
    lab.check(0 < reach <= 10 * MSS, "at most ten segments", reach / MSS)


@case(
    "TCP-9.2",
    "After a SYN that was lost more than once, one segment is sent first",
    section="3.1",
    mutant=GREEDY,
)
def after_lost_syns(lab: Tester) -> None:
    """Lose two SYNs of the Host's.

    1. The program connects; the tester answers the third SYN. (After one that was lost RFC 6928 2
       advises against it.)
    2. The program sends ten segments' worth: one comes before anything is acknowledged.
    """
    connection = open_from_host(lab, answer=False)
    with lab.preamble("two SYNs more"):
        connection.expect("S", 4000)
        connection.expect("S", 8000)
    connection.send("SA", options=[("MSS", MSS)])
    connection.seq += 1
    with lab.preamble("the handshake's last acknowledgement"):
        connection.expect("A", ack=connection.seq)
    offer(connection, pattern(20 * MSS))
    reach = _flight(connection)
    lab.check(0 < reach <= MSS, "one segment", reach / MSS)


@case(
    "TCP-9.3",
    "In slow start the congestion window grows by at most a segment for each ACK",
    section="3.1",
    aliases=("9293:MUST-19",),
    mutant=GREEDY_LATER,
)
def slow_start_bound(lab: Tester) -> None:
    """Acknowledge one segment.

    1. The program sends 60 segments' worth; the initial window comes.
    2. The tester acknowledges one segment: at most two new ones come, one for the one that has
       left the network and one that the window has grown by.
    """
    connection = _eager(lab)
    before = _flight(connection)
    lab.need(before >= 2 * MSS, "two segments under way")
    acknowledge(connection, MSS)
    after = _flight(connection) + MSS
    lab.check(after - before <= 2 * MSS, "at most two new segments", (after - before) / MSS)


@case(
    "TCP-9.4",
    "In slow start the congestion window grows",
    section="3.1",
    aliases=("9293:MUST-19",),
    mutant=Mutant(
        "keeps to its initial window",
        outgoing=Counted(loaded, INITIAL),
    ),
)
def slow_start_grows(lab: Tester) -> None:
    """Acknowledge all of the first flight.

    1. The program sends 60 segments' worth; the initial window comes.
    2. The tester acknowledges each segment of it: more than that comes.
    """
    connection = _eager(lab)
    before = _flight(connection)
    acknowledge(connection, before)
    after = _flight(connection)
    lab.check(after > before, f"more than {before / MSS:g} segments", after / MSS)


@case(
    "TCP-9.5",
    "Acknowledging a segment in pieces does not make the window grow faster",
    section="3.1",
    level=Level.SHOULD,
    mutant=GREEDY_LATER,
)
def ack_division(lab: Tester) -> None:
    """Acknowledge one segment by ten ACKs.

    1. The program sends 60 segments' worth; the initial window comes.
    2. The tester acknowledges the first segment 146 octets at a time: at most three new segments
       come, where ten would if each ACK counted.
    """
    connection = _eager(lab)
    before = _flight(connection)
    lab.need(before >= 2 * MSS, "two segments under way")
    assert connection.ack is not None
    for _ in range(10):
        connection.ack = (connection.ack + MSS // 10) % MODULUS
        connection.send("A")
    after = _flight(connection) + MSS
    lab.check(after - before <= 3 * MSS, "at most three new segments", (after - before) / MSS)


@case(
    "TCP-9.6",
    "After a timeout one segment is sent",
    section="3.1",
    aliases=("9293:MUST-19",),
    mutant=Mutant("sends the whole window again", outgoing=Again(and_next)),
)
def loss_window(lab: Tester) -> None:
    """Let the timeout come.

    1. The congestion window has grown. The program sends 60 segments' worth; the tester
       acknowledges nothing.
    2. When a segment comes again, no other does in the next 100 ms.
    """
    connection = _eager(lab, room=12)
    assert connection.ack is not None
    lab.need(_flight(connection) >= 4 * MSS, "four segments under way")
    again = lab.expect(connection.match(seq=connection.ack) / where("with data", loaded), 4000)
    more = data_segments(connection, 100)
    lab.check(not more, f"nothing after {again[TCP].seq}", [one[TCP].seq for one in more])


def _duplicates(connection: Connection, count: int) -> None:
    """So many duplicate acknowledgements."""
    for _ in range(count):
        connection.send("A")


@case(
    "TCP-9.7",
    "The third duplicate ACK makes a segment come again at once",
    section="3.2",
    level=Level.SHOULD,
    mutant=NO_RETRANSMISSION,
)
def fast_retransmit(lab: Tester) -> None:
    """Send three duplicate ACKs.

    1. The congestion window has grown; more than five segments are under way.
    2. The tester acknowledges the number before the first of them three times: the segment comes
       again within 100 ms.
    """
    connection = _eager(lab, room=12)
    assert connection.ack is not None
    lab.need(_flight(connection) >= 5 * MSS, "five segments under way")
    _duplicates(connection, 3)
    lab.expect(connection.match(seq=connection.ack) / where("with data", loaded), 100)


@case(
    "TCP-9.8",
    "Two duplicate ACKs make nothing come again",
    section="3.2",
    level=Level.SHOULD,
    mutant=Mutant(
        "retransmits on the second duplicate",
        incoming=lambda frame: [frame, frame] if frame.haslayer(TCP) and empty(frame) else frame,
    ),
)
def two_duplicates(lab: Tester) -> None:
    """Send two duplicate ACKs, as reordering does.

    1. The congestion window has grown; more than five segments are under way.
    2. The tester acknowledges the number before the first of them twice: in 100 ms it does not
       come again.
    """
    connection = _eager(lab, room=12)
    lab.need(_flight(connection) >= 5 * MSS, "five segments under way")
    _duplicates(connection, 2)
    again = data_segments(connection, 100, seq=connection.ack)
    lab.check(not again, "nothing again", [one[TCP].seq for one in again])


@case(
    "TCP-9.9",
    "An ACK that changes the window is no duplicate",
    section="2",
    level=Level.SHOULD,
    mutant=Mutant("does not look at the window", incoming=altered(empty, window=65535)),
)
def window_updates(lab: Tester) -> None:
    """Open the window three times.

    1. More than five segments are under way.
    2. The tester sends four ACKs of the number before the first, each with another window: in
       60 ms the segment does not come again.
    """
    connection = connect(lab, window=60_000)
    widen(connection, 12 * MSS)
    offer(connection, pattern(60 * MSS))
    lab.need(_flight(connection) >= 5 * MSS, "five segments under way")
    for window in (61_000, 62_000, 63_000, 64_000):
        connection.send("A", window=window)
    again = data_segments(connection, 60, seq=connection.ack)
    lab.check(not again, "nothing again", [one[TCP].seq for one in again])


@case(
    "TCP-9.10",
    "The first two duplicate ACKs let a new segment out each",
    section="3.2",
    level=Level.SHOULD,
    mutant=Mutant("waits", outgoing=Counted(loaded, INITIAL)),
)
def limited_transmit(lab: Tester) -> None:
    """Send two duplicate ACKs while there is more to send (RFC 3042).

    1. The program sends 60 segments' worth; the initial window comes, and the tester's window has
       room for more.
    2. The tester sends two duplicate ACKs: one or two segments come that are new.
    """
    connection = _eager(lab)
    before = _flight(connection)
    _duplicates(connection, 2)
    assert connection.ack is not None
    after = max(before, highest(data_segments(connection, 120), connection.ack))
    lab.check(MSS <= after - before <= 2 * MSS, "one or two new segments", (after - before) / MSS)


@case(
    "TCP-9.11",
    "A loss makes the congestion window smaller",
    section="3.2",
    aliases=("9293:MUST-19",),
    mutant=Mutant("takes no notice", outgoing=After(_marked, _later(40))),
)
def window_halves(lab: Tester) -> None:
    """Lose one segment of many, and make it good.

    1. The congestion window has grown: N segments are under way.
    2. Three duplicate ACKs: the first segment comes again. The tester acknowledges all.
    3. At most four fifths of N segments come before the next ACK. (RFC 5681 has half, RFC 9438
       seven tenths.)
    """
    connection = _eager(lab, segments=100, room=12)
    assert connection.ack is not None
    flight = _flight(connection)
    lab.need(flight >= 8 * MSS, "eight segments under way")
    _duplicates(connection, 3)
    came = data_segments(connection, 100)
    lab.need(any(one[TCP].seq == connection.ack for one in came), "the first segment again")
    flight = max(flight, highest(came, connection.ack))  # and what duplicate ACKs let out
    connection.ack = (connection.ack + flight) % MODULUS
    _MARK[0] = connection.ack
    connection.send("A")
    reach = _flight(connection)
    lab.need(reach > 0, "new segments")
    lab.check(reach <= 0.8 * flight, f"at most 4/5 of {flight / MSS:g}", reach / MSS)


@case(
    "TCP-9.12",
    "A partial ACK in fast recovery makes the next lost segment come again",
    rfc="RFC 6582",
    section="3.2",
    level=Level.SHOULD,
    mutant=Mutant("waits for the timeout", outgoing=Counted(_marked, 0)),
)
def partial_ack(lab: Tester) -> None:
    """Lose two segments of one flight.

    1. There are no selective acknowledgements. More than six segments are under way.
    2. Three duplicate ACKs: the first segment comes again. The tester acknowledges up to the
       third, which is lost too: that one comes again within 100 ms.
    """
    connection = _eager(lab, room=12)
    start = connection.ack
    assert start is not None
    lab.need(_flight(connection) >= 6 * MSS, "six segments under way")
    _MARK[0] = (start + 2 * MSS) % MODULUS
    _duplicates(connection, 3)
    with lab.preamble("the first segment again"):
        lab.expect(connection.match(seq=start) / where("with data", loaded), 100)
    connection.ack = (start + 2 * MSS) % MODULUS
    connection.send("A")
    lab.expect(connection.match(seq=connection.ack) / where("with data", loaded), 100)


@case(
    "TCP-9.13",
    "After a pause the congestion window begins small again",
    section="4.1",
    level=Level.SHOULD,
    mutant=Mutant("goes on as before", outgoing=After(_marked, _later(13))),
)
def restart_after_idle(lab: Tester) -> None:
    """Let a connection rest.

    1. The congestion window has grown to 24 segments.
    2. For twelve seconds nothing goes. The program sends 60 segments' worth: at most the initial
       window comes (ten segments).
    """
    _MARK[0] = None
    connection = connect(lab)
    widen(connection, 24 * MSS)
    stay_grown(lab, False)
    lab.drain(12_000)
    assert connection.ack is not None
    _MARK[0] = connection.ack
    offer(connection, pattern(60 * MSS))
    reach = _flight(connection)
    lab.check(0 < reach <= 10 * MSS, "at most ten segments", reach / MSS)


@case(
    "TCP-9.14",
    "A SYN that asks for ECN is answered with ECE",
    rfc="RFC 3168",
    section="6.1.1",
    level=Level.SHOULD,
    aliases=("9293:SHLD-8",),
    mutant=Mutant("has no ECN", incoming=altered(having("S"), flags="S")),
)
def ecn_syn(lab: Tester) -> None:
    """Ask for explicit congestion notification.

    1. The Host listens. The tester's SYN has ECE and CWR.
    2. The SYN-ACK has ECE, and not CWR.
    """
    connection = in_state(lab, "LISTEN")
    connection.send("SEC", options=[("MSS", MSS)])
    answer = connection.expect(flags=lambda flags: "S" in flags)[TCP]
    lab.check(str(answer.flags) == "SAE", "SYN, ACK and ECE", answer.flags)


@case(
    "TCP-9.15",
    "Congestion that a router has marked is told to the sender",
    rfc="RFC 3168",
    section="6.1.3",
    mutant=Mutant(
        "agrees to ECN, and does not look at the mark",
        incoming=_unmarked,
        outgoing=altered(having("S"), flags="SAE"),
    ),
)
def ecn_echo(lab: Tester) -> None:
    """Mark a segment on the way.

    1. A connection with ECN; if the Host does not take part, the case does not apply.
    2. Data comes with the codepoint CE: the ACK has ECE.
    3. Data comes with CWR, unmarked: the ACK has no ECE.
    """
    connection = in_state(lab, "LISTEN")
    connection.send("SEC", options=[("MSS", MSS)])
    connection.seq += 1
    answer = connection.expect(flags=lambda flags: "S" in flags)
    if "E" not in answer[TCP].flags:
        raise Unable("the Host has no ECN")
    connection.take(answer)
    connection.send("A")
    for tos, flags in ((3, "PA"), (2, "PAC")):
        packet = connection.segment(flags, b"marked")
        packet[IP].tos = tos
        lab.send(packet)
        connection.seq += 6
        echo = connection.expect_ack()[TCP].flags
        lab.check(("E" in echo) == (tos == 3), "ECE" if tos == 3 else "no ECE", echo)
