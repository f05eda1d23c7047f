"""TCP, group 8: the retransmission timeout (RFC 6298, RFC 9293 3.8.1)."""

from __future__ import annotations

from itertools import pairwise

from scapy.layers.inet import TCP
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._tcp import (
    MSS,
    Again,
    Counted,
    acks,
    all_of,
    data_segments,
    empty,
    having,
    loaded,
    loses,
    pattern,
    rebuilt,
    with_data,
    write,
)
from pystack.lab.mutant import Mutant
from pystack.lab.packets import where
from pystack.lab.tcp import MODULUS, Connection, connect, in_state, open_from_host, segment_data
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("TCP-8", rfc="RFC 6298")


def _times(connection: Connection, for_ms: float, at_most: int, **fields: object) -> list[float]:
    """When segments of a kind come, the first of them `at_most`."""
    found = connection.lab.collect(connection.match(**fields), for_ms, at_most=at_most)
    return [float(one.time) for one in found]


def _gaps(times: list[float]) -> list[float]:
    return [second - first for first, second in pairwise(times)]


def _doubling(lab: Tester, times: list[float], least: int) -> None:
    gaps = _gaps(times)
    lab.check(len(gaps) >= least, f"{least} retransmissions", [round(one, 3) for one in gaps])
    for first, second in pairwise(gaps):
        lab.check(
            1.6 * first <= second <= 2.6 * first + 0.3,
            "intervals that double",
            [round(one, 3) for one in gaps],
        )


EVENLY = Mutant("retransmits twice each time", outgoing=Again(lambda frame: [frame, frame]))


def _sent(connection: Connection, data: bytes) -> Packet:
    """The program sends; the segment that comes."""
    write(connection, data)
    return connection.lab.expect(
        connection.with_data() / where(f"with {data[:8]!r}", lambda one: segment_data(one) == data)
    )


@case(
    "TCP-8.1",
    "A SYN is sent again after one second",
    section="2.1",
    level=Level.SHOULD,
    mutant=Mutant("waits for three seconds", outgoing=Again(when=having("S"), after=0)),
)
def initial_timeout(lab: Tester) -> None:
    """Leave the Host's SYN unanswered.

    1. The program connects; the SYN comes.
    2. It comes again after one second: not before 0.9, and not after 1.6. (The timeout before
       there is a measurement.)
    """
    connection = open_from_host(lab, answer=False)
    began = lab.now
    times = _times(connection, 3500, 1, flags=lambda flags: "S" in flags)
    lab.check(bool(times), "the SYN again", "nothing in 3.5 s")
    gap = times[0] - began
    lab.check(0.9 <= gap <= 1.6, "the SYN again after one second", f"{gap:.3f} s")


@case(
    "TCP-8.2",
    "The timeout of a SYN doubles each time",
    section="5.5",
    aliases=("9293:MUST-22", "9293:MUST-19"),
    mutant=EVENLY,
)
def syn_backoff(lab: Tester) -> None:
    """Leave the Host's SYNs unanswered.

    1. The program connects. The tester notes when SYNs come, in 16 seconds.
    2. There are at least three retransmissions, and each interval is twice the one before.
    """
    connection = open_from_host(lab, answer=False)
    began = lab.now
    times = _times(connection, 16_000, 4, flags=lambda flags: "S" in flags)
    _doubling(lab, [began, *times], 3)


@case(
    "TCP-8.3",
    "The timeout of a SYN-ACK doubles each time",
    section="5.5",
    aliases=("9293:MUST-19",),
    mutant=EVENLY,
)
def syn_ack_backoff(lab: Tester) -> None:
    """Leave the Host's SYN-ACKs unanswered.

    1. The tester sends a SYN, and then nothing. It notes when SYN-ACKs come, in 16 seconds.
    2. There are at least three retransmissions, and each interval is twice the one before.
    """
    connection = in_state(lab, "SYN-RECEIVED")
    began = lab.now
    times = _times(connection, 16_000, 3, flags="SA")
    _doubling(lab, [began, *times], 3)


