"""DHCP: an address that is taken, and one that is given back (RFC 2131 3.1, 4.4)."""

from __future__ import annotations

from scapy.layers.dhcp import BOOTP
from scapy.layers.inet import IP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._dhcp import (
    ACK,
    CHECKED_S,
    DECLINE,
    DISCOVER,
    LEASED,
    RELEASE,
    REQUESTED,
    SERVER,
    Server,
    broadcast,
    checking,
    from_address,
    kind_of,
    message,
    mute,
    options_of,
    packed,
    sends,
    with_option,
    without_option,
)
from pystack.lab.catalogue._mutants import dropping, is_arp
from pystack.lab.mutant import Mutant
from pystack.lab.packets import arp
from pystack.lab.plan import Topology
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

RFC = "RFC 2131"
STRANGER_MAC = "02:00:5e:00:53:77"

bare = group("DHCP", topology=Topology.BARE)


# --- the address is another host's ----------------------------------------------------------------


def _taken(lab: Tester) -> Server:
    """A client that is told that its address is another's while it looks whether it is."""
    checking(lab)
    server = Server(lab)
    server.requested()
    lab.drain()
    server.reply(ACK)
    with lab.preamble("a probe for the address"):
        lab.expect(arp(op=1, psrc="0.0.0.0", pdst=LEASED), 3000)
    reply = ARP(op=2, hwsrc=STRANGER_MAC, psrc=LEASED, hwdst=lab.host_mac, pdst="0.0.0.0")
    lab.send(Ether(src=STRANGER_MAC, dst=lab.host_mac) / reply)
    return server


NO_DECLINE = mute(DECLINE, "keeps to itself that the address is taken")


@bare(
    "DHCP-7.1",
    "A leased address is probed before it is used",
    rfc=RFC,
    section="4.4.1",
    level=Level.SHOULD,
    mutant=dropping(is_arp, "takes what it is given"),
    seconds=30,
)
def probed(lab: Tester) -> None:
    """As the Host does it by itself, with no setting changed.

    1. DISCOVER, OFFER, REQUEST, ACK.
    2. The Host asks by ARP for the leased address, from 0.0.0.0.
    """
    server = Server(lab)
    server.requested()
    server.reply(ACK)
    lab.expect(arp(op=1, psrc="0.0.0.0", pdst=LEASED), CHECKED_S * 1000)


@bare(
    "DHCP-7.2",
    "An address that another host has is declined, and not used",
    rfc=RFC,
    section="3.1",
    mutant=NO_DECLINE,
    seconds=30,
)
def declined(lab: Tester) -> None:
    """The Host is told to look, where its user decides that.

    1. The server acknowledges the REQUEST. The Host probes for the address, and another answers.
    2. A DECLINE comes, and the Host has not the address.
    """
    server = _taken(lab)
    server.expect(DECLINE, 3)
    lab.check(not server.holds(), "no address", lab.host.addresses())


@bare(
    "DHCP-7.3",
    "The DECLINE says which address",
    rfc=RFC,
    section="4.4.1",
    mutant=sends(DECLINE, "does not say what it declines", {REQUESTED: None}),
    seconds=30,
)
def decline_names_address(lab: Tester) -> None:
    """In an option: it never was the client's own.

    1. The client is given an address that another has.
    2. The DECLINE has the requested IP address; its ciaddr is zero.
    """
    server = _taken(lab)
    found = server.expect(DECLINE, 3)
    lab.check(with_option(REQUESTED, packed(LEASED))(found), LEASED, options_of(found))
    lab.check(from_address("0.0.0.0")(found), "ciaddr 0.0.0.0", found[BOOTP].ciaddr)


@bare(
    "DHCP-7.4",
    "The DECLINE names the server",
    rfc=RFC,
    section="4.4.1",
    mutant=sends(DECLINE, "does not name the server that gave the address", {SERVER: None}),
    seconds=30,
)
def decline_names_server(lab: Tester) -> None:
    """All servers hear it, and one has to strike the address off.

    1. The client is given an address that another has.
    2. The DECLINE has the server's identifier.
    """
    server = _taken(lab)
    found = server.expect(DECLINE, 3)
    lab.check(with_option(SERVER, packed(server.address))(found), server.address, options_of(found))


@bare(
    "DHCP-7.5",
    "The DECLINE is broadcast",
    rfc=RFC,
    section="4.4.4",
    mutant=sends(DECLINE, "sends it to the server alone", network={"dst": "192.0.2.1"}),
    seconds=30,
)
def decline_is_broadcast(lab: Tester) -> None:
    """The client has no address to speak from.

    1. The client is given an address that another has.
    2. The DECLINE goes from 0.0.0.0 to 255.255.255.255.
    """
    _taken(lab)
    lab.expect(broadcast() / message(DECLINE), 3000)


