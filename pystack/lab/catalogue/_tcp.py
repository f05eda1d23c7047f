"""What the TCP cases share: steps that many of them take, and faults to make mutants of."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from pystack.lab.host import HostSocket
from pystack.lab.mutant import Change, Mutant
from pystack.lab.packets import where
from pystack.lab.tcp import MODULUS, Connection, segment_data
from pystack.lab.tester import Tester
from pystack.lab.verdict import Unable

MSS = 1460

# --- mutants ----------------------------------------------------------------------------------

# A test of a frame that has a TCP header.
Test = Callable[[Packet], bool]


def any_segment(frame: Packet) -> bool:
    """Any segment."""
    return True


def flagged(*wanted: str) -> Test:
    """A segment with exactly one of these sets of flags, PSH aside."""
    sets = [set(one) for one in wanted]
    return lambda frame: set(str(frame[TCP].flags)) - {"P"} in sets


def having(letter: str) -> Test:
    """A segment that has this flag among others."""
    return lambda frame: letter in frame[TCP].flags


def lacking(letter: str) -> Test:
    """A segment that has not this flag."""
    return lambda frame: letter not in frame[TCP].flags


def loaded(frame: Packet) -> bool:
    """A segment with data."""
    return bool(segment_data(frame))


def empty(frame: Packet) -> bool:
    """An acknowledgement and nothing else."""
    return str(frame[TCP].flags) == "A" and not segment_data(frame)


def all_of(*tests: Test) -> Test:
    """A segment that passes all of these."""
    return lambda frame: all(test(frame) for test in tests)


def rebuilt(frame: Packet) -> Packet:
    """The frame, with lengths and checksums recomputed."""
    if frame.haslayer(IP):
        del frame[IP].len, frame[IP].chksum
    if frame.haslayer(IPv6):
        del frame[IPv6].plen
    if frame.haslayer(TCP):
        del frame[TCP].chksum
    return frame


def altered(when: Test, **fields: Any) -> Change:
    """Changes fields of TCP's header; a function is given the header, and gives the value."""

    def change(frame: Packet) -> Packet:
        if not frame.haslayer(TCP) or not when(frame):
            return frame
        header = frame[TCP]
        for name, value in fields.items():
            found = value(header) if callable(value) else value
            setattr(header, name, found % MODULUS if name in ("seq", "ack") else found)
        if "options" in fields:
            del header.dataofs
        return rebuilt(frame)

    return change


def loses(when: Test) -> Change:
    """Drops segments."""
    return lambda frame: None if frame.haslayer(TCP) and when(frame) else frame


def repeats(when: Test) -> Change:
    """Doubles segments."""

    def change(frame: Packet) -> Packet | list[Packet]:
        return [frame, frame] if frame.haslayer(TCP) and when(frame) else frame

    return change


def and_next(frame: Packet) -> list[Packet]:
    """A segment, and what would follow it."""
    more = altered(loaded, seq=lambda header: header.seq + MSS)(frame.copy())
    return [frame, more]  # type: ignore[list-item]


def changes(when: Test, change: Callable[[Packet], Packet | None]) -> Change:
    """Changes the whole frame of a segment."""

    def made(frame: Packet) -> Packet | None:
        if not frame.haslayer(TCP) or not when(frame):
            return frame
        found = change(frame)
        return None if found is None else rebuilt(found)

    return made


def with_data(data: Callable[[bytes], bytes]) -> Callable[[Packet], Packet]:
    """Changes a segment's data."""

    def change(frame: Packet) -> Packet:
        new = data(segment_data(frame))
        header = frame[TCP]
        header.remove_payload()
        return frame / Raw(new) if new else frame

    return change


