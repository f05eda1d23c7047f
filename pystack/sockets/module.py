"""`Stack.sockets`: the module `socket` on a Stack."""

from __future__ import annotations

import errno
import os
import socket as kernel
from collections.abc import Iterable
from contextlib import AbstractContextManager
from operator import index as to_index
from typing import TYPE_CHECKING, Any

from pystack._native import StackHandle, ffi, lib
from pystack.sockets import descriptors, options
from pystack.sockets.active import active, in_the_process
from pystack.sockets.address import FAMILIES, SocketAddress
from pystack.sockets.arguments import to_descriptor, to_host
from pystack.sockets.children import identify, introduce_programs, pickled
from pystack.sockets.descriptors import OpenSocket
from pystack.sockets.early import kernel_socket
from pystack.sockets.resolve import AddressInfo, HostsFile, Lookup, Resolver, hosts_file
from pystack.sockets.socket import Socket
from pystack.sockets.standard import introduce_stack_sockets

if TYPE_CHECKING:
    from pystack.names import Server

# "No timeout was given": the module's own, which http.client, ftplib and others hand on.
_DEFAULT: Any = kernel._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]
# The kernel's, also while ours stand in their places.
_fromfd, _dup, _close = kernel.fromfd, kernel.dup, kernel.close
# What CPython itself makes of a host, whoever knows names.
_NOT_ASKED_FOR = {"": "0.0.0.0", "<broadcast>": "255.255.255.255"}
# Of what `setsockopt` takes, the names that the module socket has in later versions of Python only,
# or on other systems.
_ALSO = (
    "IP_PKTINFO", "IP_RECVTTL", "IP_RECVTOS", "IP_ADD_SOURCE_MEMBERSHIP",
    "IP_DROP_SOURCE_MEMBERSHIP", "IPV6_RECVPKTINFO", "IPV6_RECVHOPLIMIT", "IPV6_RECVTCLASS",
    "IP_RECVERR", "IPV6_RECVERR", "IP_MTU", "IP_MTU_DISCOVER", "IPV6_MTU", "IPV6_MTU_DISCOVER",
    "IPV6_DONTFRAG", "IPV6_PATHMTU", "SO_TIMESTAMP", "SO_TIMESTAMPNS",
    "IP_FREEBIND", "IPV6_FREEBIND", "IP_TRANSPARENT", "IP_MINTTL", "IPV6_MINHOPCOUNT",
    "IP_MULTICAST_ALL", "IPV6_MULTICAST_ALL", "IP_UNICAST_IF", "IPV6_UNICAST_IF", "IP_ORIGDSTADDR",
    "IPV6_ORIGDSTADDR", "SO_RXQ_OVFL", "SO_COOKIE", "SO_BINDTOIFINDEX", "UDP_CORK", "UDP_GRO",
    "UDP_SEGMENT", "IP_RECVORIGDSTADDR", "IPV6_RECVORIGDSTADDR", "IP_RECVERR_RFC4884",
    "IPV6_RECVERR_RFC4884",
)  # fmt: skip


def _find(fd: int) -> OpenSocket | None:
    """The socket of a descriptor, even one from another process; None: it is the kernel's.

    Raises:
        OSError: EBADF.
    """
    opened = descriptors.find(fd)
    if opened is None and fd >= 0:
        opened = identify(fd)
        if opened is not None:
            opened.disown()
            descriptors.note(opened, fd)
    return opened


class _BoundMeta(type):
    """A kernel's socket is a `socket.socket` too, while a Stack's class has that name."""

    def __instancecheck__(cls, one: Any) -> bool:
        return super().__instancecheck__(one) or (
            Socket in cls.__bases__ and isinstance(one, kernel_socket)
        )

    def __subclasscheck__(cls, one: Any) -> bool:
        return super().__subclasscheck__(one) or (
            Socket in cls.__bases__ and issubclass(one, kernel_socket)
        )


def _bound_class(handle: StackHandle, resolver: Resolver) -> type[Socket]:
    """The class of one Stack's sockets, which may be subclassed.

    Calling it for another family than the Internet's, or for a descriptor that isn't of a Stack's
    socket, gives the kernel's: a Stack knows nothing of those.
    """

    def new(cls: type[Socket], *arguments: Any, **named: Any) -> Any:
        if not named and 0 < len(arguments) < 4 and to_index(arguments[0]) in FAMILIES:
            return Socket.__new__(cls)
        values = dict(zip(("family", "type", "proto", "fileno"), arguments, strict=False), **named)
        family = values.get("family", -1)
        fileno = values.get("fileno")
        ours = _find(to_descriptor(fileno)) is not None if fileno is not None else family == -1
        if not ours and (fileno is not None or to_index(family) not in FAMILIES):
            return kernel_socket(*arguments, **named)
        return Socket.__new__(cls)

    members = {
        "__slots__": (),
        "__module__": "pystack.sockets",
        "__doc__": Socket.__doc__,
        "__new__": new,
        "_ps_stack_handle": handle,
        "_ps_resolve": staticmethod(resolver.one),
    }
    made: type[Socket] = _BoundMeta("socket", (Socket,), members)  # type: ignore[assignment]
    pickled(handle)
    return made


