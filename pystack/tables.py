"""A Stack's tables: neighbours, routes, connections, counters. Reading one gives a snapshot."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, Protocol, TypeAlias

from pystack._native import StackHandle, ffi, lib
from pystack._native.address import (
    Address,
    Network,
    from_c,
    mac_text,
    mac_to_bytes,
    maybe_from_c,
    network_from_c,
    network_to_c,
    parse,
    text,
    to_c,
)

__all__ = [
    "Connection",
    "Neighbour",
    "NeighbourState",
    "NeighbourTable",
    "Route",
    "RouteOrigin",
    "RouteTable",
    "TcpInfo",
    "TcpState",
    "format_connections",
    "list_connections",
    "list_counters",
]


class _HasIndex(Protocol):
    @property
    def index(self) -> int: ...


# An interface, its index, or its name.
InterfaceLike: TypeAlias = "_HasIndex | int | str"


def interface_index(handle: StackHandle, interface: InterfaceLike | None) -> int:
    """An interface's index; 0 for None."""
    if interface is None:
        return 0
    if isinstance(interface, str):
        for one in handle.listing(
            "struct ps_interface", lambda out, room: lib.ps_interfaces(handle.pointer, out, room)
        ):
            if ffi.string(one.name).decode() == interface:
                return int(one.index)
        raise OSError(19, f"no interface {interface!r}")  # ENODEV
    return int(interface if isinstance(interface, int) else interface.index)


# --- neighbours ------------------------------------------------------------------------------


class NeighbourState(Enum):
    """How well a neighbour is known (RFC 4861 7.3.2), of either family."""

    INCOMPLETE = lib.PS_NEIGHBOUR_INCOMPLETE
    REACHABLE = lib.PS_NEIGHBOUR_REACHABLE
    STALE = lib.PS_NEIGHBOUR_STALE
    DELAY = lib.PS_NEIGHBOUR_DELAY
    PROBE = lib.PS_NEIGHBOUR_PROBE
    PERMANENT = lib.PS_NEIGHBOUR_PERMANENT
    """Set by hand; never asked for."""


@dataclass(frozen=True)
class Neighbour:
    """An entry of the neighbour table.

    Attributes:
        address: Its IP address.
        mac: Its Ethernet address, as "02:00:00:00:00:01"; of an incomplete entry all zero.
        state: How well it is known.
        interface: The index of the interface that it is on.
        router: Whether it says that it is a router (IPv6).
        age_s: Seconds since it was last confirmed (IPv4; IPv6: 0).
    """

    address: Address
    mac: str
    state: NeighbourState
    interface: int
    router: bool
    age_s: int


class NeighbourTable:
    """ARP's and neighbour discovery's table, as `ip neighbour` shows and changes it."""

    def __init__(self, handle: StackHandle) -> None:
        self._handle = handle

    def list(self, interface: InterfaceLike | None = None) -> list[Neighbour]:
        """All entries, or one interface's."""
        index = interface_index(self._handle, interface)
        listing = self._handle.listing(
            "struct ps_neighbour",
            lambda out, room: lib.ps_neighbours(self._handle.pointer, out, room),
        )
        return [
            Neighbour(
                from_c(raw.address),
                mac_text(bytes(raw.mac)),
                NeighbourState(raw.state),
                raw.interface,
                bool(raw.router),
                raw.age_s,
            )
            for raw in listing
            if index in (0, raw.interface)
        ]

    def __iter__(self) -> Iterator[Neighbour]:
        return iter(self.list())

    def __len__(self) -> int:
        return len(self.list())

    def _on(self, address: Address | str, interface: InterfaceLike | None) -> int:
        """The interface that was named, or the one that the routes lead to."""
        if interface is not None:
            return interface_index(self._handle, interface)
        return RouteTable(self._handle).lookup(address).interface

    def add(
        self, address: Address | str, mac: str | bytes, interface: InterfaceLike | None = None
    ) -> None:
        """Sets an entry that stays until it is deleted, and replaces the one that there is.

        Args:
            address: The neighbour's IP address.
            mac: Its Ethernet address.
            interface: Where it is; default: where the routes lead.

        Raises:
            ValueError: Not an address.
            OSError: EOPNOTSUPP, the interface has no Ethernet addresses; EINVAL, a group; ENODEV;
                ENETUNREACH, no route leads there; ENOMEM, the table (ARP's
                1024 entries, ND's 127) is full.
        """
        raw = ffi.new("struct ps_neighbour *")
        raw.interface = self._on(address, interface)
        raw.address = to_c(address)[0]
        raw.state = lib.PS_NEIGHBOUR_PERMANENT
        ffi.memmove(raw.mac, mac_to_bytes(mac), 6)
        self._handle.check(lib.ps_neighbour_add(self._handle.pointer, raw))

    def delete(self, address: Address | str, interface: InterfaceLike | None = None) -> None:
        """Forgets a neighbour.

        Raises:
            ProcessLookupError: ESRCH, there is no such entry.
        """
        index = self._on(address, interface)
        self._handle.check(lib.ps_neighbour_remove(self._handle.pointer, index, to_c(address)))

    def flush(
        self,
        interface: InterfaceLike | None = None,
        *,
        family: int = socket.AF_UNSPEC,
        permanent: bool = False,
    ) -> None:
        """Forgets all neighbours.

        Args:
            interface: Only those on this one.
            family: Only AF_INET's or AF_INET6's.
            permanent: Those that were set by hand too.
        """
        families = {socket.AF_UNSPEC: 0, socket.AF_INET: 4, socket.AF_INET6: 6}
        if family not in families:
            raise ValueError("the family is AF_INET, AF_INET6 or AF_UNSPEC")
        index = interface_index(self._handle, interface)
        which = families[socket.AddressFamily(family)]
        self._handle.check(lib.ps_neighbour_flush(self._handle.pointer, index, which, permanent))


