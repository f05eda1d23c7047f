"""`ping` and `traceroute`, over a Stack's raw ICMP sockets (RFC 792, RFC 4443)."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pystack._native.address import Address
from pystack._native.values import hinted, number, whole
from pystack.serving.frame import checksum
from pystack.sockets import Socket, SocketModule

__all__ = [
    "Hop",
    "PingReply",
    "PingResult",
    "Prober",
    "StackProbes",
    "TracerouteResult",
    "check_ping",
    "named",
    "ping",
    "pings",
    "reaches",
    "trace",
    "traceroute",
]

_HEADER = struct.Struct("!BBHHH")
_LARGEST = 65507

# ICMP errors by (family, type) and code; None: any other code.
_ERRORS: dict[tuple[int, int], dict[int | None, str]] = {
    (socket.AF_INET, 3): {
        0: "network unreachable",
        1: "host unreachable",
        2: "protocol unreachable",
        3: "port unreachable",
        4: "fragmentation needed",
        9: "network prohibited",
        10: "host prohibited",
        13: "communication prohibited",
        None: "destination unreachable",
    },
    (socket.AF_INET, 11): {1: "reassembly time exceeded", None: "time to live exceeded"},
    (socket.AF_INET, 12): {None: "parameter problem"},
    (socket.AF_INET6, 1): {
        0: "no route",
        1: "administratively prohibited",
        3: "address unreachable",
        4: "port unreachable",
        None: "destination unreachable",
    },
    (socket.AF_INET6, 2): {None: "packet too big"},
    (socket.AF_INET6, 3): {1: "reassembly time exceeded", None: "hop limit exceeded"},
    (socket.AF_INET6, 4): {None: "parameter problem"},
}
_TIME_EXCEEDED = {socket.AF_INET: 11, socket.AF_INET6: 3}


@dataclass(frozen=True)
class PingReply:
    """The outcome of one echo request.

    Attributes:
        sequence: The request's number, from 1.
        source: The address that answered; None: none did.
        size: Bytes of ICMP message in the reply.
        ttl: The reply's time to live or hop limit; None: unknown.
        rtt_ms: Milliseconds from request to reply; None: no reply.
        error: The ICMP error, or "timeout"; None: it was answered.
        time_exceeded: Whether a router discarded the request because of its time to live.
    """

    sequence: int
    source: str | None
    size: int
    ttl: int | None
    rtt_ms: float | None
    error: str | None = None
    time_exceeded: bool = False

    def __str__(self) -> str:
        if self.source is None:
            return f"icmp_seq={self.sequence} {self.error}"
        if self.error is not None:
            return f"From {self.source} icmp_seq={self.sequence} {self.error}"
        ttl = "" if self.ttl is None else f"ttl={self.ttl} "
        return (
            f"{self.size} bytes from {self.source}: icmp_seq={self.sequence} "
            f"{ttl}time={self.rtt_ms:.3g} ms"
        )


@dataclass(frozen=True)
class PingResult:
    """The result of a `ping`.

    Attributes:
        destination: The address that was pinged.
        replies: One for each request, in order.
    """

    destination: str
    replies: tuple[PingReply, ...]

    @property
    def sent(self) -> int:
        """How many requests went out."""
        return len(self.replies)

    @property
    def received(self) -> int:
        """How many were answered."""
        return sum(reply.error is None for reply in self.replies)

    @property
    def loss(self) -> float:
        """The share that was not answered, 0 to 1."""
        return 1 - self.received / self.sent if self.sent else 0.0

    @property
    def rtts_ms(self) -> tuple[float, ...]:
        """Milliseconds of each request that was answered."""
        return tuple(
            reply.rtt_ms
            for reply in self.replies
            if reply.error is None and reply.rtt_ms is not None
        )

    def __bool__(self) -> bool:
        return self.received > 0

    def __str__(self) -> str:
        text = (
            f"{self.destination}: {self.sent} sent, {self.received} received, {self.loss:.0%} lost"
        )
        if times := self.rtts_ms:
            mean = sum(times) / len(times)
            text += f", rtt min/avg/max = {min(times):.3f}/{mean:.3f}/{max(times):.3f} ms"
        return text


@dataclass(frozen=True)
class Hop:
    """One step of a traceroute.

    Attributes:
        ttl: The time to live of its requests.
        replies: Their outcomes.
    """

    ttl: int
    replies: tuple[PingReply, ...]

    @property
    def address(self) -> str | None:
        """The first address that answered; None: none did."""
        return next((reply.source for reply in self.replies if reply.source), None)

    def __str__(self) -> str:
        times = " ".join(
            "*" if reply.rtt_ms is None else f"{reply.rtt_ms:.3f} ms" for reply in self.replies
        )
        return f"{self.ttl:2}  {self.address or '*'}  {times}"


@dataclass(frozen=True)
class TracerouteResult:
    """The result of a `traceroute`.

    Attributes:
        destination: The address that was traced.
        hops: The steps, the destination last if it was reached.
        reached: Whether it was.
    """

    destination: str
    hops: tuple[Hop, ...]
    reached: bool

    def __str__(self) -> str:
        return "\n".join(str(hop) for hop in self.hops)


class Prober:
    """A raw ICMP socket, and the requests and answers of one family on it."""

    def __init__(self, sockets: SocketModule, destination: Address | str) -> None:
        info = sockets.getaddrinfo(named(destination), None, type=socket.SOCK_RAW)[0]
        self.family, self.where = info[0], info[4]
        self.v6 = self.family == socket.AF_INET6
        if self.v6 and not self.where[3] and ipaddress.ip_address(self.where[0]).is_link_local:
            names = [name for index, name in sockets.if_nameindex() if index > 1] or ["eth0"]
            raise OSError(
                errno.EINVAL,
                f"{self.where[0]} is link-local: say on which interface, "
                f"as {self.where[0]}%{names[0]}",
            )
        protocol = socket.IPPROTO_ICMPV6 if self.v6 else socket.IPPROTO_ICMP
        self.sock: Socket = sockets.socket(self.family, socket.SOCK_RAW, protocol)
        handle = self.sock._ps_handle
        self.now, self.sleep = handle.monotonic, handle.sleep
        self.identifier = int.from_bytes(os.urandom(2), "big")
        self.destination = str(self.where[0])
        if self.v6:
            self.sock.setsockopt(socket.IPPROTO_IPV6, getattr(socket, "IPV6_RECVHOPLIMIT", 51), 1)

    def set_ttl(self, ttl: int) -> None:
        """Sets the requests' time to live or hop limit."""
        if self.v6:
            self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
        else:
            self.sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)

    def exchange(
        self, sequence: int, size: int, timeout: float
    ) -> Generator[float, Any, PingReply]:
        """One request and its outcome; whoever runs it waits for messages.

        Yields:
            How many seconds to wait for one at most; it is sent what `receive` gives.
        """
        kind = 128 if self.v6 else 8
        data = bytes(i & 0xFF for i in range(size))
        number = sequence & 0xFFFF
        message = _HEADER.pack(kind, 0, 0, self.identifier, number) + data
        if not self.v6:  # ICMPv6's is the stack's job
            check = checksum(message)
            message = _HEADER.pack(kind, 0, check, self.identifier, number) + data
        started = self.now()
        try:
            self.sock.sendto(message, self.where)
        except OSError as error:
            if error.errno == errno.ENETUNREACH:
                text = f"{error.strerror}: no route to {self.destination}"
                raise OSError(error.errno, text) from None
            if error.errno not in (errno.EHOSTUNREACH, errno.EHOSTDOWN):
                raise
            return PingReply(sequence, None, 0, None, None, os.strerror(error.errno))
        deadline = started + timeout
        while (left := deadline - self.now()) > 0:
            message = yield left
            if message is None:
                continue
            packet, ancillary, _flags, source = message
            reply = self._read(packet, ancillary, source, number, sequence)
            if reply is not None:
                elapsed = (self.now() - started) * 1000
                return PingReply(**{**reply, "rtt_ms": elapsed})
        return PingReply(sequence, None, 0, None, None, "timeout")

    def receive(self) -> Any:
        """A message; None: it was an ICMP error about an earlier request, or none came in time."""
        try:
            return self.sock.recvmsg(_LARGEST + 100, 64)
        except (TimeoutError, BlockingIOError):
            return None
        except OSError as error:
            # The raw message tells more.
            if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ECONNREFUSED):
                return None
            raise

    def probe(self, sequence: int, size: int, timeout: float) -> PingReply:
        """Sends one request and waits for its outcome."""
        steps = self.exchange(sequence, size, timeout)
        try:
            left = next(steps)
            while True:
                self.sock.settimeout(left)
                left = steps.send(self.receive())
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    def _read(
        self, packet: bytes, ancillary: Any, source: Any, number: int, sequence: int
    ) -> dict[str, Any] | None:
        """What a message says about the request `number`; None: it is about something else."""
        ttl = None
        if self.v6:
            message = packet
            for level, kind, data in ancillary:
                if (level, kind) == (socket.IPPROTO_IPV6, getattr(socket, "IPV6_HOPLIMIT", 52)):
                    ttl = struct.unpack("i", data)[0]
        else:  # raw(7): with the IP header
            if len(packet) < 20:
                return None
            ttl = packet[8]
            message = packet[(packet[0] & 15) * 4 :]
        if len(message) < 8:
            return None
        kind, code, _check, identifier, answered = _HEADER.unpack_from(message)
        found: dict[str, Any] = {
            "sequence": sequence,
            "source": source[0],
            "size": len(message),
            "ttl": ttl,
        }
        if kind == (129 if self.v6 else 0):
            return found if (identifier, answered) == (self.identifier, number) else None
        texts = _ERRORS.get((self.family, kind))
        if texts is None or not self._quotes(message[8:], number):
            return None
        found["error"] = texts.get(code) or texts[None]
        found["time_exceeded"] = kind == _TIME_EXCEEDED[self.family] and code == 0
        return found

    def _quotes(self, quoted: bytes, number: int) -> bool:
        """Whether an ICMP error carries our request."""
        if self.v6:
            inner = quoted[40:] if quoted[6:7] == b"\x3a" else b""
        else:
            inner = quoted[(quoted[0] & 15) * 4 :] if len(quoted) >= 20 and quoted[9] == 1 else b""
        if len(inner) < 8:
            return False
        kind, _code, _check, identifier, sent = _HEADER.unpack_from(inner)
        return kind == (128 if self.v6 else 8) and (identifier, sent) == (self.identifier, number)


