"""`getaddrinfo` and its kin, by a Stack's own resolver and the hosts file."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from pystack._native import StackHandle, ffi, lib
from pystack.sockets.address import LONGEST_LITERAL, SocketAddress, host_to_packed
from pystack.sockets.arguments import to_host, to_int, to_size
from pystack.sockets.preference import preferred

Text: TypeAlias = "str | bytes | None"
AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, SocketAddress]

_KINDS = (
    (socket.SOCK_STREAM, int(socket.IPPROTO_TCP), "tcp"),
    (socket.SOCK_DGRAM, int(socket.IPPROTO_UDP), "udp"),
    (socket.SOCK_RAW, 0, ""),
)
_FLAGS = 0x7FF  # AI_* of getaddrinfo(3)
_NAME_FLAGS = 0xFF  # NI_* of getnameinfo(3)
_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")  # of a host
_FAMILIES = (socket.AF_INET6, socket.AF_INET)
_MAPPED = bytes(10) + b"\xff\xff"  # before an IPv4 address, RFC 4291 2.5.5.2

# What a lookup of the Stack is: a name and a family (0: both) to addresses as text.
Lookup = Callable[[str, int], list[str]]
# An address to its name, or None; raises `socket.gaierror` when no server could be asked.
Reverse = Callable[[str], "str | None"]


class HostsFile(Protocol):
    """A hosts file (hosts(5)): a `Path`, or what reads like one."""

    def read_text(self, encoding: str, errors: str, /) -> str:
        """All of it; FileNotFoundError: there is none."""
        ...


def hosts_file() -> Path:
    """Where this system keeps its hosts file (hosts(5))."""
    if sys.platform == "win32":
        return Path(os.environ["SYSTEMROOT"]) / "System32" / "drivers" / "etc" / "hosts"
    return Path("/etc/hosts")


def _numeric(host: str, family: int) -> list[tuple[socket.AddressFamily, str]]:
    """The address that a text is, in a family (0: either); none: the text is a name.

    Raises:
        socket.gaierror: EAI_ADDRFAMILY, it is of the other family.
    """
    found, packed = _packed(host)
    if found is None:
        return []
    if found == socket.AF_INET:
        host = socket.inet_ntoa(packed)  # "127.1" was one, too
    elif family == socket.AF_INET and packed[:12] == _MAPPED:
        found, host = socket.AF_INET, socket.inet_ntoa(packed[12:])
    if family not in (0, found):
        raise socket.gaierror(socket.EAI_ADDRFAMILY, "Address family for hostname not supported")
    return [(found, host)]


def _number_of(service: str) -> int | None:
    """The port that a service's text is, as the C library reads it; None: the text is a name."""
    match = re.fullmatch(r"[ \t\n\v\f\r]*([+-]?)([0-9]+)", service)
    if match is None:
        return None
    most = (1 << 64) - 1
    number = min(int(match[2]), most)
    if match[1] == "-" and number < most:
        number = -number
    # An int in C: below 0 it doesn't count as a number.
    return None if number & 1 << 31 else number & 0xFFFF


def _packed(host: str) -> tuple[socket.AddressFamily | None, bytes]:
    with suppress(OSError, UnicodeEncodeError, ValueError):
        return socket.AF_INET6, socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    if any(map(str.isspace, host)):  # inet_aton does not look beyond a space
        return None, b""
    with suppress(OSError, UnicodeEncodeError, ValueError):
        return socket.AF_INET, socket.inet_aton(host)
    return None, b""


@lru_cache(maxsize=256)
def _of_literal(host: str, port: int, family: int, kind: int, proto: int) -> AddressInfo | None:
    """The one thing to say of an address without a zone; None: there is more to say, or to ask."""
    found = socket.AF_INET6 if ":" in host else socket.AF_INET
    protocol = next((number for one, number, name in _KINDS if one == kind and name), None)
    if family not in (0, found) or protocol is None or proto not in (0, protocol):
        return None
    if not 0 <= port <= 0xFFFF:
        return None
    try:
        text = socket.inet_ntop(found, socket.inet_pton(found, host))
    except (OSError, UnicodeEncodeError, ValueError):
        return None
    where = (text, int(port)) if found == socket.AF_INET else (text, int(port), 0, 0)
    return found, socket.SocketKind(kind), protocol, "", where


def _kinds(wanted: int, proto: int, has_port: bool) -> list[tuple[socket.SocketKind, int, str]]:
    """Which rows of `_KINDS` a type and a protocol (0: any) stand for.

    Raises:
        socket.gaierror: None.
    """
    # Raw sockets take any protocol, and have no ports: with one, they are named only for
    # completeness (as the GNU C library does).
    if has_port:
        raw = wanted == proto == 0
    else:
        raw = wanted == socket.SOCK_RAW or proto not in (socket.IPPROTO_TCP, socket.IPPROTO_UDP)
    found = [
        entry
        for entry in _KINDS
        if wanted in (0, entry[0]) and (proto in (0, entry[1]) if entry[2] else raw)
    ]
    if not found and wanted in (0, socket.SOCK_RAW):
        raise socket.gaierror(socket.EAI_SERVICE, "Servname not supported for ai_socktype")
    if not found:
        raise socket.gaierror(socket.EAI_SOCKTYPE, "ai_socktype not supported")
    return found


