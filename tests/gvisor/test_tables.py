"""Interfaces, addresses, neighbours, routes, settings, counters on netstack."""

from __future__ import annotations

import errno
import ipaddress
import socket

import pytest
from failing import fails_with
from lockstep import PORT, lockstep
from scapy.layers.inet6 import (
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import Ether

import pystack
from pystack.hypercalls import ManualClock
from pystack.interface import AddressState


@pytest.fixture
def net() -> pystack.Stack:
    with pystack.Stack(engine="gvisor", threaded=False) as it:
        yield it


def test_interfaces_and_addresses(net: pystack.Stack) -> None:
    left, right = pystack.nic.wire()
    eth = net.attach(left, "10.0.0.1/24", "fd00::1/64", mac="02:00:00:00:00:01")
    assert [one.name for one in net.interfaces] == ["lo", "eth0"]
    assert eth.mac == "02:00:00:00:00:01"
    found = {str(one.address) for one in eth.addresses}
    assert found == {"10.0.0.1/24", "fd00::1/64", "fe80::ff:fe00:1/64"}
    eth.addresses.add("10.0.0.7/24")
    with fails_with(errno.EEXIST):
        eth.addresses.add("10.0.0.7/24")
    eth.addresses.remove("10.0.0.7")
    with fails_with(errno.EADDRNOTAVAIL):
        eth.addresses.remove("10.0.0.7")
    eth.mtu = 1280
    assert eth.mtu == 1280
    eth.detach()
    assert [one.name for one in net.interfaces] == ["lo"]
    assert right is not None


def test_duplicate_addresses_are_found() -> None:
    with lockstep(engines=("gvisor", "gvisor")) as it:
        eth = it.client.interfaces[1]
        eth.addresses.add("fd00::2/64", detect=True)
        eth.addresses.add("10.0.0.2/24", detect=True)
        eth.addresses.add("fd00::3/64", detect=True)
        eth.addresses.add("10.0.0.3/24", detect=True)

        def states() -> dict[str, AddressState]:
            return {str(one.address.ip): one.state for one in eth.addresses}

        assert states()["fd00::3"] is states()["10.0.0.3"] is AddressState.TENTATIVE
        it.run(seconds=6)
        assert states()["fd00::2"] is states()["10.0.0.2"] is AddressState.DUPLICATE
        assert states()["fd00::3"] is states()["10.0.0.3"] is AddressState.PREFERRED


def test_neighbours() -> None:
    with lockstep(engines=("gvisor", "lwip")) as it:
        eth = it.client.interfaces[1]
        with it.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.sendto(b"", ("10.0.0.2", 9))
        with it.client.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.sendto(b"", ("fd00::2", 9))
        it.run(seconds=1)
        mac = it.server.interfaces[1].mac
        known = {str(one.address): one.mac for one in it.client.neighbours}
        assert known["10.0.0.2"] == known["fd00::2"] == mac
        it.client.neighbours.add("10.0.0.99", "02:00:00:00:00:99", eth)
        it.client.neighbours.flush()
        assert [str(one.address) for one in it.client.neighbours] == ["10.0.0.99"]
        it.client.neighbours.delete("10.0.0.99", eth)
        assert list(it.client.neighbours) == []


def test_routes(net: pystack.Stack) -> None:
    a, b = pystack.nic.wire()
    eth0 = net.attach(a, "10.0.0.1/24", gateway="10.0.0.254")
    eth1 = net.attach(b, "10.0.1.1/24")
    assert net.routes.lookup("8.8.8.8").gateway == ipaddress.ip_address("10.0.0.254")
    assert net.routes.lookup("10.0.1.9").interface == eth1.index
    net.routes.add("192.0.2.0/24", gateway="10.0.1.254")
    assert net.routes.lookup("192.0.2.1").interface == eth1.index
    with fails_with(errno.EEXIST):
        net.routes.add("192.0.2.0/24", gateway="10.0.1.254")
    with fails_with(errno.ENETUNREACH):
        net.routes.add("198.51.100.0/24", gateway="172.16.0.1")
    net.routes.delete("192.0.2.0/24")
    assert net.routes.lookup("192.0.2.1").interface == eth0.index


def test_no_route_is_network_unreachable(net: pystack.Stack) -> None:
    with net.socket() as client:
        client.setblocking(False)
        assert client.connect_ex(("192.0.2.1", 80)) == errno.ENETUNREACH


def test_settings(net: pystack.Stack) -> None:
    for name in net.sysctl:
        one = net.sysctl.describe(name)
        assert one.minimum <= one.initial <= one.maximum
        assert net.sysctl[name] == one.initial
        net.sysctl[name] = one.initial
    with pytest.raises(ValueError, match="1 to 255"):
        net.sysctl["net.ipv4.ip_default_ttl"] = 0
    with pytest.raises(KeyError):
        net.sysctl["net.ipv4.no_such_thing"] = 1
    with net.socket() as sock:
        net.sysctl["net.ipv4.ip_default_ttl"] = 33
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 33


def test_forwarding() -> None:
    a, b = pystack.nic.wire()
    c, d = pystack.nic.wire()
    with (
        pystack.Stack(engine="gvisor") as left,
        pystack.Stack(engine="gvisor") as router,
        pystack.Stack() as right,
    ):
        left.attach(a, "10.0.0.1/24", "fd00::1/64", gateway=("10.0.0.254", "fd00::ff"))
        router.attach(b, "10.0.0.254/24", "fd00::ff/64")
        router.attach(c, "10.0.1.254/24", "fd01::ff/64")
        right.attach(d, "10.0.1.1/24", "fd01::1/64", gateway=("10.0.1.254", "fd01::ff"))
        router.sysctl["net.ipv4.ip_forward"] = 1
        router.sysctl["net.ipv6.conf.all.forwarding"] = 1
        for host in ("10.0.1.1", "fd01::1"):
            result = left.ping(host, timeout=5)
            assert result
            assert result.replies[0].ttl in (63, 254)


def test_connections_and_counters() -> None:
    with lockstep(engines=("gvisor", "gvisor")) as it:
        listener = it.listen()
        client = it.client.socket()
        client.setblocking(False)
        client.connect_ex(("10.0.0.2", PORT))
        it.run(lambda: bool(it.server.counters()["tcp.passive_opens"]))
        assert [one.state.name for one in it.client.connections()] == ["ESTABLISHED"]
        assert sorted(one.state.name for one in it.server.connections()) == [
            "ESTABLISHED", "LISTEN",
        ]  # fmt: skip
        server, _peer = listener.accept()
        assert it.client.counters()["tcp.active_opens"] == 1
        assert it.client.interfaces[1].counters()["out_unicast_packets"] >= 2
        info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        assert info[0] == 1
        for each in (client, server, listener):
            each.close()


def test_a_tun_like_wire(net: pystack.Stack) -> None:
    sent: list[bytes] = []
    nic = pystack.nic.PythonNic(sent.append, 1400, layer=pystack.nic.Layer.IP)
    net.attach(nic, "10.0.0.1/24", "fd00::1/64")
    with net.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"out", ("10.0.0.2", 9))
    assert sent[-1][0] == 0x45
    assert sent[-1][-3:] == b"out"
    nic.close()


