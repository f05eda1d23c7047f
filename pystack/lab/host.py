"""`Host`: whatever can be put on a wire and told to open sockets.

The lab knows a Host only by this protocol. A Host raises `Unable` for anything it can't do, and
the cases that need it are "not applicable" there, with that reason. A Host that is gone raises
`HostCrashed`, and is started again for the next case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, Protocol

from pystack.lab.plan import Plan
from pystack.lab.verdict import Unable

__all__ = ["BaseHost", "Host", "HostSocket", "NeighbourEntry", "RouteEntry", "Service"]


class Service(Enum):
    """How an interface can get addresses by itself."""

    DHCP = "DHCP"
    AUTOIP = "AutoIP"
    SLAAC = "SLAAC"


@dataclass(frozen=True)
class NeighbourEntry:
    """A row of the neighbour table.

    Attributes:
        address: IPv4 or IPv6.
        mac: As "02:00:5e:00:53:01"; "": not known yet.
        state: "incomplete", "reachable", "stale", "delay", "probe", "permanent" or "failed".
    """

    address: str
    mac: str
    state: str


@dataclass(frozen=True)
class RouteEntry:
    """A row of the routing table.

    Attributes:
        destination: A network, as "198.51.100.0/24"; the default route is "0.0.0.0/0", "::/0".
        gateway: The next hop; "": on link.
    """

    destination: str
    gateway: str


class HostSocket(Protocol):
    """A socket on a Host. It never waits: what has not happened yet is `BlockingIOError`.

    Errors, constants and addresses are those of the module `socket` on Linux.
    """

    def bind(self, address: tuple[Any, ...], /) -> None:
        """See bind(2)."""
        ...

    def listen(self, backlog: int = ..., /) -> None:
        """See listen(2)."""
        ...

    def accept(self) -> tuple[HostSocket, Any]:
        """The next connection, and the peer's address."""
        ...

    def connect(self, address: tuple[Any, ...], /) -> None:
        """Begins to connect."""
        ...

    def send(self, data: bytes, flags: int = 0, /) -> int:
        """See send(2). A Host that takes no flags raises `Unable` if there are some."""
        ...

    def sendto(self, data: bytes, address: tuple[Any, ...], /) -> int:
        """See sendto(2)."""
        ...

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """See recv(2). A Host that takes no flags raises `Unable` if there are some."""
        ...

    def recvfrom(self, size: int, /) -> tuple[bytes, Any]:
        """See recvfrom(2)."""
        ...

    def shutdown(self, how: int, /) -> None:
        """See shutdown(2)."""
        ...

    def close(self) -> None:
        """See close(2)."""
        ...

    def getsockname(self) -> Any:
        """See getsockname(2)."""
        ...

    def getpeername(self) -> Any:
        """See getpeername(2)."""
        ...

    def getsockopt(self, level: int, name: int, /) -> int:
        """An option that is an integer."""
        ...

    def setsockopt(self, level: int, name: int, value: int | bytes, /) -> None:
        """Sets an option."""
        ...


