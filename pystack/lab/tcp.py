"""The tester's side of a TCP connection with the Host: every segment is made by hand.

Nothing is answered automatically: the case sends every acknowledgement itself, so the Host can be
put into any of RFC 9293's states and held there.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import partial
from typing import Any

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

from pystack.lab.host import HostSocket
from pystack.lab.packets import Match, flagged, ipv4, ipv6, tcp, where
from pystack.lab.tester import Tester
from pystack.lab.verdict import Inconclusive

__all__ = ["STATES", "Connection", "connect", "in_state", "listen", "open_from_host"]

ISN = 1_000_000
MSS = 1460
WINDOW = 65535
MODULUS = 1 << 32
PADDING = (("NOP", None), ("NOP", None))  # before a timestamp, as is common

# Every state that a case can hold the Host in.
STATES = (
    "CLOSED",
    "LISTEN",
    "SYN-SENT",
    "SYN-RECEIVED",
    "ESTABLISHED",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "CLOSE-WAIT",
    "CLOSING",
    "LAST-ACK",
    "TIME-WAIT",
)


class Connection:
    """A connection, from the tester's side.

    Attributes:
        lab: The case's tester.
        family: 4 or 6.
        host_port: The Host's port.
        port: The tester's port.
        isn: The tester's initial sequence number.
        seq: The next sequence number that the tester will send.
        ack: The next one it expects; None before the Host's SYN.
        host_isn: The Host's initial sequence number, once known.
        host_options: The options of the Host's SYN.
        host_window: The window field of the last expected segment.
        sock: The Host's socket for the connection, once there is one.
        listener: The Host's listening socket, if any.
        state: The state it was last brought to.
        tsval: The timestamp in the tester's segments; None: timestamps are off.
        tsecr: The Host's latest timestamp, which they echo.
    """

    def __init__(self, lab: Tester, host_port: int, *, family: int = 4, isn: int = ISN) -> None:
        self.lab = lab
        self.family = family
        self.host_port = host_port
        self.port = lab.fresh_port()
        self.isn = isn
        self.seq = isn
        self.ack: int | None = None
        self.host_isn: int | None = None
        self.host_options: list[tuple[Any, ...]] = []
        self.host_window = 0
        self.window = WINDOW
        self.sock: HostSocket | None = None
        self.listener: HostSocket | None = None
        self.state = "CLOSED"
        self.tsval: int | None = None
        self.tsecr = 0

    # --- segments ----------------------------------------------------------------------------

    def segment(
        self,
        flags: str = "A",
        data: bytes = b"",
        *,
        seq: int | None = None,
        ack: int | None = None,
        window: int | None = None,
        options: list[tuple[Any, ...]] | None = None,
        **fields: Any,
    ) -> Packet:
        """A segment to the Host; omitted fields have the correct values of the moment.

        Args:
            flags: As "SA".
            data: Its data.
            seq: Its sequence number, modulo 2**32.
            ack: Its acknowledgement number; 0 without the flag A.
            window: The header's value, not scaled.
            options: As in scapy; default: a timestamp, if timestamps are on.
            fields: Other fields of the TCP header: urgptr, chksum, dataofs, reserved.
        """
        if options is None and self.tsval is not None:
            options = [*PADDING, ("Timestamp", (self.tsval, self.tsecr))]
        if ack is None:
            ack = (self.ack or 0) if "A" in flags else 0
        header = TCP(
            sport=self.port,
            dport=self.host_port,
            seq=(self.seq if seq is None else seq) % MODULUS,
            ack=ack % MODULUS,
            flags=flags,
            window=self.window if window is None else window,
            options=options or [],
            **fields,
        )
        network = self.lab.ip() if self.family == 4 else self.lab.ip6()
        return network / header / Raw(data) if data else network / header

    def send(self, flags: str = "A", data: bytes = b"", **fields: Any) -> None:
        """Sends a segment; sequence numbers stay as they are. See `segment`."""
        self.lab.send(self.segment(flags, data, **fields))

    def push(self, data: bytes, flags: str = "PA", **fields: Any) -> None:
        """Sends data, and counts it as sent."""
        self.send(flags, data, **fields)
        self.seq = (self.seq + len(data)) % MODULUS

    def finish(self, data: bytes = b"", **fields: Any) -> None:
        """Sends a FIN, and counts it as sent."""
        self.send("FPA" if data else "FA", data, **fields)
        self.seq = (self.seq + len(data) + 1) % MODULUS

    def acknowledge(self, packet: Packet | None = None, **fields: Any) -> None:
        """Acknowledges all that has been taken in, a packet given here included."""
        if packet is not None:
            self.take(packet)
        self.send("A", **fields)

    def take(self, packet: Packet) -> bytes:
        """Counts a segment of the Host's as received, if it is the next one; gives its data."""
        header = packet[TCP]
        data = segment_data(packet)
        self.tsecr = dict(header.options).get("Timestamp", (self.tsecr, 0))[0]
        if self.ack is None or header.seq == self.ack:
            length = len(data) + ("S" in header.flags) + ("F" in header.flags)
            self.ack = (header.seq + length) % MODULUS
        return data

    def agree(self, options: list[tuple[Any, ...]] | None) -> None:
        """Has segments carry timestamps from now on, if both SYNs had them."""
        offered = dict(options or []).get("Timestamp")
        if offered is not None and "Timestamp" in dict(self.host_options):
            self.tsval = offered[0]

    # --- what comes --------------------------------------------------------------------------

    def match(self, **fields: Any) -> Match:
        """A segment of this connection with these fields; `data` is its data."""
        data = fields.pop("data", None)
        network = (
            ipv4(src=self.lab.host4, dst=self.lab.tester4)
            if self.family == 4
            else ipv6(src=self.lab.host6, dst=self.lab.tester6)
        )
        found = network / tcp(sport=self.host_port, dport=self.port, **fields)
        if data is not None:
            found = found / where(
                f"with data {data[:16]!r}", lambda packet: segment_data(packet) == data
            )
        return found

    def with_data(self) -> Match:
        """A segment of this connection that carries data."""
        return self.match() / where("with data", lambda packet: bool(segment_data(packet)))

    def expect(self, flags: Any = None, within_ms: float = 1000, **fields: Any) -> Packet:
        """Waits for a segment of this connection; see `match` and `Tester.expect`."""
        if flags is not None:
            fields["flags"] = flags
        packet = self.lab.expect(self.match(**fields), within_ms)
        self.host_window = int(packet[TCP].window)
        return packet

    def expect_nothing(self, for_ms: float = 500, **fields: Any) -> None:
        """Makes sure that no such segment comes; see `match`."""
        self.lab.expect_nothing(self.match(**fields), for_ms)

    def expect_ack(self, within_ms: float = 1000, **fields: Any) -> Packet:
        """Waits for an acknowledgement of all that was sent, of whatever segment."""
        return self.lab.expect(
            self.match(ack=self.seq, flags=flagged("A", "R"), **fields),
            within_ms,
        )

    def expect_reset(self, within_ms: float = 1000, **fields: Any) -> Packet:
        """Waits for a segment with the flag RST."""
        return self.lab.expect(self.match(flags=flagged("R"), **fields), within_ms)

    def expect_no_reset(self, for_ms: float = 500) -> None:
        """Makes sure that no segment with the flag RST comes."""
        self.lab.expect_nothing(self.match(flags=flagged("R")), for_ms)

    # --- the Host's socket ---------------------------------------------------------------------

    @property
    def socket(self) -> HostSocket:
        """The Host's socket for the connection.

        Raises:
            Inconclusive: There is none.
        """
        if self.sock is None:
            raise Inconclusive("the Host has no socket for the connection")
        return self.sock

    def read(self, size: int, within_ms: float = 1000) -> bytes:
        """Has the Host's program read exactly so many bytes.

        Raises:
            CaseFailed: They did not come in time, or the stream ended before.
        """
        got = b""
        while len(got) < size:
            left = size - len(got)
            chunk = self.lab.until(
                partial(self.socket.recv, left),
                within_ms,
                f"the program to read {size} bytes (it has {len(got)})",
            )
            self.lab.check(bool(chunk), f"{size} bytes for the program", f"{got!r} and the end")
            got += chunk
        return got

    def expect_end(self, within_ms: float = 1000) -> None:
        """Makes sure that the Host's program reads the end of the stream."""
        got = self.lab.until(
            lambda: self.socket.recv(1), within_ms, "the program to read the end of the stream"
        )
        self.lab.check(got == b"", "the end of the stream", f"data {got!r}")

    def expect_error(self, error: type[OSError], within_ms: float = 1000) -> None:
        """Makes sure that the Host's program is told of an error when it reads."""
        try:
            got = self.lab.until(
                lambda: self.socket.recv(1), within_ms, f"the program to get {error.__name__}"
            )
        except error:
            return
        self.lab.check(False, f"{error.__name__} for the program", f"data {got!r}")

    def still_works(self) -> None:
        """Makes sure that the connection carries data both ways, from where it stands."""
        self.push(b"to the host")
        got = self.read(len(b"to the host"))
        self.lab.check(got == b"to the host", "the data that was sent", repr(got))
        self.socket.send(b"to the tester")
        self.take(self.lab.expect(self.match(data=b"to the tester")))
        self.send("A")


