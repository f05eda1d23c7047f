"""TCP, group 1: opening connections (RFC 9293 3.4.1, 3.5)."""

from __future__ import annotations

import socket
from contextlib import suppress
from itertools import pairwise

from scapy.layers.inet import TCP

from pystack.lab.case import group
from pystack.lab.catalogue._tcp import (
    NO_RESETS,
    acks,
    altered,
    changes,
    flagged,
    having,
    lacking,
    loaded,
    loses,
    resets,
    with_data,
)
from pystack.lab.mutant import Mutant
from pystack.lab.packets import tcp
from pystack.lab.tcp import MODULUS, Connection, in_state, listen, open_from_host
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("TCP-1", rfc="RFC 9293")

RFC = "RFC 9293"
SYN_ACK = flagged("SA")
WRONG_ACK = Mutant(
    "acknowledges a SYN's number, not the one after it",
    outgoing=altered(having("A"), ack=lambda header: header.ack - 1),
)
NO_SYN_ACK = Mutant("answers no SYN", outgoing=loses(SYN_ACK))


@case(
    "TCP-1.1",
    "A SYN to a listening port is answered with SYN and ACK of its number",
    section="3.10.7.2",
    mutant=WRONG_ACK,
    family=4,
)
@case(
    "TCP-1.2",
    "A SYN to a listening port is answered over IPv6 as well",
    section="3.10.7.2",
    mutant=WRONG_ACK,
    family=6,
)
def passive_open(lab: Tester, family: int) -> None:
    """Begin a three-way handshake.

    1. The Host listens. The tester sends a SYN.
    2. A SYN comes back that acknowledges the tester's SYN: ISN + 1.
    """
    connection = in_state(lab, "LISTEN", family=family)
    connection.send("S")
    connection.expect("SA", ack=connection.isn + 1)


@case(
    "TCP-1.3",
    "The third segment of the handshake makes the connection the program's",
    section="3.5",
    mutant=Mutant("never sees the last ACK", incoming=loses(flagged("A"))),
)
def passive_open_completes(lab: Tester) -> None:
    """Complete a three-way handshake.

    1. SYN, SYN-ACK; the tester acknowledges.
    2. The Host's program accepts a connection from the tester's address and port.
    """
    connection = in_state(lab, "SYN-RECEIVED")
    connection.send("A")
    assert connection.listener is not None
    sock, peer = lab.until(connection.listener.accept, 1000, "a connection to accept")
    sock.close()
    lab.check(peer[:2] == (lab.tester4, connection.port), "the tester's address", peer)


@case(
    "TCP-1.4",
    "A SYN-ACK that acknowledges the Host's SYN is acknowledged",
    section="3.10.7.3",
    mutant=WRONG_ACK,
    family=4,
)
@case(
    "TCP-1.5", "A SYN-ACK over IPv6 is acknowledged", section="3.10.7.3", mutant=WRONG_ACK, family=6
)
def active_open(lab: Tester, family: int) -> None:
    """Have the Host open a connection.

    1. The Host's program connects; its SYN comes.
    2. The tester sends SYN and ACK.
    3. The Host acknowledges: SEQ=ISS+1, ACK=IRS+1.
    """
    connection = open_from_host(lab, family=family, answer=False)
    assert connection.ack is not None
    connection.send("SA", options=[("MSS", 1460)])
    connection.seq += 1
    connection.expect("A", seq=connection.ack, ack=connection.isn + 1)


@case(
    "TCP-1.6",
    "The first SYN carries no ACK, and zero in the reserved bits",
    section="3.1",
    mutant=Mutant("sets a reserved bit", outgoing=altered(having("S"), reserved=5)),
)
def syn_is_clean(lab: Tester) -> None:
    """Look at the Host's SYN.

    1. The Host's program connects.
    2. Its SYN has no ACK, no FIN, no RST, no URG, and its reserved bits are zero. (ECE and CWR
       may be set, RFC 3168 6.1.1.)
    """
    port = lab.fresh_port()
    sock = lab.socket(socket.AF_INET, socket.SOCK_STREAM)
    with suppress(BlockingIOError):
        sock.connect((lab.tester4, port))
    syn = lab.expect(tcp(dport=port, flags=lambda flags: "S" in flags))[TCP]
    lab.check(not set(str(syn.flags)) - set("SEC"), "a SYN with no other flags", syn.flags)
    # Scapy's field has the bit that was once the nonce sum (RFC 3540) elsewhere.
    lab.check(syn.reserved == 0, "reserved bits of zero", syn.reserved)


