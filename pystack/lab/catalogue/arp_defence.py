"""ARP, group 5: conflicts of an address that is in use (RFC 5227 2.1.1 and 2.4)."""

from __future__ import annotations

from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._mutants import answering, dropping, is_arp
from pystack.lab.catalogue.arp_conflict import (
    ANNOUNCE_NUM,
    EAGER,
    HOST_MAC,
    NOBODY,
    OTHER_MAC,
    RFC,
    WANTED,
    announced,
    announcement,
    answers_for,
    claim,
    detect,
    is_announcement,
    is_probe,
    other_probe,
    probe,
    probed,
)
from pystack.lab.mutant import Mutant
from pystack.lab.packets import arp
from pystack.lab.tester import BROADCAST, Tester
from pystack.lab.verdict import Level

case = group("ARP-5", section="2.4")

DEFEND_INTERVAL_S, RATE_LIMIT_INTERVAL_S, MAX_CONFLICTS = 10, 60, 10


def settled(lab: Tester) -> None:
    """The Host has the address, and has announced it twice."""
    detect(lab)
    announced(lab, ANNOUNCE_NUM)
    lab.drain(500)


def _told(frame: Packet) -> bool:
    return is_arp(frame) and frame[ARP].psrc == WANTED and frame[ARP].hwsrc != HOST_MAC


def _announce(frame: Packet) -> Packet:
    return Ether(src=HOST_MAC, dst=BROADCAST) / ARP(
        op=1, hwsrc=HOST_MAC, psrc=WANTED, hwdst=NOBODY, pdst=WANTED
    )


ALWAYS_DEFENDS = answering(_told, _announce, "defends its address each time")
UNMOVED = Mutant("ignores conflicts", incoming=lambda frame: None if _told(frame) else frame)


def responds(lab: Tester, op: int) -> None:
    """The Host defends its address or gives it up, when another host claims it."""
    settled(lab)
    lab.send(claim(op))
    if lab.collect(announcement(), 500, at_most=1):
        return
    lab.check(not answers_for(lab), "an announcement, or the address given up", "neither")


@case(
    "ARP-5.1",
    "A request of another host from the Host's address is not ignored",
    rfc=RFC,
    mutant=UNMOVED,
)
def conflicting_request(lab: Tester) -> None:
    """Two hosts with one address are both of no use.

    1. The Host has 192.0.2.9, has made sure of it and has announced it.
    2. Another host sends a request from this address.
    3. The Host announces the address, or does not use it any more.
    """
    responds(lab, 1)


@case(
    "ARP-5.2",
    "A reply of another host from the Host's address is not ignored",
    rfc=RFC,
    mutant=UNMOVED,
)
def conflicting_reply(lab: Tester) -> None:
    """A conflict is a conflict, whatever the operation.

    1. The Host has 192.0.2.9, has made sure of it and has announced it.
    2. Another host sends a reply from this address.
    3. The Host announces the address, or does not use it any more.
    """
    responds(lab, 2)


@case(
    "ARP-5.3",
    "An address is defended with one announcement",
    rfc=RFC,
    level=Level.MAY,
    mutant=Mutant(
        "answers a conflict with three announcements",
        outgoing=lambda frame: [frame] * 3 if is_announcement(frame) else frame,
    ),
)
def one_announcement(lab: Tester) -> None:
    """A host defends its address once, by a broadcast.

    1. The Host has 192.0.2.9, has made sure of it and has announced it.
    2. Another host sends a request from this address.
    3. One announcement at most comes: from the Host's hardware address, the target's being zero.
    """
    settled(lab)
    lab.send(claim())
    came = lab.collect(announcement(), 2000)
    lab.check(len(came) <= 1, "one announcement at most", len(came))
    for one in came:
        seen = (one.dst, one[ARP].hwsrc, one[ARP].hwdst)
        lab.check(seen == (BROADCAST, HOST_MAC, NOBODY), "a broadcast from the Host", seen)


@case(
    "ARP-5.4",
    "An address is not defended twice within ten seconds",
    rfc=RFC,
    mutant=ALWAYS_DEFENDS,
    seconds=24,
)
def no_second_defence(lab: Tester) -> None:
    """Else two hosts that both defend themselves would never come to an end.

    1. The Host has 192.0.2.9, has made sure of it and has announced it.
    2. Another host sends five requests from this address, a second apart.
    3. One announcement at most comes.
    """
    settled(lab)
    for _ in range(5):
        lab.send(claim())
        lab.run(1000)
    found = len(lab.collect(announcement(), 3000))
    lab.check(found <= 1, "one announcement at most", found)


