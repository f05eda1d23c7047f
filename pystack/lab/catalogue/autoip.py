"""AutoIP: how a link-local address is chosen, claimed and announced (RFC 3927 2.1 to 2.4)."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from itertools import pairwise

from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._autoip import (
    ANNOUNCE_INTERVAL_S,
    ANNOUNCE_NUM,
    ANNOUNCE_WAIT_S,
    CLAIMED_S,
    FIRST,
    HOST_MAC,
    LAST,
    MAX_CONFLICTS,
    NO_MAC,
    PROBE_MAX_S,
    PROBE_MIN_S,
    PROBE_NUM,
    PROBE_WAIT_S,
    RATE_LIMIT_S,
    STRANGER_MAC,
    TICK_S,
    announcement,
    claim,
    conflict,
    first_probe,
    holds,
    is_announcement,
    is_link_local,
    is_probe,
    probe,
    probe_of_another,
    speaks_for,
    start,
)
from pystack.lab.catalogue._mutants import altering, hiding, is_arp
from pystack.lab.host import Service
from pystack.lab.mutant import Mutant
from pystack.lab.packets import arp, ether, where
from pystack.lab.plan import Topology
from pystack.lab.tester import BROADCAST, Tester
from pystack.lab.verdict import Level

RFC = "RFC 3927"

bare = group("AUTOIP", rfc=RFC, topology=Topology.BARE)


def _seen_elsewhere(address: Callable[[str], str]) -> Callable[[Packet], Packet]:
    """Gives link-local addresses in ARP another value."""

    def change(frame: Packet) -> Packet:
        if is_arp(frame):
            for name in ("psrc", "pdst"):
                found = frame[ARP].getfieldval(name)
                if is_link_local(found):
                    setattr(frame[ARP], name, address(found))
        return frame

    return change


class _Sequence:
    """Lets some of the probes out only, or each of them more than once."""

    def __init__(self, times: Callable[[int], int], which: Callable[[Packet], bool]) -> None:
        self._times = times
        self._which = which
        self._count = 0

    def reset(self) -> None:
        self._count = 0

    def __call__(self, frame: Packet) -> list[Packet]:
        if not self._which(frame):
            return [frame]
        self._count += 1
        return [frame] * self._times(self._count)


class _Counting:
    """Probes for one address after the other."""

    def __init__(self) -> None:
        self._next = int(FIRST)

    def reset(self) -> None:
        self._next = int(FIRST)

    def __call__(self, frame: Packet) -> Packet:
        if is_probe(frame):
            self._next += 1
            frame[ARP].pdst = str(ipaddress.IPv4Address(self._next))
        return frame


# --- the choice -----------------------------------------------------------------------------------


@bare(
    "AUTOIP-1.1",
    "The address is one of 169.254.1.0 to 169.254.254.255",
    section="2.1",
    mutant=Mutant(
        "takes any of the network's addresses",
        outgoing=_seen_elsewhere(lambda found: "169.254.0." + found.rsplit(".", 1)[1]),
    ),
    seconds=40,
)
def in_range(lab: Tester) -> None:
    """The first and the last 256 addresses are kept for other uses.

    1. AutoIP is switched on; others have each of the first four addresses that the Host
       probes for.
    2. All five are of the range.
    """
    start(lab)
    for turn in range(5):
        found = str(lab.expect(probe(), 4000)[ARP].pdst)
        inside = FIRST <= ipaddress.IPv4Address(found) <= LAST
        lab.check(inside, f"an address from {FIRST} to {LAST}", found)
        if turn < 4:
            lab.send(conflict(found))
            lab.drain()


@bare(
    "AUTOIP-1.2",
    "After a conflict the next address is a random one, not the neighbour of the first",
    section="2.1",
    mutant=Mutant("counts on from the address that is taken", outgoing=_Counting()),
    seconds=40,
)
def random_choice(lab: Tester) -> None:
    """Two hosts that once chose the same would go on to do so.

    1. AutoIP is switched on; others have each of the first three addresses that the Host probes
       for.
    2. The steps from one address to the next are not all the same.
    """
    start(lab)
    found: list[int] = []
    for _ in range(4):
        address = str(lab.expect(probe(), 4000)[ARP].pdst)
        found.append(int(ipaddress.IPv4Address(address)))
        lab.send(conflict(address))
        lab.drain()
    steps = {later - earlier for earlier, later in pairwise(found)}
    lab.check(len(steps) > 1, "steps that differ", f"three times {steps}")


@bare(
    "AUTOIP-1.3",
    "The same host chooses the same address the next time",
    section="2.1",
    level=Level.SHOULD,
    mutant=Mutant("never chooses the same twice", outgoing=_Counting()),
)
def same_again(lab: Tester) -> None:
    """The choice depends on something of the host's, as its hardware address.

    1. AutoIP is switched on; the Host probes for an address.
    2. It is switched off, and on again. The Host probes for the same address.
    """
    before = str(first_probe(lab)[ARP].pdst)
    lab.host.service(Service.AUTOIP, False)
    lab.drain(100)
    start(lab)
    found = str(lab.expect(probe(), (PROBE_WAIT_S + 2) * 1000)[ARP].pdst)
    lab.check(found == before, before, found)


# --- probes ---------------------------------------------------------------------------------------


@bare(
    "AUTOIP-2.1",
    "A probe has no sender's IP address and no target's hardware address",
    section="2.2.1",
    mutant=Mutant(
        "probes from the address that it wants",
        outgoing=lambda frame: _spoken(frame) if is_probe(frame) else frame,
    ),
)
def probe_fields(lab: Tester) -> None:
    """So that nobody's table is spoilt if the address is taken.

    1. AutoIP is switched on.
    2. The Host broadcasts ARP requests for a link-local address: sender's hardware address its own,
       sender's IP address 0.0.0.0.
    """
    start(lab)
    lab.expect(
        ether(src=lab.host_mac, dst=BROADCAST)
        / arp(op=1, hwsrc=lab.host_mac, psrc="0.0.0.0", pdst=is_link_local),
        (PROBE_WAIT_S + 2) * 1000,
    )


def _spoken(frame: Packet) -> Packet:
    frame[ARP].psrc = frame[ARP].pdst
    return frame


@bare(
    "AUTOIP-2.2",
    "The target's hardware address in a probe for a link-local address is zero",
    section="2.2.1",
    level=Level.SHOULD,
    mutant=altering(ARP, "fills what it does not know with ones", hwdst=BROADCAST),
)
def probe_target(lab: Tester) -> None:
    """It is what is asked for.

    1. AutoIP is switched on.
    2. The field is zero in the probes.
    """
    found = first_probe(lab)[ARP].hwdst
    lab.check(found == NO_MAC, NO_MAC, found)


@bare(
    "AUTOIP-2.3",
    "Three probes are sent before an address is used, one to two seconds apart",
    section="2.2.1",
    mutant=Mutant("sends two probes", outgoing=_Sequence(lambda count: int(count != 2), is_probe)),
)
def three_probes(lab: Tester) -> None:
    """Watch a claim.

    1. AutoIP is switched on.
    2. The first probe comes within a second, two more one to two seconds after the one before.
    3. No fourth comes.
    """
    start(lab)
    moments = [float(one.time) for one in lab.collect(probe(), CLAIMED_S * 1000)]
    lab.check(len(moments) == PROBE_NUM, f"{PROBE_NUM} probes", len(moments))
    lab.check(moments[0] <= PROBE_WAIT_S + TICK_S, "the first in a second", f"{moments[0]:.2f} s")
    for earlier, later in pairwise(moments):
        gap = later - earlier
        near = PROBE_MIN_S - TICK_S <= gap <= PROBE_MAX_S + TICK_S
        lab.check(near, "one to two seconds", f"{gap:.2f} s")


def _hasty(frame: Packet) -> list[Packet]:
    """Announces what it has just begun to probe for."""
    return [frame, _spoken(frame.copy())] if is_probe(frame) else [frame]


@bare(
    "AUTOIP-2.4",
    "Nothing comes from the address while it is probed for",
    section="2.2.1",
    mutant=Mutant("uses an address before it knows that it may", outgoing=_hasty),
)
def not_used_yet(lab: Tester) -> None:
    """It may be another's.

    1. AutoIP is switched on; the Host probes for an address.
    2. The tester asks for it by ARP. Until two seconds after the third probe nothing comes from the
       address, neither an answer nor an announcement.
    """
    address = str(first_probe(lab)[ARP].pdst)
    lab.check(not holds(lab, address), "no address yet", lab.host.addresses())
    lab.send(lab.arp_request(pdst=address))
    for _ in range(PROBE_NUM - 1):
        lab.expect(probe(), (PROBE_MAX_S + 1) * 1000, but_not=speaks_for(address))
    lab.send(lab.arp_request(pdst=address))
    lab.expect_nothing(speaks_for(address), (ANNOUNCE_WAIT_S - TICK_S) * 1000)


@bare(
    "AUTOIP-2.5",
    "An ARP packet from the address that is probed for is a conflict",
    section="2.2.1",
    mutant=hiding(is_arp, "does not listen while it probes"),
)
def reply_to_probe(lab: Tester) -> None:
    """Another host has it.

    1. AutoIP is switched on, and another host answers the second probe.
    2. The Host probes for another address, and does not announce the first.
    """
    address = str(first_probe(lab)[ARP].pdst)
    lab.expect(probe(), 3000)
    lab.send(conflict(address))
    other = where("a probe for another", lambda f: is_probe(f) and f[ARP].pdst != address)
    lab.expect(other, 4000, but_not=speaks_for(address))
    lab.expect_nothing(speaks_for(address), 10000)


@bare(
    "AUTOIP-2.6",
    "Another host's probe for the same address is a conflict",
    section="2.2.1",
    mutant=hiding(is_probe, "does not see others' probes"),
)
def same_moment(lab: Tester) -> None:
    """Both want it, and neither has it.

    1. AutoIP is switched on, and another host probes for the address that the Host probes for.
    2. The Host probes for another address.
    """
    address = str(first_probe(lab)[ARP].pdst)
    lab.send(probe_of_another(address))
    other = where("a probe for another", lambda f: is_probe(f) and f[ARP].pdst != address)
    lab.expect(other, 4000, but_not=speaks_for(address))


def _as_another(frame: Packet) -> Packet:
    """One of the Host's own frames as if another had sent it."""
    if is_probe(frame) and frame[ARP].hwsrc == HOST_MAC:
        frame[ARP].hwsrc = STRANGER_MAC
    return frame


