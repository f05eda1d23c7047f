"""IPv4, group 3: options (RFC 791 3.1, RFC 1122 3.2.1.8, 3.2.2.6 and 3.3.5)."""

from __future__ import annotations

import ipaddress

from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._ip4 import dying, echo_of, has_ip, is_alive, option, option_octets
from pystack.lab.catalogue._mutants import altering, answering, hiding
from pystack.lab.packets import icmp, ipv4
from pystack.lab.plan import Topology
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("IP-3", rfc="RFC 1122")

RFC, SECTION = "RFC 1122", "3.2.1.8"
REPLY = icmp(type=0)
RECORD_ROUTE, TIMESTAMP, LOOSE_ROUTE = 7, 68, 131
FAR = "198.51.100.7"


def packed(*addresses: str) -> bytes:
    """Addresses one behind the other."""
    return b"".join(ipaddress.IPv4Address(one).packed for one in addresses)


def has_options(frame: Packet) -> bool:
    """Whether there is more than the header's fixed part."""
    return has_ip(frame) and frame[IP].ihl > 5


DROPS_OPTIONS = hiding(has_options, "drops packets with options")
NO_OPTIONS = altering(IP, "sends no options", options=[])


@case(
    "IP-3.1",
    "Options that are not known are passed over",
    section=SECTION,
    mutant=DROPS_OPTIONS,
)
def unknown_option(lab: Tester) -> None:
    """An option has its length, so that a host can skip an unknown one.

    1. The tester sends an echo request with an option of an unassigned number.
    2. The Host answers.
    """
    lab.send(echo_of(lab, options=option(0x5E, 4, 0, 0)))
    lab.expect(REPLY)


@case(
    "IP-3.2",
    "An option whose length is nonsense does no harm",
    section="1.2.2",
    level=Level.SHOULD,
    mutant=dying(has_options, "loses its way in options"),
)
def nonsense_length(lab: Tester) -> None:
    """The sender chose the lengths.

    1. The tester sends echo requests with options whose length is 40, 1 and 0, a source route
       and a record of the route without room for a pointer, and a record and timestamps whose
       pointer is beyond their end.
    2. A right request after each is answered.
    """
    for octets in (
        (0x5E, 40, 0, 0),
        (0x5E, 1, 0, 0),
        (0x5E, 0, 0, 0),
        (LOOSE_ROUTE, 2, 1, 1),
        (RECORD_ROUTE, 2, 1, 1),
        (RECORD_ROUTE, 3, 200, 0),
        (TIMESTAMP, 8, 200, 0, 0, 0, 0, 0),
    ):
        lab.send(echo_of(lab, options=option(*octets)))
        lab.drain(20)
        is_alive(lab)


@case(
    "IP-3.3",
    "No-operation and end-of-list options are passed over",
    rfc="RFC 791",
    section="3.1",
    mutant=DROPS_OPTIONS,
)
def one_octet_options(lab: Tester) -> None:
    """The two options without a length.

    1. The tester sends an echo request with three no-operations and an end of list.
    2. The Host answers.
    """
    lab.send(echo_of(lab, options=option(1, 1, 1, 0)))
    lab.expect(REPLY)


@case(
    "IP-3.4",
    "A host does not forward by a source route from one wire to another",
    section="3.3.5",
    topology=Topology.ROUTER,
    mutant=answering(
        has_options,
        lambda frame: (
            Ether(src=frame.dst, dst=frame.src)
            / IP(src=frame[IP].src, dst="203.0.113.1")
            / ICMP(type=8)
        ),
        "forwards by the source route",
    ),
)
def source_route(lab: Tester) -> None:
    """Source routing that leaves by another interface is off unless it was switched on.

    1. The Host has two wires, and does not forward.
    2. The tester sends an echo request to the Host with a loose source route on to 203.0.113.1,
       which is at the other wire.
    3. Nothing is sent to 203.0.113.1; a request without a source route is answered.
    """
    lab.host.sysctl("net.ipv4.ip_forward", 0)
    route = option(LOOSE_ROUTE, 7, 4, *packed("203.0.113.1"))
    lab.send(echo_of(lab, options=route))
    onward = ipv4(dst="203.0.113.1") / icmp(type=8)
    lab.expect_nothing(onward, 300, port=1)
    lab.expect_nothing(onward, 0)
    is_alive(lab)


