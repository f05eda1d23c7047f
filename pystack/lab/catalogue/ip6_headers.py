"""IPv6, groups 3 and 5: extension headers, their order, and routing headers (RFC 8200 4)."""

from __future__ import annotations

from scapy.layers.inet6 import ICMPv6ParamProblem
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from pystack.lab.case import group
from pystack.lab.catalogue._ip6 import (
    DESTINATION,
    FRAGMENT,
    HOP_BY_HOP,
    NONE,
    ROUTING,
    answering_with,
    fragment,
    options,
    packed,
    quotes,
    routing,
    seeing,
    unanswered,
)
from pystack.lab.catalogue._mutants import altering, hiding
from pystack.lab.catalogue.ip6 import UNASSIGNED
from pystack.lab.mutant import Mutant
from pystack.lab.packets import echo_reply6, ipv6, parameter_problem6
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("IPV6", rfc="RFC 8200")

# Option 0x1e is for experiments (RFC 4727): nobody knows it. The two bits in front say what to do.
UNKNOWN_REPORTED = b"\x9e\x04pyst"
# Neither does anybody know a routing header of type 33.
UNKNOWN_ROUTING = 33


def _begins_with(frame: Packet, *numbers: int) -> bool:
    """Whether a packet's first next header fields have these values."""
    raw = bytes(frame)
    offset, at = 54, 20
    for number in numbers:
        if frame.type != 0x86DD or len(raw) <= offset or raw[at] != number:
            return False
        at, offset = offset, offset + 8 * (raw[offset + 1] + 1 if number != 44 else 1)
    return True


def _problem(lab: Tester, sent: Packet, code: int, pointer: int) -> None:
    """Sends a packet that has to be answered with a parameter problem, and nothing else."""
    lab.send(sent)
    lab.expect(
        ipv6(src=lab.host6, dst=lab.tester6)
        / parameter_problem6(code=code, ptr=pointer)
        / quotes(sent),
        but_not=parameter_problem6() | echo_reply6(),
    )


def _processed(lab: Tester, sent: Packet) -> None:
    """Sends an echo request behind extension headers that has to be answered."""
    lab.send(sent)
    lab.expect(echo_reply6(seq=1), but_not=parameter_problem6())


@case(
    "IPV6-3.1",
    "A next header of 0 behind the first header is answered with parameter problem, code 1",
    section="4",
    level=Level.SHOULD,
    aliases=("v6lc:1.2.1",),
    mutant=hiding(
        lambda frame: _begins_with(frame, HOP_BY_HOP, HOP_BY_HOP), "drops it without a word"
    ),
)
def next_header_zero(lab: Tester) -> None:
    """Hop-by-hop options belong right behind IPv6's header.

    1. The tester sends a packet with two headers of hop-by-hop options.
    2. The Host answers with a parameter problem, code 1, pointer 40: the first one's next header.
    """
    sent = packed(lab, options(kind=HOP_BY_HOP), options(kind=HOP_BY_HOP))
    _problem(lab, sent, 1, 40)


@case(
    "IPV6-3.2",
    "What follows the next header 59 of an extension header is ignored",
    section="4.7",
    aliases=("v6lc:1.2.2",),
    mutant=answering_with(
        lambda sent: ICMPv6ParamProblem(code=1, ptr=40) / Raw(sent),
        "takes 59 for an unknown header",
        next_header=DESTINATION,
    ),
)
def no_next_header(lab: Tester) -> None:
    """Say that nothing follows an extension header.

    1. The tester sends a packet with destination options, whose next header is 59, and an echo
       request behind them.
    2. Neither a reply nor an error comes.
    """
    unanswered(lab, packed(lab, options(), nh=NONE))


@case(
    "IPV6-3.3",
    "An unrecognised next header of an extension header is pointed to",
    section="4",
    level=Level.SHOULD,
    aliases=("v6lc:1.2.3",),
    mutant=altering(ICMPv6ParamProblem, "points to IPv6's next header", ptr=6),
)
def unrecognised_next_header(lab: Tester) -> None:
    """Send an unknown protocol behind an extension header.

    1. The tester sends destination options whose next header is 200.
    2. The Host answers with a parameter problem, code 1, pointer 40.
    3. The same behind two headers of options: the pointer is 48.
    """
    _problem(lab, packed(lab, options(), nh=UNASSIGNED), 1, 40)
    _problem(lab, packed(lab, options(), options(), nh=UNASSIGNED), 1, 48)


