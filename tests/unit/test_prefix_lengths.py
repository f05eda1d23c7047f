"""Where an IPv6 packet goes first, by the prefixes of addresses and routes; beside the kernel's."""

from __future__ import annotations

import errno
import socket
import subprocess
from collections.abc import Iterator

import pytest
from link import ROUTER, ROUTER_MAC, Link, link, prefix
from namespace import Namespace, namespace, needs_namespace
from scapy.all import UDP, ICMPv6ND_NS

import pystack

HERE = "fd00:0:0:5::1"
# What shares ever fewer bits with it.
PLACES = (
    "fd00:0:0:5::",
    "fd00:0:0:5::9",
    "fd00:0:0:5::1:0:9",
    "fd00:0:0:5:8000::9",
    "fd00:0:0:4::9",
    "fd00:0:1:5::9",
    "fc00::9",
    "2001:db8::9",
)
NOWHERE = "nowhere"


def shared(one: str, other: str) -> int:
    """How many bits two addresses begin with in common."""
    left, right = (
        int.from_bytes(socket.inet_pton(socket.AF_INET6, name), "big") for name in (one, other)
    )
    return 128 - (left ^ right).bit_length()


def first_hop(it: Link, destination: str) -> str:
    """Whom a datagram is sent to, or whose MAC the Stack asks for, for it to get there."""
    it.sent()
    with it.net.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        try:
            sock.sendto(b"x", (destination, 9))
        except OSError as error:
            assert error.errno == errno.ENETUNREACH
            return NOWHERE
    sent = it.sent()
    asked = {frame[ICMPv6ND_NS].tgt for frame in sent if ICMPv6ND_NS in frame}
    asked |= {ROUTER for frame in sent if UDP in frame and frame.dst == ROUTER_MAC}
    it.run(5, step=0.5)  # nobody answers, and the entries are free again
    assert len(asked) == 1, (destination, asked)
    target = str(asked.pop())
    return destination if shared(target, destination) == 128 else target


@pytest.fixture
def kernel() -> Iterator[Namespace]:
    """A namespace with one device."""
    with namespace() as space:
        space.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far")
        space.run("ip", "link", "set", "far", "up")
        space.device("eth0")
        yield space


def kernels_hop(space: Namespace, destination: str) -> str:
    """The kernel's next hop to a destination."""
    try:
        words = space.run("ip", "-6", "route", "get", destination).stdout.split()
    except subprocess.CalledProcessError as error:
        assert "unreachable" in error.stderr
        return NOWHERE
    return words[words.index("via") + 1] if "via" in words else destination


@pytest.mark.parametrize("length", [1, 48, 63, 64, 65, 96, 127, 128])
def test_what_is_on_the_link(length: int) -> None:
    near = {place for place in PLACES if shared(HERE, place) >= length}
    with link(f"{HERE}/{length}") as it:
        assert f"{HERE}/{length}" in [str(each.address) for each in it.interface.addresses]
        for place in PLACES:
            assert first_hop(it, place) == (place if place in near else NOWHERE)
        it.advertise()
        for place in PLACES:
            assert first_hop(it, place) == (place if place in near else ROUTER)


def test_a_length_goes_with_its_address() -> None:
    with link(f"{HERE}/96") as it:
        it.interface.addresses.remove(HERE)
        assert first_hop(it, "fd00:0:0:5::9") == NOWHERE
        it.interface.addresses.add(f"{HERE}/128")
        assert first_hop(it, "fd00:0:0:5::9") == NOWHERE
        it.interface.addresses.remove(HERE)
        it.interface.addresses.add(f"{HERE}/64")
        assert first_hop(it, "fd00:0:0:5:8000::9") == "fd00:0:0:5:8000::9"


def test_the_longest_prefix_decides() -> None:
    with link(f"{HERE}/64") as it:
        it.advertise(prefix("2001:db8::"))
        for network in "fd00:0:0:5:1::/80", "fd00::/48", "2001:db8:0:0:1::/80", "2001:db8::/32":
            it.net.routes.add(network, gateway="fe80::7", interface=it.interface)
        assert first_hop(it, "fd00:0:0:5:1::9") == "fe80::7"
        assert first_hop(it, "fd00:0:0:5:2::9") == "fd00:0:0:5:2::9"
        assert first_hop(it, "fd00:0:0:6::9") == "fe80::7"
        assert first_hop(it, "2001:db8::1:0:0:9") == "fe80::7"
        assert first_hop(it, "2001:db8::2:0:0:9") == "2001:db8::2:0:0:9"
        assert first_hop(it, "2001:db8:1::9") == "fe80::7"