def segment_data(packet: Packet) -> bytes:
    """The data of a segment, without Ethernet's padding."""
    header = packet[TCP]
    if packet.haslayer(IP):
        network = packet[IP]
        size = network.len - 4 * network.ihl - 4 * header.dataofs
    else:
        network = packet[IPv6]
        size = network.plen - 4 * header.dataofs
    return bytes(header.payload)[:size] if size > 0 else b""


def _family(family: int) -> socket.AddressFamily:
    return socket.AF_INET if family == 4 else socket.AF_INET6


def listen(
    lab: Tester, *, family: int = 4, backlog: int = 8, port: int = 0, address: str | None = None
) -> tuple[HostSocket, int]:
    """Makes the Host listen; the socket and its port."""
    listener = lab.socket(_family(family), socket.SOCK_STREAM)
    own = lab.host4 if family == 4 else lab.host6
    listener.bind((own if address is None else address, port))
    listener.listen(backlog)
    chosen = int(listener.getsockname()[1])
    lab.call(f"listen on port {chosen}")
    return listener, chosen


def connect(
    lab: Tester,
    *,
    family: int = 4,
    isn: int = ISN,
    options: list[tuple[Any, ...]] | None = None,
    window: int = WINDOW,
    accept: bool = True,
) -> Connection:
    """A connection that the tester opens to a listener of the Host's: ESTABLISHED.

    Args:
        lab: The case's tester.
        family: 4 or 6.
        isn: The tester's initial sequence number.
        options: Of the tester's SYN; default: an MSS of 1460.
        window: The tester's window.
        accept: Whether the Host's program accepts it.

    Raises:
        Inconclusive: The handshake fails.
    """
    connection = in_state(
        lab, "SYN-RECEIVED", family=family, isn=isn, options=options, window=window
    )
    connection.send("A")
    connection.state = "ESTABLISHED"
    if accept:
        with lab.preamble("accept"):
            assert connection.listener is not None
            connection.sock, _peer = lab.until(connection.listener.accept, 1000, "accept")
            lab._sockets.append(connection.sock)
    return connection


