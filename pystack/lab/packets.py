"""What a case expects, said in packets: matchers that compose.

``tcp(flags="SA", ack=isn + 1)`` matches a frame that has a TCP header with these fields. A field
that is left out may be anything. A field's value is compared after parsing, is a function of one
argument, or is a set of values. ``ipv4(src=host) / icmp(type=3, code=3)`` wants both headers.
The names of the fields are scapy's; a wrong one is an error at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP, ICMPerror, IPerror, TCPerror, UDPerror
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6MLDone,
    ICMPv6MLReport,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPerror6,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

__all__ = [
    "Match",
    "anything",
    "arp",
    "at_least",
    "at_most",
    "between",
    "destination_unreachable6",
    "echo_reply6",
    "echo_request6",
    "ether",
    "flagged",
    "fragment6",
    "icmp",
    "inner_ipv4",
    "inner_ipv6",
    "inner_tcp",
    "inner_udp",
    "ipv4",
    "ipv6",
    "layer",
    "mld_done",
    "mld_report",
    "neighbour_advertisement",
    "neighbour_solicitation",
    "packet_too_big",
    "parameter_problem6",
    "payload",
    "redirect6",
    "router_advertisement",
    "router_solicitation",
    "tcp",
    "tcp_option",
    "time_exceeded6",
    "udp",
    "where",
]


@dataclass(frozen=True)
class Match:
    """A predicate over frames that describes itself in words.

    Attributes:
        words: The description.
        tests: Each returns why a frame does not match, or None.
    """

    words: str
    tests: tuple[Callable[[Packet], str | None], ...] = field(repr=False)

    def misses(self, packet: Packet) -> str | None:
        """Why a frame does not match; None: it matches."""
        for test in self.tests:
            missing = test(packet)
            if missing is not None:
                return missing
        return None

    def __call__(self, packet: Packet) -> bool:
        """Whether a frame matches."""
        return self.misses(packet) is None

    def __truediv__(self, other: Match) -> Match:
        return Match(f"{self.words} / {other.words}", self.tests + other.tests)

    def __or__(self, other: Match) -> Match:
        def either(packet: Packet) -> str | None:
            first = self.misses(packet)
            return None if first is None else other.misses(packet)

        return Match(f"({self.words} or {other.words})", (either,))

    def __str__(self) -> str:
        return self.words


def _show(value: Any) -> str:
    if isinstance(value, bytes):
        return f"{len(value)} bytes {value[:16].hex()}{'…' if len(value) > 16 else ''}"
    # A bare function has no name but where it is in memory, which differs from run to run.
    return getattr(value, "words", None) or ("as asked" if callable(value) else str(value))


def _agrees(wanted: Any, found: Any) -> bool:
    if callable(wanted):
        return bool(wanted(found))
    if isinstance(wanted, (set, frozenset)):
        return any(_agrees(one, found) for one in wanted)
    return bool(found == wanted)


def layer(kind: type[Packet], **fields: Any) -> Match:
    """A frame with a header of this scapy class, with these fields.

    Raises:
        TypeError: The header has no such field.
    """
    known = {one.name for one in kind.fields_desc}
    unknown = set(fields) - known
    if unknown:
        raise TypeError(f"{kind.__name__} has no field {sorted(unknown)}, but {sorted(known)}")

    def test(packet: Packet) -> str | None:
        header = packet.getlayer(kind)
        if header is None:
            return f"no {kind.__name__}"
        for name, wanted in fields.items():
            found = header.getfieldval(name)
            if not _agrees(wanted, found):
                return f"{kind.__name__}.{name} is {_show(found)}, not {_show(wanted)}"
        return None

    inside = ", ".join(f"{name}={_show(value)}" for name, value in fields.items())
    return Match(f"{kind.__name__}({inside})", (test,))


@dataclass(frozen=True)
class _Bound:
    words: str
    holds: Callable[[Any], bool] = field(repr=False)

    def __call__(self, value: Any) -> bool:
        return value is not None and self.holds(value)


def at_least(low: int) -> Callable[[Any], bool]:
    """Matches a field of at least this value."""
    return _Bound(f"at least {low}", lambda value: value >= low)


def at_most(high: int) -> Callable[[Any], bool]:
    """Matches a field of at most this value."""
    return _Bound(f"at most {high}", lambda value: value <= high)


def between(low: int, high: int) -> Callable[[Any], bool]:
    """Matches a field in this range, ends included."""
    return _Bound(f"{low} to {high}", lambda value: low <= value <= high)


def flagged(present: str, absent: str = "") -> Callable[[Any], bool]:
    """Matches TCP's flags: `present` are set, `absent` are not, the rest don't matter."""
    words = f"with {present}" + (f", without {absent}" if absent else "")
    return _Bound(
        words,
        lambda flags: (
            all(one in flags for one in present) and not any(one in flags for one in absent)
        ),
    )


def where(words: str, test: Callable[[Packet], bool]) -> Match:
    """A frame for which a function holds, with its description."""
    return Match(words, (lambda packet: None if test(packet) else f"not {words}",))


def anything() -> Match:
    """Any frame."""
    return Match("any frame", ())


def payload(data: bytes) -> Match:
    """A frame whose data, after all headers, is exactly this."""

    def test(packet: Packet) -> str | None:
        found = bytes(packet[Raw].load) if packet.haslayer(Raw) else b""
        return None if found == data else f"data is {_show(found)}, not {_show(data)}"

    return Match(f"data({_show(data)})", (test,))


def ether(**fields: Any) -> Match:
    """An Ethernet header: dst, src, type."""
    return layer(Ether, **fields)


def arp(**fields: Any) -> Match:
    """An ARP packet: op (1 request, 2 reply), hwsrc, psrc, hwdst, pdst, ..."""
    return layer(ARP, **fields)


def ipv4(**fields: Any) -> Match:
    """An IPv4 header: src, dst, proto, ttl, tos, id, flags, frag, len, ..."""
    return layer(IP, **fields)


def ipv6(**fields: Any) -> Match:
    """An IPv6 header: src, dst, nh, hlim, tc, fl, plen."""
    return layer(IPv6, **fields)


def fragment6(**fields: Any) -> Match:
    """An IPv6 fragment header: id, offset, m, nh."""
    return layer(IPv6ExtHdrFragment, **fields)


def icmp(**fields: Any) -> Match:
    """An ICMP message: type, code, id, seq, ptr, gw, nexthopmtu, ..."""
    return layer(ICMP, **fields)


def udp(**fields: Any) -> Match:
    """A UDP header: sport, dport, len, chksum."""
    return layer(UDP, **fields)


def tcp(**fields: Any) -> Match:
    """A TCP header: sport, dport, seq, ack, flags, window, urgptr; flags as "SA", exactly."""
    return layer(TCP, **fields)


def tcp_option(name: str, value: Any = None) -> Match:
    """A TCP segment with an option, by scapy's name for it, and its value if one is given."""

    def test(packet: Packet) -> str | None:
        if not packet.haslayer(TCP):
            return "no TCP"
        for kind, found in packet[TCP].options:
            if kind == name:
                if value is None or _agrees(value, found):
                    return None
                return f"option {name} is {_show(found)}, not {_show(value)}"
        return f"no option {name}"

    return Match(f"option({name}{'' if value is None else f'={_show(value)}'})", (test,))


