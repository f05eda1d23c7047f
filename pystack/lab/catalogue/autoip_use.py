"""AutoIP: how an address is defended and used, and how far it reaches (RFC 3927 2.5 to 2.7)."""

from __future__ import annotations

import socket

from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from pystack.lab.case import case, group
from pystack.lab.catalogue._autoip import (
    DEFEND_INTERVAL_S,
    HOST_MAC,
    STRANGER_MAC,
    announcement,
    claim,
    conflict,
    holds,
    is_announcement,
    is_link_local,
    probe,
)
from pystack.lab.catalogue._dhcp import ACK, DISCOVER, OFFER, REQUEST, Server, deaf, kind_of
from pystack.lab.catalogue._mutants import computed, dropping, hiding, is_arp
from pystack.lab.host import Service
from pystack.lab.mutant import Mutant
from pystack.lab.packets import arp, ether, icmp, ipv4
from pystack.lab.plan import Topology
from pystack.lab.tester import BROADCAST, Tester
from pystack.lab.verdict import Level

RFC = "RFC 3927"
NEIGHBOUR = "169.254.7.7"
NEIGHBOUR_MAC = "02:00:5e:00:53:78"
FAR = "198.51.100.1"

bare = group("AUTOIP", rfc=RFC, topology=Topology.BARE, seconds=30)


def _is_conflict(frame: Packet) -> bool:
    return is_arp(frame) and frame[ARP].hwsrc == STRANGER_MAC


# --- defence --------------------------------------------------------------------------------------


@bare(
    "AUTOIP-4.1",
    "The first conflict is answered: the address is announced again, or given up",
    section="2.5",
    mutant=hiding(_is_conflict, "lets others use its address"),
)
def defended(lab: Tester) -> None:
    """A host may do either, but not neither.

    1. The Host has claimed an address. Another host announces the same.
    2. Within a second the Host announces it once, or begins to probe for another.
    """
    address = claim(lab)
    lab.send(conflict(address))
    lab.expect(announcement() | probe(), 2000)


@bare(
    "AUTOIP-4.2",
    "A second conflict within ten seconds makes the Host give the address up",
    section="2.5",
    mutant=hiding(_is_conflict, "never gives way"),
    seconds=40,
)
def gives_way(lab: Tester) -> None:
    """Two hosts must not fight for ever.

    1. The Host has claimed an address. Another announces the same, and once more three seconds
       later.
    2. The Host probes for another address, and has the first no more.
    """
    address = claim(lab)
    lab.send(conflict(address))
    lab.run(3000)
    lab.send(conflict(address))
    lab.run(50)
    lab.check(not holds(lab, address), "no address", lab.host.addresses())
    found = str(lab.expect(probe(), 4000)[ARP].pdst)
    lab.check(found != address, "a probe for another address", found)


@bare(
    "AUTOIP-4.3",
    "The address is not defended twice within ten seconds",
    section="2.5",
    mutant=Mutant(
        "defends itself at every turn",
        answer=lambda frame: _defence(frame) if _is_conflict(frame) else None,
    ),
    seconds=40,
)
def defends_once(lab: Tester) -> None:
    """A second defence would only be answered by another.

    1. The Host has claimed an address. Another announces the same, and once more a second later.
    2. At most one announcement of the address comes from the Host.
    """
    address = claim(lab)
    for _ in range(2):
        lab.send(conflict(address))
        lab.run(1000)
    found = len(lab.collect(announcement() / arp(psrc=address, hwsrc=lab.host_mac), 1000))
    lab.check(found <= 1, "at most one announcement", found)


def _defence(frame: Packet) -> Packet:
    address = frame[ARP].psrc
    return Ether(src=HOST_MAC, dst=BROADCAST) / ARP(
        op=1, hwsrc=HOST_MAC, psrc=address, pdst=address, hwdst="00:00:00:00:00:00"
    )


@bare(
    "AUTOIP-4.4",
    "Conflicts far enough apart do not take a defended address away",
    section="2.5",
    level=Level.MAY,
    mutant=Mutant(
        "loses its patience",
        incoming=lambda frame: frame,
        outgoing=lambda frame: None if is_announcement(frame) else frame,
    ),
    seconds=50,
)
def stays(lab: Tester) -> None:
    """A Host that defends its address keeps it if the other is quiet for ten seconds.

    1. The Host has claimed an address. Another announces the same, and once more eleven seconds
       later.
    2. Each time the Host announces it, and keeps it.
    """
    address = claim(lab)
    for _ in range(2):
        lab.send(conflict(address))
        lab.expect(announcement() / arp(psrc=address), 2000)
        lab.run((DEFEND_INTERVAL_S + 1) * 1000)
    lab.check(holds(lab, address), address, lab.host.addresses())