@bare(
    "AUTOIP-2.7",
    "The Host's own probe that comes back is no conflict",
    section="2.2.1",
    mutant=Mutant("takes its own voice for another's", incoming=_as_another),
)
def own_probe(lab: Tester) -> None:
    """Some networks give a broadcast back to its sender.

    1. AutoIP is switched on, and each probe of the Host's is sent back to it.
    2. The Host stays with the address, and gets it.
    """
    first = first_probe(lab)
    address = str(first[ARP].pdst)
    lab.send(bytes(first))
    for _ in range(PROBE_NUM - 1):
        again = lab.expect(probe(), 4000)
        lab.check(again[ARP].pdst == address, f"a probe for {address}", again[ARP].pdst)
        lab.send(bytes(again))
    lab.expect(announcement() / arp(psrc=address), 4000)


@bare(
    "AUTOIP-2.8",
    "After ten conflicts a minute passes between one address and the next",
    section="2.2.1",
    mutant=Mutant(
        "goes on for ever",
        answer=lambda frame: _another() if is_arp(frame) and frame[ARP].op == 2 else None,
    ),
    seconds=200,
)
def rate_limit(lab: Tester) -> None:
    """Else a host that answers for everything would be asked for everything.

    1. AutoIP is switched on, and another host has every address that the Host probes for.
    2. After the tenth conflict, or up to two later, the next probe comes a minute later.
    """
    start(lab)
    moments: list[float] = []
    for _ in range(MAX_CONFLICTS + 3):
        packet = lab.expect(probe(), (RATE_LIMIT_S + 5) * 1000)
        moments.append(float(packet.time))
        lab.send(conflict(str(packet[ARP].pdst)))
    last = moments[-1] - moments[-2]
    lab.check(last >= RATE_LIMIT_S - 1, f"{RATE_LIMIT_S:g} s", f"{last:.1f} s")


