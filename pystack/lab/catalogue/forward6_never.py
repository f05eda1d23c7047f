"""Forwarding of IPv6: what never leaves its link, and redirects (RFC 4291, RFC 4861 8.2)."""

from __future__ import annotations

from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6ND_Redirect,
    ICMPv6NDOptDstLLAddr,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from pystack.lab.case import case, group
from pystack.lab.catalogue._forward import (
    ELSEWHERE6,
    FAR6,
    HOST_MACS,
    NEAR6,
    TESTER_MACS,
    aimed,
    blind,
    carries,
    expect_not_forwarded,
    from_near,
    outward6,
    quoting,
    ready6,
    sourced,
    to_host,
)
from pystack.lab.catalogue._mutants import altering, computed, dropping
from pystack.lab.mutant import Mutant
from pystack.lab.packets import (
    destination_unreachable6,
    echo_reply6,
    ether,
    ipv6,
    redirect6,
    time_exceeded6,
)
from pystack.lab.plan import Topology, link_local
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

RFC = "RFC 8200"
STANDS_STILL = dropping(from_near, "forwards nothing")

routed = group("FWD", rfc=RFC, topology=Topology.ROUTER)


# --- what is never forwarded ----------------------------------------------------------------------


@routed(
    "FWD-10.1",
    "A packet from a link-local address does not leave its link",
    rfc="RFC 4291",
    section="2.5.6",
    mutant=blind("does not look at the source", sourced("fe80::77"), src=NEAR6),
)
def from_link_local(lab: Tester) -> None:
    """Nobody beyond the link could answer it.

    1. The tester sends a datagram for the other wire from fe80::77.
    2. It does not come there.
    """
    ready6(lab)
    lab.own("fe80::77")
    lab.send(to_host(outward6(src="fe80::77")))
    expect_not_forwarded(lab, family=6)


@routed(
    "FWD-10.2",
    "Its sender is told that the destination is beyond the scope of the source",
    rfc="RFC 4443",
    section="3.1",
    level=Level.SHOULD,
    mutant=altering(ICMPv6DestUnreach, "gives another reason", code=0),
)
def beyond_scope(lab: Tester) -> None:
    """So that it chooses another address.

    1. The tester sends a datagram for the other wire from fe80::77.
    2. A destination unreachable with code 2 comes back to it.
    """
    ready6(lab)
    lab.own("fe80::77")
    lab.send(to_host(outward6(src="fe80::77")))
    lab.expect(
        ipv6(dst="fe80::77") / destination_unreachable6(code=2) / quoting("fe80::77", FAR6), 2000
    )


@routed(
    "FWD-10.3",
    "A packet to a link-local address does not leave its link",
    rfc="RFC 4291",
    section="2.5.6",
    mutant=blind("takes it for any other", aimed("fe80::99"), dst=FAR6),
)
def to_link_local(lab: Tester) -> None:
    """There may be the same on the other.

    1. The tester sends a datagram to fe80::99, by the router's hardware address.
    2. It comes out of neither interface.
    """
    ready6(lab)
    lab.send(to_host(outward6(dst="fe80::99")))
    expect_not_forwarded(lab, family=6)


@routed(
    "FWD-10.4",
    "A packet from the unspecified address is never forwarded",
    rfc="RFC 4291",
    section="2.5.2",
    mutant=blind("does not look at the source", sourced("::"), src=NEAR6),
)
def from_unspecified(lab: Tester) -> None:
    """It says that its sender has no address yet.

    1. The tester sends a datagram for the other wire from ::.
    2. It does not come there.
    """
    ready6(lab)
    lab.send(to_host(outward6(src="::")))
    expect_not_forwarded(lab, family=6)


