"""The services of an interface (DHCP, SLAAC, AutoIP, mDNS) and a stack's name resolution.

`Interface` and `Stack` take their methods from the mixins here.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator, MutableSequence, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from pystack._native import StackHandle, WorldClock, ffi, lib
from pystack._native.address import Address, from_c, parse, text, to_c
from pystack._native.interfaces import interface_index, working_links
from pystack._native.shown import shown
from pystack._native.values import near, number
from pystack._native.values import text as needed_text
from pystack.leases import Lease, Lease6, LeasedAddress, LeaseState, lease6_of, lease_of, read_lease
from pystack.serving import serving_of

__all__ = [
    "InterfaceServices", "Lease", "Lease6", "LeaseState", "LeasedAddress", "NameServers",
    "StackServices", "resolve",
]  # fmt: skip

_Lease = TypeVar("_Lease", Lease, Lease6)

NAME_SERVERS_MAXIMUM = 4
_ANSWERS_MAXIMUM = 128
_NEVER_SEEN = (1 << 64) - 1


def _microseconds(timeout: float | None) -> int:
    if timeout is None:
        return -1
    return round(number(timeout, "timeout", unit="seconds") * 1e6)


def _name(name: str | None) -> Any:
    if name is None:
        return ffi.NULL
    encoded = needed_text(name, "a name", "host.example").encode("idna")
    if b"\0" in encoded:
        raise ValueError("a name has no null characters")
    return ffi.new("char[]", encoded)


class InterfaceServices:
    """The part of `Interface` that configures it from the network."""

    if TYPE_CHECKING:  # Interface has them
        _handle: StackHandle
        index: int

    def _set_service(self, service: int, on: bool, name: str | None = None, **options: Any) -> None:
        handle = self._handle
        result = lib.ps_service_set(handle.pointer, self.index, service, on, _name(name))
        if result == -errno.EOPNOTSUPP and on:
            serving = serving_of(handle, begin=True)
            assert serving is not None
            told = None if name is None else name.encode("idna").decode("ascii")
            serving.start(self.index, service, told, **options)
            return
        serving = serving_of(handle)
        if not on and serving is not None and result in (0, -errno.EOPNOTSUPP):
            serving.stop(self.index, service)
            return
        handle.check(result)

    def dhcp(
        self, start: bool = True, *, hostname: str | None = None, timeout: float | None = 30.0
    ) -> Lease:
        """Get an IPv4 address by DHCP (RFC 2131), or give it back.

        Sets the address, its network, the gateway and the name servers as the server says, and
        renews the lease in good time from then on. An existing lease is released first. Only the
        first offer is considered.

        Args:
            start: False releases the address and its name servers, and stops the client.
            hostname: Sent to the server (RFC 2132 3.14), at most 63 bytes.
            timeout: Seconds to wait for a lease; None waits for ever, 0 returns at once with what
                `lease` says. The client goes on either way. With the sysctl
                "net.ipv4.dhcp_conflict_check" a lease takes about nine seconds more (RFC 5227).

        Returns:
            The lease; after `start=False` one whose state is `LeaseState.OFF`.

        Raises:
            TimeoutError: No server gave a lease in time.
            FileExistsError: EEXIST, the interface has a static IPv4 address.
            OSError: ENETDOWN, the interface is down; EMSGSIZE, its MTU is below 576 bytes;
                EADDRINUSE, a socket has the client's port 68; EOPNOTSUPP, it has no MAC;
                ENAMETOOLONG; ENOMEM.
        """
        _microseconds(timeout)
        deadline = None if timeout is None else self._handle.monotonic() + timeout
        self._set_service(lib.PS_SERVICE_DHCP, start, hostname)
        if not start or timeout == 0:
            return self.lease
        return self._bound(lambda: self.lease, deadline, "no DHCP server gave a lease")

    def _bound(self, read: Callable[[], _Lease], deadline: float | None, why: str) -> _Lease:
        """Waits for a lease."""
        seen = _NEVER_SEEN
        while True:
            now = ffi.new("uint64_t *")
            left = None if deadline is None else max(0.0, deadline - self._handle.monotonic())
            result = lib.ps_stack_changes(self._handle.pointer, seen, _microseconds(left), now)
            if result == -errno.EAGAIN:
                raise TimeoutError(errno.ETIMEDOUT, why)
            if result == -errno.EINTR:
                continue  # Python has run the signal's handler, if there was one
            self._handle.check(result)
            seen = now[0]
            lease = read()
            if lease.bound:
                return lease

    def _now_us(self) -> int:
        now_us = ffi.new("uint64_t *")
        self._handle.check(lib.ps_serving_now(self._handle.pointer, now_us))
        return int(now_us[0])

    @property
    def lease(self) -> Lease:
        """The DHCP client's lease; a snapshot."""
        serving = serving_of(self._handle)
        if serving is not None:
            now_us = self._now_us()
            client = serving.dhcp_client(self.index)
            if client is not None:
                return lease_of(client, now_us)
        return read_lease(self._handle, self.index)

    def slaac(self, on: bool = True) -> None:
        """Form IPv6 addresses from router advertisements (RFC 4862), or stop that.

        Also takes their name servers (RFC 8106). Solicits routers at once. When stopped, addresses
        and servers learnt so far stay until their lifetimes end.

        Args:
            on: Whether to do it.

        Raises:
            OSError: EADDRNOTAVAIL, the interface has no link-local address to ask from.
        """
        self._set_service(lib.PS_SERVICE_SLAAC, on)

    def dhcp6(
        self,
        start: bool = True,
        *,
        stateful: bool | None = None,
        rapid_commit: bool = False,
        timeout: float | None = 0.0,
    ) -> Lease6:
        """Get IPv6 addresses and name servers by DHCPv6 (RFC 9915), or give them back.

        Solicits routers at once. Where an advertisement has the M flag, asks servers for addresses,
        and takes those of the server that wants it most; each lies alone on the interface (/128),
        once nobody else was found to have it, until its lifetime ends or the lease is extended.
        Where it has the O flag alone, asks for name servers. Routes and the link's networks are
        routers' to tell: `slaac` takes them. An existing lease is released first.

        Args:
            start: False releases the addresses and the name servers, and stops the client; the
                release is repeated until the server has heard it, four times at most.
            stateful: True asks for addresses at once, whatever routers say, and False never.
            rapid_commit: Whether a server may give addresses in its first answer (RFC 9915 21.14).
            timeout: Seconds to wait for addresses; None waits for ever, 0 returns at once with
                what `lease6` says. The client goes on either way.

        Returns:
            The lease; after `start=False` one whose state is `LeaseState.OFF`.

        Raises:
            TimeoutError: No server gave an address in time.
            ValueError: The timeout is negative, or addresses are waited for that are not asked for.
            OSError: EADDRINUSE, a socket has the client's port 546; EOPNOTSUPP, the loopback, or
                an interface without a MAC; ENOMEM.
        """
        if start and stateful is False and timeout != 0:
            raise ValueError(f"stateful=False never has an address: timeout={timeout} is not 0")
        deadline = None if timeout is None else self._handle.monotonic() + timeout
        _microseconds(timeout)
        self._set_service(lib.PS_SERVICE_DHCP6, start, stateful=stateful, is_rapid=rapid_commit)
        if not start or timeout == 0:
            return self.lease6
        return self._bound(lambda: self.lease6, deadline, "no DHCPv6 server gave an address")

    @property
    def lease6(self) -> Lease6:
        """The DHCPv6 client's lease; a snapshot."""
        serving = serving_of(self._handle)
        client = serving.dhcp6_client(self.index) if serving is not None else None
        if client is None:
            return Lease6(LeaseState.OFF)
        return lease6_of(client, self._now_us())

    def autoip(self, on: bool = True) -> None:
        """Claim an unused link-local IPv4 address (RFC 3927), or give it up.

        Probing takes about nine seconds; then the address appears. A leased address takes its
        place, and it returns when the lease is gone.

        Args:
            on: Whether to do it.

        Raises:
            FileExistsError: EEXIST, the interface has a static IPv4 address.
            OSError: ENETDOWN, the interface is down; EOPNOTSUPP, it has no MAC; ENOMEM.
        """
        self._set_service(lib.PS_SERVICE_AUTOIP, on)

    def mdns(self, name: str | None) -> None:
        """Answer for a host name in ".local" by multicast DNS (RFC 6762), or stop that.

        Probes for and announces the name first, which takes about two seconds. If another host
        has it, appends "-2", then "-3", and logs that. lwIP sends no goodbye when it stops; the
        other engines' responder (`pystack.serving`) does.

        Args:
            name: One label of at most 63 bytes, with or without ".local"; None stops.

        Raises:
            ValueError: EINVAL, the name has dots or is empty.
            OSError: EADDRINUSE, a socket has port 5353 for itself; EOPNOTSUPP, the loopback, or
                an interface without a MAC (gvisor, linux); ENAMETOOLONG; ENOMEM.
        """
        if name is None:
            self._set_service(lib.PS_SERVICE_MDNS, False)
            return
        label = needed_text(name, "a name", "printer").removesuffix(".").removesuffix(".local")
        if not label or "." in label:
            raise ValueError(f"{name!r} is not one label in .local")
        self._set_service(lib.PS_SERVICE_MDNS, True, label)


