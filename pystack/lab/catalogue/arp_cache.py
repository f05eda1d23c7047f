"""ARP, groups 1 and 2: what a Host asks, and what it remembers (RFC 826, RFC 1122 2.3.2)."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._mutants import SILENT, altering, dropping, hiding, is_arp
from pystack.lab.mutant import Mutant
from pystack.lab.packets import arp, ether, icmp, ipv4, udp
from pystack.lab.tester import BROADCAST, Tester
from pystack.lab.verdict import Level

case = group("ARP", rfc="RFC 1122")

RFC = "RFC 826"
STRANGER, STRANGER_MAC = "192.0.2.77", "02:00:5e:00:53:77"
NEW_MAC = "02:00:5e:00:53:99"
NO_ARP = dropping(is_arp, "sends no ARP")
DEAF = hiding(is_arp, "does not see ARP")


def gratuitous(lab: Tester, mac: str, op: int = 1) -> Packet:
    """The tester tells that its address is elsewhere now."""
    target = mac if op == 2 else "00:00:00:00:00:00"
    return Ether(src=mac, dst=BROADCAST) / ARP(
        op=op, hwsrc=mac, psrc=lab.tester4, hwdst=target, pdst=lab.tester4
    )


@case(
    "ARP-1.1",
    "A packet to a neighbour whose address is not known begins with a broadcast request",
    rfc=RFC,
    section="Packet Generation",
    mutant=NO_ARP,
)
def asks_first(lab: Tester) -> None:
    """Have the Host send to the tester, of whom it knows nothing.

    1. The Host pings the tester.
    2. An ARP request for the tester's address is broadcast, from the Host's own addresses.
    """
    with lab.silent():
        lab.host.ping(lab.tester4)
        lab.expect(
            ether(src=lab.host_mac, dst=BROADCAST)
            / arp(
                op=1,
                hwtype=1,
                ptype=0x0800,
                hwlen=6,
                plen=4,
                hwsrc=lab.host_mac,
                psrc=lab.host4,
                pdst=lab.tester4,
            )
        )


@case(
    "ARP-1.2",
    "The packet that had to wait is sent when the reply has come",
    section="2.3.2.2",
    level=Level.SHOULD,
    mutant=dropping(lambda frame: bool(frame.haslayer(ICMP)), "forgets the packet"),
)
def queued(lab: Tester) -> None:
    """The first packet to a neighbour should not be the price of finding it.

    1. The Host pings the tester, and asks for its address.
    2. The tester answers; the echo request comes, to that address.
    """
    lab.host.ping(lab.tester4)
    lab.expect(ether(dst=lab.tester_mac) / ipv4(dst=lab.tester4) / icmp(type=8))


@case(
    "ARP-1.3",
    "Of several packets that wait the latest is sent",
    section="2.3.2.2",
    level=Level.SHOULD,
    mutant=dropping(lambda frame: bool(frame.haslayer(IP)), "forgets the packets"),
)
def latest_is_kept(lab: Tester) -> None:
    """At least one packet is saved for each destination, and it is the latest.

    1. The Host's program sends three datagrams to the tester, which does not answer ARP.
    2. Now it does; the third datagram comes.
    """
    sock = lab.socket(2, 2)
    with lab.silent():
        for number in (1, 2, 3):
            sock.sendto(bytes(number), (lab.tester4, 4000))
        lab.expect(arp(op=1, pdst=lab.tester4))
    lab.send(ARP(op=2, hwsrc=lab.tester_mac, psrc=lab.tester4, hwdst=lab.host_mac,
                 pdst=lab.host4))  # fmt: skip
    lab.expect(ipv4(dst=lab.tester4) / udp(dport=4000, len=8 + 3))


@case(
    "ARP-1.4",
    "Requests for one address are not sent more than once a second",
    section="2.3.2.1",
    mutant=Mutant("sends each request three times", outgoing=lambda frame: [frame] * 3),
)
def flood_prevention(lab: Tester) -> None:
    """Many packets for a neighbour that is silent must not make many requests.

    1. The Host's program sends forty datagrams in two seconds to an unused address.
    2. There are no more than about one request a second.
    """
    sock = lab.socket(2, 2)
    for _ in range(40):
        try:
            sock.sendto(b"x", (STRANGER, 4000))
        except OSError:  # it has given up, and says so
            break
        finally:
            lab.run(50)
    found = len(lab.collect(arp(op=1, pdst=STRANGER), 1000))
    lab.check(1 <= found <= 4, "one to four requests in three seconds", found)


@case(
    "ARP-1.5",
    "An address that is not on the network is reached by the router's hardware address",
    section="3.3.1.1",
    mutant=altering(Ether, "sends to another station", dst=STRANGER_MAC),
)
def router(lab: Tester) -> None:
    """ARP asks for the next hop, not for the destination.

    1. The Host pings an address of another network.
    2. It asks for the router's address, and sends the request there.
    """
    lab.host.ping("198.51.100.9")
    lab.expect(
        ether(dst=lab.tester_mac) / ipv4(dst="198.51.100.9") / icmp(type=8),
        but_not=arp(pdst="198.51.100.9"),
    )


@case(
    "ARP-1.6",
    "A reply that is broadcast is taken",
    rfc=RFC,
    section="Packet Reception",
    mutant=DEAF,
)
def broadcast_reply(lab: Tester) -> None:
    """How a reply came does not matter.

    1. The Host asks for the tester's address; the answer comes as a broadcast.
    2. The packet that waited is sent.
    """
    with lab.silent():
        lab.host.ping(lab.tester4)
        lab.expect(arp(op=1, pdst=lab.tester4))
        lab.send(
            Ether(src=lab.tester_mac, dst=BROADCAST)
            / ARP(op=2, hwsrc=lab.tester_mac, psrc=lab.tester4, hwdst=lab.host_mac,
                  pdst=lab.host4)
        )  # fmt: skip
        lab.expect(ether(dst=lab.tester_mac) / icmp(type=8))


@case(
    "ARP-1.7",
    "A broadcast is sent without asking anybody",
    rfc="RFC 894",
    section="Broadcast Address",
    mutant=altering(Ether, "sends broadcasts to one station", dst=STRANGER_MAC),
)
def broadcast(lab: Tester) -> None:
    """The network's broadcast address has its own hardware address.

    1. The Host's program sends to 255.255.255.255.
    2. The frame goes to ff:ff:ff:ff:ff:ff.
    """
    sock = lab.socket(2, 2)
    sock.setsockopt(1, 6, 1)  # SO_BROADCAST
    sock.sendto(b"all", ("192.0.2.255", 4000))
    lab.expect(ether(dst=BROADCAST) / udp(dport=4000), but_not=arp(pdst="192.0.2.255"))


@case(
    "ARP-1.8",
    "A multicast group has its hardware address from the group's number",
    rfc="RFC 1112",
    section="6.4",
    mutant=altering(Ether, "sends to groups as to everybody", dst=BROADCAST),
)
def multicast(lab: Tester) -> None:
    """The low 23 bits of the group are the hardware address's.

    1. The Host's program sends to 239.129.2.3.
    2. The frame goes to 01:00:5e:01:02:03, and no ARP request is sent.
    """
    sock = lab.socket(2, 2)
    sock.sendto(b"group", ("239.129.2.3", 4000))
    lab.expect(ether(dst="01:00:5e:01:02:03") / udp(dport=4000), but_not=arp(pdst="239.129.2.3"))


@case(
    "ARP-2.1",
    "An asker is known: the answer to its packets needs no request",
    rfc=RFC,
    section="Packet Reception",
    level=Level.SHOULD,
    mutant=Mutant(
        "asks again for each packet",
        outgoing=lambda frame: [
            Ether(src=frame.src, dst=BROADCAST)
            / ARP(op=1, psrc="192.0.2.2", pdst="192.0.2.1", hwsrc=frame.src),
            frame,
        ],
    ),
)
def learns_from_requests(lab: Tester) -> None:
    """The target of a request takes the sender's addresses into its table.

    1. The tester asks for the Host's address, and gets it.
    2. It pings the Host; the answer comes, and no request.
    """
    lab.send(lab.arp_request())
    lab.expect(arp(op=2))
    lab.send(lab.echo())
    lab.expect(icmp(type=0), but_not=arp(op=1, pdst=lab.tester4))


@case(
    "ARP-2.2",
    "A request by its owner updates an entry",
    rfc=RFC,
    section="Packet Reception",
    mutant=hiding(lambda frame: is_arp(frame) and frame[ARP].hwsrc == NEW_MAC, "keeps what it has"),
)
def merge(lab: Tester) -> None:
    """What is known is corrected by any packet, whomever it asks for.

    1. The Host knows the tester.
    2. A request for another's address comes from the tester's address, at another hardware
       address.
    3. What the Host sends to the tester goes there.
    """
    lab.resolve()
    lab.host.ping(lab.tester4)
    with lab.preamble("the Host pings"):
        lab.expect(ether(dst=lab.tester_mac) / icmp(type=8))
    lab.run(1200)  # Linux locks an entry for a second (locktime)
    lab.send(Ether(src=NEW_MAC, dst=BROADCAST) / lab.arp_request(hwsrc=NEW_MAC, pdst=STRANGER))
    lab.run(100)
    with lab.silent():
        lab.host.ping(lab.tester4)
        lab.expect(ether(dst=NEW_MAC) / icmp(type=8))


@case(
    "ARP-2.3",
    "An announcement brings an entry up to date",
    rfc="RFC 5227",
    section="3",
    mutant=DEAF,
)
def announcement(lab: Tester) -> None:
    """An announcement is a request for the sender's own address.

    1. The Host knows the tester.
    2. The tester announces that it is at another hardware address.
    3. What the Host sends to the tester goes there.
    """
    lab.resolve()
    lab.send(gratuitous(lab, NEW_MAC))
    lab.run(1100)  # Linux locks an entry for a second (locktime)
    lab.send(gratuitous(lab, NEW_MAC))
    lab.run(100)
    with lab.silent():
        lab.host.ping(lab.tester4)
        lab.expect(ether(dst=NEW_MAC) / icmp(type=8))


@case(
    "ARP-2.4",
    "A packet for another host makes no new entry",
    rfc=RFC,
    section="Packet Reception",
    mutant=Mutant(
        "learns from all that it sees",
        incoming=lambda frame: (
            Ether(src=frame.src, dst=frame.dst)
            / ARP(op=1, hwsrc=frame[ARP].hwsrc, psrc=frame[ARP].psrc, pdst="192.0.2.2")
            if is_arp(frame) and frame[ARP].psrc == STRANGER
            else frame
        ),
    ),
)
def no_entry_for_others(lab: Tester) -> None:
    """The table is for neighbours that the Host has to do with.

    1. 192.0.2.77 asks for an address that is not the Host's.
    2. The Host has no entry for it.
    """
    lab.send(
        Ether(src=STRANGER_MAC, dst=BROADCAST)
        / lab.arp_request(hwsrc=STRANGER_MAC, psrc=STRANGER, pdst="192.0.2.78")
    )
    lab.run(200)
    known = [one.address for one in lab.host.neighbours() if one.mac]
    lab.check(STRANGER not in known, f"no entry for {STRANGER}", known)


@case(
    "ARP-2.5",
    "An unsolicited reply makes no new entry",
    rfc="RFC 826",
    section="Packet Reception",
    level=Level.MAY,
    mutant=Mutant(
        "takes every reply for a request by its neighbours",
        incoming=lambda frame: (
            Ether(src=frame.src, dst=frame.dst)
            / ARP(op=1, hwsrc=frame[ARP].hwsrc, psrc=frame[ARP].psrc, pdst="192.0.2.2")
            if is_arp(frame) and frame[ARP].op == 2
            else frame
        ),
    ),
)
def unsolicited_reply(lab: Tester) -> None:
    """A table that takes what nobody asked for is anybody's to fill.

    1. A reply of 192.0.2.77's comes to everybody.
    2. The Host has no entry for it.
    """
    lab.send(
        Ether(src=STRANGER_MAC, dst=BROADCAST)
        / ARP(op=2, hwsrc=STRANGER_MAC, psrc=STRANGER, hwdst=STRANGER_MAC, pdst=STRANGER)
    )
    lab.run(200)
    known = [one.address for one in lab.host.neighbours() if one.mac]
    lab.check(STRANGER not in known, f"no entry for {STRANGER}", known)


@case(
    "ARP-2.6",
    "An entry can be listed, with the neighbour's hardware address",
    section="2.3.2.1",
    level=Level.SHOULD,
    aliases=("talk:arp-table",),
    mutant=DEAF,
)
def listed(lab: Tester) -> None:
    """Finding a fault needs a look at the table.

    1. The tester asks for the Host's address.
    2. The Host's table has the tester's addresses.
    """
    lab.send(lab.arp_request())
    lab.run(200)
    known = {one.address: one.mac for one in lab.host.neighbours()}
    lab.check(known.get(lab.tester4) == lab.tester_mac, f"{lab.tester4} {lab.tester_mac}", known)


@case(
    "ARP-2.7",
    "What is flushed is asked for again",
    section="2.3.2.1",
    aliases=("talk:arp-table",),
    mutant=NO_ARP,
)
def flushed(lab: Tester) -> None:
    """There is a way to get rid of entries that are out of date.

    1. The Host knows the tester; its table is flushed.
    2. Before it sends to the tester it asks for its address.
    """
    lab.resolve()
    lab.drain(100)
    lab.host.flush_neighbours()
    lab.host.ping(lab.tester4)
    lab.expect(arp(op=1, pdst=lab.tester4), but_not=icmp(type=8))
    lab.expect(icmp(type=8))


@case(
    "ARP-2.8",
    "An entry that is added by hand is used, and nobody is asked",
    section="2.3.2.1",
    level=Level.MAY,
    aliases=("talk:arp-table",),
    mutant=SILENT,
)
def added_by_hand(lab: Tester) -> None:
    """An operator knows better.

    1. The entry 192.0.2.77 is added to the Host's table.
    2. What it sends there goes to that hardware address, without a request.
    """
    lab.host.add_neighbour(STRANGER, STRANGER_MAC)
    lab.host.ping(STRANGER)
    lab.expect(ether(dst=STRANGER_MAC) / icmp(type=8), but_not=arp(op=1, pdst=STRANGER))


@case(
    "ARP-2.9",
    "An entry that is deleted by hand is asked for again",
    section="2.3.2.1",
    level=Level.MAY,
    aliases=("talk:arp-table",),
    mutant=NO_ARP,
)
def deleted_by_hand(lab: Tester) -> None:
    """As flushing, for one.

    1. The Host knows the tester; the entry is deleted.
    2. Before it sends to the tester it asks for its address.
    """
    lab.resolve()
    lab.drain(100)
    lab.host.delete_neighbour(lab.tester4)
    lab.host.ping(lab.tester4)
    lab.expect(arp(op=1, pdst=lab.tester4), but_not=icmp(type=8))


@case(
    "ARP-2.10",
    "A neighbour that is silent is reported unreachable to the program, or forgotten",
    section="2.3.2.2",
    level=Level.MAY,
    mutant=Mutant("keeps asking", outgoing=lambda frame: [frame] * 30),
)
def gives_up(lab: Tester) -> None:
    """Asking comes to an end.

    1. The Host pings an unused address, once.
    2. In eight seconds there are no more than ten requests for it.
    """
    lab.host.ping(STRANGER)
    found = len(lab.collect(arp(op=1, pdst=STRANGER), 8000))
    lab.check(1 <= found <= 10, "one to ten requests", found)


@case(
    "ARP-2.11",
    "A reply to the Host that it did not ask for makes no new entry",
    rfc="RFC 826",
    section="Packet Reception",
    level=Level.MAY,
    mutant=Mutant(
        "takes every reply for a request",
        incoming=lambda frame: (
            Ether(src=frame.src, dst=frame.dst)
            / ARP(op=1, hwsrc=frame[ARP].hwsrc, psrc=frame[ARP].psrc, pdst="192.0.2.2")
            if is_arp(frame) and frame[ARP].op == 2
            else frame
        ),
    ),
)
def unsolicited_reply_to_us(lab: Tester) -> None:
    """As ARP-2.5, by a reply that is for the Host alone.

    1. A reply of 192.0.2.77's comes to the Host, which has not asked.
    2. The Host has no entry for it.
    """
    lab.send(ARP(op=2, hwsrc=STRANGER_MAC, psrc=STRANGER, hwdst=lab.host_mac, pdst=lab.host4))
    lab.run(200)
    known = [one.address for one in lab.host.neighbours() if one.mac]
    lab.check(STRANGER not in known, f"no entry for {STRANGER}", known)