@case(
    "TCP-8.4",
    "The timeout of data doubles each time",
    section="5.5",
    aliases=("9293:MUST-19", "9293:MUST-18"),
    mutant=EVENLY,
)
def data_backoff(lab: Tester) -> None:
    """Acknowledge nothing.

    1. The program sends 100 octets. The tester notes when they come, in 16 seconds.
    2. They come at least four times, and each interval is twice the one before.
    """
    connection = connect(lab)
    first = _sent(connection, pattern(100))
    times = _times(connection, 16_000, 4, seq=first[TCP].seq)
    _doubling(lab, [float(first.time), *times], 3)


@case(
    "TCP-8.5",
    "What is sent again is what was sent",
    rfc="RFC 9293",
    section="3.10.8",
    mutant=Mutant(
        "sends other data",
        outgoing=Again(lambda frame: rebuilt(with_data(lambda data: data[::-1])(frame))),
    ),
)
def same_again(lab: Tester) -> None:
    """Compare a retransmission with the first transmission.

    1. The program sends 100 octets; the tester does not acknowledge them.
    2. Within four seconds a segment comes with the same number and the same data.
    """
    connection = connect(lab)
    first = _sent(connection, pattern(100))
    again = lab.expect(connection.match(seq=first[TCP].seq) / where("with data", loaded), 4000)
    lab.check(segment_data(again)[:100] == pattern(100), "the same data", segment_data(again)[:8])


@case(
    "TCP-8.6",
    "The oldest segment is the one that is sent again",
    section="5.4",
    mutant=Mutant(
        "sends the newest again",
        outgoing=Again(
            lambda frame: None, when=lambda frame: loaded(frame) and "P" not in frame[TCP].flags
        ),
    ),
)
def oldest_first(lab: Tester) -> None:
    """Acknowledge nothing of two segments.

    1. The program sends two segments' worth. The tester acknowledges nothing.
    2. What comes first after the timeout is the first of them.
    """
    connection = connect(lab)
    assert connection.ack is not None
    write(connection, pattern(2 * MSS))
    lab.need(len(data_segments(connection, 30)) == 2, "two segments")
    again = lab.expect(connection.with_data(), 3500)
    lab.check(again[TCP].seq == connection.ack, "the first segment", again[TCP].seq)


def _first_timeout(connection: Connection, first: Packet, within_ms: float = 9000) -> float:
    """How long it takes until a segment comes for the second time."""
    again = connection.lab.expect(
        connection.match(seq=first[TCP].seq) / where("with data", loaded), within_ms
    )
    return float(again.time) - float(first.time)


@case(
    "TCP-8.7",
    "The timeout is at least one second",
    section="2.4",
    level=Level.SHOULD,
    mutant=Mutant(
        "retransmits at once",
        outgoing=Again(lambda frame: [frame, frame], first=True, when=loaded),
    ),
)
def least_timeout(lab: Tester) -> None:
    """Measure the timeout on a short path.

    1. The program sends data ten times, and the tester acknowledges it at once.
    2. It sends once more, and is not acknowledged: nothing comes again before one second.
    """
    connection = connect(lab)
    for index in range(10):
        connection.acknowledge(_sent(connection, b"%d" % index))
    gap = _first_timeout(connection, _sent(connection, b"last"))
    lab.check(gap >= 0.95, "a timeout of one second", f"{gap:.3f} s")