# --- use ------------------------------------------------------------------------------------------


def _unicast(frame: Packet) -> Packet:
    if is_arp(frame) and is_link_local(frame[ARP].psrc):
        frame.dst = frame[ARP].hwdst
    return frame


@bare(
    "AUTOIP-5.1",
    "An ARP reply from a link-local address is broadcast",
    section="2.5",
    mutant=Mutant("sends its replies unicast to the asker", outgoing=_unicast),
)
def replies_are_broadcast(lab: Tester) -> None:
    """So that everybody learns of a conflict as early as may be.

    1. The Host has claimed an address, and a neighbour asks for it.
    2. The reply goes to the broadcast hardware address.
    """
    address = claim(lab)
    lab.send(lab.arp_request(psrc=NEIGHBOUR, pdst=address))
    found = lab.expect(arp(op=2, psrc=address))
    lab.check(found.dst == BROADCAST, BROADCAST, found.dst)


@bare(
    "AUTOIP-5.2",
    "A neighbour with a link-local address is reached without a router",
    section="2.6.2",
    mutant=Mutant(
        "sends everything to a router",
        outgoing=lambda frame: (
            _to_router(frame) if frame.haslayer(IP) and is_link_local(frame[IP].dst) else frame
        ),
    ),
)
def neighbour(lab: Tester) -> None:
    """Send to one.

    1. The Host has claimed an address. Its program sends a datagram to 169.254.7.7.
    2. The Host asks for that by ARP, and sends the datagram to the host that answers.
    """
    address = claim(lab)
    lab.own(NEIGHBOUR, NEIGHBOUR_MAC)
    sender = lab.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.sendto(b"neighbour", (NEIGHBOUR, 4000))
    lab.expect(ether(dst=NEIGHBOUR_MAC) / ipv4(src=address, dst=NEIGHBOUR), 2000)


def _to_router(frame: Packet) -> Packet:
    frame.dst = "02:00:5e:00:53:01"
    return frame


@bare(
    "AUTOIP-5.3",
    "A Host with a link-local address alone sends nothing to a router",
    section="2.6.2",
    mutant=Mutant(
        "lets a router carry its packets",
        answer=lambda frame: (
            Ether(src=HOST_MAC, dst=NEIGHBOUR_MAC) / IP(src="169.254.9.9", dst=FAR) / Raw(b"far")
            if is_arp(frame) and frame[ARP].op == 1
            else None
        ),
    ),
    seconds=40,
)
def no_router(lab: Tester) -> None:
    """Its address means nothing beyond the link.

    1. The Host has claimed an address, and is told of a router: 169.254.7.7.
    2. Its program sends a datagram to another network. Whether that fails or the Host asks for the
       address itself: no packet goes to the router.
    """
    address = claim(lab)
    lab.own(NEIGHBOUR, NEIGHBOUR_MAC)
    lab.host.add_route("0.0.0.0/0", NEIGHBOUR)
    lab.send(lab.arp_request(psrc=NEIGHBOUR, hwsrc=NEIGHBOUR_MAC, pdst=address))
    sender = lab.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sender.sendto(b"far away", (FAR, 4000))
    except OSError as error:
        lab.note(f"sendto: {error}")
    lab.expect_nothing(ether(dst=NEIGHBOUR_MAC) / ipv4(dst=FAR), 3000)


@bare(
    "AUTOIP-5.4",
    "A datagram to 169.254.255.255 is broadcast",
    section="2.6.2",
    mutant=dropping(
        lambda frame: bool(frame.haslayer(IP)) and frame[IP].dst == "169.254.255.255",
        "has no broadcast address",
    ),
)
def link_local_broadcast(lab: Tester) -> None:
    """It is the network's broadcast address.

    1. The Host has claimed an address. Its program sends a datagram to 169.254.255.255.
    2. It goes to the broadcast hardware address, and nobody is asked by ARP.
    """
    claim(lab)
    sender = lab.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sender.sendto(b"all", ("169.254.255.255", 4000))
    lab.expect(
        ether(dst=BROADCAST) / ipv4(dst="169.254.255.255"),
        1000,
        but_not=arp(pdst="169.254.255.255"),
    )


