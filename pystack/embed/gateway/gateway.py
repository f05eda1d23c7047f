"""`Gateway`: the network behind one wire, served and translated in user mode."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from types import TracebackType
from typing import Any, TypeVar

from pystack._native.closing import Closing
from pystack._native.values import hinted, several, whole
from pystack.embed.ending import finished, in_time
from pystack.embed.gateway.dhcp import DhcpServer, Lease
from pystack.embed.gateway.dns import Forwarder
from pystack.embed.gateway.forwarding import DatagramForward, StreamForward
from pystack.embed.gateway.forwards import Forward, parse_forward
from pystack.embed.gateway.names import checked_search, resolvers_of
from pystack.embed.gateway.plan import SUBNET, SUBNET6, Plan, planned
from pystack.embed.gateway.services import Services
from pystack.embed.proxy import Forwarder as FlowForwarder
from pystack.embed.proxy import ForwarderStatistics
from pystack.embed.proxy.forwarder import UDP_ROOM
from pystack.embed.proxy.intake import take
from pystack.embed.readiness import connect
from pystack.intercept import EchoFlow, Intercept, TcpFlow, UdpFlow
from pystack.interface import Interface
from pystack.nic import Nic, NicProtocol
from pystack.sockets.early import kernel_socket
from pystack.stack import Stack

__all__ = ["Gateway", "Published"]

Self = TypeVar("Self", bound="Gateway")

MAC = "52:55:0a:00:02:02"  # locally administered; a guest that knows its router finds it again
_IP_TRANSPARENT, _IPV6_TRANSPARENT = 19, 75
_CONNECT_S = 10.0
_BACKLOG = 1024
_LINGER_S = 0.5
_UDP_IDLE_S = 120.0
MOST_FLOWS = 65536
_LOOK_S = 0.5  # how often another thread that waits for the loop looks whether it runs still
_NO_LOOP = "the gateway's event loop isn't running: do this between entering and leaving it"
_T = TypeVar("_T")


class Published(Closing):
    """A port forward at work, made by `Gateway.publish` or `Gateway.offer`.

    Attributes:
        forward: What was asked for, with the port that it got.
    """

    def __init__(self, gateway: Gateway, forward: Forward, at_work: Any) -> None:
        self._gateway, self.forward, self._at_work = gateway, forward, at_work

    def close(self) -> None:
        """Stops listening, and ends its flows with resets. May be called again.

        In a loop of the gateway's own that happens at once; on the loop that the gateway was
        entered on, its connections end when that has its turn.
        """
        self._gateway._retire(self)

    def __repr__(self) -> str:
        return f"<Published {self.forward}>"


@hinted
class Gateway:
    """A router for guests at the far end of a wire: their traffic leaves by this machine's sockets.

    Serves DHCP (RFC 2131), router advertisements (RFC 4861, RFC 8106), stateless DHCPv6 (RFC 8415)
    and DNS. TCP connections, UDP and echoes to any other address go on from sockets of the
    kernel's, made by this process and no privilege, and are answered as these are: a SYN when the
    kernel has connected, by a reset when it was refused, by an ICMP error when the kernel had one.

    ``async with`` runs it on the running event loop; ``with``, on a thread of its own.

    Args:
        nic: The wire. It is closed with the gateway.
        subnet: The guests' network of IPv4.
        subnet6: That of IPv6, of 64 bits; None: no IPv6.
        gateway: Its own address; default: the second of the subnet.
        dns: Its name server's; default: the third.
        guest: The first guest's; default: the hundredth, in a small subnet the fourth.
        dhcp: Whether it serves DHCP.
        nameservers: Who is asked for names; default: those of /etc/resolv.conf. Empty: it serves no
            DNS.
        search: The domains in which guests look names up, of 1024 bytes in all; default: as
            /etc/resolv.conf says, as far as they fit.
        names: Names that it answers for itself, with their addresses; "gateway.internal" is one,
            and with `host_loopback` "host.internal" another.
        host_loopback: An address outside the guests' networks that is this machine's 127.0.0.1 (or
            ::1) to guests, such as 192.0.2.2. Default: none; then no guest reaches what listens
            on loopback, but for what `offer` names.
        forwards: What is published from the start, as `publish` takes it.
        flows: How many flows may be open; what comes meanwhile is not answered. Each takes one
            descriptor; where there is none left (RLIMIT_NOFILE), a flow is refused.
        udp_room: Bytes of datagrams that may wait at all UDP flows together, those of published
            and offered ports among them; see `Forwarder`.
        mtu: Bytes of IP packet; default: the NIC's.
        mac: The gateway's Ethernet address.

    Attributes:
        plan: The addresses.
        net: The Stack; None before it is entered.
        interface: The Stack's interface to the guests.

    Raises:
        ValueError: An address, name or forward that is none.
    """

    def __init__(
        self,
        nic: Nic | NicProtocol,
        *,
        subnet: str | IPv4Network = SUBNET,
        subnet6: str | IPv6Network | None = SUBNET6,
        gateway: str | IPv4Address | None = None,
        dns: str | IPv4Address | None = None,
        guest: str | IPv4Address | None = None,
        dhcp: bool = True,
        nameservers: Sequence[str] | None = None,
        search: Sequence[str] | None = None,
        names: Mapping[str, Sequence[str]] | None = None,
        host_loopback: str | None = None,
        forwards: Sequence[Forward | str] = (),
        flows: int = MOST_FLOWS,
        udp_room: int = UDP_ROOM,
        mtu: int | None = None,
        mac: str = MAC,
    ) -> None:
        for what, given in (
            ("nameservers", nameservers), ("search", search), ("forwards", forwards),
        ):  # fmt: skip
            several(given, what)
        self.plan: Plan = planned(subnet, subnet6, gateway=gateway, dns=dns, guest=guest)
        resolvers = resolvers_of()
        self._search = resolvers.search if search is None else checked_search(search)
        servers = tuple(resolvers.servers if nameservers is None else nameservers)
        self._loopback = None if host_loopback is None else self.plan.beyond(host_loopback)
        known = self._names() | {name: list(some) for name, some in (names or {}).items()}
        self._forwarder = Forwarder(servers, known) if servers else None
        self._forwards = [self._forward(one) for one in forwards]
        self._nic, self._mtu, self._mac, self._has_dhcp = nic, mtu, mac, dhcp
        whole(flows, "flows", 1, sys.maxsize)
        whole(udp_room, "udp_room", 1, sys.maxsize)
        self._most, self._udp_room = flows, udp_room
        self.net: Stack | None = None
        self.interface: Interface | None = None
        self._dhcp: DhcpServer | None = None
        self._services: Services | None = None
        self._flows: FlowForwarder | None = None
        self._taken: Intercept | None = None
        self._running: asyncio.Task[None] | None = None
        self._published: dict[Published, None] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loops_thread = 0  # its identifier
        self._thread: threading.Thread | None = None  # if it is the gateway's own

    def _names(self) -> dict[str, list[str]]:
        plan = self.plan
        own = [str(one) for one in (plan.gateway, plan.gateway6) if one is not None]
        names = {"gateway.internal": own}
        if self._loopback is not None:
            names["host.internal"] = [str(self._loopback)]
        return names

    @staticmethod
    def _forward(one: Forward | str) -> Forward:
        return parse_forward(one) if isinstance(one, str) else one

    # --- life ----------------------------------------------------------------------------------

    async def __aenter__(self: Self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await finished(self._close())

    def __enter__(self: Self) -> Self:
        self._check_new()
        loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(loop,), name="pystack-gateway")
        self._thread.start()
        try:
            self._run_to_its_end(self._open(), loop)
        except BaseException:
            self._close_thread(loop)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._loop is not None and self._thread is not None:
            self._close_thread(self._loop)

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    def _close_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        thread = self._thread
        assert thread is not None
        try:
            self._run_to_its_end(self._close(), loop)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            _wait_for(lambda: thread.join(_LOOK_S), lambda: not thread.is_alive())
            self._thread = None

    @staticmethod
    def _run_to_its_end(work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
        """Runs something on the gateway's thread; after Ctrl-C, too, that ends it first."""
        future = asyncio.run_coroutine_threadsafe(work, loop)
        _wait_for(lambda: concurrent.futures.wait((future,), _LOOK_S), future.done)
        future.result()

    def _check_new(self) -> None:
        if self.net is not None:
            raise RuntimeError("a Gateway is entered once: make another")

    async def _open(self) -> None:
        self._check_new()
        self._loop, self._loops_thread = asyncio.get_running_loop(), threading.get_ident()
        self.net = Stack()
        self.net.linger = _LINGER_S
        try:
            self._attach(self.net)
            for forward in self._forwards:
                self._publish(forward)
        except BaseException:
            await finished(self._close())
            raise

    def _attach(self, net: Stack) -> None:
        plan = self.plan
        self.interface = net.attach(self._nic, *plan.addresses, mtu=self._mtu, mac=self._mac)
        for one in self.interface.addresses.list():  # it is known by `plan.link_local` alone
            if one.ip.version == 6 and str(one.address) not in plan.addresses:
                self.interface.addresses.remove(one.ip)
        if self._has_dhcp:
            told = self.interface.mtu if self.interface.mtu != 1500 else None
            self._dhcp = DhcpServer(
                plan, search=self._search, mtu=told, clock=asyncio.get_running_loop().time
            )
        self._services = Services(
            net, self.interface, plan,
            dhcp=self._dhcp, forwarder=self._forwarder, search=self._search,
        )  # fmt: skip
        self._services.open()
        flows = FlowForwarder(net, to=self._leads, udp_idle=_UDP_IDLE_S, udp_room=self._udp_room)
        self._flows, self._taken = flows, net.intercept(open=self._most)
        taking = take(self._taken, flows.start)
        self._running = asyncio.get_running_loop().create_task(taking)
        self._running.add_done_callback(self._tell_end)

    def _tell_end(self, running: asyncio.Task[None]) -> None:
        """Has the loop's handler hear why no new flow is taken any more."""
        error = None if running.cancelled() else running.exception()
        if error is not None and self._loop is not None:
            self._loop.call_exception_handler(
                {"message": f"the gateway takes no new flows: {error}", "exception": error}
            )

    def _leads(self, flow: TcpFlow | UdpFlow | EchoFlow) -> tuple[str, int]:
        """Where a flow goes on: to its own destination, unless that is none of a guest's business.

        Raises:
            OSError: EHOSTUNREACH, there is no such host in the guests' network; EACCES, it would
                be this machine's loopback.
        """
        host, port = flow.destination[:2]
        where = ip_address(str(host).partition("%")[0])
        if where == self._loopback:
            return ("127.0.0.1" if where.version == 4 else "::1"), port
        if self.plan.has(where):
            raise OSError(errno.EHOSTUNREACH, f"{where} is no guest of this gateway")
        real = getattr(where, "ipv4_mapped", None) or where
        if real.is_loopback or real.is_unspecified or real.is_multicast:
            raise OSError(errno.EACCES, f"{where} is not to be reached from a guest")
        return str(where), port

    async def _close(self) -> None:
        async with AsyncExitStack() as ending:  # each step, whatever becomes of those before it
            ending.push_async_callback(self._end_net)
            services, self._services = self._services, None
            if services is not None:
                ending.push_async_callback(services.close)
            ending.push_async_callback(self._end_flows)

    async def _end_net(self) -> None:
        if self.net is not None:
            # What the Stack has accepted is on its way to guests, and waits for their answers.
            await asyncio.get_running_loop().run_in_executor(None, self.net.close)
        if isinstance(self._nic, Nic):
            self._nic.close()

    async def _end_flows(self) -> None:
        for one in list(self._published):
            self._retire(one)
        if self._retiring:
            await asyncio.gather(*self._retiring, return_exceptions=True)
        running, self._running = self._running, None
        if running is not None and self._flows is not None:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await self._flows.close()
        if self._taken is not None:
            self._taken.close()

    @property
    def leases(self) -> list[Lease]:
        """The guests' addresses by DHCP, the newest last; a snapshot."""
        return [] if self._dhcp is None else self._dhcp.leases

    @property
    def guest(self) -> IPv4Address:
        """The newest guest's address; the first that a guest gets, as long as none has."""
        leases = self.leases
        return leases[-1].address if leases else self.plan.first

    def statistics(self) -> ForwarderStatistics:
        """What became of the guests' flows; a snapshot."""
        return ForwarderStatistics() if self._flows is None else self._flows.statistics()

    # --- port forwards -------------------------------------------------------------------------

    @property
    def published(self) -> list[Published]:
        """The port forwards at work, of both directions; a snapshot."""
        return list(self._published)

    def publish(self, forward: Forward | str) -> Published:
        """Has a port of this machine's lead to a guest, from now on.

        Any thread may call it; one that isn't the event loop's waits until that has its turn.

        Args:
            forward: What, as a `Forward` or as "127.0.0.1:8080:80/tcp".

        Raises:
            ValueError: It isn't one.
            OSError: EADDRINUSE, EACCES, EADDRNOTAVAIL: what the kernel says; EBADF, the gateway is
                not entered, or closed.
            RuntimeError: Its event loop isn't running.
        """
        return self._on_loop(self._publish, self._forward(forward))

    def offer(self, port: int, address: str, target: int = 0, protocol: str = "tcp") -> Published:
        """Has a port of the gateway's lead to an address of this machine's network, from now on.

        So a guest reaches what listens on this machine's loopback, port by port.

        Args:
            port: Where guests find it, at the gateway's addresses.
            address: The address that this machine's kernel connects to, as "127.0.0.1".
            target: The port there; 0: the same.
            protocol: "tcp" or "udp".

        Raises:
            ValueError: A port, address or protocol that is none.
            OSError: EADDRINUSE, the gateway has that port already; EBADF, it is not entered, or
                closed.
        """
        kept = Forward(port, target or port, str(self.plan.gateway), protocol, address)
        return self._on_loop(self._offer, kept)

    def _on_loop(self, make: Callable[[Forward], Published], forward: Forward) -> Published:
        if self._loop is None or self._services is None:
            raise OSError(errno.EBADF, "the gateway is not entered, or closed")
        if threading.get_ident() == self._loops_thread:
            if not self._loop.is_running():
                raise RuntimeError(_NO_LOOP)
            return make(forward)

        async def on_loop() -> Published:
            return make(forward)

        return self._run_there(self._loop, on_loop())

    @staticmethod
    def _run_there(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, _T]) -> _T:
        """Runs something on the gateway's loop, for another thread, which waits."""
        if not loop.is_running():
            work.close()
            raise RuntimeError(_NO_LOOP)
        future = asyncio.run_coroutine_threadsafe(work, loop)
        while not concurrent.futures.wait((future,), _LOOK_S).done:
            if not loop.is_running():
                future.cancel()
                raise RuntimeError(_NO_LOOP)
        return future.result()

    def _retire(self, one: Published) -> None:
        loop = self._loop
        if loop is None or loop.is_closed() or one not in self._published:
            return
        if threading.get_ident() == self._loops_thread:
            del self._published[one]
            task = loop.create_task(one._at_work.close())
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)
            return

        async def on_loop() -> None:
            if self._published.pop(one, self) is None:
                await one._at_work.close()

        self._run_there(loop, on_loop())

    def _publish(self, forward: Forward) -> Published:
        listener = kernel_socket(forward.family, forward.kind)
        try:
            _bind(listener, forward)
            made = forward.on(listener.getsockname()[1])
            if forward.protocol == "tcp":
                listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise

        async def connect(peer: Any) -> Any:
            return await self._connect_guest(made, peer)

        def open_flow(peer: Any) -> Any:
            return _aimed(self._towards_guest(made, peer), (self._guest_of(made), made.inside))

        return self._at_work(made, listener, connect, open_flow)

    def _offer(self, forward: Forward) -> Published:
        assert self.net is not None
        assert forward.guest is not None
        family = socket.AF_INET6 if ":" in forward.guest else socket.AF_INET
        target = (forward.guest, forward.inside)
        listener = self.net.sockets.socket(socket.AF_INET, forward.kind)
        try:
            listener.bind((forward.address, forward.port))
            if forward.protocol == "tcp":
                listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise

        async def connect(_peer: Any) -> Any:
            return await _connected(kernel_socket(family, socket.SOCK_STREAM), target)

        def open_flow(_peer: Any) -> Any:
            return _aimed(kernel_socket(family, socket.SOCK_DGRAM), target)

        return self._at_work(forward, listener, connect, open_flow)

    def _at_work(
        self,
        forward: Forward,
        listener: Any,
        connect: Callable[[Any], Awaitable[Any]],
        open_flow: Callable[[Any], Any],
    ) -> Published:
        at_work: StreamForward | DatagramForward
        try:
            if forward.protocol == "tcp":
                at_work = StreamForward(listener, connect)
            else:
                assert self._flows is not None
                at_work = DatagramForward(listener, open_flow, self._flows.rooms)
        except BaseException:
            listener.close()
            raise
        published = Published(self, forward, at_work)
        self._published[published] = None
        return published

    def _guest_of(self, forward: Forward) -> str:
        return str(self.guest) if forward.guest is None else forward.guest

    def _towards_guest(self, forward: Forward, peer: Any) -> Any:
        """A socket of the Stack's, with the peer's address where the guest could answer it."""
        assert self.net is not None
        guest = ip_address(self._guest_of(forward))
        family = socket.AF_INET6 if guest.version == 6 else socket.AF_INET
        who = ip_address(peer[0].partition("%")[0])
        is_near = who.is_loopback or who.is_link_local or who.is_unspecified or self.plan.has(who)
        one = self.net.sockets.socket(family, forward.kind)
        try:
            if forward.keep_source and who.version == guest.version and not is_near:
                _appear(one, str(who), peer[1])
            else:
                own = self.plan.gateway if guest.version == 4 else self.plan.gateway6
                one.bind(("::" if own is None else str(own), 0))
        except BaseException:
            one.close()
            raise
        return one

    async def _connect_guest(self, forward: Forward, peer: Any) -> Any:
        one = self._towards_guest(forward, peer)
        return await _connected(one, (self._guest_of(forward), forward.inside))


