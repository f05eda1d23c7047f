"""Builds the engine "linux": Linux itself as a library, from a kernel's source and our own.

The kernel's objects are built first (kernel.py), under the architecture `anyk` that is laid over
its tree, and kept: they follow only from the release and from bindings/linux/arch. The engine is
C of ours on top of them (library.py), which takes seconds. The source is Debian's (tree.py), or a
folder the user names. Nothing is patched, nothing is installed, no root is needed.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from pystack._native.engines import built_path, cache_folder
from pystack.lab.provision import ProvisionError, sole_builder
from pystack.lab.provision.linux import kernel, library, tools, tree

__all__ = ["DEFAULT", "build", "built"]

# Of the series in tree.SUITES, the one in Debian's stable release, supported for years.
DEFAULT = "6.12"
# Disk space a build needs while it runs, with some to spare.
DISK_BYTES = 1_000_000_000


def built(series: str) -> Path | None:
    """The library of a series, if it has been built from the source at hand."""
    path = built_path(f"linux-{series}")
    return path if path.exists() else None


def build(
    report: Callable[[str], None],
    *,
    version: str | None = None,
    source: Path | None = None,
    jobs: int | None = None,
    again: bool = False,
) -> Path:
    """Builds the engine of one series, and puts it into the cache.

    Args:
        report: Is told of each step, in one line.
        version: The series, as "6.12"; that of the source if there is one, else `DEFAULT`.
        source: A kernel's source tree, only read; by default Debian's is brought.
        jobs: Compilers at once; by default one a processor.
        again: Build also if it is there already, as with a newer release of the series.

    Returns:
        The library.

    Raises:
        ProvisionError: It can't be built here; the text says what to do.
    """
    if source is not None:
        series = tree.series(tree.release(source))
        if version is not None and version != series:
            raise ProvisionError(f"{source} is Linux {tree.release(source)}, not {version}")
    else:
        series = version or DEFAULT
    if series not in tree.SUITES:
        raise ProvisionError(
            f"no Linux {series}: the architecture is written for {', '.join(tree.SUITES)}"
        )
    target = built_path(f"linux-{series}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with sole_builder(target.parent, f"linux-{series}", report):
            if target.exists() and not again:
                report(f"already built: {target}")
                return target
            _build(target, series, source, jobs, report, again=again)
    except OSError as error:
        raise ProvisionError(f"can't build below {cache_folder()}: {error}") from error
    report(f"built: {target}")
    return target


def _build(
    target: Path,
    series: str,
    source: Path | None,
    jobs: int | None,
    report: Callable[[str], None],
    *,
    again: bool,
) -> None:
    compiler = _compiler()
    with tempfile.TemporaryDirectory(prefix="build-", dir=cache_folder()) as name:
        work = Path(name)
        objects = kernel.kept(series)
        if objects is None or again:
            _room(cache_folder())
            objects = _build_kernel(work, series, source, compiler, jobs, report)
        made = library.link(work, objects, compiler, report)
        about = {"release": objects.release, "compiler": _first_line([*compiler, "--version"])}
        target.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n", "utf-8")
        made.replace(target)


def _build_kernel(
    work: Path,
    series: str,
    source: Path | None,
    compiler: list[str],
    jobs: int | None,
    report: Callable[[str], None],
) -> kernel.Objects:
    environment = tools.bring(work, report, apt=source is None)
    if source is None:
        source = tree.bring(work, series, report)
    return kernel.build(
        work, tree.overlay(work, source), compiler, environment, jobs or os.cpu_count() or 1, report
    )


def _compiler() -> list[str]:
    """The C compiler and what goes before it, as in CC.

    Raises:
        ProvisionError: There is none.
    """
    chosen = os.environ.get("CC")
    if chosen:
        words = shlex.split(chosen)
        if shutil.which(words[0]) is None:
            raise ProvisionError(f"no C compiler: CC is {chosen!r}, and there is no {words[0]}")
        return words
    found = shutil.which("gcc") or shutil.which("cc")
    if found is None:
        raise ProvisionError("no C compiler: `apt-get install gcc libc6-dev`, or set CC")
    return [found]


def _room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < DISK_BYTES:
        raise ProvisionError(
            f"{folder} has {free >> 20} MiB free, and the build takes {DISK_BYTES >> 20} MiB for a "
            "while: make room, or set XDG_CACHE_HOME to a folder with more"
        )


def _first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]
