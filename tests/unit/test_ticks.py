"""When a Stack wants to run: only when one of its timers has something to do, and then on time.

Time passes by what `step` returns, from one moment of work to the next; what it costs is counted in
steps. lwIP's modules count in calls at fixed intervals, which are left out while they only count.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from link import ALL_NODES, ALL_NODES_MAC, MAC, ROUTER, ROUTER_MAC, Link, link, prefix
from lockstep import PORT, lockstep
from scapy.all import (
    ARP,
    BOOTP,
    DHCP,
    DNS,
    ICMP,
    IP,
    UDP,
    Ether,
    ICMPv6MLQuery,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    IPOption,
    IPv6,
    IPv6ExtHdrHopByHop,
    Raw,
    RouterAlert,
    fragment,
)

import pystack
from pystack import services
from pystack._native import lib
from pystack.hypercalls import ManualClock
from pystack.interface import AddressState
from pystack.services import LeaseState
from pystack.tables import NeighbourState

DAY, MONTH = 86400.0, 30 * 86400.0
HERE, THERE, NOBODY = "192.0.2.2", "192.0.2.1", "192.0.2.9"


@dataclass
class Days:
    """A `Link` whose time passes from one moment of work to the next."""

    it: Link
    steps: int = 0
    heard: list[tuple[float, Any]] = field(default_factory=list)
    answer: Callable[[Any], Any] = lambda frame: None
    passed: float = 0.0

    def step(self) -> float | None:
        """Lets the Stack run, and keeps what it sends; until when it has nothing to do."""
        while True:
            left = self.it.net.step()
            self.steps += 1
            frames = self.it.sent()
            for frame in frames:
                self.heard.append((round(self.passed, 3), frame))
                reply = self.answer(frame)
                if reply is not None:
                    self.it.end.send(bytes(reply))
            if not frames:
                return left

    def pass_(self, seconds: float) -> None:
        """Time passes."""
        end = self.passed + seconds
        while True:
            left = self.step()
            rest = end - self.passed
            if rest <= 0:
                return
            span = rest if left is None else min(max(left, 1e-6), rest)
            self.it.clock.advance(span)
            self.passed += span

    def times(self, wanted: Callable[[Any], bool]) -> list[float]:
        """When such frames came, in seconds of the time that passed."""
        return [at for at, frame in self.heard if wanted(frame)]

    def from_now(self) -> None:
        """Forgets what was heard, and counts anew."""
        self.pass_(0)
        self.heard.clear()
        self.steps, self.passed = 0, 0.0


def sends(it: Days, family: socket.AddressFamily, to: str) -> None:
    with it.it.net.socket(family, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"there?", (to, 9))


# --- a Stack with nothing to do -------------------------------------------------------------------


def test_an_idle_stack_wants_nothing() -> None:
    with link(f"{HERE}/24", "fd00::2/64") as it:
        days = Days(it)
        days.pass_(100)
        days.from_now()
        assert it.net.step() is None
        days.pass_(400 * DAY)
        assert days.steps <= 2
        assert days.heard == []
        assert len(it.net.interfaces) == 2  # which looks, and changes nothing
        assert it.net.step() is None


def test_a_stack_without_interfaces_wants_nothing() -> None:
    clock = ManualClock(5.0)
    with pystack.Stack(threaded=False, clock=clock) as net:
        while (left := net.step()) is not None:
            clock.advance(left)
            assert clock.now_us() < 60_000_000


def test_a_day_of_idle_connections() -> None:
    count = 200
    with lockstep(memory_limit=512 << 20) as it:
        listener = it.listen()
        with ExitStack() as kept:
            kept.enter_context(listener)
            for _ in range(count):
                client = kept.enter_context(it.client.socket())
                client.setblocking(False)
                client.connect_ex(("10.0.0.2", PORT))
                it.run(lambda: True)
                kept.enter_context(listener.accept()[0])
            it.run(seconds=1)
            steps, passed = 0, 0.0
            while passed < DAY:
                due = [left for net in (it.client, it.server) if (left := net.step()) is not None]
                steps += 1
                span = min([DAY - passed, *(max(left, 1e-6) for left in due)])
                it.clock.advance(span)
                passed += span
            assert steps < 20
            assert len(it.client.connections()) == count


# --- and then something to do, on time ------------------------------------------------------------


@pytest.fixture
def days() -> Iterator[Days]:
    """After a month in which nothing happened."""
    with link(f"{HERE}/24", "fd00::2/64") as it:
        made = Days(it)
        made.pass_(MONTH + 0.05)
        made.from_now()
        assert it.net.step() is None
        yield made


def near(*moments: float) -> Any:
    """These times, or up to two tenths of a second later."""
    return pytest.approx([moment + 0.1 for moment in moments], abs=0.11)


def test_arp_asks_three_times(days: Days) -> None:
    sends(days, socket.AF_INET, NOBODY)
    days.pass_(100)
    assert days.times(lambda frame: ARP in frame) == near(0, 1, 2)
    assert list(days.it.net.neighbours) == []
    assert days.steps < 20


def test_neighbours_of_ipv6_are_asked_when_they_are_used_again(days: Days) -> None:
    sends(days, socket.AF_INET6, "fd00::9")
    (question,) = [frame for frame in days.it.sent() if ICMPv6ND_NS in frame]
    days.it.send(
        Ether(src=ROUTER_MAC, dst=MAC)
        / IPv6(src="fd00::9", dst=question[IPv6].src, hlim=255)
        / ICMPv6ND_NA(tgt="fd00::9", R=0, S=1, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=ROUTER_MAC)
    )
    days.pass_(10)
    assert [one.state for one in days.it.net.neighbours] == [NeighbourState.REACHABLE]
    days.pass_(DAY)
    assert [one.state for one in days.it.net.neighbours] == [NeighbourState.STALE]
    days.from_now()
    sends(days, socket.AF_INET6, "fd00::9")
    days.pass_(100)
    assert days.times(lambda frame: ICMPv6ND_NS in frame) == near(5, 6, 7)
    assert list(days.it.net.neighbours) == []
    assert days.steps < 40


def test_lifetimes_of_an_advertisement_end(days: Days) -> None:
    days.it.interface.slaac()
    days.it.advertise(prefix("2001:db8::", valid=7200, autonomous=1), lifetime=1800)
    days.pass_(100)
    days.from_now()

    def formed() -> list[Any]:
        return [one for one in days.it.interface.addresses if str(one.ip).startswith("2001:")]

    def routers() -> list[Any]:
        return [one for one in days.it.net.routes if str(one.gateway) == ROUTER]

    days.pass_(1690)
    assert routers()
    (left,) = {round(one.valid_s) for one in formed()}
    assert 7200 - 1790 - 1 <= left <= 7200 - 1790 + 1
    days.pass_(20)
    assert not routers()
    days.pass_(3600 - 1810 - 5)
    assert {one.state for one in formed()} == {AddressState.PREFERRED}
    days.pass_(10)
    assert {one.state for one in formed()} == {AddressState.DEPRECATED}
    days.pass_(7200 - 3605 - 10)
    assert formed()
    days.pass_(10)
    assert not formed()
    assert days.steps < 60


@pytest.mark.parametrize("family", [4, 6])
def test_groups_are_reported_when_a_router_asks(days: Days, family: int) -> None:
    with days.it.net.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        if family == 4:
            kind: Any = IP
            sock.setsockopt(
                socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                socket.inet_aton("239.1.1.1") + bytes(4),
            )  # fmt: skip
            query: Any = (
                Ether(src=ROUTER_MAC, dst="01:00:5e:00:00:01")
                / IP(src=THERE, dst="224.0.0.1", ttl=1, proto=2, options=IPOption(b"\x94\4\0\0"))
                / Raw(bytes.fromhex("1164ee9b00000000"))
            )
        else:
            kind = IPv6
            sock.setsockopt(
                socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP,
                socket.inet_pton(socket.AF_INET6, "ff05::77") + bytes(4),
            )  # fmt: skip
            query = (
                Ether(src=ROUTER_MAC, dst=ALL_NODES_MAC)
                / IPv6(src=ROUTER, dst=ALL_NODES, hlim=1)
                / IPv6ExtHdrHopByHop(options=[RouterAlert()])
                / ICMPv6MLQuery(mrd=10000)
            )
        group = "239.1.1.1" if family == 4 else "ff05::77"

        def is_report(frame: Any) -> bool:
            return kind in frame and frame[kind].dst == group

        days.pass_(DAY)
        at_once = days.times(is_report)  # and again, in half a second
        assert len(at_once) == 2
        assert at_once[1] - at_once[0] <= 0.61
        days.from_now()
        days.it.send(query)
        days.pass_(DAY)
        (report,) = days.times(is_report)
        assert report <= 10
        assert days.steps < 20


def test_a_lease_is_renewed_rebound_and_lost() -> None:
    def server(frame: Any) -> Any:
        if not answers or BOOTP not in frame:
            return None
        kind = dict(one for one in frame[DHCP].options if isinstance(one, tuple))["message-type"]
        return (
            Ether(src=ROUTER_MAC, dst=MAC)
            / IP(src=THERE, dst="255.255.255.255")
            / UDP(sport=67, dport=68)
            / BOOTP(op=2, yiaddr=HERE, xid=frame[BOOTP].xid, chaddr=frame[BOOTP].chaddr)
            / DHCP(
                options=[
                    ("message-type", 2 if kind == 1 else 5),
                    ("server_id", THERE),
                    ("lease_time", 80 * 3600),
                    ("subnet_mask", "255.255.255.0"),
                    "end",
                ]
            )
        )

    answers = True
    with link() as it:
        days = Days(it, answer=server)
        days.pass_(MONTH)
        it.interface.dhcp(timeout=0)
        days.pass_(100)
        assert it.interface.lease.state is LeaseState.BOUND
        it.net.neighbours.add(THERE, ROUTER_MAC)
        obtained = it.interface.lease.obtained_s
        days.from_now()
        answers = False
        days.pass_(30 * 3600)
        assert it.interface.lease.obtained_s == pytest.approx(30 * 3600 + obtained, abs=1)
        days.pass_(60 * 3600)
        asked = [at / 3600 for at in days.times(lambda frame: BOOTP in frame)]
        assert asked[0] == pytest.approx(40, abs=0.05)  # renews
        assert any(at == pytest.approx(70, abs=0.05) for at in asked)  # asks everybody
        assert any(at == pytest.approx(80, abs=0.05) for at in asked)  # begins anew
        assert days.steps < 3 * len(days.heard) + 50


def test_a_name_server_is_asked_again(days: Days) -> None:
    days.it.net.neighbours.add(THERE, ROUTER_MAC)
    days.it.net.nameservers = [THERE]
    assert lib.ps_resolve_start(days.it.net._handle.pointer, services._name("a.test"), 4) > 0
    days.pass_(DAY)
    times = days.times(lambda frame: DNS in frame)
    assert len(times) == 4
    assert times[0] == 0
    for earlier, later in pairwise(times):
        assert 0 < later - earlier <= 4
    assert days.steps < 30


def test_a_datagram_of_which_a_fragment_is_missing(days: Days) -> None:
    days.it.net.neighbours.add(THERE, ROUTER_MAC)
    whole = IP(src=THERE, dst=HERE, id=7) / UDP(sport=9, dport=9) / Raw(bytes(2000))
    days.it.send(Ether(src=ROUTER_MAC, dst=MAC) / fragment(whole, 1400)[0])
    days.pass_(DAY)
    (at,) = days.times(lambda frame: ICMP in frame and frame[ICMP].type == 11)
    assert 60 <= at <= 61
    assert days.steps < 20


def test_an_address_is_probed_announced_and_defended(days: Days) -> None:
    days.it.interface.addresses.add("192.0.2.77/24", detect=True)
    days.pass_(DAY)
    probes = days.times(lambda frame: ARP in frame and frame.psrc == "0.0.0.0")
    announced = days.times(lambda frame: ARP in frame and frame.psrc == "192.0.2.77")
    assert len(probes) == 3
    assert probes[2] <= 5.2
    assert announced == near(probes[2] + 2, probes[2] + 4)
    other = Ether(src=ROUTER_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(
        op=1, hwsrc=ROUTER_MAC, psrc="192.0.2.77", pdst="192.0.2.77"
    )
    for _ in range(3):  # each so long after the last that it is defended
        days.from_now()
        days.it.send(other)
        days.pass_(11)
        assert len(days.times(lambda frame: ARP in frame)) == 1
    assert days.steps < 20


def test_a_name_is_probed_and_announced(days: Days) -> None:
    days.it.interface.mdns("me")
    days.pass_(DAY)
    times = days.times(lambda frame: IP in frame and UDP in frame and frame[UDP].dport == 5353)
    assert len(times) >= 4
    assert times[-1] < 10
    assert days.steps < 60


# --- a clock that jumps ---------------------------------------------------------------------------


@pytest.mark.parametrize("jump", [1, 20, 40, 400])
def test_what_comes_after_a_jump_of_days_is_on_time(jump: float) -> None:
    with link(f"{HERE}/24", "fd00::2/64") as it:
        days = Days(it)
        sends(days, socket.AF_INET, NOBODY)
        days.pass_(2.5 if jump < 24 else 10)  # ARP's stamps have 32 bits
        it.clock.advance(jump * DAY)
        days.pass_(10)
        assert list(it.net.neighbours) == []
        days.from_now()
        assert it.net.step() is None
        sends(days, socket.AF_INET, NOBODY)
        days.pass_(100)
        assert days.times(lambda frame: ARP in frame) == near(0, 1, 2)


# --- the same as with every tick ------------------------------------------------------------------


def story(pass_: Callable[[Days, float], None]) -> list[tuple[float, bytes]]:
    """What a Stack sends when it is told a little, now and then."""
    with link(f"{HERE}/24", "fd00::2/64", slaac=True) as it:
        days = Days(it)
        it.advertise(prefix("2001:db8::", valid=300, autonomous=1), lifetime=200)
        for _ in range(4):
            sends(days, socket.AF_INET, NOBODY)
            sends(days, socket.AF_INET6, "fd00::9")
            with suppress(OSError):  # no route any more
                sends(days, socket.AF_INET6, "2001:db8:1::9")
            pass_(days, 123.4)
        it.interface.addresses.add("192.0.2.77/24", detect=True)
        pass_(days, 77.7)
        return [(at, bytes(frame)) for at, frame in days.heard]


def by_ticks(days: Days, seconds: float) -> None:
    for _ in range(round(seconds * 10)):
        days.step()
        days.it.clock.advance(0.1)
        days.passed += 0.1
    days.step()


def test_ticks_left_out_change_nothing_on_the_wire() -> None:
    heard = story(Days.pass_)
    assert len(heard) > 30
    assert story(by_ticks) == heard
