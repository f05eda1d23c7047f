"""Interfaces, addresses, neighbours and routes: refusals, listings, SLAAC switched on late."""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Iterator

import pytest
from failing import fails_with
from link import ROUTER, link, prefix

import pystack
from pystack.nic import Layer


@pytest.fixture
def net(engine: str) -> Iterator[pystack.Stack]:
    with pystack.Stack(engine=engine, threaded=False) as it:
        yield it


@pytest.fixture
def eth(net: pystack.Stack) -> pystack.Interface:
    left, _right = pystack.nic.wire()
    return net.attach(left, "10.0.0.1/24", "fd00::1/64", mac="02:00:00:00:00:01")


@pytest.mark.parametrize("wrong", ["0.0.0.0/24", "224.0.0.5/24", "::/64", "ff02::5/64"])
def test_no_host_has_such_an_address(eth: pystack.Interface, wrong: str) -> None:
    with fails_with(errno.EINVAL):
        eth.addresses.add(wrong)


def test_addresses_are_refused_and_removed(eth: pystack.Interface) -> None:
    for own in ("10.0.0.1/24", "fd00::1/64"):
        with fails_with(errno.EEXIST):
            eth.addresses.add(own)
        eth.addresses.remove(own.partition("/")[0])
        with fails_with(errno.EADDRNOTAVAIL):
            eth.addresses.remove(own.partition("/")[0])


def test_neighbours(net: pystack.Stack, eth: pystack.Interface) -> None:
    for wrong in ("0.0.0.0", "224.0.0.1", "ff02::1"):
        with fails_with(errno.EINVAL):
            net.neighbours.add(wrong, "02:00:00:00:00:09", eth)
    near, _far = pystack.nic.wire(layer=Layer.IP)
    tun = net.attach(near, "10.9.0.1/24")
    with fails_with(errno.EOPNOTSUPP):
        net.neighbours.add("10.9.0.2", "02:00:00:00:00:09", tun)
    many = [f"10.0.0.{host}" for host in range(2, 255)] + [f"fd00::{n:x}" for n in range(2, 400)]
    for one in many:
        net.neighbours.add(one, "02:00:00:00:00:09", eth)
    assert sorted(str(one.address) for one in net.neighbours) == sorted(many)
    net.neighbours.flush()
    assert len(net.neighbours) == len(many)
    net.neighbours.flush(permanent=True)
    assert list(net.neighbours) == []
    with fails_with(errno.ESRCH):
        net.neighbours.delete("10.0.0.2", eth)


def test_routes(net: pystack.Stack, eth: pystack.Interface) -> None:
    for network, gateway, wanted in (
        ("192.0.2.0/24", None, errno.ENODEV),
        ("192.0.2.0/24", "172.16.0.1", errno.ENETUNREACH),
        ("fd05::/64", "fd77::1", errno.ENETUNREACH),
        ("fd05::/64", "fe80::2", errno.ENETUNREACH),
        ("192.0.2.0/24", "fd00::2", errno.EINVAL),
    ):
        with fails_with(wanted):
            net.routes.add(network, gateway=gateway)
    for network, gateway in (("192.0.2.0/24", "10.0.0.2"), ("fd05::/64", "fd00::2")):
        net.routes.add(network, gateway=gateway)
        with fails_with(errno.EEXIST):
            net.routes.add(network, gateway=gateway)
        inside = str(next(ipaddress.ip_network(network).hosts()))
        found = net.routes.lookup(inside)
        assert (str(found.destination), str(found.gateway)) == (network, gateway)
        assert found.interface == eth.index
        net.routes.delete(network)
        with fails_with(errno.ESRCH):
            net.routes.delete(network)
        with fails_with(errno.ENETUNREACH):
            net.routes.lookup(inside)
    assert str(net.routes.lookup("10.0.0.1").source) == "10.0.0.1"
    assert net.routes.lookup("127.0.0.1").interface == net.loopback.index


def test_a_thousand_routes_are_listed_at_once(net: pystack.Stack, eth: pystack.Interface) -> None:
    wanted = {f"172.16.{n // 256}.{n % 256}/32" for n in range(1000)}
    for each in wanted:
        net.routes.add(each, interface=eth)
    found = [str(one.destination) for one in net.routes]
    assert wanted <= set(found)
    assert len(found) == len(set(found) | {"fe80::/64"})


def test_the_loopback_stays(net: pystack.Stack) -> None:
    with fails_with(errno.EPERM):
        net.loopback.detach()
    with fails_with(errno.EOPNOTSUPP):
        net.loopback.mac = "02:00:00:00:00:01"


def test_a_percent_sign_is_no_number(net: pystack.Stack) -> None:
    left, _right = pystack.nic.wire()
    with fails_with(errno.EINVAL):
        net.attach(left, name="eth%d")


def test_routers_are_solicited_when_slaac_comes_late(engine: str) -> None:
    with link(engine=engine) as it:
        eth, net = it.interface, it.net
        assert it.router_solicitations == 0
        before = [one for one in eth.addresses if one.ip.is_link_local]
        eth.slaac()
        it.sent()
        assert it.router_solicitations == 1
        assert [one for one in eth.addresses if one.ip.is_link_local] == before
        it.run(20)
        it.sent()
        assert it.router_solicitations >= 2
        it.advertise(prefix("2001:db8::", autonomous=1))
        it.run(3)
        assert "2001:db8::ff:fe00:2/64" in {str(one.address) for one in eth.addresses}
        assert str(net.routes.lookup("2001:db8:1::1").gateway) == ROUTER
        eth.slaac(False)
        assert [str(one.address.ip) for one in eth.addresses] == ["fe80::ff:fe00:2"]
        assert {str(one.destination) for one in net.routes} == {"fe80::/64"}
