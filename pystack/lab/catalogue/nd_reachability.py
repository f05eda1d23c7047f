"""Neighbor Discovery, group 4: whether a neighbour is still there (RFC 4861 7.3)."""

from __future__ import annotations

import itertools

from scapy.layers.inet import TCP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._mutants import altering, computed, dropping, hiding
from pystack.lab.catalogue._nd import (
    FAR,
    R2,
    R2_MAC,
    STRANGER,
    STRANGER_MAC,
    advertisement,
    asks_for,
    configured,
    goes_to,
    prefix,
    router_advertisement_of,
    solicitation,
    state,
)
from pystack.lab.mutant import Mutant
from pystack.lab.packets import (
    echo_reply6,
    echo_request6,
    ether,
    ipv6,
    neighbour_solicitation,
)
from pystack.lab.plan import Topology
from pystack.lab.tcp import connect
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("ND-4", rfc="RFC 4861", section="7.3.3")

PROBES_NOBODY = dropping(
    lambda frame: bool(frame.haslayer(ICMPv6ND_NS)) and not frame.dst.startswith("33:33"),
    "never makes sure of a neighbour",
)


def _twice(frame: Packet) -> list[Packet]:
    return [frame] * (2 if frame.haslayer(ICMPv6ND_NS) else 1)


def _stays(mac: str) -> str:
    return "02:00:5e:00:53:01" if mac == R2_MAC else mac


def _without_times(frame: Packet) -> Packet:
    if frame.haslayer(ICMPv6ND_RA):
        frame[ICMPv6ND_RA].reachabletime = frame[ICMPv6ND_RA].retranstimer = 0
        return computed(frame)
    return frame


