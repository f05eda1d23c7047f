"""ARP: RFC 826."""

from __future__ import annotations

from scapy.layers.l2 import ARP
from scapy.packet import Packet

from pystack.lab.case import case
from pystack.lab.mutant import Mutant
from pystack.lab.packets import arp, ether
from pystack.lab.tester import Tester


def _hardware_type_ignored(frame: Packet) -> Packet:
    if frame.haslayer(ARP):
        frame[ARP].hwtype = 1
    return frame


@case(
    "ARP-3.1",
    "A request for the Host's address is answered with its hardware address",
    rfc="RFC 826",
    section="Packet Reception",
    mutant=Mutant("answers no frame", outgoing=lambda frame: None),
    seconds=1,
)
def request_is_answered(lab: Tester) -> None:
    """Ask for the Host's address, as any neighbour would.

    1. The tester broadcasts an ARP request for the Host's IPv4 address.
    2. The Host answers the tester alone, with its own hardware address.
    """
    lab.send(lab.arp_request())
    lab.expect(
        ether(src=lab.host_mac, dst=lab.tester_mac)
        / arp(
            op=2,
            hwtype=1,
            ptype=0x0800,
            hwsrc=lab.host_mac,
            psrc=lab.host4,
            hwdst=lab.tester_mac,
            pdst=lab.tester4,
        )
    )


@case(
    "ARP-3.2",
    "A request with an unknown hardware type is not answered",
    rfc="RFC 826",
    section="Packet Reception",
    aliases=("talk:ARP-3.2",),
    mutant=Mutant("does not look at the hardware type", incoming=_hardware_type_ignored),
    seconds=1,
)
def unknown_hardware_type(lab: Tester) -> None:
    """Ask with a hardware type that is not the wire's.

    1. The tester broadcasts an ARP request for the Host's address, right in all but its hardware
       type, which is one that nobody has assigned.
    2. No reply comes.
    """
    lab.send(lab.arp_request(hwtype=0x0FFF, hwlen=6, plen=4))
    lab.expect_nothing(arp(op=2, psrc=lab.host4))
