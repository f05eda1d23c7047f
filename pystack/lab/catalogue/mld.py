"""Multicast Listener Discovery, as a listener does it (RFC 2710, RFC 3590, RFC 3810).

A listener may speak version 1 or 2: either report is taken. Queries are version 1's, which both
understand.
"""

from __future__ import annotations

import errno
import socket
import struct

from scapy.layers.inet6 import (
    ICMPv6MLDone,
    ICMPv6MLQuery,
    ICMPv6MLReport,
    ICMPv6MLReport2,
    ICMPv6ND_NS,
    IPv6,
    IPv6ExtHdrHopByHop,
    RouterAlert,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._mutants import altering, computed, dropping, hiding, mending
from pystack.lab.catalogue._nd import ALL_NODES
from pystack.lab.host import HostSocket, Service
from pystack.lab.mutant import Mutant
from pystack.lab.packets import ipv6, mld_done, mld_report, neighbour_solicitation
from pystack.lab.plan import Topology
from pystack.lab.tester import Tester, multicast_mac, solicited_node
from pystack.lab.verdict import Level, Unable

case = group("MLD", rfc="RFC 2710", section="4")

GROUP = "ff05::1:7"
JOIN, LEAVE = 20, 21  # IPV6_JOIN_GROUP, IPV6_LEAVE_GROUP
CHANGE_TO_NONE, BLOCK_OLD = 3, 6


def _reports(frame: Packet) -> bool:
    return bool(frame.haslayer(ICMPv6MLReport) or frame.haslayer(ICMPv6MLReport2))


def _slower(frame: Packet) -> Packet:
    if frame.haslayer(ICMPv6MLQuery):
        frame[ICMPv6MLQuery].mrd = 60000
        return computed(frame)
    return frame


class _Once:
    """Sends one report alone."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Nothing is sent yet."""
        self._sent = False

    def __call__(self, frame: Packet) -> Packet | None:
        if not _reports(frame):
            return frame
        sent, self._sent = self._sent, True
        return None if sent else frame


SILENT = dropping(_reports, "reports nothing")
DEAF = hiding(lambda frame: bool(frame.haslayer(ICMPv6MLQuery)), "does not see queries")


def join(
    lab: Tester, group: str = GROUP, option: int = JOIN, sock: HostSocket | None = None
) -> HostSocket:
    """The Host's program joins a group, or leaves it; its socket."""
    if sock is None:
        sock = lab.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    request = socket.inet_pton(socket.AF_INET6, group) + struct.pack("=I", 0)
    try:
        sock.setsockopt(socket.IPPROTO_IPV6, option, request)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
        raise Unable(f"{lab.host.name} has no way to join a group") from error
    return sock


def settled(lab: Tester) -> HostSocket:
    """The Host is a member of the group, and has nothing more to say about it."""
    sock = join(lab)
    with lab.preamble("the Host reports the group"):
        lab.expect(mld_report(GROUP), 2500)
    lab.drain(12000 if lab.host.virtual else 3000)
    return sock


def query(
    lab: Tester, group: str = "::", delay_ms: int = 1000, *, source: str = "", hlim: int = 1
) -> Packet:
    """A query of the tester's, general unless a group is given."""
    destination = ALL_NODES if group == "::" else group
    return (
        Ether(src=lab.tester_mac, dst=multicast_mac(destination))
        / IPv6(src=source or lab.tester_ll, dst=destination, hlim=hlim)
        / IPv6ExtHdrHopByHop(options=[RouterAlert(value=0)])
        / ICMPv6MLQuery(mladdr=group, mrd=delay_ms)
    )


@case(
    "MLD-1.1",
    "A group that is joined is reported at once",
    mutant=SILENT,
)
def joined(lab: Tester) -> None:
    """Routers should not have to ask first.

    1. The Host's program joins ff05::1:7.
    2. A report of the group comes, of version 1 or 2.
    """
    join(lab)
    lab.expect(mld_report(GROUP), 1500)


@case(
    "MLD-1.2",
    "A report comes from the link-local address, with the hop limit 1",
    section="3",
    mutant=altering(IPv6, "sends from its global address", src="2001:db8:1::2"),
)
def source(lab: Tester) -> None:
    """It is nobody's business but the link's.

    1. The Host's program joins ff05::1:7.
    2. The report's source is the Host's link-local address, and its hop limit 1.
    """
    join(lab)
    lab.expect(ipv6(src=lab.host_ll, hlim=1) / mld_report(GROUP), 1500, but_not=mld_report(GROUP))


def _without_alert(frame: Packet) -> Packet:
    if not frame.haslayer(IPv6ExtHdrHopByHop):
        return frame
    packet = frame[IPv6].copy()
    rest = packet[IPv6ExtHdrHopByHop].payload.copy()
    packet.remove_payload()
    packet.nh = 58
    del packet.plen
    changed: Packet = Ether(src=frame.src, dst=frame.dst) / packet / rest
    return changed


@case(
    "MLD-1.3",
    "A report has a router alert for MLD",
    section="3",
    mutant=Mutant("leaves it out", outgoing=_without_alert),
)
def router_alert(lab: Tester) -> None:
    """By it routers see what goes to groups that they are no members of.

    1. The Host's program joins ff05::1:7.
    2. The report has a hop-by-hop option Router Alert with the value 0.
    """
    join(lab)
    found = lab.expect(mld_report(GROUP), 1500)
    alert = found[RouterAlert].value if found.haslayer(RouterAlert) else None
    lab.check(alert == 0, "a router alert of value 0", alert)


@case(
    "MLD-1.4",
    "A report of a group that is joined is repeated",
    level=Level.SHOULD,
    mutant=Mutant("says it once", outgoing=_Once()),
)
def repeated(lab: Tester) -> None:
    """The first may be lost. Unsolicited Report Interval is ten seconds; version 2 has one.

    1. The Host's program joins ff05::1:7.
    2. Within eleven seconds there are two reports of it, or more.
    """
    join(lab)
    found = len(lab.collect(mld_report(GROUP), 11000))
    lab.check(found >= 2, "two reports", found)


@case(
    "MLD-1.5",
    "A group that is left is told to the routers",
    level=Level.SHOULD,
    mutant=dropping(
        lambda frame: bool(frame.haslayer(ICMPv6MLDone) or frame.haslayer(ICMPv6MLReport2)),
        "leaves without a word",
    ),
)
def left(lab: Tester) -> None:
    """Version 1 sends Done to ff02::2, version 2 a change of state.

    1. The Host's program has joined ff05::1:7, and leaves it.
    2. Either comes.
    """
    sock = settled(lab)
    join(lab, option=LEAVE, sock=sock)
    lab.expect(
        (ipv6(dst="ff02::2", hlim=1) / mld_done(GROUP))
        | mld_report(GROUP, kinds={CHANGE_TO_NONE, BLOCK_OLD}),
        1500,
    )


@case(
    "MLD-1.6",
    "Each address that the Host has is a listener's at its solicited-node group",
    rfc="RFC 4861",
    section="7.2.1",
    mutant=SILENT,
)
def solicited_node_group(lab: Tester) -> None:
    """Bridges that look at reports would keep solicitations from it otherwise.

    1. The Host gets the address 2001:db8:1::a:b:c.
    2. A report of ff02::1:ff0b:c comes.
    """
    address = "2001:db8:1::a:b:c"
    lab.host.add_address(f"{address}/64")
    lab.expect(mld_report(solicited_node(address)), 2500)


@case(
    "MLD-2.1",
    "A general query is answered within the time that it gives",
    mutant=DEAF,
)
def general_query(lab: Tester) -> None:
    """Each group's report waits a random part of it.

    1. The Host is a member of ff05::1:7.
    2. The tester sends a general query with a maximum response delay of 2 seconds.
    3. A report of the group comes within that time.
    """
    settled(lab)
    lab.send(query(lab, delay_ms=2000))
    lab.expect(mld_report(GROUP), 2200)


@case(
    "MLD-2.2",
    "A query about a group is answered by its members",
    mutant=DEAF,
)
def group_query(lab: Tester) -> None:
    """It is sent to the group itself.

    1. The Host is a member of ff05::1:7.
    2. The tester sends a query about the group with a maximum response delay of 1 second.
    3. A report of the group comes within that time.
    """
    settled(lab)
    lab.send(query(lab, GROUP))
    lab.expect(mld_report(GROUP), 1200)


@case(
    "MLD-2.3",
    "A query with a delay of zero is answered at once",
    mutant=Mutant("takes its time", incoming=_slower),
)
def no_delay(lab: Tester) -> None:
    """Zero is no time to wait a part of.

    1. The Host is a member of ff05::1:7.
    2. The tester sends a query about it with a maximum response delay of 0.
    3. A report comes within a quarter of a second.
    """
    settled(lab)
    lab.send(query(lab, GROUP, 0))
    lab.expect(mld_report(GROUP), 250)


@case(
    "MLD-2.4",
    "A query that does not come from a link-local address is dropped",
    section="5",
    mutant=mending(IPv6, "does not look at the source", src=lambda source: "fe80::5eff:fe00:5301"),
)
def query_source(lab: Tester) -> None:
    """A querier is a router on the link.

    1. The Host is a member of ff05::1:7.
    2. A query about the group comes from a global address: no report in two seconds.
    3. One from a link-local address is answered.
    """
    settled(lab)
    lab.send(query(lab, GROUP, 500, source=lab.tester6))
    lab.expect_nothing(mld_report(GROUP), 1500)
    lab.send(query(lab, GROUP, 500))
    lab.expect(mld_report(GROUP), 1000)


@case(
    "MLD-2.5",
    "A query with a wrong checksum is dropped",
    section="5",
    mutant=mending(ICMPv6MLQuery, "does not look at the checksum"),
)
def query_checksum(lab: Tester) -> None:
    """As any ICMPv6 message.

    1. The Host is a member of ff05::1:7.
    2. A query about the group comes whose checksum is off by one: no report in two seconds.
    3. One that is right is answered.
    """
    settled(lab)
    wrong = computed(query(lab, GROUP, 500))
    wrong[ICMPv6MLQuery].cksum ^= 1
    lab.send(wrong)
    lab.expect_nothing(mld_report(GROUP), 1500)
    lab.send(query(lab, GROUP, 500))
    lab.expect(mld_report(GROUP), 1000)


@case(
    "MLD-2.6",
    "The all-nodes group is not reported",
    section="6",
    mutant=Mutant(
        "reports all that it listens to",
        outgoing=lambda frame: [frame, _all_nodes(frame)] if _reports(frame) else frame,
    ),
)
def all_nodes(lab: Tester) -> None:
    """Everybody is a member of it, and routers know.

    1. The Host is a member of ff05::1:7, as is it of ff02::1.
    2. The tester sends a general query with a maximum response delay of 1 second.
    3. ff05::1:7 is reported, and ff02::1 is not.
    """
    settled(lab)
    lab.send(query(lab))
    lab.expect(mld_report(GROUP), 1200, but_not=mld_report(ALL_NODES))
    lab.expect_nothing(mld_report(ALL_NODES), 1000)


def _all_nodes(frame: Packet) -> Packet:
    return computed(
        Ether(src=frame.src, dst=multicast_mac(ALL_NODES))
        / IPv6(src="fe80::5eff:fe00:5302", dst=ALL_NODES, hlim=1)
        / IPv6ExtHdrHopByHop(options=[RouterAlert(value=0)])
        / ICMPv6MLReport(mladdr=ALL_NODES)
    )


@case(
    "MLD-2.7",
    "A group of the interface's own scope is not reported",
    section="6",
    mutant=Mutant(
        "reports all that it listens to",
        outgoing=lambda frame: (
            _own_scope(frame) if frame.haslayer(ICMPv6ND_NS) or _reports(frame) else frame
        ),
    ),
)
def interface_local(lab: Tester) -> None:
    """What is sent to it never leaves the interface.

    1. The Host's program joins ff01::1:7, and ff05::1:7 after it.
    2. In two seconds the second is reported, and the first is not.
    """
    join(lab, "ff01::1:7")
    join(lab)
    lab.expect(mld_report(GROUP), 1500, but_not=mld_report("ff01::1:7"))
    lab.expect_nothing(mld_report("ff01::1:7"), 1500)


def _own_scope(frame: Packet) -> list[Packet]:
    other = _all_nodes(frame)
    other[ICMPv6MLReport].mladdr = "ff01::1:7"
    return [computed(other), frame]


@case(
    "MLD-2.8",
    "Another's report spares a listener of version 1 its own",
    level=Level.MAY,
    mutant=hiding(lambda frame: bool(frame.haslayer(ICMPv6MLReport)), "does not see the other's"),
)
def suppressed(lab: Tester) -> None:
    """One report of a group is enough for a router. Version 2 need not do it.

    1. The Host is a member of ff05::1:7.
    2. The tester sends a query about it with a maximum response delay of 4 seconds, and the report
       of another member at once.
    3. No report of the Host's comes in five seconds.
    """
    settled(lab)
    lab.send(query(lab, GROUP, 4000))
    lab.send(
        Ether(src="02:00:5e:00:53:77", dst=multicast_mac(GROUP))
        / IPv6(src="fe80::77", dst=GROUP, hlim=1)
        / IPv6ExtHdrHopByHop(options=[RouterAlert(value=0)])
        / ICMPv6MLReport(mladdr=GROUP)
    )
    lab.expect_nothing(mld_report(GROUP), 5000)


@case(
    "MLD-3.1",
    "Before there is a link-local address reports come from the unspecified one",
    rfc="RFC 3590",
    mutant=altering(IPv6, "sends from it at once", src=lambda source: "fe80::5eff:fe00:5302"),
    topology=Topology.BARE,
)
def unspecified_source(lab: Tester) -> None:
    """A tentative address may not be a source; the group has to be joined all the same.

    1. The interface configures itself. A report of the solicited-node group of its link-local
       address that comes before that address is in use comes from ::.
    """
    lab.host.service(Service.SLAAC)
    group = solicited_node(lab.host_ll)
    lab.expect(ipv6(src="::") / neighbour_solicitation(tgt=lab.host_ll), 3000)
    lab.expect_nothing(ipv6(src=lab.host_ll) / mld_report(group), 900)


@case(
    "MLD-3.2",
    "When there is a link-local address the groups are reported from it",
    rfc="RFC 3590",
    level=Level.SHOULD,
    mutant=dropping(lambda frame: _reports(frame) and frame[IPv6].src != "::", "leaves it at that"),
    topology=Topology.BARE,
)
def reported_anew(lab: Tester) -> None:
    """Routers drop what comes from ::; bridges that look at reports do not.

    1. The interface configures itself.
    2. When its link-local address is in use, a report of its solicited-node group comes from it.
    """
    lab.host.service(Service.SLAAC)
    group = solicited_node(lab.host_ll)
    lab.expect(ipv6(src=lab.host_ll) / mld_report(group), 6000)