def inner_ipv4(**fields: Any) -> Match:
    """The IPv4 header that an ICMP error quotes."""
    return layer(IPerror, **fields)


def inner_ipv6(**fields: Any) -> Match:
    """The IPv6 header that an ICMPv6 error quotes."""
    return layer(IPerror6, **fields)


def inner_udp(**fields: Any) -> Match:
    """The UDP header that an ICMP error quotes."""
    return layer(UDPerror, **fields)


def inner_tcp(**fields: Any) -> Match:
    """The TCP header that an ICMP error quotes."""
    return layer(TCPerror, **fields)


def inner_icmp(**fields: Any) -> Match:
    """The ICMP message that an ICMP error quotes."""
    return layer(ICMPerror, **fields)


def echo_request6(**fields: Any) -> Match:
    """An ICMPv6 echo request: id, seq, data, code."""
    return layer(ICMPv6EchoRequest, **fields)


def echo_reply6(**fields: Any) -> Match:
    """An ICMPv6 echo reply: id, seq, data, code."""
    return layer(ICMPv6EchoReply, **fields)


def destination_unreachable6(**fields: Any) -> Match:
    """An ICMPv6 destination unreachable: code."""
    return layer(ICMPv6DestUnreach, **fields)


def packet_too_big(**fields: Any) -> Match:
    """An ICMPv6 packet too big: mtu."""
    return layer(ICMPv6PacketTooBig, **fields)


def time_exceeded6(**fields: Any) -> Match:
    """An ICMPv6 time exceeded: code (0 hop limit, 1 reassembly)."""
    return layer(ICMPv6TimeExceeded, **fields)


def parameter_problem6(**fields: Any) -> Match:
    """An ICMPv6 parameter problem: code, ptr."""
    return layer(ICMPv6ParamProblem, **fields)


def neighbour_solicitation(**fields: Any) -> Match:
    """A neighbour solicitation: tgt."""
    return layer(ICMPv6ND_NS, **fields)


def neighbour_advertisement(**fields: Any) -> Match:
    """A neighbour advertisement: tgt, R, S, O."""
    return layer(ICMPv6ND_NA, **fields)


def router_solicitation(**fields: Any) -> Match:
    """A router solicitation."""
    return layer(ICMPv6ND_RS, **fields)


def router_advertisement(**fields: Any) -> Match:
    """A router advertisement."""
    return layer(ICMPv6ND_RA, **fields)


def redirect6(**fields: Any) -> Match:
    """An ICMPv6 redirect: tgt, dst."""
    return layer(ICMPv6ND_Redirect, **fields)


def mld_report(group: str, kinds: frozenset[int] | set[int] = frozenset((1, 2, 4, 5))) -> Match:
    """A report of a listener in a group: MLDv1's, or a record in MLDv2's.

    Args:
        group: Which.
        kinds: The kinds of records that count; those left out of the default say the contrary.
            1 to 6: is include, is exclude, change to include, change to exclude, allow, block.
    """

    def test(packet: Packet) -> str | None:
        old = packet.getlayer(ICMPv6MLReport)
        if old is not None and 4 in kinds:
            return None if old.mladdr == group else f"a report of {old.mladdr}"
        new = packet.getlayer(ICMPv6MLReport2)
        if new is None:
            return "no report"
        found = [(one.dst, one.rtype) for one in new.records]
        return None if any(at == group and kind in kinds for at, kind in found) else f"{found}"

    return Match(f"MLDReport({group})", (test,))


def mld_done(group: str) -> Match:
    """MLDv1's Done: a listener has left the group."""
    return layer(ICMPv6MLDone, mladdr=group)
