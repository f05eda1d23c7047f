"""A Host that isn't in this process: frames through descriptors, all else through an agent.

A subclass says how the Host comes up (`_open`) and goes down (`_close`). The rest is the line
protocol; see PROTOCOL.md in pystack/lab/agent.
"""

from __future__ import annotations

import ipaddress
import os
import select
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from pystack.lab.host import BaseHost, HostSocket, NeighbourEntry, RouteEntry, Service
from pystack.lab.hosts.commands import AgentSocket, Commands
from pystack.lab.plan import Plan
from pystack.lab.verdict import HostCrashed, Unable

__all__ = ["AgentHost", "FdWire", "Wire"]

FRAME = 1 << 17
AT_ONCE = 256  # frames taken in one go
READY_S = 3.0  # for an interface to have its link-local address
# How long until it is asked again, and on a clock of ours, which costs by the question.
_TURN_S, _VIRTUAL_TURN_S = 0.002, 0.25
_TICK_S = 1e-6  # less is none, or float's rounding
_SEND_S = 2.0
# Longer than any timer is divided into: a guard against a deadline that never moves.
_MOST_STEPS = 200_000


class Wire(Protocol):
    """The tester's end of a wire."""

    def fileno(self) -> int:
        """A descriptor that becomes readable when a frame arrives."""
        ...

    def send(self, frame: bytes) -> None:
        """Puts a frame on it."""
        ...

    def receive(self) -> bytes | None:
        """The next frame; None: there is none now."""
        ...

    def close(self) -> None:
        """Gives it back."""
        ...


