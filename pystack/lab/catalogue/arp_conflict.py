"""ARP, group 4: an address is probed for and announced before it is used (RFC 5227 2.1, 2.3)."""

from __future__ import annotations

from itertools import pairwise

from scapy.layers.inet import ICMP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._mutants import answering, dropping, hiding, is_arp
from pystack.lab.mutant import Mutant
from pystack.lab.packets import Match, arp, ether, icmp
from pystack.lab.tester import BROADCAST, Tester
from pystack.lab.verdict import Level, Unable

case = group("ARP-4", rfc="RFC 5227", section="2.1.1")

RFC = "RFC 5227"
WANTED = "192.0.2.9"
HOST_MAC = "02:00:5e:00:53:02"
OTHER_MAC = "02:00:5e:00:53:77"
NOBODY = "00:00:00:00:00:00"
PROBE_NUM, ANNOUNCE_NUM = 3, 2
# A probe wait of a second, three probes at most two seconds apart, two seconds' wait, and two
# announcements two seconds apart; and some.
DONE_MS = 11_000


def probe(address: str = WANTED) -> Match:
    """A probe for the address."""
    return arp(op=1, psrc="0.0.0.0", pdst=address)


def announcement(address: str = WANTED) -> Match:
    """An announcement of it."""
    return arp(op=1, psrc=address, pdst=address)


def is_probe(frame: Packet) -> bool:
    """Whether a frame is a probe."""
    return is_arp(frame) and frame[ARP].op == 1 and frame[ARP].psrc == "0.0.0.0"


def is_announcement(frame: Packet) -> bool:
    """Whether a frame is an announcement."""
    return is_arp(frame) and frame[ARP].op == 1 and frame[ARP].psrc == frame[ARP].pdst


def claim(op: int = 1, mac: str = OTHER_MAC, address: str = WANTED) -> Packet:
    """An ARP packet by which another host shows that the address is its own."""
    target = "192.0.2.1" if op == 1 else address
    return Ether(src=mac, dst=BROADCAST) / ARP(
        op=op, hwsrc=mac, psrc=address, hwdst=NOBODY, pdst=target
    )


def detect(lab: Tester, address: str = WANTED) -> None:
    """Gives the Host one more address, which it has to make sure of first."""
    lab.host.add_address(f"{address}/24", detect=True)


def probed(lab: Tester, address: str = WANTED) -> Packet:
    """The Host's next probe for the address.

    Raises:
        Unable: None comes: it does not do as RFC 5227 says.
    """
    came = lab.collect(probe(address), 2500, at_most=1)
    if not came:
        raise Unable("probing for an address that it is given")
    return came[0]


def announced(lab: Tester, times: int = 1) -> Packet:
    """The Host's announcement of the address, the last of so many.

    Raises:
        Unable: None comes: it does not do as RFC 5227 says (ARP-4.5).
    """
    came = lab.collect(announcement(), DONE_MS, at_most=times)
    if not came:
        raise Unable("announcing of an address that it is given")
    return came[-1]


def answers_for(lab: Tester, address: str = WANTED) -> bool:
    """Whether the Host answers a request for the address."""
    lab.send(lab.arp_request(pdst=address))
    return bool(lab.collect(arp(op=2, psrc=address), 500, at_most=1))


def is_not_used(lab: Tester, for_ms: float = DONE_MS) -> None:
    """The address is neither announced nor answered for."""
    lab.expect_nothing(announcement(), for_ms)
    lab.check(not answers_for(lab), f"{WANTED} not in use", "an answer to a request for it")


UNHEARING = Mutant(
    "does not look for conflicts",
    incoming=lambda frame: None if is_arp(frame) and frame[ARP].hwsrc == OTHER_MAC else frame,
)


@case(
    "ARP-4.1",
    "An address is probed for three times before it is used",
    level=Level.SHOULD,
    mutant=dropping(is_probe, "announces without probing"),
)
def probes(lab: Tester) -> None:
    """One probe may be lost, three hardly.

    1. The Host is told to use 192.0.2.9, and to make sure of it.
    2. Three probes for it come, before the first announcement.
    """
    detect(lab)
    came = lab.collect(probe() | announcement(), DONE_MS)
    if not came:
        raise Unable("probing for an address that it is given")
    first = next((place for place, one in enumerate(came) if is_announcement(one)), len(came))
    lab.check(first == PROBE_NUM, "three probes, then no more", f"{first} probes")