def replying(
    when: Test,
    flags: str,
    seq: Callable[[TCP], int] | int = 0,
    ack: Callable[[TCP], int] | int = 0,
    data: bytes = b"",
) -> Change:
    """Sends a segment for each one that arrives."""

    def answer(frame: Packet) -> Packet | None:
        if not frame.haslayer(TCP) or not when(frame):
            return None
        header = frame[TCP]
        numbers = [value(header) if callable(value) else value for value in (seq, ack)]
        network: Packet
        if frame.haslayer(IP):
            network = IP(src=frame[IP].dst, dst=frame[IP].src)
        else:
            network = IPv6(src=frame[IPv6].dst, dst=frame[IPv6].src)
        segment = (
            Ether(src=frame.dst, dst=frame.src)
            / network
            / TCP(
                sport=header.dport,
                dport=header.sport,
                seq=numbers[0] % MODULUS,
                ack=numbers[1] % MODULUS,
                flags=flags,
                window=5000,
            )
        )
        return segment / Raw(data) if data else segment

    return answer


def resets(when: Test) -> Change:
    """Answers segments with a reset that the tester would have to believe."""
    return replying(when, "R", seq=lambda header: header.ack)


def occupied(frame: Packet) -> int:
    """How much of the sequence space a segment takes."""
    flags = frame[TCP].flags
    return len(segment_data(frame)) + ("S" in flags) + ("F" in flags)


class Again:
    """A change of segments that have been sent before (or, turned round, that have not).

    Args:
        change: What becomes of them; default: they are lost.
        first: Whether those are meant that have not been sent before.
        when: Which segments are checked.
        after: How many repetitions are left alone.
        ending: Whether a segment is known by where it ends, for what is sent again in part; else
            by where it begins.
    """

    def __init__(
        self,
        change: Callable[[Packet], Packet | list[Packet] | None] = lambda frame: None,
        *,
        first: bool = False,
        when: Test = any_segment,
        after: int = 0,
        ending: bool = False,
    ) -> None:
        self._change = change
        self._first = first
        self._when = when
        self._after = after
        self._ending = ending
        self._seen: dict[tuple[int, int, int], int] = {}

    def reset(self) -> None:
        """Forgets what it has seen."""
        self._seen.clear()

    def __call__(self, frame: Packet) -> Packet | list[Packet] | None:
        """What becomes of a frame."""
        if not frame.haslayer(TCP) or not occupied(frame) or not self._when(frame):
            return frame
        header = frame[TCP]
        place = (header.seq + self._ending * occupied(frame)) % MODULUS
        key = (header.sport, header.dport, place)
        count = self._seen.get(key, 0)
        self._seen[key] = count + 1
        again = count > self._after
        return frame if again == self._first else self._change(frame)


class Counted:
    """A change of segments from one on, counted from the Host's start.

    Args:
        when: Which segments are counted.
        start: The first that is changed; the first of all is 0.
        change: What becomes of them; default: they are lost.
        stop: The first that is left alone again.
    """

    def __init__(
        self,
        when: Test,
        start: int,
        change: Change = lambda frame: None,
        stop: int = 1 << 30,
    ) -> None:
        self._when, self._start, self._change, self._stop = when, start, change, stop
        self._count = 0

    def reset(self) -> None:
        """Counts from the start."""
        self._count = 0

    def __call__(self, frame: Packet) -> Any:
        """What becomes of a frame."""
        if not frame.haslayer(TCP) or not self._when(frame):
            return frame
        self._count += 1
        return self._change(frame) if self._start < self._count <= self._stop else frame


class After:
    """A change of the segments that come after one of a kind.

    Args:
        trigger: The one.
        change: What becomes of those after it.
    """

    def __init__(self, trigger: Test, change: Change) -> None:
        self._trigger, self._change = trigger, change
        self._on = False

    def reset(self) -> None:
        """Waits for the one again."""
        self._on = False

    def __call__(self, frame: Packet) -> Any:
        """What becomes of a frame."""
        if not frame.haslayer(TCP):
            return frame
        if self._on:
            return self._change(frame)
        self._on = self._trigger(frame)
        return frame


def without_option(name: str) -> Change:
    """Leaves out an option, by scapy's name."""
    return altered(
        any_segment, options=lambda header: [one for one in header.options if one[0] != name]
    )