def named(destination: object) -> str:
    """A destination as a name; a number, or an address cut short, is none (inet_aton(3))."""
    if isinstance(destination, (ipaddress.IPv4Address, ipaddress.IPv6Address)):
        return str(destination)
    if not isinstance(destination, str):
        raise TypeError(
            f"a destination is an address or a name, such as '10.0.0.1', not {destination!r}"
        )
    if not destination:
        raise ValueError("a destination is an address or a name, such as '10.0.0.1', not ''")
    if not destination.strip("0123456789.") and destination.count(".") < 3:
        raise socket.gaierror(
            socket.EAI_NONAME,
            f"Name or service not known: {destination!r} is no IPv4 address: it has four numbers, "
            "as 10.0.0.1 has",
        )
    return destination


def check_ping(count: int, size: int, interval: float, timeout: float, ttl: int | None) -> None:
    """Raises ValueError or TypeError for what `pystack.Stack.ping` doesn't take."""
    whole(count, "count", 1, sys.maxsize)
    whole(size, "size", 0, _LARGEST, "bytes")
    number(interval, "interval", unit="seconds")
    number(timeout, "timeout", unit="seconds")
    if ttl is not None:
        whole(ttl, "ttl", 1, 255)


def pings(
    sockets: SocketModule,
    destination: Address | str,
    *,
    count: int,
    size: int,
    interval: float,
    timeout: float,
    ttl: int | None,
) -> tuple[str, Iterator[PingReply]]:
    """The address that `pystack.Stack.ping` asks, and what comes of each request as it comes."""
    check_ping(count, size, interval, timeout, ttl)
    prober = Prober(sockets, destination)

    def each() -> Iterator[PingReply]:
        with prober.sock:
            if ttl is not None:
                prober.set_ttl(ttl)
            for sequence in range(1, count + 1):
                started = prober.now()
                yield prober.probe(sequence, size, timeout)
                if sequence < count:
                    prober.sleep(max(0.0, started + interval - prober.now()))

    return prober.destination, each()


