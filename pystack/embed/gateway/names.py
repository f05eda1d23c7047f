"""DNS names, and the machine's resolvers (resolv.conf(5))."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

__all__ = ["RESOLV_CONF", "Resolvers", "resolvers_of", "wire_name"]

RESOLV_CONF = Path("/etc/resolv.conf")
_MOST_SERVERS = 3  # as the C library (MAXNS)
_LONGEST_FILE = 1 << 16
_LOOPBACK = IPv4Address("127.0.0.1")  # the resolver of a machine that names none


def wire_name(name: str) -> bytes:
    """A name as it stands in a message (RFC 1035 3.1), uncompressed, in lower case.

    Raises:
        ValueError: It is none: a label or the whole is empty or too long.
    """
    try:
        labels = name.rstrip(".").lower().encode("idna").split(b".")
    except UnicodeError as error:
        raise ValueError(f"{name!r} is no name of a host: {error}") from None
    wire = b"".join(bytes((len(one),)) + one for one in labels) + b"\0"
    if not all(labels) or len(wire) > 255:
        raise ValueError(f"{name!r} is no name of a host: it is empty, or too long")
    return wire


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
            search = [one for one in words[1:] if _is_name(one)]
    return Resolvers(tuple(servers[:_MOST_SERVERS]) or (str(_LOOPBACK),), tuple(search))


def _is_name(text: str) -> bool:
    try:
        wire_name(text)
    except ValueError:
        return False
    return True
