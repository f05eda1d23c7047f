"""IGMP: what a host reports of its groups, and what it answers (RFC 1112, RFC 2236, RFC 3376).

A host may report as version 2 or 3 has it: cases take both, unless a router's query of version 2
has told the host which.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from scapy.layers.inet import IP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from scapy.utils import checksum

from pystack.lab.case import group
from pystack.lab.catalogue._ip4 import (
    carried,
    dying,
    has_ip,
    join,
    leave,
    option,
    option_octets,
    program,
    with_header,
)
from pystack.lab.catalogue._mutants import altering, dropping, hiding
from pystack.lab.host import HostSocket
from pystack.lab.mutant import Mutant
from pystack.lab.packets import Match, ipv4, where
from pystack.lab.tester import Tester, multicast_mac
from pystack.lab.verdict import Level

case = group("IGMP", rfc="RFC 2236", section="3")

IGMP = 2
ALL_HOSTS, ALL_ROUTERS, ALL_V3_ROUTERS = "224.0.0.1", "224.0.0.2", "224.0.0.22"
GROUP, SECOND = "239.1.2.3", "239.4.5.6"
QUERY, V1_REPORT, V2_REPORT, LEAVE, V3_REPORT = 0x11, 0x12, 0x16, 0x17, 0x22
INCLUDE, EXCLUDE, TO_INCLUDE, TO_EXCLUDE = 1, 2, 3, 4  # records of version 3
ROUTER_ALERT = 148


def is_igmp(frame: Packet) -> bool:
    """Whether a frame carries IGMP."""
    return has_ip(frame) and bool(frame[IP].proto == IGMP)


def told(frame: Packet) -> set[tuple[str, str]]:
    """What a message says, as pairs of "member" or "left" and the group."""
    if not is_igmp(frame):
        return set()
    message = carried(frame)
    group = socket.inet_ntoa(message[4:8])
    if message[0] in (V1_REPORT, V2_REPORT):
        return {("member", group)}
    if message[0] == LEAVE:
        return {("left", group)}
    found = set()
    if message[0] == V3_REPORT:
        position = 8
        for _ in range(int.from_bytes(message[6:8], "big")):
            kind, auxiliary = message[position], message[position + 1]
            sources = int.from_bytes(message[position + 2 : position + 4], "big")
            group = socket.inet_ntoa(message[position + 4 : position + 8])
            if kind in (EXCLUDE, TO_EXCLUDE):
                found.add(("member", group))
            elif kind in (INCLUDE, TO_INCLUDE) and sources == 0:
                found.add(("left", group))
            position += 8 + 4 * sources + 4 * auxiliary
    return found


def report(group: str = GROUP) -> Match:
    """A report of a membership, of any version."""
    return where(f"an IGMP report of {group}", lambda frame: ("member", group) in told(frame))


def farewell(group: str = GROUP) -> Match:
    """The message that a group is left, of any version."""
    return where(f"an IGMP leave of {group}", lambda frame: ("left", group) in told(frame))


def summed(message: bytes) -> bytes:
    """The message with its checksum in."""
    total = checksum(message[:2] + b"\0\0" + message[4:])
    return message[:2] + int(total).to_bytes(2, "big") + message[4:]


def message_of(
    lab: Tester, kind: int, tenths: int = 0, group: str = "0.0.0.0", to: str = "", more: bytes = b""
) -> Packet:
    """An IGMP message of the tester's, as a frame.

    Args:
        lab: The case's tester.
        kind: Its type.
        tenths: The largest response time, in tenths of a second.
        group: The group it is about; 0.0.0.0: all.
        to: Where it goes; default: where it belongs.
        more: Octets behind the first eight.
    """
    target = to or (ALL_HOSTS if group == "0.0.0.0" else group)
    octets = summed(bytes((kind, tenths, 0, 0)) + socket.inet_aton(group) + more)
    header = lab.ip(dst=target, ttl=1, proto=IGMP, options=option(ROUTER_ALERT, 4, 0, 0))
    frame = Ether(src=lab.tester_mac, dst=multicast_mac(target)) / header / Raw(octets)
    return Ether(bytes(frame))


def query(lab: Tester, tenths: int = 10, group: str = "0.0.0.0") -> None:
    """A router's query of version 2."""
    lab.send(message_of(lab, QUERY, tenths, group))