def with_option(when: Test, *options: tuple[Any, ...]) -> Change:
    """Adds options."""
    return altered(when, options=lambda header: [*header.options, *options])


ACKS_ONE_LESS = Mutant(
    "acknowledges one octet less than it has received",
    outgoing=altered(empty, ack=lambda header: header.ack - 1),
)
NO_EMPTY_ACKS = Mutant("sends no bare acknowledgements", outgoing=loses(empty))
NO_RESETS = Mutant("sends no resets", outgoing=loses(having("R")))
NO_RETRANSMISSION = Mutant("never sends anything again", outgoing=Again())
DEAF_TO_RESETS = Mutant("ignores resets", incoming=loses(having("R")))
DEAF_TO_FIN = Mutant("ignores a FIN", incoming=loses(having("F")))

# --- steps --------------------------------------------------------------------------------------


def pattern(size: int) -> bytes:
    """Data that tells each octet from its neighbours."""
    return bytes(index % 251 for index in range(size))


def acks(flags: Any) -> bool:
    """Whether flags are those of an acknowledgement that resets nothing."""
    return "A" in flags and "R" not in flags


def write(connection: Connection, data: bytes) -> None:
    """Has the Host's program send data, all of it."""
    lab, sock = connection.lab, connection.socket
    lab.call(f"send {len(data)} bytes")
    while data:
        sent = lab.until(partial(sock.send, data), 2000, "room in the send buffer")
        data = data[sent:]


def set_option(sock: HostSocket, level: int, name: int, value: int | bytes, words: str) -> None:
    """Sets a socket option.

    Raises:
        Unable: The Host has no such option.
    """
    try:
        sock.setsockopt(level, name, value)
    except OSError as error:
        if error.errno in (errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EINVAL):
            raise Unable(f"the Host's sockets have no {words}") from error
        raise


def send_flags(sock: HostSocket, data: bytes, flags: int) -> int:
    """A send with flags, which not every Host has."""
    try:
        return sock.send(data, flags)
    except TypeError as error:
        raise Unable("the Host's sockets take no flags") from error


def receive(connection: Connection, size: int, within_ms: float = 5000) -> bytes:
    """Takes in so many bytes of the Host's stream, and acknowledges as they come."""
    lab, got = connection.lab, b""
    deadline = lab.now + within_ms / 1000
    while len(got) < size:
        left = max(1.0, (deadline - lab.now) * 1000)
        packet = lab.expect(connection.with_data(), left)
        assert connection.ack is not None
        skip = (connection.ack - packet[TCP].seq) % MODULUS
        data = segment_data(packet)
        if skip < len(data):
            got += data[skip:]
            connection.ack = (connection.ack + len(data) - skip) % MODULUS
        connection.send("A")
    return got


def data_segments(connection: Connection, for_ms: float, **fields: Any) -> list[Packet]:
    """All segments with data that come in a time."""
    return connection.lab.collect(
        connection.match(**fields) / where("with data", lambda packet: bool(segment_data(packet))),
        for_ms,
    )


def segments(connection: Connection, for_ms: float, **fields: Any) -> list[Packet]:
    """All segments that come in a time."""
    return connection.lab.collect(connection.match(**fields), for_ms)


def size_of(packets: Iterable[Packet]) -> int:
    """How much data segments carry together."""
    return sum(len(segment_data(one)) for one in packets)


