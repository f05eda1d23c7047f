"""Where a packet that is sent beside a Stack goes: its NIC, its source, its next hop's MAC."""

from __future__ import annotations

import errno
import ipaddress
import threading
import time
from typing import Any

from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr
from scapy.layers.inet6 import IPv6 as IPv6Packet
from scapy.layers.l2 import ARP, Ether

from pystack.interface import Interface
from pystack.nic import Frame, Layer
from pystack.scapy.shared import Shared
from pystack.stack import Stack
from pystack.tables import NeighbourState

__all__ = ["next_hop", "source_for"]

_ASKED_TIMES, _EACH = 3, 1.0  # seconds, as in RFC 4861 10
_GOOD_FOR, _MOST = 120.0, 1024
_ADVERTISED = 14 + 40 + 24  # bytes of an advertisement at the least
_BROADCAST = "ff:ff:ff:ff:ff:ff"
_TYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}


def _interface(net: Stack, index: int) -> Interface:
    return next(one for one in net.interfaces if one.index == index)


def source_for(net: Stack, destination: str) -> str:
    """The address that the Stack would send from.

    Raises:
        OSError: ENETUNREACH, no route; EADDRNOTAVAIL, the interface has no address of the family.
    """
    route = net.routes.lookup(destination)
    if route.source is not None:
        return str(route.source)
    hop = route.gateway or ipaddress.ip_address(destination)
    own = [
        entry.address
        for entry in _interface(net, route.interface).addresses.list()
        if entry.address.version == hop.version
    ]
    own.sort(key=lambda one: (hop not in one.network, one.is_link_local != hop.is_link_local))
    if not own:
        raise OSError(errno.EADDRNOTAVAIL, f"no address of the Stack's to reach {destination} from")
    return str(own[0].ip)


def next_hop(
    net: Stack, nics: dict[int, Shared], destination: str, source: str
) -> tuple[Shared, bytes]:
    """The NIC that a packet leaves by, and the Ethernet header that it gets there, if any.

    Args:
        net: The Stack.
        nics: Those that it shares, by their interfaces' indices.
        destination: Where the packet goes.
        source: Where it comes from.

    Raises:
        OSError: ENETUNREACH, no route, or by no NIC of these; EHOSTUNREACH, nobody answers.
    """
    to = ipaddress.ip_address(destination)
    if destination == "255.255.255.255":
        index, hop = next(iter(nics)), to
    else:
        route = net.routes.lookup(destination)
        index, hop = route.interface, to if to.is_multicast else route.gateway or to
    shared = nics.get(index)
    own = any(to == entry.address.ip for one in net.interfaces for entry in one.addresses)
    if shared is None or own:
        why = "is the Stack's own" if own else f"is reached by interface {index}, not a shared NIC"
        raise OSError(errno.ENETUNREACH, f"{destination} {why}")
    if shared.layer is Layer.IP:
        return shared, b""
    interface = _interface(net, index)
    own_mac = str(interface.mac)
    mac = _group_mac(hop, interface) or _known(net, shared, hop, index)
    if mac is None:
        mac = _ask(shared, own_mac, source, hop)
    return shared, b"".join(bytes.fromhex(one.replace(":", "")) for one in (mac, own_mac)) + _TYPES[
        to.version
    ]


def _group_mac(hop: Any, interface: Interface) -> str | None:
    """Where a group's or a broadcast's frames go (RFC 1112 6.4, RFC 2464 7)."""
    if hop.version == 6:
        return "33:33:" + hop.packed[12:].hex(":") if hop.is_multicast else None
    if hop.is_multicast:
        return f"01:00:5e:{hop.packed[1] & 0x7F:02x}:{hop.packed[2:].hex(':')}"
    networks = [entry.address.network for entry in interface.addresses]
    ends = {one.broadcast_address for one in networks if one.version == 4 and one.prefixlen < 31}
    return _BROADCAST if hop in ends or str(hop) == "255.255.255.255" else None


def _known(net: Stack, shared: Shared, hop: Any, index: int) -> str | None:
    for one in net.neighbours.list():
        if (one.address, one.interface) == (hop, index):
            if one.state is not NeighbourState.INCOMPLETE:
                return one.mac
            break
    mac, until = shared.asked.get(str(hop), ("", 0.0))
    return mac if time.monotonic() < until else None


def _ask(shared: Shared, own_mac: str, source: str, hop: Any) -> str:
    """Asks for a neighbour's MAC, by ARP or neighbour discovery."""
    if hop.version == 4:
        question: Any = Ether(dst=_BROADCAST, src=own_mac) / ARP(
            op="who-has", hwsrc=own_mac, psrc=source, pdst=str(hop)
        )
    else:
        group = ipaddress.IPv6Address(b"\xff\x02" + bytes(9) + b"\x01\xff" + hop.packed[13:])
        question = (
            Ether(dst="33:33:" + group.packed[12:].hex(":"), src=own_mac)
            / IPv6Packet(src=source, dst=str(group), hlim=255)
            / ICMPv6ND_NS(tgt=str(hop))
            / ICMPv6NDOptSrcLLAddr(lladdr=own_mac)
        )
    answers: list[str] = []
    arrived = threading.Event()

    def hear(frame: Frame) -> None:
        mac = None if frame.outgoing else _answer(frame.data, hop)
        if mac is not None:
            answers.append(mac)
            arrived.set()

    shared.listen(hear)
    try:
        for _ in range(_ASKED_TIMES):
            shared.send_beside(bytes(question), sender=hear)
            if arrived.wait(_EACH):
                break
        else:
            raise OSError(errno.EHOSTUNREACH, f"no answer from {hop}, the next hop")
    finally:
        shared.unlisten(hear)
    if len(shared.asked) >= _MOST:
        shared.asked.clear()
    shared.asked[str(hop)] = answers[0], time.monotonic() + _GOOD_FOR
    return answers[0]


def _answer(data: bytes, hop: Any) -> str | None:
    """The MAC in a frame that tells it of that neighbour."""
    if hop.version == 4:
        if data[12:14] != b"\x08\x06" or data[20:22] != b"\0\2" or data[28:32] != hop.packed:
            return None
        return data[22:28].hex(":")
    # Sent by a neighbour, since no router passed it on: RFC 4861 7.1.2.
    is_neighbours = len(data) >= _ADVERTISED and data[20:22] == b"\x3a\xff"
    if data[12:14] != b"\x86\xdd" or not is_neighbours or data[54] != 136:
        return None
    frame = Ether(data)
    if ICMPv6ND_NA not in frame or frame[ICMPv6ND_NA].tgt != str(hop):
        return None
    option = frame.getlayer(ICMPv6NDOptDstLLAddr)
    return str(frame.src if option is None else option.lladdr)