def member(lab: Tester, *groups: str) -> HostSocket:
    """A program of the Host's that has joined these groups under a router of version 2; quiet."""
    query(lab, 1)  # from now on the Host speaks version 2, too
    sock, _port = program(lab)
    for each in groups or (GROUP,):
        join(lab, sock, each)
        with lab.preamble("a report when joining"):
            lab.expect(report(each))
    # Reports of joining are repeated within ten seconds; an answer takes the repetition's place.
    query(lab, 1)
    lab.drain(900)
    return sock


def _on(kinds: tuple[int, ...], change: Callable[[Packet], Packet | None]) -> Callable[..., object]:
    return lambda frame: change(frame) if is_igmp(frame) and carried(frame)[0] in kinds else frame


REPORTS = (V1_REPORT, V2_REPORT, V3_REPORT)
NO_REPORTS = Mutant("sends no reports", outgoing=_on(REPORTS, lambda frame: None))  # type: ignore[arg-type]


@case(
    "IGMP-1.1",
    "A host that joins a group reports so at once",
    level=Level.SHOULD,
    mutant=NO_REPORTS,
)
def reports_when_joining(lab: Tester) -> None:
    """Routers are to know of the first member before they ask.

    1. The Host's program joins 239.1.2.3.
    2. A report of it comes within a second.
    """
    sock, _port = program(lab)
    join(lab, sock, GROUP)
    lab.expect(report())


class _FirstOnly:
    """Keeps all reports but the first to itself."""

    def __init__(self) -> None:
        self._reported = False

    def reset(self) -> None:
        self._reported = False

    def __call__(self, frame: Packet) -> Packet | None:
        if not is_igmp(frame):
            return frame
        was, self._reported = self._reported, True
        return None if was else frame


@case(
    "IGMP-1.2",
    "The report of a group that was joined is repeated",
    level=Level.SHOULD,
    mutant=Mutant("reports once", outgoing=_FirstOnly()),
)
def repeats_the_report(lab: Tester) -> None:
    """The first one may have been lost.

    1. The Host's program joins 239.1.2.3, and a report comes.
    2. Another one comes, within ten seconds (the Unsolicited Report Interval).
    """
    sock, _port = program(lab)
    join(lab, sock, GROUP)
    with lab.preamble("a report when joining"):
        lab.expect(report())
    lab.expect(report(), within_ms=10_500)


@case(
    "IGMP-1.3",
    "A report has a TTL of 1",
    section="2",
    mutant=altering(IP, "sends reports with a TTL of 64", ttl=64),
)
def ttl(lab: Tester) -> None:
    """Memberships are the link's business alone.

    1. The Host's program joins 239.1.2.3.
    2. The report's TTL is 1.
    """
    sock, _port = program(lab)
    join(lab, sock, GROUP)
    found = lab.expect(report())[IP].ttl
    lab.check(found == 1, "a TTL of 1", found)


@case(
    "IGMP-1.4",
    "A report has the option Router Alert",
    section="2",
    mutant=Mutant(
        "sends no options",
        outgoing=lambda frame: with_header(frame, options=[]) if is_igmp(frame) else frame,
    ),
)
def router_alert(lab: Tester) -> None:
    """Routers read the packet though it is for a group.

    1. The Host's program joins 239.1.2.3.
    2. The report has the option Router Alert, with the value 0.
    """
    sock, _port = program(lab)
    join(lab, sock, GROUP)
    found = option_octets(lab.expect(report()), ROUTER_ALERT)
    lab.check(found == bytes((ROUTER_ALERT, 4, 0, 0)), "94040000", found.hex() or "no such option")