def _another() -> Packet:
    return Ether(src=HOST_MAC, dst=BROADCAST) / ARP(
        op=1, hwsrc=HOST_MAC, psrc="0.0.0.0", pdst="169.254.99.99"
    )


# --- announcements --------------------------------------------------------------------------------


@bare(
    "AUTOIP-3.1",
    "An unclaimed address is announced twice, two seconds apart",
    section="2.4",
    mutant=Mutant(
        "announces it once", outgoing=_Sequence(lambda count: int(count == 1), is_announcement)
    ),
)
def announced(lab: Tester) -> None:
    """Watch a claim to its end.

    1. AutoIP is switched on.
    2. Two seconds after the last probe the Host announces the address, and once more two seconds
       later: broadcast ARP requests with the address as sender's and target's, and the Host's
       hardware address.
    """
    start(lab)
    probes = [float(lab.expect(probe(), (PROBE_MAX_S + 1) * 1000).time) for _ in range(PROBE_NUM)]
    wanted = ether(dst=BROADCAST) / announcement() / arp(op=1, hwsrc=lab.host_mac)
    moments = [float(one.time) for one in lab.collect(wanted, 6000)]
    lab.check(len(moments) == ANNOUNCE_NUM, f"{ANNOUNCE_NUM} announcements", len(moments))
    for name, found, due in (
        ("ANNOUNCE_WAIT", moments[0] - probes[-1], ANNOUNCE_WAIT_S),
        ("ANNOUNCE_INTERVAL", moments[1] - moments[0], ANNOUNCE_INTERVAL_S),
    ):
        lab.check(abs(found - due) <= TICK_S, f"{name} {due:g} s", f"{found:.2f} s")


