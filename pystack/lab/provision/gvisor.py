"""Builds the engine "gvisor": gVisor's netstack, from Debian's Go packages, behind our own Go.

It takes about a minute and 600 MB of disk meanwhile; what stays is one library of 5 MB in the
cache, which `Stack(engine="gvisor")` finds. It is named by a hash of our source, so that a new
pystack asks for a new one.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from pystack._native.engines import built_path, cache_folder, source_folder
from pystack.lab.provision import ProvisionError, sole_builder
from pystack.lab.provision.compiler import own_compiler
from pystack.lab.provision.debian import Archive, Package, unpack
from pystack.lab.provision.tool import run_tool

__all__ = ["build", "built"]

NETSTACK = "golang-gvisor-gvisor-dev"
# What netstack imports from outside Go's own library.
LIBRARIES = (
    NETSTACK,
    "golang-github-google-btree-dev",
    "golang-golang-x-sys-dev",
    "golang-golang-x-time-dev",
)
COMPILER = "golang-go"
# netstack promises no API: our Go is written against this snapshot of it.
SNAPSHOT = "0.0~20221219"

BUILD_TIMEOUT_S = 1200


def built() -> Path | None:
    """The library, if it has been built from the source at hand."""
    path = built_path("gvisor")
    return path if path.exists() else None


def build(report: Callable[[str], None], *, again: bool = False) -> Path:
    """Brings Go and netstack, builds the engine and puts it into the cache.

    Args:
        report: Is told of each step, in one line.
        again: Build also if it is there already, as with newer packages.

    Returns:
        The library.

    Raises:
        ProvisionError: It can't be built here; the text says what to do.
    """
    target = built_path("gvisor")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with sole_builder(target.parent, "gvisor", report):
            if target.exists() and not again:
                report(f"already built: {target}")
                return target
            compiler = shlex.join(own_compiler("cc", "gcc"))  # quoted, as Go reads it, too
            with tempfile.TemporaryDirectory(prefix="build-", dir=cache_folder()) as name:
                work = Path(name)
                packages = _bring(work, report)
                library = _compile(work, packages, compiler, report)
                _put(library, target, packages)
    except OSError as error:
        raise ProvisionError(f"can't build below {cache_folder()}: {error}") from error
    report(f"built: {target}")
    return target


def _bring(work: Path, report: Callable[[str], None]) -> list[Package]:
    """Unpacks all packages below ``work / "root"``."""
    archive = Archive(work / "apt", report)
    packages = []
    for name in (COMPILER, *LIBRARIES):
        package = archive.find(name)
        if package is None:
            raise ProvisionError(
                f"this machine's apt knows no package {name}. Debian 12 (bookworm) has it: build "
                "there or in a container of it with the same pystack, and copy the library here, "
                f"as {built_path('gvisor')}"
            )
        if name == NETSTACK and not package.version.startswith(SNAPSHOT):
            raise ProvisionError(
                f"this machine's apt offers {name} {package.version}, and the engine is written "
                f"against {SNAPSHOT}, which Debian 12 (bookworm) has: build it there, and copy the "
                f"library here, as {built_path('gvisor')}"
            )
        packages.append(package)
    # golang-go only names the compiler and its library, which carry a version in their names.
    for name in packages[0].depends:
        if re.fullmatch(r"golang-[\d.]+-go", name):
            for real in (name, name.removesuffix("-go") + "-src"):
                package = archive.find(real)
                if package is None:
                    raise ProvisionError(f"{COMPILER} needs {real}, which apt doesn't know")
                packages.append(package)
    files = archive.download(packages[1:], work / "debs")
    report("unpacking")
    unpack(files, work / "root")
    return packages[1:]


def _compile(
    work: Path, packages: list[Package], compiler: str, report: Callable[[str], None]
) -> Path:
    roots = sorted((work / "root/usr/lib").glob("go-*"))
    if not roots:
        raise ProvisionError("Debian's Go is laid out otherwise than expected: no usr/lib/go-*")
    source = work / "source"
    shutil.copytree(source_folder("gvisor"), source)
    release = next(package.version for package in packages if package.name == NETSTACK)
    library = work / "gvisor.so"
    report("compiling netstack")
    # A C string in a flag, which no shell sees.
    flags = f'-O2 -DGVISOR_RELEASE="{release}"'
    command = [str(roots[-1] / "bin/go"), "build", "-buildmode=c-shared", "-ldflags=-s -w"]
    run_tool(
        [*command, "-o", str(library), "."],
        BUILD_TIMEOUT_S,
        name="the Go compiler",
        cwd=source,
        env={
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(work),
            "CC": compiler,
            "CGO_ENABLED": "1",
            "CGO_CFLAGS": flags,
            "GOROOT": str(roots[-1]),
            "GOPATH": str(work / "root/usr/share/gocode"),
            "GOCACHE": str(work / "gocache"),
            "GOTMPDIR": str(work),
            "GO111MODULE": "off",
            "GOFLAGS": "-trimpath",
            "GOTOOLCHAIN": "local",
        },
    )
    return library


def _put(library: Path, target: Path, packages: list[Package]) -> None:
    """Puts the library into its place at once, and beside it what it was made of."""
    versions = {package.name: package.version for package in packages}
    target.with_suffix(".json").write_text(json.dumps(versions, indent=2) + "\n", "utf-8")
    library.replace(target)
