"""Malformed frames: mutated and random ones, into a Stack whose every part has state.

Run under the sanitizers (`.ci/sanitize`) this is the proof that no frame can do harm; without
them it still shows that none makes an assertion fail or the stack stop answering.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_STREAM,
)

import pytest
from quick import slow
from scapy.all import (
    ARP,
    BOOTP,
    DHCP,
    DNS,
    DNSQR,
    DNSRR,
    ICMP,
    IP,
    TCP,
    UDP,
    Ether,
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6NDOptMTU,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptRDNSS,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6PacketTooBig,
    IPOption,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    Packet,
    PadN,
    Raw,
    RouterAlert,
    fragment,
    fragment6,
)
from scapy.layers.igmp import IGMP

import pystack
from pystack.hypercalls import ManualClock

pytestmark = pytest.mark.sanitize

# Of each protocol, in CI; a tenth at each run.
FRAMES = int(os.environ.get("PYSTACK_FUZZ_FRAMES", "100000"))

OURS, PEER = "10.0.0.2", "10.0.0.1"
OURS6, PEER6 = "fd00::2", "fd00::1"
MAC, PEER_MAC = "02:00:00:00:00:02", "02:00:00:00:00:01"
ETHERNET = Ether(src=PEER_MAC, dst=MAC)
IP4 = IP(src=PEER, dst=OURS)
IP6 = IPv6(src=PEER6, dst=OURS6)
BROADCAST = Ether(src=PEER_MAC, dst="ff:ff:ff:ff:ff:ff")


def arp() -> list[Packet]:
    return [
        BROADCAST / ARP(op=1, hwsrc=PEER_MAC, psrc=PEER, pdst=OURS),
        ETHERNET / ARP(op=2, hwsrc=PEER_MAC, psrc=PEER, pdst=OURS, hwdst=MAC),
        BROADCAST / ARP(op=1, hwsrc=PEER_MAC, psrc=OURS, pdst=OURS),
    ]


def ipv4() -> list[Packet]:
    options = [IPOption(b"\x07\x0b\x04" + bytes(8)), IPOption(b"\x83\x07\x04" + bytes(4))]
    pieces = fragment(ETHERNET / IP4 / UDP(sport=9, dport=7) / Raw(bytes(3000)), fragsize=600)
    return [
        ETHERNET / IP(src=PEER, dst=OURS, options=options) / UDP(sport=9, dport=7) / b"abc",
        ETHERNET / IP(src=PEER, dst="224.0.0.1") / UDP(sport=9, dport=7) / b"abc",
        *pieces,
    ]


def icmp() -> list[Packet]:
    quoted = bytes(IP(src=OURS, dst=PEER) / TCP(sport=80, dport=1000))
    return [
        ETHERNET / IP4 / ICMP(id=1, seq=1) / Raw(bytes(64)),
        ETHERNET / IP4 / ICMP(type=0, id=1, seq=1) / Raw(bytes(64)),
        ETHERNET / IP4 / ICMP(type=3, code=3) / Raw(quoted),
        ETHERNET / IP4 / ICMP(type=3, code=4, nexthopmtu=600) / Raw(quoted),
        ETHERNET / IP4 / ICMP(type=11) / Raw(quoted),
        ETHERNET / IP4 / ICMP(type=13) / Raw(bytes(12)),
    ]


def igmp() -> list[Packet]:
    group = Ether(src=PEER_MAC, dst="01:00:5e:00:00:01")
    return [
        group / IP(src=PEER, dst="224.0.0.1", ttl=1) / IGMP(type=0x11, gaddr="0.0.0.0"),
        group / IP(src=PEER, dst="224.1.2.3", ttl=1) / IGMP(type=0x16, gaddr="224.1.2.3"),
        group / IP(src=PEER, dst="224.0.0.2", ttl=1) / IGMP(type=0x17, gaddr="224.1.2.3"),
    ]


def udp() -> list[Packet]:
    return [
        ETHERNET / IP4 / UDP(sport=9, dport=7) / Raw(bytes(range(200))),
        ETHERNET / IP4 / UDP(sport=9, dport=9999) / b"closed",
        ETHERNET / IP6 / UDP(sport=9, dport=7) / Raw(bytes(range(200))),
    ]


def tcp() -> list[Packet]:
    options = [
        ("MSS", 1460),
        ("WScale", 7),
        ("SAckOK", b""),
        ("Timestamp", (1, 0)),
        ("NOP", None),
        ("SAck", (1, 2)),
    ]
    return [
        ETHERNET / IP4 / TCP(sport=1000, dport=80, flags="S", seq=1, options=options[:4]),
        ETHERNET / IP4 / TCP(sport=1000, dport=80, flags="A", seq=2, ack=1, options=options[3:]),
        ETHERNET / IP4 / TCP(sport=1000, dport=80, flags="PA", seq=2, ack=1) / Raw(bytes(500)),
        ETHERNET / IP4 / TCP(sport=1000, dport=80, flags="FA", seq=2, ack=1),
        ETHERNET / IP4 / TCP(sport=1000, dport=80, flags="R", seq=2),
        ETHERNET / IP4 / TCP(sport=1000, dport=80, flags="SFUPRA", urgptr=9, seq=2),
        ETHERNET / IP6 / TCP(sport=1000, dport=80, flags="S", seq=1, options=options[:4]),
    ]


def dns() -> list[Packet]:
    name = "example.test."
    answers = [
        DNS(id=1, qr=1, qd=DNSQR(qname=name), an=DNSRR(rrname=name, rdata="10.0.0.9")),
        DNS(id=1, qr=1, rcode=3, qd=DNSQR(qname=name)),
        DNS(
            id=1,
            qr=1,
            qd=DNSQR(qname=name),
            an=[
                DNSRR(rrname=name, type="CNAME", rdata="other.test."),
                DNSRR(rrname="other.test.", rdata="10.0.0.8"),
            ],
        ),
    ]
    return [ETHERNET / IP4 / UDP(sport=53, dport=40000) / answer for answer in answers]


def mdns() -> list[Packet]:
    wire = Ether(src=PEER_MAC, dst="01:00:5e:00:00:fb") / IP(src=PEER, dst="224.0.0.251", ttl=255)
    name = "pystack.local."
    return [
        wire / UDP(sport=5353, dport=5353) / DNS(qd=DNSQR(qname=name, qtype="A")),
        wire
        / UDP(sport=5353, dport=5353)
        / DNS(qr=1, an=DNSRR(rrname=name, ttl=120, rdata="10.0.0.7")),
        wire
        / UDP(sport=5353, dport=5353)
        / DNS(
            qd=DNSQR(qname="_services._dns-sd._udp.local.", qtype="PTR"),
            an=DNSRR(rrname=name, rdata="10.0.0.2"),
        ),
    ]


def dhcp() -> list[Packet]:
    wire = BROADCAST / IP(src=PEER, dst="255.255.255.255") / UDP(sport=67, dport=68)
    reply = BOOTP(op=2, yiaddr="10.0.0.50", siaddr=PEER, chaddr=bytes.fromhex("020000000002"))
    common = [
        ("server_id", PEER),
        ("subnet_mask", "255.255.255.0"),
        ("router", PEER),
        ("name_server", PEER),
        ("lease_time", 60),
        ("domain", b"test"),
        "end",
    ]
    return [
        wire / reply / DHCP(options=[("message-type", kind), *common])
        for kind in ("offer", "ack", "nak")
    ]


def ipv6() -> list[Packet]:
    big = IP6 / IPv6ExtHdrFragment() / UDP(sport=9, dport=7) / Raw(bytes(3000))
    hop = IPv6ExtHdrHopByHop(options=[RouterAlert(), PadN(optdata=b"\0\0")])
    return [
        ETHERNET / IP6 / hop / UDP(sport=9, dport=7) / b"abc",
        ETHERNET / IP6 / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))]) / ICMPv6EchoRequest(),
        *(ETHERNET / piece for piece in fragment6(big, 700)),
    ]


def icmpv6() -> list[Packet]:
    quoted = bytes(IPv6(src=OURS6, dst=PEER6) / TCP(sport=80, dport=1000))
    return [
        ETHERNET / IP6 / ICMPv6EchoRequest(data=bytes(64)),
        ETHERNET / IP6 / ICMPv6PacketTooBig(mtu=1280) / Raw(quoted),
        ETHERNET / IP6 / ICMPv6DestUnreach(code=4) / Raw(quoted),
        ETHERNET / IP6 / ICMPv6MLReport2(),
    ]


def nd() -> list[Packet]:
    link = IPv6(src="fe80::1", dst="ff02::1", hlim=255)
    group = Ether(src=PEER_MAC, dst="33:33:00:00:00:01")
    return [
        ETHERNET / IPv6(src=PEER6, dst=OURS6, hlim=255) / ICMPv6ND_NS(tgt=OURS6),
        ETHERNET
        / IPv6(src=PEER6, dst=OURS6, hlim=255)
        / ICMPv6ND_NA(tgt=PEER6, R=0, S=1, O=1)
        / ICMPv6NDOptSrcLLAddr(type=2, lladdr=PEER_MAC),
        group
        / link
        / ICMPv6ND_RA(routerlifetime=60)
        / ICMPv6NDOptSrcLLAddr(lladdr=PEER_MAC)
        / ICMPv6NDOptMTU(mtu=1400)
        / ICMPv6NDOptPrefixInfo(prefix="fd01::", prefixlen=64, validlifetime=60)
        / ICMPv6NDOptRDNSS(dns=["fd00::1"], lifetime=60),
    ]


PROTOCOLS = (arp, ipv4, icmp, igmp, udp, tcp, dns, mdns, dhcp, ipv6, icmpv6, nd)


def internet_checksum(data: bytes | bytearray) -> int:
    if len(data) % 2:
        data = bytes(data) + b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~((total >> 16) + total) & 0xFFFF


def mend_checksums(frame: bytearray) -> None:
    """Makes the checksums right again, so that a mutation gets past them."""
    transports = {1: 2, 2: 2, 6: 16, 17: 6, 58: 2}  # protocol: its checksum's offset
    if frame[12:14] == b"\x08\x00" and len(frame) >= 34:
        header = (frame[14] & 15) * 4
        if header < 20 or len(frame) < 14 + header:
            return
        frame[24:26] = b"\0\0"
        struct.pack_into("!H", frame, 24, internet_checksum(frame[14 : 14 + header]))
        protocol, start, addresses = frame[23], 14 + header, frame[26:34]
        end = min(14 + int.from_bytes(frame[16:18], "big"), len(frame))
    elif frame[12:14] == b"\x86\xdd" and len(frame) >= 54:
        protocol, start, addresses = frame[20], 54, frame[22:54]
        end = min(54 + int.from_bytes(frame[18:20], "big"), len(frame))
    else:
        return
    offset = transports.get(protocol)
    if offset is None or start + offset + 2 > end:
        return
    frame[start + offset : start + offset + 2] = b"\0\0"
    pseudo = b""
    if protocol in (6, 17, 58):
        pseudo = bytes(addresses) + struct.pack("!HH", protocol, end - start)
    struct.pack_into("!H", frame, start + offset, internet_checksum(pseudo + frame[start:end]))


def mutate(chance: random.Random, seed: bytes) -> bytes:
    """Some bytes changed, or the frame cut or stretched; half the time with good checksums."""
    frame = bytearray(seed)
    for _ in range(chance.choice((0, 1, 1, 2, 4, 16))):
        position = chance.randrange(12, len(frame))
        frame[position] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    kind = chance.random()
    if kind < 0.1:
        del frame[chance.randrange(1, len(frame)) :]
    elif kind < 0.15:
        frame += chance.randbytes(chance.randrange(200))
    elif kind < 0.2:
        start = chance.randrange(14, len(frame))
        frame[start:start] = frame[start : start + chance.randrange(40)]
    if chance.random() < 0.5:
        mend_checksums(frame)
    return bytes(frame)


def frames(chance: random.Random, seeds: list[bytes], count: int) -> Iterator[bytes]:
    for _ in range(count):
        seed = chance.choice(seeds)
        if chance.random() < 0.02:  # nothing but noise behind a good Ethernet header
            yield seed[:14] + chance.randbytes(chance.randrange(1486))
        else:
            yield mutate(chance, seed)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [FRAMES // 10, slow(FRAMES)])
@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda each: each.__name__)
def test_malformed_frames(protocol: Callable[[], list[Packet]], count: int) -> None:
    chance = random.Random(protocol.__name__)
    clock = ManualClock()
    ours, theirs = pystack.nic.wire(queue_frames=256)
    with ExitStack() as cleanup:
        net = cleanup.enter_context(
            pystack.Stack(threaded=False, clock=clock, seed=7, memory_limit=64 << 20)
        )
        # The DHCP client wants no static address beside its own.
        addresses = [f"{OURS6}/64"] if protocol is dhcp else [f"{OURS}/24", f"{OURS6}/64"]
        interface = net.attach(ours, *addresses, mac=MAC)
        if protocol is not dhcp:
            net.routes.add("0.0.0.0/0", PEER)
        net.nameservers[:] = [PEER]
        interface.slaac(True)
        interface.mdns("pystack")
        if protocol is dhcp:
            interface.dhcp(timeout=0)
        for family, wildcard in ((AF_INET, "0.0.0.0"), (AF_INET6, "::")):
            listener = cleanup.enter_context(net.socket(family, SOCK_STREAM))
            if family == AF_INET6:
                listener.setsockopt(41, 26, 1)  # IPPROTO_IPV6, IPV6_V6ONLY
            listener.bind((wildcard, 80))
            listener.listen(50)
            datagrams = cleanup.enter_context(net.socket(family, SOCK_DGRAM))
            if family == AF_INET6:
                datagrams.setsockopt(41, 26, 1)
            datagrams.bind((wildcard, 7))
        cleanup.enter_context(net.socket(AF_INET, SOCK_RAW, IPPROTO_ICMP))
        cleanup.enter_context(net.socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6))
        net.step()
        seeds = [bytes(packet) for packet in protocol()]
        for number, frame in enumerate(frames(chance, seeds, count)):
            theirs.send(frame)
            if number % 64 == 63:
                clock.advance(0.01)
                net.step()
                while theirs.receive(0) is not None:
                    pass
        arrived = interface.counters()
        assert (
            arrived["in_unicast_packets"]
            + arrived["in_group_packets"]
            + arrived["in_discards"]
            + arrived["in_errors"]
            > 0.9 * count
        ), "most frames got as far as the interface"
        clock.advance(1)
        net.step()
        while theirs.receive(0) is not None:
            pass
        # It still lives: an echo to it is answered.
        theirs.send(bytes(BROADCAST / ARP(op=1, hwsrc=PEER_MAC, psrc=PEER, pdst=OURS)))
        net.step()
        while theirs.receive(0) is not None:  # what waited for the peer fills the wire
            pass
        theirs.send(bytes(ETHERNET / IP4 / ICMP(id=77, seq=1)))
        clock.advance(0.1)
        net.step()
        answers = []
        while (answer := theirs.receive(0)) is not None:
            answers.append(Ether(answer))
        assert any(ICMP in answer and answer[ICMP].id == 77 for answer in answers) or (
            protocol in (arp, dhcp, nd)  # these may rightly have taken the address or the MAC away
        )
