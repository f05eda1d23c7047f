"""What the AutoIP cases share: how an address is claimed, step by step (RFC 3927, RFC 5227)."""

from __future__ import annotations

import ipaddress

from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from pystack.lab.host import Service
from pystack.lab.packets import Match, arp, where
from pystack.lab.tester import BROADCAST, Tester

# RFC 3927 9.
PROBE_WAIT_S = 1.0
PROBE_NUM = 3
PROBE_MIN_S, PROBE_MAX_S = 1.0, 2.0
ANNOUNCE_WAIT_S = 2.0
ANNOUNCE_NUM = 2
ANNOUNCE_INTERVAL_S = 2.0
MAX_CONFLICTS = 10
RATE_LIMIT_S = 60.0
DEFEND_INTERVAL_S = 10.0

TICK_S = 0.15  # what a Host's timers may be off by
CLAIMED_S = PROBE_WAIT_S + 2 * PROBE_MAX_S + ANNOUNCE_WAIT_S + ANNOUNCE_INTERVAL_S + 3

NETWORK = ipaddress.IPv4Network("169.254.0.0/16")
FIRST = ipaddress.IPv4Address("169.254.1.0")
LAST = ipaddress.IPv4Address("169.254.254.255")
HOST_MAC = "02:00:5e:00:53:02"
STRANGER_MAC = "02:00:5e:00:53:77"
NO_MAC = "00:00:00:00:00:00"


def is_link_local(address: str) -> bool:
    """Whether an IPv4 address is of 169.254/16."""
    return ipaddress.IPv4Address(address) in NETWORK


def is_probe(frame: Packet) -> bool:
    """Whether a frame asks for a link-local address from nobody's."""
    if not frame.haslayer(ARP):
        return False
    asked = frame[ARP]
    return asked.op == 1 and asked.psrc == "0.0.0.0" and is_link_local(asked.pdst)


def is_announcement(frame: Packet) -> bool:
    """Whether a frame says that its sender has a link-local address."""
    if not frame.haslayer(ARP):
        return False
    said = frame[ARP]
    return said.psrc == said.pdst and is_link_local(said.psrc)


def probe() -> Match:
    """A probe for any link-local address."""
    return where("a probe", is_probe)


def announcement() -> Match:
    """An announcement of any link-local address."""
    return where("an announcement", is_announcement)


def start(lab: Tester) -> None:
    """Tells the Host to choose itself an address."""
    lab.call("AutoIP on")
    lab.host.service(Service.AUTOIP)


def first_probe(lab: Tester) -> Packet:
    """Starts, and waits for the first probe, as a preamble."""
    start(lab)
    with lab.preamble("a probe"):
        return lab.expect(probe(), (PROBE_WAIT_S + 2) * 1000)


def claim(lab: Tester) -> str:
    """Has the Host claim an address that nobody else wants, as a preamble."""
    with lab.preamble("an address"):
        address = str(first_probe(lab)[ARP].pdst)
        lab.drain(CLAIMED_S * 1000)
        lab.check(holds(lab, address), address, lab.host.addresses())
    return address


def holds(lab: Tester, address: str) -> bool:
    """Whether the Host has an address now."""
    return any(one.split("/")[0] == address for one in lab.host.addresses())


def conflict(address: str, op: int = 2) -> Packet:
    """An ARP packet from another host with the same address."""
    return Ether(src=STRANGER_MAC, dst=BROADCAST) / ARP(
        op=op, hwsrc=STRANGER_MAC, psrc=address, hwdst=NO_MAC, pdst=address
    )


def probe_of_another(address: str) -> Packet:
    """A probe from another host that wants the same address."""
    return Ether(src=STRANGER_MAC, dst=BROADCAST) / ARP(
        op=1, hwsrc=STRANGER_MAC, psrc="0.0.0.0", hwdst=NO_MAC, pdst=address
    )


def speaks_for(address: str) -> Match:
    """An ARP packet that gives this address as its sender's."""
    return arp(psrc=address, hwsrc=HOST_MAC)
