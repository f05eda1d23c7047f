"""DHCP: what the server's answer does (RFC 2131 3.1, 4.4)."""

from __future__ import annotations

import socket

from scapy.layers.dhcp import BOOTP
from scapy.layers.l2 import ARP, Ether

from pystack.lab.case import group
from pystack.lab.catalogue._dhcp import (
    ACK,
    CHECKED_S,
    DISCOVER,
    LEASED,
    MASK,
    NAK,
    OFFER,
    REQUEST,
    ROUTER,
    Server,
    deaf,
    kind_of,
    message,
    packed,
    repeating,
    sees,
    unidentified,
)
from pystack.lab.catalogue._mutants import dropping, is_arp
from pystack.lab.mutant import Mutant
from pystack.lab.packets import arp, ether, ipv4
from pystack.lab.plan import Topology
from pystack.lab.tester import BROADCAST, Tester
from pystack.lab.verdict import Level

RFC = "RFC 2131"
FIRST_ROUTER = "192.0.2.7"
SECOND_ROUTER = "192.0.2.9"
FAR = "198.51.100.1"

bare = group("DHCP", topology=Topology.BARE)


@bare(
    "DHCP-4.1",
    "After the ACK the client has the address, with the mask that the server gave",
    rfc=RFC,
    section="3.1",
    mutant=sees(ACK, "does not look at the mask", {MASK: packed("255.255.255.0")}),
    seconds=30,
)
def address_and_mask(lab: Tester) -> None:
    """Go through a whole exchange.

    1. DISCOVER, OFFER, REQUEST, ACK, with the mask 255.255.255.192.
    2. The Host has the address, with a prefix of 26 bits.
    """
    server = Server(lab)
    server.requested()
    options = [(c, packed("255.255.255.192") if c == MASK else v) for c, v in server.usual(ACK)]
    server.reply(ACK, options=options)
    server.has()
    found = lab.host.addresses()
    lab.check(f"{LEASED}/26" in found, f"{LEASED}/26", found)


def _route(lab: Tester, server: Server, routers: bytes) -> None:
    """Binds with these routers, and sends a datagram far away."""
    server.extra = [(ROUTER, routers)]
    server.bind()
    lab.drain(100)
    sender = lab.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.sendto(b"far away", (FAR, 4000))


@bare(
    "DHCP-4.2",
    "The router that the server names is used",
    rfc="RFC 2132",
    section="3.5",
    mutant=sees(ACK, "does not look at the router", {ROUTER: None}),
    seconds=30,
)
def router(lab: Tester) -> None:
    """Send something far away.

    1. The client gets its address, and a router with it.
    2. The Host's program sends a datagram to another network. It goes to the router.
    """
    mac = "02:00:5e:00:53:07"
    lab.own(FIRST_ROUTER, mac)
    _route(lab, Server(lab), packed(FIRST_ROUTER))
    lab.expect(ether(dst=mac) / ipv4(dst=FAR), 2000)


@bare(
    "DHCP-4.3",
    "Of several routers the first is preferred",
    rfc="RFC 2132",
    section="3.5",
    level=Level.SHOULD,
    mutant=sees(
        ACK, "takes the last router", {ROUTER: packed(SECOND_ROUTER) + packed(FIRST_ROUTER)}
    ),
    seconds=30,
)
def first_router(lab: Tester) -> None:
    """The server lists them in the order of preference.

    1. The client gets its address, and two routers with it.
    2. The Host's program sends a datagram to another network. It asks for the hardware address of
       the first router, not of the second.
    """
    lab.own(FIRST_ROUTER)
    _route(lab, Server(lab), packed(FIRST_ROUTER) + packed(SECOND_ROUTER))
    lab.expect(arp(op=1, pdst=FIRST_ROUTER), 2000, but_not=arp(op=1, pdst=SECOND_ROUTER))


@bare(
    "DHCP-4.4",
    "The client announces its new address",
    rfc=RFC,
    section="4.4.1",
    level=Level.SHOULD,
    mutant=dropping(is_arp, "announces nothing"),
    seconds=30,
)
def announced(lab: Tester) -> None:
    """Others may still have the hardware address of the previous owner.

    1. The client gets its address.
    2. It broadcasts an ARP packet in which sender and target are this address.
    """
    server = Server(lab)
    server.requested()
    server.reply(ACK)
    announcement = arp(psrc=LEASED, pdst=LEASED, hwsrc=lab.host_mac)
    lab.expect(ether(dst=BROADCAST) / announcement, CHECKED_S * 1000)


