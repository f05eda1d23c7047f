"""The kernel's objects, as one: its own names are local in it, what the engine calls is not."""

from __future__ import annotations

import shutil
import subprocess
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pystack._native.engines import cache_folder, source_folder, source_key
from pystack.lab.provision import ProvisionError
from pystack.lab.provision.linux import tree
from pystack.lab.provision.linux.toolchain import Toolchain

__all__ = ["Objects", "build", "kept"]

# Kbuild's lines for one object each, and about how many of these there are.
_OBJECT_LINES = ("  CC ", "  AS ", "  LD ", "  AR ")
_OBJECTS = 1100
_SHOWN_PER_CENT = 10
# The names that the library's own parts call each other by; jiffies is another name of
# jiffies_64 that the linker script gives.
_GLOBAL = ("anyk_*", "jiffies_64")


@dataclass(frozen=True)
class Objects:
    """A kernel that has been compiled.

    Attributes:
        release: As "6.12.117".
        kernel: All of it in one object.
        script: How the linker lays a library of it out.
    """

    release: str
    kernel: Path
    script: Path


def _folder(series: str, machine: str) -> Path:
    return cache_folder() / "linux" / f"kernel-{series}-{source_key('linux', 'arch')}-{machine}"


def kept(series: str, machine: str) -> Objects | None:
    """The objects of a series, if they were compiled under our present architecture."""
    folder = _folder(series, machine)
    try:
        return _kept_in(folder)
    except FileNotFoundError:
        return None


def _kept_in(folder: Path) -> Objects:
    release = (folder / "release").read_text("utf-8").strip()
    return Objects(release, folder / "kernel.o", folder / "library.lds")


def build(
    work: Path,
    source: Path,
    chain: Toolchain,
    environment: dict[str, str],
    jobs: int,
    report: Callable[[str], None],
) -> Objects:
    """Compiles a kernel and keeps its objects.

    Args:
        work: A folder to build in.
        source: The tree, with `arch/anyk` in it.
        chain: The compiler and the binutils.
        environment: To build in.
        jobs: Compilers at once.
        report: Is told of each step, in one line.

    Raises:
        ProvisionError: It can't be compiled.
    """
    release = tree.release(source)
    objects = work / "objects"
    objects.mkdir()
    make = [
        "make", "-C", str(source), f"O={objects}", "ARCH=anyk",
        f"CROSS_COMPILE={chain.prefix}", f"CC={' '.join(chain.compiler)}",
        "KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970",
        "KBUILD_BUILD_USER=pystack", "KBUILD_BUILD_HOST=pystack",
    ]  # fmt: skip
    report(f"configuring Linux {release}")
    config = source_folder("linux") / "arch/library.config"
    _run([*make, f"KCONFIG_ALLCONFIG={config}", "allnoconfig"], environment, lambda line: None)
    report(f"compiling Linux {release}, by {jobs} at once")
    done = shown = 0

    def count(line: str) -> None:
        nonlocal done, shown
        done += line.startswith(_OBJECT_LINES)
        per_cent = min(100 * done // _OBJECTS, 99)
        if per_cent >= shown + _SHOWN_PER_CENT:
            shown = per_cent - per_cent % _SHOWN_PER_CENT
            report(f"compiling Linux {release}: about {shown} %")

    _run([*make, f"-j{jobs}", "vmlinux_o", "init/version-timestamp.o"], environment, count)
    report("joining the objects")
    kernel = _join(objects, chain, environment)
    script = _script(source, objects, chain, environment)
    folder = _folder(tree.series(release), chain.machine)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    kernel.replace(folder / "kernel.o")
    script.replace(folder / "library.lds")
    (folder / "release").write_text(f"{release}\n", "utf-8")
    return _kept_in(folder)


def _join(objects: Path, chain: Toolchain, environment: dict[str, str]) -> Path:
    """One object out of all, with its names made local: it has an snprintf of its own."""
    joined = objects / "joined.o"
    parts = ["vmlinux.o", "init/version-timestamp.o"]
    _run(
        [chain.tool("ld"), "-r", "-o", str(joined), *(str(objects / part) for part in parts)],
        environment,
    )
    keep = [f"--keep-global-symbol={name}" for name in _GLOBAL]
    kernel = objects / "kernel.o"
    _run([chain.tool("objcopy"), "--wildcard", *keep, str(joined), str(kernel)], environment)
    return kernel


def _script(source: Path, objects: Path, chain: Toolchain, environment: dict[str, str]) -> Path:
    script = objects / "library.lds"
    folders = [
        source / "arch/anyk/include", objects / "arch/anyk/include/generated",
        source / "include", objects / "include",
        source / "arch/anyk/include/uapi", objects / "arch/anyk/include/generated/uapi",
        source / "include/uapi", objects / "include/generated/uapi",
    ]  # fmt: skip
    _run(
        [
            *chain.compiler, "-E", "-P", "-x", "assembler-with-cpp", "-undef",
            "-D__KERNEL__", "-DLINKER_SCRIPT", "-D__ASSEMBLY__", "-D__ASSEMBLER__",
            "-include", str(source / "include/linux/kconfig.h"),
            *(f"-I{folder}" for folder in folders),
            str(source / "arch/anyk/kernel/library.lds.S"), "-o", str(script),
        ],
        environment,
    )  # fmt: skip
    return script


def _run(
    command: list[str],
    environment: dict[str, str],
    told: Callable[[str], None] = lambda line: None,
) -> None:
    """Runs a command; `told` gets its lines as they come.

    Raises:
        ProvisionError: It failed; with the last of what it said.
    """
    last: deque[str] = deque(maxlen=30)
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last.append(line)
            told(line)
    if process.returncode:
        raise ProvisionError(f"{command[0]} failed:\n{''.join(last).rstrip()}")
