"""TCP, group 6: closing connections, and TIME-WAIT (RFC 9293 3.6)."""

from __future__ import annotations

import socket

from scapy.layers.inet import TCP

from pystack.lab.case import group
from pystack.lab.catalogue._tcp import (
    DEAF_TO_FIN,
    MSS,
    NO_EMPTY_ACKS,
    NO_RESETS,
    NO_RETRANSMISSION,
    After,
    acks,
    all_of,
    altered,
    changes,
    empty,
    flagged,
    having,
    loaded,
    loses,
    pattern,
    receive,
    replying,
    resets,
    segments,
    with_data,
    write,
)
from pystack.lab.mutant import Mutant
from pystack.lab.tcp import MODULUS, Connection, connect, in_state
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level, Unable

case = group("TCP-6", rfc="RFC 9293")

# A Host that forgets a connection the moment both ends have closed.
NO_TIME_WAIT = Mutant(
    "does not keep TIME-WAIT",
    incoming=After(having("F"), loses(all_of(empty, lambda frame: frame[TCP].window == 4321))),
)


def _shut(connection: Connection) -> None:
    """The program has no more to send."""
    connection.lab.call("shutdown")
    connection.socket.shutdown(socket.SHUT_WR)


def _waits(connection: Connection) -> bool:
    """Whether the Host still knows the connection: an old segment is answered with an ACK."""
    assert connection.ack is not None
    connection.send("A", seq=connection.seq - 1, window=4321)
    found = segments(connection, 300)
    return any(acks(one[TCP].flags) for one in found)


@case(
    "TCP-6.1",
    "A program can send on when the other end has closed",
    section="3.6.1",
    mutant=Mutant(
        "takes a FIN for the end of both directions",
        outgoing=After(lambda frame: frame[TCP].ack == 1_000_002, loses(loaded)),
    ),
)
def half_closed_sends(lab: Tester) -> None:
    """Close one direction.

    1. The tester sends a FIN, which is acknowledged.
    2. The program sends: the data comes, with the ACK of the FIN.
    """
    connection = in_state(lab, "CLOSE-WAIT")
    data = pattern(3000)
    write(connection, data)
    lab.check(receive(connection, 3000) == data, "the data", "other data")


@case(
    "TCP-6.2",
    "A program can receive when it has closed its own direction",
    section="3.6.1",
    mutant=Mutant("takes nothing after its FIN", incoming=loses(loaded)),
)
def half_closed_receives(lab: Tester) -> None:
    """Have the program close its direction.

    1. The program shuts its direction down: the FIN comes, and is acknowledged.
    2. The tester sends data: it is acknowledged, and the program reads it.
    3. The tester sends a FIN: the program reads the end.
    """
    connection = in_state(lab, "FIN-WAIT-2")
    connection.push(b"still coming")
    connection.expect_ack()
    lab.check(connection.read(12) == b"still coming", "the data", "other data")
    connection.finish()
    connection.expect_ack()
    connection.expect_end()


@case(
    "TCP-6.3",
    "All data that was sent before a close comes before the FIN",
    section="3.6",
    mutant=Mutant(
        "loses what was not sent yet",
        outgoing=altered(having("F"), seq=lambda header: header.seq - 500),
    ),
)
def data_before_fin(lab: Tester) -> None:
    """Have the program send more than the window has room for, and close.

    1. The tester's window is 2000 octets. The program sends 10000, and shuts its direction down.
    2. The tester acknowledges all that comes: all octets come, and then the FIN with the number
       after the last.
    """
    connection = connect(lab, window=2000)
    assert connection.ack is not None
    start = connection.ack
    write(connection, pattern(10_000))
    _shut(connection)
    fin: int | None = None
    got = b""
    while fin is None:
        packet = lab.expect(connection.match(flags=acks), 3000)
        data = connection.take(packet)
        if packet[TCP].seq == (start + len(got)) % MODULUS:
            got += data
        if "F" in packet[TCP].flags:
            fin = (packet[TCP].seq + len(data)) % MODULUS
        connection.send("A")
    lab.check(got == pattern(10_000), "10000 octets", f"{len(got)} octets")
    lab.check(fin == (start + 10_000) % MODULUS, "the FIN after them", fin - start)