class NameServers(MutableSequence[Address]):
    """A Stack's name servers, in the order they are asked: yours, then those it learnt.

    You may set up to four, which nothing else changes. Those learnt by DHCP, DHCPv6 and, with
    `slaac()`, from routers (RFC 8106) follow, and expire by themselves: with the lease, the
    server's or router's lifetime, or the interface. The first eight are asked.

    Assignment, insertion and deletion affect yours alone: `servers[:] = [...]` replaces all of
    yours and none that was learnt, positions beyond yours are out of range, and `append` adds
    after your last. A link-local address names its interface, as "fe80::53%eth0" or "fe80::53%2";
    it is shown as the latter.

    Raises:
        OSError: ENOSPC, a fifth of your own; EINVAL, an unspecified or multicast address;
            ENODEV, no interface of that name.
    """

    def __init__(self, handle: StackHandle) -> None:
        self._handle = handle

    def _read(self, learnt: bool = True) -> list[Address]:
        listing = self._handle.listing(
            "struct ps_nameserver",
            lambda out, room: lib.ps_nameservers(self._handle.pointer, out, room),
        )
        return [
            parse(text(raw.address))
            for raw in listing
            if learnt or raw.origin == lib.PS_ORIGIN_STATIC
        ]

    def _to_c(self, server: Address | str) -> Any:
        address = parse(server)
        scope = getattr(address, "scope_id", None)
        if scope is None:
            return to_c(address)
        return to_c(
            address, scope=int(scope) if scope.isdigit() else interface_index(self._handle, scope)
        )

    def _write(self, servers: Sequence[Address | str]) -> None:
        if len(servers) > NAME_SERVERS_MAXIMUM:
            raise OSError(errno.ENOSPC, f"at most {NAME_SERVERS_MAXIMUM} name servers")
        wanted = [self._to_c(server) for server in servers]
        before = self._read(learnt=False)
        try:
            for position in range(NAME_SERVERS_MAXIMUM):
                one = wanted[position] if position < len(wanted) else ffi.NULL
                self._handle.check(lib.ps_nameserver_set(self._handle.pointer, position, one))
        except OSError:
            if before != servers:
                self._write(before)
            raise

    def __len__(self) -> int:
        return len(self._read())

    def __iter__(self) -> Iterator[Address]:
        return iter(self._read())

    @overload
    def __getitem__(self, position: int) -> Address: ...
    @overload
    def __getitem__(self, position: slice) -> MutableSequence[Address]: ...
    def __getitem__(self, position: int | slice) -> Address | MutableSequence[Address]:
        return self._read()[position]

    def __setitem__(self, position: Any, value: Any) -> None:
        servers: list[Any] = list(self._read(learnt=False))
        servers[position] = value
        self._write(servers)

    def __delitem__(self, position: int | slice) -> None:
        servers = self._read(learnt=False)
        del servers[position]
        self._write(servers)

    def insert(self, index: int, value: Address | str) -> None:
        """Insert a server before `index`, or after the last of yours."""
        servers: list[Address | str] = list(self._read(learnt=False))
        servers.insert(index, value)
        self._write(servers)

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return shown(self, lambda: repr([str(server) for server in self]))