# --- routes ----------------------------------------------------------------------------------


class RouteOrigin(Enum):
    """Where a route came from."""

    STATIC = lib.PS_ROUTE_STATIC
    CONNECTED = lib.PS_ROUTE_CONNECTED
    """It follows from an interface's address."""
    DHCP = lib.PS_ROUTE_DHCP
    RA = lib.PS_ROUTE_RA
    """A router advertised it (RFC 4861)."""


@dataclass(frozen=True)
class Route:
    """An entry of the routing table.

    Attributes:
        destination: The network; 0.0.0.0/0 or ::/0 is the default.
        gateway: The next hop; None: the destination is on the link.
        interface: The index of the interface it leaves by.
        metric: Among routes to the same network the lowest wins.
        source: The source address it prefers; None: the interface's.
        origin: Where it came from.
    """

    destination: Network
    gateway: Address | None
    interface: int
    metric: int
    source: Address | None
    origin: RouteOrigin


class RouteTable:
    """The routes of both families, as `ip route` shows and changes them."""

    def __init__(self, handle: StackHandle) -> None:
        self._handle = handle

    @staticmethod
    def _read(raw: Any) -> Route:
        return Route(
            network_from_c(raw.destination),
            maybe_from_c(raw.gateway),
            raw.interface,
            raw.metric,
            maybe_from_c(raw.source),
            RouteOrigin(raw.origin),
        )

    def list(self) -> list[Route]:
        """All routes, the longest prefix first."""
        listing = self._handle.listing(
            "struct ps_route", lambda out, room: lib.ps_routes(self._handle.pointer, out, room)
        )
        found = [self._read(raw) for raw in listing]
        found.sort(key=lambda route: (route.destination.version, -route.destination.prefixlen))
        return found

    def __iter__(self) -> Iterator[Route]:
        return iter(self.list())

    def __len__(self) -> int:
        return len(self.list())

    def _write(
        self,
        destination: Network | str,
        gateway: Address | str | None,
        interface: InterfaceLike | None,
        metric: int,
        source: Address | str | None,
    ) -> Any:
        raw = ffi.new("struct ps_route *")
        if destination == "default":
            if gateway is None:
                raise ValueError('"default" has no family without a gateway: say 0.0.0.0/0 or ::/0')
            destination = "0.0.0.0/0" if parse(gateway).version == 4 else "::/0"
        if not 0 <= metric <= 0xFFFFFFFF:
            raise ValueError("a metric has 32 bits")
        raw.destination = network_to_c(destination)[0]
        raw.metric = metric
        raw.interface = interface_index(self._handle, interface)
        if gateway is not None:
            raw.gateway = to_c(gateway)[0]
        if source is not None:
            raw.source = to_c(source)[0]
        return raw

    def add(
        self,
        destination: Network | str,
        gateway: Address | str | None = None,
        interface: InterfaceLike | None = None,
        *,
        metric: int = 0,
        source: Address | str | None = None,
    ) -> None:
        """Adds a route.

        Args:
            destination: A network, as "10.1.0.0/16", or "default".
            gateway: The next hop; without one the network is on the interface's link.
            interface: Where it leaves; default: where the gateway is.
            metric: Among routes to the same network the lowest wins.
            source: The source address for what has none yet.

        Raises:
            ValueError: Not a network or an address.
            FileExistsError: EEXIST, there is one to this network with this metric.
            OSError: ENETUNREACH, the gateway is on no interface's network; ENODEV; EINVAL.
        """
        raw = self._write(destination, gateway, interface, metric, source)
        self._handle.check(lib.ps_route_add(self._handle.pointer, raw))

    def delete(
        self,
        destination: Network | str,
        gateway: Address | str | None = None,
        interface: InterfaceLike | None = None,
        *,
        metric: int = 0,
    ) -> None:
        """Takes a route away; what is not given matches any, of several the lowest metric.

        Raises:
            ProcessLookupError: ESRCH, there is no such static route.
        """
        raw = self._write(destination, gateway, interface, metric, None)
        self._handle.check(lib.ps_route_remove(self._handle.pointer, raw))

    def lookup(self, address: Address | str) -> Route:
        """The route that a packet would take, as `ip route get`.

        Raises:
            OSError: ENETUNREACH, there is none.
        """
        raw = ffi.new("struct ps_route *")
        self._handle.check(lib.ps_route_lookup(self._handle.pointer, to_c(address), raw))
        return self._read(raw)


