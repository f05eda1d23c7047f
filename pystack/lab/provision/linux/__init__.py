"""Builds the engine "linux": Linux itself as a library, from a kernel's source and our own.

The kernel's objects are built first (kernel.py), under the architecture `anyk` that is laid over
its tree, and kept: they follow only from the release and from bindings/linux/arch. The engine is
C of ours on top of them (library.py), which takes seconds. The source is Debian's (tree.py), or a
folder the user names. Nothing is patched, nothing is installed, no root is needed.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from pystack._native.engines import built_path, cache_folder
from pystack.lab.provision import ProvisionError, sole_builder
from pystack.lab.provision.linux import kernel, library, toolchain, tools, tree
from pystack.lab.provision.linux.toolchain import Toolchain

__all__ = ["DEFAULT", "build", "built"]

# Of the series in tree.SUITES, the one in Debian's stable release, supported for years.
DEFAULT = "6.12"
# Disk space a build needs while it runs, with some to spare.
DISK_BYTES = 1_000_000_000


def built(series: str, machine: str | None = None) -> Path | None:
    """The library of a series, if it has been built from the source at hand.

    Args:
        series: As "6.12".
        machine: Which it is for, as `build` has it.
    """
    path = built_path(f"linux-{series}", machine)
    return path if path.exists() else None


def build(
    report: Callable[[str], None],
    *,
    version: str | None = None,
    source: Path | None = None,
    machine: str | None = None,
    jobs: int | None = None,
    again: bool = False,
) -> Path:
    """Builds the engine of one series, and puts it into the cache.

    Args:
        report: Is told of each step, in one line.
        version: The series, as "6.12"; that of the source if there is one, else `DEFAULT`.
        source: A kernel's source tree, only read; by default Debian's is brought.
        machine: Which it is for, as `uname -m` says there ("aarch64"); by default this one. For
            another one a cross compiler has to be installed, and no Stack here can load it.
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
    target = built_path(f"linux-{series}", machine)
    here = machine in {None, platform.machine().lower()}
    name = f"linux-{series}" if here else f"linux-{series}-{machine}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with sole_builder(target.parent, name, report):
            if target.exists() and not again:
                report(f"already built: {target}")
                return target
            _build(target, series, source, machine, jobs, report, again=again)
    except OSError as error:
        raise ProvisionError(f"can't build below {cache_folder()}: {error}") from error
    report(f"built: {target}")
    return target


def _build(
    target: Path,
    series: str,
    source: Path | None,
    machine: str | None,
    jobs: int | None,
    report: Callable[[str], None],
    *,
    again: bool,
) -> None:
    chain = toolchain.find(machine)
    with tempfile.TemporaryDirectory(prefix="build-", dir=cache_folder()) as name:
        work = Path(name)
        objects = kernel.kept(series, chain.machine)
        if objects is None or again:
            _room(cache_folder())
            objects = _build_kernel(work, series, source, chain, jobs, report)
        made = library.link(work, objects, chain, report)
        compiler = _first_line([*chain.compiler, "--version"])
        about = {"release": objects.release, "compiler": compiler}
        target.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n", "utf-8")
        made.replace(target)


def _build_kernel(
    work: Path,
    series: str,
    source: Path | None,
    chain: Toolchain,
    jobs: int | None,
    report: Callable[[str], None],
) -> kernel.Objects:
    environment = tools.bring(work, report, apt=source is None)
    if source is None:
        source = tree.bring(work, series, report)
    return kernel.build(
        work, tree.overlay(work, source), chain, environment, jobs or os.cpu_count() or 1, report
    )


def _room(folder: Path) -> None:
    if any(letter.isspace() or letter == ":" for letter in str(folder)):
        raise ProvisionError(
            f"the kernel's build takes no folder with a blank or a colon, as {str(folder)!r}: set "
            "XDG_CACHE_HOME to another"
        )
    free = shutil.disk_usage(folder).free
    if free < DISK_BYTES:
        raise ProvisionError(
            f"{folder} has {free >> 20} MiB free, and the build takes {DISK_BYTES >> 20} MiB for a "
            "while: make room, or set XDG_CACHE_HOME to a folder with more"
        )


def _first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]
