"""Interfaces, addresses, neighbours, routes, settings, counters."""

from __future__ import annotations

import errno
import ipaddress
import socket
import time

import pytest
from failing import fails_with
from link import ROUTER, link, prefix
from lockstep import PORT, lockstep

import pystack
from pystack.interface import AddressState


@pytest.fixture
def net(engine: str) -> pystack.Stack:
    with pystack.Stack(engine=engine, threaded=False) as it:
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


def test_duplicate_addresses_are_found(engine: str) -> None:
    with lockstep(engines=(engine, engine)) as it:
        eth = it.client.interfaces[1]
        eth.addresses.add("fd00::2/64", detect=True)
        eth.addresses.add("10.0.0.2/24", detect=True)
        eth.addresses.add("fd00::3/64", detect=True)
        eth.addresses.add("10.0.0.3/24", detect=True)

        def states() -> dict[str, AddressState]:
            return {str(one.address.ip): one.state for one in eth.addresses}

        assert states()["fd00::3"] is states()["10.0.0.3"] is AddressState.TENTATIVE
        for held in ("10.0.0.3/24", "10.0.0.2/24", "10.0.0.1/24"):
            with fails_with(errno.EEXIST):
                eth.addresses.add(held, detect=True)
        it.run(seconds=8)  # seven at most, says RFC 5227
        assert states()["fd00::2"] is states()["10.0.0.2"] is AddressState.DUPLICATE
        assert states()["fd00::3"] is states()["10.0.0.3"] is AddressState.PREFERRED
        with it.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            with fails_with(errno.EADDRNOTAVAIL):
                sock.bind(("10.0.0.2", 9))
            sock.bind(("10.0.0.3", 9))
        eth.addresses.remove("10.0.0.2")
        eth.addresses.remove("10.0.0.3")
        assert {"10.0.0.2", "10.0.0.3"} & set(states()) == set()
        with fails_with(errno.EADDRNOTAVAIL):
            eth.addresses.remove("10.0.0.2")
        eth.addresses.add("10.0.0.4/24", detect=True)
        eth.detach()
        it.run(seconds=8)


def test_neighbours(engine: str) -> None:
    with lockstep(engines=(engine, "lwip")) as it:
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
        assert net.sysctl[name] == one.value == one.initial
        assert one.description
        if one.minimum is not None and one.maximum is not None:
            assert isinstance(one.initial, int)
            assert one.minimum <= one.initial <= one.maximum
        if one.read_only:
            with pytest.raises(PermissionError, match="only be read"):
                net.sysctl[name] = one.initial
        elif one.initial != "" or "reserved" in name:  # Linux's stable_secret has no value yet
            net.sysctl[name] = one.initial
            assert net.sysctl[name] == one.initial
    with pytest.raises(ValueError, match="1 to 255"):
        net.sysctl["net.ipv4.ip_default_ttl"] = 0
    for name in (
        "net.ipv4.no_such_thing",
        "net.ipv4",
        "net",
        "",
        "net..ipv4.ip_forward",
        "net.//.x",
    ):
        with pytest.raises(KeyError):
            net.sysctl[name] = 1
        with pytest.raises(KeyError):
            net.sysctl[name]
        assert name not in net.sysctl
    assert net.sysctl["net.ipv4.tcp_syncookies"] == 1
    with net.socket() as sock:
        net.sysctl["net.ipv4.ip_default_ttl"] = 33
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 33
    assert net.sysctl.describe("net.ipv4.ip_default_ttl").initial == 64
    net.sysctl.reset()
    assert net.sysctl["net.ipv4.ip_default_ttl"] == 64


def test_settings_that_are_no_number(net: pystack.Stack) -> None:
    texts = [name for name, value in net.sysctl.items() if isinstance(value, str)]
    if not texts:
        with pytest.raises(TypeError, match="is an int"):
            net.sysctl["net.ipv4.ip_default_ttl"] = "33"
        return
    buffers, ports = "net.ipv4.tcp_rmem", "net.ipv4.ip_local_reserved_ports"
    assert {buffers, ports, "net.ipv4.tcp_congestion_control"} <= set(texts)
    before = net.sysctl[buffers]
    net.sysctl[buffers] = "4096 50000 60000"
    assert net.sysctl[buffers] == "4096\t50000\t60000"
    assert net.sysctl.describe(buffers).initial == before
    with net.socket() as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 50000
    # Longer than what is asked for at first; and one number of a list is a number.
    listed = ",".join(str(port) for port in range(2000, 4000, 2))
    for value in (listed, 8080, "8080,9000-9010", ""):
        net.sysctl[ports] = value
        assert net.sysctl[ports] == value
        assert net.sysctl.describe(ports).initial == ""
    net.sysctl[ports] = "8080"
    assert net.sysctl[ports] == 8080
    with pytest.raises(ValueError, match="none of its values"):
        net.sysctl["net.ipv4.tcp_congestion_control"] = "nonsense"
    net.sysctl["net.ipv4.tcp_congestion_control"] = "reno"
    with net.socket() as sock:
        got = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        assert got.rstrip(b"\0") == b"reno"
    net.sysctl.reset()
    assert net.sysctl[buffers] == before
    assert net.sysctl[ports] == ""