@case(
    "TCP-8.8",
    "An acknowledgement of a segment that was sent twice is no measurement (Karn)",
    section="3",
    aliases=("9293:MUST-18",),
    mutant=Mutant(
        "measures from the first transmission",
        outgoing=Again(when=lambda frame: segment_data(frame) == b"third", after=0),
    ),
    seconds=30,
)
def karn(lab: Tester) -> None:
    """Acknowledge a segment late, that has been sent several times.

    1. There are no timestamps. The program sends, and the tester acknowledges at once. The program
       sends; the tester notes the timeout, and acknowledges only after the third retransmission.
    2. The program sends again, and is acknowledged at once.
    3. It sends a third time, and is not acknowledged: the timeout is not longer than the first
       was, by half. (Had the long time been taken for a round trip, it were several times as
       long.)
    """
    connection = connect(lab)
    connection.acknowledge(_sent(connection, b"zeroth"))
    lab.drain(30)
    first = _sent(connection, b"first")
    base = _first_timeout(connection, first)
    for _ in range(2):
        lab.expect(connection.match(seq=first[TCP].seq) / where("with data", loaded), 9000)
    connection.acknowledge(first)
    lab.drain(30)
    connection.acknowledge(_sent(connection, b"second"))
    lab.drain(30)
    again = _first_timeout(connection, _sent(connection, b"third"))
    lab.check(again <= 1.5 * base + 0.1, f"a timeout of about {base:.3f} s", f"{again:.3f} s")


@case(
    "TCP-8.9",
    "The timeout follows a round trip that is longer than it",
    section="3, 5.7",
    aliases=("9293:MUST-18",),
    mutant=Mutant("never learns", outgoing=Again(lambda frame: [frame, frame], first=True,
                                                 when=loaded)),
)  # fmt: skip
def follows_round_trip(lab: Tester) -> None:
    """Have a path whose round trip takes 1.5 seconds.

    1. There are no timestamps. Six times the program sends a segment, and the tester
       acknowledges it after 1.5 seconds.
    2. A segment may be sent again while the Host does not know the round trip: the timeout that
       was doubled holds until there is a measurement, so that there is one. In the end none is.
    """
    connection = connect(lab)
    for index in range(7):
        data = b"segment %d" % index
        first = _sent(connection, data)
        again = data_segments(connection, 1500)
        connection.acknowledge(first)
        lab.drain(20)
        if index >= 5:
            lab.check(not again, "no retransmission any more", [float(one.time) for one in again])


@case(
    "TCP-8.10",
    "The timer restarts when new data is acknowledged",
    section="5.3",
    level=Level.SHOULD,
    mutant=Mutant(
        "misses the acknowledgement",
        incoming=loses(all_of(empty, lambda frame: frame[TCP].window == 60_000)),
    ),
)
def timer_restarts(lab: Tester) -> None:
    """Acknowledge the first of two segments, late.

    1. The program sends an octet, and the tester acknowledges at once. It sends another; the tester
       notes the timeout, and acknowledges.
    2. On another connection, whose window no timeout has made small, the program sends an octet,
       and the tester acknowledges at once. It sends two segments. After three fifths of the
       timeout, which a clock of few ticks may find shorter now, the tester acknowledges the first.
    3. Nothing is sent again before seven tenths of the timeout have passed since then.
    """
    connection = connect(lab)
    connection.acknowledge(_sent(connection, b"0"))
    lab.drain(30)
    first = _sent(connection, b"1")
    base = _first_timeout(connection, first)
    connection.acknowledge(first)
    connection = connect(lab)
    connection.acknowledge(_sent(connection, b"0"))
    lab.drain(30)
    write(connection, pattern(2 * MSS))
    pair = [lab.expect(connection.with_data()) for _ in range(2)]
    lab.run(600 * base)
    connection.take(pair[0])
    connection.send("A", window=60_000)
    began = lab.now
    early = data_segments(connection, 700 * base)
    lab.check(
        not early or float(early[0].time) - began >= 0.7 * base - 0.01,
        f"nothing again for {0.7 * base:.3f} s",
        [round(float(one.time) - began, 3) for one in early],
    )


