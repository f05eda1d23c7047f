"""Many hosts around one router, in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from pystack.world.host import Host
from pystack.world.link import Conditions, Link

__all__ = ["Internet"]

_MOST_HOSTS = 250  # one interface each, of the 256 that a Stack may have


class _Builder(Protocol):
    """What it asks of a World."""

    def host(self, name: str, **options: Any) -> Host: ...

    def router(self, name: str, **options: Any) -> Host: ...

    def link(
        self, left: Any, right: Any, *, back: Conditions | None = None, **conditions: Any
    ) -> Link: ...


class Internet:
    """Hosts with an access link each to one router; made by `World.internet`.

    All routes are there, of both families. `world.link(nat.outside, net.core)` adds to it; what is
    behind that needs routes of its own.

    Attributes:
        core: The router.
        hosts: The others, in the order of their names as given.
        links: Theirs, in the same order; a host is its link's left end.
    """

    def __init__(
        self,
        world: _Builder,
        hosts: int | Iterable[str],
        core: str,
        back: Conditions | None,
        conditions: Mapping[str, Any],
    ) -> None:
        names = (
            [f"host{number}" for number in range(1, hosts + 1)]
            if isinstance(hosts, int)
            else list(hosts)
        )
        if not 1 <= len(names) <= _MOST_HOSTS:
            raise ValueError(
                f"an internet has 1 to {_MOST_HOSTS} hosts, not {len(names)}: for more, link the "
                "cores of several"
            )
        self.core = world.router(core)
        self.hosts: list[Host] = []
        self.links: list[Link] = []
        for name in names:
            host = world.host(name)
            self.links.append(world.link(host, self.core, back=back, **conditions))
            self.hosts.append(host)
            for destination, gateway in zip(
                ("0.0.0.0/0", "::/0"), _gateways(self.core), strict=True
            ):
                host.routes.add(destination, gateway=gateway)

    def __repr__(self) -> str:
        return f"<Internet: {len(self.hosts)} hosts around {self.core.name}>"


def _gateways(core: Host) -> tuple[str, str]:
    """The addresses of its newest interface, IPv4's and IPv6's."""
    newest = max(core.interfaces, key=lambda one: one.index)
    found = [one.ip for one in newest.addresses if not one.ip.is_link_local]
    four = next(str(one) for one in found if one.version == 4)
    return four, next(str(one) for one in found if one.version == 6)
