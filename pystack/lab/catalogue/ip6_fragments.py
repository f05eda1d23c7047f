"""IPv6, group 8: fragments that arrive (RFC 8200 4.5, 5722, 6946, 7112)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6ParamProblem,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.packet import Packet

from pystack.lab.case import group
from pystack.lab.catalogue._ip6 import (
    HOP_BY_HOP,
    ICMPV6,
    Extension,
    alive,
    echo_bytes,
    fragment,
    is_answer,
    options,
    packed,
    quotes,
    silence,
)
from pystack.lab.catalogue._mutants import altering, dropping, hiding
from pystack.lab.mutant import Mutant
from pystack.lab.packets import (
    echo_reply6,
    ipv6,
    parameter_problem6,
    time_exceeded6,
)
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("IPV6-8", rfc="RFC 8200", section="4.5")

DATA = b"0123456789abcdef" * 2  # with the message's header 40 octets, five times eight


def is_fragment(frame: Packet) -> bool:
    """Whether a frame has a fragment header."""
    return bool(frame.haslayer(IPv6ExtHdrFragment))


NO_REASSEMBLY = hiding(
    lambda frame: is_fragment(frame) and frame[IPv6ExtHdrFragment].offset > 0,
    "sees no fragment but the first",
)


def piece(
    lab: Tester,
    whole: bytes,
    start: int,
    end: int,
    *before: Extension,
    identification: int = 0x1234,
    nh: int = ICMPV6,
    more: bool | None = None,
    **fields: Any,
) -> Packet:
    """A fragment of a message: its octets from `start` to `end`."""
    last = end >= len(whole)
    header = fragment(start, not last if more is None else more, identification)
    return packed(lab, *before, header, upper=whole[start:end], nh=nh, **fields)


def pieces(
    lab: Tester, whole: bytes, cuts: Sequence[int], identification: int = 0x1234, **fields: Any
) -> list[Packet]:
    """A message in fragments that begin at these octets."""
    ends = [*cuts[1:], len(whole)]
    return [
        piece(lab, whole, start, end, identification=identification, **fields)
        for start, end in zip(cuts, ends, strict=True)
    ]


def expect_reply(lab: Tester, sequence: int = 1, data: bytes = DATA) -> None:
    """Waits for an echo reply, and no error before it."""
    lab.expect(
        ipv6(src=lab.host6, dst=lab.tester6) / echo_reply6(seq=sequence, data=data),
        but_not=time_exceeded6() | parameter_problem6(),
    )


class _Twice:
    """Completes what lacks a fragment: a Host that keeps what it should have dropped."""

    def __init__(self, whole: bytes, words_of: int) -> None:
        self.whole = whole
        self.after = words_of
        self.seen = 0

    def reset(self) -> None:
        """See `Mutant`."""
        self.seen = 0

    def __call__(self, frame: Packet) -> Packet | None:
        if not is_fragment(frame):
            return None
        self.seen += 1
        if self.seen != self.after:
            return None
        return (
            frame.__class__(src=frame.dst, dst=frame.src)
            / IPv6(src=frame[IPv6].dst, dst=frame[IPv6].src)
            / ICMPv6EchoReply(id=0x5053, seq=1, data=self.whole)
        )


def completes(after: int, words: str) -> Mutant:
    """A Host that answers when it has seen so many fragments, whatever was in them."""
    return Mutant(words, answer=_Twice(DATA, after))


def _sorted_out(frame: Packet) -> Packet | None:
    return None if is_fragment(frame) and frame[IPv6ExtHdrFragment].offset == 4 else frame


def _one_identification(frame: Packet) -> Packet:
    if is_fragment(frame):
        frame[IPv6ExtHdrFragment].id = 1
    return frame


@case(
    "IPV6-8.1",
    "An exact duplicate of a fragment does not spoil the packet",
    level=Level.MAY,
    aliases=("talk:IPV6-8.1",),
    mutant=NO_REASSEMBLY,
)
def duplicate(lab: Tester) -> None:
    """A network may deliver a fragment twice.

    RFC 2460 says nothing of that; by RFC 5722 the copy overlaps, and the packet is dropped; RFC
    8200 lets the Host ignore the copy.

    1. The tester sends an echo request in three fragments, the first and the second twice.
    2. The Host answers it.
    """
    first, second, third = pieces(lab, echo_bytes(lab, data=DATA), (0, 16, 32))
    for one in (first, first, second, second, third):
        lab.send(one)
    expect_reply(lab)


@case(
    "IPV6-8.2",
    "A packet in fragments is put together",
    aliases=("v6lc:1.3.1",),
    mutant=NO_REASSEMBLY,
)
def in_order(lab: Tester) -> None:
    """Send fragments as they are cut.

    1. The tester sends an echo request in three fragments.
    2. The Host answers with all of its data.
    """
    for one in pieces(lab, echo_bytes(lab, data=DATA), (0, 16, 32)):
        lab.send(one)
    expect_reply(lab)


@case(
    "IPV6-8.3",
    "Fragments in any order are put together",
    mutant=Mutant(
        "takes fragments in order alone",
        incoming=_sorted_out,
    ),
)
def out_of_order(lab: Tester) -> None:
    """Send fragments as a network may bring them.

    1. The tester sends an echo request in three fragments, the last one first.
    2. The Host answers with all of its data.
    3. The same with the second one first.
    """
    first, second, third = pieces(lab, echo_bytes(lab, data=DATA), (0, 16, 32))
    for one in (third, second, first):
        lab.send(one)
    expect_reply(lab)
    first, second, third = pieces(lab, echo_bytes(lab, 2, DATA), (0, 16, 32), 0x1235)
    for one in (second, first, third):
        lab.send(one)
    expect_reply(lab, 2)


@case(
    "IPV6-8.4",
    "Fragments of packets with other identifications or addresses are kept apart",
    mutant=Mutant(
        "puts together what comes from one sender",
        incoming=_one_identification,
    ),
)
def kept_apart(lab: Tester) -> None:
    """Send three packets' fragments at once.

    1. The tester sends the first halves of three echo requests: two with other identifications,
       the third with the first one's, from another address.
    2. It sends the second halves.
    3. The Host answers all three with their own data.
    """
    stranger = lab.own("2001:db8:1::77")
    data = (b"A" * 32, b"B" * 32, b"C" * 32)
    packets = [
        pieces(lab, echo_bytes(lab, 1, data[0]), (0, 24), 7),
        pieces(lab, echo_bytes(lab, 2, data[1]), (0, 24), 8),
        pieces(lab, echo_bytes(lab, 3, data[2], src=stranger), (0, 24), 7, src=stranger),
    ]
    for half in (0, 1):
        for one in packets:
            lab.send(one[half])
    for number, sender in enumerate((lab.tester6, lab.tester6, stranger)):
        lab.expect(ipv6(dst=sender) / echo_reply6(seq=number + 1, data=data[number]))


@case(
    "IPV6-8.5",
    "A packet whose fragments overlap is dropped, whole",
    rfc="RFC 5722",
    section="4",
    mutant=completes(5, "drops the overlapping fragment alone"),
)
def overlap(lab: Tester) -> None:
    """An overlap is an attack or an error; what came before it counts no more.

    1. The tester sends the octets 0 to 16, 8 to 24 and 32 to 40 of an echo request.
    2. It sends the octets 16 to 32, which would complete it without the second fragment.
    3. Neither a reply nor an error comes.
    """
    with lab.preamble("an echo"):
        alive(lab)
    whole = echo_bytes(lab, data=DATA)
    for start, end in ((0, 16), (8, 24), (32, 40), (16, 32)):
        lab.send(piece(lab, whole, start, end, more=end < 40))
    lab.send(piece(lab, whole, 24, 32))
    silence(lab)


@case(
    "IPV6-8.6",
    "A fragment that lies within another one drops the packet too",
    rfc="RFC 5722",
    section="4",
    mutant=completes(3, "drops the overlapping fragment alone"),
)
def overlap_inside(lab: Tester) -> None:
    """An overlap of another shape.

    1. The tester sends the octets 0 to 24 of an echo request, and 8 to 16 with other data.
    2. It sends the octets 24 to 40.
    3. Neither a reply nor an error comes.
    """
    with lab.preamble("an echo"):
        alive(lab)
    whole = echo_bytes(lab, data=DATA)
    lab.send(piece(lab, whole, 0, 24))
    lab.send(piece(lab, bytes(40), 8, 16))
    lab.send(piece(lab, whole, 24, 40))
    silence(lab)


@case(
    "IPV6-8.7",
    "A packet with a fragment header that is whole is processed at once",
    rfc="RFC 6946",
    section="4",
    aliases=("v6lc:1.3.4",),
    mutant=hiding(
        lambda frame: is_fragment(frame) and frame[IPv6ExtHdrFragment].m == 0,
        "waits for more fragments",
    ),
)
def atomic(lab: Tester) -> None:
    """A fragment that is first and last is the packet.

    1. The tester sends an echo request with a fragment header, offset 0 and no more fragments.
    2. The Host answers it.
    """
    lab.send(piece(lab, echo_bytes(lab, data=DATA), 0, 40))
    expect_reply(lab)


@case(
    "IPV6-8.8",
    "A whole packet with a fragment header leaves waiting fragments alone",
    rfc="RFC 6946",
    section="4",
    mutant=hiding(
        lambda frame: is_fragment(frame) and frame[IPv6ExtHdrFragment].m == 0,
        "takes it for a fragment of the other packet",
    ),
)
def atomic_apart(lab: Tester) -> None:
    """Give the whole packet the identification of one whose fragments still come.

    1. The tester sends the first half of an echo request.
    2. It sends another one, whole, with a fragment header of the same identification.
    3. The Host answers the second one.
    4. The tester sends the second half of the first one; the Host answers that too.
    """
    first, last = pieces(lab, echo_bytes(lab, 1, DATA), (0, 24))
    lab.send(first)
    lab.send(piece(lab, echo_bytes(lab, 2, b"whole"), 0, 99))
    expect_reply(lab, 2, b"whole")
    lab.send(last)
    expect_reply(lab, 1)


@case(
    "IPV6-8.9",
    "A fragment before the last whose length is no multiple of 8 is reported",
    level=Level.SHOULD,
    aliases=("v6lc:1.3.3", "v6lc:5.1.6"),
    mutant=altering(ICMPv6ParamProblem, "points to the fragment header", ptr=40),
)
def odd_length(lab: Tester) -> None:
    """Only the last fragment may have any length.

    1. The tester sends a first fragment with 21 octets of data, more to follow.
    2. The Host answers with a parameter problem, code 0, pointer 4: the payload length.
    """
    sent = piece(lab, echo_bytes(lab, data=DATA), 0, 21)
    lab.send(sent)
    lab.expect(ipv6(src=lab.host6) / parameter_problem6(code=0, ptr=4) / quotes(sent))


@case(
    "IPV6-8.10",
    "A fragment that makes the packet too long is reported",
    level=Level.SHOULD,
    mutant=altering(ICMPv6ParamProblem, "points to the payload length", ptr=4),
)
def too_long(lab: Tester) -> None:
    """A packet can't have more than 65535 octets behind its header.

    1. The tester sends a fragment of 16 octets with offset 65528.
    2. The Host answers with a parameter problem, code 0, pointer 42: the fragment's offset.
    """
    sent = packed(lab, fragment(65528, False), upper=bytes(16))
    lab.send(sent)
    lab.expect(ipv6(src=lab.host6) / parameter_problem6(code=0, ptr=42) / quotes(sent))


@case(
    "IPV6-8.15",
    "A first fragment that ends before the upper layer's header is reported",
    rfc="RFC 7112",
    section="5",
    level=Level.SHOULD,
    mutant=altering(ICMPv6ParamProblem, "says that a field was wrong", code=0),
)
def incomplete_chain(lab: Tester) -> None:
    """A firewall can't judge what it doesn't see.

    1. The tester sends a first fragment with destination options in it and nothing else.
    2. The Host answers with a parameter problem, code 3, pointer 0.
    """
    sent = packed(lab, fragment(0, True), options(), upper=b"")
    lab.send(sent)
    lab.expect(ipv6(src=lab.host6) / parameter_problem6(code=3, ptr=0) / quotes(sent))


@case(
    "IPV6-8.16",
    "A packet whose first fragment ends before the upper layer's header is dropped",
    rfc="RFC 7112",
    section="5",
    level=Level.SHOULD,
    mutant=completes(2, "puts it together"),
)
def incomplete_chain_dropped(lab: Tester) -> None:
    """Send all of such a packet.

    1. The tester sends an echo request behind destination options in two fragments, cut behind
       the options.
    2. No reply comes.
    """
    _kind, rest = options()
    message = bytes((ICMPV6,)) + rest + echo_bytes(lab, data=DATA)
    lab.send(piece(lab, message, 0, 8, nh=60))
    lab.send(piece(lab, message, 8, 48, nh=60))
    lab.expect_nothing(echo_reply6(seq=1))
    alive(lab)


@case(
    "IPV6-8.17",
    "A packet of 1500 octets after reassembly is taken",
    section="5",
    mutant=NO_REASSEMBLY,
)
def reassembles_1500(lab: Tester) -> None:
    """As much as every node must accept.

    1. The tester sends an echo request of 1500 octets in two fragments.
    2. The Host answers with all of its data.
    """
    data = bytes(range(250)) * 5 + bytes(202)
    for one in pieces(lab, echo_bytes(lab, data=data), (0, 1000)):
        lab.send(one)
    expect_reply(lab, data=data)


@case(
    "IPV6-8.18",
    "The next header of the first fragment counts, not that of others",
    mutant=hiding(
        lambda frame: is_fragment(frame) and frame[IPv6ExtHdrFragment].nh != ICMPV6,
        "drops fragments whose next header is another",
    ),
)
def next_header_of_the_first(lab: Tester) -> None:
    """Fragments of one packet may differ there.

    1. The tester sends the last fragment of an echo request, whose next header says 17, then the
       first one, whose says 58.
    2. The Host answers the echo request.
    """
    whole = echo_bytes(lab, data=DATA)
    lab.send(piece(lab, whole, 24, 40, nh=17))
    lab.send(piece(lab, whole, 0, 24))
    expect_reply(lab)


@case(
    "IPV6-8.19",
    "The headers in front of the fragment header may differ between fragments",
    mutant=hiding(
        lambda frame: frame.type == 0x86DD and bytes(frame)[20] == 60,
        "drops options in front of the fragment header",
    ),
)
def unequal_headers(lab: Tester) -> None:
    """Only those of the first fragment stay.

    1. The tester sends the first fragment of an echo request behind destination options, the last
       one without.
    2. The Host answers it.
    3. The same with the options in front of the last fragment.
    """
    whole = echo_bytes(lab, data=DATA)
    lab.send(piece(lab, whole, 0, 24, options()))
    lab.send(piece(lab, whole, 24, 40))
    expect_reply(lab)
    whole = echo_bytes(lab, 2, data=DATA)
    lab.send(piece(lab, whole, 0, 24, identification=5))
    lab.send(piece(lab, whole, 24, 40, options(), identification=5))
    expect_reply(lab, 2)


@case(
    "IPV6-8.20",
    "The reserved bits of a fragment header are ignored",
    mutant=hiding(
        lambda frame: is_fragment(frame) and frame[IPv6ExtHdrFragment].res1 != 0,
        "drops what has reserved bits set",
    ),
)
def reserved_bits(lab: Tester) -> None:
    """Set all of them.

    1. The tester sends an echo request in two fragments, all reserved bits set.
    2. The Host answers it.
    """
    whole = echo_bytes(lab, data=DATA)
    for start, end in ((0, 24), (24, 40)):
        header = fragment(start, end < 40, reserved=0xFF)
        lab.send(packed(lab, header, upper=whole[start:end]))
    expect_reply(lab)


@case(
    "IPV6-8.21",
    "A packet with a fragment missing is not given on",
    mutant=completes(2, "does not look for holes"),
)
def hole(lab: Tester) -> None:
    """Leave out the fragment in the middle.

    1. The tester sends the first and the last of three fragments of an echo request.
    2. Nothing comes.
    3. The tester sends the second one; the Host answers.
    """
    first, second, third = pieces(lab, echo_bytes(lab, data=DATA), (0, 16, 32))
    lab.send(first)
    lab.send(third)
    silence(lab)
    lab.send(second)
    expect_reply(lab)


@case(
    "IPV6-8.22",
    "A large packet is put together of many fragments",
    section="5",
    level=Level.MAY,
    mutant=dropping(is_answer, "answers nothing"),
)
def many(lab: Tester) -> None:
    """More than a node has to take, but what most take.

    1. The tester sends an echo request of 20000 octets of data in fragments, in reverse order.
    2. The Host answers, itself in fragments.
    """
    whole = echo_bytes(lab, data=bytes(20000))
    all_of_it = pieces(lab, whole, range(0, len(whole), 1400))
    for one in reversed(all_of_it):
        lab.send(one)
    lab.expect(ipv6(src=lab.host6, dst=lab.tester6, nh=44), 2000)


@case(
    "IPV6-8.23",
    "Fragments with hop-by-hop options are put together",
    mutant=hiding(
        lambda frame: is_fragment(frame) and frame[IPv6].nh == HOP_BY_HOP,
        "drops fragments that have hop-by-hop options",
    ),
)
def hop_by_hop(lab: Tester) -> None:
    """They are among the headers that each fragment repeats, and the packet's first one after it.

    1. The tester sends an echo request in two fragments, each with hop-by-hop options in front.
    2. The Host answers it.
    """
    whole = echo_bytes(lab, data=DATA)
    for start, end in ((0, 24), (24, 40)):
        lab.send(piece(lab, whole, start, end, options(kind=HOP_BY_HOP)))
    expect_reply(lab)
