"""The services that configure an interface, in sequences: DHCP's, by a server that the test is."""

from __future__ import annotations

import errno
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

import pytest
from children import in_child
from served import (
    ACK,
    DISCOVER,
    DNS,
    MAC,
    NAK,
    OFFER,
    RELEASE,
    REQUEST,
    SERVER_MAC,
    SERVERS,
    Place,
    Server,
    placed,
)

import pystack
from pystack.interface import AddressOrigin, InterfaceFlag
from pystack.services import LeaseState
from pystack.serving.frame import BROADCAST
from pystack.tables import RouteOrigin


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


@pytest.mark.timeout(300)
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


def test_a_close_ends_who_waits_for_a_lease(engine: str) -> None:
    server = Server()
    server.answers = {}
    raised: list[BaseException] = []
    with pystack.Stack(engine=engine) as net:
        eth = net.attach(server.nic, mac=MAC)

        def wait() -> None:
            try:
                eth.dhcp(timeout=60)
            except OSError as error:
                raised.append(error)

        waiter = threading.Thread(target=wait)
        waiter.start()
        while DISCOVER not in server.heard:
            waiter.join(0.01)
        net.close(linger=0)
    waiter.join(30)
    assert not waiter.is_alive()
    assert raised


def test_a_snapshot_comes_back_to_the_exchange(place: Place) -> None:
    place.server.answers = {DISCOVER: OFFER}
    place.eth.dhcp(timeout=0)
    place.run(1)
    moment = place.net.snapshot()
    place.server.answers[REQUEST] = ACK
    for _ in range(2):
        place.run(10)
        assert place.addresses() == ["10.0.0.9/24"]
        assert place.net.nameservers == [DNS]
        place.net.restore(moment)
        assert place.addresses() == []
        assert place.net.nameservers == []
