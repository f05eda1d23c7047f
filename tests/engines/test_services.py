"""The services that configure an interface, in sequences: DHCP's, by a server that the test is."""

from __future__ import annotations

import errno
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any

import pytest
from children import in_child

import pystack
from pystack.interface import AddressOrigin, InterfaceFlag
from pystack.services import LeaseState
from pystack.serving.frame import BROADCAST, read_arp, read_udp4, udp4_frame
from pystack.tables import RouteOrigin

DISCOVER, OFFER, REQUEST, ACK, NAK, RELEASE = 1, 2, 3, 5, 6, 7
OURS, SERVERS, DNS = map(IPv4Address, ("10.0.0.9", "10.0.0.1", "10.0.0.53"))
SERVER_MAC, MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
ALL = IPv4Address("255.255.255.255")
COOKIE = bytes((99, 130, 83, 99))


class Server:
    """A DHCP server at the far end of a wire.

    Attributes:
        heard: The types of the messages that came, in order.
        lease_s: The lease's length.
        answers: What it says to a message of a type; a type that is missing gets no answer.
    """

    def __init__(self) -> None:
        self.nic = pystack.nic.PythonNic(self._frame)
        self.heard: list[int] = []
        self.lease_s = 600
        self.answers = {DISCOVER: OFFER, REQUEST: ACK}
        self.frames: list[bytes] = []

    def _frame(self, frame: bytes) -> None:
        self.frames.append(frame)
        packet = read_arp(frame) if frame[12:14] == b"\x08\x06" else None
        if packet is not None and packet.target == SERVERS and packet.operation == 1:
            body = struct.pack(">HHBBH6s4s6s4s", 1, 0x800, 6, 4, 2, SERVER_MAC, SERVERS.packed,
                               packet.sender_mac, packet.sender.packed)  # fmt: skip
            self.nic.deliver(packet.sender_mac + SERVER_MAC + b"\x08\x06" + body)
        if frame[12:14] != b"\x08\x00" or frame[23] != 17 or frame[36:38] != b"\0\x43":
            return
        datagram = read_udp4(frame, True)
        assert datagram is not None
        kind = datagram.payload[242]  # the type is the first option
        self.heard.append(kind)
        if kind in self.answers:
            self.nic.deliver(self.reply(datagram.payload, self.answers[kind]))

    def reply(self, asked: bytes, kind: int) -> bytes:
        """A message of the server's."""
        head = b"\2" + asked[1:12] + bytes(4) + OURS.packed + bytes(8) + asked[28:236]
        options = bytes((53, 1, kind, 54, 4)) + SERVERS.packed
        if kind != NAK:
            options += bytes((51, 4)) + self.lease_s.to_bytes(4, "big")
            options += bytes((1, 4, 255, 255, 255, 0, 3, 4)) + SERVERS.packed
            options += bytes((6, 4)) + DNS.packed + b"\x0f\x04home"
        payload = head + COOKIE + options + b"\xff"
        return udp4_frame((SERVER_MAC, BROADCAST), (SERVERS, ALL), (67, 68), payload)


class Place:
    """A Stack under a clock turned by hand, on a wire to a server."""

    def __init__(self, engine: str, **options: Any) -> None:
        self.clock = pystack.hypercalls.ManualClock(start=1)
        self.server = Server()
        self.lines: list[str] = []
        settings = {"seed": 1, "log": self, "threaded": False, **options}
        self.net = pystack.Stack(engine=engine, clock=self.clock, **settings)
        self.eth = self.net.attach(self.server.nic, mac=MAC)

    def log(self, level: int, text: str) -> None:
        self.lines.append(text)

    def run(self, seconds: float) -> None:
        """Lets time pass, timer by timer."""
        until = self.clock.now_us() + round(seconds * 1e6)
        while True:
            seen = len(self.server.frames)
            due = self.net.step()
            if len(self.server.frames) != seen:
                continue  # the answers are there now
            left = (until - self.clock.now_us()) / 1e6
            if left <= 0:
                return
            self.clock.advance(max(1e-6, left if due is None else min(left, due)))

    def meet(self) -> None:
        """Has the Stack know the server's station: lwIP's last word doesn't wait for ARP."""
        with self.net.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", (str(SERVERS), 9))
        self.run(1)

    def addresses(self) -> list[str]:
        return [str(one.address) for one in self.eth.addresses if one.address.version == 4]


@contextmanager
def placed(engine: str, **options: Any) -> Iterator[Place]:
    place = Place(engine, **options)
    try:
        yield place
    finally:
        place.net.close(abrupt=True)


