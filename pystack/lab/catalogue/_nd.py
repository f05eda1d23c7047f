"""What cases about neighbours and routers share (RFC 4861, RFC 4862)."""

from __future__ import annotations

import ipaddress
from typing import Any

from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptMTU,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    in6_chksum,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from pystack.lab.catalogue._mutants import computed
from pystack.lab.host import Service
from pystack.lab.mutant import Mutant
from pystack.lab.packets import (
    Match,
    echo_request6,
    ether,
    ipv6,
    neighbour_advertisement,
    neighbour_solicitation,
    router_solicitation,
)
from pystack.lab.plan import link_local
from pystack.lab.tester import Tester, multicast_mac, solicited_node

__all__ = [
    "ALL_NODES",
    "ALL_ROUTERS",
    "ELSEWHERE",
    "EMPTY_OPTION",
    "FAR",
    "NEW_MAC",
    "ON_LINK",
    "PREFIX",
    "R2",
    "R2_MAC",
    "STRANGER",
    "STRANGER_MAC",
    "UNKNOWN_OPTION",
    "advertisement",
    "asks_for",
    "configured",
    "formed",
    "goes_to",
    "has_address",
    "ignores",
    "is_nd",
    "listening",
    "mtu",
    "prefix",
    "reachable",
    "redirect",
    "router_advertisement_of",
    "seen_prefixes",
    "shortened",
    "solicitation",
    "state",
    "still_answers",
    "useful",
]

ALL_NODES, ALL_ROUTERS = "ff02::1", "ff02::2"
STRANGER, STRANGER_MAC = "2001:db8:1::77", "02:00:5e:00:53:77"
NEW_MAC = "02:00:5e:00:53:99"
# A second router, and a host that is reached by routers alone.
R2_MAC = "02:00:5e:00:53:22"
R2 = link_local(R2_MAC)
FAR = "2001:db8:ff::9"
# What routers advertise, and a neighbour in it.
PREFIX = "2001:db8:1::"
ON_LINK = "2001:db8:1::77"
ELSEWHERE = "2001:db8:2::"

UNKNOWN_OPTION = Raw(bytes((0xC8, 1, 1, 2, 3, 4, 5, 6)))
EMPTY_OPTION = Raw(bytes(8))  # of length zero


def is_nd(frame: Packet) -> bool:
    """Whether a frame carries Neighbor Discovery."""
    return any(
        frame.haslayer(kind) for kind in (ICMPv6ND_NS, ICMPv6ND_NA, ICMPv6ND_RA, ICMPv6ND_Redirect)
    )


# --- packets of the tester's ------------------------------------------------------------------


def _framed(lab: Tester, mac: str, packet: Packet, port: int = 0) -> Packet:
    destination = packet[IPv6].dst
    group = ipaddress.ip_address(destination).is_multicast
    target = multicast_mac(destination) if group else lab.plan.ports[port].host_mac
    return Ether(src=mac, dst=target) / packet


def solicitation(
    lab: Tester,
    target: str = "",
    *,
    source: str = "",
    destination: str = "",
    mac: str = "",
    hlim: int = 255,
    options: tuple[Packet, ...] | None = None,
    port: int = 0,
    **fields: Any,
) -> Packet:
    """A neighbour solicitation, of the tester's for the Host's address unless it is said else.

    Args:
        lab: The case's tester.
        target: Whose hardware address is wanted.
        source: The sender.
        destination: Default: the target's solicited-node group.
        mac: The sender's hardware address.
        hlim: The hop limit.
        options: Default: the sender's hardware address.
        port: On which wire.
        fields: Other fields of the message.
    """
    wire = lab.plan.ports[port]
    target = target or wire.host6
    mac = mac or wire.tester_mac
    packet = IPv6(
        src=source or wire.tester6, dst=destination or solicited_node(target), hlim=hlim
    ) / ICMPv6ND_NS(tgt=target, **fields)
    for option in (ICMPv6NDOptSrcLLAddr(lladdr=mac),) if options is None else options:
        packet /= option
    return _framed(lab, mac, packet, port)