# --- connections -----------------------------------------------------------------------------


class TcpState(Enum):
    """The states of RFC 9293 3.3.2; the numbers are Linux's."""

    ESTABLISHED = lib.PS_TCP_ESTABLISHED
    SYN_SENT = lib.PS_TCP_SYN_SENT
    SYN_RECEIVED = lib.PS_TCP_SYN_RECEIVED
    FIN_WAIT_1 = lib.PS_TCP_FIN_WAIT_1
    FIN_WAIT_2 = lib.PS_TCP_FIN_WAIT_2
    TIME_WAIT = lib.PS_TCP_TIME_WAIT
    CLOSED = lib.PS_TCP_CLOSED
    CLOSE_WAIT = lib.PS_TCP_CLOSE_WAIT
    LAST_ACK = lib.PS_TCP_LAST_ACK
    LISTEN = lib.PS_TCP_LISTEN
    CLOSING = lib.PS_TCP_CLOSING


@dataclass(frozen=True)
class Connection:
    """One row of netstat.

    Attributes:
        protocol: "tcp", "udp", or "raw:N" with the protocol's number; a 6 behind it for IPv6.
        local: Its own address and port.
        remote: The peer's; of one without a peer the unspecified address and port 0.
        state: Of TCP; else None.
        receive_queue: Bytes that wait to be read; of a listener the connections that wait.
        send_queue: Bytes not yet acknowledged; of a listener its backlog.
    """

    protocol: str
    local: tuple[str, int]
    remote: tuple[str, int]
    state: TcpState | None
    receive_queue: int
    send_queue: int


_PROTOCOLS = {int(socket.IPPROTO_TCP): "tcp", int(socket.IPPROTO_UDP): "udp"}


def list_connections(handle: StackHandle) -> list[Connection]:
    """See `pystack.Stack.connections`."""
    listing = handle.listing(
        "struct ps_connection", lambda out, room: lib.ps_connections(handle.pointer, out, room)
    )
    found = []
    for raw in listing:
        name = "raw" if raw.type == lib.PS_RAW else _PROTOCOLS.get(raw.protocol, "raw")
        six = "6" if raw.local.family == lib.PS_INET6 else ""
        number = "" if name != "raw" else f":{raw.protocol}"
        found.append(
            Connection(
                f"{name}{six}{number}",
                (text(raw.local), raw.local.port),
                (text(raw.remote), raw.remote.port),
                TcpState(raw.state) if raw.state else None,
                raw.receive_queue,
                raw.send_queue,
            )
        )
    return found


def _end(end: tuple[str, int]) -> str:
    host, port = end
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{port or '*'}"


def format_connections(connections: Iterable[Connection]) -> list[list[str]]:
    """Rows of text as netstat has them, the first the header."""
    rows = [["Proto", "Recv-Q", "Send-Q", "Local Address", "Foreign Address", "State"]]
    rows += (
        [
            one.protocol,
            str(one.receive_queue),
            str(one.send_queue),
            _end(one.local),
            _end(one.remote),
            one.state.name if one.state else "",
        ]
        for one in connections
    )
    return rows