@case(
    "IPV6-3.4",
    "Extension headers are taken in any order and number",
    section="4.1",
    mutant=hiding(
        lambda frame: _begins_with(frame, DESTINATION, DESTINATION),
        "takes one header of destination options",
    ),
)
def any_order(lab: Tester) -> None:
    """Send headers more often, and in another order, than anybody should.

    1. The tester sends an echo request behind two headers of destination options, a routing header
       with no segments left, a whole packet's fragment header, a second routing header, and
       destination options.
    2. The Host answers it.
    """
    sent = packed(
        lab,
        options(),
        options(),
        routing(UNKNOWN_ROUTING, 0),
        fragment(0, False),
        routing(0, 0),
        options(),
    )
    _processed(lab, sent)


@case(
    "IPV6-3.5",
    "Extension headers are processed in the order in which they stand",
    section="4",
    aliases=("v6lc:1.2.4",),
    mutant=altering(ICMPv6ParamProblem, "reports the second error", code=lambda found: 2 - found),
)
def in_order(lab: Tester) -> None:
    """Put two errors into a packet: the first one counts.

    1. The tester sends an unknown option that wants a report, then an unknown routing header.
    2. The Host reports the option: code 2, pointer 42.
    3. The tester sends the unknown routing header first, then the option.
    4. The Host reports the routing header: code 0, pointer 42.
    """
    unknown, strange = options(UNKNOWN_REPORTED), routing(UNKNOWN_ROUTING, 1)
    _problem(lab, packed(lab, unknown, strange), 2, 42)
    _problem(lab, packed(lab, strange, unknown), 0, 42)


@case(
    "IPV6-3.6",
    "All extension headers in the recommended order are taken",
    section="4.1",
    mutant=hiding(
        lambda frame: _begins_with(frame, HOP_BY_HOP), "drops what has hop-by-hop options"
    ),
)
def recommended_order(lab: Tester) -> None:
    """Send one header of each kind.

    1. The tester sends an echo request behind hop-by-hop options, destination options, a routing
       header with no segments left, a whole packet's fragment header, and destination options.
    2. The Host answers it.
    """
    sent = packed(
        lab,
        options(kind=HOP_BY_HOP),
        options(),
        routing(UNKNOWN_ROUTING, 0),
        fragment(0, False),
        options(),
    )
    _processed(lab, sent)


@case(
    "IPV6-3.7",
    "An extension header that reaches beyond the packet is dropped with it",
    section="4.2",
    mutant=seeing(
        b"\x3a\x20\x01\x04\0\0\0\0", b"\x3a\0\x01\x04\0\0\0\0", "does not look at the length"
    ),
)
def beyond_the_packet(lab: Tester) -> None:
    """Have a header claim more than there is.

    1. The tester sends echo requests behind options of 264 octets by their length field, of which
       only the first 8 are there.
    2. They are not answered; the Host lives on.
    """
    for kind in (HOP_BY_HOP, DESTINATION):
        _kind, rest = options(kind=kind)
        unanswered(lab, packed(lab, (kind, b"\x20" + rest[1:])))


@case(
    "IPV6-3.8",
    "A packet that ends within its extension headers does no harm",
    section="4",
    mutant=hiding(lambda frame: _begins_with(frame, 58), "falls silent"),
)
def cut_headers(lab: Tester) -> None:
    """End the packet where a header should begin.

    1. The tester sends packets whose next header is hop-by-hop options, destination options,
       routing and fragment, and which end 0, 1, 2 and 7 octets later.
    2. The Host still answers an echo request.
    """
    for kind in (HOP_BY_HOP, DESTINATION, ROUTING, FRAGMENT):
        for size in (0, 1, 2, 7):
            lab.send(lab.ip6(nh=kind) / Raw((bytes((NONE, 0)) + bytes(5))[:size]))
    lab.drain(50)  # what is cut may be reported
    _processed(lab, packed(lab))


# --- routing headers -----------------------------------------------------------------------------


def _sent_on(frame: Packet) -> Packet | None:
    if not _begins_with(frame, ROUTING):
        return None
    raw = bytes(frame)
    return Ether(raw[6:12] + raw[:6] + raw[12:38] + raw[62:78] + raw[54:62] + raw[38:54] + raw[78:])