def advertisement(
    lab: Tester,
    target: str = "",
    *,
    destination: str = "",
    mac: str = "",
    hlim: int = 255,
    options: tuple[Packet, ...] | None = None,
    **fields: Any,
) -> Packet:
    """A neighbour advertisement of the target's to the Host; flags are zero unless given.

    For the arguments see `solicitation`.
    """
    target = target or lab.tester6
    mac = mac or lab.tester_mac
    packet = IPv6(src=target, dst=destination or lab.host6, hlim=hlim) / ICMPv6ND_NA(
        **{"tgt": target, "R": 0, "S": 0, "O": 0, **fields}
    )
    for option in (ICMPv6NDOptDstLLAddr(lladdr=mac),) if options is None else options:
        packet /= option
    return _framed(lab, mac, packet)


def router_advertisement_of(
    lab: Tester,
    source: str = "",
    mac: str = "",
    *,
    options: tuple[Packet, ...] = (),
    hlim: int = 255,
    with_mac: bool = True,
    **fields: Any,
) -> Packet:
    """A router advertisement to all nodes.

    Args:
        lab: The case's tester.
        source: The router's link-local address; default: the tester's.
        mac: Its hardware address.
        options: After the router's hardware address.
        hlim: The hop limit of the packet.
        with_mac: Whether it has the router's hardware address as an option.
        fields: As `routerlifetime`, `chlim`, `reachabletime`, `retranstimer`.
    """
    mac = mac or lab.tester_mac
    packet = IPv6(src=source or lab.tester_ll, dst=ALL_NODES, hlim=hlim) / ICMPv6ND_RA(
        **{"routerlifetime": 1800, "chlim": 0, **fields}
    )
    if with_mac:
        packet /= ICMPv6NDOptSrcLLAddr(lladdr=mac)
    for option in options:
        packet /= option
    return _framed(lab, mac, packet)


def prefix(
    network: str = PREFIX, valid: int = 3600, preferred: int = 3600, **fields: Any
) -> Packet:
    """A prefix information option; `L`, `A` and `prefixlen` are 1, 1 and 64 unless given."""
    return ICMPv6NDOptPrefixInfo(
        prefix=network, validlifetime=valid, preferredlifetime=preferred, **fields
    )


def seen_prefixes(words: str, **fields: int) -> Mutant:
    """A Host to whom every prefix that is advertised has these fields."""

    def change(frame: Packet) -> Packet:
        option = frame.getlayer(ICMPv6NDOptPrefixInfo)
        if option is None:
            return frame
        while option is not None:
            for name, value in fields.items():
                setattr(option, name, value)
            option = option.payload.getlayer(ICMPv6NDOptPrefixInfo)
        return computed(frame)

    return Mutant(words, incoming=change)


def mtu(size: int) -> Packet:
    """An MTU option."""
    return ICMPv6NDOptMTU(mtu=size)


def shortened(frame: Packet, size: int) -> Packet:
    """A frame whose ICMPv6 message ends after `size` octets, with a checksum that is right."""
    header = frame[IPv6]
    message = bytes(computed(frame)[IPv6].payload)[:size]
    plain = IPv6(src=header.src, dst=header.dst, hlim=header.hlim, nh=58)
    total = int(in6_chksum(58, plain, message[:2] + bytes(2) + message[4:]))  # type: ignore[no-untyped-call]
    data = Raw(message[:2] + total.to_bytes(2, "big") + message[4:])
    return Ether(src=frame.src, dst=frame.dst) / plain / data


