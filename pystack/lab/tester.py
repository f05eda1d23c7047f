"""`Tester`: the other end of a Host's wires, and what a case is written with.

A case sends packets, some of them wrong on purpose, and says which ones must come back, or must
not. Meanwhile the tester answers ARP and neighbour solicitations for its own addresses, unless told
to be silent, and records everything.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from pystack.lab.host import Host, HostSocket
from pystack.lab.ladder import Ladder, summary
from pystack.lab.packets import Match
from pystack.lab.plan import Plan, Port
from pystack.lab.verdict import CaseFailed, Inconclusive

__all__ = ["BROADCAST", "Tester", "multicast_mac", "solicited_node"]

T = TypeVar("T")

BROADCAST = "ff:ff:ff:ff:ff:ff"
# How late a Host with a real clock may be, on a loaded machine.
SLACK_S = 1.0
# Clocks count in microseconds: anything shorter is a float's rounding error.
TICK_S = 1e-6
SHOWN = 12  # frames in a failure's text


def multicast_mac(address: str) -> str:
    """The Ethernet address of an IP multicast group (RFC 1112 6.4, RFC 2464 7)."""
    packed = ipaddress.ip_address(address).packed
    if len(packed) == 4:
        raw = bytes((1, 0, 0x5E, packed[1] & 0x7F, packed[2], packed[3]))
    else:
        raw = b"\x33\x33" + packed[-4:]
    return raw.hex(":")


def solicited_node(address: str) -> str:
    """The solicited-node group of an IPv6 address (RFC 4291 2.7.1)."""
    tail = ipaddress.IPv6Address(address).packed[-3:]
    group = ipaddress.IPv6Address("ff02::1:ff00:0").packed[:-3] + tail
    return str(ipaddress.IPv6Address(group))


class Tester:
    """The tester of one case.

    Args:
        host: A started Host.
        plan: The plan it was started with.

    Attributes:
        host: The Host, for its tables and settings.
        plan: The addresses.
        ladder: Everything that has happened so far.
        owned: The addresses that the tester answers for, with the MACs it gives.
    """

    __test__ = False  # or pytest would collect it

    def __init__(self, host: Host, plan: Plan) -> None:
        self.host = host
        self.plan = plan
        self.ladder = Ladder()
        self.owned: dict[str, str] = {}
        self._start = host.now()
        self._waiting: list[deque[Packet]] = [deque() for _ in plan.ports]
        self._silent: set[int] = set()
        self._sockets: list[HostSocket] = []
        self._ports_used = 40000
        self._met: set[int] = set()
        for port in plan.ports:
            for address in (port.tester4, port.tester6, port.tester_link_local):
                self.owned[address] = port.tester_mac

    # --- the plan, in short: of the first wire ----------------------------------------------

    @property
    def port(self) -> Port:
        """The first wire."""
        return self.plan.ports[0]

    @property
    def other(self) -> Port:
        """The second wire."""
        return self.plan.ports[1]

    @property
    def host4(self) -> str:
        """The Host's IPv4 address."""
        return self.port.host4

    @property
    def tester4(self) -> str:
        """The tester's IPv4 address, the Host's default router."""
        return self.port.tester4

    @property
    def host6(self) -> str:
        """The Host's global IPv6 address."""
        return self.port.host6

    @property
    def tester6(self) -> str:
        """The tester's global IPv6 address."""
        return self.port.tester6

    @property
    def host_ll(self) -> str:
        """The Host's link-local IPv6 address."""
        return self.port.host_link_local

    @property
    def tester_ll(self) -> str:
        """The tester's link-local IPv6 address, as a router."""
        return self.port.tester_link_local

    @property
    def host_mac(self) -> str:
        """The Host's MAC."""
        return self.port.host_mac

    @property
    def tester_mac(self) -> str:
        """The tester's MAC."""
        return self.port.tester_mac

    def fresh_port(self) -> int:
        """A TCP or UDP port that this case has not used yet."""
        self._ports_used += 1
        return self._ports_used

    # --- time ------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Seconds since the case began, on the Host's clock."""
        return self.host.now() - self._start

    def note(self, text: str) -> None:
        """Records a line in the ladder."""
        self.ladder.note(self.now, "note", text)

    def _pump(self, seconds: float) -> bool:
        """Lets time pass until frames arrive, at most `seconds`; whether any did."""
        came = self.host.wait(max(0.0, seconds))
        for moment, port, frame in came:
            self.ladder.frame(moment - self._start, "receive", port, frame)
            packet = Ether(frame)
            packet.time = moment - self._start
            self._answer(port, packet)
            self._waiting[port].append(packet)
        return bool(came)

    def run(self, for_ms: float) -> None:
        """Lets time pass; frames that arrive are kept for the next `expect`."""
        until = self.now + for_ms / 1000
        while True:
            self._pump(until - self.now)
            if until - self.now < TICK_S:
                return

    def drain(self, for_ms: float = 0) -> None:
        """Lets time pass and discards the frames that arrived."""
        self.run(for_ms)
        for queue in self._waiting:
            queue.clear()

    def until(self, call: Callable[[], T], within_ms: float = 1000, what: str = "") -> T:
        """Repeats a call on the Host until it no longer raises `BlockingIOError`.

        Raises:
            CaseFailed: Time is up.
            OSError: Any other error of the call.
        """
        deadline = self.now + within_ms / 1000 + self._slack()
        while True:
            try:
                return call()
            except BlockingIOError:
                left = deadline - self.now
                if left < TICK_S:
                    raise CaseFailed(what or "the call to come to an end", "nothing") from None
                self._pump(min(left, 0.05))

    def _slack(self) -> float:
        return 0.0 if self.host.virtual else SLACK_S

    # --- answering for our addresses -----------------------------------------------------------

    @contextmanager
    def silent(self, port: int = 0) -> Iterator[None]:
        """A block in which ARP requests and neighbour solicitations go unanswered."""
        was = port in self._silent
        self._silent.add(port)
        try:
            yield
        finally:
            if not was:
                self._silent.discard(port)

    def _answer(self, port: int, packet: Packet) -> None:
        if port in self._silent:
            return
        if packet.haslayer(ARP):
            asked = packet[ARP]
            mac = self.owned.get(asked.pdst)
            if asked.op == 1 and mac is not None and asked.psrc != asked.pdst:
                reply = ARP(op=2, hwsrc=mac, psrc=asked.pdst, hwdst=asked.hwsrc, pdst=asked.psrc)
                self.send(Ether(src=mac, dst=asked.hwsrc) / reply, port)
        elif packet.haslayer(ICMPv6ND_NS):
            asked = packet[ICMPv6ND_NS]
            mac = self.owned.get(asked.tgt)
            source = packet[IPv6].src
            if mac is not None and source != "::":
                self.send(
                    Ether(src=mac, dst=packet[Ether].src)
                    / IPv6(src=asked.tgt, dst=source, hlim=255)
                    / ICMPv6ND_NA(tgt=asked.tgt, R=1, S=1, O=1)
                    / ICMPv6NDOptDstLLAddr(lladdr=mac),
                    port,
                )

    # --- sending -------------------------------------------------------------------------------

    def frame_for(self, packet: Packet, port: int = 0) -> Packet:
        """A packet with its Ethernet header for that wire."""
        if isinstance(packet, Ether):
            return packet
        wire = self.plan.ports[port]
        target = wire.host_mac
        kind = 0x0800
        if isinstance(packet, ARP):
            kind = 0x0806
            target = BROADCAST if packet.op == 1 else target
        elif isinstance(packet, (IP, IPv6)):
            kind = 0x0800 if isinstance(packet, IP) else 0x86DD
            destination = ipaddress.ip_address(packet.dst)
            if destination.is_multicast:
                target = multicast_mac(packet.dst)
            elif packet.dst in ("255.255.255.255", str(wire.network4.broadcast_address)):
                target = BROADCAST
        return Ether(src=wire.tester_mac, dst=target, type=kind) / packet

    def send(self, packet: Packet | bytes, port: int = 0) -> None:
        """Sends a packet, adding an Ethernet header if it has none.

        Args:
            packet: Scapy's, or a whole frame as bytes, sent unchanged.
            port: The wire.
        """
        frame = packet if isinstance(packet, bytes) else bytes(self.frame_for(packet, port))
        self.ladder.frame(self.now, "send", port, frame)
        self.host.send(port, frame)

    # --- expecting -----------------------------------------------------------------------------

    def expect(
        self,
        wanted: Match,
        within_ms: float = 1000,
        *,
        port: int = 0,
        but_not: Match | None = None,
    ) -> Packet:
        """Waits for a frame, skipping others before it.

        Args:
            wanted: The frame that must arrive.
            within_ms: Within this time, on the Host's clock.
            port: The wire.
            but_not: A frame that must not arrive before it.

        Returns:
            The frame; its `time` is when it arrived, in seconds since the case began.

        Raises:
            CaseFailed: It did not arrive, or `but_not` did.
        """
        deadline = self.now + within_ms / 1000 + self._slack()
        seen: list[Packet] = []
        while True:
            while self._waiting[port]:
                packet = self._waiting[port].popleft()
                if wanted(packet):
                    return packet
                if but_not is not None and but_not(packet):
                    raise CaseFailed(f"{wanted}", f"{but_not}: {summary(bytes(packet))}")
                seen.append(packet)
            left = deadline - self.now
            if left < TICK_S:
                raise CaseFailed(f"{wanted} within {within_ms:g} ms", self._came(wanted, seen))
            self._pump(left)

    def _came(self, wanted: Match, seen: list[Packet]) -> str:
        if not seen:
            return "nothing"
        shown = (f"{summary(bytes(one))} ({wanted.misses(one)})" for one in seen[-SHOWN:])
        return "; ".join(shown)

    def expect_nothing(self, unwanted: Match, for_ms: float = 500, *, port: int = 0) -> None:
        """Checks that no such frame arrives.

        Args:
            unwanted: A frame that must not arrive; others may.
            for_ms: For how long, on the Host's clock.
            port: The wire.

        Raises:
            CaseFailed: One arrived.
        """
        for packet in self.collect(unwanted, for_ms, port=port, at_most=1):
            raise CaseFailed(f"no {unwanted} for {for_ms:g} ms", summary(bytes(packet)))

    def collect(
        self, wanted: Match, for_ms: float, *, port: int = 0, at_most: int = 10000
    ) -> list[Packet]:
        """All such frames that arrive within a time, including those already waiting."""
        deadline = self.now + for_ms / 1000
        found: list[Packet] = []
        while len(found) < at_most:
            while self._waiting[port] and len(found) < at_most:
                packet = self._waiting[port].popleft()
                if wanted(packet):
                    found.append(packet)
            left = deadline - self.now
            if left < TICK_S or len(found) == at_most:
                break
            self._pump(left)
        return found

    def check(self, holds: bool, expected: str, came: object) -> None:
        """Fails the case unless something holds.

        Raises:
            CaseFailed: It does not.
        """
        if not holds:
            raise CaseFailed(expected, str(came))

    def need(self, holds: bool, what: str) -> None:
        """Ends the case as inconclusive unless a precondition holds.

        Raises:
            Inconclusive: It does not.
        """
        if not holds:
            raise Inconclusive(what)

    @contextmanager
    def preamble(self, what: str) -> Iterator[None]:
        """A block that prepares the case's question: a failure in it is inconclusive.

        Raises:
            Inconclusive: Something in the block failed.
        """
        try:
            yield
        except CaseFailed as failure:
            raise Inconclusive(f"{what}: {failure}") from failure

    # --- common packets ------------------------------------------------------------------------

    def ip(self, **fields: Any) -> IP:
        """An IPv4 header from the tester to the Host, with these fields changed."""
        return IP(**{"src": self.tester4, "dst": self.host4, **fields})

    def ip6(self, **fields: Any) -> IPv6:
        """An IPv6 header from the tester to the Host, with these fields changed."""
        return IPv6(**{"src": self.tester6, "dst": self.host6, **fields})

    def echo(self, identifier: int = 0x5053, sequence: int = 1, data: bytes = b"pystack") -> Packet:
        """An ICMP echo request to the Host."""
        return self.ip() / ICMP(type=8, id=identifier, seq=sequence) / Raw(data)

    def echo6(
        self, identifier: int = 0x5053, sequence: int = 1, data: bytes = b"pystack"
    ) -> Packet:
        """An ICMPv6 echo request to the Host."""
        return self.ip6() / ICMPv6EchoRequest(id=identifier, seq=sequence, data=data)

    def arp_request(self, **fields: Any) -> ARP:
        """The tester's ARP request for the Host's address, with these fields changed."""
        usual = {"op": 1, "hwsrc": self.tester_mac, "psrc": self.tester4, "pdst": self.host4}
        return ARP(**{**usual, "hwdst": "00:00:00:00:00:00", **fields})

    def udp(self, sport: int, dport: int, data: bytes = b"pystack", **fields: Any) -> Packet:
        """A UDP datagram to the Host; `fields` are the UDP header's."""
        return self.ip() / UDP(sport=sport, dport=dport, **fields) / Raw(data)

    def udp6(self, sport: int, dport: int, data: bytes = b"pystack", **fields: Any) -> Packet:
        """A UDP datagram over IPv6 to the Host."""
        return self.ip6() / UDP(sport=sport, dport=dport, **fields) / Raw(data)

    def resolve(self, family: int = 4) -> None:
        """Makes the Host learn the tester's MAC, as any earlier exchange would have."""
        address = self.tester4 if family == 4 else self.tester6
        own = self.host4 if family == 4 else self.host6
        self.learn(address, own)

    def learn(self, address: str, own: str = "", port: int = 0) -> None:
        """Makes the Host learn one of our addresses without its asking.

        IPv4: we ask it for its address by ARP. IPv6: we solicit it, with our MAC in the option.
        """
        wire = self.plan.ports[port]
        mac = self.owned.get(address, wire.tester_mac)
        if ipaddress.ip_address(address).version == 4:
            ask = ARP(op=1, hwsrc=mac, psrc=address, pdst=own or wire.host4)
            self.send(Ether(src=mac, dst=BROADCAST) / ask, port)
        else:
            target = own or wire.host6
            self.send(
                Ether(src=mac, dst=multicast_mac(solicited_node(target)))
                / IPv6(src=address, dst=solicited_node(target), hlim=255)
                / ICMPv6ND_NS(tgt=target)
                / ICMPv6NDOptSrcLLAddr(lladdr=mac),
                port,
            )
        self.drain(20)

    def meet(self, family: int = 4) -> None:
        """Makes the Host know us, once, for cases that aren't about ARP or neighbour discovery.

        A Host may drop packets while it resolves our address.
        """
        if family not in self._met and not any(self._waiting):
            self._met.add(family)
            self.resolve(family)

    def own(self, address: str, mac: str | None = None, port: int = 0) -> str:
        """Makes the tester answer for another address, which is returned."""
        self.owned[address] = mac or self.plan.ports[port].tester_mac
        return address

    # --- sockets of the Host -----------------------------------------------------------------

    def socket(self, family: int, kind: int, protocol: int = 0) -> HostSocket:
        """A socket on the Host, closed when the case ends."""
        made = self.host.socket(family, kind, protocol)
        self._sockets.append(made)
        return made

    def call(self, text: str) -> None:
        """Records that the Host was told to do something."""
        self.ladder.note(self.now, "call", text)

    def finish(self) -> None:
        """Closes the Host's sockets."""
        for one in self._sockets:
            try:
                one.close()
            except OSError:  # the case closed it, or the Host reset it
                continue
        self._sockets.clear()