@case(
    "ARP-4.2",
    "A probe asks for the address from the Host's hardware address and no IP address",
    mutant=Mutant(
        "probes from the address itself",
        outgoing=lambda frame: _changed(frame, psrc=WANTED) if is_probe(frame) else frame,
    ),
)
def probe_fields(lab: Tester) -> None:
    """A sender's IP address would change the tables of everybody on the link.

    1. The Host is told to use 192.0.2.9, and to make sure of it.
    2. The first ARP packet about it is a broadcast request for it, whose sender's addresses are
       the Host's hardware address and 0.0.0.0.
    """
    detect(lab)
    came = lab.collect(ether(dst=BROADCAST) / arp(pdst=WANTED), 2500, at_most=1)
    if not came:
        raise Unable("probing for an address that it is given")
    found = came[0][ARP]
    seen = (found.op, found.hwsrc, found.psrc)
    lab.check(seen == (1, lab.host_mac, "0.0.0.0"), "a request from 0.0.0.0", seen)


def _changed(frame: Packet, **fields: object) -> Packet:
    for name, value in fields.items():
        setattr(frame[ARP], name, value)
    return frame


@case(
    "ARP-4.3",
    "The target's hardware address in a probe is zero",
    level=Level.SHOULD,
    mutant=Mutant(
        "fills the target's hardware address with ones",
        outgoing=lambda frame: _changed(frame, hwdst=BROADCAST) if is_probe(frame) else frame,
    ),
)
def probe_target(lab: Tester) -> None:
    """The field is ignored, and so has nothing in it.

    1. The Host is told to use 192.0.2.9, and to make sure of it.
    2. The first probe's target hardware address is 00:00:00:00:00:00.
    """
    detect(lab)
    found = probed(lab)[ARP].hwdst
    lab.check(found == NOBODY, NOBODY, found)


class _Late:
    """Sends all probes but the first at once, with the second one."""

    def __init__(self) -> None:
        self._count = 0

    def reset(self) -> None:
        self._count = 0

    def __call__(self, frame: Packet) -> list[Packet]:
        if not is_probe(frame):
            return [frame]
        self._count += 1
        return [frame, frame] if self._count == 2 else [frame] if self._count == 1 else []


@case(
    "ARP-4.4",
    "Probing begins within a second, and probes are one to two seconds apart",
    level=Level.SHOULD,
    mutant=Mutant("sends the last probes in one go", outgoing=_Late()),
)
def probe_times(lab: Tester) -> None:
    """The times are random, so that hosts that begin together do not ask together.

    1. The Host is told to use 192.0.2.9, and to make sure of it.
    2. The first probe comes within a second, each other one after one to two seconds more.
    """
    began = lab.now
    detect(lab)
    times = [began, *(float(one.time) for one in lab.collect(probe(), 6500))]
    gaps = [round(after - before, 2) for before, after in pairwise(times)]
    if not gaps:
        raise Unable("probing for an address that it is given")
    lab.check(len(gaps) == PROBE_NUM, "three probes", len(gaps))
    lab.check(gaps[0] <= 1.15, "the first one within a second", f"after {gaps[0]} s")
    lab.check(all(0.85 <= gap <= 2.15 for gap in gaps[1:]), "1 to 2 s between probes", gaps[1:])


@case(
    "ARP-4.5",
    "An unused address is announced twice, two seconds apart",
    section="2.3",
    mutant=dropping(is_announcement, "does not announce"),
)
def announces(lab: Tester) -> None:
    """Hosts with a stale entry for the address are corrected.

    1. The Host is told to use 192.0.2.9, and to make sure of it. Nobody objects.
    2. Two announcements come, two seconds apart, the first one two seconds or more after the last
       probe.
    """
    detect(lab)
    came = lab.collect(probe() | announcement(), DONE_MS)
    if not came:
        raise Unable("probing for an address that it is given")
    last = max((float(one.time) for one in came if is_probe(one)), default=0.0)
    times = [float(one.time) for one in came if is_announcement(one)]
    lab.check(len(times) == ANNOUNCE_NUM, "two announcements", len(times))
    lab.check(times[0] - last >= 1.85, "2 s after the last probe", f"{times[0] - last:.2f} s")
    gap = times[1] - times[0]
    lab.check(1.85 <= gap <= 2.15, "2 s apart", f"{gap:.2f} s")