def open_from_host(
    lab: Tester,
    *,
    family: int = 4,
    isn: int = ISN,
    options: list[tuple[Any, ...]] | None = None,
    window: int = WINDOW,
    answer: bool = True,
) -> Connection:
    """A connection that the Host opens to the tester: SYN-SENT, then ESTABLISHED.

    Args:
        lab: The case's tester.
        family: 4 or 6.
        isn: The tester's initial sequence number.
        options: Of the tester's SYN-ACK; default: an MSS of 1460.
        window: The tester's window.
        answer: Whether the tester answers the SYN; otherwise the Host stays in SYN-SENT.

    Raises:
        Inconclusive: No SYN arrives, or the tester's isn't acknowledged.
    """
    lab.meet(family)
    connection = Connection(lab, 0, family=family, isn=isn)
    connection.window = window
    connection.sock = lab.socket(_family(family), socket.SOCK_STREAM)
    target = lab.tester4 if family == 4 else lab.tester6
    lab.call(f"connect to port {connection.port}")
    with suppress(BlockingIOError):  # under way
        connection.sock.connect((target, connection.port))
    with lab.preamble("the Host's SYN"):
        syn = lab.expect(tcp(flags="S", dport=connection.port))
    connection.host_port = syn[TCP].sport
    connection.host_isn = syn[TCP].seq
    connection.host_options = list(syn[TCP].options)
    connection.take(syn)
    connection.state = "SYN-SENT"
    if answer:
        connection.send("SA", options=[("MSS", MSS)] if options is None else options)
        connection.seq = (connection.seq + 1) % MODULUS
        connection.agree(options)
        with lab.preamble("the handshake's last acknowledgement"):
            connection.expect("A", ack=connection.seq)
        connection.state = "ESTABLISHED"
    return connection