@case(
    "TCP-1.7",
    "Reserved bits of a received segment are ignored",
    section="3.1",
    mutant=Mutant(
        "drops segments with reserved bits",
        incoming=loses(lambda frame: frame[TCP].reserved != 0),
    ),
)
def reserved_bits_ignored(lab: Tester) -> None:
    """Set reserved bits.

    1. The Host listens. The tester sends a SYN with its reserved bits set.
    2. It is answered as any SYN is.
    """
    connection = in_state(lab, "LISTEN")
    connection.send("S", reserved=7)
    connection.expect("SA", ack=connection.isn + 1)


def _simultaneous(lab: Tester) -> Connection:
    """A SYN has crossed the Host's, and its SYN-ACK has come."""
    connection = open_from_host(lab, answer=False)
    connection.send("S", options=[("MSS", 1460)])
    connection.seq += 1
    connection.expect("SA", seq=connection.host_isn, ack=connection.isn + 1)
    return connection


@case(
    "TCP-1.8",
    "Two SYNs that cross make one connection",
    section="3.5",
    aliases=("9293:MUST-10",),
    mutant=NO_SYN_ACK,
)
def simultaneous_open(lab: Tester) -> None:
    """Open from both ends at once.

    1. The Host's program connects; the tester answers the SYN with its own SYN, no ACK.
    2. The Host sends SYN and ACK, with the number of its first SYN.
    3. The tester sends SYN and ACK, too.
    4. Data goes both ways.
    """
    connection = _simultaneous(lab)
    connection.send("SA", seq=connection.isn, options=[("MSS", 1460)])
    lab.drain(100)
    connection.still_works()


@case(
    "TCP-1.9",
    "After crossing SYNs a plain ACK completes the handshake",
    section="3.10.7.4",
    mutant=Mutant("never sees the last ACK", incoming=loses(lacking("S"))),
)
def simultaneous_open_plain_ack(lab: Tester) -> None:
    """Open from both ends at once, and acknowledge without repeating the SYN.

    1. SYNs cross; the Host's SYN-ACK comes.
    2. The tester sends an ACK of the Host's SYN.
    3. Data goes both ways.
    """
    connection = _simultaneous(lab)
    connection.send("A")
    connection.still_works()


@case(
    "TCP-1.10",
    "A reset in SYN-RECEIVED after an active open is told to the program",
    section="3.10.7.4",
    aliases=("9293:MUST-11",),
    mutant=Mutant("ignores resets", incoming=loses(having("R"))),
)
def reset_after_simultaneous_open(lab: Tester) -> None:
    """Reset a connection in SYN-RECEIVED that the Host's program asked for.

    1. SYNs cross: the Host is in SYN-RECEIVED, and came there from SYN-SENT.
    2. The tester sends an RST with the number that the Host waits for.
    3. The program is told that the connection was refused (or reset).
    """
    connection = _simultaneous(lab)
    connection.send("R")
    try:
        lab.until(lambda: connection.socket.recv(1), 1000, "an error for the program")
    except ConnectionError:
        return
    lab.check(False, "ECONNREFUSED or ECONNRESET for the program", "none")


@case(
    "TCP-1.11",
    "A reset in SYN-RECEIVED after a passive open leaves the listener listening",
    section="3.10.7.4",
    aliases=("9293:MUST-11",),
    mutant=Mutant("answers no second SYN", incoming=loses(having("E"))),
)
def reset_returns_to_listen(lab: Tester) -> None:
    """Reset a connection in SYN-RECEIVED that came from a listener.

    1. SYN, SYN-ACK; the tester sends an RST with the number that the Host waits for.
    2. The Host's program has nothing to accept.
    3. A new SYN (one that also asks for ECN) is answered, and a connection comes about.
    """
    connection = in_state(lab, "SYN-RECEIVED")
    connection.send("R")
    lab.drain(50)
    assert connection.listener is not None
    with suppress(BlockingIOError):
        connection.listener.accept()
        lab.check(False, "nothing to accept", "a connection")
    again = Connection(lab, connection.host_port)
    again.send("SEC")
    again.seq += 1
    again.take(again.expect(flags=lambda flags: "S" in flags and "A" in flags))
    again.send("A")
    again.sock, _peer = lab.until(connection.listener.accept, 1000, "a connection to accept")
    again.still_works()


