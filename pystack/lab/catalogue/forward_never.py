"""Forwarding of IPv4: what is never forwarded, and options (RFC 1812 5.3, RFC 2644, RFC 3927)."""

from __future__ import annotations

from scapy.layers.inet import (
    IP,
    UDP,
    IPOption,
    IPOption_LSRR,
    IPOption_RR,
    IPOption_Timestamp,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from pystack.lab.case import case, group
from pystack.lab.catalogue._forward import (
    DATA,
    FAR,
    HOST_MACS,
    NEAR,
    TESTER_MACS,
    aimed,
    blind,
    carries,
    expect_forwarded,
    expect_not_forwarded,
    from_near,
    outward,
    ready,
    sourced,
    to_host,
)
from pystack.lab.catalogue._mutants import computed
from pystack.lab.mutant import Mutant
from pystack.lab.packets import icmp, ipv4
from pystack.lab.plan import Topology
from pystack.lab.tester import BROADCAST, Tester
from pystack.lab.verdict import Level

RFC = "RFC 1812"

routed = group("FWD", rfc=RFC, topology=Topology.ROUTER)


@routed(
    "FWD-6.1",
    "What came as a broadcast frame is not forwarded",
    section="5.3.4",
    mutant=blind("does not look at the frame", sourced(NEAR), mac=HOST_MACS[0]),
)
def link_broadcast(lab: Tester) -> None:
    """Each router of the wire would forward it.

    1. The tester sends a datagram for the other wire, in a broadcast frame.
    2. It does not come there, and nothing comes back.
    """
    ready(lab)
    lab.send(to_host(outward(), BROADCAST))
    lab.expect_nothing(icmp(), 100)
    expect_not_forwarded(lab)


@routed(
    "FWD-6.2",
    "What came as a multicast frame is not forwarded, unless it is for a group",
    section="5.3.4",
    mutant=blind("does not look at the frame", sourced(NEAR), mac=HOST_MACS[0]),
)
def link_multicast(lab: Tester) -> None:
    """As for a broadcast.

    1. The tester sends a datagram for the other wire, in a frame to 01:00:5e:00:00:01.
    2. It does not come there.
    """
    ready(lab)
    lab.send(to_host(outward(), "01:00:5e:00:00:01"))
    expect_not_forwarded(lab)


@routed(
    "FWD-6.3",
    "A broadcast to a network is not forwarded to it",
    rfc="RFC 2644",
    section="2",
    mutant=blind("takes the network's broadcast for a host", aimed("203.0.113.255"), dst=FAR),
)
def directed_broadcast(lab: Tester) -> None:
    """Else one packet from afar would wake a whole network.

    1. The tester sends a datagram to 203.0.113.255.
    2. It does not come out of the router's second interface.
    """
    ready(lab)
    lab.send(to_host(outward(dst="203.0.113.255")))
    expect_not_forwarded(lab)


@routed(
    "FWD-6.4",
    "A broadcast to everybody is not forwarded",
    section="5.3.5.1",
    mutant=blind("forwards broadcasts", aimed("255.255.255.255"), dst=FAR, mac=HOST_MACS[0]),
)
def limited_broadcast(lab: Tester) -> None:
    """It is for the wire that it is on.

    1. The tester sends a datagram to 255.255.255.255, in a broadcast frame and in one to the
       router.
    2. Neither comes out of the second interface.
    """
    ready(lab)
    lab.send(to_host(outward(dst="255.255.255.255"), BROADCAST))
    lab.send(to_host(outward(dst="255.255.255.255")))
    expect_not_forwarded(lab)


def _from(lab: Tester, source: str) -> None:
    """A packet with this source does not come through, and nothing is said about it."""
    ready(lab)
    lab.send(to_host(outward(src=source)))
    lab.expect_nothing(icmp(), 100)
    expect_not_forwarded(lab)


@routed(
    "FWD-6.5",
    "A packet from the loopback network is not forwarded",
    section="5.3.7",
    level=Level.SHOULD,
    mutant=blind("does not look at the source", sourced("127.0.0.1"), src=NEAR),
)
def from_loopback(lab: Tester) -> None:
    """Such a packet never leaves a host.

    1. The tester sends a datagram for the other wire from 127.0.0.1.
    2. It does not come there, and nothing comes back.
    """
    _from(lab, "127.0.0.1")


@routed(
    "FWD-6.6",
    "A packet from network 0 is not forwarded",
    section="5.3.7",
    level=Level.SHOULD,
    mutant=blind(
        "does not look at the source",
        lambda frame: frame[IP].src.startswith("0.") if frame.haslayer(IP) else False,
        src=NEAR,
    ),
)
def from_zero(lab: Tester) -> None:
    """It is what a host says that does not know its own address.

    1. The tester sends datagrams for the other wire from 0.0.0.0 and from 0.0.0.7.
    2. None comes there, and nothing comes back.
    """
    ready(lab)
    lab.send(to_host(outward(src="0.0.0.0")))
    _from(lab, "0.0.0.7")


@routed(
    "FWD-6.7",
    "A packet from a group or from everybody is discarded",
    section="4.2.2.11",
    mutant=blind("does not look at the source", sourced("224.0.0.5"), src=NEAR),
)
def from_group(lab: Tester) -> None:
    """Neither can send.

    1. The tester sends datagrams for the other wire from 255.255.255.255 and from 224.0.0.5.
    2. None comes there, and nothing comes back.
    """
    ready(lab)
    lab.send(to_host(outward(src="255.255.255.255")))
    _from(lab, "224.0.0.5")


@routed(
    "FWD-6.8",
    "A packet to the loopback network or to network 0 is not forwarded",
    section="5.3.7",
    level=Level.SHOULD,
    mutant=blind("takes them for networks", aimed("127.0.0.5"), dst=FAR),
)
def to_loopback(lab: Tester) -> None:
    """Even if a default route would carry it.

    1. The router has a default route by the second wire. The tester sends datagrams to 127.0.0.5
       and to 0.0.0.7.
    2. Neither comes out.
    """
    ready(lab)
    lab.host.add_route("0.0.0.0/0", FAR, 1)
    lab.send(to_host(outward(dst="127.0.0.5")))
    lab.send(to_host(outward(dst="0.0.0.7")))
    expect_not_forwarded(lab)


@routed(
    "FWD-6.9",
    "A packet from a link-local address is not forwarded",
    rfc="RFC 3927",
    section="7",
    mutant=blind("does not look at the source", sourced("169.254.7.7"), src=NEAR),
)
def from_link_local(lab: Tester) -> None:
    """Nobody beyond the wire could answer it.

    1. The tester sends a datagram for the other wire from 169.254.7.7.
    2. It does not come there.
    """
    ready(lab)
    lab.send(to_host(outward(src="169.254.7.7")))
    expect_not_forwarded(lab)


@routed(
    "FWD-6.10",
    "A packet to a link-local address is not forwarded",
    rfc="RFC 3927",
    section="7",
    mutant=blind("routes them as any other", aimed("169.254.7.7"), dst=FAR),
)
def to_link_local(lab: Tester) -> None:
    """Whatever its routes say.

    1. The router has a default route by the second wire. The tester sends a datagram to
       169.254.7.7.
    2. It does not come out, and the router asks for nobody.
    """
    ready(lab)
    lab.host.add_route("0.0.0.0/0", FAR, 1)
    lab.send(to_host(outward(dst="169.254.7.7")))
    expect_not_forwarded(lab)


@routed(
    "FWD-6.11",
    "A packet for a group is not forwarded without a reason",
    rfc="RFC 5771",
    section="4",
    level=Level.SHOULD,
    mutant=blind("takes a group for a host", aimed("224.0.0.99"), dst=FAR, mac=HOST_MACS[0]),
)
def local_group(lab: Tester) -> None:
    """The groups of 224.0.0.0/24 are for one wire, whatever the time to live.

    1. The tester sends a datagram to 224.0.0.99, with a time to live of 64.
    2. It does not come out of the second interface.
    """
    ready(lab)
    lab.send(to_host(outward(dst="224.0.0.99"), "01:00:5e:00:00:63"))
    expect_not_forwarded(lab)


def _sends_on(frame: Packet) -> Packet | None:
    if not frame.haslayer(UDP) or frame.dst != HOST_MACS[0]:
        return None
    on: Packet = frame.copy()
    on.src, on.dst = HOST_MACS[0], TESTER_MACS[0]
    on[IP].ttl -= 1
    return computed(on)


@case(
    "FWD-6.12",
    "A host that is no router forwards nothing, and says nothing",
    rfc="RFC 1122",
    section="3.2.1.3",
    topology=Topology.HOST,
    mutant=Mutant("forwards although nobody asked it to", answer=_sends_on),
)
def no_router(lab: Tester) -> None:
    """A packet for another address is silently discarded.

    1. A datagram for another network comes to the Host's hardware address.
    2. It is not sent on, and no ICMP error comes. The Host still answers an echo request.
    """
    lab.resolve()
    lab.send(to_host(outward(dst="198.51.100.1")))
    lab.expect_nothing(carries() | icmp(), 400)
    lab.send(lab.echo())
    lab.expect(icmp(type=0))


# --- options --------------------------------------------------------------------------------------


def _without_options(frame: Packet) -> Packet:
    if from_near(frame) and frame.haslayer(IP) and frame[IP].options:
        frame[IP].options = []
        return computed(frame)
    return frame


def _blank(frame: Packet) -> Packet:
    """The options as they were, whatever the router has written into them."""
    for option in frame[IP].options if from_near(frame) and frame.haslayer(IP) else ():
        if option.option == 7:
            option.pointer = 4
            option.routers = ["0.0.0.0"] * len(option.routers)
        elif option.option == 4:
            option.pointer, option.timestamp = 9, 0
    return computed(frame) if from_near(frame) else frame


def _optioned(option: Packet) -> Packet:
    return (
        Ether(src=TESTER_MACS[0], dst=HOST_MACS[0])
        / IP(src=NEAR, dst=FAR, options=[option])
        / UDP(sport=4000, dport=4001)
        / Raw(DATA)
    )


@routed(
    "FWD-7.1",
    "The router enters its address into a recorded route",
    section="5.3.13.5",
    mutant=Mutant("does not look at options", outgoing=_blank),
)
def record_route(lab: Tester) -> None:
    """The address of the interface that the packet leaves by.

    1. The tester sends a datagram through the router with a record route option of three places.
    2. It comes with 203.0.113.2 in the first of them, and the pointer on the second.
    """
    ready(lab)
    lab.send(_optioned(IPOption_RR(length=15, pointer=4, routers=["0.0.0.0"] * 3)))
    found = expect_forwarded(lab)[IP].options
    lab.check(bool(found) and found[0].option == 7, "a record route option", found)
    lab.check(found[0].pointer == 8, "pointer 8", found[0].pointer)
    lab.check(found[0].routers[0] == lab.other.host4, lab.other.host4, found[0].routers)


@routed(
    "FWD-7.2",
    "A recorded route that is full is forwarded as it is",
    rfc="RFC 791",
    section="3.1",
    mutant=Mutant("does without options", outgoing=_without_options),
)
def full_route(lab: Tester) -> None:
    """There is nothing to enter, and nothing wrong with it.

    1. The tester sends a datagram through the router with a record route option whose pointer is
       beyond its end.
    2. It comes with the same option.
    """
    ready(lab)
    lab.send(_optioned(IPOption_RR(length=7, pointer=8, routers=["198.51.100.7"])))
    found = expect_forwarded(lab)[IP].options
    lab.check(bool(found) and found[0].option == 7, "a record route option", found)
    same = found[0].pointer == 8 and found[0].routers == ["198.51.100.7"]
    lab.check(same, "the option as it was", found)


@routed(
    "FWD-7.3",
    "The router enters the time, and its address, into a timestamp option",
    section="5.3.13.6",
    mutant=Mutant("does not look at options", outgoing=_blank),
)
def timestamp(lab: Tester) -> None:
    """With the flag that asks for both.

    1. The tester sends a datagram through the router with a timestamp option of flag 1 and one
       place.
    2. It comes with an address of the router's in it, and the pointer beyond it.
    """
    ready(lab)
    lab.send(
        _optioned(
            IPOption_Timestamp(length=12, pointer=5, flg=1, internet_address="0.0.0.0", timestamp=0)
        )
    )
    found = expect_forwarded(lab)[IP].options
    lab.check(bool(found) and found[0].option == 4, "a timestamp option", found)
    lab.check(found[0].pointer == 13, "pointer 13", found[0].pointer)
    ours = found[0].internet_address in (lab.host4, lab.other.host4)
    lab.check(ours, "an address of the router's", found[0].internet_address)


@routed(
    "FWD-7.4",
    "An option that the router does not know is passed on unchanged",
    section="5.3.13.1",
    mutant=Mutant("does without options", outgoing=_without_options),
)
def unknown_option(lab: Tester) -> None:
    """Another host may know it.

    1. The tester sends a datagram through the router with an option of type 30 and two octets.
    2. It comes with the same option.
    """
    ready(lab)
    option = IPOption(b"\x1e\x04\xab\xcd")
    lab.send(_optioned(option))
    found = expect_forwarded(lab)[IP]
    area = bytes(found)[20 : 4 * found.ihl]
    lab.check(area.startswith(b"\x1e\x04\xab\xcd"), "the option", area.hex())


@routed(
    "FWD-7.5",
    "A packet with options is forwarded with a header checksum that is right",
    section="4.2.2.5",
    mutant=Mutant(
        "does not count what it has written",
        outgoing=lambda frame: _spoilt(frame) if from_near(frame) else frame,
    ),
)
def options_checksum(lab: Tester) -> None:
    """What the router enters changes the sum.

    1. The tester sends a datagram through the router with a record route option.
    2. It comes, and its header checksum is right.
    """
    ready(lab)
    lab.send(_optioned(IPOption_RR(length=11, pointer=4, routers=["0.0.0.0"] * 2)))
    found = expect_forwarded(lab)[IP]
    header = bytes(found)[: 4 * found.ihl]
    total = sum(int.from_bytes(header[at : at + 2], "big") for at in range(0, len(header), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    lab.check(total == 0xFFFF, "a header that sums up to ones", hex(total))


def _spoilt(frame: Packet) -> Packet:
    if frame.haslayer(IP):
        frame[IP].chksum ^= 0x0100
    return frame


def _takes_the_route(frame: Packet) -> Packet:
    """A packet whose sender has chosen its route, as it looks after this router."""
    if frame.haslayer(IP) and frame[IP].options:
        frame[IP].options = []
        frame[IP].dst = FAR
        return computed(frame)
    return frame


@routed(
    "FWD-7.6",
    "A packet whose sender has chosen its route is not forwarded, unless the router is told to",
    rfc="RFC 7126",
    section="4.3.5",
    level=Level.SHOULD,
    mutant=Mutant("goes where the sender says", incoming=_takes_the_route),
)
def source_route(lab: Tester) -> None:
    """RFC 1812 5.3.13.4 wanted it otherwise, before it was known what that is used for.

    1. The tester sends a datagram to the router's own address, with a loose source route that
       goes on to 203.0.113.1.
    2. It sends another to 203.0.113.1 by the router, with a source route that is at its end.
    3. Neither comes out of the second interface.
    """
    ready(lab)
    for target, pointer, stop in ((lab.host4, 4, FAR), (FAR, 8, lab.host4)):
        option = IPOption_LSRR(length=7, pointer=pointer, routers=[stop])
        lab.send(to_host(outward(dst=target, options=[option])))
    expect_not_forwarded(lab)


@routed(
    "FWD-7.7",
    "Of a packet with options that is too large each fragment has those that are to be copied",
    rfc="RFC 791",
    section="3.1",
    mutant=Mutant(
        "leaves the options to the first fragment",
        outgoing=lambda frame: (
            _without_options(frame) if from_near(frame) and frame[IP].frag else frame
        ),
    ),
)
def options_of_fragments(lab: Tester) -> None:
    """The first bit of an option's type says which these are.

    1. The second wire's MTU is 576. The tester sends a datagram of 1000 octets through the router,
       with an option of type 30 and one of type 158, which is to be copied.
    2. It comes in fragments that make it whole; the first has both options, the second the one of
       type 158 alone.
    """
    ready(lab)
    lab.host.set_mtu(576, 1)
    options = [IPOption(b"\x1e\x04\xab\xcd"), IPOption(b"\x9e\x04\x12\x34")]
    sent = IP(bytes(outward(DATA * 39, id=0x99, options=options)))
    lab.send(to_host(sent))
    whole = bytearray(len(sent.payload))
    got = 0
    while got < len(whole):
        piece = lab.expect(ipv4(src=NEAR, id=0x99), port=1)[IP]
        header = 4 * piece.ihl
        area = bytes(piece)[20:header]
        wanted = (b"\x1e\x04\xab\xcd" if piece.frag == 0 else b"") + b"\x9e\x04\x12\x34"
        lab.check(area.strip(b"\0\1") == wanted, f"options {wanted.hex()}", area.hex())
        body = bytes(piece.payload)[: piece.len - header]
        whole[8 * piece.frag : 8 * piece.frag + len(body)] = body
        got += len(body)
    lab.check(bytes(whole) == bytes(sent.payload), "the datagram", whole[:40].hex())
