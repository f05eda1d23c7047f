"""Neighbor Discovery, of group 5: looking for routers (RFC 4861 4.1, 6.2.6, 6.3.7)."""

from __future__ import annotations

import itertools

from scapy.layers.inet6 import (
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._mutants import (
    altering,
    answering,
)
from pystack.lab.catalogue._nd import (
    ALL_NODES,
    ALL_ROUTERS,
    listening,
    router_advertisement_of,
    still_answers,
)
from pystack.lab.catalogue.nd_router import DEAF
from pystack.lab.host import Service
from pystack.lab.mutant import Mutant
from pystack.lab.packets import (
    ether,
    ipv6,
    layer,
    router_advertisement,
    router_solicitation,
    where,
)
from pystack.lab.plan import Topology
from pystack.lab.tester import Tester, multicast_mac

case = group("ND-5", rfc="RFC 4861", section="4.1")

RFC, SENDING = "RFC 4861", "6.3.7"
BARE = Topology.BARE


def _solicits(frame: Packet) -> bool:
    return bool(frame.haslayer(ICMPv6ND_RS))


@case(
    "ND-5.1",
    "A host that wants routers asks for them at the all-routers group",
    aliases=("v6lc:2.2.1",),
    mutant=altering(IPv6, "asks everybody", dst=lambda to: ALL_NODES if to == ALL_ROUTERS else to),
    topology=BARE,
)
def asks_routers(lab: Tester) -> None:
    """Switch the Host's looking for routers on.

    1. A router solicitation comes, with the code 0, to ff02::2 and its hardware address.
    """
    lab.host.service(Service.SLAAC)
    lab.expect(
        ether(dst=multicast_mac(ALL_ROUTERS)) / ipv6(dst=ALL_ROUTERS) / router_solicitation(code=0),
        8000,
    )


@case(
    "ND-5.2",
    "A router solicitation has the hop limit 255",
    aliases=("v6lc:2.2.1",),
    mutant=altering(IPv6, "sends with the hop limit 64", hlim=64),
    topology=BARE,
)
def solicitation_hop_limit(lab: Tester) -> None:
    """Routers drop what has another.

    1. The Host looks for routers: the solicitation's hop limit is 255.
    """
    lab.host.service(Service.SLAAC)
    found = lab.expect(router_solicitation(), 8000)
    lab.check(found[IPv6].hlim == 255, "hop limit 255", found[IPv6].hlim)


@case(
    "ND-5.3",
    "A router solicitation tells the hardware address exactly if it comes from an address",
    aliases=("v6lc:2.2.1",),
    mutant=altering(IPv6, "does it from no address", src="::"),
    topology=BARE,
)
def solicitation_option(lab: Tester) -> None:
    """From the unspecified address there must not be any; else there should.

    1. The Host looks for routers. In nine seconds each of its solicitations comes from :: without
       an option, or from its link-local address with the option.
    """
    lab.host.service(Service.SLAAC)
    own = layer(ICMPv6NDOptSrcLLAddr, lladdr=lab.host_mac)
    without = where("no option", lambda frame: not frame.haslayer(ICMPv6NDOptSrcLLAddr))
    right = (ipv6(src="::") / without) | (ipv6(src=lab.host_ll) / own)
    found = lab.collect(router_solicitation(), 9000)
    lab.check(bool(found), "router solicitations", "none")
    for one in found:
        lab.check(right(one), f"{right}", one.summary())


@case(
    "ND-5.4",
    "Router solicitations are four seconds apart",
    section=SENDING,
    aliases=("v6lc:2.2.1",),
    mutant=Mutant(
        "sends each solicitation twice", outgoing=lambda frame: [frame] * (1 + _solicits(frame))
    ),
    topology=BARE,
)
def solicitations_apart(lab: Tester) -> None:
    """RTR_SOLICITATION_INTERVAL. RFC 7559 goes on with longer intervals, a tenth more or less.

    1. The Host looks for routers, and no router answers.
    2. The first three solicitations are at least 3.6 seconds apart; there are two or more.
    """
    lab.host.service(Service.SLAAC)
    times = [float(one.time) for one in lab.collect(router_solicitation(), 17000)][:3]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    good = len(times) >= 2 and all(gap >= 3.55 for gap in gaps)
    lab.check(good, "solicitations four seconds apart", [round(one, 2) for one in times])


@case(
    "ND-5.5",
    "When a router has answered no more solicitations are sent",
    section=SENDING,
    aliases=("v6lc:2.2.2",),
    mutant=DEAF,
    topology=BARE,
)
def desists(lab: Tester) -> None:
    """There is nothing left to ask.

    1. The Host looks for routers, and the tester answers.
    2. In nine seconds there is no second solicitation.
    """
    listening(lab)
    lab.send(router_advertisement_of(lab))
    lab.expect_nothing(router_solicitation(), 9000)


@case(
    "ND-5.18",
    "A host does not answer router solicitations",
    section="6.2.6",
    aliases=("v6lc:2.2.3",),
    mutant=answering(
        _solicits,
        lambda frame: (
            Ether(src="02:00:5e:00:53:02", dst=frame.src)
            / IPv6(src="fe80::5eff:fe00:5302", dst=frame[IPv6].src, hlim=255)
            / ICMPv6ND_RA()
        ),
        "takes itself for a router",
    ),
)
def no_answer(lab: Tester) -> None:
    """Only routers do.

    1. The tester solicits routers at ff02::2, at ff02::1 and at the Host's address.
    2. No advertisement comes in the second that a router would have for it.
    """
    for destination in (ALL_ROUTERS, ALL_NODES, lab.host_ll):
        lab.send(
            IPv6(src=lab.tester_ll, dst=destination, hlim=255)
            / ICMPv6ND_RS()
            / ICMPv6NDOptSrcLLAddr(lladdr=lab.tester_mac)
        )
    lab.expect_nothing(router_advertisement(), 1000)
    still_answers(lab)