def ping(
    sockets: SocketModule,
    destination: Address | str,
    *,
    count: int,
    size: int,
    interval: float,
    timeout: float,
    ttl: int | None,
) -> PingResult:
    """See `pystack.Stack.ping`."""
    address, replies = pings(
        sockets, destination, count=count, size=size, interval=interval, timeout=timeout, ttl=ttl
    )
    return PingResult(address, tuple(replies))


def reaches(hop: Hop) -> bool:
    """Whether a step of `trace` is the destination."""
    return any(reply.source is not None and reply.error is None for reply in hop.replies)


def trace(
    sockets: SocketModule, destination: Address | str, *, hops: int, probes: int, timeout: float
) -> tuple[str, Iterator[Hop]]:
    """The address that `pystack.Stack.traceroute` looks for, and each step as it is taken."""
    whole(hops, "hops", 1, 255)
    whole(probes, "probes", 1, sys.maxsize)
    number(timeout, "timeout", unit="seconds")
    prober = Prober(sockets, destination)

    def each() -> Iterator[Hop]:
        with prober.sock:
            for ttl in range(1, hops + 1):
                prober.set_ttl(ttl)
                replies = tuple(
                    prober.probe((ttl - 1) * probes + number, 32, timeout)
                    for number in range(1, probes + 1)
                )
                yield Hop(ttl, replies)
                # Any answer except "time exceeded" ends the path.
                if any(reply.source and not reply.time_exceeded for reply in replies):
                    return

    return prober.destination, each()


