"""The Hosts that are other people's stacks, each in a program of its own.

All that is loaded here is names: what a Host needs is looked for when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pystack.lab.host import Host
from pystack.lab.provision import cache_folder

__all__ = ["register"]

PYTCP = "PyTCP==2.7.6"


def _setup_hint(name: str) -> str:
    return f"pystack lab setup {name}"


def namespace_missing() -> str | None:
    """What a network namespace of our own takes; None: it can be had."""
    from pystack.lab.hosts.linux import namespaces_missing  # noqa: PLC0415

    return namespaces_missing()


def taps_missing() -> str | None:
    """What a TAP in a network namespace of our own takes; None: it can be had."""
    from pystack.lab.hosts.linux import missing  # noqa: PLC0415

    return missing()


def _pytcp() -> Host:
    from pystack.lab.hosts.program import ProgramHost  # noqa: PLC0415

    return ProgramHost("pytcp", "pytcp_agent.py", lambda: [str(cache_folder() / "pytcp")])


def _pytcp_missing() -> str | None:
    if Path(cache_folder() / "pytcp" / "pytcp").is_dir():
        return None
    return f"{PYTCP} from PyPI: {_setup_hint('pytcp')}"


def _pytcp_setup(report: Callable[[str], None]) -> None:
    from pystack.lab.provision.packages import bring_wheel  # noqa: PLC0415

    bring_wheel("pytcp", PYTCP, report)


SLIRP, SLIRP_FILE = ("libslirp0",), "usr/lib/*/libslirp.so.0"
NO_LINK = {
    "ACD": "does not look whether others have its address",
}


def _slirp() -> Host:
    from pystack.lab.hosts.program import ProgramHost  # noqa: PLC0415
    from pystack.lab.provision.packages import library  # noqa: PLC0415

    return ProgramHost(
        "slirp", "slirp_agent.py", lambda: [str(library("slirp", SLIRP_FILE))], ipv6=False
    )


def _slirp_missing() -> str | None:
    from pystack.lab.provision.packages import library  # noqa: PLC0415

    if library("slirp", SLIRP_FILE) is None:
        return f"Debian's package {SLIRP[0]}: {_setup_hint('slirp')}"
    return namespace_missing()


def _slirp_setup(report: Callable[[str], None]) -> None:
    from pystack.lab.provision.packages import bring_packages  # noqa: PLC0415

    bring_packages("slirp", SLIRP, report)


PASST, PASST_FILE = ("passt",), "usr/bin/passt"


def _passt() -> Host:
    from pystack.lab.hosts.program import ProgramHost  # noqa: PLC0415
    from pystack.lab.provision.packages import library, version  # noqa: PLC0415

    return ProgramHost(
        "passt",
        "passt_agent.py",
        lambda: [str(library("passt", PASST_FILE)), version("passt") or "installed"],
    )


def _passt_missing() -> str | None:
    from pystack.lab.provision.packages import library  # noqa: PLC0415

    if library("passt", PASST_FILE) is None:
        return f"Debian's package {PASST[0]}: {_setup_hint('passt')}"
    return taps_missing()


def _passt_setup(report: Callable[[str], None]) -> None:
    from pystack.lab.provision.packages import bring_packages  # noqa: PLC0415

    bring_packages("passt", PASST, report)


LWIPV6, LWIPV6_FILE = ("liblwipv6-2",), "usr/lib/**/liblwipv6.so.2"


def _lwipv6() -> Host:
    from pystack.lab.hosts.program import ProgramHost  # noqa: PLC0415
    from pystack.lab.provision.packages import library  # noqa: PLC0415

    return ProgramHost("lwipv6", "lwipv6_agent.py", lambda: [str(library("lwipv6", LWIPV6_FILE))])


def _lwipv6_missing() -> str | None:
    from pystack.lab.provision.packages import library  # noqa: PLC0415

    if library("lwipv6", LWIPV6_FILE) is None:
        return f"Debian's package {LWIPV6[0]}: {_setup_hint('lwipv6')}"
    return taps_missing()


def _lwipv6_setup(report: Callable[[str], None]) -> None:
    from pystack.lab.provision.packages import bring_packages  # noqa: PLC0415

    bring_packages("lwipv6", LWIPV6, report)


def _external() -> Host:
    from pystack.lab.hosts.external import ExternalHost  # noqa: PLC0415

    return ExternalHost()


def _external_missing() -> str | None:
    from pystack.lab.hosts.external import missing  # noqa: PLC0415

    return missing()


def register(register_host: Callable[..., Any]) -> None:
    """Adds all of them."""
    register_host("pytcp", "PyTCP 2.7.6, in Python", _pytcp, _pytcp_missing, setup=_pytcp_setup)
    register_host(
        "lwipv6", "Debian's LWIPv6, of lwIP 1.1", _lwipv6, _lwipv6_missing, setup=_lwipv6_setup
    )
    register_host(
        "slirp", "libslirp, QEMU's user network", _slirp, _slirp_missing, setup=_slirp_setup
    )
    register_host("passt", "passt, QEMU's and podman's", _passt, _passt_missing, setup=_passt_setup)
    register_host(
        "external",
        "your own, on a wire and with an agent",
        _external,
        _external_missing,
        alone=True,
    )