@dataclass(frozen=True)
class TcpInfo:
    """What TCP knows of a connection, as it was when it was asked for.

    Attributes:
        state: The connection's state.
        retransmits: Retransmissions of the segment that is waited for.
        backoff: How often its timeout was doubled.
        send_wscale: The shift of windows that the peer announces (RFC 7323).
        receive_wscale: The shift of our own.
        probes: Keepalive or zero-window probes that went unanswered.
        rto_us: Retransmission timeout, microseconds.
        rtt_us: Smoothed round-trip time, microseconds.
        rttvar_us: Its variation, microseconds.
        send_mss: The largest segment that is sent, bytes of data.
        receive_mss: The largest that was announced to the peer.
        unacked_segments: Segments on their way.
        send_ssthresh: Slow start's threshold, bytes (RFC 5681); 4294967295: none yet.
        send_cwnd_bytes: The congestion window, bytes.
        send_window: The peer's window, bytes.
        receive_window: Our window, bytes.
        pmtu: The path's MTU as far as it is known, bytes.
        bytes_acked: Bytes that the peer acknowledged.
        bytes_received: Bytes that came, in order.
        total_retransmits: Segments sent again so far.
        congestion_state: 0 open, 1 disorder, 3 recovery, 4 loss; Linux's TCP_CA_*.
        ato_us: How long an acknowledgement may be held back, microseconds.
        min_rtt_us: The least round trip of late, microseconds; 0: none was measured.
        receive_rtt_us: The round trip as a receiver sees it, microseconds; 0: not known.
        sacked_segments: On their way and known to have arrived (RFC 2018).
        lost_segments: Given up, and not sent again yet.
        again_segments: Sent again, and on their way.
        data_sent_ms: Since data was sent last, or the connection is there, milliseconds.
        data_received_ms: The same of data that came.
        ack_received_ms: The same of acknowledgements.
        reordering: By how many segments one was overtaken at most; 3: none yet.
        receive_threshold: What our window may become, bytes.
        receive_space: The most that was read in a round trip, bytes.
        not_sent_bytes: Bytes that wait to be sent for the first time.
        segments_out: Segments sent, with data or not.
        segments_in: Segments that came.
        data_segments_out: Segments with data sent, again or not.
        data_segments_in: Segments with data that came.
        delivered: Segments that are known to have arrived.
        came_twice: Reports that some data came twice (RFC 2883).
        overtaken: Segments that arrived after later ones.
        out_of_order: Segments that came before earlier ones.
        timeouts: Retransmission timeouts.
        timeout_series: How many of these were the first of several.
        bytes_sent: Bytes of data sent, again or not.
        bytes_again: Bytes of data sent again.
        busy_us: Time with something to send or unacknowledged, microseconds.
        window_limited_us: Of it, that in which the peer's window was too small.
        buffer_limited_us: Of it, that in which SO_SNDBUF was.
    """

    state: TcpState
    retransmits: int
    backoff: int
    send_wscale: int
    receive_wscale: int
    probes: int
    rto_us: int
    rtt_us: int
    rttvar_us: int
    send_mss: int
    receive_mss: int
    unacked_segments: int
    send_ssthresh: int
    send_cwnd_bytes: int
    send_window: int
    receive_window: int
    pmtu: int
    bytes_acked: int
    bytes_received: int
    total_retransmits: int
    congestion_state: int
    ato_us: int
    min_rtt_us: int
    receive_rtt_us: int
    sacked_segments: int
    lost_segments: int
    again_segments: int
    data_sent_ms: int
    data_received_ms: int
    ack_received_ms: int
    reordering: int
    receive_threshold: int
    receive_space: int
    not_sent_bytes: int
    segments_out: int
    segments_in: int
    data_segments_out: int
    data_segments_in: int
    delivered: int
    came_twice: int
    overtaken: int
    out_of_order: int
    timeouts: int
    timeout_series: int
    bytes_sent: int
    bytes_again: int
    busy_us: int
    window_limited_us: int
    buffer_limited_us: int

    @classmethod
    def from_c(cls, raw: Any) -> TcpInfo:
        """Of a `struct ps_tcp_info`."""
        values = {field.name: getattr(raw, field.name) for field in fields(cls)}
        return cls(**{**values, "state": TcpState(raw.state)})


# --- counters --------------------------------------------------------------------------------


def list_counters(handle: StackHandle, index: int = 0) -> dict[str, int]:
    """The protocols' counters, or one interface's; see `pystack.Stack.counters`."""
    call: Callable[[Any, int], int] = lambda out, room: lib.ps_counters(  # noqa: E731
        handle.pointer, index, out, room
    )
    return {
        ffi.string(raw.name).decode(): int(raw.value)
        for raw in handle.listing("struct ps_counter", call, 128)
    }
