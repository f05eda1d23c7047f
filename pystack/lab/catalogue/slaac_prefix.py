"""Stateless address autoconfiguration, group 3: addresses of prefixes (RFC 4862 5.5)."""

from __future__ import annotations

import socket
from typing import Any

from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptPrefixInfo,
    IPv6,
)
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._mutants import altering, computed, dropping, hiding
from pystack.lab.catalogue._nd import ALL_NODES as EVERYBODY
from pystack.lab.catalogue._nd import (
    ELSEWHERE,
    STRANGER_MAC,
    advertisement,
    configured,
    formed,
    has_address,
    listening,
    prefix,
    router_advertisement_of,
    seen_prefixes,
    solicitation,
    useful,
)
from pystack.lab.mutant import Mutant
from pystack.lab.packets import (
    echo_reply6,
    ipv6,
    neighbour_advertisement,
    neighbour_solicitation,
    udp,
)
from pystack.lab.plan import Topology
from pystack.lab.tester import Tester, solicited_node
from pystack.lab.verdict import Level

case = group("SLAAC-3", rfc="RFC 4862", section="5.5.3")

BARE = Topology.BARE
DAY = 24 * 3600


def advertise(lab: Tester, *options: Packet, **fields: Any) -> None:
    """The tester advertises itself as a router, with options."""
    lab.send(router_advertisement_of(lab, options=options, **fields))


def none_formed(lab: Tester, *wrong: Packet) -> None:
    """Makes sure that no address is formed of a prefix, while one is of another beside it."""
    listening(lab)
    advertise(lab, *wrong, prefix(ELSEWHERE))
    other = formed(lab, ELSEWHERE)
    lab.check(has_address(lab, other), f"{other} of the other prefix", lab.host.addresses())
    lab.run(500)
    found = [one for one in lab.host.addresses() if one.startswith("2001:db8:1:")]
    lab.check(not found, "no address of 2001:db8:1::", found)


def there(lab: Tester, address: str) -> None:
    """Makes sure that the Host has an address and answers for it."""
    lab.check(useful(lab, address), address, lab.host.addresses())
    lab.send(solicitation(lab, address))
    lab.expect(neighbour_advertisement(tgt=address, S=1))


def gone(lab: Tester, address: str) -> None:
    """Makes sure that the Host has an address no more."""
    lab.check(not useful(lab, address), f"not {address}", lab.host.addresses())
    lab.drain()
    lab.send(solicitation(lab, address))
    lab.expect_nothing(neighbour_advertisement(tgt=address), 300)


def source_to_tester(lab: Tester) -> str:
    """Which address a program's datagram to 2001:db8:1::1 comes from."""
    lab.drain()
    sock = lab.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.sendto(b"whence", (lab.tester6, 4000))
    return str(lab.expect(ipv6(dst=lab.tester6) / udp(dport=4000), 1500)[IPv6].src)


@case(
    "SLAAC-3.1",
    "Of a prefix with the flag A an address is formed",
    aliases=("v6lc:3.2.1",),
    mutant=seen_prefixes("does not look at the flag", A=0),
    topology=BARE,
)
def address_is_formed(lab: Tester) -> None:
    """Of the prefix and the interface identifier.

    1. The tester advertises 2001:db8:1::/64 with A set.
    2. The Host has an address of it and of its hardware address, and answers for it.
    """
    listening(lab)
    advertise(lab, prefix())
    address = formed(lab)
    lab.check(has_address(lab, address), address, lab.host.addresses())
    there(lab, address)


@case(
    "SLAAC-3.2",
    "Of a prefix without the flag A no address is formed",
    aliases=("v6lc:3.2.2",),
    mutant=seen_prefixes("does not look at the flag", A=1),
    topology=BARE,
)
def not_autonomous(lab: Tester) -> None:
    """It says what is on the link, if anything.

    1. The tester advertises 2001:db8:1::/64 with A clear, and 2001:db8:2::/64 with A set.
    2. The Host has an address of the second, and none of the first.
    """
    none_formed(lab, prefix(A=0))


