"""A case of your own: `pystack lab run --load my_case.py --case MINE-1.1 --host lwip`."""

from scapy.layers.l2 import ARP

from pystack.lab.case import case
from pystack.lab.mutant import Mutant
from pystack.lab.packets import arp
from pystack.lab.tester import Tester

MUTE = Mutant("answers no ARP", outgoing=lambda frame: None if frame.haslayer(ARP) else frame)


@case(
    "MINE-1.1",
    "Two requests for the Host's address get two replies",
    rfc="RFC 826",
    section="Packet Reception",
    mutant=MUTE,
)
def two_replies(lab: Tester) -> None:
    """Ask twice.

    1. The tester asks for the Host's hardware address, and the Host replies with it.
    2. The tester asks once more, and the Host replies once more.
    """
    for _ in range(2):
        lab.send(lab.arp_request())
        lab.expect(arp(op=2, psrc=lab.host4, hwsrc=lab.host_mac))