def redirect(
    lab: Tester,
    target: str = R2,
    about: str = FAR,
    *,
    source: str = "",
    destination: str = "",
    mac: str = R2_MAC,
    hlim: int = 255,
    options: tuple[Packet, ...] | None = None,
    **fields: Any,
) -> Packet:
    """A redirect of the tester's: what is for `about` is better sent to `target`.

    For the other arguments see `solicitation`; the option is the target's hardware address.
    """
    packet = IPv6(
        src=source or lab.tester_ll, dst=destination or formed(lab), hlim=hlim
    ) / ICMPv6ND_Redirect(tgt=target, dst=about, **fields)
    for option in (ICMPv6NDOptDstLLAddr(lladdr=mac),) if options is None else options:
        packet /= option
    return _framed(lab, lab.tester_mac, packet)


# --- what the Host is brought to ---------------------------------------------------------------


def formed(lab: Tester, network: str = PREFIX) -> str:
    """The address that the Host forms of a prefix and its hardware address."""
    packed = ipaddress.IPv6Address(network).packed[:8]
    return str(ipaddress.IPv6Address(packed + ipaddress.IPv6Address(lab.host_ll).packed[8:]))


def listening(lab: Tester) -> None:
    """Has the Host look for routers, and waits until it asks for them."""
    lab.host.service(Service.SLAAC)
    with lab.preamble("the Host solicits routers"):
        lab.expect(router_solicitation(), 10000)


def has_address(lab: Tester, address: str, within_ms: float = 6000) -> bool:
    """Waits until the Host may use an address; whether it came to that."""
    until = lab.now + within_ms / 1000
    while not useful(lab, address):
        if lab.now >= until:
            return False
        lab.run(100)
    return True


def useful(lab: Tester, address: str) -> bool:
    """Whether the Host has an address that it may use."""
    return any(one.partition("/")[0] == address for one in lab.host.addresses())


def configured(lab: Tester, *options: Packet, **fields: Any) -> str:
    """The Host has an address from the tester, its router; returns the address.

    Args:
        lab: The case's tester.
        options: Of the advertisement; default: the prefix 2001:db8:1::/64.
        fields: The advertisement's.
    """
    listening(lab)
    lab.send(router_advertisement_of(lab, options=options or (prefix(),), **fields))
    address = formed(lab)
    lab.need(has_address(lab, address), f"the Host has no address {address}")
    lab.drain(100)
    return address


def reachable(lab: Tester) -> None:
    """The Host has pinged the tester, and knows that it is reachable."""
    lab.host.ping(lab.tester6)
    with lab.preamble("the Host pings"):
        lab.expect(ether(dst=lab.tester_mac) / echo_request6())
    lab.run(50)
    found = state(lab, lab.tester6)
    lab.need(found == (lab.tester_mac, "reachable"), f"the tester is reachable, not {found}")


# --- what is asked of it -----------------------------------------------------------------------


def state(lab: Tester, address: str) -> tuple[str, str]:
    """What the Host's table has of a neighbour: its hardware address and state; "", "": nothing."""
    for one in lab.host.neighbours():
        if one.address.partition("%")[0] == address and one.state != "failed":
            return one.mac, one.state
    return "", ""


def asks_for(target: str) -> Match:
    """A solicitation for an address, be it to its group or to itself."""
    return neighbour_solicitation(tgt=target)


def goes_to(lab: Tester, mac: str, destination: str = FAR, within_ms: float = 1500) -> None:
    """Makes sure that what the Host sends to a destination goes to this hardware address."""
    lab.drain()
    lab.host.ping(destination)
    lab.expect(
        ether(dst=mac) / ipv6(dst=destination) / echo_request6(),
        within_ms,
        but_not=ipv6(dst=destination) / echo_request6(),
    )


def still_answers(lab: Tester, target: str = "") -> None:
    """Makes sure that the Host answers a solicitation that is right."""
    lab.send(solicitation(lab, target, source=lab.tester_ll))
    lab.expect(neighbour_advertisement(tgt=target or lab.host6))


def ignores(lab: Tester, wrong: Packet, target: str = "") -> None:
    """Makes sure that a solicitation is not answered, while one that is right is."""
    lab.send(wrong)
    lab.expect_nothing(neighbour_advertisement(), 300)
    still_answers(lab, target)