@pytest.fixture
def place(engine: str) -> Iterator[Place]:
    with placed(engine) as made:
        yield made


def test_a_lease_is_in_all_the_tables(place: Place) -> None:
    place.eth.dhcp(hostname="me", timeout=0)
    assert place.eth.lease.state is LeaseState.SEARCHING
    assert place.eth.flags & InterfaceFlag.DHCP
    place.run(2)
    lease = place.eth.lease
    assert lease.bound
    assert (str(lease.address), lease.server, lease.gateway) == ("10.0.0.9/24", SERVERS, SERVERS)
    assert (lease.dns, lease.domain, lease.hostname) == ((DNS,), "home", "me")
    assert (lease.lease_s, lease.renew_s, lease.rebind_s) == (600, 300, 525)
    (entry,) = (one for one in place.eth.addresses if one.address.version == 4)
    assert (str(entry.address), entry.origin) == ("10.0.0.9/24", AddressOrigin.DHCP)
    (route,) = (one for one in place.net.routes if str(one.destination) == "0.0.0.0/0")
    assert (route.gateway, route.origin) == (SERVERS, RouteOrigin.DHCP)
    assert place.net.nameservers == [DNS]
    place.net.nameservers = ["192.0.2.53"]
    assert [str(one) for one in place.net.nameservers] == ["192.0.2.53", "10.0.0.53"]
    place.meet()
    place.eth.dhcp(False)
    assert (place.addresses(), place.eth.lease.state) == ([], LeaseState.OFF)
    assert [str(one) for one in place.net.nameservers] == ["192.0.2.53"]
    assert not [one for one in place.net.routes if str(one.destination) == "0.0.0.0/0"]
    assert not place.eth.flags & InterfaceFlag.DHCP
    assert place.server.heard == [DISCOVER, REQUEST, RELEASE]


def test_a_lease_is_renewed_by_whoever_drives(place: Place) -> None:
    place.eth.dhcp(timeout=0)
    place.run(2000)
    assert place.server.heard[:2] == [DISCOVER, REQUEST]
    assert set(place.server.heard[2:]) == {REQUEST}
    assert 5 <= len(place.server.heard[2:]) <= 7
    assert place.addresses() == ["10.0.0.9/24"]


def test_a_clock_that_jumps_over_the_end_ends_the_lease(place: Place) -> None:
    place.eth.dhcp(timeout=0)
    place.run(2)
    place.server.answers = {}
    place.clock.advance(100_000)
    place.net.step()
    place.run(2)
    assert place.addresses() == []
    assert place.server.heard[-1] == DISCOVER
    place.server.answers = {DISCOVER: OFFER, REQUEST: ACK}
    place.run(70)
    assert place.addresses() == ["10.0.0.9/24"]


def test_a_refusal_takes_everything_back(place: Place) -> None:
    place.eth.dhcp(timeout=0)
    place.run(2)
    place.server.answers = {REQUEST: NAK}
    place.run(310)
    assert place.addresses() == []
    assert list(place.net.nameservers) == []
    assert DISCOVER in place.server.heard[3:]


def test_an_interface_that_comes_up_again_asks_whether_the_address_is_right(place: Place) -> None:
    place.eth.dhcp(timeout=0)
    place.run(2)
    place.eth.up = False
    place.run(5)
    before = len(place.server.heard)
    place.eth.up = True
    place.run(5)
    assert place.server.heard[before] == REQUEST
    assert place.eth.lease.state is LeaseState.BOUND
    assert place.addresses() == ["10.0.0.9/24"]


@pytest.mark.parametrize("end", ["detach", "close"])
def test_an_end_gives_the_address_back(place: Place, end: str) -> None:
    place.eth.dhcp(timeout=0)
    place.run(2)
    place.meet()
    if end == "detach":
        place.eth.detach()
    else:
        place.net.close(linger=0)
    assert place.server.heard == [DISCOVER, REQUEST, RELEASE]


def test_a_detach_in_mid_exchange_leaves_nothing(place: Place) -> None:
    place.server.answers = {DISCOVER: OFFER}
    place.eth.dhcp(timeout=0)
    place.run(2)
    place.eth.detach()
    place.eth = place.net.attach(place.server.nic, mac=MAC)
    before = len(place.server.heard)
    place.run(100)
    assert len(place.server.heard) == before
    place.server.answers[REQUEST] = ACK
    place.eth.dhcp(timeout=0)
    place.run(2)
    assert place.addresses() == ["10.0.0.9/24"]