@case(
    "ARP-5.5",
    "An address that another host insists on is given up at once",
    rfc=RFC,
    mutant=EAGER,
)
def given_up(lab: Tester) -> None:
    """The second conflict within ten seconds says that the other host is not going to yield.

    1. The Host has 192.0.2.9, has made sure of it and has announced it.
    2. Another host sends two requests from this address, two seconds apart.
    3. The Host answers no more requests for it. It answers those for its first address still.
    """
    settled(lab)
    lab.send(claim())
    lab.run(2000)
    lab.send(claim())
    lab.drain(200)
    lab.check(not answers_for(lab), f"{WANTED} given up", "an answer for it")
    lab.check(answers_for(lab, lab.host4), f"an answer for {lab.host4}", "none")


@case(
    "ARP-5.6",
    "A conflict more than ten seconds after another is a first one again",
    rfc=RFC,
    level=Level.MAY,
    mutant=dropping(
        lambda frame: is_arp(frame) and frame[ARP].op == 2 and frame[ARP].psrc == WANTED,
        "gives its address up at the second conflict, whenever it comes",
    ),
    seconds=28,
)
def defended_again(lab: Tester) -> None:
    """A host may defend its address again after a while.

    1. The Host has 192.0.2.9, has made sure of it and has announced it.
    2. Another host sends two requests from this address, eleven seconds apart.
    3. If the Host has announced its address after the first it has it still after the second.
    """
    settled(lab)
    lab.send(claim())
    defended = bool(lab.collect(announcement(), 500, at_most=1))
    lab.drain(DEFEND_INTERVAL_S * 1000 + 500)
    lab.send(claim())
    lab.drain(200)
    if defended:
        lab.check(answers_for(lab), f"an answer for {WANTED}", "none")


def _as_another(frame: Packet) -> Packet:
    if is_arp(frame) and frame[ARP].hwsrc == HOST_MAC:
        frame[ARP].hwsrc = OTHER_MAC
    return frame


@case(
    "ARP-5.7",
    "The Host's own announcement, heard again, is no conflict",
    rfc=RFC,
    mutant=Mutant("takes itself for another host", incoming=_as_another),
)
def own_announcement(lab: Tester) -> None:
    """The hardware address says whose it is.

    1. The Host is told to use 192.0.2.9, makes sure of it and announces it.
    2. Its announcement comes back to it, twice.
    3. No announcement comes of it, and the Host answers for the address.
    """
    detect(lab)
    again = announced(lab, ANNOUNCE_NUM)
    lab.drain(500)
    for _ in range(2):
        lab.send(bytes(again))
    lab.expect_nothing(announcement(), 1000)
    lab.check(answers_for(lab), f"an answer for {WANTED}", "none")


@case(
    "ARP-5.8",
    "Another host's probe for an address in use is answered, and no conflict",
    rfc=RFC,
    section="2.5",
    mutant=Mutant(
        "takes probes for claims",
        incoming=lambda frame: (
            Ether(src=frame.src, dst=frame.dst)
            / ARP(op=1, hwsrc=frame[ARP].hwsrc, psrc=WANTED, hwdst=NOBODY, pdst=WANTED)
            if is_arp(frame) and is_probe(frame)
            else frame
        ),
    ),
)
def probe_of_another(lab: Tester) -> None:
    """It asks whether the address is free; the answer is no.

    1. The Host has 192.0.2.9, has made sure of it and has announced it.
    2. Another host probes for it three times.
    3. The Host answers each probe, and announces nothing.
    """
    settled(lab)
    for _ in range(3):
        lab.send(other_probe())
        lab.expect(arp(op=2, psrc=WANTED, hwsrc=HOST_MAC), but_not=announcement())
        lab.run(1000)
    lab.expect_nothing(announcement(), 500)


def _probing(frame: Packet) -> Packet | None:
    """A probe at once, when the tester asks for anything of the new address."""
    if is_arp(frame) and frame[ARP].pdst == "192.0.2.150":
        return other_probe(HOST_MAC, "192.0.2.150")
    return None


@case(
    "ARP-5.9",
    "After ten conflicts the Host probes for one address a minute",
    rfc=RFC,
    section="2.1.1",
    mutant=Mutant("goes on at full speed", answer=_probing),
    seconds=110,
)
def rate_limit(lab: Tester) -> None:
    """Something is wrong then, and a host that tries one address after the other makes it worse.

    1. The Host is told to use ten addresses one after the other; each is another host's, which
       says so after the first probe.
    2. It is told to use an eleventh, 192.0.2.150. For most of a minute no probe for it comes.
    3. A minute after the last one, and a second or so, it does.
    """
    for number in range(MAX_CONFLICTS):
        address = f"192.0.2.{100 + number}"
        detect(lab, address)
        probed(lab, address)
        lab.send(claim(2, address=address))
        lab.drain(50)
        lab.host.delete_address(f"{address}/24")
    detect(lab, "192.0.2.150")
    lab.send(lab.arp_request(pdst="192.0.2.150"))
    lab.expect_nothing(probe("192.0.2.150"), 1000 * RATE_LIMIT_INTERVAL_S - 10_000)
    lab.expect(probe("192.0.2.150"), 13_000)
