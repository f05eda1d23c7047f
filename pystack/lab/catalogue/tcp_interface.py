"""TCP, group 16: what a program asks of TCP, and what TCP asks of IP (RFC 9293 3.9)."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

from scapy.layers.inet import IP, TCP, IPOption
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._tcp import (
    MSS,
    NO_RESETS,
    altered,
    changes,
    flagged,
    having,
    loaded,
    loses,
    set_option,
    write,
)
from pystack.lab.mutant import Mutant
from pystack.lab.packets import ipv4, tcp
from pystack.lab.tcp import Connection, connect, listen
from pystack.lab.tester import Tester

case = group("TCP-16", rfc="RFC 9293", section="3.9.1.1")

SECOND = "192.0.2.9"


def _from(address: str) -> Any:
    """Changes where a segment comes from."""

    def change(frame: Packet) -> Packet:
        frame[IP].src = address
        return frame

    return change


def _refused(lab: Tester, address: str) -> None:
    sock = lab.socket(socket.AF_INET, socket.SOCK_STREAM)
    lab.call(f"connect to {address}")
    error: OSError | None = None
    try:
        sock.connect((address, 80))
    except BlockingIOError:
        pass
    except OSError as found:
        error = found
    lab.expect_nothing(tcp(dport=80), 300)
    if error is None:
        try:
            sock.recv(1)
        except BlockingIOError:
            lab.check(False, "an error for the program", "none")
        except OSError:
            return
    lab.check(error is not None, "an error for the program", "none")


# Nothing that comes and goes on the wire makes a program's call fail: this one's SYN is what shows.
SENDS_SYN = Mutant(
    "connects to anybody",
    outgoing=lambda frame: [
        frame,
        frame.__class__(src=frame.src, dst=frame.dst)
        / IP(src="192.0.2.2", dst="192.0.2.255")
        / TCP(sport=1, dport=80, flags="S"),
    ],
)


def _speaks(lab: Tester) -> None:
    """Makes the Host say something, so that a mutant has something to change."""
    lab.send(lab.echo())


@case(
    "TCP-16.1",
    "A program cannot connect to a multicast address",
    aliases=("9293:MUST-46",),
    mutant=SENDS_SYN,
)
def connect_to_multicast(lab: Tester) -> None:
    """Connect to a group.

    1. The program connects to 224.0.0.1: it gets an error.
    2. No SYN comes.
    """
    _speaks(lab)
    _refused(lab, "224.0.0.1")


@case(
    "TCP-16.2",
    "A program cannot connect to a broadcast address",
    aliases=("9293:MUST-46",),
    mutant=SENDS_SYN,
)
def connect_to_broadcast(lab: Tester) -> None:
    """Connect to everybody.

    1. The program connects to 255.255.255.255, and to the network's broadcast address: it gets an
       error each time.
    2. No SYN comes.
    """
    _speaks(lab)
    _refused(lab, "255.255.255.255")
    _refused(lab, str(lab.port.network4.broadcast_address))


@case(
    "TCP-16.3",
    "A program chooses the address that a connection comes from",
    aliases=("9293:MUST-43", "9293:MUST-45"),
    mutant=Mutant(
        "takes its first address always", outgoing=changes(having("S"), _from("192.0.2.2"))
    ),
)
def local_address(lab: Tester) -> None:
    """Bind to a second address.

    1. The Host has a second address, 192.0.2.9. The program binds to it, and connects.
    2. The SYN comes from it, and so does all that follows.
    """
    lab.host.add_address(f"{SECOND}/24")
    lab.drain(100)
    port = lab.fresh_port()
    sock = lab.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.bind((SECOND, 0))
    with suppress(BlockingIOError):
        sock.connect((lab.tester4, port))
    syn = lab.expect(tcp(dport=port, flags="S"))
    lab.check(syn[IP].src == SECOND, SECOND, syn[IP].src)
    lab.send(
        IP(src=lab.tester4, dst=SECOND)
        / TCP(sport=port, dport=syn[TCP].sport, seq=1000, ack=syn[TCP].seq + 1, flags="SA",
              options=[("MSS", MSS)])
    )  # fmt: skip
    lab.expect(ipv4(src=SECOND) / tcp(dport=port, flags="A", ack=1001))
    sock.send(b"data")
    lab.expect(ipv4(src=SECOND) / tcp(dport=port, flags="PA"))


@case(
    "TCP-16.4",
    "Without a choice of the program's the address is the one that IP would take",
    aliases=("9293:MUST-44",),
    mutant=Mutant("takes another", outgoing=changes(having("S"), _from(SECOND))),
)
def chosen_address(lab: Tester) -> None:
    """Connect to two networks.

    1. The program connects to an address on the link, and to one behind the router.
    2. Both SYNs come from the Host's address on that link.
    """
    for target in (lab.tester4, "198.51.100.7"):
        port = lab.fresh_port()
        sock = lab.socket(socket.AF_INET, socket.SOCK_STREAM)
        with suppress(BlockingIOError):
            sock.connect((target, port))
        syn = lab.expect(tcp(dport=port, flags=lambda flags: "S" in flags))
        lab.check(syn[IP].src == lab.host4, lab.host4, syn[IP].src)


@case(
    "TCP-16.5",
    "A listener on one address does not answer for another",
    aliases=("9293:MUST-43",),
    mutant=NO_RESETS,
)
def listener_of_an_address(lab: Tester) -> None:
    """Listen on a second address.

    1. The Host has a second address, 192.0.2.9. The program listens on it.
    2. A SYN to that port of the first address is refused; one to 192.0.2.9 is answered.
    """
    lab.host.add_address(f"{SECOND}/24")
    lab.drain(100)
    _listener, port = listen(lab, address=SECOND)
    other = Connection(lab, port)
    other.send("S")
    other.expect("RA", ack=other.isn + 1)
    syn = TCP(sport=lab.fresh_port(), dport=port, seq=1000, flags="S")
    lab.send(IP(src=lab.tester4, dst=SECOND) / syn)
    lab.expect(ipv4(src=SECOND) / tcp(sport=port, flags="SA", ack=1001))


@case(
    "TCP-16.6",
    "A program can listen on a port from which a connection is being opened",
    aliases=("9293:MUST-42",),
    mutant=Mutant("answers no SYN", outgoing=loses(flagged("SA"))),
)
def listen_beside_open(lab: Tester) -> None:
    """Share a port.

    1. The program binds a socket to a port with SO_REUSEADDR, and connects it: SYN-SENT.
    2. It binds another to the same port, and listens: a SYN to it is answered.
    3. The first connection is completed, and works.
    """
    opening = lab.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening = lab.socket(socket.AF_INET, socket.SOCK_STREAM)
    for sock in (opening, listening):
        set_option(sock, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1, "SO_REUSEADDR")
    opening.bind((lab.host4, 0))
    port = int(opening.getsockname()[1])
    listening.bind((lab.host4, port))
    connection = Connection(lab, port)
    connection.sock = opening
    with suppress(BlockingIOError):
        opening.connect((lab.tester4, connection.port))
    with lab.preamble("the Host's SYN"):
        connection.take(connection.expect(flags=lambda flags: "S" in flags))
    listening.listen(4)
    other = Connection(lab, port)
    other.send("S")
    other.expect("SA", ack=other.isn + 1)
    connection.send("SA", options=[("MSS", MSS)])
    connection.seq += 1
    connection.expect("A", ack=connection.seq)
    connection.still_works()


@case(
    "TCP-16.7",
    "A second listener on a port changes nothing for the first, nor for its connections",
    aliases=("9293:MUST-41",),
    mutant=Mutant("answers no second SYN", outgoing=loses(lambda frame: frame[TCP].dport == 40002)),
)
def second_listener(lab: Tester) -> None:
    """Listen twice.

    1. The program listens, and a connection comes about. It tries to listen on the same port with
       another socket; whether that fails does not matter.
    2. The connection works. A SYN to the port is answered.
    """
    connection = connect(lab)
    other = lab.socket(socket.AF_INET, socket.SOCK_STREAM)
    with suppress(OSError):
        other.bind((lab.host4, connection.host_port))
        other.listen(4)
    connection.still_works()
    again = Connection(lab, connection.host_port)
    again.send("S")
    again.expect("SA", ack=again.isn + 1)


@case(
    "TCP-16.8",
    "IP options that TCP does not know are ignored",
    section="3.9.2",
    aliases=("9293:MUST-50",),
    mutant=Mutant(
        "drops segments with IP options",
        incoming=loses(lambda frame: bool(frame.haslayer(IP)) and frame[IP].ihl > 5),
    ),
)
def ip_options(lab: Tester) -> None:
    """Send segments with IP options.

    1. On a connection the tester sends data whose IP header has an option of an experiment
       (RFC 4727): it is acknowledged, and read.
    2. So is data whose header has NOPs.
    """
    connection = connect(lab)
    for raw in (b"\x1e\x04\x00\x00", b"\x01\x01\x01\x01"):
        packet = connection.segment("PA", b"data")
        packet[IP].options = [IPOption(raw)]
        lab.send(type(packet)(bytes(packet)))
        connection.seq += 4
        connection.expect_ack()
    lab.check(connection.read(8) == b"datadata", "the data", "other data")


@case(
    "TCP-16.9",
    "A connection keeps the address that it began with",
    aliases=("9293:MUST-45",),
    mutant=Mutant("answers from its newest address", outgoing=changes(loaded, _from(SECOND))),
)
def keeps_address(lab: Tester) -> None:
    """Give the Host another address.

    1. There is a connection. The Host gets a second address, 192.0.2.9.
    2. The program sends: the data comes from the address that the connection began with.
    """
    connection = connect(lab)
    lab.host.add_address(f"{SECOND}/24")
    lab.drain(100)
    write(connection, b"data")
    packet = lab.expect(tcp(sport=connection.host_port, flags="PA"))
    lab.check(packet[IP].src == lab.host4, lab.host4, packet[IP].src)


@case(
    "TCP-16.10",
    "A segment of another connection changes nothing",
    section="3.4.1",
    mutant=Mutant(
        "looks at its own port alone",
        incoming=altered(loaded, sport=40001),
    ),
)
def pair_of_sockets(lab: Tester) -> None:
    """Send a segment from another port.

    1. There is a connection. The tester sends data with its numbers from another port: a reset
       comes to that port.
    2. The program reads nothing of it, and the connection works.
    """
    connection = connect(lab)
    stranger = Connection(lab, connection.host_port)
    stranger.send("PA", b"stranger", seq=connection.seq, ack=connection.ack)
    stranger.expect("R", seq=connection.ack)
    connection.still_works()
