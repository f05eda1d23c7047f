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
        "external",
        "your own, on a wire and with an agent",
        _external,
        _external_missing,
        alone=True,
    )
