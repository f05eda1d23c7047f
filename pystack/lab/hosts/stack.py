"""A `pystack.Stack` as a Host, in virtual time: lwIP, gVisor, whatever is an engine."""

from __future__ import annotations

import socket
import struct
from typing import Any

from scapy.utils import checksum

import pystack
from pystack.hypercalls import ManualClock
from pystack.interface import Interface
from pystack.lab.host import BaseHost, HostSocket, NeighbourEntry, RouteEntry, Service
from pystack.lab.plan import Plan
from pystack.lab.verdict import HostCrashed

# Longer than any timer that the lab waits for is divided into; a guard against an engine whose
# next deadline never moves.
_MOST_STEPS = 200_000
PING_IDENTIFIER = 0x5053


class StackHost(BaseHost):
    """A Stack whose clock only `wait` moves.

    Args:
        name: The Host's.
        engine: Which compiled stack.
        seed: Of its random numbers: two runs are alike.
    """

    virtual = True

    def __init__(self, name: str, engine: str = "lwip", seed: int = 1) -> None:
        self.name = name
        self._engine = engine
        self._seed = seed
        self._clock = ManualClock()
        self._stack: pystack.Stack | None = None
        self._interfaces: list[Interface] = []
        self._nics: list[pystack.nic.PythonNic] = []
        self._sent: list[tuple[float, int, bytes]] = []

    # --- life --------------------------------------------------------------------------------

    def start(self, plan: Plan) -> None:
        """See `Host.start`."""
        self.stop()
        self._clock = ManualClock()
        self._stack = stack = pystack.Stack(
            engine=self._engine, threaded=False, clock=self._clock, seed=self._seed, log=_Quiet()
        )
        self.release = stack.engine[1]
        self._prepare(stack)
        stack.sysctl["net.ipv4.ip_forward"] = int(plan.forwarding)
        stack.sysctl["net.ipv6.conf.all.forwarding"] = int(plan.forwarding)
        for number, port in enumerate(plan.ports):
            nic = pystack.nic.PythonNic(self._sender(number), port.mtu)
            addresses = [
                f"{address}/{prefix}"
                for address, prefix in ((port.host4, port.prefix4), (port.host6, port.prefix6))
                if address
            ]
            self._interfaces.append(stack.attach(nic, *addresses, mac=port.host_mac))
            self._nics.append(nic)
        # Duplicate address detection of the link-local addresses, router solicitations.
        self._pass(8.0)
        for destination, gateway in (("0.0.0.0/0", plan.gateway4), ("::/0", plan.gateway6)):
            if gateway is not None:
                stack.routes.add(destination, gateway)
        self._sent.clear()

    def _prepare(self, stack: pystack.Stack) -> None:
        """Sets what makes verdicts repeatable, before there are interfaces."""

    def stop(self) -> None:
        """See `Host.stop`."""
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.close(abrupt=True)
        for nic in self._nics:
            nic.close()
        self._interfaces, self._nics, self._sent = [], [], []

    @property
    def stack(self) -> pystack.Stack:
        """The Stack itself."""
        if self._stack is None:
            raise HostCrashed(f"{self.name} is not running")
        return self._stack

    # --- time and frames ---------------------------------------------------------------------

    def now(self) -> float:
        """See `Host.now`."""
        return self._clock.now_us() / 1e6

    def _sender(self, port: int) -> Any:
        def transmit(frame: bytes) -> None:
            self._sent.append((self.now(), port, frame))

        return transmit

    def send(self, port: int, frame: bytes) -> None:
        """See `Host.send`."""
        self._nics[port].deliver(frame)

    def wait(self, seconds: float) -> list[tuple[float, int, bytes]]:
        """See `Host.wait`."""
        until = self.now() + seconds
        for _ in range(_MOST_STEPS):
            due = self._step()
            if self._sent:
                sent, self._sent = self._sent, []
                return sent
            left = until - self.now()
            if left <= 0:
                return []
            # At least a microsecond, or a timer that is due and not run would hold us here.
            self._clock.advance(max(1e-6, left if due is None else min(left, due)))
        raise HostCrashed(f"{self.name} has a timer due {_MOST_STEPS} times in {seconds} s")

    def _step(self) -> float | None:
        try:
            return self.stack.step()
        except pystack.StackPanic as panic:
            raise HostCrashed(f"{self.name} failed an assertion: {panic}") from panic

    def _pass(self, seconds: float) -> None:
        until = self.now() + seconds
        while self.now() < until:
            self.wait(until - self.now())

    # --- what it can do ----------------------------------------------------------------------

    def socket(self, family: int, kind: int, protocol: int = 0) -> HostSocket:
        """See `Host.socket`."""
        made = self.stack.socket(family, kind, protocol)
        made.setblocking(False)
        return _Unblocked(made)

    def ping(self, destination: str, size: int = 56) -> None:
        """See `Host.ping`."""
        v6 = ":" in destination
        family = socket.AF_INET6 if v6 else socket.AF_INET
        protocol = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
        header = struct.pack(">BBHHH", 128 if v6 else 8, 0, 0, PING_IDENTIFIER, 1)
        message = bytearray(header + bytes(size))
        if not v6:  # ICMPv6's, which covers the addresses, is the stack's work (RFC 3542 3.1)
            message[2:4] = checksum(bytes(message)).to_bytes(2, "big")
        with self.stack.socket(family, socket.SOCK_RAW, protocol) as sender:
            sender.setblocking(False)
            sender.sendto(message, (destination, 0))

    def neighbours(self) -> list[NeighbourEntry]:
        """See `Host.neighbours`."""
        return [
            NeighbourEntry(
                str(one.address), one.mac if one.mac.strip("0:") else "", one.state.name.lower()
            )
            for one in self.stack.neighbours
        ]

    def add_neighbour(self, address: str, mac: str, port: int = 0) -> None:
        """See `Host.add_neighbour`."""
        self.stack.neighbours.add(address, mac, self._interfaces[port])

    def delete_neighbour(self, address: str, port: int = 0) -> None:
        """See `Host.delete_neighbour`."""
        self.stack.neighbours.delete(address, self._interfaces[port])

    def flush_neighbours(self) -> None:
        """See `Host.flush_neighbours`."""
        self.stack.neighbours.flush()

    def routes(self) -> list[RouteEntry]:
        """See `Host.routes`."""
        return [
            RouteEntry(str(one.destination), str(one.gateway or "")) for one in self.stack.routes
        ]

    def add_route(self, destination: str, gateway: str | None, port: int = 0) -> None:
        """See `Host.add_route`."""
        self.stack.routes.add(destination, gateway, self._interfaces[port])

    def delete_route(self, destination: str) -> None:
        """See `Host.delete_route`."""
        self.stack.routes.delete(destination)

    def add_address(self, address: str, port: int = 0, *, detect: bool = False) -> None:
        """See `Host.add_address`."""
        self._interfaces[port].addresses.add(address, detect=detect)

    def delete_address(self, address: str, port: int = 0) -> None:
        """See `Host.delete_address`."""
        self._interfaces[port].addresses.remove(address)

    def addresses(self, port: int = 0) -> list[str]:
        """See `Host.addresses`."""
        return [
            str(one.address)
            for one in self._interfaces[port].addresses.list()
            if one.state.name in ("PREFERRED", "DEPRECATED")
        ]

    def set_mtu(self, mtu: int, port: int = 0) -> None:
        """See `Host.set_mtu`."""
        self._interfaces[port].mtu = mtu

    def sysctl(self, name: str, value: int | None = None) -> int:
        """See `Host.sysctl`."""
        if name not in self.stack.sysctl:
            raise self._unable(f"tunable {name}")
        if value is not None:
            self.stack.sysctl[name] = value
        return int(self.stack.sysctl[name])

    def service(self, service: Service, on: bool = True, port: int = 0) -> None:
        """See `Host.service`."""
        interface = self._interfaces[port]
        try:
            if service is Service.DHCP:
                interface.dhcp(on, timeout=0)
            elif service is Service.AUTOIP:
                interface.autoip(on)
            else:
                interface.slaac(on)
                mac = interface.mac
                if on and mac is not None and self._engine == "lwip":
                    interface.mac = mac
        except OSError as error:
            if error.errno == 95:  # EOPNOTSUPP: the engine has no such service
                raise self._unable(service.value) from error
            raise


class _Unblocked:
    """A Stack's socket whose accepted sockets do not block either."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def accept(self) -> tuple[HostSocket, Any]:
        accepted, address = self._inner.accept()
        accepted.setblocking(False)
        return _Unblocked(accepted), address

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Quiet:
    """Where the lines of a Stack go that is told to do wrong things all day."""

    def log(self, level: int, text: str) -> None:
        """Drops a line."""
