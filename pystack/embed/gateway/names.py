"""DNS names, and the machine's resolvers (resolv.conf(5))."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from pystack.serving.dns_message import wire_name

__all__ = ["RESOLV_CONF", "Resolvers", "checked_search", "resolvers_of"]

RESOLV_CONF = Path("/etc/resolv.conf")
_MOST_SERVERS = 3  # as the C library (MAXNS)
_LONGEST_FILE = 1 << 16
# All search domains, as they stand in a message: room in one advertisement of a link of 1280 bytes,
# beside the rest.
_MOST_SEARCH_BYTES = 1024
_LOOPBACK = IPv4Address("127.0.0.1")  # the resolver of a machine that names none


def checked_search(names: Iterable[str]) -> tuple[str, ...]:
    """The domains in which guests look names up, if they can be told of them.

    Raises:
        ValueError: One is no name; or together they have too many bytes.
    """
    found, size = tuple(names), 0
    for number, name in enumerate(found):
        size += len(wire_name(name))
        if size > _MOST_SEARCH_BYTES:
            raise ValueError(
                f"the search domain {name!r} is one too many: there is room for "
                f"{_MOST_SEARCH_BYTES} bytes of names, which the first {number} fill"
            )
    return found


@dataclass(frozen=True)
class Resolvers:
    """What resolv.conf(5) says.

    Attributes:
        servers: The name servers, as the kernel's sockets take their addresses.
        search: The domains in which names are looked up.
    """

    servers: tuple[str, ...]
    search: tuple[str, ...]


def _server(text: str) -> str | None:
    address, _, scope = text.partition("%")
    try:
        one: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return None
    return f"{one}%{scope}" if scope else str(one)


def resolvers_of(path: Path = RESOLV_CONF) -> Resolvers:
    """Reads the file; one that isn't there names nobody, and the machine itself is asked."""
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST_FILE).decode("utf-8", "replace")
    except OSError:
        text = ""
    servers: list[str] = []
    search: list[str] = []
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            server = _server(words[1])
            servers += [server] if server is not None else []
        elif words[0] in ("search", "domain"):
            search = words[1:]
    return Resolvers(tuple(servers[:_MOST_SERVERS]) or (str(_LOOPBACK),), _fitting(search))


def _fitting(names: Iterable[str]) -> tuple[str, ...]:
    """Those that are names, as far as there is room for them."""
    found, size = list[str](), 0
    for name in names:
        try:
            size += len(wire_name(name))
        except ValueError:
            continue
        if size > _MOST_SEARCH_BYTES:
            break
        found.append(name)
    return tuple(found)
