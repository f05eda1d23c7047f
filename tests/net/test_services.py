"""DHCP, name servers, router advertisements, mDNS, against programs that nobody here wrote."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from growth import need
from installed import needs_programs
from namespace import Namespace, namespace, needs_namespace

import pystack
from pystack.interface import AddressOrigin, AddressState, InterfaceFlag
from pystack.nic import Tap
from pystack.services import LeaseState

pytestmark = [needs_namespace, needs_programs("dnsmasq")]

SERVER, SERVER6 = "10.7.0.1", "fd07::1"


@contextmanager
def dnsmasq(place: Namespace, folder: Path, *options: str) -> Iterator[None]:
    """The server in the namespace, until the block ends."""
    log = (folder / "log").open("wb")
    process = place.start(
        "dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null",
        "--interface=tap0", "--bind-interfaces", "--user=root", "--group=root",
        f"--dhcp-leasefile={folder / 'leases'}", f"--pid-file={folder / 'pid'}",
        "--log-facility=-", *options,
        stdout=subprocess.DEVNULL, stderr=log,
    )  # fmt: skip
    log.close()
    try:
        deadline = time.monotonic() + 60
        while b"started" not in (folder / "log").read_bytes():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def wired(
    *addresses: str, engine: str = "lwip"
) -> Iterator[tuple[Namespace, pystack.Stack, pystack.Interface]]:
    with namespace() as place:
        wire = place.call(Tap, "tap0")
        place.device("tap0", f"{SERVER}/24", f"{SERVER6}/64")
        with wire, pystack.Stack(engine=engine) as net:
            yield place, net, net.attach(wire, *addresses)


def until(condition: Any, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


DHCP = (
    "--dhcp-range=10.7.0.50,10.7.0.60,255.255.255.0,2m",
    "--dhcp-option=option:router,10.7.0.1",
    "--dhcp-option=option:dns-server,10.7.0.1",
    "--domain=lab.test",
)
NAMES = (
    "--bogus-priv",  # names of private addresses: what it doesn't know there is not
    "--local=/lab.test/",  # what it doesn't know of this domain there is not
    "--host-record=www.lab.test,10.7.0.80,fd07::80",
    "--host-record=four.lab.test,10.7.0.44",
    "--host-record=six.lab.test,fd07::66",
    "--address=/many.lab.test/10.7.0.1",
)


def test_dhcp_leases_an_address_and_names_resolve_through_it(tmp_path: Path) -> None:
    with wired() as (place, net, eth0), dnsmasq(place, tmp_path, *DHCP, *NAMES):
        assert eth0.lease.state is LeaseState.OFF
        lease = eth0.dhcp(hostname="pystack-test", timeout=60)
        assert lease.bound
        assert lease.address is not None
        assert str(lease.address.ip) in {f"10.7.0.{n}" for n in range(50, 61)}
        assert lease.address.network.prefixlen == 24
        assert (str(lease.server), str(lease.gateway)) == (SERVER, SERVER)
        assert lease.lease_s == 120
        assert lease.domain == "lab.test"
        assert InterfaceFlag.DHCP in eth0.flags
        (address,) = [one for one in eth0.addresses if one.ip.version == 4]
        assert address.address == lease.address
        assert address.origin is AddressOrigin.DHCP
        assert "pystack-test" in (tmp_path / "leases").read_text()
        assert net.ping(SERVER, timeout=30).received == 1
        assert str(net.routes.lookup("192.0.2.1").gateway) == SERVER
        assert [str(one) for one in net.nameservers] == [SERVER]
        check_names(net)
        # The lease is given back, and the address goes with it.
        assert eth0.dhcp(False).state is LeaseState.OFF
        assert [one for one in eth0.addresses if one.ip.version == 4] == []
        assert until(lambda: "pystack-test" not in (tmp_path / "leases").read_text())


def check_names(net: pystack.Stack) -> None:
    both = {str(one) for one in net.resolve("www.lab.test")}
    assert both == {"10.7.0.80", "fd07::80"}
    assert [str(one) for one in net.resolve("www.lab.test", socket.AF_INET)] == ["10.7.0.80"]
    assert [str(one) for one in net.resolve("www.lab.test", socket.AF_INET6)] == ["fd07::80"]
    assert net.sockets.gethostbyname("four.lab.test") == "10.7.0.44"
    found = net.sockets.getaddrinfo("six.lab.test", "http", type=socket.SOCK_STREAM)
    assert [entry[4] for entry in found] == [("fd07::66", 80, 0, 0)]
    for name, address in (("four.lab.test", "10.7.0.44"), ("six.lab.test", "fd07::66")):
        assert net.sockets.gethostbyaddr(address) == (name, [], [address])
        assert net.sockets.getnameinfo((address, 80), 0) == (name, "http")
    assert net.sockets.getnameinfo(("10.7.0.45", 80), 0) == ("10.7.0.45", "http")
    with pytest.raises(socket.herror, match="Unknown host"):
        net.sockets.gethostbyaddr("10.7.0.45")
    with pytest.raises(socket.gaierror) as caught:
        net.resolve("nobody.lab.test")
    assert caught.value.errno == socket.EAI_NONAME
    with pytest.raises(socket.gaierror) as caught:
        net.resolve("four.lab.test", socket.AF_INET6)
    assert caught.value.errno == socket.EAI_NONAME


def test_names_over_both_families_and_a_silent_server(tmp_path: Path) -> None:
    with (
        wired("10.7.0.2/24", "fd07::2/64") as (place, net, _eth0),
        dnsmasq(place, tmp_path, *NAMES),
    ):
        with pytest.raises(socket.gaierror, match="no name server"):
            net.resolve("www.lab.test")
        net.nameservers = [SERVER6]
        check_names(net)
        net.nameservers = ["10.7.0.99", SERVER]  # the first is not there
        assert str(net.resolve("four.lab.test", socket.AF_INET, timeout=60)[0]) == "10.7.0.44"
        net.nameservers = ["10.7.0.99"]
        with pytest.raises(socket.gaierror) as caught:
            net.resolve("four.lab.test", timeout=0.3)
        assert caught.value.errno == socket.EAI_AGAIN
        # A server on the kernel, by its name, from start to end.
        net.nameservers = [SERVER]
        listener = place.call(socket.create_server, (SERVER, 8080))
        with listener, net.sockets.create_connection(("many.lab.test", 8080), 20) as client:
            accepted, _peer = listener.accept()
            accepted.sendall(b"by name")
            accepted.close()
            assert client.recv(100) == b"by name"


def test_the_name_server_list_is_a_list() -> None:
    with pystack.Stack(threaded=False) as net:
        servers = net.nameservers
        assert list(servers) == []
        servers.append("10.0.0.1")
        servers.insert(0, "fd00::1")
        assert [str(one) for one in servers] == ["fd00::1", "10.0.0.1"]
        servers[1] = "10.0.0.2"
        del servers[0]
        assert [str(one) for one in net.nameservers] == ["10.0.0.2"]
        with pytest.raises(OSError, match="at most"):
            net.nameservers = ["10.0.0.1"] * 5
        with pytest.raises(ValueError, match="not appear"):
            net.nameservers = ["ten"]
        assert [str(one) for one in net.nameservers] == ["10.0.0.2"]


def test_nobody_leases() -> None:
    left, _right = pystack.nic.wire()
    with pystack.Stack() as net:
        eth0 = net.attach(left)
        with pytest.raises(TimeoutError, match="lease"):
            eth0.dhcp(timeout=0.3)
        assert eth0.lease.state is LeaseState.SEARCHING
        eth0.dhcp(False)
        eth0.addresses.add("10.0.0.1/24")
        with pytest.raises(FileExistsError):
            eth0.dhcp()


def test_routers_and_dhcpv6_configure_ipv6(tmp_path: Path) -> None:
    options = (
        "--enable-ra", "--dhcp-range=fd07::,ra-stateless,64,10m",
        "--dhcp-option=option6:dns-server,[fd07::1]",
    )  # fmt: skip
    with wired() as (place, net, eth0), dnsmasq(place, tmp_path, *options, *NAMES):
        assert until(lambda: any(one.ip.is_link_local for one in eth0.addresses))
        eth0.slaac()
        eth0.dhcp6()

        def made() -> list[Any]:
            return [one for one in eth0.addresses if one.origin is AddressOrigin.SLAAC]

        assert until(lambda: made() and made()[0].state is AddressState.PREFERRED, 60)
        (address,) = made()
        assert str(address.address.network) == "fd07::/64"
        assert 0 < address.valid_s <= 3600
        assert net.ping(SERVER6, timeout=30).received == 1
        route = net.routes.lookup("2001:db8::1")
        assert route.gateway is not None
        assert route.gateway.is_link_local
        assert until(lambda: [str(one) for one in net.nameservers] == [SERVER6], 60)
        assert str(net.resolve("six.lab.test", socket.AF_INET6)[0]) == "fd07::66"


DHCP6 = (
    "--enable-ra", "--dhcp-range=fd07::100,fd07::1ff,64,2m", "--log-dhcp",
    "--dhcp-option=option6:dns-server,[fd07::1]", "--dhcp-option=option6:domain-search,lab.test",
)  # fmt: skip


@pytest.mark.parametrize("engine", ["lwip", "linux", "gvisor"])
def test_dhcpv6_leases_an_address(tmp_path: Path, engine: str) -> None:
    need(engine)
    with wired(engine=engine) as (place, net, eth0), dnsmasq(place, tmp_path, *DHCP6, *NAMES):
        assert until(lambda: any(one.ip.is_link_local for one in eth0.addresses))
        eth0.slaac()
        lease = eth0.dhcp6(timeout=60)  # the router says that there are addresses
        assert lease.bound
        (leased,) = lease.addresses
        assert 0x100 <= int(leased.address.ip) & 0xFFFF <= 0x1FF
        assert leased.valid_s is not None
        assert 0 < leased.valid_s <= 120
        assert lease.domains == ("lab.test",)
        assert leased.address in [one.address for one in eth0.addresses]
        assert lease.renew_s is not None
        assert 0 < lease.renew_s <= 60
        known = f" {leased.address.ip} "
        assert known in (tmp_path / "leases").read_text()
        assert until(lambda: [str(one) for one in net.nameservers] == [SERVER6], 60)
        # The prefix is the router's to tell, and so is the way out.
        assert until(lambda: net.ping(SERVER6, timeout=30).received == 1, 60)
        assert str(net.resolve("six.lab.test", socket.AF_INET6)[0]) == "fd07::66"
        with net.sockets.create_server(("::", 80), family=socket.AF_INET6) as listener:
            client = place.call(socket.create_connection, (str(leased.address.ip), 80), 20)
            with client, listener.accept()[0] as accepted:
                accepted.sendall(b"hello")
                assert client.recv(100) == b"hello"
        eth0.dhcp6(False)
        assert until(lambda: known not in (tmp_path / "leases").read_text())
        assert "DHCPRELEASE" in (tmp_path / "log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["lwip", "linux", "gvisor"])
def test_dhcpv6_extends_a_lease_and_asks_whether_it_is_right(tmp_path: Path, engine: str) -> None:
    need(engine)

    def log() -> str:
        return (tmp_path / "log").read_text()

    with wired(engine=engine) as (place, _net, eth0), dnsmasq(place, tmp_path, *DHCP6):
        leased = eth0.dhcp6(stateful=True, rapid_commit=True, timeout=60).addresses[0]
        assert until(lambda: "DHCPRENEW" in log(), 120)  # at half of two minutes
        assert until(lambda: eth0.lease6.obtained_s < 30, 60)
        eth0.up = False
        eth0.up = True  # before anybody has looked
        assert until(lambda: "DHCPCONFIRM" in log(), 60)
        assert until(lambda: eth0.lease6.state is LeaseState.BOUND, 60)
        assert eth0.lease6.addresses[0].address == leased.address


def test_mdns_between_two_stacks() -> None:
    left, right = pystack.nic.wire()
    with pystack.Stack() as a, pystack.Stack() as b:
        one = a.attach(left, "10.0.0.1/24")
        b.attach(right, "10.0.0.2/24")
        one.mdns("printer")
        assert InterfaceFlag.MDNS in one.flags

        def answers() -> bool:
            try:
                found = b.resolve("printer.local", socket.AF_INET, timeout=5)
            except socket.gaierror:
                return False
            return [str(address) for address in found] == ["10.0.0.1"]

        assert until(answers, 30)
        one.mdns(None)
        assert InterfaceFlag.MDNS not in one.flags
        for wrong in ("", "two.labels", ".local"):
            with pytest.raises(ValueError, match=r"\.local"):
                one.mdns(wrong)


def test_autoip_takes_a_link_local_address_that_nobody_has() -> None:
    from pystack.hypercalls import ManualClock

    clock = ManualClock()
    left, right = pystack.nic.wire()
    with (
        pystack.Stack(threaded=False, clock=clock, seed=3) as a,
        pystack.Stack(threaded=False, clock=clock, seed=4) as b,
    ):
        # The same MAC gives the same first choice (RFC 3927 2.1): a conflict to be found.
        mac = "02:00:00:00:00:01"
        first, second = a.attach(left, mac=mac), b.attach(right, mac="02:00:00:00:00:02")
        first.autoip()
        for _ in range(200):
            clock.advance(0.1)
            a.step()
            b.step()
        (address,) = [one for one in first.addresses if one.ip.version == 4]
        assert address.origin is AddressOrigin.AUTOIP
        assert address.ip.is_link_local
        # An address that the other end then claims by hand is found out by its probes.
        second.addresses.add(f"{address.ip}/16", detect=True)
        for _ in range(200):
            clock.advance(0.1)
            a.step()
            b.step()
        states = [one.state for one in second.addresses if one.ip == address.ip]
        assert states == [AddressState.DUPLICATE]
        first.autoip(False)
        assert [one for one in first.addresses if one.ip.version == 4] == []
