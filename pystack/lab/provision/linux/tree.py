"""The kernel's source: Debian's, or the user's, with our architecture laid over it."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from pystack._native.engines import source_folder
from pystack.lab.provision import ProvisionError
from pystack.lab.provision.debian import Archive, unpack

__all__ = ["SUITES", "bring", "overlay", "release", "series"]

# The series that our architecture is written for, and the suite of Debian's that has each. Any
# release of a series will do: the archive's signature vouches for it.
SUITES = {"6.12": "trixie", "7.2": "sid"}

_VERSION = re.compile(r"^(VERSION|PATCHLEVEL|SUBLEVEL)[ \t]*=[ \t]*(\d+)$", re.MULTILINE)

# What is left packed: 1.2 GB, of which a build of the network reads 32 MB. Kconfig and Makefile of
# a folder are read though nothing of it is built.
_READ_ANYWHERE = re.compile(r"(Kconfig|Makefile|Kbuild)[^/]*$")
_LEFT_OUT = re.compile(
    r"(?!Documentation/Kconfig)Documentation/|LICENSES/|rust/|samples/|sound/|"
    r"tools/(?!include/|lib/|build/|scripts/)|"
    r"arch/(?!x86/entry/syscalls/syscall_32\.tbl$).*/|"
    r"drivers/(?!(base|char|clocksource|md|net|of|pps|ptp|virtio)/|[^/]*$)|"
    r"drivers/(net|md)/[^/]*/|"
    r"fs/(?!(proc|ramfs|devpts|notify|iomap|nls|quota|crypto|verity|kernfs|sysfs|configfs)/|[^/]*$)"
)


def series(name: str) -> str:
    """Of a release as "6.12.117" the first two numbers."""
    return ".".join(name.split(".")[:2])


def release(source: Path) -> str:
    """The release of a source tree, as its Makefile has it.

    Raises:
        ProvisionError: The folder holds no kernel.
    """
    try:
        text = (source / "Makefile").read_text("utf-8")
    except OSError as error:
        raise ProvisionError(f"{source} is no source tree of Linux: {error}") from error
    fields = dict(_VERSION.findall(text))
    if len(fields) != 3 or not (source / "Kconfig").is_file():
        raise ProvisionError(f"{source} is no source tree of Linux: its Makefile has no version")
    return f"{fields['VERSION']}.{fields['PATCHLEVEL']}.{fields['SUBLEVEL']}"


def bring(work: Path, wanted: str, report: Callable[[str], None]) -> Path:
    """Unpacks what is needed of Debian's source of a series below `work`.

    Raises:
        ProvisionError: The archive doesn't have it, or can't be reached.
    """
    suite = SUITES[wanted]
    archive = Archive(work / "apt", report).suite(suite)
    name = f"linux-source-{wanted}"
    package = archive.find(name)
    if package is None:
        there = ", ".join(archive.names(r"^linux-source-[0-9.]+$")) or "none"
        raise ProvisionError(
            f"Debian's {suite} has no {name} (any more), but {there}. Give the "
            "source tree of a release by --source"
        )
    files = archive.download([package], work / "debs")
    unpack(files, work / "package")
    packed = next((work / "package/usr/src").glob(f"{name}.tar.*"), None)
    if packed is None:
        raise ProvisionError(f"{name} {package.version} is laid out otherwise than expected")
    report(f"unpacking what is needed of {name} {package.version}")
    folder = work / "source"
    folder.mkdir()
    _unpack_needed(packed, folder)
    for path in (*files, packed):
        path.unlink()
    return folder


def needed(path: str) -> bool:
    """Whether a build reads a file of the tree, or might."""
    return bool(_READ_ANYWHERE.search(path)) or not _LEFT_OUT.match(path)


def _unpack_needed(packed: Path, folder: Path) -> None:
    # xz(1) is faster than the module, and works beside it.
    with subprocess.Popen(["xz", "-dc", str(packed)], stdout=subprocess.PIPE) as unpacker:
        stream: IO[bytes] | None = unpacker.stdout
        assert stream is not None
        try:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    member.name = member.name.partition("/")[2]
                    if member.name and not member.isdir() and needed(member.name):
                        archive.extract(member, folder)
        except tarfile.TarError as error:
            raise ProvisionError(f"{packed.name} can't be unpacked: {error}") from error
    if unpacker.returncode:
        raise ProvisionError(f"{packed.name} can't be unpacked: xz says {unpacker.returncode}")


def overlay(work: Path, source: Path) -> Path:
    """A tree of links to the source, with `arch/anyk` added; the source itself isn't changed.

    Leftovers of a build in the source tree are hidden: Kbuild would refuse them.
    """
    made = work / "tree"
    for folder in (".", "arch", "include"):
        (made / folder).mkdir()
        for path in (source / folder).iterdir():
            if (folder, path.name) in {(".", "arch"), (".", "include")}:
                continue
            if (folder, path.name) in {
                (".", ".config"), ("include", "config"), ("include", "generated"),
            }:  # fmt: skip
                continue
            (made / folder / path.name).symlink_to(path.resolve())
    # A copy: a package that is reinstalled meanwhile loses its files.
    shutil.copytree(source_folder("linux") / "arch", made / "arch/anyk")
    return made
