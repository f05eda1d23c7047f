"""The engine's library: our C on Linux's system calls, and the kernel's objects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pystack._native.engines import source_folder
from pystack.lab.provision.linux.kernel import Objects
from pystack.lab.provision.linux.toolchain import Toolchain
from pystack.lab.provision.tool import run_tool

__all__ = ["link"]

TIMEOUT_S = 600


# As those of CMakeLists.txt. A variable's guards would be registered by a constructor, which the
# kernel's linker script has no place for.
SANITIZE = (
    "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer",
    "-g",
)  # fmt: skip


def link(
    work: Path,
    objects: Objects,
    chain: Toolchain,
    report: Callable[[str], None],
    *,
    sanitize: bool = False,
) -> Path:
    """Compiles the engine and links it with a kernel.

    Args:
        work: A folder to build in.
        objects: The kernel.
        chain: The compiler and the binutils.
        report: Is told of each step, in one line.
        sanitize: With the sanitizers in the engine, whose runtime has to be there when it is
            loaded; the kernel is as it is.

    Returns:
        The library, in `work`.

    Raises:
        ProvisionError: It can't be compiled.
    """
    source = source_folder("linux")
    report("compiling the engine")
    # -iquote, for the kernel's headers have the names of the C library's.
    flags = [
        "-std=gnu11", "-O2", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing",
        "-D_GNU_SOURCE", f'-DLINUX_RELEASE="{objects.release}"',
        f"-I{source / 'include'}", f"-I{source}", "-iquote", str(source / "arch/include"),
    ]  # fmt: skip
    if sanitize:
        flags += [*SANITIZE, *_no_guards(chain)]
    compiled = []
    for path in sorted((source / "engine").rglob("*.c")):
        name = "-".join(path.relative_to(source).with_suffix(".o").parts)
        compiled.append(str(work / name))
        run_tool([*chain.compiler, *flags, "-c", str(path), "-o", compiled[-1]], TIMEOUT_S)
    report(f"linking it with Linux {objects.release}")
    library = work / "linux.so"
    exported = work / "exported"
    exported.write_text("{ global: ps_engine_table; local: *; };\n", "utf-8")
    options = [
        f"-T,{objects.script}", f"--version-script={exported}", "--hash-style=gnu", "-Bsymbolic",
        "-z,noexecstack", "-z,now", "--build-id=none", "--no-warn-rwx-segments",
        *(() if sanitize else ("-z,defs",)),
    ]  # fmt: skip
    run_tool(
        [
            *chain.compiler, "-shared", "-nostdlib", "-o", str(library),
            *(f"-Wl,{option}" for option in options), str(objects.kernel), *compiled, "-lc",
        ],
        TIMEOUT_S,
    )  # fmt: skip
    if not sanitize:
        run_tool([chain.tool("strip"), "--strip-unneeded", str(library)], TIMEOUT_S)
    return library


def _no_guards(chain: Toolchain) -> list[str]:
    is_clang = "clang" in run_tool([*chain.compiler, "--version"], TIMEOUT_S)
    return ["-mllvm", "-asan-globals=0"] if is_clang else ["--param=asan-globals=0"]
