"""`Forwarder`: each flow to an upstream, answered as the upstream answers.

Rules: a connection is answered when it is there upstream, and refused as it was refused there; what
nobody answers there nobody answers here. A datagram's flow is answered when something has come back
or the network has not complained for a moment. Every flow, connect and queue has its limit and its
time.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from pystack._native.values import hinted, number, whole
from pystack.embed.descriptors import descriptor_limit, raise_descriptor_limit
from pystack.embed.ending import ended, in_time
from pystack.embed.proxy.datagrams import DatagramRelay
from pystack.embed.proxy.direct import Direct
from pystack.embed.proxy.intake import take
from pystack.embed.proxy.pump import Pump
from pystack.embed.proxy.rooms import Rooms
from pystack.embed.proxy.upstream import Upstream
from pystack.errors import StackPanic
from pystack.intercept import EchoFlow, Intercept, TcpFlow, UdpFlow
from pystack.stack import Stack

__all__ = ["UDP_ROOM", "AnyFlow", "Forwarder", "ForwarderStatistics"]

AnyFlow: TypeAlias = TcpFlow | UdpFlow | EchoFlow
T = TypeVar("T")

UDP_ROOM = 128 << 20  # bytes: half of what a Stack may use (`memory_limit`)
_TICK = 1.0  # seconds between two looks at what is quiet
_DNS, _DNS_IDLE = 53, 10.0
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)
# What is told to the source; other errors are silence.
_TOLD = {
    errno.ECONNREFUSED: errno.ECONNREFUSED,
    errno.ECONNRESET: errno.ECONNREFUSED,
    errno.EHOSTUNREACH: errno.EHOSTUNREACH,
    errno.EHOSTDOWN: errno.EHOSTUNREACH,
    errno.ENETUNREACH: errno.ENETUNREACH,
    errno.EADDRNOTAVAIL: errno.ENETUNREACH,
    errno.EAFNOSUPPORT: errno.ENETUNREACH,
    errno.EACCES: errno.EACCES,
    errno.EPERM: errno.EACCES,
    errno.EOPNOTSUPP: errno.EACCES,
}


@dataclass
class ForwarderStatistics:
    """What became of flows so far, and what there is.

    Attributes:
        accepted: Flows that were answered.
        refused: Flows whose source was told why not.
        dropped: Flows met with silence.
        exhausted: Flows for which there was no descriptor left; among `refused`, but for those
            that were answered already, and reset.
        pushed_out: Connects given up for newer ones; among `dropped`.
        idle: Flows ended because nothing moved.
        connecting: Connects under way.
        connections: TCP connections that are open.
        datagram_flows: UDP flows that are open.
    """

    accepted: int = 0
    refused: int = 0
    dropped: int = 0
    exhausted: int = 0
    pushed_out: int = 0
    idle: int = 0
    connecting: int = 0
    connections: int = 0
    datagram_flows: int = 0


@hinted
class Forwarder:
    """Forwards the flows of a Stack to an upstream. Made in a running loop or before one.

    Each flow takes a descriptor of this process: its socket upstream (a SOCKS5 upstream's UDP flow
    two). Where none is left, the soft limit (RLIMIT_NOFILE) is raised to the hard one; where that
    is reached, a flow is refused, by a RST or "prohibited", and counted as `exhausted`.

    Args:
        net: The Stack that flows come to.
        upstream: Where they go; default: `Direct`, by the kernel's sockets. It is closed with the
            Forwarder.
        to: Says which host and port a flow goes to upstream, instead of its own destination; it may
            raise `OSError` with the errno that the source is told (see `Flow.refuse`), or ETIMEDOUT
            for silence.
        connecting: Connects under way at once; the oldest is given up for a newer one.
        connect_timeout: Seconds for a connect upstream, then silence.
        tcp_idle: Seconds after which a connection on which nothing moves is reset (RFC 5382 5).
        udp_idle: The same of a UDP flow (RFC 4787 4.3), which is forgotten; that of a DNS query is
            10 s at most.
        grace: Seconds that the network has to complain about a UDP flow's first datagram.
        udp_room: Bytes of datagrams that may wait at all UDP flows together in the Stack, and twice
            as many in the kernel. Each has the same room, from 2 MiB for a few to 2 KiB for any
            number; what has none is lost.

    Raises:
        ValueError: `connecting` or `udp_room` is not positive.
    """

    def __init__(
        self,
        net: Stack,
        upstream: Upstream | None = None,
        *,
        to: Callable[[AnyFlow], tuple[str, int]] | None = None,
        connecting: int = 2048,
        connect_timeout: float = 30.0,
        tcp_idle: float = 7440.0,
        udp_idle: float = 120.0,
        grace: float = 0.1,
        udp_room: int = UDP_ROOM,
    ) -> None:
        if isinstance(upstream, str):
            raise TypeError(f"an upstream is an object: parse_upstream({upstream!r})")
        whole(connecting, "connecting", 1, sys.maxsize)
        whole(udp_room, "udp_room", 1, sys.maxsize)
        for name, seconds in (
            ("connect_timeout", connect_timeout), ("tcp_idle", tcp_idle), ("udp_idle", udp_idle),
            ("grace", grace),
        ):  # fmt: skip
            number(seconds, name, unit="seconds")
        self._net = net
        self._upstream: Upstream = Direct() if upstream is None else upstream
        self._to = to if to is not None else lambda flow: flow.destination[:2]
        self._most_connecting = connecting
        self._connect_timeout = connect_timeout
        self._tcp_idle, self._udp_idle, self._grace = tcp_idle, udp_idle, grace
        self.rooms = Rooms(udp_room)  # of others' flows as well, where they share the Stack
        self._tasks: set[asyncio.Task[None]] = set()
        self._connecting: OrderedDict[asyncio.Task[None], None] = OrderedDict()
        self._quiet: dict[Pump | DatagramRelay, float] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self._counts = ForwarderStatistics()
        self._taking: set[Intercept] = set()
        self._closed = False
        self._has_told = False  # that descriptors run out

    @property
    def upstream(self) -> Upstream:
        """Where flows go."""
        return self._upstream

    def statistics(self) -> ForwarderStatistics:
        """A snapshot; from any thread."""
        counts = ForwarderStatistics(**vars(self._counts))
        counts.connecting = len(self._connecting)
        flows = list(self._quiet)  # in one step, as the loop goes on
        counts.connections = sum(isinstance(one, Pump) for one in flows)
        counts.datagram_flows = len(flows) - counts.connections
        return counts

    async def run(
        self, *, tcp: bool = True, udp: bool = True, icmp: bool = True, open: int = 65536
    ) -> None:
        """Takes flows until it is cancelled, closed, or the Stack is closed; then ends them all.

        As a task, it takes them from its first step on: `await asyncio.sleep(0)` lets it begin.

        Args:
            tcp: See `Stack.intercept`, as for the others.
            udp: UDP flows.
            icmp: Echo requests.
            open: How many flows may be open.

        Raises:
            RuntimeError: The Forwarder was closed before.
            OSError: What `Stack.intercept` raises.
            StackPanic: The engine has failed.
        """
        if self._closed:
            raise RuntimeError("the Forwarder is closed")
        decide = self._connect_timeout + 5
        with self._net.intercept(tcp=tcp, udp=udp, icmp=icmp, open=open, decide=decide) as taken:
            self._taking.add(taken)
            try:
                await take(taken, self.start)
            finally:
                self._taking.discard(taken)
                await self.close()

    def start(self, flow: AnyFlow) -> asyncio.Task[None]:
        """Begins to forward a flow, in a task of the running loop.

        Raises:
            RuntimeError: The Forwarder is closed.
        """
        if self._closed:
            flow.drop()
            raise RuntimeError("the Forwarder is closed")
        loop = asyncio.get_running_loop()
        if self._sweeper is None:
            self._sweeper = loop.create_task(self._sweep())
        task = loop.create_task(self._handle(flow))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Also of one that was cancelled before it began.
        task.add_done_callback(lambda _done: self._settle(flow, errno.ETIMEDOUT))
        if isinstance(flow, TcpFlow):
            self._connecting[task] = None
            task.add_done_callback(lambda done: self._connecting.pop(done, None))
            if len(self._connecting) > self._most_connecting:
                oldest, _nothing = self._connecting.popitem(last=False)
                self._counts.pushed_out += 1
                oldest.cancel()
        return task

    async def close(self) -> None:
        """Resets what is open, forgets the rest, and closes the upstream. May be called again.

        `run` ends by it.
        """
        self._closed = True
        for taken in list(self._taking):
            taken.close()
        for one in list(self._quiet):
            one.abort()
        sweeping = [] if self._sweeper is None else [self._sweeper]
        try:
            # A flow that connects just now is none that begins: see `_watch`.
            await ended([*self._tasks, *sweeping])
        finally:
            await self._upstream.close()

    # --- one flow --------------------------------------------------------------------------

    async def _handle(self, flow: AnyFlow) -> None:
        try:
            host, port = self._to(flow)
            if isinstance(flow, TcpFlow):
                await self._forward_connection(flow, host, port)
            elif isinstance(flow, UdpFlow):
                await self._forward_datagrams(flow, host, port)
            else:
                await self._upstream.echo(host, flow.data, flow.ttl)
                flow.accept()
                self._counts.accepted += 1
        except ConnectionAbortedError:
            if not flow.decided:
                self._settle(flow, errno.ETIMEDOUT)
        except OSError as error:
            unknown = isinstance(error, socket.gaierror)
            code = errno.EHOSTUNREACH if unknown else error.errno
            if code in _NO_DESCRIPTOR:
                self._tell_of_exhaustion(error)
                code = errno.ECONNREFUSED if isinstance(flow, TcpFlow) else errno.EACCES
            self._settle(flow, code)
        except asyncio.TimeoutError:
            self._settle(flow, errno.ETIMEDOUT)
        except StackPanic:
            flow.decided = True  # told to whoever takes the flows

    def _settle(self, flow: AnyFlow, code: int | None) -> None:
        """Decides on a flow that nobody has decided on."""
        if flow.decided:
            return
        if self._net.closed:
            flow.decided = True
            return
        told = _TOLD.get(code or 0)
        try:
            if told is None:
                self._counts.dropped += 1
                flow.drop()
            else:
                self._counts.refused += 1
                flow.refuse(told)
        except StackPanic:  # there is nobody to tell any more
            flow.decided = True

    def _tell_of_exhaustion(self, error: OSError) -> None:
        """Counts it; the loop's handler hears of the first."""
        self._counts.exhausted += 1
        if self._has_told:
            return
        self._has_told = True
        words = f"flows are refused for now: {error}"
        if error.errno == errno.EMFILE:
            words += "; raise the limit of open files (ulimit -n), or have fewer flows"
        asyncio.get_running_loop().call_exception_handler({"message": words})

    async def _opened(self, way: Callable[[str, int], Awaitable[T]], host: str, port: int) -> T:
        """What is upstream; once more where this process may have more descriptors than it has."""
        limit = descriptor_limit()
        try:
            return await in_time(way(host, port), self._connect_timeout)
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            raise_descriptor_limit()
            if descriptor_limit() <= limit:
                raise
        return await in_time(way(host, port), self._connect_timeout)

    async def _forward_connection(self, flow: TcpFlow, host: str, port: int) -> None:
        outside = await self._opened(self._upstream.connect, host, port)
        task = asyncio.current_task()
        assert task is not None
        self._connecting.pop(task, None)
        if self._closed:  # an upstream that swallows a cancellation
            outside.close()
            raise ConnectionAbortedError("the Forwarder is closed")
        try:
            inside = flow.accept()
        except BaseException:
            outside.close()
            raise
        self._counts.accepted += 1
        with contextlib.suppress(OSError, StackPanic):  # the Pump hears of it, and ends both
            inside.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        carrying = Pump(inside, outside)
        self._watch(carrying, self._tcp_idle)

    async def _forward_datagrams(self, flow: UdpFlow, host: str, port: int) -> None:
        channel = await self._opened(self._upstream.datagrams, host, port)
        relay = DatagramRelay(flow, channel, self.rooms)
        try:
            await relay.open(self._grace)
        except BaseException:
            relay.abort()
            raise
        self._counts.accepted += 1
        idle = min(self._udp_idle, _DNS_IDLE) if port == _DNS else self._udp_idle
        self._watch(relay, idle)

    def _watch(self, one: Pump | DatagramRelay, idle: float) -> None:
        self._quiet[one] = idle
        one.done.add_done_callback(lambda _done: self._quiet.pop(one, None))
        if self._closed:  # while its task was ending
            one.abort()

    async def _sweep(self) -> None:
        """Ends what has been quiet for too long."""
        while True:
            await asyncio.sleep(_TICK)
            for one, idle in list(self._quiet.items()):
                one.quiet += 1
                if one.quiet * _TICK > idle:
                    self._counts.idle += 1
                    one.abort()