def in_state(
    lab: Tester,
    state: str,
    *,
    family: int = 4,
    isn: int = ISN,
    options: list[tuple[Any, ...]] | None = None,
    window: int = WINDOW,
) -> Connection:
    """A fresh connection, with the Host in one of `STATES`.

    The tester's numbers fit that state: `seq` is what the Host expects next, `ack` what it sends
    next.

    Raises:
        Inconclusive: The Host can't be brought there.
        ValueError: No such state.
    """
    if state not in STATES:
        raise ValueError(f"no state {state!r}, but {', '.join(STATES)}")
    lab.meet(family)
    if state == "CLOSED":
        return Connection(lab, 9, family=family, isn=isn)  # discard is closed
    if state == "SYN-SENT":
        return open_from_host(
            lab, family=family, isn=isn, options=options, window=window, answer=False
        )
    if state in ("LISTEN", "SYN-RECEIVED"):
        listener, port = listen(lab, family=family)
        connection = Connection(lab, port, family=family, isn=isn)
        connection.listener = listener
        connection.window = window
        connection.state = "LISTEN"
        if state == "SYN-RECEIVED":
            connection.send("S", options=[("MSS", MSS)] if options is None else options)
            connection.seq = (connection.seq + 1) % MODULUS
            with lab.preamble("the Host's SYN-ACK"):
                answer = connection.expect("SA", ack=connection.seq)
            connection.host_isn = answer[TCP].seq
            connection.host_options = list(answer[TCP].options)
            connection.take(answer)
            connection.agree(options)
            connection.state = state
        return connection
    connection = connect(lab, family=family, isn=isn, options=options, window=window)
    if state == "ESTABLISHED":
        return connection
    with lab.preamble(f"on the way to {state}"):
        _close_into(connection, state)
    connection.state = state
    return connection


def _close_into(connection: Connection, state: str) -> None:
    """From ESTABLISHED into one of the closing states."""
    lab, sock = connection.lab, connection.socket
    if state in ("CLOSE-WAIT", "LAST-ACK"):
        connection.finish()
        connection.expect("A", ack=connection.seq)
        if state == "LAST-ACK":
            lab.call("close")
            sock.close()
            connection.take(connection.expect("FA"))
        return
    lab.call("shutdown")
    sock.shutdown(socket.SHUT_WR)
    connection.take(connection.expect("FA"))
    if state == "FIN-WAIT-1":
        return
    if state == "CLOSING":
        # Our FIN, without an acknowledgement of the Host's.
        assert connection.ack is not None
        connection.finish(ack=connection.ack - 1)
        connection.expect("A", ack=connection.seq)
        return
    connection.send("A")
    lab.drain(20)
    if state == "TIME-WAIT":
        connection.finish()
        connection.expect("A", ack=connection.seq)
