"""The Hosts there are, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pystack.lab.host import Host
from pystack.lab.hosts import others
from pystack.lab.hosts.stack import StackHost

__all__ = ["HostKind", "hosts", "register_host"]


@dataclass(frozen=True)
class HostKind:
    """A Host that the lab can make.

    Attributes:
        name: As on the command line.
        title: What it is, in a line.
        make: Makes one, not started yet.
        virtual: Whether its clock is ours; see `Host.virtual`.
        setup: Brings what it needs to this machine, and tells a function line by line what it
            does; None: there is nothing to bring.
        missing: Says what it needs and this machine has not, and what would provide it; None: it
            can be had.
        alone: Whether there is but one of it, so that its cases are run one after the other.
    """

    name: str
    title: str
    make: Callable[[], Host]
    virtual: bool
    missing: Callable[[], str | None]
    setup: Callable[[Callable[[str], None]], object] | None
    alone: bool = False


_kinds: dict[str, HostKind] = {}


def register_host(
    name: str,
    title: str,
    make: Callable[[], Host],
    missing: Callable[[], str | None] = lambda: None,
    *,
    virtual: bool = False,
    setup: Callable[[Callable[[str], None]], object] | None = None,
    alone: bool = False,
) -> None:
    """Adds a kind of Host; see `HostKind`. A later one of the same name takes its place."""
    _kinds[name] = HostKind(name, title, make, virtual, missing, setup, alone)


def hosts() -> dict[str, HostKind]:
    """All kinds of Hosts by name, in the order that reports have them."""
    return dict(_kinds)


def _linux() -> Host:
    from pystack.lab.hosts.linux import LinuxHost  # noqa: PLC0415

    return LinuxHost()


def _linux_missing() -> str | None:
    from pystack.lab.hosts.linux import missing  # noqa: PLC0415

    return missing()


def _uml() -> Host:
    from pystack.lab.hosts.uml import UmlHost  # noqa: PLC0415

    return UmlHost()


def _uml_missing() -> str | None:
    from pystack.lab.hosts.uml import missing  # noqa: PLC0415

    return missing()


def _uml_setup(report: Callable[[str], None]) -> None:
    from pystack.lab.provision.uml import bring  # noqa: PLC0415

    bring(report)


def _stock(name: str, title: str) -> None:
    def make() -> Host:
        from pystack.lab.hosts.stock import StockHost  # noqa: PLC0415

        return StockHost(name)

    def missing() -> str | None:
        from pystack.lab.hosts import stock  # noqa: PLC0415

        return stock.missing(name)

    def setup(report: Callable[[str], None]) -> None:
        from pystack.lab.provision.lwip import build  # noqa: PLC0415

        build(name, report)

    register_host(name, title, make, missing, virtual=True, setup=setup)


def _gvisor_missing() -> str | None:
    from pystack.lab.provision.gvisor import built  # noqa: PLC0415

    return None if built() else "it has to be compiled: pystack lab setup gvisor"


def _gvisor_setup(report: Callable[[str], None]) -> None:
    from pystack.lab.provision.gvisor import build  # noqa: PLC0415

    build(report)


register_host("lwip", "lwIP 2.2.1 with pystack's port", lambda: StackHost("lwip"), virtual=True)
_stock("lwip-stock", "lwIP 2.2.1 as it comes, with upstream's options")
_stock("lwip-2.1.3", "lwIP 2.1.3 as it comes, with upstream's options")
register_host("linux", "the running Linux kernel, in namespaces of its own", _linux, _linux_missing)
register_host(
    "uml", "Debian's User-Mode Linux 6.1, as a program", _uml, _uml_missing, setup=_uml_setup
)
register_host(
    "gvisor",
    "gVisor's netstack as pystack's second engine",
    lambda: StackHost("gvisor", "gvisor"),
    _gvisor_missing,
    virtual=True,
    setup=_gvisor_setup,
)
others.register(register_host)