@bare(
    "AUTOIP-5.5",
    "A leased address takes the place of a link-local one",
    section="1.9",
    level=Level.SHOULD,
    mutant=deaf(lambda frame: kind_of(frame) == ACK, "does not take a better address"),
    seconds=60,
)
def better_address(lab: Tester) -> None:
    """A host with a routable address should not use the other for new communication.

    1. The Host has claimed an address; DHCP is switched on too, and a server gives a lease.
    2. The Host has the leased address, and a datagram to that network comes from it.
    """
    claim(lab)
    server = Server(lab)
    server.start()
    with lab.preamble("the client's messages"):
        server.expect(DISCOVER)
        server.reply(OFFER)
        server.expect(REQUEST)
    server.reply(ACK)
    lab.check(server.has(), server.leased, lab.host.addresses())
    sender = lab.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.sendto(b"better", (lab.tester4, 4000))
    lab.expect(ipv4(src=server.leased, dst=lab.tester4), 2000)


@bare(
    "AUTOIP-5.6",
    "A Host that stops gives its address up",
    section="2.1",
    level=Level.MAY,
    mutant=Mutant(
        "answers for an address that it has given up",
        answer=lambda frame: (
            _reply(frame) if is_arp(frame) and is_link_local(frame[ARP].pdst) else None
        ),
    ),
)
def stopped(lab: Tester) -> None:
    """It is another's to choose.

    1. The Host has claimed an address; AutoIP is switched off.
    2. It has the address no more, and answers no ARP request for it.
    """
    address = claim(lab)
    lab.host.service(Service.AUTOIP, False)
    lab.drain(100)
    lab.check(not holds(lab, address), "no address", lab.host.addresses())
    lab.send(lab.arp_request(psrc=NEIGHBOUR, pdst=address))
    lab.expect_nothing(arp(op=2), 500)


def _reply(frame: Packet) -> Packet:
    asked = frame[ARP]
    return Ether(src=HOST_MAC, dst=frame.src) / ARP(
        op=2, hwsrc=HOST_MAC, psrc=asked.pdst, hwdst=asked.hwsrc, pdst=asked.psrc
    )


# --- how far it reaches ---------------------------------------------------------------------------


def _routed_anyway(frame: Packet) -> Packet:
    """What asks for a link-local neighbour, as if the router had been asked for."""
    if is_arp(frame) and is_link_local(frame[ARP].pdst):
        frame[ARP].pdst = "192.0.2.1"
    return frame


@case(
    "AUTOIP-6.1",
    "A link-local destination is on the link for a Host with a routable address too",
    rfc=RFC,
    section="2.6.2",
    mutant=Mutant("sends it to its router", outgoing=_routed_anyway),
)
def direct(lab: Tester) -> None:
    """No router forwards such a packet.

    1. The Host has 192.0.2.2 and a default router. Its program sends a datagram to 169.254.7.7.
    2. The Host asks for 169.254.7.7 by ARP, and does not send the datagram to the router.
    """
    lab.resolve()
    sender = lab.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.sendto(b"neighbour", (NEIGHBOUR, 4000))
    lab.expect(
        arp(op=1, pdst=NEIGHBOUR), 2000, but_not=ether(dst=lab.tester_mac) / ipv4(dst=NEIGHBOUR)
    )


def _forwarded(frame: Packet) -> Packet | None:
    """What a Host sends on the same wire that forwards whatever comes."""
    if not frame.haslayer(IP) or not frame.haslayer(ICMP) or frame.dst != HOST_MAC:
        return None
    on: Packet = frame.copy()
    on.src, on.dst = HOST_MAC, "02:00:5e:00:53:01"
    on[IP].ttl -= 1
    return computed(on)


@case(
    "AUTOIP-6.2",
    "An ordinary host does not forward link-local packets",
    rfc=RFC,
    section="2.7",
    mutant=Mutant("forwards what is not for it", answer=_forwarded),
)
def not_forwarded(lab: Tester) -> None:
    """Nobody does.

    1. Packets come to the Host's hardware address: from 169.254.7.7 to another network, and from
       the tester to 169.254.7.8.
    2. Neither is sent on. The Host still answers an echo request.
    """
    lab.resolve()
    for source, target in ((NEIGHBOUR, FAR), (lab.tester4, "169.254.7.8")):
        lab.send(
            Ether(src=lab.tester_mac, dst=lab.host_mac)
            / IP(src=source, dst=target)
            / ICMP(type=8, id=7)
        )
    lab.expect_nothing(ipv4(dst=FAR) | ipv4(dst="169.254.7.8") | arp(pdst="169.254.7.8"), 500)
    lab.send(lab.echo())
    lab.expect(icmp(type=0))
