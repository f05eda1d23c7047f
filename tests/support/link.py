"""A Stack on a link whose other stations are the test, in virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from scapy.all import (
    Ether,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptRDNSS,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)

import pystack
from pystack.hypercalls import ManualClock

MAC = "02:00:00:00:00:02"
ROUTER, ROUTER_MAC = "fe80::1", "02:00:00:00:00:01"
BATCH = 16  # a step takes at least so many
ALL_NODES, ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"


@dataclass
class Link:
    """The Stack, its clock, its interface and the wire's other end."""

    net: pystack.Stack
    clock: ManualClock
    interface: pystack.Interface
    end: Any
    router_solicitations: int = 0  # among what `sent` has taken

    def send(self, *frames: Any) -> None:
        """Put frames on the wire, and let the Stack see them, some at a time."""
        for start in range(0, len(frames), BATCH):
            for frame in frames[start : start + BATCH]:
                self.end.send(bytes(frame))
            self.net.step()

    def run(self, seconds: float, step: float = 0.1) -> None:
        """Let time pass; what is sent meanwhile waits on the wire."""
        self.net.step()
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            self.net.step()

    def sent(self) -> list[Any]:
        """What the Stack has sent since the last look, except router solicitations."""
        self.net.step()
        found = []
        while (frame := self.end.receive(0)) is not None:
            packet = Ether(frame)
            if ICMPv6ND_RS in packet:
                self.router_solicitations += 1
            else:
                found.append(packet)
        return found

    def advertise(
        self,
        *options: Any,
        lifetime: int = 1800,
        source: str = ROUTER,
        mac: str = ROUTER_MAC,
        **fields: Any,
    ) -> None:
        """A router's advertisement."""
        packet = (
            Ether(src=mac, dst=ALL_NODES_MAC)
            / IPv6(src=source, dst=ALL_NODES, hlim=255)
            / ICMPv6ND_RA(routerlifetime=lifetime, **fields)
            / ICMPv6NDOptSrcLLAddr(lladdr=mac)
        )
        for option in options:
            packet = packet / option
        self.send(packet)


def servers(*addresses: str, lifetime: int = 600) -> Any:
    """The option that tells of name servers."""
    return ICMPv6NDOptRDNSS(dns=list(addresses), lifetime=lifetime)


def prefix(network: str, valid: int = 86400, on_link: int = 1, autonomous: int = 0) -> Any:
    """The option that tells of a prefix of 64 bits."""
    return ICMPv6NDOptPrefixInfo(
        prefix=network, prefixlen=64, validlifetime=valid, preferredlifetime=min(valid, 3600),
        L=on_link, A=autonomous,
    )  # fmt: skip


@contextmanager
def link(*addresses: str, slaac: bool = False, **options: Any) -> Iterator[Link]:
    """A `Link` for the block, its addresses in use."""
    clock = ManualClock(1000.0)
    ours, theirs = pystack.nic.wire(queue_frames=100_000)
    with pystack.Stack(threaded=False, clock=clock, seed=1, **options) as net:
        made = Link(net, clock, net.attach(ours, *addresses, mac=MAC), theirs)
        if slaac:
            made.interface.slaac()
        made.run(5)
        made.sent()
        yield made
    assert net.arena.live_blocks == 0