@case(
    "SLAAC-3.3",
    "A prefix whose preferred lifetime is longer than its valid one is ignored",
    aliases=("v6lc:3.2.2",),
    mutant=seen_prefixes("does not look at it", preferredlifetime=10),
    topology=BARE,
)
def preferred_too_long(lab: Tester) -> None:
    """Nothing can be preferred that is not valid.

    1. The tester advertises 2001:db8:1::/64 that is valid for 600 s and preferred for 601 s, and
       2001:db8:2::/64.
    2. The Host has an address of the second, and none of the first.
    """
    none_formed(lab, prefix(valid=600, preferred=601))


@case(
    "SLAAC-3.4",
    "A prefix that leaves no room for the interface identifier, or too much, is ignored",
    mutant=seen_prefixes("takes all prefixes to have 64 bits", prefixlen=64),
    topology=BARE,
)
def wrong_length(lab: Tester) -> None:
    """Prefix and identifier make 128 bits together, and Ethernet's identifier has 64.

    1. The tester advertises 2001:db8:1::/63 and 2001:db8:1::/65 with A set, and 2001:db8:2::/64.
    2. The Host has an address of the last, and none of the others.
    """
    none_formed(lab, prefix(prefixlen=63), prefix(prefixlen=65))


@case(
    "SLAAC-3.5",
    "Of a prefix whose valid lifetime is zero no address is formed",
    aliases=("v6lc:3.2.2",),
    mutant=seen_prefixes("does not look at the lifetime", validlifetime=3600),
    topology=BARE,
)
def no_lifetime(lab: Tester) -> None:
    """It would be over as it begins.

    1. The tester advertises 2001:db8:1::/64 with a valid lifetime of 0, and 2001:db8:2::/64.
    2. The Host has an address of the second, and none of the first.
    """
    none_formed(lab, prefix(valid=0, preferred=0))


@case(
    "SLAAC-3.6",
    "The link-local prefix makes no address",
    mutant=altering(
        ICMPv6ND_NS,
        "probes another link-local address",
        tgt=lambda to: "fe80::1:1" if to[:5] == "2001:" else to,
    ),
    topology=BARE,
)
def link_local_prefix(lab: Tester) -> None:
    """There is such an address already, and its lifetime is not a router's business.

    1. The tester advertises fe80::/64 with A set and lifetimes of 1 s, and 2001:db8:2::/64.
    2. The Host looks for duplicates of the second prefix's address alone, and its link-local
       address is there three seconds later.
    """
    listening(lab)
    lab.need(has_address(lab, lab.host_ll), "the Host has a link-local address")
    lab.drain()
    advertise(lab, prefix("fe80::", 1, 1), prefix(ELSEWHERE))
    found = {
        one[ICMPv6ND_NS].tgt for one in lab.collect(ipv6(src="::") / neighbour_solicitation(), 3000)
    }
    other = formed(lab, ELSEWHERE)
    lab.check(found == {other}, f"a question about {other}", found)
    there(lab, lab.host_ll)


@case(
    "SLAAC-3.7",
    "An address that was formed is looked for before it is used",
    section="5.4",
    aliases=("v6lc:3.2.1",),
    mutant=dropping(
        lambda frame: bool(frame.haslayer(ICMPv6ND_NS)) and frame[IPv6].src == "::",
        "asks nobody whether an address is free",
    ),
    topology=BARE,
)
def is_probed(lab: Tester) -> None:
    """Each address by itself, whatever has been found out about others.

    1. The tester advertises a prefix.
    2. A solicitation comes from :: for the address that is formed.
    """
    listening(lab)
    lab.drain()
    advertise(lab, prefix())
    address = formed(lab)
    lab.expect(
        ipv6(src="::", dst=solicited_node(address)) / neighbour_solicitation(tgt=address), 3000
    )


@case(
    "SLAAC-3.8",
    "An address that was formed and that another host has is not used",
    section="5.4.5",
    aliases=("v6lc:3.2.1",),
    mutant=hiding(lambda frame: bool(frame.haslayer(ICMPv6ND_NA)), "does not see the other"),
    topology=BARE,
)
def is_taken(lab: Tester) -> None:
    """As any other.

    1. The tester advertises a prefix; the Host looks for duplicates of the address it forms.
    2. Another host advertises the address: the Host does not have it.
    """
    listening(lab)
    lab.drain()
    advertise(lab, prefix())
    address = formed(lab)
    lab.collect(ipv6(src="::") / neighbour_solicitation(tgt=address), 3000, at_most=1)
    lab.send(advertisement(lab, address, mac=STRANGER_MAC, destination=EVERYBODY, O=1))
    lab.run(2000)
    gone(lab, address)


