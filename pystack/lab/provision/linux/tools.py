"""What a kernel's build runs beside the compiler: this machine's, or Debian's unpacked beside."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from pystack.lab.provision import ProvisionError
from pystack.lab.provision.debian import Archive, unpack

__all__ = ["bring"]

# The programs, and the packages that have each; what is in a suite no more, it doesn't need.
PROGRAMS = {
    "flex": ("flex", "libfl2"),
    "bison": ("bison",),
    "m4": ("m4", "libsigsegv2"),
    "bc": ("bc", "libreadline8", "libreadline8t64"),
    "make": ("make",),
    "xz": ("xz-utils",),
}


def bring(work: Path, report: Callable[[str], None], *, apt: bool) -> dict[str, str]:
    """The environment to build in; programs that this machine lacks are brought.

    Args:
        work: Where they are unpacked.
        report: Is told of each step, in one line.
        apt: Debian is to be asked; else they have to be here.

    Raises:
        ProvisionError: One is neither here nor available.
    """
    environment = {
        name: os.environ[name] for name in ("PATH", "HOME", "CCACHE_DIR") if name in os.environ
    }
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if not absent:
        return environment
    install = f"`apt-get install {' '.join(PROGRAMS[program][0] for program in absent)}`"
    if not apt and shutil.which("apt-get") is None:
        raise ProvisionError(f"there is no {', '.join(absent)}: {install}")
    archive = Archive(work / "tools/apt", report)
    packages = []
    for program in absent:
        found = [one for name in PROGRAMS[program] if (one := archive.find(name)) is not None]
        if not found:
            raise ProvisionError(f"there is no {program}, and apt doesn't know it: {install}")
        packages += found
    root = work / "tools/root"
    unpack(archive.download(packages, work / "tools/debs"), root)
    libraries = [str(path) for path in (root / "usr/lib").glob("*-linux-gnu*")]
    libraries += [str(path) for path in (root / "lib").glob("*-linux-gnu*")]
    return environment | {
        "PATH": os.pathsep.join([str(root / "usr/bin"), environment.get("PATH", os.defpath)]),
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        **({"BISON_PKGDATADIR": str(root / "usr/share/bison")} if "bison" in absent else {}),
        **({"M4": str(root / "usr/bin/m4")} if "m4" in absent else {}),
    }