def highest(packets: Iterable[Packet], base: int) -> int:
    """How far segments reach, in octets from a sequence number; 0: none is past it."""
    ends = ((one[TCP].seq + len(segment_data(one)) - base) % MODULUS for one in packets)
    return max((end for end in ends if end < MODULUS // 2), default=0)


def stay_grown(lab: Tester, on: bool = True) -> None:
    """Has a congestion window outlive a pause of a loaded machine, or not (RFC 5681 4.1)."""
    with suppress(Unable, OSError):
        lab.host.sysctl("net.ipv4.tcp_slow_start_after_idle", int(not on))


def grow(connection: Connection, rounds: int = 6) -> None:
    """Lets the Host's congestion window grow: it sends, all of it is acknowledged."""
    with connection.lab.preamble("data to grow the congestion window"):
        for _ in range(rounds):
            write(connection, pattern(4 * MSS))
            receive(connection, 4 * MSS)
    connection.lab.drain(20)


def offer(connection: Connection, data: bytes) -> int:
    """Has the Host's program send as much of this as it can without waiting; how much."""
    connection.lab.call(f"send up to {len(data)} bytes")
    sent = 0
    with suppress(BlockingIOError):
        while sent < len(data):
            sent += connection.socket.send(data[sent : sent + (1 << 16)])
    return sent


def acknowledge(connection: Connection, size: int) -> None:
    """Acknowledges so many octets more, segment by segment."""
    for first in range(0, size, MSS):
        assert connection.ack is not None
        connection.ack = (connection.ack + min(MSS, size - first)) % MODULUS
        connection.send("A")


def widen(connection: Connection, octets: int) -> None:
    """Lets the Host's congestion window grow until so much is under way before an ACK.

    Raises:
        Inconclusive: It does not grow so far.
    """
    lab, waiting = connection.lab, 0
    stay_grown(lab)
    with lab.preamble(f"a congestion window of {octets} octets"):
        for _ in range(40):
            if octets:
                waiting += offer(connection, pattern(max(0, octets + MSS - waiting)))
            assert connection.ack is not None
            flight = highest(data_segments(connection, 30), connection.ack)
            acknowledge(connection, flight)
            waiting -= flight
            if flight >= octets:
                octets = 0  # what still waits has to go
                if waiting <= 0:
                    break
        lab.check(octets == 0, "a larger window", f"{flight} octets under way")
    lab.drain(20)


def small_listener(lab: Tester, connection_options: list[tuple[Any, ...]] | None = None) -> Any:
    """A connection to a listener of the Host's that has a small receive buffer."""
    listener = lab.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    listener.bind((lab.host4, 0))
    listener.listen(4)
    connection = Connection(lab, int(listener.getsockname()[1]))
    connection.listener = listener
    with lab.preamble("a connection with a small window"):
        connection.send("S", options=connection_options or [("MSS", MSS)])
        connection.seq = (connection.seq + 1) % MODULUS
        connection.take(connection.expect("SA", ack=connection.seq))
        connection.send("A")
        connection.sock, _peer = lab.until(listener.accept, 1000, "accept")
    return connection


def fill(connection: Connection, leave: int = 0) -> bytes:
    """Sends until the Host's window is closed (or so small); what was sent.

    Raises:
        Inconclusive: It does not close.
    """
    lab, sent = connection.lab, b""
    with lab.preamble("the Host's window closes"):
        for _ in range(400):
            if connection.host_window <= leave:
                return sent
            data = pattern(min(connection.host_window, MSS))
            connection.push(data)
            sent += data
            while True:
                packet = connection.expect(flags=acks, within_ms=700)
                if packet[TCP].ack == connection.seq:
                    break
        lab.check(False, "a closed window", connection.host_window)
    return sent


def icmp_error(
    connection: Connection, kind: int, code: int, quoted: Packet | None = None, **fields: Any
) -> None:
    """Sends an ICMP error about a segment of the Host's, as a router on the path would.

    Args:
        connection: Whose segment it is about.
        kind: ICMP's type.
        code: ICMP's code.
        quoted: The segment; default: an empty one with the current numbers.
        fields: Others of the ICMP header: nexthopmtu, ptr.
    """
    lab = connection.lab
    if quoted is None:
        inner: Packet = IP(src=lab.host4, dst=lab.tester4, ttl=63) / TCP(
            sport=connection.host_port,
            dport=connection.port,
            seq=(connection.ack or 0) % MODULUS,
            ack=connection.seq,
            flags="A",
        )
        raw = bytes(inner)
    else:
        raw = bytes(quoted[IP])
    lab.send(lab.ip() / ICMP(type=kind, code=code, **fields) / Raw(raw[:28]))