class SocketModule:
    """What the module `socket` exports, on one Stack; constants and exceptions are the module's.

    Pass it where a program takes such a module, or put it in the module's place with
    `Stack.installed`.

    Args:
        handle: The Stack.
        lookup: Asks the Stack's name servers for the addresses of a name.
        servers: The Stack's name servers.
    """

    def __init__(self, handle: StackHandle, lookup: Lookup, servers: Iterable[Server] = ()) -> None:
        introduce_stack_sockets()
        introduce_programs()
        self._handle = handle

        def name_of(address: str) -> str | None:
            from pystack.sockets import reverse  # noqa: PLC0415 - few programs ask

            return reverse.ask(self.socket, servers, address, handle.monotonic)

        self._resolver = Resolver(handle, lookup, name_of, hosts_file())

    def __getattr__(self, name: str) -> Any:
        return getattr(options if name in _ALSO else kernel, name)

    def __repr__(self) -> str:
        closed = " that is closed" if self._handle.closed else ""
        return f"<the module 'socket' on a Stack{closed}>"

    def __dir__(self) -> list[str]:
        return sorted({*dir(kernel), *_ALSO, *super().__dir__()})

    @property
    def hosts(self) -> HostsFile | None:
        """The hosts file (hosts(5)) that names are looked up in first, a `Path`; None: none."""
        return self._resolver.hosts

    @hosts.setter
    def hosts(self, path: HostsFile | None) -> None:
        self._resolver.hosts = path

    @property
    def socket(self) -> type[Socket]:
        """The class of this Stack's sockets; it may be subclassed."""
        if self._handle.socket_class is None:
            self._handle.socket_class = _bound_class(self._handle, self._resolver)
        made: type[Socket] = self._handle.socket_class
        return made

    SocketType = socket

    def create_connection(
        self,
        address: tuple[str | None, int | str],
        timeout: float | None = _DEFAULT,
        source_address: SocketAddress | None = None,
        *,
        all_errors: bool = False,
    ) -> Socket:
        """As `socket.create_connection`: tries each address of the host in turn.

        Raises:
            OSError: The last (Python 3.11: the first) error; an `ExceptionGroup` of all with
                `all_errors`, which Python 3.10 lacks.
        """
        host, port = address
        errors: list[OSError] = []
        for family, kind, proto, _name, where in self.getaddrinfo(
            host, port, 0, kernel.SOCK_STREAM
        ):
            sock = None
            try:
                sock = self.socket(family, kind, proto)
                if timeout is not _DEFAULT:
                    sock.settimeout(timeout)
                if source_address:
                    sock.bind(source_address)
                sock.connect(where)
            except OSError as error:
                errors.append(error)
                if sock is not None:
                    sock.close()
            except BaseException:  # as `DeadlockError`
                if sock is not None:
                    sock.close()
                raise
            else:
                errors.clear()  # each holds a traceback, and that this frame
                return sock
        try:
            if all_errors:
                raise ExceptionGroup("create_connection failed", errors)  # type: ignore[name-defined]  # noqa: F821
            raise errors[0]
        finally:
            errors.clear()

    def create_server(
        self,
        address: SocketAddress,
        *,
        family: int = kernel.AF_INET,
        backlog: int | None = None,
        reuse_port: bool = False,
        dualstack_ipv6: bool = False,
    ) -> Socket:
        """As `socket.create_server`: a listening TCP socket.

        Raises:
            ValueError: `dualstack_ipv6` with another family than AF_INET6.
            OSError: As bind(2) and listen(2), with the address in the message.
        """
        if dualstack_ipv6 and family != kernel.AF_INET6:
            raise ValueError("dualstack_ipv6 requires AF_INET6 family")
        sock = self.socket(family, kernel.SOCK_STREAM)
        try:
            sock.setsockopt(kernel.SOL_SOCKET, kernel.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(kernel.SOL_SOCKET, kernel.SO_REUSEPORT, 1)
            if family == kernel.AF_INET6:
                sock.setsockopt(kernel.IPPROTO_IPV6, kernel.IPV6_V6ONLY, not dualstack_ipv6)
            try:
                sock.bind(address)
            except OSError as error:
                message = f"{error.strerror} (while attempting to bind on address {address!r})"
                raise OSError(error.errno, message) from None
            sock.listen(128 if backlog is None else backlog)
        except BaseException:
            sock.close()
            raise
        return sock

    def fromfd(self, fd: int, family: int, type: int, proto: int = 0) -> Any:
        """As `socket.fromfd`: a socket on a copy of a descriptor, the Stack's or the kernel's.

        Raises:
            OSError: As dup(2).
        """
        _find(to_index(fd))
        made = descriptors.make_of_copy(
            to_index(fd), lambda copy: self.socket(family, type, proto, fileno=copy)
        )
        return _fromfd(fd, family, type, proto) if made is None else made

    def dup(self, fd: int, /) -> int:
        """As `socket.dup`: a copy of a descriptor, for `fileno=` and `close`.

        Raises:
            OSError: As dup(2).
        """
        _find(to_index(fd))
        copy = descriptors.duplicate(to_index(fd))
        return int(_dup(fd)) if copy is None else copy

    def close(self, fd: int, /) -> None:
        """As `socket.close`: closes a descriptor that is no socket object's any more.

        Raises:
            OSError: As close(2).
        """
        if not descriptors.close(to_index(fd)):
            _close(fd)

    def has_dualstack_ipv6(self) -> bool:
        """True: one IPv6 listener can take IPv4 connections too."""
        return True

    def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | bytes | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[AddressInfo]:
        """As `socket.getaddrinfo`, by the hosts file and the Stack's name servers.

        Raises:
            socket.gaierror: As getaddrinfo(3).
        """
        return self._resolver.getaddrinfo(host, port, family, type, proto, flags)

    def getnameinfo(self, sockaddr: SocketAddress, flags: int) -> tuple[str, str]:
        """As `socket.getnameinfo`, by the hosts file and the Stack's name servers.

        Raises:
            socket.gaierror: As getnameinfo(3).
        """
        return self._resolver.getnameinfo(sockaddr, flags)

    def gethostbyname(self, hostname: str) -> str:
        """The first IPv4 address of a host."""
        name = to_host(hostname)
        if name in _NOT_ASKED_FOR:
            return _NOT_ASKED_FOR[name]
        return self._resolver.one(name, kernel.AF_INET)

    def gethostbyname_ex(self, hostname: str) -> tuple[str, list[str], list[str]]:
        """The name, no aliases, and all IPv4 addresses."""
        name = to_host(hostname)
        found = self._resolver.addresses(name, kernel.AF_INET)
        return name, [], [text for _family, text in found]

    def gethostbyaddr(self, host: str) -> tuple[str, list[str], list[str]]:
        """The name of a host's address, its aliases in the hosts file, and the address.

        Raises:
            socket.herror: It has no name.
        """
        return self._resolver.gethostbyaddr(host)

    def if_nameindex(self) -> list[tuple[int, str]]:
        """The Stack's interfaces: index and name."""
        listing = self._handle.listing(
            "struct ps_interface",
            lambda out, room: lib.ps_interfaces(self._handle.pointer, out, room),
        )
        return [(one.index, ffi.string(one.name).decode()) for one in listing]

    def if_nametoindex(self, name: str | bytes) -> int:
        """An interface's index.

        Raises:
            OSError: There is none of this name.
        """
        wanted = os.fsdecode(name)
        if "\0" in wanted:
            raise ValueError("embedded null byte")
        for number, found in self.if_nameindex():
            if found == wanted:
                return number
        raise OSError("no interface with this name")

    def if_indextoname(self, index: int) -> str:
        """An interface's name.

        Raises:
            OSError: ENXIO, there is none of this index.
        """
        wanted = to_index(index)
        if not 0 <= wanted <= 0xFFFFFFFF:
            raise OverflowError("an interface's index is an unsigned int of 32 bits")
        for number, name in self.if_nameindex():
            if number == wanted:
                return name
        raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))

    def getfqdn(self, name: str = "") -> str:
        """As `socket.getfqdn`: the name with a dot that a host has, else its first."""
        wanted = name.strip()
        if wanted in ("", "0.0.0.0", "::"):
            wanted = kernel.gethostname()
        try:
            first, others, _addresses = self.gethostbyaddr(wanted)
        except OSError:
            return wanted
        return next((one for one in (first, *others) if "." in one), first)

    def installed(self, *, strict: bool = False) -> AbstractContextManager[None]:
        """Puts these into the standard library for the block; see `Stack.installed`."""
        self._handle.need_open()
        return in_the_process(self, strict)

    def active(self, *, strict: bool = False) -> AbstractContextManager[None]:
        """The same for this task or thread alone; see `Stack.active`."""
        self._handle.need_open()
        return active(self, strict)