@case(
    "IGMP-1.5",
    "A report goes to the group, or as version 3 to 224.0.0.22, from the Host's address",
    section="9",
    mutant=altering(IP, "reports to all hosts", dst=ALL_HOSTS),
)
def destination(lab: Tester) -> None:
    """Other members and the routers hear it, nobody else needs to.

    1. The Host's program joins 239.1.2.3.
    2. The report's destination is 239.1.2.3 or, if it is of version 3, 224.0.0.22; the frame's is
       that group's, and the source is the Host's address.
    """
    sock, _port = program(lab)
    join(lab, sock, GROUP)
    found = lab.expect(report())
    due = ALL_V3_ROUTERS if carried(found)[0] == V3_REPORT else GROUP
    seen = (found[IP].src, found[IP].dst, found.dst)
    lab.check(seen == (lab.host4, due, multicast_mac(due)), f"{lab.host4} to {due}", seen)


@case(
    "IGMP-1.6",
    "The checksum of a report is right",
    section="2.3",
    mutant=Mutant(
        "sends no checksum",
        outgoing=lambda frame: (
            with_header(frame, carried(frame)[:2] + b"\0\0" + carried(frame)[4:])
            if is_igmp(frame)
            else frame
        ),
    ),
)
def report_checksum(lab: Tester) -> None:
    """It covers all of the message.

    1. The Host's program joins 239.1.2.3.
    2. The report's checksum is the one that is due.
    """
    sock, _port = program(lab)
    join(lab, sock, GROUP)
    found = carried(lab.expect(report()))
    lab.check(found == summed(found), summed(found)[2:4].hex(), found[2:4].hex())


@case(
    "IGMP-1.7",
    "A host that leaves a group says so to the routers",
    level=Level.SHOULD,
    mutant=dropping(lambda frame: bool(farewell()(frame)), "leaves without a word"),
)
def says_that_it_leaves(lab: Tester) -> None:
    """It was the last one that reported, and may be the last member.

    1. The Host's program joins 239.1.2.3, and a report comes; it leaves the group.
    2. The message that it has left comes: to 224.0.0.2 or, as version 3, to 224.0.0.22.
    """
    sock, _port = program(lab)
    join(lab, sock, GROUP)
    with lab.preamble("a report when joining"):
        lab.expect(report())
    leave(lab, sock, GROUP)
    found = lab.expect(farewell())
    due = ALL_ROUTERS if carried(found)[0] == LEAVE else ALL_V3_ROUTERS
    lab.check(found[IP].dst == due, f"a message to {due}", found[IP].dst)


@case(
    "IGMP-1.8",
    "A group is left when the last of its programs has left it",
    rfc="RFC 3376",
    section="3.2",
    mutant=Mutant(
        "leaves with the first program",
        outgoing=lambda frame: (
            with_header(
                frame,
                summed(bytes((LEAVE, 0, 0, 0)) + socket.inet_aton(GROUP)),
                dst=ALL_ROUTERS,
            )
            if report()(frame)
            else frame
        ),
    ),
)
def several_programs(lab: Tester) -> None:
    """The host is a member for all of its programs.

    1. Two programs of the Host's join 239.1.2.3; the first one leaves it.
    2. No message that the group is left comes, not until the second one has left it, too.
    """
    first, _port = program(lab)
    second, _port = program(lab)
    join(lab, first, GROUP)
    join(lab, second, GROUP)
    leave(lab, first, GROUP)
    lab.expect_nothing(farewell(), 500)
    leave(lab, second, GROUP)
    lab.expect(farewell())


# --- queries -------------------------------------------------------------------------------------