@case(
    "IP-3.5",
    "The reply to an echo request that records its route goes on recording",
    section="3.2.2.6",
    level=Level.SHOULD,
    mutant=NO_OPTIONS,
)
def record_route(lab: Tester) -> None:
    """What is recorded is the way there and back.

    1. The tester sends an echo request with room for four addresses, one of which is used.
    2. The reply's option has the first address still, and the Host's own address behind it, once
       or (coming and going) twice.
    """
    first = packed("203.0.113.9")
    lab.send(echo_of(lab, options=option(RECORD_ROUTE, 19, 8, *first, *bytes(12))))
    found = option_octets(lab.expect(REPLY), RECORD_ROUTE)
    due = first + packed(lab.host4)
    lab.check(
        found[2:3] in (b"\x0c", b"\x10") and found[3:11] == due,
        f"{due.hex()}, and the pointer behind it",
        found.hex() or "no such option",
    )


@case(
    "IP-3.6",
    "The reply to an echo request that collects timestamps has the Host's, too",
    section="3.2.2.6",
    level=Level.SHOULD,
    mutant=NO_OPTIONS,
)
def timestamps(lab: Tester) -> None:
    """Look at the kind with addresses: whose time it is is said.

    1. The tester sends an echo request with room for two addresses and timestamps, none used.
    2. The reply's option has one of each or (coming and going) two, and the address is the Host's.
    """
    lab.send(echo_of(lab, options=option(TIMESTAMP, 20, 5, 1, *bytes(16))))
    found = option_octets(lab.expect(REPLY), TIMESTAMP)
    due = packed(lab.host4)
    lab.check(
        found[2:3] in (b"\x0d", b"\x15") and found[4:8] == due,
        f"{due.hex()} and a time, and the pointer behind them",
        found.hex() or "no such option",
    )


@case(
    "IP-3.7",
    "A packet that has reached the end of its source route at the Host is taken",
    section=SECTION,
    mutant=DROPS_OPTIONS,
)
def end_of_source_route(lab: Tester) -> None:
    """A host must be able to be the last one of a source route.

    1. The tester sends an echo request with a loose source route that is used up.
    2. The Host answers.
    """
    route = option(LOOSE_ROUTE, 7, 8, *packed(lab.tester4))
    lab.send(echo_of(lab, options=route))
    lab.expect(REPLY)


@case(
    "IP-3.8",
    "The reply to an echo request with a source route goes the way back",
    section="3.2.2.6",
    mutant=NO_OPTIONS,
)
def reversed_source_route(lab: Tester) -> None:
    """A source that chooses the route has a reason, in both directions.

    1. The tester sends an echo request from 198.51.100.7 that has come by way of 192.0.2.1 and,
       before it, 203.0.113.9: its source route is used up.
    2. The reply goes to 192.0.2.1, with a source route on to 203.0.113.9 and 198.51.100.7.
    """
    came = packed("203.0.113.9", lab.tester4)
    lab.send(echo_of(lab, src=FAR, options=option(LOOSE_ROUTE, 11, 12, *came)))
    reply = lab.expect(REPLY)
    lab.check(reply[IP].dst == lab.tester4, lab.tester4, reply[IP].dst)
    found = option_octets(reply, LOOSE_ROUTE)
    due = bytes((LOOSE_ROUTE, 11, 4)) + packed("203.0.113.9", FAR)
    lab.check(found == due, due.hex(), found.hex() or "no such option")


@case(
    "IP-3.9",
    "A record of the route that is full is no reason to drop the packet",
    rfc="RFC 791",
    section="3.1",
    mutant=DROPS_OPTIONS,
)
def full_record(lab: Tester) -> None:
    """When there is no room left the packet goes on without another address.

    1. The tester sends an echo request whose record of the route is full.
    2. The Host answers; if the reply has the record, it is as it was.
    """
    record = bytes((RECORD_ROUTE, 7, 8)) + packed("203.0.113.9")
    lab.send(echo_of(lab, options=option(*record)))
    found = option_octets(lab.expect(REPLY), RECORD_ROUTE)
    lab.check(found in (b"", record), record.hex(), found.hex())


@case(
    "IP-3.10",
    "Options are not part of the data that the program gets",
    rfc="RFC 791",
    section="3.1",
    mutant=altering(ICMP, "takes options for data", chksum=None, id=lambda found: found ^ 1),
)
def options_and_data(lab: Tester) -> None:
    """The header's length says where the data begins.

    1. The tester sends echo requests with 4 and with 40 octets of options.
    2. The replies have the identifier, the sequence number and the data of the requests.
    """
    for count in (4, 40):
        lab.send(echo_of(lab, b"data", options=option(*[1] * count)))
        reply = lab.expect(REPLY)
        found = (reply[ICMP].id, reply[ICMP].seq, bytes(reply[Raw].load)[:4])
        lab.check(found == (0x5053, 1, b"data"), "the request's own", found)