@case(
    "TCP-6.4",
    "A FIN is sent again until it is acknowledged",
    section="3.6",
    mutant=NO_RETRANSMISSION,
)
def fin_again(lab: Tester) -> None:
    """Lose the Host's FIN.

    1. The program shuts its direction down: the FIN comes. The tester does not acknowledge it.
    2. Within three seconds it comes again, with the same number.
    3. The tester acknowledges it: it does not come again for two seconds.
    """
    connection = connect(lab)
    _shut(connection)
    fin = connection.expect("FA")
    connection.expect("FA", 3000, seq=fin[TCP].seq)
    connection.acknowledge(fin)
    lab.drain(50)
    connection.expect_nothing(2000, flags=lambda flags: "F" in flags)


@case(
    "TCP-6.5",
    "FINs that cross close the connection",
    section="3.6, figure 13",
    mutant=DEAF_TO_FIN,
)
def simultaneous_close(lab: Tester) -> None:
    """Close from both ends at once.

    1. The program shuts its direction down; the tester's FIN crosses the Host's.
    2. The Host acknowledges the FIN.
    3. The tester acknowledges the Host's: it does not come again, and the Host is in TIME-WAIT.
    """
    connection = connect(lab)
    _shut(connection)
    fin = connection.expect("FA")
    connection.finish()
    connection.expect("A", ack=connection.seq)
    connection.acknowledge(fin)
    lab.drain(20)
    connection.expect_nothing(1500, flags=lambda flags: "F" in flags)
    lab.check(_waits(connection), "TIME-WAIT", "no answer, or a reset")


@case(
    "TCP-6.6",
    "The end that closed last does not wait",
    section="3.6, figure 12",
    mutant=NO_RESETS,
)
def last_ack(lab: Tester) -> None:
    """Have the program close after the tester.

    1. The tester sends a FIN; the program closes, and its FIN comes.
    2. The tester acknowledges it: the connection is gone, and an ACK is answered with a reset.
    """
    connection = in_state(lab, "LAST-ACK")
    connection.send("A")
    lab.drain(50)
    connection.send("A")
    connection.expect("R", seq=connection.ack)


@case(
    "TCP-6.7",
    "Data and FIN in one segment are delivered in that order",
    section="3.10.7.4, eighth",
    mutant=Mutant(
        "forgets data that comes with a FIN",
        incoming=changes(having("F"), with_data(lambda data: data[:2])),
    ),
)
def data_with_fin(lab: Tester) -> None:
    """Send the last data with the FIN.

    1. The tester sends five octets and a FIN in one segment: six numbers are acknowledged.
    2. The program reads the octets, and then the end.
    """
    connection = connect(lab)
    connection.finish(b"final")
    connection.expect_ack()
    got = connection.read(5)
    lab.check(got == b"final", "final", got)
    connection.expect_end()


@case(
    "TCP-6.8",
    "The end that closed first waits in TIME-WAIT",
    section="3.6.1",
    aliases=("9293:MUST-13",),
    mutant=NO_TIME_WAIT,
)
def time_wait(lab: Tester) -> None:
    """Look for TIME-WAIT ten seconds after the close.

    1. The program shuts its direction down first; both FINs are acknowledged.
    2. Ten seconds later the Host still answers an old segment with an ACK. (Two maximum segment
       lifetimes are a minute in today's stacks, and four in the RFC.)
    """
    connection = in_state(lab, "TIME-WAIT")
    lab.drain(10_000)
    lab.check(_waits(connection), "TIME-WAIT", "no answer, or a reset")