@case(
    "TCP-8.11",
    "After a SYN that had to be sent again, the timeout for data is three seconds",
    section="5.7",
    mutant=Mutant(
        "begins with the timeout that it had",
        outgoing=Again(lambda frame: [frame, frame], first=True, when=loaded),
    ),
)
def after_lost_syn(lab: Tester) -> None:
    """Lose the Host's SYN.

    1. The program connects. The tester answers the second SYN, without timestamps, and the
       program sends.
    2. The data is not acknowledged: it does not come again before three seconds.
    """
    connection = open_from_host(lab, answer=False)
    again = connection.expect("S", 4000)
    lab.need(again[TCP].seq == connection.host_isn, "the same SYN again")
    connection.send("SA", options=[("MSS", MSS)])
    connection.seq += 1
    with lab.preamble("the handshake's last acknowledgement"):
        connection.expect("A", ack=connection.seq)
    gap = _first_timeout(connection, _sent(connection, b"data"))
    lab.check(gap >= 2.7, "a timeout of three seconds", f"{gap:.3f} s")


@case(
    "TCP-8.12",
    "Once all is acknowledged nothing is sent again",
    section="5.2",
    level=Level.SHOULD,
    mutant=Mutant(
        "does not see acknowledgements",
        incoming=Counted(lambda frame: acks(frame[TCP].flags) and not loaded(frame), 1),
    ),
)
def timer_off(lab: Tester) -> None:
    """Acknowledge all.

    1. The program sends three segments' worth, and the tester acknowledges them all.
    2. For four seconds nothing comes.
    """
    connection = connect(lab)
    write(connection, pattern(1000))
    packet = lab.expect(connection.with_data())
    connection.acknowledge(packet)
    again = data_segments(connection, 4000)
    lab.check(not again, "nothing again", [one[TCP].seq for one in again])


@case(
    "TCP-8.13",
    "A segment of which a part is acknowledged is sent again from there",
    rfc="RFC 9293",
    section="3.4",
    mutant=Mutant("never sends anything again", outgoing=Again(ending=True)),
)
def partly_acknowledged(lab: Tester) -> None:
    """Acknowledge half of a segment.

    1. The program sends 1000 octets in one segment; the tester acknowledges 400.
    2. Within four seconds the other 600 come (with what is before them, or without).
    3. The tester acknowledges them: the connection works.
    """
    connection = connect(lab)
    assert connection.ack is not None
    start = connection.ack
    _sent(connection, pattern(1000))
    connection.ack = (start + 400) % MODULUS
    connection.send("A")
    again = lab.expect(connection.with_data(), 4000)
    end = (again[TCP].seq - start) % MODULUS + len(segment_data(again))
    lab.check(end == 1000, "the octets to the end", end)
    connection.ack = (start + 1000) % MODULUS
    connection.send("A")
    connection.still_works()


@case(
    "TCP-8.14",
    "The first round trip sets the timeout to three times as much",
    section="2.2",
    mutant=Mutant("waits three times as long", outgoing=Again(when=loaded)),
)
def first_round_trip(lab: Tester) -> None:
    """Let the handshake take 100 ms.

    1. The tester waits for 100 ms with the handshake's last acknowledgement. There are no SACKs and
       no timestamps.
    2. The program sends 100 octets, which the tester does not acknowledge. They come again after
       300 ms (RTT + 4 * RTT / 2), give or take 100 ms; or after a second, the least that RFC 6298
       2.4 asks for.
    """
    connection = in_state(lab, "SYN-RECEIVED", options=[("MSS", MSS)])
    lab.drain(100)
    connection.send("A")
    with lab.preamble("accept"):
        assert connection.listener is not None
        connection.sock, _peer = lab.until(connection.listener.accept, 1000, "accept")
    first = _sent(connection, pattern(100))
    waited = _first_timeout(connection, first, 2000)
    lab.check(0.2 <= waited <= 0.4 or 0.99 <= waited <= 1.1, "300 ms, or one second", waited)