def test_routers_configure_an_interface() -> None:
    clock = ManualClock()
    sent: list[bytes] = []
    nic = pystack.nic.PythonNic(sent.append, 1500)
    with pystack.Stack(engine="gvisor", threaded=False, clock=clock, seed=5) as net:
        eth = net.attach(nic, mac="02:00:00:00:00:01")

        def pass_time(seconds: int) -> None:
            for _ in range(seconds * 20):
                net.step()
                clock.advance(0.05)

        pass_time(2)
        assert not any(ICMPv6ND_RS in Ether(frame) for frame in sent)
        eth.slaac()
        pass_time(8)
        assert any(ICMPv6ND_RS in Ether(frame) for frame in sent)
        advertisement = (
            Ether(src="02:00:00:00:00:99", dst="33:33:00:00:00:01")
            / IPv6(src="fe80::99", dst="ff02::1", hlim=255)
            / ICMPv6ND_RA(routerlifetime=1800)
            / ICMPv6NDOptPrefixInfo(prefix="2001:db8::", prefixlen=64, L=1, A=1)
            / ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:00:99")
        )
        nic.deliver(bytes(advertisement))
        pass_time(3)
        assert "2001:db8::ff:fe00:1/64" in {str(one.address) for one in eth.addresses}
        assert str(net.routes.lookup("2001:db8:1::1").gateway) == "fe80::99"
        eth.slaac(False)
        assert [str(one.address.ip) for one in eth.addresses] == ["fe80::ff:fe00:1"]
        assert [one for one in net.routes if one.gateway] == []
    nic.close()


def test_what_netstack_has_not(net: pystack.Stack) -> None:
    left, _right = pystack.nic.wire()
    eth = net.attach(left, "10.0.0.1/24")
    for service in (eth.dhcp, eth.autoip):
        with fails_with(errno.EOPNOTSUPP):
            service()
    net.nameservers.append("10.0.0.2")
    with fails_with(errno.EOPNOTSUPP):
        net.resolve("example.org")
