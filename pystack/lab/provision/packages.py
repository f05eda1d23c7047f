"""What Hosts need and others have published, below the cache folder: wheels and Debian packages."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from pystack.lab.provision import ProvisionError, cache_folder
from pystack.lab.provision.debian import Archive, unpack
from pystack.lab.provision.tool import run_tool

__all__ = ["bring_packages", "bring_wheel", "brought", "library", "version"]

PIP_S = 300
ROOT = Path("/")
VERSIONS = "version"


def brought(name: str) -> Path | None:
    """The folder of what was brought for a Host; None: nothing was."""
    folder = cache_folder() / name
    return folder if folder.is_dir() else None


def library(name: str, pattern: str) -> Path | None:
    """A file that a Host needs: of what was brought for it, or else of what is installed.

    Args:
        name: The Host's.
        pattern: Where it is below the root of a Debian system, for `Path.glob`; ".": the whole
            folder of what was brought, and nothing else will do.
    """
    if pattern == ".":
        return brought(name)
    for root in (brought(name), ROOT):
        for path in () if root is None else sorted(root.glob(pattern)):
            return path
    return None


def version(name: str) -> str:
    """Which version of its first package was brought for a Host."""
    folder = brought(name)
    try:
        return "" if folder is None else (folder / VERSIONS).read_text().strip()
    except OSError:
        return ""


def bring_wheel(name: str, requirements: str, report: Callable[[str], None]) -> Path:
    """Brings packages of PyPI's, without what they ask for besides, unless they are there.

    They are not installed: nothing else in this Python sees them.

    Args:
        name: The Host's.
        requirements: As for pip, with spaces between.
        report: Is told of each step, in one line.

    Raises:
        ProvisionError: pip is missing, or can't install it.
    """
    there = brought(name)
    if there is not None:
        report(f"already there: {there}")
        return there
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=cache_folder()) as made:
        words = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile"]
        report(f"downloading {requirements}")
        run_tool(
            [
                sys.executable,
                "-m",
                "pip",
                *words,
                "--target",
                f"{made}/root",
                *requirements.split(),
            ],
            PIP_S,
            name=f"pip install {requirements}",
            marked="ERROR",
        )
        return _settle(name, Path(made) / "root", requirements, report)


def bring_packages(name: str, packages: tuple[str, ...], report: Callable[[str], None]) -> Path:
    """Brings Debian packages, unless they are there. Nothing is installed.

    Args:
        name: The Host's.
        packages: Their names; what they depend on has to be there already.
        report: Is told of each step, in one line.

    Raises:
        ProvisionError: One isn't available; the text says what to do.
    """
    there = brought(name)
    if there is not None:
        report(f"already there: {there}")
        return there
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=cache_folder()) as made:
        work = Path(made)
        archive = Archive(work / "apt", report)
        found = []
        for one in packages:
            package = archive.find(one)
            if package is None:
                raise ProvisionError(
                    f"this machine's apt knows no package {one}; Debian 12 (bookworm) has it"
                )
            found.append(package)
        files = archive.download(found, work / "debs")
        report("unpacking")
        unpack(files, work / "root")
        versions = ", ".join(f"{one.name} {one.version}" for one in found)
        (work / "root" / VERSIONS).write_text(found[0].version)
        return _settle(name, work / "root", versions, report)


def _settle(name: str, root: Path, what: str, report: Callable[[str], None]) -> Path:
    target = cache_folder() / name
    shutil.rmtree(target, ignore_errors=True)
    root.rename(target)
    report(f"brought: {what}, {target}")
    return target