def test_settings_of_an_interface(net: pystack.Stack) -> None:
    own = "net.ipv4.conf.eth0/5.forwarding"
    before = set(net.sysctl)
    eth = net.attach(pystack.nic.wire()[0], name="eth0.5")
    if own not in net.sysctl:
        assert set(net.sysctl) == before
        return
    assert {own, "net.ipv6.conf.eth0/5.hop_limit"} <= set(net.sysctl) - before
    net.sysctl[own] = 1
    assert net.sysctl["net.ipv4.conf.all.forwarding"] == 0
    eth.detach()
    assert set(net.sysctl) == before
    with pytest.raises(KeyError):
        net.sysctl[own] = 0


def await_addresses(net: pystack.Stack) -> None:
    """Waits for DAD: without a link-local address a Linux router sends no solicitations."""
    end = time.monotonic() + 30
    while any(
        one.state is AddressState.TENTATIVE for eth in net.interfaces for one in eth.addresses
    ):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_forwarding(engine: str) -> None:
    a, b = pystack.nic.wire()
    c, d = pystack.nic.wire()
    with (
        pystack.Stack(engine=engine) as left,
        pystack.Stack(engine=engine) as router,
        pystack.Stack() as right,
    ):
        left.attach(a, "10.0.0.1/24", "fd00::1/64", gateway=("10.0.0.254", "fd00::ff"))
        router.attach(b, "10.0.0.254/24", "fd00::ff/64")
        router.attach(c, "10.0.1.254/24", "fd01::ff/64")
        right.attach(d, "10.0.1.1/24", "fd01::1/64", gateway=("10.0.1.254", "fd01::ff"))
        router.sysctl["net.ipv4.ip_forward"] = 1
        router.sysctl["net.ipv6.conf.all.forwarding"] = 1
        for net in (left, router, right):
            await_addresses(net)
        for host in ("10.0.1.1", "fd01::1"):
            result = left.ping(host, timeout=5)
            assert result
            assert result.replies[0].ttl in (63, 254)


def test_connections_and_counters(engine: str) -> None:
    with lockstep(engines=(engine, engine)) as it:
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


def test_connections_of_every_kind(engine: str) -> None:
    with lockstep(engines=(engine, engine)) as it:
        listener = it.listen()
        pairs = []
        for _ in range(2):
            client = it.client.socket()
            client.setblocking(False)
            client.connect_ex(("10.0.0.2", PORT))
            it.run(seconds=1)
            pairs.append((client, listener.accept()[0]))
        (client, server), (ending, other) = pairs
        server.send(b"unread")
        ending.close()
        it.run(seconds=1)
        six = it.client.socket(socket.AF_INET6)
        six.bind(("fd00::1", 81))
        six.listen(7)
        with (
            it.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as four,
            it.client.socket(socket.AF_INET6, socket.SOCK_DGRAM) as datagram,
            it.client.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
            it.client.socket() as unbound,
        ):
            four.bind(("10.0.0.1", 53))
            datagram.connect(("fd00::2", 53))
            found = it.client.connections()
            port = client.getsockname()[1]
            rows = {
                (one.protocol, one.local, one.remote, one.state and one.state.name) for one in found
            }
            assert rows >= {
                ("tcp", ("10.0.0.1", port), ("10.0.0.2", PORT), "ESTABLISHED"),
                ("tcp6", ("fd00::1", 81), ("::", 0), "LISTEN"),
                ("udp", ("10.0.0.1", 53), ("0.0.0.0", 0), None),
                ("udp6", ("fd00::1", datagram.getsockname()[1]), ("fd00::2", 53), None),
                ("raw:1", ("0.0.0.0", 1), ("0.0.0.0", 0), None),
                ("tcp", ("0.0.0.0", 0), ("0.0.0.0", 0), "CLOSED"),
            }
            # Nobody holds it any more, and its peer has not closed.
            assert [one.state.name for one in found if one.remote[1] == PORT and one.state] == [
                "ESTABLISHED", "FIN_WAIT_2",
            ]  # fmt: skip
            by_port = {one.local[1]: one for one in found}
            assert by_port[port].receive_queue == len(b"unread")
            assert by_port[81].send_queue == 7
            assert len(found) == 7
            unbound.close()
            assert len(it.client.connections()) == 6
        for each in (client, server, other, six, listener):
            each.close()