@case(
    "IPV6-5.1",
    "A routing header of type 0 with no segments left is ignored",
    rfc="RFC 5095",
    section="3",
    mutant=hiding(lambda frame: _begins_with(frame, ROUTING), "drops all routing headers"),
)
def type_0_at_its_end(lab: Tester) -> None:
    """The packet has reached its destination, by whatever way.

    1. The tester sends an echo request behind a routing header of type 0, with one address and no
       segments left.
    2. The Host answers it.
    """
    _processed(lab, packed(lab, routing(0, 0, [lab.tester6])))


@case(
    "IPV6-5.2",
    "A routing header of type 0 with segments left is answered with parameter problem, code 0",
    rfc="RFC 5095",
    section="3",
    mutant=seeing(b"\x3a\x02\0\x01", b"\x3a\x02\0\0", "ignores routing headers of type 0"),
)
def type_0(lab: Tester) -> None:
    """This type was given up, since it let anybody send packets in circles.

    1. The tester sends a packet with a routing header of type 0, one segment left.
    2. The Host answers with a parameter problem, code 0, pointer 42: the routing type.
    """
    _problem(lab, packed(lab, routing(0, 1, [lab.tester6])), 0, 42)


@case(
    "IPV6-5.3",
    "A packet with segments left in a routing header of type 0 is not sent on",
    rfc="RFC 5095",
    section="3",
    mutant=Mutant("sends the packet on", answer=_sent_on),
)
def type_0_goes_nowhere(lab: Tester) -> None:
    """See that the packet ends here.

    1. The tester sends a packet with a routing header of type 0, whose next address is the
       tester's.
    2. Nothing is sent to that address but the error.
    """
    with_request = packed(lab, routing(0, 1, [lab.tester6]))
    lab.resolve(6)
    lab.send(with_request)
    lab.expect_nothing(ipv6(dst=lab.tester6, nh={HOP_BY_HOP, ROUTING, DESTINATION}) | echo_reply6())


@case(
    "IPV6-5.4",
    "An unrecognised routing header with no segments left is ignored",
    section="4.4",
    mutant=hiding(lambda frame: _begins_with(frame, ROUTING), "drops all routing headers"),
)
def unknown_at_its_end(lab: Tester) -> None:
    """Of what has been done already nothing needs to be known.

    1. The tester sends an echo request behind a routing header of type 33, no segments left.
    2. The Host answers it.
    """
    _processed(lab, packed(lab, routing(UNKNOWN_ROUTING, 0, [lab.tester6])))


@case(
    "IPV6-5.5",
    "An unrecognised routing header with segments left is answered with parameter problem",
    section="4.4",
    mutant=altering(ICMPv6ParamProblem, "points to the segments left", ptr=lambda found: found + 1),
)
def unknown_routing(lab: Tester) -> None:
    """The Host can't know where the packet has to go.

    1. The tester sends a packet with a routing header of type 33, one segment left.
    2. The Host answers with a parameter problem, code 0, pointer 42: the routing type.
    3. The same behind destination options: the pointer is 50.
    """
    strange = routing(UNKNOWN_ROUTING, 1, [lab.tester6])
    _problem(lab, packed(lab, strange), 0, 42)
    _problem(lab, packed(lab, options(), strange), 0, 50)


@case(
    "IPV6-5.6",
    "An unrecognised routing header of any length is answered so",
    section="4.4",
    mutant=altering(ICMPv6ParamProblem, "points to the length", ptr=lambda found: found - 1),
)
def unknown_routing_odd(lab: Tester) -> None:
    """What the length of an unknown type should be is unknown too.

    1. The tester sends a packet with a routing header of type 33, one segment left, whose length
       is not that of whole addresses.
    2. The Host answers with a parameter problem, code 0, pointer 42: the routing type.
    """
    _problem(lab, packed(lab, routing(UNKNOWN_ROUTING, 1, more=bytes(8))), 0, 42)


@case(
    "IPV6-5.7",
    "A packet with segments left is not given to the upper layer",
    section="4.4",
    mutant=seeing(b"\x3a\x02\x02\x01", b"\x3a\x02\x02\0", "takes a packet that is on its way"),
)
def still_on_its_way(lab: Tester) -> None:
    """The Host is not the end of the way, and not a mobile node either.

    1. The tester sends an echo request behind a routing header of type 2, one segment left: an
       address that is not the Host's.
    2. No reply comes; an error may.
    """
    lab.resolve(6)
    lab.send(packed(lab, routing(2, 1, ["2001:db8:1::77"])))
    lab.expect_nothing(echo_reply6())
    _processed(lab, packed(lab))
