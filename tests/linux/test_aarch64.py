"""The engine on aarch64: there, or under qemu-user, which knows that machine's instructions.

No Python is needed for it: the host's C and a driver (two_stacks.c) are compiled for the machine,
and load the engine's library as any Stack does.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from pystack.lab.provision import linux
from pystack.lab.provision.linux.toolchain import Toolchain, find

HERE = Path(__file__).parent
BINDINGS = HERE.parents[1] / "bindings"
MACHINE = "aarch64"
LIBRARIES = Path("/usr/aarch64-linux-gnu")  # of Debian's libc6-arm64-cross


@pytest.fixture(scope="module")
def runner() -> list[str]:
    """What runs a program of that machine's."""
    if platform.machine().lower() == MACHINE:
        return []
    emulator = shutil.which("qemu-aarch64")
    if emulator is None:
        pytest.skip("there is no qemu-aarch64: `apt-get install qemu-user`")
    if shutil.which("aarch64-linux-gnu-gcc") is None or not (LIBRARIES / "lib/libc.so.6").exists():
        pytest.skip(
            "nothing here compiles for aarch64: `apt-get install gcc-aarch64-linux-gnu "
            "libc6-dev-arm64-cross`"
        )
    return [emulator, "-L", str(LIBRARIES)]


@pytest.fixture(scope="module")
def library(runner: list[str]) -> Path:
    """The engine for that machine: the one in the cache, or built for this test."""
    assert isinstance(runner, list)
    if linux.built(linux.DEFAULT, MACHINE) is None and shutil.which("apt-get") is None:
        pytest.skip("it has not been built, and there is no apt-get to bring the kernel's source")
    return linux.build(print, machine=MACHINE)


def compiled(chain: Toolchain, folder: Path) -> Path:
    """The driver, with all of the host's C in it."""
    program = folder / "two_stacks"
    sources = [HERE / "two_stacks.c", *sorted((BINDINGS / "host").glob("*/*.c"))]
    subprocess.run(
        [
            *chain.compiler, "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror",
            f"-I{BINDINGS / 'include'}", f"-I{BINDINGS / 'host'}",
            *map(str, sources), "-lpthread", "-ldl", "-lm", "-o", str(program),
        ],
        check=True,
    )  # fmt: skip
    return program


@pytest.mark.slow
@pytest.mark.timeout(3600)  # with a build of the kernel, on a busy machine
def test_two_stacks_talk_on_aarch64(runner: list[str], library: Path, tmp_path: Path) -> None:
    program = compiled(find(MACHINE), tmp_path)
    done = subprocess.run(
        [*runner, str(program), str(library)],
        capture_output=True, text=True, errors="replace", check=False, timeout=600,
    )  # fmt: skip
    said = [line for line in done.stdout.splitlines() if not line.startswith("log ")]
    assert done.returncode == 0, done.stdout + done.stderr
    assert said[0].startswith(f"engine linux {linux.DEFAULT}.")
    assert said[1:] == [
        "connected",
        "exchanged 1048576 bytes each way",
        "ended",
        "one has failed, the other has not",
        "closed",
    ]