@case(
    "TCP-6.9",
    "TIME-WAIT ends",
    section="3.10.8",
    mutant=NO_RESETS,
    seconds=260,
)
def time_wait_ends(lab: Tester) -> None:
    """Wait for two maximum segment lifetimes.

    1. The program shuts its direction down first; both FINs are acknowledged.
    2. Four minutes and ten seconds later an ACK is answered with a reset.
    """
    connection = in_state(lab, "TIME-WAIT")
    lab.drain(250_000)
    connection.send("A")
    connection.expect("R", seq=connection.ack)


@case(
    "TCP-6.10",
    "A FIN that comes again in TIME-WAIT is acknowledged, and restarts the wait",
    section="3.10.7.4, eighth",
    mutant=Mutant(
        "forgets the connection",
        incoming=After(
            all_of(having("F"), lambda frame: frame[TCP].window == 4000),
            loses(all_of(empty, lambda frame: frame[TCP].window == 4321)),
        ),
    ),
    seconds=90,
)
def fin_in_time_wait(lab: Tester) -> None:
    """Lose the last ACK.

    1. The Host is in TIME-WAIT. The tester's FIN comes again 40 seconds later: it is acknowledged.
    2. Again 40 seconds later the Host still answers an old segment with an ACK. (For a wait of less
       than 80 seconds this shows that it began anew.)
    """
    connection = in_state(lab, "TIME-WAIT")
    lab.drain(40_000)
    connection.send("FA", seq=connection.seq - 1, window=4000)
    connection.expect("A", ack=connection.seq)
    lab.drain(40_000)
    lab.check(_waits(connection), "TIME-WAIT", "no answer, or a reset")