@case(
    "ARP-4.6",
    "An announcement has the new address as its sender's and as its target's",
    section="2.3",
    mutant=Mutant(
        "asks for its router instead",
        outgoing=lambda frame: (
            _changed(frame, pdst="192.0.2.1") if is_announcement(frame) else frame
        ),
    ),
)
def announcement_fields(lab: Tester) -> None:
    """It is a probe but for the sender's address.

    1. The Host is told to use 192.0.2.9, and to make sure of it. Nobody objects.
    2. The first ARP packet from that address is a broadcast request for itself, with the Host's
       hardware address.
    """
    detect(lab)
    came = lab.collect(ether(dst=BROADCAST) / arp(psrc=WANTED), DONE_MS, at_most=1)
    if not came:
        raise Unable("announcing of an address that it is given")
    found = came[0][ARP]
    seen = (found.op, found.hwsrc, found.pdst)
    lab.check(seen == (1, lab.host_mac, WANTED), f"a request for {WANTED}", seen)


def _reply(frame: Packet) -> Packet:
    asked = frame[ARP]
    return Ether(src=HOST_MAC, dst=frame.src) / ARP(
        op=2, hwsrc=HOST_MAC, psrc=asked.pdst, hwdst=asked.hwsrc, pdst=asked.psrc
    )


EAGER = answering(
    lambda frame: is_arp(frame) and frame[ARP].op == 1 and frame[ARP].pdst == WANTED,
    _reply,
    "uses the address whatever happens",
)


@case(
    "ARP-4.7",
    "An address is not used before it has been made sure of",
    section="2.1",
    mutant=EAGER,
)
def not_before(lab: Tester) -> None:
    """While it may belong to another host, the Host does not use it.

    1. The Host is told to use 192.0.2.9, and to make sure of it.
    2. After the first probe the tester asks for the address by ARP, and sends an echo request to
       it: neither is answered.
    3. When the address has been announced both are.
    """
    detect(lab)
    probed(lab)
    lab.check(not answers_for(lab), "no answer yet", "an ARP reply")
    request = lab.ip(dst=WANTED) / ICMP(type=8, id=9, seq=1) / Raw(b"pystack")
    lab.send(request)
    lab.expect_nothing(icmp(type=0), 200)
    announced(lab)
    lab.check(answers_for(lab), "an answer now", "none")
    lab.send(request)
    lab.expect(icmp(type=0, id=9))


@case(
    "ARP-4.8",
    "An address that an ARP reply shows to be another's is not used",
    mutant=UNHEARING,
)
def reply_while_probing(lab: Tester) -> None:
    """The owner answers the probe.

    1. The Host is told to use 192.0.2.9, and to make sure of it.
    2. After the first probe another host sends an ARP reply from that address.
    3. The Host does not announce it, and does not answer for it.
    """
    detect(lab)
    probed(lab)
    lab.send(claim(op=2))
    is_not_used(lab)


@case(
    "ARP-4.9",
    "An address that an ARP request shows to be another's is not used",
    mutant=UNHEARING,
)
def request_while_probing(lab: Tester) -> None:
    """The owner sends a request, and so shows that it exists.

    1. The Host is told to use 192.0.2.9, and to make sure of it.
    2. After the first probe another host sends a request from that address, for the tester's.
    3. The Host does not announce it, and does not answer for it.
    """
    detect(lab)
    probed(lab)
    lab.send(claim(op=1))
    is_not_used(lab)


def other_probe(mac: str = OTHER_MAC, address: str = WANTED) -> Packet:
    """Another host's probe for an address."""
    return Ether(src=mac, dst=BROADCAST) / ARP(
        op=1, hwsrc=mac, psrc="0.0.0.0", hwdst=NOBODY, pdst=address
    )


@case(
    "ARP-4.10",
    "An address that another host probes for at the same time is not used",
    level=Level.SHOULD,
    mutant=UNHEARING,
)
def simultaneous_probe(lab: Tester) -> None:
    """Neither has it yet; both look for another one.

    1. The Host is told to use 192.0.2.9, and to make sure of it.
    2. After the first probe another host's probe for it comes.
    3. The Host does not announce it, and does not answer for it.
    """
    detect(lab)
    probed(lab)
    lab.send(other_probe())
    is_not_used(lab)


