"""TCP, group 19: what resets say, answers to what is unacceptable, and SYNs that count."""

from __future__ import annotations

from scapy.layers.inet import TCP

from pystack.lab.case import group
from pystack.lab.catalogue._tcp import (
    MSS,
    altered,
    changes,
    empty,
    flagged,
    having,
    lacking,
    loaded,
    segments,
    with_data,
    with_option,
    without_option,
)
from pystack.lab.mutant import Mutant
from pystack.lab.tcp import MODULUS, PADDING, connect, in_state, open_from_host
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level, Unable

case = group("TCP-19", rfc="RFC 9293")

STAMP = "Timestamp"
AGREED = [("MSS", MSS), *PADDING, (STAMP, (500_000, 0))]
OFFERED = ("WScale", "SAckOK", STAMP)


@case(
    "TCP-19.1",
    "A reset counts both a SYN and a FIN that it acknowledges",
    section="3.4",
    mutant=Mutant(
        "counts them as one", outgoing=altered(having("R"), ack=lambda header: header.ack - 1)
    ),
)
def reset_counts_syn_and_fin(lab: Tester) -> None:
    """Send SYN, FIN and three octets to a closed port.

    1. The tester sends a segment with SYN, FIN and three octets.
    2. The Host resets it with SEQ=0 and ACK=SEG.SEQ+5.
    """
    connection = in_state(lab, "CLOSED")
    connection.send("SF", b"abc")
    connection.expect("RA", seq=0, ack=(connection.seq + 5) % MODULUS)


@case(
    "TCP-19.2",
    "A reset has a timestamp where they were agreed on",
    rfc="RFC 7323",
    section="3.2",
    level=Level.SHOULD,
    mutant=Mutant(
        "sends resets without",
        outgoing=lambda frame: (
            without_option(STAMP)(frame)
            if frame.haslayer(TCP) and "R" in frame[TCP].flags
            else frame
        ),
    ),
)
def reset_has_timestamp(lab: Tester) -> None:
    """Have the program close a connection with unread data.

    1. A connection with timestamps. The tester sends data that the program does not read.
    2. The program closes: a reset comes, with a timestamp that echoes the tester's.
    """
    connection = connect(lab, options=AGREED)
    if connection.tsval is None:
        raise Unable("the Host has no timestamps")
    connection.push(b"nobody reads it")
    connection.expect_ack()
    lab.call("close")
    connection.socket.close()
    reset = connection.expect_reset()
    stamp = dict(reset[TCP].options).get(STAMP)
    lab.check(stamp is not None, "a timestamp", reset[TCP].options)


@case(
    "TCP-19.3",
    "Acknowledgements of what is unacceptable are limited",
    rfc="RFC 5961",
    section="7",
    level=Level.SHOULD,
    mutant=Mutant(
        "sends each of them twenty times",
        outgoing=lambda frame: [frame] * 20 if frame.haslayer(TCP) and empty(frame) else frame,
    ),
)
def answers_are_limited(lab: Tester) -> None:
    """Play a peer that answers whatever comes, as one does that believes in other numbers.

    1. On a connection the tester sends an ACK of something never sent, 50 times in half a second.
    2. At least one ACK comes, and at most ten.
    """
    connection = connect(lab)
    assert connection.ack is not None
    for _ in range(50):
        connection.send("A", ack=(connection.ack + 1000) % MODULUS)
        lab.run(10)
    answers = len(segments(connection, 100))
    lab.check(1 <= answers <= 10, "one to ten acknowledgements", answers)


@case(
    "TCP-19.4",
    "After SYNs that crossed the Host's SYN-ACK has only options that the other SYN had",
    rfc="RFC 7323",
    section="2.2, 3.2",
    mutant=Mutant("sends all that its SYN had", outgoing=with_option(flagged("SA"), ("WScale", 7))),
)
def crossing_options(lab: Tester) -> None:
    """Open from both ends at once, and offer less.

    1. The program connects; its SYN has a window scale or a timestamp, or the case does not apply.
    2. The tester sends a SYN with an MSS alone.
    3. The SYN-ACK has no window scale, no timestamp and does not permit SACK.
    """
    connection = open_from_host(lab, answer=False)
    if not {"WScale", STAMP} & dict(connection.host_options).keys():
        raise Unable("the Host offers neither window scaling nor timestamps")
    connection.send("S", options=[("MSS", MSS)])
    connection.seq += 1
    options = dict(connection.expect("SA", ack=connection.seq)[TCP].options)
    lab.check(not any(one in options for one in OFFERED), "an MSS alone", options)


@case(
    "TCP-19.5",
    "Text in a SYN-ACK is taken",
    section="3.10.7.3",
    mutant=Mutant("forgets it", incoming=changes(loaded, with_data(lambda data: b""))),
)
def text_in_syn_ack(lab: Tester) -> None:
    """Answer a SYN with more than SYN and ACK.

    1. The program connects; the tester's SYN-ACK carries ten octets.
    2. The Host acknowledges SYN and text, and the program reads it.
    """
    connection = open_from_host(lab, answer=False)
    connection.send("SA", b"0123456789", options=[("MSS", MSS)])
    connection.seq = (connection.seq + 11) % MODULUS
    connection.expect_ack()
    lab.check(connection.read(10) == b"0123456789", "the text", "other text")


@case(
    "TCP-19.6",
    "Nothing is taken from a SYN-ACK that acknowledges something else",
    section="3.10.7.3",
    mutant=Mutant(
        "takes its options",
        outgoing=with_option(lacking("S"), *PADDING, (STAMP, (1, 500_000))),
    ),
)
def forged_syn_ack(lab: Tester) -> None:
    """Forge the answer to a SYN.

    1. The program connects. A SYN-ACK comes with a wrong ACK, a window scale and a timestamp: it is
       reset.
    2. The right SYN-ACK has an MSS alone. The Host's ACK has no timestamp; the connection works.
    """
    connection = open_from_host(lab, answer=False)
    assert connection.ack is not None
    wrong = (connection.ack + 1000) % MODULUS
    connection.send("SA", ack=wrong, options=[*AGREED, ("WScale", 7)])
    connection.expect_reset(seq=wrong)
    connection.send("SA", options=[("MSS", MSS)])
    connection.seq = (connection.seq + 1) % MODULUS
    answer = connection.expect("A", ack=connection.seq)
    lab.check(STAMP not in dict(answer[TCP].options), "no timestamp", answer[TCP].options)
    connection.still_works()
