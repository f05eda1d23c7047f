"""A Stack's tables: neighbours, routes, connections, counters. Reading one gives a snapshot."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

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
from pystack._native.interfaces import InterfaceLike, interface_index, no_interface
from pystack._native.shown import shown
from pystack._native.values import hinted, whole

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


# --- neighbours ------------------------------------------------------------------------------


class NeighbourState(Enum):
    """The state of a neighbour entry (RFC 4861 7.3.2), of either family."""

    INCOMPLETE = lib.PS_NEIGHBOUR_INCOMPLETE
    REACHABLE = lib.PS_NEIGHBOUR_REACHABLE
    STALE = lib.PS_NEIGHBOUR_STALE
    DELAY = lib.PS_NEIGHBOUR_DELAY
    PROBE = lib.PS_NEIGHBOUR_PROBE
    PERMANENT = lib.PS_NEIGHBOUR_PERMANENT
    """Set by hand; never probed."""


@dataclass(frozen=True)
class Neighbour:
    """An entry in the neighbour table.

    Attributes:
        address: Its IP address.
        mac: Its Ethernet address, as "02:00:00:00:00:01"; all zero while incomplete.
        state: How well it is known.
        interface: The index of its interface.
        router: Whether it claims to be a router (IPv6).
        age_s: Seconds since it was last confirmed (IPv4; IPv6: 0).
    """

    address: Address
    mac: str
    state: NeighbourState
    interface: int
    router: bool
    age_s: int


def _shown(table: object, rows: Callable[[], Sequence[str]]) -> str:
    return shown(table, lambda: f"<{type(table).__name__} [{', '.join(rows())}]>")


class NeighbourTable:
    """The ARP and neighbour discovery table, as in `ip neighbour`."""

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
        """The interface named, or the one that the routes choose."""
        if interface is not None:
            return interface_index(self._handle, interface)
        return RouteTable(self._handle).lookup(address).interface

    def add(
        self, address: Address | str, mac: str | bytes, interface: InterfaceLike | None = None
    ) -> None:
        """Sets a permanent entry, replacing any that exists.

        Args:
            address: The neighbour's IP address.
            mac: Its Ethernet address.
            interface: Its interface; default: the one that the routes choose.

        Raises:
            ValueError: Not an address.
            OSError: EOPNOTSUPP, the interface has no Ethernet addresses; EINVAL, a group; ENODEV;
                ENETUNREACH, no route; ENOMEM, the table (ARP 1024 entries, ND 127) is full.
        """
        raw = ffi.new("struct ps_neighbour *")
        raw.interface = self._on(address, interface)
        raw.address = to_c(parse(address))[0]
        raw.state = lib.PS_NEIGHBOUR_PERMANENT
        ffi.memmove(raw.mac, mac_to_bytes(mac), 6)
        self._handle.check(
            lib.ps_neighbour_add(self._handle.pointer, raw), no_interface(raw.interface)
        )

    def delete(self, address: Address | str, interface: InterfaceLike | None = None) -> None:
        """Forgets a neighbour.

        Raises:
            ProcessLookupError: ESRCH, there is no such entry.
        """
        index = self._on(address, interface)
        self._handle.check(
            lib.ps_neighbour_remove(self._handle.pointer, index, to_c(parse(address))),
            {errno.ESRCH: f"{address} is no neighbour that is known", **no_interface(index)},
        )

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
            permanent: Also those set by hand.
        """
        families = {socket.AF_UNSPEC: 0, socket.AF_INET: 4, socket.AF_INET6: 6}
        if family not in families:
            raise ValueError("the family is AF_INET, AF_INET6 or AF_UNSPEC")
        index = interface_index(self._handle, interface)
        which = families[socket.AddressFamily(family)]
        self._handle.check(
            lib.ps_neighbour_flush(self._handle.pointer, index, which, permanent),
            no_interface(index),
        )

    def __repr__(self) -> str:
        return _shown(
            self, lambda: [f"{one.address} {one.mac} {one.state.name}" for one in self.list()]
        )


# --- routes ----------------------------------------------------------------------------------


class RouteOrigin(Enum):
    """Where a route came from."""

    STATIC = lib.PS_ROUTE_STATIC
    CONNECTED = lib.PS_ROUTE_CONNECTED
    """The network of an interface's address."""
    DHCP = lib.PS_ROUTE_DHCP
    RA = lib.PS_ROUTE_RA
    """A router advertised it (RFC 4861)."""


@dataclass(frozen=True)
class Route:
    """An entry in the routing table.

    Attributes:
        destination: The network; 0.0.0.0/0 or ::/0 is the default.
        gateway: The next hop; None: the destination is on the link.
        interface: The index of the interface it leaves by.
        metric: The lowest wins among routes to the same network.
        source: The source address it prefers; None: the interface's.
        origin: Where it came from.
    """

    destination: Network
    gateway: Address | None
    interface: int
    metric: int
    source: Address | None
    origin: RouteOrigin


def _route_text(route: Route) -> str:
    gateway = "" if route.gateway is None else f" via {route.gateway}"
    return f"{route.destination}{gateway} dev {route.interface}"