@case(
    "ARP-4.11",
    "The Host's own probe, heard again, is no conflict",
    mutant=Mutant(
        "takes its own probes for another's",
        incoming=lambda frame: (
            _changed(frame, hwsrc=OTHER_MAC) if is_arp(frame) and is_probe(frame) else frame
        ),
    ),
)
def own_probe(lab: Tester) -> None:
    """Some links give back to a host what it has sent.

    1. The Host is told to use 192.0.2.9, and to make sure of it.
    2. Its first probe comes back to it.
    3. It uses the address in the end: it answers for it.
    """
    detect(lab)
    again = probed(lab)
    lab.send(bytes(again))
    lab.drain(DONE_MS)
    lab.check(answers_for(lab), f"an answer for {WANTED}", "none")


@case(
    "ARP-4.12",
    "A probe for another address is no conflict",
    mutant=Mutant(
        "takes each probe for one of its address",
        incoming=lambda frame: (
            _changed(frame, pdst=WANTED) if is_arp(frame) and is_probe(frame) else frame
        ),
    ),
)
def another_address(lab: Tester) -> None:
    """Many hosts may look for their addresses at once.

    1. The Host is told to use 192.0.2.9, and to make sure of it.
    2. After the first probe another host probes for 192.0.2.10, and one announces 192.0.2.11.
    3. The Host uses 192.0.2.9 in the end: it answers for it.
    """
    detect(lab)
    probed(lab)
    lab.send(other_probe(address="192.0.2.10"))
    lab.send(claim(address="192.0.2.11"))
    lab.drain(DONE_MS)
    lab.check(answers_for(lab), f"an answer for {WANTED}", "none")


@case(
    "ARP-4.13",
    "A conflict after the last probe counts as one before it",
    mutant=UNHEARING,
)
def after_the_last_probe(lab: Tester) -> None:
    """The answer to the last probe has two seconds to come.

    1. The Host is told to use 192.0.2.9, and to make sure of it.
    2. A second after the third probe another host sends an ARP reply from that address.
    3. The Host does not announce it, and does not answer for it.
    """
    detect(lab)
    for _ in range(PROBE_NUM):
        probed(lab)
    lab.drain(1000)
    lab.send(claim(op=2))
    is_not_used(lab)


@case(
    "ARP-4.14",
    "An address that was announced is answered for, and by the Host's hardware address",
    section="2.5",
    mutant=hiding(
        lambda frame: is_arp(frame) and frame[ARP].pdst == WANTED, "answers for its first address"
    ),
)
def answers_after_announcing(lab: Tester) -> None:
    """From the first announcement on the Host answers requests, and probes of others.

    1. The Host has 192.0.2.9, has made sure of it and has announced it.
    2. The tester asks for the address; the Host answers.
    3. Another host probes for the address; the Host answers that, too.
    """
    detect(lab)
    announced(lab)
    lab.send(lab.arp_request(pdst=WANTED))
    lab.expect(ether(dst=lab.tester_mac) / arp(op=2, psrc=WANTED, hwsrc=lab.host_mac))
    lab.send(other_probe())
    lab.expect(arp(op=2, psrc=WANTED, hwsrc=lab.host_mac))


class _Restless:
    """Sends a probe with each frame that it sends after its announcements."""

    def __init__(self) -> None:
        self._announced = 0

    def reset(self) -> None:
        self._announced = 0

    def __call__(self, frame: Packet) -> list[Packet]:
        self._announced += is_announcement(frame)
        return [frame, other_probe(HOST_MAC)] if self._announced >= ANNOUNCE_NUM else [frame]


@case(
    "ARP-4.15",
    "What has been made sure of is not probed for again and again",
    section="2.1",
    mutant=Mutant("probes for ever", outgoing=_Restless()),
    seconds=75,
)
def not_periodically(lab: Tester) -> None:
    """To probe as a matter of course wastes everybody's bandwidth.

    1. The Host has 192.0.2.9, has made sure of it and has announced it twice.
    2. For a minute neither a probe nor an announcement comes. It answers for the address still.
    """
    detect(lab)
    announced(lab, ANNOUNCE_NUM)
    lab.expect_nothing(probe() | announcement(), 60_000)
    lab.check(answers_for(lab), f"an answer for {WANTED}", "none")