@case(
    "SLAAC-3.9",
    "Two prefixes make two addresses",
    aliases=("v6lc:3.2.1",),
    mutant=Mutant(
        "takes the first prefix only",
        incoming=lambda frame: (
            _first_only(frame) if frame.haslayer(ICMPv6NDOptPrefixInfo) else frame
        ),
    ),
    topology=BARE,
)
def two_prefixes(lab: Tester) -> None:
    """Each prefix with the flag A is taken by itself.

    1. The tester advertises 2001:db8:1::/64 and 2001:db8:2::/64 at once.
    2. The Host has an address of each, and answers for both.
    """
    configured(lab, prefix(), prefix(ELSEWHERE))
    other = formed(lab, ELSEWHERE)
    lab.check(has_address(lab, other, 1000), other, lab.host.addresses())
    there(lab, formed(lab))
    there(lab, other)


def _first_only(frame: Packet) -> Packet:
    frame[ICMPv6NDOptPrefixInfo].remove_payload()
    return computed(frame)


@case(
    "SLAAC-3.10",
    "An address whose valid lifetime is over is gone",
    section="5.5.4",
    aliases=("v6lc:3.2.3",),
    mutant=seen_prefixes("does not look at the lifetime", validlifetime=3600),
    topology=BARE,
)
def invalid(lab: Tester) -> None:
    """Lifetimes are in seconds.

    1. The tester advertises a prefix that is valid for 5 seconds; the Host forms an address.
    2. Seven seconds later it has it no more.
    """
    address = configured(lab, prefix(valid=5, preferred=5))
    lab.drain(6500)
    gone(lab, address)


@case(
    "SLAAC-3.11",
    "A later advertisement prolongs the valid lifetime",
    aliases=("v6lc:3.2.3",),
    mutant=Mutant(
        "keeps to the first lifetime",
        incoming=lambda frame: (
            None
            if frame.haslayer(ICMPv6NDOptPrefixInfo)
            and frame[ICMPv6NDOptPrefixInfo].validlifetime == 3600
            else frame
        ),
    ),
    topology=BARE,
)
def prolonged(lab: Tester) -> None:
    """Routers say again and again what holds.

    1. The tester advertises a prefix that is valid for 5 seconds; the Host forms an address.
    2. It advertises it for an hour. Seven seconds later the Host has the address still.
    """
    address = configured(lab, prefix(valid=5, preferred=5))
    advertise(lab, prefix())
    lab.drain(6500)
    there(lab, address)


@case(
    "SLAAC-3.12",
    "A deprecated address is not used for what begins",
    section="5.5.4",
    level=Level.SHOULD,
    aliases=("v6lc:3.2.3",),
    mutant=seen_prefixes("does not look at the preferred lifetime", preferredlifetime=3600),
    topology=BARE,
)
def deprecated(lab: Tester) -> None:
    """When its preferred lifetime is over, others come first, though it be the nearest.

    1. The tester advertises 2001:db8:1::/64, preferred for 5 seconds, and 2001:db8:2::/64.
    2. A program's datagram to 2001:db8:1::1 comes from the address of the first.
    3. Seven seconds later one comes from the address of the second.
    """
    address = configured(lab, prefix(preferred=5), prefix(ELSEWHERE))
    other = formed(lab, ELSEWHERE)
    lab.need(has_address(lab, other), f"the Host has {other}, too")
    with lab.preamble("the nearest address is used"):
        found = source_to_tester(lab)
        lab.check(found == address, address, found)
    lab.drain(6500)
    found = source_to_tester(lab)
    lab.check(found == other, other, found)


@case(
    "SLAAC-3.13",
    "A deprecated address still receives",
    section="5.5.4",
    aliases=("v6lc:3.2.3",),
    mutant=seen_prefixes("drops it with its preference", validlifetime=5),
    topology=BARE,
)
def deprecated_receives(lab: Tester) -> None:
    """What has begun goes on.

    1. The tester advertises a prefix that is preferred for 5 seconds; the Host forms an address.
    2. Seven seconds later it answers for it, and an echo request to it.
    """
    address = configured(lab, prefix(preferred=5))
    lab.drain(6500)
    there(lab, address)
    lab.send(lab.ip6(dst=address) / ICMPv6EchoRequest(id=1, seq=1))
    lab.expect(ipv6(src=address) / echo_reply6())


