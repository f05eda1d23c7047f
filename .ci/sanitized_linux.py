"""Builds the engine linux with the sanitizers in our C on top of the kernel: `FOLDER/linux.so`.

The kernel's objects are those that `pystack engine build linux` has left; without any there is
nothing to build. Its own memory is not looked at, but what it reads from the engine's blocks and
stack and writes to them is, for it copies by the C library's memcpy.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from pystack.lab.provision.linux import kernel, library, toolchain, tree


def main(folder: Path) -> None:
    """Builds it, below a folder, from the newest kernel that is there."""
    os.environ.pop("LD_PRELOAD", None)  # the compiler is not what is tried here
    (folder / "linux.so").unlink(missing_ok=True)
    chain = toolchain.find()
    found = [one for series in tree.SUITES if (one := kernel.kept(series, chain.machine))]
    if not found:
        print("the engine linux is not tried: `pystack engine build linux` has not been run")
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        made = library.link(Path(work), found[-1], chain, print, sanitize=True)
        made.replace(folder / "linux.so")


main(Path(sys.argv[1]))