class Resolver:
    """Names for the sockets of one Stack.

    Args:
        handle: The Stack.
        lookup: Asks the Stack's name servers for addresses.
        reverse: Asks them for names.
        hosts: The hosts file, read at each question; None: none.
    """

    def __init__(
        self, handle: StackHandle, lookup: Lookup, reverse: Reverse, hosts: HostsFile | None
    ) -> None:
        self._handle = handle
        self._lookup = lookup
        self._reverse = reverse
        self.hosts = hosts

    def _from_hosts(self, name: str, family: int) -> list[tuple[socket.AddressFamily, str]]:
        wanted = name.removesuffix(".").lower()
        if wanted == "localhost" or wanted.endswith(".localhost"):  # RFC 6761 6.3
            both = [(socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1")]
            return [entry for entry in both if family in (0, entry[0])]
        found: list[tuple[socket.AddressFamily, str]] = []
        for address, names in self._hosts():
            if wanted in (name.lower() for name in names):
                try:
                    found.extend(_numeric(address, family))
                except socket.gaierror:
                    continue  # of the other family
        return found

    def addresses(self, name: str, family: int = 0) -> list[tuple[socket.AddressFamily, str]]:
        """The addresses of a name: as they stand, from the hosts file, from the name servers.

        Raises:
            socket.gaierror: There are none.
        """
        found = _numeric(name, family) or self._from_hosts(name, family)
        if found:
            return found
        # The C library makes no query for an invalid host name, or one that looks like an address.
        looks_like_address = family == socket.AF_INET and not name.strip("0123456789.")
        if not _NAME.fullmatch(name) or (looks_like_address and name[-1:] != "."):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6 if ":" in text else socket.AF_INET, text)
            for text in self._lookup(name, family)
        ]

    def one(self, name: str, family: int) -> str:
        """The first address of a name in a family."""
        return self.addresses(name, family)[0][1]

    def getaddrinfo(
        self, host: Text, port: Text | int, family: int, type: int, proto: int, flags: int
    ) -> list[AddressInfo]:
        """As `socket.getaddrinfo`, see getaddrinfo(3)."""
        family, wanted, proto, flags = map(to_int, (family, type, proto, flags))
        if host is not None and not isinstance(host, (str, bytes, bytearray)):
            raise TypeError("getaddrinfo() argument 1 must be string or None")
        if port is not None and not isinstance(port, (str, bytes, bytearray, int)):
            raise OSError("Int or String expected")
        short = isinstance(host, str) and len(host) <= LONGEST_LITERAL
        if short and isinstance(port, int) and not flags:
            plain = _of_literal(host, port, family, wanted, proto)
            if plain is not None:
                return [plain]
        if isinstance(host, (bytes, bytearray)):
            host = host.decode("ascii")
        elif host is not None:
            host = host.encode("idna").decode()
        if isinstance(port, (bytes, bytearray)):
            port = port.decode("ascii")
        host = None if host == "*" else host
        port = None if port == "*" else port
        if host is None and port is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        port = port if port != "" else None  # it is no service, though it is given
        if flags & ~_FLAGS or (host is None and flags & socket.AI_CANONNAME):
            raise socket.gaierror(socket.EAI_BADFLAGS, "Bad value for ai_flags")
        if isinstance(port, str) and flags & socket.AI_NUMERICSERV and _number_of(port) is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if family not in (0, *map(int, _FAMILIES)):
            raise socket.gaierror(socket.EAI_FAMILY, "ai_family not supported")
        services = [
            (kind, protocol or proto, number)
            for kind, protocol, name in _kinds(wanted, proto, port is not None)
            if (number := self._port(port, name)) is not None
        ]
        if not services:
            raise socket.gaierror(socket.EAI_SERVICE, "Servname not supported for ai_socktype")
        if host is None:
            hosts = [(socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1")]
            if flags & socket.AI_PASSIVE:  # IPv4 first, whose source has a label like its own
                hosts = [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]
            found = [entry for entry in hosts if family in (0, entry[0])]
        elif not host or (flags & socket.AI_NUMERICHOST and not _numeric(host, 0)):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        else:
            found = preferred(self._handle, self._found(host, family, flags))
        canonical = host if flags & socket.AI_CANONNAME and isinstance(host, str) else ""
        result: list[AddressInfo] = []
        for one, text in found:
            for kind, protocol, number in services:
                where = self._sockaddr(one, text, number)
                result.append((one, kind, protocol, canonical, where))
                canonical = ""
        return result

    def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        """As `socket.getnameinfo`, see getnameinfo(3).

        Raises:
            socket.gaierror: EAI_FAMILY, not a numeric address; EAI_NONAME, it has no name and
                NI_NAMEREQD wants one; EAI_AGAIN, the same when no server gave an answer.
        """
        if not isinstance(sockaddr, tuple) or not 2 <= len(sockaddr) <= 4:
            raise TypeError("getnameinfo() argument 1 must be a tuple of 2 to 4 items")
        flags = to_int(flags)
        host, number = sockaddr[0], to_int(sockaddr[1])
        if not isinstance(host, str):
            raise TypeError(f"the host must be str, not {type(host).__name__}")
        if number < 0:
            raise socket.gaierror(socket.EAI_SERVICE, "Servname not supported for ai_socktype")
        port = number & 0xFFFF
        if len(sockaddr) > 2 and not 0 <= sockaddr[2] <= 0xFFFFF:
            raise OverflowError("getnameinfo(): flowinfo must be 0-1048575.")
        found = _numeric(host, 0)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if found[0][0] == socket.AF_INET and len(sockaddr) != 2:
            raise OSError("IPv4 sockaddr must be 2 tuple")
        if flags & ~_NAME_FLAGS:
            raise socket.gaierror(socket.EAI_BADFLAGS, "Bad value for ai_flags")
        shown, _, zone = found[0][1].partition("%")
        address = ipaddress.ip_address(shown)
        if len(sockaddr) > 3 and sockaddr[3]:
            zone = self._zone(address, to_int(sockaddr[3]))
        shown = socket.inet_ntop(found[0][0], address.packed) + (f"%{zone}" if zone else "")
        name = None
        if not flags & socket.NI_NUMERICHOST:
            try:
                name = self.name_of(shown)
            except socket.gaierror:
                if flags & socket.NI_NAMEREQD:
                    raise
        if name is None and flags & socket.NI_NAMEREQD:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        service = str(port)
        if not flags & socket.NI_NUMERICSERV:
            try:
                protocol = "udp" if flags & socket.NI_DGRAM else "tcp"
                service = socket.getservbyport(port, protocol)
            except OSError:
                service = str(port)  # it has no name
        return name or shown, service

    def _zone(self, address: Any, number: int) -> str:
        """How the C library shows a scope: a link's by the name of the interface."""
        if address.is_link_local or (address.is_multicast and address.packed[1] & 15 == 2):
            for interface in self._handle.listing(
                "struct ps_interface",
                lambda out, room: lib.ps_interfaces(self._handle.pointer, out, room),
            ):
                if interface.index == number:
                    return str(ffi.string(interface.name).decode())
        return str(number)

    def name_of(self, address: str) -> str | None:
        """The name of an address: from the hosts file, from the name servers; None: it has none.

        Raises:
            socket.gaierror: EAI_AGAIN, no server gave an answer.
        """
        if address in ("127.0.0.1", "::1"):
            return "localhost"
        listed = next((names[0] for one, names in self._hosts() if one == address), None)
        return listed or self._reverse(address)

    def gethostbyaddr(self, host: str) -> tuple[str, list[str], list[str]]:
        """As `socket.gethostbyaddr`, see gethostbyaddr(3).

        Raises:
            socket.gaierror: The host has no address.
            socket.herror: HOST_NOT_FOUND, the address has no name; TRY_AGAIN, no server answered.
        """
        address = self.addresses(to_host(host))[0][1]
        try:
            name = self.name_of(address)
        except socket.gaierror as error:
            raise socket.herror(2, "Host name lookup failure") from error
        if name is None:
            raise socket.herror(1, "Unknown host")
        aliases = next((names[1:] for one, names in self._hosts() if one == address), [])
        return name, aliases, [address]

    def _hosts(self) -> Iterator[tuple[str, list[str]]]:
        """The lines of the hosts file: an address and its names."""
        try:
            text = "" if self.hosts is None else self.hosts.read_text("utf-8", "replace")
        except FileNotFoundError:
            return
        for line in text.splitlines():
            words = line.partition("#")[0].split()
            if len(words) > 1:
                yield words[0], words[1:]

    def _found(self, host: str, family: int, flags: int) -> list[tuple[socket.AddressFamily, str]]:
        """The addresses of a name; with AI_V4MAPPED an IPv4 one stands in for a missing IPv6."""
        try:
            return self.addresses(host, family)
        except socket.gaierror:
            if family != socket.AF_INET6 or not flags & getattr(socket, "AI_V4MAPPED", 0):
                raise
        four = self.addresses(host, int(socket.AF_INET))
        return [(socket.AF_INET6, f"::ffff:{text}") for _family, text in four]

    @staticmethod
    def _port(port: str | int | None, protocol: str) -> int | None:
        """The number of a port or service; None: this protocol has no such service."""
        if port is None:
            return 0
        if isinstance(port, str):
            number = _number_of(port)
            if number is None:
                try:
                    return socket.getservbyname(port, protocol) if protocol else None
                except OSError:
                    return None
            return number
        return _number_of(str(to_size(port)))

    def _sockaddr(self, family: int, text: str, port: int) -> SocketAddress:
        packed, scope = host_to_packed(text, family, self._handle, self.one)
        host = socket.inet_ntop(family, packed)
        return (host, port) if family == socket.AF_INET else (host, port, 0, scope)