class Host(Protocol):
    """What the lab asks of a Host.

    Attributes:
        name: As it is named on the command line.
        release: Which version of the stack it is; known once it has started.
        virtual: Whether its clock is ours: then only `wait` lets time pass, and at no cost.
        lacks: Areas of the catalogue that it can't take part in, each with the reason.
    """

    name: str
    release: str
    virtual: bool
    lacks: Mapping[str, str]

    def start(self, plan: Plan) -> None:
        """Makes it fresh: nothing of an earlier case is left, and the plan is in force.

        Its IPv6 addresses are ready to use, its tables empty but for the plan's routes.
        """
        ...

    def stop(self) -> None:
        """Gives all of it back. May be called again."""
        ...

    def now(self) -> float:
        """Its clock, in seconds."""
        ...

    def send(self, port: int, frame: bytes) -> None:
        """Puts one Ethernet frame on a wire towards it."""
        ...

    def wait(self, seconds: float) -> list[tuple[float, int, bytes]]:
        """Lets time pass until a frame comes from it, or `seconds` have passed.

        Returns:
            The frames with their moments and ports, in the order they came; empty: none came.
        """
        ...

    def socket(self, family: int, kind: int, protocol: int = 0) -> HostSocket:
        """A socket of the Host's; see socket(2)."""
        ...

    def ping(self, destination: str, size: int = 56) -> None:
        """Has it send one echo request, without waiting for the reply."""
        ...

    def neighbours(self) -> list[NeighbourEntry]:
        """Its neighbour table, both families."""
        ...

    def add_neighbour(self, address: str, mac: str, port: int = 0) -> None:
        """Sets a permanent entry."""
        ...

    def delete_neighbour(self, address: str, port: int = 0) -> None:
        """Takes an entry away."""
        ...

    def flush_neighbours(self) -> None:
        """Empties the neighbour table."""
        ...

    def routes(self) -> list[RouteEntry]:
        """Its routing table, both families."""
        ...

    def add_route(self, destination: str, gateway: str | None, port: int = 0) -> None:
        """Adds a route; without a gateway it is on link."""
        ...

    def delete_route(self, destination: str) -> None:
        """Takes a route away."""
        ...

    def add_address(self, address: str, port: int = 0, *, detect: bool = False) -> None:
        """Gives an interface one more address, as "192.0.2.9/24".

        Args:
            address: With its network's prefix.
            port: On which wire.
            detect: Whether to check first that no other host has it.
        """
        ...

    def delete_address(self, address: str, port: int = 0) -> None:
        """Takes an address away."""
        ...

    def addresses(self, port: int = 0) -> list[str]:
        """The addresses that an interface has and may use, as "192.0.2.2/24"."""
        ...

    def set_mtu(self, mtu: int, port: int = 0) -> None:
        """Sets an interface's MTU, in bytes of IP packet."""
        ...

    def sysctl(self, name: str, value: int | None = None) -> int:
        """Reads, or first sets, a tunable by the name that Linux has for it."""
        ...

    def service(self, service: Service, on: bool = True, port: int = 0) -> None:
        """Starts or stops an interface's getting addresses by itself."""
        ...


class BaseHost:
    """A Host that can do nothing: each ability is `Unable` until a subclass has it."""

    name = "?"
    release = ""
    virtual = False
    lacks: Mapping[str, str] = MappingProxyType({})

    def _unable(self, ability: str) -> Unable:
        return Unable(f"{self.name} has no {ability}")

    def ping(self, destination: str, size: int = 56) -> None:
        """See `Host.ping`."""
        raise self._unable("ping")

    def neighbours(self) -> list[NeighbourEntry]:
        """See `Host.neighbours`."""
        raise self._unable("way to list its neighbours")

    def add_neighbour(self, address: str, mac: str, port: int = 0) -> None:
        """See `Host.add_neighbour`."""
        raise self._unable("way to add a neighbour")

    def delete_neighbour(self, address: str, port: int = 0) -> None:
        """See `Host.delete_neighbour`."""
        raise self._unable("way to delete a neighbour")

    def flush_neighbours(self) -> None:
        """See `Host.flush_neighbours`."""
        raise self._unable("way to flush its neighbours")

    def routes(self) -> list[RouteEntry]:
        """See `Host.routes`."""
        raise self._unable("way to list its routes")

    def add_route(self, destination: str, gateway: str | None, port: int = 0) -> None:
        """See `Host.add_route`."""
        raise self._unable("way to add a route")

    def delete_route(self, destination: str) -> None:
        """See `Host.delete_route`."""
        raise self._unable("way to delete a route")

    def add_address(self, address: str, port: int = 0, *, detect: bool = False) -> None:
        """See `Host.add_address`."""
        raise self._unable("way to add an address")

    def delete_address(self, address: str, port: int = 0) -> None:
        """See `Host.delete_address`."""
        raise self._unable("way to delete an address")

    def addresses(self, port: int = 0) -> list[str]:
        """See `Host.addresses`."""
        raise self._unable("way to list its addresses")

    def set_mtu(self, mtu: int, port: int = 0) -> None:
        """See `Host.set_mtu`."""
        raise self._unable("way to set an MTU")

    def sysctl(self, name: str, value: int | None = None) -> int:
        """See `Host.sysctl`."""
        raise self._unable(f"tunable {name}")

    def service(self, service: Service, on: bool = True, port: int = 0) -> None:
        """See `Host.service`."""
        raise self._unable(service.value)

    def socket(self, family: int, kind: int, protocol: int = 0) -> HostSocket:
        """See `Host.socket`."""
        raise self._unable("sockets that the lab can reach")
