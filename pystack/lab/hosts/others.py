"""Third-party stacks as Hosts, each in its own process; and those left out.

All that is loaded here is names: what a Host needs is looked for when it is asked for.
"""
# Each function imports what it alone needs.
# ruff: noqa: PLC0415

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pystack.lab.host import Host

__all__ = ["register"]

Report = Callable[[str], None]

NO_LINK = "is at a TUN, and has no link layer"
NO_CLIENT = "has its addresses from its configuration alone"
# What was looked for in Debian and on PyPI, and is in neither.
ELSEWHERE = {
    "seastar": "Seastar's native stack, which needs vhost-net or DPDK",
    "lkl": "the Linux Kernel Library",
    "rump": "NetBSD's rump kernel",
    "osv": "OSv",
    "ukl": "Unikernel Linux",
    "mtcp": "mTCP, which needs DPDK",
    "mirage": "MirageOS's mirage-tcpip",
}


def _library(name: str, pattern: str) -> Path | None:
    from pystack.lab.provision.packages import library

    return library(name, pattern)


def _program(
    name: str,
    pattern: str,
    *,
    version: bool = False,
    ipv6: bool = True,
    bare: bool = False,
    lacks: Mapping[str, str] = MappingProxyType({}),
) -> Host:
    """A Host whose program is NAME_agent.py, and whose stack is where a pattern finds it.

    Args:
        name: The Host's; its program's has no hyphens.
        pattern: See `library`.
        version: Whether the program is told which version was brought.
        ipv6: See `ProgramHost`.
        bare: See `ProgramHost`.
        lacks: See `Host.lacks`.
    """
    from pystack.lab.hosts.program import ProgramHost
    from pystack.lab.provision import packages

    def words() -> list[str]:
        found = [str(_library(name, pattern))]
        return [*found, packages.version(name) or "installed"] if version else found

    program = f"{name.replace('-', '')}_agent.py"
    return ProgramHost(name, program, words, ipv6=ipv6, bare=bare, lacks=lacks)


def _missing(name: str, pattern: str, what: str, needs: str) -> str | None:
    from pystack.lab.hosts import linux

    if _library(name, pattern) is None:
        return f"{what}: pystack lab setup {name}"
    needed = {"": lambda: None, "tap": linux.missing, "network": linux.namespaces_missing}
    return needed[needs]()


def _wheel(name: str, requirement: str, report: Report) -> None:
    from pystack.lab.provision.packages import bring_wheel

    bring_wheel(name, requirement, report)


def _packages(name: str, packages: str, report: Report) -> None:
    from pystack.lab.provision.packages import bring_packages

    bring_packages(name, tuple(packages.split()), report)


def _external() -> Host:
    from pystack.lab.hosts.external import ExternalHost

    return ExternalHost()


def _external_missing() -> str | None:
    from pystack.lab.hosts.external import missing

    return missing()


def _elsewhere(name: str) -> Host:
    raise LookupError(f"{name} is in no package registry")


def register(register_host: Callable[..., Any]) -> None:
    """Adds all of them."""

    def add(
        name: str, title: str, pattern: str, brought: str, *, needs: str = "", **options: Any
    ) -> None:
        wheel = "==" in brought
        first = brought.split(maxsplit=1)[0]
        source = f"{first} from PyPI" if wheel else f"Debian's package {first}"
        register_host(
            name,
            title,
            partial(_program, name, pattern, **options),
            partial(_missing, name, pattern, source, needs),
            setup=partial(_wheel if wheel else _packages, name, brought),
        )

    add("pytcp", "PyTCP 2.7.6, in Python", ".", "PyTCP==2.7.6")
    add(
        "pytcp-3", "PyTCP 3.0.7, for Python 3.9 and later", ".",
        "pmd-pytcp==0.3.8 pmd-net-addr==0.0.3 pmd-net-proto==0.0.3 typing_extensions==4.15.0",
        bare=True,
    )  # fmt: skip
    add(
        "smoltcp", "smoltcp, as mitmproxy_rs has it", ".", "mitmproxy_rs==0.11.5", needs="tap",
        lacks={
            **dict.fromkeys(("ARP", "ACD", "ND", "MLD", "IGMP"), NO_LINK),
            **dict.fromkeys(("DHCP", "AUTOIP", "SLAAC"), NO_CLIENT),
        },
    )  # fmt: skip
    add("lwipv6", "LWIPv6, of lwIP 1.1", "usr/lib/**/liblwipv6.so.2", "liblwipv6-2", needs="tap")
    add(
        "slirp", "libslirp, QEMU's user network", "usr/lib/*/libslirp.so.0",
        "libslirp0 libglib2.0-0 libpcre2-8-0",
        needs="network", ipv6=False, lacks=dict.fromkeys(("DHCP", "AUTOIP", "ACD"), NO_CLIENT),
    )  # fmt: skip
    add(
        "passt", "passt, QEMU's and podman's", "usr/bin/passt", "passt", needs="tap",
        version=True, lacks=dict.fromkeys(("DHCP", "AUTOIP", "ACD", "SLAAC"), NO_CLIENT),
    )  # fmt: skip
    register_host("external", "your own stack, on a wire", _external, _external_missing, alone=True)
    for name, what in ELSEWHERE.items():
        why = "in no package registry: put it on a TAP, and run it as the Host external"
        register_host(name, what, partial(_elsewhere, name), partial(str, why))
