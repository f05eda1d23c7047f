"""Socket addresses, `(host, port)` and `(host, port, flow, scope)`, between Python and C.

Messages and exception classes are those of the module `socket`.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from functools import lru_cache
from operator import index
from typing import Any, TypeAlias

from pystack._native import StackHandle, ffi, lib
from pystack._native.address import packed
from pystack.sockets.arguments import to_host

SocketAddress: TypeAlias = tuple[Any, ...]

# AF_* of the module socket to the engine's; every socket here has one of these.
FAMILIES = {int(socket.AF_INET): lib.PS_INET, int(socket.AF_INET6): lib.PS_INET6}

# Those that the module socket has addresses of.
KNOWN = frozenset(
    int(getattr(socket, name))
    for name in (
        "AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET", "AF_CAN", "AF_BLUETOOTH",
        "AF_TIPC", "AF_ALG", "AF_VSOCK", "AF_QIPCRTR",
    )
    if hasattr(socket, name)
)  # fmt: skip
# What connect(2) says of those that aren't the socket's own family's; errno.
REFUSALS = (errno.EINVAL, errno.EAFNOSUPPORT)
_AF_UNIX = int(getattr(socket, "AF_UNIX", -1))
# struct sockaddr_un before its path, and the shortest address that IPv4 looks at (ip(7)).
_BEFORE_PATH, _SHORTEST = 2, 16

LONGEST_LITERAL = 45  # characters
_BROADCAST = b"\xff\xff\xff\xff"


def _port(port: Any, caller: str) -> int:
    number = port.__index__() if hasattr(port, "__index__") else None
    if number is None:
        raise TypeError(f"{type(port).__name__!r} object cannot be interpreted as an integer")
    if not 0 <= number <= 0xFFFF:
        raise OverflowError(f"{caller}(): port must be 0-65535.")
    return int(number)


def _scope(text: str, handle: StackHandle) -> int:
    if text.isdecimal() and int(text) <= 0xFFFFFFFF:
        return int(text)
    for interface in handle.listing(
        "struct ps_interface", lambda out, room: lib.ps_interfaces(handle.pointer, out, room)
    ):
        if ffi.string(interface.name).decode() == text:
            return int(interface.index)
    raise socket.gaierror(socket.EAI_NONAME, f"no interface {text!r}")


def host_to_packed(
    host: Any,
    family: int,
    handle: StackHandle,
    resolve: Callable[[str, int], str],
) -> tuple[bytes, int]:
    """The bytes of a host as `bind` and `connect` take it, and its scope.

    Args:
        host: An address, a name, "" for any, "<broadcast>"; text or ASCII bytes.
        family: AF_INET or AF_INET6.
        handle: The Stack.
        resolve: Finds an address of a name.

    Raises:
        socket.gaierror: There is no such name, or none in this family.
        TypeError: Not text.
    """
    host = to_host(host)
    if not host:
        return bytes(4 if family == socket.AF_INET else 16), 0
    if host in ("<broadcast>", "255.255.255.255"):
        if family != socket.AF_INET:
            raise OSError("address family mismatched")
        return _BROADCAST, 0
    plain, percent, zone = host.partition("%") if family == socket.AF_INET6 else (host, "", "")
    try:
        bytes_ = socket.inet_pton(family, plain)
    except (OSError, UnicodeEncodeError):
        if not host.isascii():
            try:
                host = host.encode("idna").decode()
            except UnicodeError:
                raise TypeError("encoding of hostname failed") from None
        found, _, zone = resolve(host, family).partition("%")
        return socket.inet_pton(family, found), _scope(zone, handle) if zone else 0
    return bytes_, _scope(zone, handle) if percent else 0


def to_c(
    address: Any,
    family: int,
    handle: StackHandle,
    resolve: Callable[[str, int], str],
    caller: str,
) -> Any:
    """A `struct ps_address *` of a socket address.

    Raises:
        TypeError: Not a tuple, or one of another shape.
        OverflowError: The port, flow or scope is out of range.
        socket.gaierror: The name could not be resolved.
    """
    plain = literal(address, family)
    if plain is not None:
        return plain
    if family not in FAMILIES:
        raise _strange(address, family, caller)
    v6 = family == socket.AF_INET6
    if not isinstance(address, tuple):
        raise TypeError(
            f"{caller}(): AF_INET{6 if v6 else ''} address must be tuple, "
            f"not {type(address).__name__}"
        )
    if v6 and not 2 <= len(address) <= 4:
        raise TypeError("AF_INET6 address must be a tuple (host, port[, flowinfo[, scopeid]])")
    if not v6 and len(address) != 2:
        raise TypeError("AF_INET address must be a pair (host, port)")
    # CPython takes of both what an unsigned int in C holds.
    flow = index(address[2]) & 0xFFFFFFFF if len(address) > 2 else 0
    scope = index(address[3]) & 0xFFFFFFFF if len(address) > 3 else 0
    if not 0 <= flow <= 0xFFFFF:
        raise OverflowError(f"{caller}(): flowinfo must be 0-1048575.")
    port = _port(address[1], caller)
    bytes_, zone = host_to_packed(address[0], family, handle, resolve)
    return _new(family, port, bytes_, flow, scope or zone)


def _strange(address: Any, family: int, caller: str) -> Exception:
    """An address of a family other than the socket's, as the caller claims it to be."""
    if family not in KNOWN:
        return OSError(f"{caller}(): bad family")
    size = _SHORTEST
    if family == _AF_UNIX:
        try:
            path = os.fsencode(address) if isinstance(address, str) else bytes(memoryview(address))
        except TypeError as error:
            return TypeError(str(error).replace("memoryview: ", ""))
        size = _BEFORE_PATH + len(path)
    code = REFUSALS[size >= _SHORTEST]
    return OSError(code, os.strerror(code))


def _new(family: int, port: int, bytes_: bytes, flow: int = 0, scope: int = 0) -> Any:
    out = ffi.new("struct ps_address *")
    out.family = FAMILIES[family]
    out.port = port
    out.flow = flow
    out.scope = scope
    ffi.memmove(out.bytes, bytes_, len(bytes_))
    return out


def literal(address: Any, family: int) -> Any:
    """The `struct ps_address *` of an IPv4 or IPv6 address in text, and a port.

    It is cached and shared, so it must not be written to. None: the address is of another form, or
    a name, which may mean something else next time.
    """
    if type(address) is not tuple or len(address) != 2:
        return None
    host, port = address
    if type(host) is not str or type(port) is not int or len(host) > LONGEST_LITERAL:
        return None
    return _literal(host, port, family)


@lru_cache(maxsize=256)
def _literal(host: str, port: int, family: int) -> Any:
    if not 0 <= port <= 0xFFFF:
        return None
    try:
        return _new(family, port, socket.inet_pton(family, host))
    except (OSError, UnicodeEncodeError, ValueError):
        return None


def from_c(address: Any, family: int) -> SocketAddress:
    """The socket address in a `struct ps_address`, in the form of a family's sockets."""
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, packed(address) or bytes(4)), address.port
    host = socket.inet_ntop(socket.AF_INET6, packed(address) or bytes(16))
    # As the C library shows it: the interface of a link-local address stands in the tuple.
    return host, address.port, address.flow, address.scope