def test_what_a_stack_gives_up_is_reset(engine: str) -> None:
    with lockstep(engines=(engine, "lwip")) as it:
        listener = it.listen()
        client = it.client.socket()
        client.setblocking(False)
        client.connect_ex(("10.0.0.2", PORT))
        it.run(seconds=1)
        server, _peer = listener.accept()
        client.send(b"not acknowledged")
        client.close()  # nobody holds it any more
        it.client.close()
        for _ in range(4):
            it.server.step()
        assert it.server.counters()["tcp.established_resets"] == 1
        assert "CLOSE_WAIT" not in [one.state.name for one in it.server.connections() if one.state]
        for each in (server, listener):
            each.close()


def test_counters_that_all_engines_have(engine: str) -> None:
    with lockstep(engines=(engine, engine)) as it:
        probe = it.client.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sink = it.server.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sink.bind(("10.0.0.2", 53))
        probe.sendto(b"heard", ("10.0.0.2", 53))
        probe.sendto(b"not heard", ("10.0.0.2", 54))
        it.run(seconds=1)
        assert sink.recv(10) == b"heard"  # Linux counts it then
        ours, theirs = it.client.counters(), it.server.counters()
        assert ours["udp.out_datagrams"] == 2
        assert theirs["udp.in_datagrams"] == theirs["udp.no_ports"] == 1
        assert theirs["icmp.out_destination_unreachable"] == 1
        assert ours["icmp.in_destination_unreachable"] == 1
        assert theirs["ip.in_receives"] >= 2  # netstack's are of both families
        common = {
            "ip.in_delivers", "ip.out_requests", "ip.in_header_errors", "ip.in_address_errors",
            "icmp.in_echos", "icmp.out_echo_replies", "tcp.in_segments", "tcp.out_segments",
            "tcp.retransmitted_segments", "tcp.out_resets", "tcp.in_errors",
            "tcp.established_resets", "tcp.attempt_failures", "tcp.in_checksum_errors",
            "tcp.listen_overflows", "tcp.syncookies_sent", "tcp.syncookies_received",
        }  # fmt: skip
        assert common <= set(theirs)
        eth = it.server.interfaces[1].counters()
        assert {"in_octets", "in_errors", "in_discards", "out_discards"} <= set(eth)
        assert eth["in_octets"] >= 2 * 42
        with fails_with(errno.ENODEV):
            list_counters_of_nothing(it.server)
        for each in (probe, sink):
            each.close()


def list_counters_of_nothing(net: pystack.Stack) -> None:
    """Those of an interface that has just gone."""
    eth = net.interfaces[1]
    eth.detach()
    eth.counters()


def test_a_tun_like_wire(net: pystack.Stack) -> None:
    sent: list[bytes] = []
    nic = pystack.nic.PythonNic(sent.append, 1400, layer=pystack.nic.Layer.IP)
    net.attach(nic, "10.0.0.1/24", "fd00::1/64")
    with net.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"out", ("10.0.0.2", 9))
    assert sent[-1][0] == 0x45
    assert sent[-1][-3:] == b"out"
    nic.close()


def test_routers_configure_an_interface(engine: str) -> None:
    with link(engine=engine) as it:
        eth, net = it.interface, it.net
        assert it.router_solicitations == 0
        eth.slaac()
        it.run(8)
        it.sent()
        assert it.router_solicitations > 0
        it.advertise(prefix("2001:db8::", autonomous=1))
        it.run(3)
        assert "2001:db8::ff:fe00:2/64" in {str(one.address) for one in eth.addresses}
        assert str(net.routes.lookup("2001:db8:1::1").gateway) == ROUTER
        eth.slaac(False)
        assert [str(one.address.ip) for one in eth.addresses] == ["fe80::ff:fe00:2"]
        assert [one for one in net.routes if one.gateway] == []
