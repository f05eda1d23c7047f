"""Addresses that stand as they are: what is kept of them is what would be found anew."""

from __future__ import annotations

import itertools
import socket
from typing import Any

import pytest

import pystack

HOSTS = ("192.0.2.1", "127.0.0.1", "0.0.0.0", "127.1", "::1", "2001:DB8:0::1", "fe80::1",
         "::ffff:1.2.3.4", None, "")  # fmt: skip
PORTS = (None, 0, 80, 65535, "80", "domain", "http", "no-such-service")
FAMILIES = (0, socket.AF_INET, socket.AF_INET6)
KINDS = (0, socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW)
PROTOCOLS = (0, socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_ICMP)


def outcome(module: Any, *question: Any) -> Any:
    """What getaddrinfo says: a list, or the error."""
    try:
        return sorted(module.getaddrinfo(*question))
    except OSError as error:
        return type(error), error.errno


@pytest.mark.parametrize("host", HOSTS)
def test_getaddrinfo_says_what_the_kernels_does(host: str | None) -> None:
    with pystack.Stack() as net:
        for rest in itertools.product(PORTS, FAMILIES, KINDS, PROTOCOLS):
            expected = outcome(socket, host, *rest)
            for _ in range(2):  # found, and kept
                assert outcome(net.sockets, host, *rest) == expected, rest


@pytest.mark.parametrize(
    "host", ["256.0.0.1", "1.2.3.4.5", "192.0.2.1 ", "127.1 and more", ":", "::1%", "a" * 46]
)
def test_what_is_no_address(host: str) -> None:
    with pystack.Stack() as net:
        for module in (socket, net.sockets):
            for family, kind in itertools.product(FAMILIES, KINDS):
                with pytest.raises(socket.gaierror):
                    module.getaddrinfo(host, None, family, kind, 0, socket.AI_NUMERICHOST)
        with pytest.raises(socket.gaierror):
            net.sockets.getaddrinfo(host, 80, 0, socket.SOCK_STREAM)


def test_the_port_is_an_int_whatever_was_given() -> None:
    class Port(int):
        pass

    with pystack.Stack() as net:
        for port in (True, Port(1), 1):
            found = net.sockets.getaddrinfo("192.0.2.99", port, 0, socket.SOCK_STREAM)
            assert type(found[0][4][1]) is int
        assert isinstance(found[0][0], socket.AddressFamily)
        assert isinstance(found[0][1], socket.SocketKind)


def test_what_is_kept_of_an_address_is_of_its_family_and_port() -> None:
    with pystack.Stack() as net:
        net.attach(pystack.nic.wire()[0], "192.0.2.1/24", "2001:db8::1/64")
        for _ in range(2):
            for port in (5000, 5001):
                with net.socket(socket.AF_INET, socket.SOCK_DGRAM) as four:
                    four.bind(("192.0.2.1", port))
                    assert four.getsockname() == ("192.0.2.1", port)
                with net.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six:
                    six.bind(("2001:db8::1", port))
                    assert six.getsockname() == ("2001:db8::1", port, 0, 0)
            with net.socket(socket.AF_INET, socket.SOCK_DGRAM) as four:
                with pytest.raises(OSError, match="family"):
                    four.bind(("2001:db8::1", 5000))
                with pytest.raises(OverflowError):
                    four.bind(("192.0.2.1", 65536))
                with pytest.raises(TypeError):
                    four.bind(("192.0.2.1", 5000.0))


def test_a_datagram_after_another_is_looked_at_as_closely() -> None:
    with pystack.Stack() as net, net.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 5000))
        for _ in range(3):
            sock.sendto(b"x", ("127.0.0.1", 5000))
            with pytest.raises(TypeError):
                sock.sendto(b"x", ("127.0.0.1", 5000.0))
        assert [sock.recv(1) for _ in range(3)] == [b"x"] * 3


def test_a_name_that_begins_as_an_address_is_asked_for_each_time(tmp_path: Any) -> None:
    hosts = tmp_path / "hosts"
    with pystack.Stack() as net:
        net.attach(pystack.nic.wire()[0], "192.0.2.1/24")
        net.sockets.hosts = hosts
        with net.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            for address in ("192.0.2.1", "127.0.0.1"):
                hosts.write_text(f"{address} 1st.example\n")
                with net.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                    other.bind(("1st.example", 0))
                    assert other.getsockname()[0] == address
                    one.sendto(b"x", ("1st.example", other.getsockname()[1]))
                    other.settimeout(30)
                    assert other.recv(1) == b"x"