@bare(
    "DHCP-7.6",
    "After a DECLINE the client waits ten seconds before it begins again",
    rfc=RFC,
    section="3.1",
    level=Level.SHOULD,
    mutant=Mutant(
        "begins again at once",
        outgoing=lambda frame: [frame, _as_discover(frame)] if kind_of(frame) == DECLINE else frame,
    ),
    seconds=50,
)
def patient(lab: Tester) -> None:
    """Else it and a server could go on for ever.

    1. The client is given an address that another has, and sends a DECLINE.
    2. Its next DISCOVER comes 10 seconds later or more, and does come.
    """
    server = _taken(lab)
    began = float(server.expect(DECLINE, 3).time)
    found = float(server.expect(DISCOVER, 30).time)
    lab.check(found - began >= 9.5, "10 s", f"{found - began:.1f} s")


def _as_discover(frame: Packet) -> Packet:
    made = sends(DECLINE, "", {53: bytes((DISCOVER,)), REQUESTED: None, SERVER: None}).outgoing
    assert made is not None
    found = made(frame.copy())
    assert isinstance(found, Packet)
    return found


# --- release --------------------------------------------------------------------------------------


def _released(lab: Tester) -> tuple[Server, Packet]:
    """A client that is told to stop, and its RELEASE."""
    server = Server(lab)
    server.bind()
    lab.drain(100)
    server.stop()
    return server, server.expect(RELEASE, 3)


@bare(
    "DHCP-8.1",
    "A client that stops gives its address back to the server that gave it",
    rfc=RFC,
    section="4.4.4",
    mutant=sends(RELEASE, "tells everybody", network={"dst": "255.255.255.255"}),
    seconds=30,
)
def release_is_unicast(lab: Tester) -> None:
    """A client may leave without a word; one that says something says it to the server.

    1. The client has an address, and DHCP is switched off.
    2. The RELEASE goes from the address to the server.
    """
    _server, found = _released(lab)
    network = found[IP]
    lab.check(network.dst == lab.tester4, f"a RELEASE to {lab.tester4}", network.dst)
    lab.check(network.src == LEASED, f"one from {LEASED}", network.src)


@bare(
    "DHCP-8.2",
    "The RELEASE names the server",
    rfc=RFC,
    section="4.4.1",
    mutant=sends(RELEASE, "does not say to whom it speaks", {SERVER: None}),
    seconds=30,
)
def release_names_server(lab: Tester) -> None:
    """As table 5 has it.

    1. The client has an address, and DHCP is switched off.
    2. The RELEASE has the server's identifier.
    """
    server, found = _released(lab)
    lab.check(with_option(SERVER, packed(server.address))(found), server.address, options_of(found))


@bare(
    "DHCP-8.3",
    "The RELEASE gives the address as the client's own, not as one that it asks for",
    rfc=RFC,
    section="4.4.1",
    mutant=sends(RELEASE, "asks for it", {REQUESTED: packed(LEASED)}, ciaddr="0.0.0.0"),
    seconds=30,
)
def release_address(lab: Tester) -> None:
    """As table 5 has it.

    1. The client has an address, and DHCP is switched off.
    2. The RELEASE's ciaddr is this address, and it has no requested IP address.
    """
    _server, found = _released(lab)
    lab.check(from_address(LEASED)(found), f"ciaddr {LEASED}", found[BOOTP].ciaddr)
    lab.check(without_option(REQUESTED)(found), "no requested address", options_of(found))


@bare(
    "DHCP-8.4",
    "What was released is not used any more",
    rfc=RFC,
    section="4.4.6",
    mutant=Mutant(
        "answers for what it has given back",
        answer=lambda frame: (
            Ether(src="02:00:5e:00:53:02", dst=frame.src)
            / ARP(op=2, psrc=LEASED, hwsrc="02:00:5e:00:53:02", pdst="192.0.2.1", hwdst=frame.src)
            if is_arp(frame) and frame[ARP].pdst == LEASED
            else None
        ),
    ),
    seconds=30,
)
def released(lab: Tester) -> None:
    """The server may give it to another at once.

    1. The client has an address, and answers an ARP request for it.
    2. DHCP is switched off.
    3. It has the address no more, and answers no ARP request for it.
    """
    server = Server(lab)
    server.bind()
    lab.drain(100)
    lab.send(lab.arp_request(pdst=LEASED))
    with lab.preamble("an answer to an ARP request"):
        lab.expect(arp(op=2, psrc=LEASED))
    server.stop()
    lab.run(100)
    lab.check(not server.holds(), "no address", lab.host.addresses())
    lab.drain()
    lab.send(lab.arp_request(pdst=LEASED))
    lab.expect_nothing(arp(op=2, psrc=LEASED), 500)