@needs_namespace
@pytest.mark.parametrize("length", [1, 48, 64, 65, 96, 127, 128])
@pytest.mark.parametrize("route", [None, "fd00::/40", "fd00:0:0:5::/112"])
def test_as_the_kernel_chooses(kernel: Namespace, length: int, route: str | None) -> None:
    kernel.device("eth0", f"{HERE}/{length}")
    with link(f"{HERE}/{length}") as it:
        if route is not None:
            kernel.run("ip", "-6", "route", "add", route, "via", ROUTER, "dev", "eth0")
            it.net.routes.add(route, gateway=ROUTER, interface=it.interface)
        ours = {place: first_hop(it, place) for place in PLACES}
    assert ours == {place: kernels_hop(kernel, place) for place in PLACES}


def test_a_source_shares_no_more_than_its_prefix() -> None:
    """RFC 6724 2.2: bits beyond the prefix are no reason to choose an address."""
    with link("fd00::1:0:0:1/48") as it:
        it.interface.addresses.add("fd00:0:0:1::1/64")
        it.run(3)
        with it.net.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.connect(("fd00:0:0:1::9", 9))
            assert sock.getsockname()[0] == "fd00:0:0:1::1"


@pytest.mark.parametrize("layer", [pystack.nic.Layer.ETHERNET, pystack.nic.Layer.IP])
def test_two_hosts_on_a_link_of_31_bits(layer: pystack.nic.Layer) -> None:
    """RFC 3021: neither address is the network's or a broadcast."""
    near, far = pystack.nic.wire(layer=layer)
    with pystack.Stack() as lower, pystack.Stack() as upper:
        lower.attach(near, "192.0.2.4/31")
        upper.attach(far, "192.0.2.5/31")
        for server, client, address in (
            (upper, lower, "192.0.2.5"),
            (lower, upper, "192.0.2.4"),
        ):
            with server.sockets.create_server((address, 80)) as listener:
                listener.settimeout(30)
                with client.sockets.create_connection((address, 80), timeout=5):
                    listener.accept()[0].close()
            with (
                server.socket(socket.AF_INET, socket.SOCK_DGRAM) as there,
                client.socket(socket.AF_INET, socket.SOCK_DGRAM) as here,
            ):
                there.bind((address, 9))
                there.settimeout(30)
                here.sendto(b"hello", (address, 9))
                assert there.recv(9) == b"hello"


@pytest.mark.parametrize("layer", [pystack.nic.Layer.ETHERNET, pystack.nic.Layer.IP])
def test_the_last_address_of_a_subnet_is_its_broadcast(layer: pystack.nic.Layer) -> None:
    """As on Linux: on a TUN, too."""
    near, far = pystack.nic.wire(layer=layer)
    with pystack.Stack() as net, pystack.Stack() as other:
        interface = net.attach(near, "192.0.2.1/28")
        flag = pystack.interface.InterfaceFlag.BROADCAST  # the link's, not the subnet's
        assert (flag in interface.flags) == (layer is pystack.nic.Layer.ETHERNET)
        other.attach(far, "192.0.2.2/28")
        with (
            net.socket(type=socket.SOCK_DGRAM) as sock,
            other.socket(type=socket.SOCK_DGRAM) as ear,
            net.socket() as stream,
        ):
            ear.bind(("", 9))
            ear.settimeout(30)
            for call in (sock.connect, lambda to: sock.sendto(b"x", to)):
                with pytest.raises(PermissionError):
                    call(("192.0.2.15", 9))
            with pytest.raises(OSError, match="unreachable"):
                stream.connect(("192.0.2.15", 9))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.sendto(b"to all", ("192.0.2.15", 9))
            assert ear.recvfrom(9) == (b"to all", ("192.0.2.1", sock.getsockname()[1]))
