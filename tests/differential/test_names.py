"""getaddrinfo and its kin: numeric addresses, ports, services and flags, in every combination."""

from __future__ import annotations

import socket
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from differential import Place, compare, differential

INET, INET6 = socket.AF_INET, socket.AF_INET6
HOSTS = (
    None, "127.0.0.1", b"127.0.0.1", "127.1", "0x7f000001", "::1", "::ffff:1.2.3.4", "fe80::1",
    "0:0:0:0:0:0:0:1", "*", "", "1.2.3.4.5", "::g", "a b", "-",
    "a..b", "a%b", "a" * 64, "[::1]", "1.2.3.4 ", "256.1.1.1", "\uff41.\uff42\uff0e",
)  # fmt: skip
PORTS = (
    None, 80, 0, "*", 65535, 65536, -1, "80", "http", b"http", "no such service", "", " 80", "80 ",
    "+80", "-1", "0x50", "domain", "tftp", "99999",
)  # fmt: skip
FAMILIES = (0, INET, INET6, 1, 99)
KINDS = ((0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (1, 6), (1, 17), (2, 17), (0, 6), (3, 6), (0, 99))
FLAGS = {
    "PASSIVE": socket.AI_PASSIVE,
    "NUMERICHOST": socket.AI_NUMERICHOST,
    "NUMERICSERV": socket.AI_NUMERICSERV,
    "CANONNAME": socket.AI_CANONNAME | socket.AI_NUMERICHOST,
    "V4MAPPED": socket.AI_V4MAPPED | socket.AI_NUMERICHOST,
    "ALL": socket.AI_ALL | socket.AI_V4MAPPED | socket.AI_NUMERICHOST,
    "unknown": 1 << 14,
}


def all_of(asked: Callable[..., Any], *choices: Any) -> Any:
    """What each combination comes to."""

    def outcome(arguments: tuple[Any, ...]) -> Any:
        try:
            return asked(*arguments)
        except OSError as error:
            return type(error).__name__, error.errno
        except (TypeError, ValueError, OverflowError) as error:
            return type(error).__name__

    return {repr(arguments): outcome(arguments) for arguments in product(*choices)}


@differential
def wildcards_in_order(p: Place) -> Any:
    """What a server binds that takes the first, as the library's `http.server`."""
    return [
        p.module.getaddrinfo(None, 80, type=socket.SOCK_STREAM, flags=flags)
        for flags in (0, socket.AI_PASSIVE)
    ]


def listing(found: Any) -> Any:
    """The order of the families is the machine's to say (gai.conf, and which routes there are)."""
    return sorted(found, key=lambda one: (one[0], one[1], one[2], str(one[4])))


@pytest.mark.parametrize("host", HOSTS, ids=repr)
def test_a_host(host: Any) -> None:
    compare(
        f"host {host!r}",
        lambda p: all_of(
            lambda port, family: listing(p.module.getaddrinfo(host, port, family, 1)),
            (80, "http", None), FAMILIES,
        ),
    )  # fmt: skip


@pytest.mark.parametrize("port", PORTS, ids=repr)
def test_a_port(port: Any) -> None:
    compare(
        f"port {port!r}",
        lambda p: all_of(
            lambda host, kind: listing(p.module.getaddrinfo(host, port, 0, *kind)),
            ("127.0.0.1", "::1", None), KINDS,
        ),
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_kind(kind: tuple[int, int]) -> None:
    compare(
        f"kind {kind}",
        lambda p: all_of(
            lambda host, port: listing(p.module.getaddrinfo(host, port, 0, *kind)),
            ("127.0.0.1", None), (80, None, "http", "domain", "tftp", "ssh"),
        ),
    )  # fmt: skip


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag(name: str) -> None:
    compare(
        f"flag {name}",
        lambda p: all_of(
            lambda host, port, family: listing(
                p.module.getaddrinfo(host, port, family, 1, 0, FLAGS[name])
            ),
            HOSTS, (80, "http", None, "80"), (0, INET, INET6),
        ),
    )  # fmt: skip


NAMED = (
    ("127.0.0.1", 80), ("127.0.0.1", 99), ("::1", 80), ("::1", 80, 0, 0), ("127.0.0.1", 80, 0, 0),
    ("127.0.0.1", 70000), ("::ffff:127.0.0.1", 53), ("127.1", 80), ("no.such", 80), ("", 80),
    (b"127.0.0.1", 80), ("127.0.0.1", 0), ("::", 0), ("0.0.0.0", 0), ("fe80::1", 80, 0, 99),
    ("::1", 80, 0xFFFFF, 0), ("2001:DB8::A", 443), ("127.0.0.1", 69), ("localhost", 80),
)  # fmt: skip


@pytest.mark.parametrize("address", NAMED, ids=str)
def test_a_name(address: Any) -> None:
    numeric = socket.NI_NUMERICHOST
    compare(
        f"name {address}",
        lambda p: all_of(
            lambda flags: p.module.getnameinfo(address, flags),
            (numeric, numeric | socket.NI_NUMERICSERV, numeric | socket.NI_DGRAM,
             numeric | socket.NI_NAMEREQD, numeric | 1 << 20),
        ),
    )  # fmt: skip


@differential
def localhost_has_a_name(p: Place) -> Any:
    return p.module.getnameinfo(("127.0.0.1", 80), 0), p.module.getnameinfo(("127.0.0.1", 80), 8)


@differential
def hosts_by_their_names(p: Place) -> Any:
    return all_of(
        p.module.gethostbyname,
        ("localhost", "127.0.0.1", "0", "", "<broadcast>", "127.1", "a b", "::1"),
    )


@differential
def hosts_by_their_names_and_more(p: Place) -> Any:
    return all_of(p.module.gethostbyname_ex, ("127.0.0.1", "127.1", "a b", "localhost"))


@differential
def hosts_by_their_addresses(p: Place) -> Any:
    return all_of(lambda host: p.module.gethostbyaddr(host)[2], ("127.0.0.1", "a b", "-"))


@differential
def texts_of_addresses(p: Place) -> Any:
    texts = ("1.2.3.4", "1.2.3", "1.2.3.4.5", "256.0.0.1", "", "::", "::1", "1::", "1:2", "::1%lo",
             "::ffff:1.2.3.4", "1.2.3.4\0", "\uff10.0.0.0", b"1.2.3.4", None)  # fmt: skip
    return (
        all_of(p.module.inet_aton, texts),
        all_of(p.module.inet_pton, (INET, INET6, 1, 99), texts),
    )


@differential
def addresses_of_texts(p: Place) -> Any:
    packed = (b"", b"\1\2\3", b"\1\2\3\4", bytearray(4), memoryview(bytes(16)), bytes(17), "text")
    return (
        all_of(p.module.inet_ntoa, packed),
        all_of(p.module.inet_ntop, (INET, INET6, 1, 99), packed),
    )


@differential
def orders_of_bytes(p: Place) -> Any:
    numbers = (0, 1, 0xFFFF, 0x10000, 0xFFFFFFFF, 1 << 32, -1, 1.5, "1")
    return [
        all_of(getattr(p.module, name), numbers) for name in ("htons", "htonl", "ntohs", "ntohl")
    ]


@differential
def services_and_protocols(p: Place) -> Any:
    return (
        all_of(p.module.getservbyname, ("http", "domain", "no such", "", 5), ("tcp", "udp", "x")),
        all_of(p.module.getservbyport, (80, 53, 0, 65536, -1, "80"), ("tcp", "udp", "x")),
        all_of(p.module.getprotobyname, ("tcp", "ipv6-icmp", "no such", 5)),
    )


@differential
def interfaces(p: Place) -> Any:
    index = p.module.if_nametoindex("lo")
    return (
        p.module.if_indextoname(index), (index, "lo") in p.module.if_nameindex(),
        p.module.if_nametoindex(b"lo") == index,
    )  # fmt: skip


@differential
def lengths_of_ancillary_data(p: Place) -> Any:
    sizes = (0, 1, 4, 5, 1 << 31, -1)
    return all_of(p.module.CMSG_LEN, sizes), all_of(p.module.CMSG_SPACE, sizes)


@differential
def constants(p: Place) -> Any:
    names = [name for name in dir(socket) if name.isupper()]
    return [(name, int(getattr(p.module, name))) for name in names
            if isinstance(getattr(socket, name), int)]  # fmt: skip


@differential
def exported_names(p: Place) -> Any:
    return [hasattr(p.module, name) for name in socket.__all__]


@differential
def classes_of_errors(p: Place) -> Any:
    names = ("error", "timeout", "gaierror", "herror")
    return [getattr(p.module, name) is getattr(socket, name) for name in names]


@differential
def default_timeout(p: Place) -> Any:
    seen = [p.module.getdefaulttimeout()]
    try:
        for value in (2.5, 0, None):
            p.module.setdefaulttimeout(value)
            seen.append((p.module.getdefaulttimeout(), p.socket().gettimeout()))
    finally:
        p.module.setdefaulttimeout(None)
    return seen