_FAMILIES = {
    0: 0,
    int(socket.AF_UNSPEC): 0,
    int(socket.AF_INET): 4,
    int(socket.AF_INET6): 6,
}

# Which of getaddrinfo's errors an errno of a lookup stands for, as in the C library.
_GAI_ERRORS = {
    errno.ENOENT: socket.EAI_NONAME,
    errno.EAGAIN: socket.EAI_AGAIN,
    errno.ETIMEDOUT: socket.EAI_AGAIN,
    errno.EREMOTEIO: socket.EAI_AGAIN,
    errno.ENETUNREACH: socket.EAI_AGAIN,
    errno.EMSGSIZE: socket.EAI_FAIL,
    errno.ENOMEM: socket.EAI_MEMORY,
    errno.ENOBUFS: socket.EAI_MEMORY,
}

_GAI_TEXTS = {
    errno.ENOENT: "Name or service not known",
    errno.EAGAIN: "Temporary failure in name resolution: no answer in time",
    errno.ETIMEDOUT: "Temporary failure in name resolution: no name server answered",
    errno.EREMOTEIO: "Temporary failure in name resolution: the name server failed",
    errno.ENETUNREACH: (
        "Temporary failure in name resolution: the Stack has no name server: set "
        "Stack.nameservers, or give --nameserver on the command line"
    ),
    errno.EMSGSIZE: "Non-recoverable failure: the answer was truncated, and asks for TCP",
    errno.ENOMEM: "Memory allocation failure",
    errno.ENOBUFS: "Memory allocation failure, or too many lookups at once",
}


