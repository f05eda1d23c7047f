"""Stock lwIP as a program: upstream's source, upstream's options, and a small agent of ours.

The sources of the agent (`bindings/stock` in the repository) and what brings lwIP's (`vendor`)
are in the package that was built; a C compiler has to be there.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

from pystack._native.engines import PACKAGE
from pystack.lab.provision import cache_folder
from pystack.lab.provision.compiler import own_compiler
from pystack.lab.provision.tool import run_tool

__all__ = ["PINS", "build", "built"]

HERE = PACKAGE / "lab" / "provision"
AGENT = HERE / "stock"
VENDOR = HERE / "vendor"

# The releases there are, by the name of the Host: which pin of lwIP's source each is built from.
PINS = {"lwip-stock": "lwip.json", "lwip-2.1.3": "lwip-2.1.3.json"}

COMPILE_TIMEOUT_S = 300


def _program(name: str) -> Path:
    """Where the program of a Host is, or would be: by a hash of what it is made from."""
    pieces = [PINS[name].encode(), (VENDOR / PINS[name]).read_bytes()]
    pieces += [path.read_bytes() for path in sorted(AGENT.rglob("*")) if path.is_file()]
    key = hashlib.sha256(b"\0".join(pieces)).hexdigest()[:16]
    return cache_folder() / f"{name}-{key}"


def built(name: str) -> Path | None:
    """The program of a Host, if it has been built."""
    program = _program(name)
    return program if program.is_file() else None


def build(name: str, report: Callable[[str], None] = lambda text: None) -> Path:
    """Builds the program of a Host, unless it is there.

    Args:
        name: One of `PINS`.
        report: Told what is done, in lines.

    Raises:
        ProvisionError: There is no C compiler, or no source.
    """
    program = _program(name)
    if program.is_file():
        report(f"built before: {program}")
        return program
    compiler = own_compiler("cc", "gcc")
    program.parent.mkdir(parents=True, exist_ok=True)
    tree = program.with_name(f"{name}-source")
    report("fetching lwIP's source")
    words = [sys.executable, "-B", str(VENDOR / "fetch.py"), "--pristine"]
    fetched = run_tool(
        [*words, "--pin", PINS[name], "--output", str(tree)], COMPILE_TIMEOUT_S, name="fetch.py"
    )
    report(fetched.strip())
    sources = [str(path) for path in sorted(AGENT.glob("*.c"))]
    for place in ("src/core", "src/core/ipv4", "src/core/ipv6"):
        sources += [str(path) for path in sorted((tree / place).glob("*.c"))]
    sources.append(str(tree / "src/netif/ethernet.c"))
    report(f"compiling {len(sources)} files")
    fresh = program.with_name(f"{program.name}.{os.getpid()}")
    run_tool(
        [*compiler, "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-w", "-fno-strict-aliasing",
         f"-I{AGENT}", f"-I{tree / 'src/include'}", "-o", str(fresh), *sources],
        COMPILE_TIMEOUT_S,
    )  # fmt: skip
    fresh.replace(program)
    report(f"compiled: {program}")
    return program