@case(
    "IGMP-2.1",
    "A query of all groups is answered with a report of each within the time that it gives",
    mutant=hiding(
        lambda frame: is_igmp(frame) and carried(frame)[1] == 20, "answers the first query alone"
    ),
)
def general_query(lab: Tester) -> None:
    """Routers ask which members are left.

    1. The Host's program joins two groups, and the reports that come of itself are over.
    2. The tester sends a general query with a largest response time of two seconds.
    3. Reports of both groups come in that time.
    """
    _sock = member(lab, GROUP, SECOND)
    query(lab, 20)
    came = lab.collect(where("IGMP", is_igmp), 2300)
    found = {group for one in came for what, group in told(one) if what == "member"}
    lab.check(found >= {GROUP, SECOND}, "reports of both", sorted(found) or "none")


@case(
    "IGMP-2.2",
    "A query of one group is answered for that group alone",
    mutant=Mutant(
        "takes each query for one of all groups",
        incoming=lambda frame: (
            with_header(frame, summed(bytes((QUERY, 10, 0, 0, 0, 0, 0, 0))), dst=ALL_HOSTS)
            if is_igmp(frame)
            else frame
        ),
    ),
)
def specific_query(lab: Tester) -> None:
    """A member has left the group, and the router asks whether others remain.

    1. The Host's program joins two groups, and the reports that come of itself are over.
    2. The tester sends a query of the first group, with a response time of one second, to it.
    3. A report of the first group comes, and none of the second.
    """
    _sock = member(lab, GROUP, SECOND)
    query(lab, 10, GROUP)
    came = lab.collect(where("IGMP", is_igmp), 1300)
    found = {group for one in came for what, group in told(one) if what == "member"}
    lab.check(found == {GROUP}, f"a report of {GROUP} alone", sorted(found) or "none")


@case(
    "IGMP-2.3",
    "The group of all hosts is never reported",
    section="6",
    mutant=Mutant(
        "reports 224.0.0.1 as any group",
        answer=lambda frame: (
            with_header(frame, summed(bytes((V2_REPORT, 0, 0, 0)) + socket.inet_aton(ALL_HOSTS)))
            if is_igmp(frame)
            else None
        ),
    ),
)
def all_hosts(lab: Tester) -> None:
    """Everybody is in it, and routers know that.

    1. The Host's program joins 239.1.2.3, and the reports that come of itself are over.
    2. The tester sends a general query, and one of 224.0.0.1.
    3. A report of 239.1.2.3 comes, and none of 224.0.0.1.
    """
    _sock = member(lab)
    query(lab, 10)
    lab.send(message_of(lab, QUERY, 10, ALL_HOSTS))
    lab.expect(report(), but_not=report(ALL_HOSTS), within_ms=1300)
    lab.expect_nothing(report(ALL_HOSTS), 1300)


@case(
    "IGMP-2.4",
    "A member does not report what another member has reported",
    mutant=hiding(
        lambda frame: is_igmp(frame) and carried(frame)[0] in REPORTS,
        "does not hear other members' reports",
    ),
)
def suppression(lab: Tester) -> None:
    """One report is enough for the router. Under a router of version 2 that is the rule.

    1. The Host's program joins 239.1.2.3, and the reports that come of itself are over.
    2. The tester sends a general query with a response time of four seconds, and at once the
       report of another member.
    3. No report of the group comes in that time; to the next query one does.
    """
    _sock = member(lab)
    query(lab, 40)
    lab.send(message_of(lab, V2_REPORT, 0, GROUP))
    lab.expect_nothing(report(), 4300)
    query(lab, 5)
    lab.expect(report(), within_ms=800)


@case(
    "IGMP-2.5",
    "A query of version 1 is answered with a report of version 1",
    section="4",
    mutant=Mutant(
        "answers routers of version 1 as those of version 2",
        outgoing=lambda frame: (
            with_header(frame, summed(bytes((V2_REPORT,)) + carried(frame)[1:]))
            if is_igmp(frame) and carried(frame)[0] == V1_REPORT
            else frame
        ),
    ),
)
def version_1(lab: Tester) -> None:
    """Old routers know no other report. Their queries have a response time of zero.

    1. The Host's program joins 239.1.2.3, and the reports that come of itself are over.
    2. The tester sends a query of version 1.
    3. A report of type 0x12 comes, within ten seconds.
    """
    _sock = member(lab)
    query(lab, 0)
    found = carried(lab.expect(report(), within_ms=10_300))[0]
    lab.check(found == V1_REPORT, "type 0x12", hex(found))


