"""IPv6, group 8: how long fragments wait for the others (RFC 8200 4.5)."""

from __future__ import annotations

from scapy.layers.inet6 import ICMPv6TimeExceeded, IPv6
from scapy.packet import Raw

from pystack.lab.case import group
from pystack.lab.catalogue._ip6 import alive, echo_bytes, quotes, silence
from pystack.lab.catalogue._mutants import altering
from pystack.lab.catalogue.ip6_fragments import (
    DATA,
    NO_REASSEMBLY,
    completes,
    expect_reply,
    is_fragment,
    piece,
    pieces,
)
from pystack.lab.mutant import Mutant
from pystack.lab.packets import echo_reply6, ipv6, time_exceeded6
from pystack.lab.tester import Tester
from pystack.lab.verdict import Level

case = group("IPV6-8", rfc="RFC 8200", section="4.5")


@case(
    "IPV6-8.11",
    "A packet that lacks a fragment after 60 s is reported, if its first one came",
    level=Level.SHOULD,
    aliases=("v6lc:1.3.2",),
    mutant=altering(ICMPv6TimeExceeded, "says that the hop limit was exceeded", code=0),
    seconds=70,
)
def times_out(lab: Tester) -> None:
    """Never send the last one.

    1. The tester sends the first fragment of an echo request.
    2. For 58 s nothing comes.
    3. In the next 7 s the Host sends a time exceeded, code 1, that quotes the fragment.
    """
    sent = piece(lab, echo_bytes(lab, data=DATA), 0, 24)
    lab.send(sent)
    lab.expect_nothing(time_exceeded6(), 58_000)
    lab.expect(ipv6(src=lab.host6, dst=lab.tester6) / time_exceeded6(code=1) / quotes(sent), 7_000)


@case(
    "IPV6-8.12",
    "A packet that lacks its first fragment after 60 s is not reported",
    mutant=Mutant(
        "reports it at once",
        answer=lambda frame: (
            frame.__class__(src=frame.dst, dst=frame.src)
            / IPv6(src=frame[IPv6].dst, dst=frame[IPv6].src)
            / ICMPv6TimeExceeded(code=1)
            / Raw(bytes(frame)[14:])
            if is_fragment(frame)
            else None
        ),
    ),
    seconds=75,
)
def times_out_silently(lab: Tester) -> None:
    """Send the last one alone.

    1. The tester sends the last fragment of an echo request.
    2. For 66 s nothing comes.
    """
    lab.send(piece(lab, echo_bytes(lab, data=DATA), 24, 40))
    silence(lab, 66_000)


@case(
    "IPV6-8.13",
    "Fragments within 60 s are put together",
    mutant=NO_REASSEMBLY,
    seconds=60,
)
def late(lab: Tester) -> None:
    """Take one's time, but not more.

    1. The tester sends the first half of an echo request, and the other one 55 s later.
    2. The Host answers it.
    """
    first, last = pieces(lab, echo_bytes(lab, data=DATA), (0, 24))
    lab.send(first)
    lab.run(55_000)
    lab.send(last)
    expect_reply(lab)


@case(
    "IPV6-8.14",
    "After 60 s the fragments that came are dropped",
    mutant=completes(2, "keeps fragments for ever"),
    seconds=70,
)
def too_late(lab: Tester) -> None:
    """Take more time than there is.

    1. The tester sends the first half of an echo request, and the other one 64 s later.
    2. No reply comes.
    """
    first, last = pieces(lab, echo_bytes(lab, data=DATA), (0, 24))
    lab.send(first)
    lab.drain(64_000)
    lab.send(last)
    lab.expect_nothing(echo_reply6(seq=1))
    alive(lab)