def _wait_for(wait: Callable[[], object], is_over: Callable[[], bool]) -> None:
    """Waits until it is over; what a signal's handler raises meanwhile is raised after that."""
    interruption: BaseException | None = None
    while not is_over():
        try:
            wait()
        except BaseException as error:  # noqa: BLE001 - raised below
            interruption = error
    if interruption is not None:
        raise interruption


def _bind(listener: socket.socket, forward: Forward) -> None:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, forward.protocol == "tcp")
    if listener.family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        listener.bind((forward.address, forward.port))
    except OSError as error:
        raise OSError(error.errno, f"forward {forward}: {error.strerror}") from None


def _appear(one: Any, address: str, port: int) -> None:
    """Gives a socket of the Stack's an address that isn't the Stack's."""
    level, name = (
        (socket.IPPROTO_IPV6, _IPV6_TRANSPARENT)
        if ":" in address
        else (socket.IPPROTO_IP, _IP_TRANSPARENT)
    )
    one.setsockopt(level, name, 1)
    try:
        one.bind((address, port))
    except OSError:  # another forward's peer has the port: the address is what counts
        one.bind((address, 0))


def _aimed(one: Any, target: tuple[str, int]) -> Any:
    """Connects a datagram socket; closes it if that fails."""
    try:
        one.connect(target)
    except BaseException:
        one.close()
        raise
    return one


async def _connected(one: Any, target: tuple[str, int]) -> Any:
    """Connects a socket of either side, within some seconds; closes it if that fails."""
    try:
        await in_time(connect(one, target), _CONNECT_S)
    except BaseException:
        one.close()
        raise
    return one