class _HoldsBack:
    """Sends no echo request once it has probed."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """It has not probed yet."""
        self._probed = False

    def __call__(self, frame: Packet) -> Packet | None:
        self._probed |= bool(frame.haslayer(ICMPv6ND_NS)) and frame.dst == STRANGER_MAC
        return None if self._probed and frame.haslayer(ICMPv6EchoRequest) else frame


def _probe_of(target: str, source: str = "2001:db8:1::2") -> Packet:
    return IPv6(src=source, dst=target, hlim=255) / ICMPv6ND_NS(tgt=target)


def stale(lab: Tester) -> None:
    """The Host knows 2001:db8:1::77 from its solicitation, and sends it something."""
    lab.send(solicitation(lab, source=STRANGER, mac=STRANGER_MAC))
    lab.drain(100)
    lab.host.ping(STRANGER)
    with lab.preamble("the Host sends to whom it knows"):
        lab.expect(
            ether(dst=STRANGER_MAC) / ipv6(dst=STRANGER) / echo_request6(),
            but_not=asks_for(STRANGER),
        )


@case(
    "ND-4.1",
    "Five seconds after a packet to a stale neighbour it is solicited itself",
    aliases=("v6lc:2.1.6",),
    mutant=PROBES_NOBODY,
)
def delay(lab: Tester) -> None:
    """The packet is sent at once; the question is put when no answer has settled it.

    1. 2001:db8:1::77 is known and stale. The Host pings it.
    2. The request goes out without a solicitation. DELAY_FIRST_PROBE_TIME, five seconds, later a
       solicitation goes to 2001:db8:1::77 and its hardware address.
    """
    stale(lab)
    lab.expect_nothing(asks_for(STRANGER), 3500)
    lab.expect(
        ether(dst=STRANGER_MAC)
        / ipv6(dst=STRANGER, hlim=255)
        / neighbour_solicitation(tgt=STRANGER),
        4000,
        but_not=asks_for(STRANGER),
    )


@case(
    "ND-4.2",
    "A neighbour that nothing is sent to is not probed",
    mutant=Mutant(
        "probes whomever it knows",
        answer=lambda frame: (
            Ether(src="02:00:5e:00:53:02", dst=R2_MAC) / _probe_of(R2, "fe80::5eff:fe00:5302")
            if frame.haslayer(ICMPv6ND_RA)
            else None
        ),
    ),
    topology=Topology.BARE,
)
def no_traffic(lab: Tester) -> None:
    """A stale entry stays stale until a packet is sent by it.

    1. The Host has an address and a router; a second router advertises itself, with its hardware
       address.
    2. Nothing is sent to that one. For seven seconds no solicitation for it comes.
    """
    configured(lab)
    lab.send(router_advertisement_of(lab, R2, R2_MAC))
    lab.expect_nothing(asks_for(R2), 7000)


@case(
    "ND-4.3",
    "A neighbour that doesn't answer is probed three times, a second apart",
    aliases=("v6lc:2.1.6",),
    mutant=Mutant("sends each probe twice", outgoing=_twice),
)
def three_probes(lab: Tester) -> None:
    """MAX_UNICAST_SOLICIT is 3, and RetransTimer a second.

    1. 2001:db8:1::77 is known and stale. The Host pings it, and probes it five seconds later.
    2. There are three solicitations to its hardware address, a second apart.
    """
    stale(lab)
    found = [
        float(one.time) for one in lab.collect(ether(dst=STRANGER_MAC) / asks_for(STRANGER), 11500)
    ]
    gaps = [after - before for before, after in itertools.pairwise(found)]
    good = len(found) == 3 and all(0.85 <= gap <= 1.6 for gap in gaps)
    lab.check(good, "three probes a second apart", [round(one, 2) for one in found])


@case(
    "ND-4.4",
    "While a neighbour is probed packets are sent to it as before",
    mutant=Mutant("holds packets back while it probes", outgoing=_HoldsBack()),
)
def while_probing(lab: Tester) -> None:
    """The hardware address that is cached is used until it is known to be wrong.

    1. 2001:db8:1::77 is known and stale. The Host pings it, and probes it.
    2. The Host pings it again: the request goes to the same hardware address.
    """
    stale(lab)
    with lab.preamble("the Host probes"):
        lab.expect(ether(dst=STRANGER_MAC) / asks_for(STRANGER), 7000)
    goes_to(lab, STRANGER_MAC, STRANGER, 500)


@case(
    "ND-4.5",
    "A neighbour that answers no probe is resolved again",
    level=Level.SHOULD,
    mutant=altering(
        IPv6,
        "asks the neighbour that it has lost where it was",
        dst=lambda to: STRANGER if to == "ff02::1:ff00:77" else to,
    ),
)
def forgotten(lab: Tester) -> None:
    """The entry is deleted; the next packet has to wait for an answer from the group.

    1. 2001:db8:1::77 is known and stale. The Host pings it, and probes it in vain.
    2. Twelve seconds after its packet it pings again: a solicitation goes to the group.
    """
    stale(lab)
    with lab.preamble("the Host probes"):
        lab.expect(asks_for(STRANGER), 7000)
    lab.drain(5000)
    lab.host.ping(STRANGER)
    lab.expect(
        ipv6(dst="ff02::1:ff00:77") / asks_for(STRANGER),
        but_not=ether(dst=STRANGER_MAC) / echo_request6(),
    )


@case(
    "ND-4.6",
    "An answer to a probe ends the probing",
    aliases=("v6lc:2.1.20",),
    mutant=hiding(lambda frame: bool(frame.haslayer(ICMPv6ND_NA)), "does not see the answer"),
)
def answered(lab: Tester) -> None:
    """The neighbour is reachable, as it has been seen to receive.

    1. 2001:db8:1::77 is known and stale. The Host pings it, and probes it.
    2. The answer comes. No more probes do, and the entry is reachable.
    """
    stale(lab)
    with lab.preamble("the Host probes"):
        lab.expect(asks_for(STRANGER), 7000)
    lab.send(advertisement(lab, STRANGER, mac=STRANGER_MAC, S=1, options=()))
    lab.expect_nothing(asks_for(STRANGER), 2500)
    lab.check(state(lab, STRANGER)[1] == "reachable", "reachable", state(lab, STRANGER))


@case(
    "ND-4.7",
    "Progress that TCP makes spares a neighbour the probes",
    section="7.3.1",
    level=Level.SHOULD,
    mutant=Mutant(
        "asks its neighbours all the same",
        answer=lambda frame: (
            computed(Ether(src="02:00:5e:00:53:02", dst=frame.src) / _probe_of("2001:db8:1::1"))
            if frame.haslayer(TCP) and frame[TCP].flags == "A"
            else None
        ),
    ),
)
def forward_progress(lab: Tester) -> None:
    """An acknowledgement of new data proves that the neighbour receives.

    1. The tester has solicited the Host: its entry is stale. It opens a TCP connection.
    2. The Host's program sends a little each second, and the tester acknowledges it.
    3. In eight seconds no solicitation for the tester comes.
    """
    lab.resolve(6)
    with lab.preamble("a connection"):
        connection = connect(lab, family=6)
    for _ in range(8):
        connection.socket.send(b"progress")
        with lab.preamble("data"):
            connection.acknowledge(lab.expect(connection.with_data()))
        lab.expect_nothing(asks_for(lab.tester6), 950)


@case(
    "ND-4.8",
    "A neighbour is taken for reachable no longer than it was found to be",
    section="6.3.2",
    aliases=("v6lc:2.1.6",),
    mutant=PROBES_NOBODY,
    seconds=70,
)
def reachable_time(lab: Tester) -> None:
    """ReachableTime is half to one and a half times 30 seconds.

    1. The Host has pinged the tester, which is reachable. 14 seconds later it pings again: no
       solicitation follows in eight seconds.
    2. 46 seconds after the tester's answer it pings once more: a solicitation follows.
    """
    lab.host.ping(lab.tester6)
    lab.drain(14000)
    lab.host.ping(lab.tester6)
    lab.expect_nothing(asks_for(lab.tester6), 500)
    # In the worst case it has become stale at 15 s, and nothing more was sent since.
    lab.drain(32000)
    with lab.silent():
        lab.host.ping(lab.tester6)
        lab.expect(ether(dst=lab.tester_mac) / asks_for(lab.tester6), 7000)


@case(
    "ND-4.9",
    "That packets come from a neighbour is no proof that it is reachable",
    section="7.3.1",
    mutant=PROBES_NOBODY,
)
def one_way(lab: Tester) -> None:
    """The path from there says nothing about the path to there.

    1. The tester has solicited the Host, and is stale. It pings the Host, which answers.
    2. It goes on pinging each second. Within seven seconds it is solicited all the same.
    """
    lab.resolve(6)
    with lab.silent():
        lab.send(lab.echo6())
        with lab.preamble("the Host answers"):
            lab.expect(echo_reply6())
        for number in range(2, 9):
            lab.send(lab.echo6(sequence=number))
            if lab.collect(asks_for(lab.tester6), 1000, at_most=1):
                return
    lab.check(False, "a solicitation within seven seconds", "none")


@case(
    "ND-4.10",
    "A router advertisement is no proof that the router is reachable",
    section="7.3.1",
    mutant=PROBES_NOBODY,
    topology=Topology.BARE,
)
def advertisement_is_no_proof(lab: Tester) -> None:
    """The router has sent something; whether it receives anything is another question.

    1. The tester advertises itself as a router with its hardware address, and once more.
    2. The Host sends by it, and solicits it five seconds later.
    """
    configured(lab)
    lab.send(router_advertisement_of(lab, options=(prefix(),)))
    with lab.silent():
        goes_to(lab, lab.tester_mac)
        lab.send(router_advertisement_of(lab, options=(prefix(),)))
        lab.expect(ether(dst=lab.tester_mac) / asks_for(lab.tester_ll), 7500)


@case(
    "ND-4.11",
    "A router that is not reachable any more is not used while there is another",
    section="6.3.6",
    level=Level.SHOULD,
    aliases=("v6lc:2.2.11",),
    mutant=altering(Ether, "stays with its router", dst=_stays),
    topology=Topology.BARE,
)
def other_router(lab: Tester) -> None:
    """That is what the neighbour's loss has to lead to: the next hop is chosen again.

    1. Two routers have advertised themselves. The Host sends by one of them, which does not
       answer the probes that follow.
    2. Ten seconds later the Host sends by the other.
    """
    configured(lab)
    lab.own(R2, R2_MAC)
    lab.send(router_advertisement_of(lab, R2, R2_MAC))
    lab.drain(100)
    lab.host.ping(FAR)
    with lab.preamble("the Host sends by a router"):
        found = lab.expect(ipv6(dst=FAR) / echo_request6())
    routers = {lab.tester_mac: lab.tester_ll, R2_MAC: R2}
    lab.need(found.dst in routers, f"it is sent to one of the routers, not to {found.dst}")
    del lab.owned[routers[found.dst]]
    (other,) = set(routers) - {found.dst}
    lab.host.ping(FAR)
    lab.drain(10000)
    goes_to(lab, other, within_ms=2500)


@case(
    "ND-4.12",
    "The ReachableTime that a router advertises is used",
    section="6.3.4",
    level=Level.SHOULD,
    aliases=("v6lc:2.2.14",),
    mutant=Mutant(
        "takes the time for unspecified",
        incoming=_without_times,
    ),
    topology=Topology.BARE,
    seconds=26,
)
def advertised_reachable_time(lab: Tester) -> None:
    """It is a base; what is used is half to one and a half times as long.

    1. The tester advertises a reachable time of 6 seconds, and a prefix.
    2. The Host has pinged the tester's address of that prefix, and found it reachable. Ten seconds
       later it pings it again: a probe follows, unless one came meanwhile.
    """
    configured(lab, reachabletime=6000)
    lab.host.ping(lab.tester6)
    with lab.preamble("the Host pings"):
        lab.expect(ether(dst=lab.tester_mac) / ipv6(dst=lab.tester6) / echo_request6())
    probe = ether(dst=lab.tester_mac) / asks_for(lab.tester6)
    if lab.collect(probe, 10000):
        return  # the time was over so soon that the first ping counted as a use
    with lab.silent():
        lab.host.ping(lab.tester6)
        lab.expect(probe, 7000)


@case(
    "ND-4.13",
    "The RetransTimer that a router advertises is used",
    section="6.3.4",
    level=Level.SHOULD,
    mutant=Mutant(
        "takes the time for unspecified",
        incoming=_without_times,
    ),
    topology=Topology.BARE,
)
def advertised_retrans_timer(lab: Tester) -> None:
    """It is the time between two solicitations.

    1. The tester advertises a retransmission timer of 2.5 seconds, and a prefix.
    2. The Host pings an address of that prefix that nobody has. Its solicitations are 2.5 seconds
       apart.
    """
    configured(lab, retranstimer=2500)
    lab.host.ping(STRANGER)
    times = [float(one.time) for one in lab.collect(asks_for(STRANGER), 6500)]
    lab.need(len(times) >= 2, "the Host asks again")
    gaps = [after - before for before, after in itertools.pairwise(times)]
    lab.check(all(2.2 <= gap <= 3.2 for gap in gaps), "2.5 s", [round(gap, 2) for gap in gaps])
