"""TCP, group 5: what an acknowledgement without a new number says, and probes that are taken."""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import TCP
from scapy.packet import Packet

from pystack.lab.case import case
from pystack.lab.catalogue._tcp import (
    altered,
    data_segments,
    lacking,
    loaded,
    pattern,
    receive,
    write,
)
from pystack.lab.catalogue.tcp_window import PROBING, RFC
from pystack.lab.mutant import Mutant
from pystack.lab.tcp import MODULUS, connect, segment_data
from pystack.lab.tester import Tester
from pystack.lab.verdict import Unable


class _Stuck:
    """A Host that sends the first of its probes for ever."""

    def __init__(self) -> None:
        self._first: int | None = None

    def reset(self) -> None:
        """Starts over."""
        self._first = None

    def __call__(self, frame: Packet) -> Any:
        """What becomes of a frame."""
        if not frame.haslayer(TCP) or len(segment_data(frame)) != 1:
            return frame
        if self._first is None:
            self._first = frame[TCP].seq
        return altered(loaded, seq=self._first)(frame)


@case(
    "TCP-5.22",
    "A window is closed by an acknowledgement without a new number",
    rfc=RFC,
    section="3.10.7.4",
    mutant=Mutant("sends into it", incoming=altered(lacking("S"), window=5000)),
)
def closed_without_a_new_number(lab: Tester) -> None:
    """Close the window by a segment with the numbers of the last one (SND.WL1, SND.WL2).

    1. The tester has shown a window of 5000; it shows one of zero, with the same sequence and
       acknowledgement numbers. The program sends 100 octets.
    2. In a second nothing comes but probes of one octet.
    3. The tester opens the window, with the same numbers: the data comes.
    """
    connection = connect(lab, window=5000)
    lab.drain(50)
    connection.window = 0
    connection.send("A")
    lab.drain(50)
    write(connection, pattern(100))
    sizes = [len(segment_data(one)) for one in data_segments(connection, 1000)]
    lab.check(all(size <= 1 for size in sizes), "probes of one octet at most", sizes)
    connection.window = 5000
    connection.send("A")
    got = receive(connection, 100, 4000)
    lab.check(got == pattern(100), "the data", got)


@case(
    "TCP-5.23",
    "A probe's octet that is acknowledged is not sent again",
    rfc=RFC,
    section=PROBING,
    mutant=Mutant("sends it for ever", outgoing=_Stuck()),
)
def taken_probes(lab: Tester) -> None:
    """Take the octet of each probe, and leave the window closed.

    1. The tester shows a window of zero; the program sends three octets.
    2. The tester acknowledges each octet that comes, its window being zero: they come in order.
       (A probe may also be an old number without data; of such the case says nothing.)
    3. For two seconds nothing of what was acknowledged comes, and the window opens.
    4. The program sends more: that comes, too.
    """
    connection = connect(lab, window=0)
    lab.drain(50)
    write(connection, b"abc")
    got = b""
    for _ in range(3):
        probe = lab.expect(connection.match(), 4000)
        if not segment_data(probe):
            raise Unable("its probes have old numbers and no octet")
        assert connection.ack is not None
        lab.check(probe[TCP].seq == connection.ack, "the next octet", probe[TCP].seq)
        got += segment_data(probe)[:1]
        connection.ack = (connection.ack + 1) % MODULUS
        connection.send("A")
        lab.drain(20)
    lab.check(got == b"abc", "b'abc'", got)
    again = data_segments(connection, 2000)
    lab.check(not again, "nothing that was acknowledged", again)
    connection.window = 5000
    connection.send("A")
    write(connection, pattern(100))
    lab.check(receive(connection, 100) == pattern(100), "what is sent later", "other data")