class RouteTable:
    """The routes of both families, as in `ip route`."""

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
        """All routes, longest prefix first."""
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
        whole(metric, "metric", 0, 0xFFFFFFFF)
        raw.destination = network_to_c(destination)[0]
        raw.metric = metric
        raw.interface = interface_index(self._handle, interface)
        if gateway is not None:
            raw.gateway = to_c(parse(gateway))[0]
        if source is not None:
            raw.source = to_c(parse(source))[0]
        return raw

    @hinted
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
            interface: The outgoing interface; default: the gateway's.
            metric: The lowest wins among routes to the same network.
            source: The source address of packets that have none yet.

        Raises:
            ValueError: Not a network or an address.
            FileExistsError: EEXIST, there is one to this network with this metric.
            OSError: ENETUNREACH, the gateway is on no interface's network; ENODEV; EINVAL.
        """
        raw = self._write(destination, gateway, interface, metric, source)
        to, way = network_from_c(raw.destination), "" if gateway is None else f" via {gateway}"
        self._handle.check(
            lib.ps_route_add(self._handle.pointer, raw),
            {
                errno.ENETUNREACH: f"{to}{way}: no interface is on the gateway's network; "
                "give one an address there first",
                errno.EEXIST: f"{to}{way}: there is a route to that network with metric {metric}; "
                "delete it, or give this one another metric",
                errno.EINVAL: f"{to}{way}: no such route is possible",
                errno.ENODEV: f"{to}{way}: "
                + (
                    "give a gateway, or an interface"
                    if gateway is None and interface is None
                    else f"the Stack has no interface {raw.interface}"
                ),
            },
        )

    def delete(
        self,
        destination: Network | str,
        gateway: Address | str | None = None,
        interface: InterfaceLike | None = None,
        *,
        metric: int = 0,
    ) -> None:
        """Removes a route. Omitted arguments match any; of several the lowest metric goes.

        Raises:
            ProcessLookupError: ESRCH, there is no such static route.
        """
        raw = self._write(destination, gateway, interface, metric, None)
        self._handle.check(
            lib.ps_route_remove(self._handle.pointer, raw),
            {errno.ESRCH: f"there is no such static route to {destination}"},
        )

    def lookup(self, address: Address | str) -> Route:
        """The route that a packet would take, as in `ip route get`.

        Raises:
            OSError: ENETUNREACH, there is none.
        """
        raw = ffi.new("struct ps_route *")
        self._handle.check(
            lib.ps_route_lookup(self._handle.pointer, to_c(parse(address)), raw),
            {errno.ENETUNREACH: f"no route to {address}"},
        )
        return self._read(raw)

    def __repr__(self) -> str:
        return _shown(self, lambda: [_route_text(route) for route in self.list()])


# --- connections -----------------------------------------------------------------------------


class TcpState(Enum):
    """The states of RFC 9293 3.3.2, with Linux's numbers."""

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
    """A row of netstat.

    Attributes:
        protocol: "tcp", "udp" or "raw:N"; "tcp6", "udp6" or "raw6:N" for IPv6.
        local: Its own address and port; a raw socket's is its protocol, as netstat has it.
        remote: The peer's; without a peer the unspecified address and port 0.
        state: TCP's; None for other protocols.
        receive_queue: Bytes waiting to be read; for a listener, connections waiting.
        send_queue: Bytes not yet acknowledged; for a listener, its backlog.
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
    """Rows of text as in netstat; the first is the header."""
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
    """What TCP knows about a connection; a snapshot.

    Attributes:
        state: The connection's state.
        retransmits: Retransmissions of the oldest unacknowledged segment.
        backoff: How often its timeout has doubled.
        send_wscale: The window shift of the peer (RFC 7323).
        receive_wscale: Our own window shift.
        probes: Unanswered keepalive or zero-window probes.
        rto_us: Retransmission timeout, microseconds.
        rtt_us: Smoothed round-trip time, microseconds.
        rttvar_us: Its variation, microseconds.
        send_mss: The largest segment we send, bytes of data.
        receive_mss: The largest we announced to the peer.
        unacked_segments: Segments in flight.
        send_ssthresh: Slow start's threshold, bytes (RFC 5681); 4294967295: none yet.
        send_cwnd_bytes: The congestion window, bytes.
        send_window: The peer's window, bytes.
        receive_window: Our window, bytes.
        pmtu: The path MTU as far as it is known, bytes.
        bytes_acked: Bytes acknowledged by the peer.
        bytes_received: Bytes received in order.
        total_retransmits: Segments retransmitted so far.
        congestion_state: 0 open, 1 disorder, 3 recovery, 4 loss; Linux's TCP_CA_*.
        ato_us: How long an acknowledgement may be held back, microseconds.
        min_rtt_us: The recent minimum round trip, microseconds; 0: not measured.
        receive_rtt_us: The round trip estimated by the receiver, microseconds; 0: unknown.
        sacked_segments: In flight and selectively acknowledged (RFC 2018).
        lost_segments: Considered lost, not retransmitted yet.
        again_segments: Retransmitted and in flight.
        data_sent_ms: Milliseconds since data was last sent, or since the connection began.
        data_received_ms: The same for data received.
        ack_received_ms: The same for acknowledgements received.
        reordering: The most segments that overtook one; 3: none yet.
        receive_threshold: The largest window we may offer now, bytes.
        receive_space: The most read in one round trip, bytes.
        not_sent_bytes: Bytes not sent yet.
        segments_out: Segments sent, with data or not.
        segments_in: Segments received.
        data_segments_out: Segments with data sent, retransmissions included.
        data_segments_in: Segments with data received.
        delivered: Segments known to have arrived.
        came_twice: Reports of data that arrived twice (RFC 2883).
        overtaken: Segments that arrived after later ones.
        out_of_order: Segments received before earlier ones.
        timeouts: Retransmission timeouts.
        timeout_series: How many of these began a series.
        bytes_sent: Bytes of data sent, retransmissions included.
        bytes_again: Bytes of data retransmitted.
        busy_us: Time with data to send or unacknowledged, microseconds.
        window_limited_us: The part of it limited by the peer's window.
        buffer_limited_us: The part of it limited by SO_SNDBUF.
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
        """From a `struct ps_tcp_info`."""
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
