"""User-Mode Linux from Debian: the kernel as a program, and its modules."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pystack.lab.provision import ProvisionError, cache_folder
from pystack.lab.provision.debian import Archive, unpack

__all__ = ["PACKAGE", "Kernel", "bring", "found"]

PACKAGE = "user-mode-linux"
# IPv6 is a module of Debian's, and needs the other.
MODULES = ("kernel/lib/crc-ccitt.ko", "kernel/net/ipv6/ipv6.ko")


@dataclass(frozen=True)
class Kernel:
    """A User-Mode Linux.

    Attributes:
        program: The kernel.
        modules: What has to be loaded for IPv6, in this order.
    """

    program: Path
    modules: tuple[Path, ...]


def _below(root: Path) -> Kernel | None:
    program = root / "usr/bin/linux.uml"
    if not program.is_file():
        return None
    for folder in sorted((root / "usr/lib/uml/modules").glob("*")):
        modules = tuple(folder / one for one in MODULES)
        if all(one.is_file() for one in modules):
            return Kernel(program, modules)
    return None


def found() -> Kernel | None:
    """The one that was brought, or else the one that is installed; None: there is none."""
    return _below(cache_folder() / "uml") or _below(Path("/"))


def bring(report: Callable[[str], None]) -> Kernel:
    """Brings Debian's, unless there is one.

    Args:
        report: Is told of each step, in one line.

    Raises:
        ProvisionError: It isn't available; the text says what to do.
    """
    there = found()
    if there is not None:
        report(f"already there: {there.program}")
        return there
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="uml-", dir=cache_folder()) as name:
        work = Path(name)
        archive = Archive(work / "apt", report)
        package = archive.find(PACKAGE)
        if package is None:
            raise ProvisionError(
                f"this machine's apt knows no package {PACKAGE}; Debian 12 (bookworm) has it"
            )
        files = archive.download([package], work / "debs")
        report("unpacking")
        unpack(files, work / "root")
        kernel = _below(work / "root")
        if kernel is None:
            raise ProvisionError(f"{PACKAGE} {package.version} is laid out otherwise than expected")
        _thin(work / "root", kernel)
        target = cache_folder() / "uml"
        shutil.rmtree(target, ignore_errors=True)
        (work / "root").rename(target)
    kernel = _below(target)
    if kernel is None:
        raise ProvisionError(f"{target} can't be read")
    report(f"brought: {PACKAGE} {package.version}, {target}")
    return kernel


def _thin(root: Path, kernel: Kernel) -> None:
    """Leaves the modules that are not needed, and all but the licence's text, out."""
    for path in root.rglob("*"):
        wanted = path in (kernel.program, *kernel.modules) or re.search("copyright", path.name)
        if path.is_file() and not wanted:
            path.unlink()