@case(
    "TCP-1.12",
    "A SYN-ACK for an old SYN is answered with a reset, and the handshake goes on",
    section="3.5, figure 8",
    mutant=NO_RESETS,
)
def old_duplicate_syn(lab: Tester) -> None:
    """Acknowledge a SYN that the Host did not send.

    1. The Host's program connects. The tester's SYN-ACK acknowledges a number before the SYN's.
    2. The Host sends an RST with that number, and stays as it is.
    3. The right SYN-ACK comes: the connection works.
    """
    connection = open_from_host(lab, answer=False)
    assert connection.host_isn is not None
    old = (connection.host_isn - 9) % MODULUS
    connection.send("SA", ack=old, seq=connection.isn + 77777)
    connection.expect("R", seq=old)
    connection.send("SA", options=[("MSS", 1460)])
    connection.seq += 1
    connection.expect("A", ack=connection.seq)
    connection.still_works()


@case(
    "TCP-1.13",
    "An ACK of a half-open connection is answered with a reset in SYN-SENT",
    section="3.5.1, figure 9",
    mutant=NO_RESETS,
)
def half_open_discovery(lab: Tester) -> None:
    """Play a peer that still has an older connection.

    1. The Host's program connects. The tester sends an ACK alone, for numbers of long ago.
    2. The Host sends an RST whose number is that ACK's.
    """
    connection = open_from_host(lab, answer=False)
    assert connection.host_isn is not None
    old = (connection.host_isn - 5000) % MODULUS
    connection.send("A", ack=old)
    connection.expect("R", seq=old)


@case(
    "TCP-1.14",
    "Data on a SYN reaches the program once, and after the handshake",
    section="3.5, 3.10.7.2",
    mutant=Mutant(
        "damages data that comes again",
        incoming=changes(flagged("A"), with_data(lambda data: data[::-1])),
    ),
)
def data_on_syn(lab: Tester) -> None:
    """Send data with the SYN.

    1. The tester's SYN carries data. The SYN-ACK acknowledges the SYN alone, or the data too.
    2. Before the last ACK there is nothing to accept.
    3. The tester acknowledges, and sends all of the data again with more behind it.
    4. The program reads the stream, nothing missing and nothing twice.
    """
    connection = in_state(lab, "LISTEN")
    connection.send("S", b"early", options=[("MSS", 1460)])
    connection.seq += 1
    answer = connection.expect("SA", ack={connection.isn + 1, connection.isn + 6})
    connection.take(answer)
    assert connection.listener is not None
    with suppress(BlockingIOError):
        connection.listener.accept()
        lab.check(False, "nothing to accept before the handshake's end", "a connection")
    connection.push(b"early and late")
    connection.sock, _peer = lab.until(connection.listener.accept, 1000, "accept")
    got = connection.read(14)
    lab.check(got == b"early and late", "the stream as sent", got)


@case(
    "TCP-1.15",
    "Data on the handshake's last segment is delivered",
    section="3.10.7.4",
    mutant=Mutant(
        "forgets data on the last segment",
        incoming=changes(loaded, with_data(lambda data: b"")),
    ),
)
def data_on_last_ack(lab: Tester) -> None:
    """Send data with the acknowledgement of the SYN-ACK.

    1. SYN, SYN-ACK; the tester's ACK carries data.
    2. The data is acknowledged, and the program reads it.
    """
    connection = in_state(lab, "SYN-RECEIVED")
    connection.push(b"at once")
    connection.expect_ack()
    assert connection.listener is not None
    connection.sock, _peer = lab.until(connection.listener.accept, 1000, "accept")
    lab.check(connection.read(7) == b"at once", "the data", "other data")