@case(
    "TCP-6.11",
    "A connection that is opened out of TIME-WAIT has a larger initial sequence number",
    section="3.6.1",
    level=Level.MAY,
    aliases=("9293:MAY-2",),
    mutant=Mutant(
        "restarts at 1000", outgoing=After(having("F"), altered(flagged("SA"), seq=1000))
    ),
)
def reopened(lab: Tester) -> None:
    """Open a connection again that is in TIME-WAIT.

    1. The Host is in TIME-WAIT, and its program listens. The tester sends a SYN with a number far
       beyond the old connection's. If it is not answered with SYN and ACK, the case does not
       apply.
    2. The Host's ISN is beyond all numbers that it has used.
    3. The new connection carries data.
    """
    connection = in_state(lab, "TIME-WAIT")
    used = connection.ack
    assert used is not None
    connection.seq = connection.isn + 1_000_000
    connection.send("S", options=[("MSS", MSS)])
    connection.seq += 1
    found = [one for one in segments(connection, 300) if str(one[TCP].flags) == "SA"]
    if not found:
        raise Unable("the Host takes no SYN in TIME-WAIT")
    ahead = (found[0][TCP].seq - used) % MODULUS
    lab.check(0 < ahead < MODULUS // 2, "an ISN beyond what was used", found[0][TCP].seq)
    connection.ack = None
    connection.take(found[0])
    connection.send("A")
    assert connection.listener is not None
    connection.sock, _peer = lab.until(connection.listener.accept, 1000, "accept")
    connection.still_works()


@case(
    "TCP-6.12",
    "A SYN with a later timestamp opens a connection out of TIME-WAIT",
    rfc="RFC 6191",
    section="2",
    level=Level.SHOULD,
    aliases=("9293:SHLD-4",),
    mutant=Mutant("takes no SYN in TIME-WAIT", incoming=After(having("F"), loses(flagged("S")))),
)
def reopened_by_timestamp(lab: Tester) -> None:
    """Open a connection in TIME-WAIT again, with a sequence number that alone would not do.

    1. A connection with timestamps; the Host is in TIME-WAIT, and its program listens. (Without
       timestamps the case does not apply.)
    2. The tester sends a SYN whose number is before the old connection's last and whose timestamp
       is later than all it has sent: SYN and ACK come.
    """
    connection = connect(lab, options=[("MSS", MSS), ("Timestamp", (1000, 0))])
    if "Timestamp" not in dict(connection.host_options):
        raise Unable("the Host has no timestamps")
    connection.push(pattern(1000))
    with lab.preamble("on the way to TIME-WAIT"):
        connection.expect_ack()
        connection.read(1000)
        _shut(connection)
        connection.take(connection.expect("FA"))
        connection.finish()
        connection.expect("A", ack=connection.seq)
    lab.drain(1100)
    connection.send(
        "S", seq=connection.seq - 500, options=[("MSS", MSS), ("Timestamp", (100_000, 0))]
    )
    connection.expect("SA", ack=connection.seq - 499)


@case(
    "TCP-6.13",
    "A connection sends one FIN, however often it is closed",
    section="3.10.4",
    mutant=Mutant(
        "sends a second FIN",
        answer=replying(
            lambda frame: frame[TCP].window == 5000,
            "FA",
            seq=lambda header: header.ack,
            ack=lambda header: header.seq,
        ),
    ),
)
def one_fin(lab: Tester) -> None:
    """Have the program close twice.

    1. The program shuts its direction down; the FIN comes, and is acknowledged.
    2. It closes the socket: no FIN with another number comes.
    """
    connection = connect(lab)
    _shut(connection)
    fin = connection.expect("FA")
    connection.acknowledge(fin, window=5000)
    lab.run(20)
    lab.call("close")
    connection.socket.close()
    found = [one[TCP].seq for one in segments(connection, 500) if "F" in one[TCP].flags]
    lab.check(all(one == fin[TCP].seq for one in found), "no second FIN", found)


@case(
    "TCP-6.14",
    "A half-open connection is found out when a peer that has forgotten it comes back",
    section="3.5.1, figure 9",
    mutant=Mutant("resets for the SYN", answer=resets(flagged("S")), incoming=loses(having("R"))),
)
def half_open_peer(lab: Tester) -> None:
    """Restart the tester.

    1. On a connection the tester sends a SYN with a new number, as if it had restarted.
    2. The Host answers with an ACK of the old connection. The tester resets that.
    3. The SYN comes again: it is answered with SYN and ACK.
    """
    connection = connect(lab)
    old = connection.ack
    connection.send("S", seq=connection.isn + 500_000_000, options=[("MSS", MSS)])
    connection.expect("A", seq=old, ack=connection.seq)
    connection.send("R")
    lab.drain(50)
    connection.send("S", seq=connection.isn + 500_000_000, options=[("MSS", MSS)])
    connection.expect("SA", ack=connection.isn + 500_000_001)


@case(
    "TCP-6.15",
    "Data for a connection that was forgotten is answered with a reset",
    section="3.5.1, figure 10",
    mutant=NO_RESETS,
)
def half_open_host(lab: Tester) -> None:
    """Send data to a Host that has no such connection.

    1. The Host's program listens. The tester sends data of a connection that the Host never had.
    2. A reset comes, with the number that the tester waits for.
    """
    connection = in_state(lab, "LISTEN")
    connection.send("PA", pattern(10), ack=300)
    connection.expect("R", seq=300)


@case(
    "TCP-6.16",
    "An acknowledgement is sent for every FIN, also for one that comes again",
    section="3.10.7.4, first",
    mutant=NO_EMPTY_ACKS,
)
def fin_in_close_wait(lab: Tester) -> None:
    """Lose the ACK of the tester's FIN.

    1. The tester sends a FIN with data, and then the same segment once more.
    2. Both are acknowledged with the number after the FIN; the program reads the data once, and
       the end.
    """
    connection = connect(lab)
    connection.finish(b"once")
    connection.expect_ack()
    lab.drain(600)
    connection.send("FPA", b"once", seq=connection.seq - 5)
    connection.expect("A", ack=connection.seq)
    lab.check(connection.read(4) == b"once", "the data once", "other data")
    connection.expect_end()