def arp_of(address: IPv4Address) -> bytes:
    """Another host's, that has the address."""
    return BROADCAST + SERVER_MAC + b"\x08\x06" + struct.pack(
        ">HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, SERVER_MAC, address.packed, bytes(6), address.packed
    )  # fmt: skip


def test_a_link_local_address_gives_way_to_a_leased_one_and_comes_back(place: Place) -> None:
    place.eth.autoip()
    place.run(12)
    (entry,) = (one for one in place.eth.addresses if one.address.version == 4)
    own = str(entry.address)
    assert own.startswith("169.254.")
    assert (entry.origin, entry.address.network.prefixlen) == (AddressOrigin.AUTOIP, 16)
    place.eth.dhcp(timeout=0)
    place.run(5)
    assert place.addresses() == ["10.0.0.9/24"]
    place.eth.dhcp(False)
    place.run(15)
    assert place.addresses() == [own]
    place.eth.autoip(False)
    assert place.addresses() == []
    assert not place.eth.flags & InterfaceFlag.AUTOIP


def test_a_link_local_address_is_defended_once_and_then_another(place: Place) -> None:
    place.eth.autoip()
    place.run(12)
    (own,) = place.addresses()
    address = IPv4Address(own.partition("/")[0])
    place.server.nic.deliver(arp_of(address))
    place.run(1)
    assert place.addresses() == [own]
    place.server.nic.deliver(arp_of(address))
    place.run(15)
    (other,) = place.addresses()
    assert other.startswith("169.254.")
    assert other != own


REFUSED: dict[int, Callable[[Place], object]] = {
    errno.EEXIST: lambda it: it.eth.addresses.add("10.0.0.2/24"),
    errno.ENETDOWN: lambda it: setattr(it.eth, "up", False),
    errno.EMSGSIZE: lambda it: setattr(it.eth, "mtu", 500),
    errno.ENAMETOOLONG: lambda it: None,
}


@pytest.mark.parametrize("error", REFUSED, ids=errno.errorcode.get)
def test_what_a_lease_needs(place: Place, error: int) -> None:
    REFUSED[error](place)
    name = f"{'n' * 40}.{'n' * 40}" if error == errno.ENAMETOOLONG else None
    with pytest.raises(OSError) as raised:
        place.eth.dhcp(hostname=name, timeout=0)
    assert raised.value.errno == error
    place.run(2)
    assert place.server.heard == []


def test_the_clients_port_has_to_be_free(place: Place) -> None:
    with place.net.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("", 68))
        with pytest.raises(OSError) as raised:
            place.eth.dhcp(timeout=0)
        assert raised.value.errno == errno.EADDRINUSE
    place.eth.dhcp(timeout=0)
    place.run(2)
    assert place.eth.lease.bound


def test_an_exception_in_a_hypercall_reaches_the_call(engine: str) -> None:
    class Bad:
        raises = False

        def frame_out(self, interface: int, frame: bytes) -> bool:
            if self.raises:
                raise ValueError("on purpose")
            return True

    bad = Bad()
    with placed(engine, frame_out=bad) as place:
        bad.raises = True
        with pytest.raises(ValueError, match="on purpose"):
            place.eth.dhcp(timeout=0)
            place.run(2)
        bad.raises = False
        place.run(20)
        assert place.eth.lease.bound


def test_same_seed_same_frames(engine: str) -> None:
    runs = []
    for _ in range(2):
        with placed(engine) as place:
            place.server.answers = {}
            place.eth.dhcp(timeout=0)
            place.run(300)
            runs.append([one for one in place.server.frames if one[36:38] == b"\0\x43"])
    assert runs[0] == runs[1]
    assert len(runs[0]) >= 5


def test_a_thread_drives_and_none_is_added(engine: str) -> None:
    server = Server()
    before = threading.active_count()
    with pystack.Stack(engine=engine) as net:
        eth = net.attach(server.nic, mac=MAC)
        assert eth.dhcp(timeout=20).bound
        assert str(eth.address) == "10.0.0.9/24"
        assert threading.active_count() == before
    assert server.heard[:2] == [DISCOVER, REQUEST]


@pytest.mark.timeout(60)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork beside threads
def test_a_child_can_use_the_lease_and_not_change_it(engine: str) -> None:
    server = Server()
    with pystack.Stack(engine=engine) as net:
        eth = net.attach(server.nic, mac=MAC)
        eth.dhcp(timeout=20)

        def child() -> None:
            assert net.nameservers == [DNS]
            for call in (lambda: eth.lease, lambda: eth.dhcp(False)):
                with pytest.raises(OSError) as raised:
                    call()
                assert raised.value.errno == errno.EREMOTE

        in_child(child)
        assert eth.lease.bound
