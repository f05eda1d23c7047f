"""TCP, group 1: segments to and from broadcast and multicast addresses."""

from __future__ import annotations

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from pystack.lab.case import group
from pystack.lab.catalogue._tcp import (
    flagged,
    replying,
)
from pystack.lab.catalogue.tcp_handshake import RFC
from pystack.lab.mutant import Mutant
from pystack.lab.packets import tcp
from pystack.lab.tcp import listen
from pystack.lab.tester import BROADCAST, Tester, multicast_mac

case = group("TCP-1", section="3.9.2.3")

ANSWERS_SYN = replying(flagged("S"), "SA", seq=5000, ack=lambda header: header.seq + 1)


def _broadcast_syn(lab: Tester, address: str, mac: str) -> None:
    _listener, port = listen(lab, address="0.0.0.0")
    syn = TCP(sport=lab.fresh_port(), dport=port, seq=1, flags="S")
    lab.send(Ether(src=lab.tester_mac, dst=mac) / lab.ip(dst=address) / syn)
    lab.expect_nothing(tcp(sport=port), 500)


@case(
    "TCP-1.20",
    "A SYN to the network's broadcast address is discarded silently",
    rfc=RFC,
    aliases=("9293:MUST-57",),
    mutant=Mutant("answers it", answer=ANSWERS_SYN),
)
def syn_to_broadcast(lab: Tester) -> None:
    """Send a SYN to everybody.

    1. The Host listens on all of its addresses.
    2. The tester sends a SYN to the network's broadcast address.
    3. Neither SYN-ACK nor reset comes.
    """
    _broadcast_syn(lab, str(lab.port.network4.broadcast_address), BROADCAST)


@case(
    "TCP-1.21",
    "A SYN to the limited broadcast address is discarded silently",
    rfc=RFC,
    aliases=("9293:MUST-57",),
    mutant=Mutant("answers it", answer=ANSWERS_SYN),
)
def syn_to_limited_broadcast(lab: Tester) -> None:
    """Send a SYN to 255.255.255.255.

    1. The Host listens on all of its addresses.
    2. The tester sends a SYN to the limited broadcast address.
    3. Neither SYN-ACK nor reset comes.
    """
    _broadcast_syn(lab, "255.255.255.255", BROADCAST)


@case(
    "TCP-1.22",
    "A SYN to a multicast address is discarded silently",
    rfc=RFC,
    aliases=("9293:MUST-57",),
    mutant=Mutant("answers it", answer=ANSWERS_SYN),
)
def syn_to_multicast(lab: Tester) -> None:
    """Send a SYN to a group that every host is in.

    1. The Host listens on all of its addresses.
    2. The tester sends a SYN to 224.0.0.1.
    3. Neither SYN-ACK nor reset comes.
    """
    _broadcast_syn(lab, "224.0.0.1", multicast_mac("224.0.0.1"))


def _invalid_source(lab: Tester, source: str) -> None:
    _listener, port = listen(lab)
    lab.send(
        Ether(src=lab.tester_mac, dst=lab.host_mac)
        / IP(src=source, dst=lab.host4)
        / TCP(sport=lab.fresh_port(), dport=port, seq=1, flags="S")
    )
    lab.expect_nothing(tcp(sport=port), 500)


@case(
    "TCP-1.23",
    "A SYN from a multicast address is ignored",
    rfc=RFC,
    aliases=("9293:MUST-63",),
    mutant=Mutant("answers it", answer=ANSWERS_SYN),
)
def syn_from_multicast(lab: Tester) -> None:
    """Send a SYN that nobody can have sent.

    1. The Host listens. The tester sends a SYN whose source is a multicast address.
    2. Neither SYN-ACK nor reset comes.
    """
    _invalid_source(lab, "224.0.0.9")


@case(
    "TCP-1.24",
    "A SYN from the limited broadcast address is ignored",
    rfc=RFC,
    aliases=("9293:MUST-63",),
    mutant=Mutant("answers it", answer=ANSWERS_SYN),
)
def syn_from_broadcast(lab: Tester) -> None:
    """Send a SYN that nobody can have sent.

    1. The Host listens. The tester sends a SYN whose source is 255.255.255.255.
    2. Neither SYN-ACK nor reset comes.
    """
    _invalid_source(lab, "255.255.255.255")


@case(
    "TCP-1.25",
    "A SYN from the network's broadcast address is ignored",
    rfc=RFC,
    aliases=("9293:MUST-63",),
    mutant=Mutant("answers it", answer=ANSWERS_SYN),
)
def syn_from_network_broadcast(lab: Tester) -> None:
    """Send a SYN that would be answered to everybody.

    1. The Host listens. The tester sends a SYN whose source is the network's broadcast address.
    2. Neither SYN-ACK nor reset comes.
    """
    _invalid_source(lab, str(lab.port.network4.broadcast_address))
