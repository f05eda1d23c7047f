"""The Hosts there are, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pystack._native.engines import engine_path
from pystack.lab.host import Host
from pystack.lab.hosts import others
from pystack.lab.hosts.stack import StackHost
from pystack.lab.provision.linux.tree import SUITES

__all__ = ["HostKind", "hosts", "register_host"]


@dataclass(frozen=True)
class HostKind:
    """A Host that the lab can make.

    Attributes:
        name: Its name on the command line.
        title: A description in one line.
        make: Creates one, not started yet.
        virtual: Whether its clock is ours; see `Host.virtual`.
        setup: Fetches or builds what it needs, and reports its steps to a function, line by line;
            None: there is nothing to set up.
        missing: Says what this machine lacks for it, and what would provide it; None: nothing.
        alone: Whether there can be only one, so that its cases run one after another.
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


def _engine_missing(name: str) -> str | None:
    try:
        engine_path(name)
    except OSError:
        return f"compile it first: pystack lab setup {name}"
    return None


def _linux_engine(series: str) -> None:
    """Linux of one series, in this process: an engine that is built here."""

    def make() -> Host:
        from pystack.lab.hosts.linux_stack import LinuxStackHost  # noqa: PLC0415

        return LinuxStackHost(series)

    def setup(report: Callable[[str], None]) -> None:
        from pystack.lab.provision.linux import build  # noqa: PLC0415

        build(report, version=series)

    name, title = f"linux-{series}", f"Linux {series} as pystack's engine"
    missing = partial(_engine_missing, name)
    register_host(name, title, make, missing, virtual=True, setup=setup)


def _gvisor_setup(report: Callable[[str], None]) -> None:
    from pystack.lab.provision.gvisor import build  # noqa: PLC0415

    build(report)


register_host("lwip", "lwIP 2.2.1 with pystack's port", lambda: StackHost("lwip"), virtual=True)
_stock("lwip-stock", "lwIP 2.2.1 as it comes, with upstream's options")
_stock("lwip-2.1.3", "lwIP 2.1.3 as it comes, with upstream's options")
register_host("linux", "the running Linux kernel, in its own namespaces", _linux, _linux_missing)
for _series in SUITES:
    _linux_engine(_series)
register_host(
    "uml", "Debian's User-Mode Linux 6.1, as a program", _uml, _uml_missing, setup=_uml_setup
)
register_host(
    "gvisor",
    "gVisor's netstack as pystack's second engine",
    lambda: StackHost("gvisor", "gvisor"),
    partial(_engine_missing, "gvisor"),
    virtual=True,
    setup=_gvisor_setup,
)
others.register(register_host)