@bare(
    "AUTOIP-3.2",
    "The Host has the address then, with a prefix of 16 bits",
    section="2.6.2",
    mutant=hiding(is_arp, "answers no request for its address"),
)
def claimed(lab: Tester) -> None:
    """All of 169.254/16 is on the link.

    1. The Host has claimed an address.
    2. It lists it with a prefix of 16 bits, and answers an ARP request for it.
    """
    address = claim(lab)
    found = lab.host.addresses()
    lab.check(f"{address}/16" in found, f"{address}/16", found)
    lab.send(lab.arp_request(psrc="169.254.7.7", pdst=address))
    lab.expect(arp(op=2, psrc=address, hwsrc=lab.host_mac))


@bare(
    "AUTOIP-3.3",
    "An address that is claimed is not probed for again",
    section="2.2",
    mutant=Mutant(
        "looks again every now and then",
        answer=lambda frame: _probing(frame) if is_arp(frame) else None,
    ),
    seconds=140,
)
def no_routine(lab: Tester) -> None:
    """It would only be noise on the network.

    1. The Host has claimed an address.
    2. The tester asks for it by ARP. For two minutes the Host sends no probe.
    """
    address = claim(lab)
    lab.send(lab.arp_request(psrc="169.254.7.7", pdst=address))
    lab.expect_nothing(probe(), 120_000)
    lab.check(holds(lab, address), address, lab.host.addresses())


def _probing(frame: Packet) -> Packet:
    return probe_of_another(frame[ARP].pdst)