def _told(name: str, code: int, world: WorldClock | None) -> str:
    kind, _, why = _GAI_TEXTS[code].partition(": ")
    if code == errno.ENETUNREACH and world is not None:
        names = list(world.host_names())
        there = near(name, names) or f" ({', '.join(names)})"
        why = f"no host of this World has that name, and this one has no name server{there}"
    if not name:
        why = "the name is empty"
    elif not name.strip("0123456789."):
        why = f"{name!r} is no IPv4 address" + (f", and {why}" if why else "")
    elif why:  # without one the system's own words stay as they are: programs compare them
        why = f"{name!r}: {why}"
    return f"{kind}: {why}" if why else kind


def resolve(
    handle: StackHandle,
    make_socket: Callable[[int, int], Any],
    name: str,
    family: int = 0,
    timeout: float | None = 30.0,
) -> list[Address]:
    """See `StackServices.resolve`; an engine without a resolver asks through `make_socket`."""
    if family not in _FAMILIES:
        raise socket.gaierror(socket.EAI_FAMILY, "ai_family not supported")
    _microseconds(timeout)
    try:
        encoded = _name(name)
    except UnicodeError as problem:
        raise socket.gaierror(socket.EAI_NONAME, _GAI_TEXTS[errno.ENOENT]) from problem
    out = ffi.new("struct ps_address[]", _ANSWERS_MAXIMUM)
    deadline = None if timeout is None else handle.monotonic() + timeout
    result = request = lib.ps_resolve_start(handle.pointer, encoded, _FAMILIES[family])
    ended = request < 0
    try:
        while not ended:
            left = None if deadline is None else max(0.0, deadline - handle.monotonic())
            result = lib.ps_resolve_wait(
                handle.pointer, request, out, _ANSWERS_MAXIMUM, _microseconds(left)
            )
            ended = result not in (-errno.EINTR, -errno.EAGAIN)
            if result == -errno.EAGAIN:
                break
    finally:
        if not ended:
            lib.ps_resolve_cancel(handle.pointer, request)
    if result == -errno.EOPNOTSUPP:
        # lwIP resolves names itself.
        from pystack.local_names import is_local, look_up_local  # noqa: PLC0415
        from pystack.names import look_up  # noqa: PLC0415

        plain = bytes(ffi.string(encoded)).decode("ascii")
        version, now = _FAMILIES[family], handle.monotonic
        if is_local(plain):
            links = working_links(handle)
            asked = look_up_local(make_socket, links, plain, version, timeout, now)
        else:
            servers = list(NameServers(handle))
            asked = look_up(make_socket, servers, plain, version, timeout, now)
        if isinstance(asked, int):
            result = -asked
        else:
            result = min(len(asked), _ANSWERS_MAXIMUM)
            for i, address in enumerate(asked[:_ANSWERS_MAXIMUM]):
                out[i] = to_c(address)[0]
    if -result in _GAI_ERRORS:
        raise socket.gaierror(_GAI_ERRORS[-result], _told(name, -result, handle.world))
    count = min(handle.check(result), _ANSWERS_MAXIMUM)
    found = [(_has_route(handle, out + i), from_c(out[i])) for i in range(count)]
    found.sort(key=lambda entry: (not entry[0], entry[1].version == 4))
    return [address for _, address in found]