@case(
    "IGMP-2.6",
    "A query with a wrong checksum is ignored",
    section="2.3",
    mutant=Mutant(
        "does not verify checksums",
        incoming=lambda frame: (
            with_header(frame, summed(carried(frame))) if is_igmp(frame) else frame
        ),
    ),
)
def query_checksum(lab: Tester) -> None:
    """The sum is to be verified before anything else.

    1. The Host's program joins 239.1.2.3, and the reports that come of itself are over.
    2. The tester sends a query with a response time of half a second and a wrong checksum; no
       report comes.
    3. The same with the right checksum leads to one.
    """
    _sock = member(lab)
    right = message_of(lab, QUERY, 5)
    octets = carried(right)
    lab.send(with_header(right, octets[:2] + b"\x0b\xad" + octets[4:]))
    lab.expect_nothing(report(), 900)
    lab.send(right)
    lab.expect(report(), within_ms=800)


@case(
    "IGMP-2.7",
    "Octets behind the first eight of a query are no reason to ignore it",
    section="2.5",
    mutant=hiding(
        lambda frame: is_igmp(frame) and len(carried(frame)) > 8, "drops messages of later versions"
    ),
)
def longer_query(lab: Tester) -> None:
    """Later versions have more to say; a query of version 3 has twelve octets.

    1. The Host's program joins 239.1.2.3, and the reports that come of itself are over.
    2. The tester sends a general query of version 3 with a response time of one second.
    3. A report comes in that time.
    """
    _sock = member(lab)
    lab.send(message_of(lab, QUERY, 10, more=bytes((2, 125, 0, 0))))
    lab.expect(report(), within_ms=1300)


@case(
    "IGMP-2.8",
    "A message of an unknown type is ignored",
    section="2.1",
    level=Level.SHOULD,
    mutant=dying(
        lambda frame: is_igmp(frame) and carried(frame)[0] == 0x99, "falls over unknown types"
    ),
)
def unknown_type(lab: Tester) -> None:
    """There may be new ones one day.

    1. The Host's program joins 239.1.2.3, and the reports that come of itself are over.
    2. The tester sends messages of type 0x99, and one that is cut off after three octets.
    3. Nothing of IGMP comes; a query is answered.
    """
    _sock = member(lab)
    lab.send(message_of(lab, 0x99, 5))
    cut = message_of(lab, QUERY, 5)
    lab.send(with_header(cut, carried(cut)[:3]))
    lab.expect_nothing(ipv4(proto=IGMP), 700)
    query(lab, 5)
    lab.expect(report(), within_ms=800)


@case(
    "IGMP-2.9",
    "A query of a group that the Host has not joined is not answered",
    mutant=Mutant(
        "claims to be a member of every group",
        answer=lambda frame: (
            with_header(frame, summed(bytes((V2_REPORT, 0, 0, 0)) + socket.inet_aton(SECOND)))
            if is_igmp(frame) and frame[IP].dst == SECOND
            else None
        ),
    ),
)
def not_a_member(lab: Tester) -> None:
    """Traffic that nobody wants would go on.

    1. The Host's program joins 239.1.2.3, and the reports that come of itself are over.
    2. The tester sends a query of 239.4.5.6 to that group, and one to 224.0.0.1; nothing comes.
    3. A query of 239.1.2.3 is answered.
    """
    _sock = member(lab)
    query(lab, 5, SECOND)
    lab.send(message_of(lab, QUERY, 5, SECOND, to=ALL_HOSTS))
    lab.expect_nothing(ipv4(proto=IGMP), 900)
    query(lab, 5, GROUP)
    lab.expect(report(), within_ms=800)
