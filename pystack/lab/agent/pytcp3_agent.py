"""The agent of the Host `pytcp-3`: PyTCP 3, whose event loop reads our wire in place of a TAP.

    python pytcp3_agent.py COMMANDS WIRE FOLDER

FOLDER is where PyTCP is installed. PyTCP is one event loop, here in a separate thread; requests
run on it, one after the other.
"""
# ruff: noqa: D102 - a socket's methods are those of the module `socket`

from __future__ import annotations

import asyncio
import errno
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pystack.lab.agent.fresh import FreshAgent, main
else:  # run as a program, with this folder first on the path and no package
    from fresh import FreshAgent, main

PACKAGE = "pmd_pytcp"
PING_IDENTIFIER = 0x5053
FIRST = 1  # the index of the only interface
CONNECT_S = 0.01


def part(name: str) -> Any:
    """A module of PyTCP's, which is there once its folder is on the path."""
    return import_module(f"{PACKAGE}.{name}")


def load(folder: str) -> None:
    """Loads PyTCP from where it was put."""
    if folder not in sys.path:
        sys.path.insert(0, folder)
    part("stack")


def version_of(address: str) -> int:
    """Which IP an address is of."""
    return 6 if ":" in address else 4


def address_of(text: str) -> Any:
    """An address as PyTCP has it."""
    return getattr(import_module("pmd_net_addr"), f"Ip{version_of(text)}Address")(text)


def network_of(text: str) -> Any:
    """A network as PyTCP has it."""
    return getattr(import_module("pmd_net_addr"), f"Ip{version_of(text)}Network")(text)


def interface_address_of(text: str) -> Any:
    """An address with its network's prefix as PyTCP has it."""
    return getattr(import_module("pmd_net_addr"), f"Ip{version_of(text)}IfAddr")(text)


def mac_of(text: str) -> Any:
    """A MAC as PyTCP has it."""
    return import_module("pmd_net_addr").MacAddress(text)


def level_of(number: int) -> Any:
    """A level of socket options: some are PyTCP's own members, which equal no int."""
    theirs = part("socket")
    names = {6: "IPPROTO_TCP", 17: "IPPROTO_UDP", 41: "IPPROTO_IPV6"}
    return getattr(theirs, names.get(number, ""), number)


def link_local(mac: str) -> str:
    """The link-local address formed from a MAC (RFC 4291 appendix A), with its prefix."""
    one = bytes.fromhex(mac.replace(":", ""))
    return f"fe80::{one[0] ^ 2:02x}{one[1]:02x}:{one[2]:02x}ff:fe{one[3]:02x}:{one[4:].hex()}/64"


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What a coroutine returns or raises there.

        Raises:
            OSError: EINVAL, for the assertions by which PyTCP refuses an argument.
        """
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except AssertionError as error:
            raise OSError(errno.EINVAL, f"assertion: {error}") from error

    def call(self, function: Callable[..., Any], *words: Any, **named: Any) -> Any:
        """The same of a function."""

        async def work() -> Any:
            return function(*words, **named)

        return self.run(work())


class Pytcp3Socket:
    """One of PyTCP's sockets, its coroutines run to their end."""

    def __init__(self, loop: Loop, inner: Any, kind: int) -> None:
        self.type = kind
        self._loop = loop
        self._inner = inner
        self._connecting: asyncio.Task[None] | None = None

    def setblocking(self, flag: bool) -> None:
        self._loop.call(self._inner.setblocking, flag)

    def bind(self, address: tuple[Any, ...]) -> None:
        self._loop.call(self._inner.bind, address[:2])

    def listen(self, backlog: int) -> None:
        self._loop.call(self._inner.listen, backlog=max(1, backlog))  # it takes no 0

    def accept(self) -> tuple[Pytcp3Socket, Any]:
        made, address = self._loop.run(self._inner.accept())
        return Pytcp3Socket(self._loop, made, socket.SOCK_STREAM), address

    def connect(self, address: tuple[Any, ...]) -> None:
        self._loop.run(self._connect(address[:2]))

    async def _connect(self, address: tuple[Any, ...]) -> None:
        """A stream's coroutine waits for the handshake, whatever the socket was told."""
        if self.type != socket.SOCK_STREAM:
            await self._inner.connect(address)
            return
        begins = self._connecting is None
        if self._connecting is None:
            self._connecting = asyncio.ensure_future(self._inner.connect(address))
            await asyncio.wait({self._connecting}, timeout=CONNECT_S)
        if not self._connecting.done():
            raise BlockingIOError(errno.EINPROGRESS if begins else errno.EALREADY, "connecting")
        self._connecting.result()

    def send(self, data: bytes, flags: int = 0) -> int:
        self._plain(flags)
        return int(self._loop.run(self._inner.send(data)))

    def sendto(self, data: bytes, address: tuple[Any, ...]) -> int:
        return int(self._loop.run(self._inner.sendto(data, address[:2])))

    def recv(self, size: int, flags: int = 0) -> bytes:
        self._plain(flags)
        return bytes(self._loop.run(self._receive(size)))

    async def _receive(self, size: int) -> bytes:
        if self.type == socket.SOCK_STREAM:
            if self._connecting is not None and self._connecting.done():
                self._connecting.result()
            if self._inner.tcp_session is None:  # it asserts that there is one
                raise OSError(errno.ENOTCONN, "not connected")
        return bytes(await self._inner.recv(size))

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, Any]:
        self._plain(flags)
        if self.type == socket.SOCK_STREAM:
            return self.recv(size), None
        data, address = self._loop.run(self._inner.recvfrom(size))
        return bytes(data), address

    @staticmethod
    def _plain(flags: int) -> None:
        if flags:
            raise OSError(errno.ENOSYS, "flags of send and recv")

    def shutdown(self, how: int) -> None:
        if self.type != socket.SOCK_STREAM:
            raise OSError(errno.ENOSYS, "shutdown of a socket without connections")
        self._loop.call(self._inner.shutdown, how)

    def close(self) -> None:
        self._loop.call(self._inner.close)

    def getsockname(self) -> tuple[str, int]:
        return str(self._inner.local_ip_address), int(self._inner.local_port)

    def getpeername(self) -> tuple[str, int]:
        return str(self._inner.remote_ip_address), int(self._inner.remote_port)

    def getsockopt(self, level: int, name: int, _size: int = 0) -> Any:
        return self._option(self._inner.getsockopt, level_of(level), name)

    def setsockopt(self, level: int, name: int, value: int | bytes) -> None:
        self._option(self._inner.setsockopt, level_of(level), name, value)

    def _option(self, call: Callable[..., Any], *words: Any) -> Any:
        try:
            return self._loop.call(call, *words)
        except OSError as error:
            if error.errno == errno.ENOPROTOOPT:
                raise OSError(errno.ENOSYS, f"socket option {words[:2]}") from error
            raise

    def fileno(self) -> int:
        raise OSError(errno.ENOSYS, "poll")