@case(
    "TCP-1.16",
    "A FIN on the handshake's last segment is acknowledged and told",
    section="3.10.7.4",
    mutant=Mutant("ignores a FIN", incoming=altered(having("F"), flags="A")),
)
def fin_on_last_ack(lab: Tester) -> None:
    """End the stream with the acknowledgement of the SYN-ACK.

    1. SYN, SYN-ACK; the tester's ACK has a FIN.
    2. The FIN is acknowledged, and the program reads the end of the stream.
    """
    connection = in_state(lab, "SYN-RECEIVED")
    connection.finish()
    connection.expect_ack()
    assert connection.listener is not None
    connection.sock, _peer = lab.until(connection.listener.accept, 1000, "accept")
    connection.expect_end()


@case(
    "TCP-1.17",
    "Initial sequence numbers of one connection's incarnations follow a clock",
    section="3.4.1",
    aliases=("9293:MUST-8",),
    mutant=Mutant("begins at 1000 always", outgoing=altered(SYN_ACK, seq=1000)),
)
def isn_follows_clock(lab: Tester) -> None:
    """Open the same connection twice.

    1. The tester sends a SYN, notes the Host's ISN, and resets.
    2. Two seconds later it does the same from the same port.
    3. The second ISN is ahead of the first, by what a clock of at most 16 microseconds a step
       gives (one of 4 is usual, some are much quicker).
    """
    connection = in_state(lab, "SYN-RECEIVED")
    connection.send("R")
    began = lab.now
    lab.drain(2000)
    connection.send("S", seq=connection.isn + 1_000_000)
    second = connection.expect("SA")[TCP].seq
    assert connection.host_isn is not None
    ahead = (second - connection.host_isn) % MODULUS
    least = int((lab.now - began) * 1e6 / 16)
    lab.check(least <= ahead < MODULUS // 2, f"an ISN ahead by {least} or more", ahead)


@case(
    "TCP-1.18",
    "One connection's initial sequence number does not tell another's",
    section="3.4.1",
    level=Level.SHOULD,
    aliases=("9293:SHLD-1", "9293:MUST-9"),
    mutant=Mutant(
        "counts connections", outgoing=altered(SYN_ACK, seq=lambda header: header.dport * 64000)
    ),
)
def isn_unpredictable(lab: Tester) -> None:
    """Open several connections at the same moment.

    1. The tester sends SYNs from twelve ports.
    2. The ISNs are not what one clock gives: they spread over the sequence space. (The largest
       gap between neighbours is less than half of it, and no step between one and the next is
       the same three times.)
    """
    _listener, port = listen(lab, backlog=16)
    isns = []
    for _ in range(12):
        connection = Connection(lab, port)
        connection.send("S")
        isns.append(int(connection.expect("SA")[TCP].seq))
    ordered = sorted(isns)
    ends = [*ordered[1:], ordered[0] + MODULUS]
    gap = max(second - first for first, second in zip(ordered, ends, strict=True))
    steps = [(second - first) % MODULUS for first, second in pairwise(isns)]
    common = max(steps.count(step) for step in steps)
    lab.check(gap < MODULUS * 3 // 4 and common < 3, "ISNs all over the space", isns)


@case(
    "TCP-1.19",
    "A SYN that comes again in SYN-RECEIVED changes nothing",
    section="3.10.7.4",
    mutant=Mutant("resets on a second SYN", answer=resets(flagged("S"))),
)
def syn_again(lab: Tester) -> None:
    """Send the SYN twice, as a peer that lost the answer does.

    1. SYN, SYN-ACK, and the same SYN once more.
    2. The Host answers with the same SYN-ACK, or with an ACK; not with a reset.
    3. The tester acknowledges: the connection works.
    """
    connection = in_state(lab, "SYN-RECEIVED")
    connection.send("S", seq=connection.isn, options=[("MSS", 1460)])
    answer = connection.expect(flags=lambda flags: True)[TCP]
    lab.check(acks(answer.flags), "SYN and ACK, or ACK", answer.flags)
    if "S" in answer.flags:
        lab.check(answer.seq == connection.host_isn, "the same ISN", answer.seq)
    connection.send("A")
    assert connection.listener is not None
    connection.sock, _peer = lab.until(connection.listener.accept, 1000, "accept")
    connection.still_works()