class FdWire:
    """A descriptor that takes and gives one frame a call: a TAP, a datagram socket.

    Args:
        descriptor: It is closed with this object.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)

    def fileno(self) -> int:
        """See `Wire.fileno`."""
        return self._descriptor

    def send(self, frame: bytes) -> None:
        """See `Wire.send`.

        Raises:
            HostCrashed: The other end is gone.
            Unable: It is a frame that such a wire does not carry.
        """
        deadline = time.monotonic() + _SEND_S
        while True:
            try:
                os.write(self._descriptor, frame)
                return
            except (BlockingIOError, InterruptedError):
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                    raise HostCrashed("the wire takes no more frames") from None
            except OSError as error:
                if error.errno == 5:  # EIO: a TAP that is down; the frame is lost, as on any wire
                    return
                if error.errno in (22, 90):  # EINVAL, EMSGSIZE: too short or too long
                    raise Unable(f"the wire carries no frame of {len(frame)} bytes") from error
                raise HostCrashed(f"the wire is gone: {error}") from error

    def receive(self) -> bytes | None:
        """See `Wire.receive`.

        Raises:
            HostCrashed: The other end is gone.
        """
        try:
            frame = os.read(self._descriptor, FRAME)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            raise HostCrashed(f"the wire is gone: {error}") from error
        if not frame:
            raise HostCrashed("the wire has no other end any more")
        return frame

    def close(self) -> None:
        """See `Wire.close`."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class AgentHost(BaseHost):
    """A Host behind an agent.

    Args:
        name: As on the command line.
    """

    # Set before each case, as far as the Host has them: tunables without which verdicts flip.
    # "{}" stands for the name of each interface.
    tunables: Sequence[tuple[str, str]] = ()

    def __init__(self, name: str) -> None:
        self.name = name
        self.interfaces: list[str] = []
        self._commands: Commands | None = None
        self._wires: list[Wire] = []
        self._ends: list[int] = []  # descriptors that are readable when the Host has ended
        self._poll = select.poll()
        self._clock_s = 0.0

    # --- what a subclass says --------------------------------------------------------------------

    def _open(self, ports: int) -> Commands:
        """Brings the Host up, or says why that can't be.

        Raises:
            HostCrashed: It does not come up.
            Unable: It can't have so many wires.
        """
        raise NotImplementedError

    def _wired(self, ports: int) -> list[Wire]:
        """The wires, now that the interfaces are up; those of before, if they still are."""
        raise NotImplementedError

    def _close(self) -> None:
        """Takes the Host down, whatever state it is in. May be called again."""

    # --- life ----------------------------------------------------------------------------------

    def start(self, plan: Plan) -> None:
        """See `Host.start`."""
        if self._commands is not None:
            try:
                self._fresh(plan)
                return
            except (HostCrashed, OSError):
                pass  # once more, from the ground up
        self.stop()
        try:
            self._commands = self._open(len(plan.ports))
            _version, clock, *release = self.ask("hello", 1)
            self.virtual = clock == "virtual"
            self.release = " ".join(release)
            self._fresh(plan)
        except BaseException:
            self.stop()
            raise

    def _fresh(self, plan: Plan) -> None:
        """Puts a plan in force, on a Host that is up."""
        count = len(plan.ports)
        self.ask("reset", count)
        self.interfaces = [self.ask("interface", number)[0] for number in range(count)]
        for name, value in self.tunables:
            for one in self.interfaces if "{}" in name else [""]:
                self._tune(name.replace("{}", one), value)
        for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            self._tune(name, str(int(plan.forwarding)))
        for number, port in enumerate(plan.ports):
            self.ask("interface", number, "mac", port.host_mac)
            self.ask("interface", number, "mtu", port.mtu)
            self.ask("interface", number, "up")
        self._watch(self._wired(count))
        for number, port in enumerate(plan.ports):
            for address, prefix in ((port.host4, port.prefix4), (port.host6, port.prefix6)):
                if address:
                    self.ask("address", "add", number, f"{address}/{prefix}")
        for destination, gateway in (("0.0.0.0/0", plan.gateway4), ("::/0", plan.gateway6)):
            if gateway is not None:
                self.ask("route", "add", destination, gateway, 0)
        self._settle(plan)
        for wire in self._wires:
            while wire.receive() is not None:
                pass

    def _watch(self, wires: list[Wire]) -> None:
        for old in self._wires:
            if old not in wires:
                old.close()
        self._wires = wires
        self._poll = select.poll()
        if self._commands is not None:
            self._poll.register(self._commands.reader, select.POLLIN)
            for descriptor in self._ends:
                self._poll.register(descriptor, select.POLLIN)
        for wire in wires:
            self._poll.register(wire.fileno(), select.POLLIN)

    def _tune(self, name: str, value: str) -> None:
        with suppress(FileNotFoundError, Unable):  # an older one, or none that has tunables
            self.ask("sysctl", name, value or "-")

    def _settle(self, plan: Plan) -> None:
        """Waits until the interfaces may use their IPv6 addresses.

        Linux puts an address into its routes some time after it has said yes to it, and under
        load that is late enough for a case to come before.
        """
        until = self.now() + READY_S
        turn_s = _VIRTUAL_TURN_S if self.virtual else _TURN_S
        for number, port in enumerate(plan.ports):
            wanted = {f"{port.host_link_local}/64"}
            if port.host6:
                wanted.add(f"{port.host6}/{port.prefix6}")
            try:
                while not wanted <= set(self.addresses(number)) and self.now() < until:
                    self._pass(turn_s)
            except Unable:
                return
        self._pass(turn_s)  # between the flag in the table and the route

    def stop(self) -> None:
        """See `Host.stop`."""
        self._commands = None
        self._watch([])
        self._close()

    def ask(self, *words: object) -> list[str]:
        """Puts a request to the agent; see `Commands.ask`.

        Raises:
            HostCrashed: There is no agent.
        """
        if self._commands is None:
            raise HostCrashed(f"{self.name} is not running")
        return self._commands.ask(*words)

    # --- time and frames -------------------------------------------------------------------------

    def now(self) -> float:
        """See `Host.now`."""
        return self._clock_s if self.virtual else time.monotonic()

    def send(self, port: int, frame: bytes) -> None:
        """See `Host.send`."""
        if self._commands is None:
            raise HostCrashed(f"{self.name} is not running")
        if port < len(self._wires):
            self._wires[port].send(frame)

    def wait(self, seconds: float) -> list[tuple[float, int, bytes]]:
        """See `Host.wait`."""
        if self._commands is None:
            raise HostCrashed(f"{self.name} is not running")
        until = self.now() + seconds
        if self.virtual:
            return self._advance(until)
        while True:
            came = self._receive()
            left = until - self.now()
            if came or left <= 0:
                return came
            ready = self._poll.poll(left * 1000)
            if any(descriptor == self._commands.reader for descriptor, _ in ready):
                self._commands.check()
            if any(descriptor in self._ends for descriptor, _ in ready):
                raise self._commands.lost("has ended")

    def _receive(self) -> list[tuple[float, int, bytes]]:
        came: list[tuple[float, int, bytes]] = []
        for number, wire in enumerate(self._wires):
            for _ in range(AT_ONCE):
                frame = wire.receive()
                if frame is None:
                    break
                came.append((self.now(), number, frame))
        return came

    def _advance(self, until: float) -> list[tuple[float, int, bytes]]:
        step = 0.0
        for _ in range(_MOST_STEPS):
            (due,) = self.ask("advance", f"{step * 1000:.3f}")
            self._clock_s += step
            came = self._receive()
            left = until - self._clock_s
            if came or left <= _TICK_S:
                return came
            step = left if due == "-" else min(left, max(_TICK_S, float(due) / 1000))
        raise HostCrashed(f"{self.name} has a timer that is always due")

    def _pass(self, seconds: float) -> None:
        until = self.now() + seconds
        while (left := until - self.now()) > _TICK_S:
            self.wait(left)

    # --- what it can do --------------------------------------------------------------------------

    def socket(self, family: int, kind: int, protocol: int = 0) -> HostSocket:
        """See `Host.socket`."""
        return AgentSocket.open(self.ask, family, kind, protocol)

    def ping(self, destination: str, size: int = 56) -> None:
        """See `Host.ping`."""
        self.ask("ping", destination, size)

    def neighbours(self) -> list[NeighbourEntry]:
        """See `Host.neighbours`."""
        rows = (row.split(",") for row in self.ask("neighbour", "list"))
        return [
            NeighbourEntry(str(ipaddress.ip_address(address)), "" if mac == "-" else mac, state)
            for address, mac, state in rows
        ]

    def add_neighbour(self, address: str, mac: str, port: int = 0) -> None:
        """See `Host.add_neighbour`."""
        self.ask("neighbour", "add", port, address, mac)

    def delete_neighbour(self, address: str, port: int = 0) -> None:
        """See `Host.delete_neighbour`."""
        self.ask("neighbour", "delete", port, address)

    def flush_neighbours(self) -> None:
        """See `Host.flush_neighbours`."""
        self.ask("neighbour", "flush")

    def routes(self) -> list[RouteEntry]:
        """See `Host.routes`."""
        rows = (row.split(",") for row in self.ask("route", "list"))
        return [
            RouteEntry(destination, "" if gateway == "-" else gateway)
            for destination, gateway in rows
        ]

    def add_route(self, destination: str, gateway: str | None, port: int = 0) -> None:
        """See `Host.add_route`."""
        self.ask("route", "add", destination, gateway or "-", port)

    def delete_route(self, destination: str) -> None:
        """See `Host.delete_route`."""
        self.ask("route", "delete", destination)

    def add_address(self, address: str, port: int = 0, *, detect: bool = False) -> None:
        """See `Host.add_address`."""
        self.ask("address", "add", port, address, *(["detect"] if detect else []))

    def delete_address(self, address: str, port: int = 0) -> None:
        """See `Host.delete_address`."""
        self.ask("address", "delete", port, address)

    def addresses(self, port: int = 0) -> list[str]:
        """See `Host.addresses`."""
        # As everybody writes them: stock lwIP has them in capitals.
        return [str(ipaddress.ip_interface(one)) for one in self.ask("address", "list", port)]

    def set_mtu(self, mtu: int, port: int = 0) -> None:
        """See `Host.set_mtu`."""
        self.ask("interface", port, "mtu", mtu)

    def sysctl(self, name: str, value: int | None = None) -> int:
        """See `Host.sysctl`."""
        try:
            found = self.ask("sysctl", name, *([] if value is None else [value]))
        except FileNotFoundError:
            raise self._unable(f"tunable {name}") from None
        return int(found[0].split(",")[0])

    def service(self, service: Service, on: bool = True, port: int = 0) -> None:
        """See `Host.service`."""
        self.ask("service", port, service.value.lower(), "on" if on else "off")