def _has_route(handle: StackHandle, address: Any) -> bool:
    route = ffi.new("struct ps_route *")
    result = lib.ps_route_lookup(handle.pointer, address, route)
    if result in (-errno.ENETUNREACH, -errno.EHOSTUNREACH, -errno.ESRCH):
        return False
    handle.check(result)
    return True


class StackServices:
    """The part of `Stack` that resolves names."""

    if TYPE_CHECKING:  # Stack has them
        _handle: StackHandle

        def socket(self, family: int, type: int) -> Any:
            """A socket of the Stack."""

    @property
    def nameservers(self) -> NameServers:
        """The name servers, yours first; assign to replace yours (see `NameServers`)."""
        return NameServers(self._handle)

    @nameservers.setter
    def nameservers(self, servers: Sequence[Address | str]) -> None:
        if isinstance(servers, (str, bytes)):
            raise TypeError(f"name servers are a list of addresses: write [{servers!r}]")
        NameServers(self._handle)._write(list(servers))

    def resolve(self, name: str, family: int = 0, *, timeout: float | None = 30.0) -> list[Address]:
        """Find the addresses of a host name.

        Asks the name servers in turn, by UDP (RFC 1035), or the hosts on the link when the name
        ends in ".local" (RFC 6762 5.1). There is no cache, no search domain and no TCP: a truncated
        answer is used as far as it goes. With engines without a resolver (linux, gvisor) the
        questions leave by the Stack's sockets.

        Args:
            name: A host name, encoded by IDNA if it is not ASCII, or an address literal.
            family: `socket.AF_INET`, `socket.AF_INET6`, or 0 for both.
            timeout: Seconds; None: until every name server has had its tries, seven seconds for
                each that is silent.

        Returns:
            The addresses: those with a route first, IPv6 before IPv4 within each half, otherwise
            in the order of the answer.

        Raises:
            socket.gaierror: EAI_NONAME, no such name, or none of this family; EAI_AGAIN, no
                name server, no answer in time, or the server failed; EAI_FAIL, the answer was
                truncated before its first address; EAI_MEMORY; EAI_FAMILY.
            ValueError: The timeout is negative.
            OSError: The stack is closed.
        """
        return resolve(self._handle, self.socket, name, family, timeout)