@case(
    "SLAAC-3.14",
    "A preferred lifetime of zero deprecates at once",
    mutant=seen_prefixes("does not look at the preferred lifetime", preferredlifetime=3600),
    topology=BARE,
)
def deprecated_at_once(lab: Tester) -> None:
    """The preferred lifetime is always what was advertised last.

    1. The tester advertises 2001:db8:1::/64 and 2001:db8:2::/64, then the first with a preferred
       lifetime of 0.
    2. A program's datagram to 2001:db8:1::1 comes from the address of the second.
    """
    configured(lab, prefix(), prefix(ELSEWHERE))
    other = formed(lab, ELSEWHERE)
    lab.need(has_address(lab, other), f"the Host has {other}, too")
    advertise(lab, prefix(preferred=0))
    lab.run(2500)  # Linux looks at lifetimes once a second
    found = source_to_tester(lab)
    lab.check(found == other, other, found)


@case(
    "SLAAC-3.15",
    "What is valid for more than two hours can't be taken away in less",
    mutant=Mutant(
        "believes every lifetime", outgoing=lambda frame: None if _answers(frame) else frame
    ),
    topology=BARE,
)
def two_hours(lab: Tester) -> None:
    """Or a single forged advertisement would take all addresses from all hosts.

    1. The tester advertises a prefix that is valid for a day; the Host forms an address.
    2. It advertises it with lifetimes of 3 seconds, and of 0.
    3. Six seconds later the Host has the address still.
    """
    address = configured(lab, prefix(valid=DAY, preferred=DAY))
    advertise(lab, prefix(valid=3, preferred=3))
    advertise(lab, prefix(valid=0, preferred=0))
    lab.drain(6000)
    there(lab, address)


def _answers(frame: Packet) -> bool:
    return bool(frame.haslayer(ICMPv6ND_NA)) and frame[ICMPv6ND_NA].S == 1


@case(
    "SLAAC-3.16",
    "What is valid for less than two hours is not shortened",
    mutant=Mutant(
        "believes every lifetime", outgoing=lambda frame: None if _answers(frame) else frame
    ),
    topology=BARE,
)
def not_shortened(lab: Tester) -> None:
    """As for what is valid for longer.

    1. The tester advertises a prefix that is valid for an hour; the Host forms an address.
    2. It advertises it with lifetimes of 3 seconds.
    3. Six seconds later the Host has the address still.
    """
    address = configured(lab, prefix())
    advertise(lab, prefix(valid=3, preferred=3))
    lab.drain(6000)
    there(lab, address)


@case(
    "SLAAC-3.17",
    "What is valid for a day can be shortened to two hours",
    mutant=seen_prefixes("never shortens a lifetime", validlifetime=DAY),
    topology=BARE,
    seconds=7300,
)
def two_hours_later(lab: Tester) -> None:
    """A router that has changed its mind is believed, after a while.

    1. The tester advertises a prefix that is valid for a day; the Host forms an address.
    2. It advertises it with a lifetime of 10 seconds. The Host has it after an hour and 59 minutes,
       and has it no more after two hours and a little.
    """
    address = configured(lab, prefix(valid=DAY, preferred=DAY))
    advertise(lab, prefix(valid=10, preferred=0))
    lab.drain(7140_000)
    lab.check(useful(lab, address), address, lab.host.addresses())
    lab.drain(70_000)
    gone(lab, address)


@case(
    "SLAAC-3.18",
    "A lifetime of all ones has no end",
    rfc="RFC 4861",
    section="4.6.2",
    mutant=seen_prefixes("takes it for minus one", validlifetime=0, preferredlifetime=0),
    topology=BARE,
)
def infinite(lab: Tester) -> None:
    """0xffffffff is infinity.

    1. The tester advertises a prefix with both lifetimes of all ones.
    2. The Host forms an address, and has it three seconds later.
    """
    listening(lab)
    advertise(lab, prefix(valid=0xFFFFFFFF, preferred=0xFFFFFFFF))
    address = formed(lab)
    lab.check(has_address(lab, address), address, lab.host.addresses())
    lab.drain(3000)
    there(lab, address)