@routed(
    "FWD-10.5",
    "A packet from the loopback address is never forwarded",
    rfc="RFC 4291",
    section="2.5.3",
    mutant=blind("does not look at the source", sourced("::1"), src=NEAR6),
)
def from_loopback(lab: Tester) -> None:
    """It does not even leave a host.

    1. The tester sends a datagram for the other wire from ::1.
    2. It does not come there.
    """
    ready6(lab)
    lab.send(to_host(outward6(src="::1")))
    expect_not_forwarded(lab, family=6)


@routed(
    "FWD-10.6",
    "A packet to the loopback address is never forwarded",
    rfc="RFC 4291",
    section="2.5.3",
    mutant=blind("takes it for any other", aimed("::1"), dst=FAR6),
)
def to_loopback(lab: Tester) -> None:
    """Even if a default route would carry it.

    1. The router has a default route by the second wire. The tester sends a datagram to ::1.
    2. It does not come out.
    """
    ready6(lab)
    lab.host.add_route("::/0", FAR6, 1)
    lab.send(to_host(outward6(dst="::1")))
    expect_not_forwarded(lab, family=6)


@routed(
    "FWD-10.7",
    "A packet for a group of the link is not forwarded",
    rfc="RFC 4291",
    section="2.7",
    mutant=blind("takes a group for a host", aimed("ff02::99"), dst=FAR6, mac=HOST_MACS[0]),
)
def to_link_group(lab: Tester) -> None:
    """Its scope stands in the address.

    1. The tester sends a datagram to ff02::99.
    2. It does not come out of the second interface.
    """
    ready6(lab)
    lab.send(to_host(outward6(dst="ff02::99"), "33:33:00:00:00:99"))
    expect_not_forwarded(lab, family=6)


@routed(
    "FWD-10.8",
    "A packet from a group is not forwarded",
    rfc="RFC 4291",
    section="2.7",
    mutant=blind("does not look at the source", sourced("ff0e::99"), src=NEAR6),
)
def from_group(lab: Tester) -> None:
    """A group can't send.

    1. The tester sends a datagram for the other wire from ff0e::99.
    2. It does not come there, and nothing comes back.
    """
    ready6(lab)
    lab.send(to_host(outward6(src="ff0e::99")))
    expect_not_forwarded(lab, family=6)


def _sends_on(frame: Packet) -> Packet | None:
    if not frame.haslayer(UDP) or frame.dst != HOST_MACS[0]:
        return None
    on: Packet = frame.copy()
    on.src, on.dst = HOST_MACS[0], TESTER_MACS[0]
    on[IPv6].hlim -= 1
    return computed(on)


@case(
    "FWD-10.9",
    "A host that is no router forwards no IPv6 packet, and says nothing",
    rfc=RFC,
    section="2",
    topology=Topology.HOST,
    mutant=Mutant("forwards although nobody asked it to", answer=_sends_on),
)
def no_router(lab: Tester) -> None:
    """What makes a router is that it forwards.

    1. A datagram for another network comes to the Host's hardware address.
    2. It is not sent on, and no error comes. The Host still answers an echo request.
    """
    lab.resolve(6)
    lab.send(to_host(outward6(dst=ELSEWHERE6)))
    lab.expect_nothing(carries() | destination_unreachable6() | time_exceeded6(), 400)
    lab.send(lab.echo6())
    lab.expect(echo_reply6())


# --- redirects ------------------------------------------------------------------------------------

BETTER_MAC = "02:00:5e:00:53:07"
BETTER = link_local(BETTER_MAC)


def _around(lab: Tester) -> None:
    """A route by another router, on the wire that the tester's packets come by."""
    lab.own(BETTER, BETTER_MAC)
    ready6(lab)
    lab.host.add_route("2001:db8:9::/64", BETTER, 0)
    lab.learn(BETTER, lab.host_ll)


