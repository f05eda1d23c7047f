"""Bringing what Hosts need to this machine: below one cache folder, without root."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

__all__ = ["ProvisionError", "cache_folder", "sole_builder"]


class ProvisionError(Exception):
    """What a Host needs can't be brought here; says why, and what would help."""


def cache_folder() -> Path:
    """Where what was brought is kept; nothing in it can't be brought again."""
    return Path(platformdirs.user_cache_path("pystack", appauthor=False)) / "lab"


@contextmanager
def sole_builder(folder: Path, name: str, report: Callable[[str], None]) -> Iterator[None]:
    """Lets one process at a time build `name` below a folder; the others wait, then find it built.

    Args:
        folder: It exists already.
        name: Of what is built.
        report: Is told, in one line, if there is somebody to wait for.
    """
    if sys.platform == "win32":
        yield  # nothing that is built here is built there
        return
    import fcntl  # noqa: PLC0415 - not on Windows

    with (folder / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"another process is building {name}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