def traceroute(
    sockets: SocketModule, destination: Address | str, *, hops: int, probes: int, timeout: float
) -> TracerouteResult:
    """See `pystack.Stack.traceroute`."""
    address, found = trace(sockets, destination, hops=hops, probes=probes, timeout=timeout)
    steps = tuple(found)
    return TracerouteResult(address, steps, reached=reaches(steps[-1]))


class StackProbes:
    """The part of `Stack` that probes paths."""

    if TYPE_CHECKING:  # Stack has it
        sockets: SocketModule

    @hinted
    def ping(
        self,
        destination: Address | str,
        *,
        count: int = 1,
        size: int = 56,
        interval: float = 1.0,
        timeout: float = 1.0,
        ttl: int | None = None,
    ) -> PingResult:
        """Sends echo requests and waits for the answers (RFC 792, RFC 4443 4).

        Args:
            destination: An address or a name.
            count: How many.
            size: Bytes of data in each.
            interval: Seconds between two.
            timeout: Seconds to wait for each answer.
            ttl: Time to live or hop limit; default: the sysctl's.

        Raises:
            socket.gaierror: There is no such name.
            OSError: ENETUNREACH, no route; EMSGSIZE, too large.
        """
        return ping(
            self.sockets,
            destination,
            count=count,
            size=size,
            interval=interval,
            timeout=timeout,
            ttl=ttl,
        )

    @hinted
    def traceroute(
        self,
        destination: Address | str,
        *,
        hops: int = 30,
        probes: int = 3,
        timeout: float = 1.0,
    ) -> TracerouteResult:
        """Finds the routers on the path, by echo requests with increasing time to live.

        Args:
            destination: An address or a name.
            hops: The maximum number of routers.
            probes: Requests per router.
            timeout: Seconds to wait for each answer.

        Raises:
            socket.gaierror: There is no such name.
            OSError: ENETUNREACH, no route.
        """
        return traceroute(self.sockets, destination, hops=hops, probes=probes, timeout=timeout)