@routed(
    "FWD-11.1",
    "A host that had better use another IPv6 router is told so",
    rfc="RFC 4861",
    section="8.2",
    level=Level.SHOULD,
    mutant=altering(ICMPv6ND_Redirect, "names itself", tgt=link_local(HOST_MACS[0])),
)
def redirect(lab: Tester) -> None:
    """Both routers are its neighbours.

    1. The router's route to 2001:db8:9::/64 is by another router on the first wire.
    2. The tester sends a datagram for there to the router.
    3. A redirect comes back, from the router's link-local address and with a hop limit of 255, that
       names the other router's link-local address for this destination.
    """
    _around(lab)
    lab.send(to_host(outward6(dst=ELSEWHERE6)))
    lab.expect(
        ipv6(src=lab.host_ll, dst=NEAR6, hlim=255) / redirect6(tgt=BETTER, dst=ELSEWHERE6), 2000
    )


@routed(
    "FWD-11.2",
    "The redirect gives the better router's hardware address",
    rfc="RFC 4861",
    section="8.2",
    level=Level.SHOULD,
    mutant=Mutant(
        "does not tell what it knows",
        outgoing=lambda frame: (
            _without_option(frame) if frame.haslayer(ICMPv6NDOptDstLLAddr) else frame
        ),
    ),
)
def redirect_option(lab: Tester) -> None:
    """So that the host need not ask.

    1. As for the redirect.
    2. It has a target link-layer address option with the other router's hardware address.
    """
    _around(lab)
    lab.send(to_host(outward6(dst=ELSEWHERE6)))
    found = lab.expect(redirect6(), 2000)
    lab.check(bool(found.haslayer(ICMPv6NDOptDstLLAddr)), "the option", found.summary())
    mac = found[ICMPv6NDOptDstLLAddr].lladdr
    lab.check(mac == BETTER_MAC, BETTER_MAC, mac)


def _without_option(frame: Packet) -> Packet:
    if frame.haslayer(ICMPv6ND_Redirect):
        frame[ICMPv6ND_Redirect].remove_payload()
        return computed(frame)
    return frame


@routed(
    "FWD-11.3",
    "What leads to a redirect of an IPv6 host is forwarded all the same",
    rfc="RFC 4861",
    section="8.2",
    mutant=STANDS_STILL,
)
def redirected_is_forwarded(lab: Tester) -> None:
    """The redirect is advice for the next packet.

    1. The router's route to 2001:db8:9::/64 is by another router on the wire that the packet comes
       by.
    2. The tester's datagram for there goes to that router, with one hop less.
    """
    _around(lab)
    lab.send(to_host(outward6(dst=ELSEWHERE6, hlim=20)))
    lab.expect(ether(dst=BETTER_MAC) / ipv6(src=NEAR6, dst=ELSEWHERE6, hlim=19), 2000)


@routed(
    "FWD-11.4",
    "A source that is no neighbour gets no redirect",
    rfc="RFC 4861",
    section="8.2",
    level=Level.SHOULD,
    mutant=Mutant(
        "tells everybody",
        answer=lambda frame: (
            Ether(src=HOST_MACS[0], dst=TESTER_MACS[0])
            / IPv6(src=link_local(HOST_MACS[0]), dst=frame[IPv6].src, hlim=255)
            / ICMPv6ND_Redirect(tgt=BETTER, dst=frame[IPv6].dst)
            if frame.haslayer(UDP)
            else None
        ),
    ),
)
def no_redirect(lab: Tester) -> None:
    """It could not follow it.

    1. The router's route to 2001:db8:9::/64 is by another router on the first wire, that to
       2001:db8:8::/64 by the tester.
    2. A datagram from 2001:db8:8::1 comes to the router, for 2001:db8:9::1.
    3. It is forwarded, and no redirect comes.
    """
    _around(lab)
    lab.host.add_route("2001:db8:8::/64", lab.tester_ll, 0)
    lab.learn(lab.tester_ll, lab.host_ll)
    lab.send(to_host(outward6(src="2001:db8:8::1", dst=ELSEWHERE6)))
    lab.expect(ether(dst=BETTER_MAC) / carries(), 2000, but_not=redirect6())
    lab.expect_nothing(redirect6(), 300)