@bare(
    "DHCP-4.5",
    "After a NAK the client begins again",
    rfc=RFC,
    section="3.1",
    mutant=deaf(lambda frame: kind_of(frame) == NAK, "does not take no for an answer"),
    seconds=40,
)
def refused(lab: Tester) -> None:
    """The address that was offered has gone to another.

    1. The server makes an OFFER, and answers the REQUEST with a NAK.
    2. The client sends a DISCOVER, in another transaction, and no more REQUESTs before.
    """
    server = Server(lab)
    first = server.requested()
    server.reply(NAK)
    again = server.expect(DISCOVER, 20, but_not=message(REQUEST))
    differs = again[BOOTP].xid != first[BOOTP].xid
    lab.check(differs, "another transaction", hex(again[BOOTP].xid))


@bare(
    "DHCP-4.6",
    "An ACK of another transaction is discarded",
    rfc=RFC,
    section="4.1",
    mutant=unidentified("takes ACKs of any transaction"),
    seconds=30,
)
def other_ack(lab: Tester) -> None:
    """It is another client's.

    1. The server answers the REQUEST with an ACK that has another transaction identifier.
    2. The Host does not take the address.
    """
    server = Server(lab)
    asked = server.requested()
    server.reply(ACK, xid=asked[BOOTP].xid ^ 0x100)
    lab.check(not server.has(12), "no address", lab.host.addresses())


@bare(
    "DHCP-4.7",
    "An address that was only offered is not used",
    rfc=RFC,
    section="3.1",
    mutant=Mutant(
        "answers for what it was offered",
        answer=lambda frame: (
            Ether(src="02:00:5e:00:53:02", dst=frame.src)
            / ARP(op=2, psrc=LEASED, hwsrc="02:00:5e:00:53:02", pdst="192.0.2.1", hwdst=frame.src)
            if is_arp(frame) and frame[ARP].pdst == LEASED
            else None
        ),
    ),
)
def offered_only(lab: Tester) -> None:
    """The client is configured when the ACK has come.

    1. The server makes an OFFER, and does not answer the REQUEST.
    2. The Host does not list the address, and does not answer an ARP request for it.
    """
    server = Server(lab)
    server.requested()
    lab.check(not server.holds(), "no address", lab.host.addresses())
    lab.send(lab.arp_request(pdst=LEASED))
    lab.expect_nothing(arp(op=2, psrc=LEASED), 500)


@bare(
    "DHCP-4.8",
    "Unexpected answers do nothing to a lease",
    rfc=RFC,
    section="4.4",
    mutant=repeating(DISCOVER, NAK, "takes a NAK at any time"),
    seconds=40,
)
def bound_discards(lab: Tester) -> None:
    """In the state BOUND the client discards them (figure 5).

    1. The client has its address.
    2. A NAK, an OFFER and an ACK with another address come, all of the last transaction.
    3. The client sends nothing, and still has its address.
    """
    server = Server(lab)
    server.bind()
    lab.drain(3000)
    server.reply(NAK)
    server.reply(OFFER, yiaddr="192.0.2.51")
    server.reply(ACK, yiaddr="192.0.2.51")
    lab.expect_nothing(message(DISCOVER) | message(REQUEST), 3000)
    lab.check(server.holds(), LEASED, lab.host.addresses())


@bare(
    "DHCP-4.9",
    "What the ACK gives holds, not what the OFFER gave",
    rfc=RFC,
    section="4.4.1",
    mutant=sees(ACK, "goes by the offer", yiaddr="192.0.2.51"),
    seconds=30,
)
def ack_decides(lab: Tester) -> None:
    """The parameters are those of the ACK.

    1. The server offers the address with the mask 255.255.255.0 and acknowledges it with
       255.255.255.128.
    2. The Host has the address, with a prefix of 25 bits.
    """
    server = Server(lab)
    server.requested()
    options = [(c, packed("255.255.255.128") if c == MASK else v) for c, v in server.usual(ACK)]
    server.reply(ACK, options=options)
    server.has()
    found = lab.host.addresses()
    lab.check(f"{LEASED}/25" in found, f"{LEASED}/25", found)