class Pytcp3Agent(FreshAgent):
    """PyTCP 3.

    Attributes:
        loop: What runs it.
    """

    release = "3.0.7"

    def __init__(self, wire: socket.socket, folder: str) -> None:
        super().__init__(wire)
        load(folder)
        self.loop = Loop()
        self._stack = part("stack")
        # No setting has it; Linux asks for no ECN either, and the cases expect a plain SYN.
        session = part("protocols.tcp.session.tcp__session")
        session.AdvertiseState = partial(session.AdvertiseState, ecn=False, accecn=False)

    def begin(self, plan: dict[str, str]) -> None:
        """Its addresses are there at once, without the probes that it would send first."""
        self.loop.run(self._begin(plan))

    async def _begin(self, plan: dict[str, str]) -> None:
        stack = self._stack
        stack.init(sysctls={"icmp6.default.use_rfc7217": 0})  # identifiers that the lab can tell
        stack.add_interface(
            fd=self.wire.fileno(),
            layer=part("lib.interface_layer").InterfaceLayer.L2,
            mtu=int(plan["mtu"]),
            mac_address=mac_of(plan["mac"]),
            interface_name="tap0",
            ip6_lla_autoconfig=False,
        )
        handler = stack.interfaces[FIRST]
        handler._ip4_dhcp = not plan["host4"]  # or it switches IPv4 off that has no address
        # No task of the stack's runs before the addresses are there: `start` waits for none.
        await stack.start()
        addresses = stack.address.interface(FIRST)
        for one in (plan["host4"], plan["host6"], link_local(plan["mac"])):
            if one:
                addresses.add(ifaddr=interface_address_of(one))
        protocol = part("runtime.fib").RouteProtocol.BOOT
        for own, router in (("host4", "tester4"), ("host6", "tester6")):
            if plan[own]:
                stack.route.replace_default(gateway=address_of(plan[router]), protocol=protocol)
        await asyncio.sleep(0.02)  # its reports of groups joined are out

    def make(self, family: int, kind: int, protocol: int) -> Any:
        theirs = part("socket")
        domain = theirs.AF_INET4 if family == socket.AF_INET else theirs.AF_INET6
        which = {
            socket.SOCK_STREAM: theirs.SOCK_STREAM,
            socket.SOCK_DGRAM: theirs.SOCK_DGRAM,
            socket.SOCK_RAW: theirs.SOCK_RAW,
        }[socket.SocketKind(kind)]
        number = import_module("pmd_net_proto").IpProto(protocol) if protocol else None
        return Pytcp3Socket(self.loop, self.loop.call(theirs.socket, domain, which, number), kind)

    def close_sockets(self) -> None:
        """None outlives this process."""

    def do_ping(self, destination: str, size: str = "56") -> None:
        self.loop.call(self._ping, destination, int(size))

    def _ping(self, destination: str, size: int) -> None:
        version, target = version_of(destination), address_of(destination)
        if not self._stack.has_route_to(target):
            raise OSError(errno.ENETUNREACH, f"no route to {destination}")
        messages = import_module("pmd_net_proto")
        request = getattr(messages, f"Icmp{version}MessageEchoRequest")
        pick = part("socket.socket__bind_helpers").pick_local_ip_address
        getattr(self._stack.egress_packet_handler(target), f"send_icmp{version}_packet")(
            **{
                f"ip{version}__local_address": pick(remote_ip_address=target),
                f"ip{version}__remote_address": target,
                f"icmp{version}__message": request(id=PING_IDENTIFIER, seq=1, data=bytes(size)),
            }
        )

    # --- tables -------------------------------------------------------------------------------

    def do_neighbour(
        self, what: str, _port: str = "", address: str = "", mac: str = ""
    ) -> list[str]:
        """Its two caches."""
        table, theirs = self._stack.neighbor.interface(FIRST), part("socket")
        if what == "list":
            return [
                f"{one.address},{one.mac_address or '-'},{one.state.name.lower()}"
                for one in self.loop.call(table.list_neighbors)
            ]
        if what == "flush":
            for family in (theirs.AF_INET4, theirs.AF_INET6):
                self.loop.call(table.flush, family=family)
        elif what == "delete":
            self.loop.call(table.remove, ip=address_of(address))
        else:
            self.loop.call(table.add, ip=address_of(address), mac=mac_of(mac))
        return []

    def do_route(
        self, what: str, network: str = "", gateway: str = "-", _port: str = ""
    ) -> list[str]:
        """Its routing tables."""
        table = self._stack.route
        if what == "list":
            return [
                f"{one.destination},{one.gateway or '-'}"
                for one in self.loop.call(table.list_routes)
            ]
        if what == "delete":
            if not self.loop.call(table.remove_route, destination=network_of(network)):
                raise OSError(errno.ESRCH, f"no route to {network}")
            return []
        made = part("runtime.fib").Route(
            destination=network_of(network),
            gateway=None if gateway == "-" else address_of(gateway),
            oif=FIRST,
        )
        self.loop.call(table.add_route, route=made)
        return []

    def do_address(self, what: str, _port: str, address: str = "", detect: str = "") -> list[str]:
        """Its addresses."""
        table = self._stack.address.interface(FIRST)
        if what == "list":
            return [str(one) for one in self.loop.call(table.list_ifaddrs)]
        if what == "delete":
            self.loop.call(table.remove, address=address_of(address.partition("/")[0]))
            return []
        words: dict[str, Any] = {}
        if detect:
            if version_of(address) == 4:
                raise OSError(errno.ENOSYS, "conflict detection of an address that is added")
            words["dad_conflict_callback"] = lambda _address: None
        self.loop.call(table.add, ifaddr=interface_address_of(address), **words)
        return []

    def do_interface(self, _port: str, what: str = "", value: str = "") -> list[str]:
        """Its MTU can be changed."""
        if what == "mtu":
            self.loop.call(self._stack.link.interface(FIRST).set_mtu, mtu=int(value))
            return []
        raise OSError(errno.ENOSYS, f"interface {what}")

    def do_service(self, _port: str, which: str, state: str) -> None:
        """What gives it addresses; none is switched off again."""
        if state != "on":
            raise OSError(errno.ENOSYS, f"{which} that is switched off")
        self.loop.call(getattr(self, f"_begin_{which}"))

    def _begin_slaac(self) -> None:
        """As an interface begins: with duplicate detection of its link-local address."""
        handler = self._stack.interfaces[FIRST]
        addresses = self._stack.address.interface(FIRST)
        (own,) = (one for one in handler._ip6_ifaddr if one.address.is_link_local)
        addresses.remove(address=own.address)

        async def work() -> None:
            await handler._claim_ip6_address_async(ip6_host=own)
            await handler._send_icmp6_nd_router_solicitations_with_backoff()

        handler._spawn_task(work(), name="solicitations")

    def _acd(self, handler: Any) -> Any:
        return part("protocols.ip4.acd.ip4_acd").Ip4Acd(
            mac_address=handler._mac_unicast, ifindex=FIRST
        )

    def _begin_dhcp(self) -> None:
        """As `add_interface` and `start` begin it."""
        handler = self._stack.interfaces[FIRST]
        handler._dhcp4_client = part("protocols.dhcp4.dhcp4__client").Dhcp4Client(
            mac_address=handler._mac_unicast,
            acd=self._acd(handler),
            address_api=self._stack.address.interface(FIRST),
            route_api=self._stack.route,
            interface_name="tap0",
        )
        handler._dhcp4_client.start()

    def _begin_autoip(self) -> None:
        handler = self._stack.interfaces[FIRST]
        self._stack.link_local = part("protocols.ip4.link_local.link_local__client").Ip4LinkLocal(
            mac_address=handler._mac_unicast,
            address_api=self._stack.address.interface(FIRST),
            acd=self._acd(handler),
            is_dhcp_bound=lambda: False,
        )
        self._stack.link_local.start()


if __name__ == "__main__":
    load(sys.argv[3])  # before the first fork: it takes half a second
    main(Pytcp3Agent)
