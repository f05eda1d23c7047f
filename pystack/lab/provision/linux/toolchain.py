"""The compiler and the binutils: this machine's own, or those for another machine."""

from __future__ import annotations

import platform
import shlex
import shutil
from dataclasses import dataclass

from pystack.lab.provision import ProvisionError
from pystack.lab.provision.compiler import own_compiler

__all__ = ["MACHINES", "Toolchain", "find"]

# Whose stacks bindings/linux/arch/kernel/switch.S can switch.
MACHINES = ("x86_64", "aarch64")


@dataclass(frozen=True)
class Toolchain:
    """What compiles and links for one machine.

    Attributes:
        machine: As `uname -m` has it there.
        compiler: The C compiler and what goes before it.
        prefix: Of the binutils' names, as in CROSS_COMPILE; empty for this machine's own.
    """

    machine: str
    compiler: tuple[str, ...]
    prefix: str = ""

    def tool(self, name: str) -> str:
        """A program of the binutils, such as ld."""
        return self.prefix + name


def find(machine: str | None = None) -> Toolchain:
    """The tools that build for a machine; by default this one.

    Raises:
        ProvisionError: They are not here, or the engine isn't written for the machine.
    """
    here = platform.machine().lower()
    machine = machine or here
    if machine not in MACHINES:
        raise ProvisionError(
            f"the engine linux is written for {' and '.join(MACHINES)}, not for {machine}"
        )
    if machine == here:
        return _checked(Toolchain(machine, _own_compiler()), "binutils")
    prefix = f"{machine}-linux-gnu-"
    package = f"gcc-{machine.replace('_', '-')}-linux-gnu"
    libraries = f"libc6-dev-{'arm64' if machine == 'aarch64' else 'amd64'}-cross"
    compiler = shutil.which(f"{prefix}gcc")
    if compiler is None:
        raise ProvisionError(f"there is no {prefix}gcc: `apt-get install {package} {libraries}`")
    return _checked(Toolchain(machine, (compiler,), prefix), f"binutils-{package[4:]}")


def _own_compiler() -> tuple[str, ...]:
    """The C compiler and what goes before it, as in CC."""
    words = own_compiler("gcc", "cc")
    if any(any(letter.isspace() for letter in word) for word in words):
        raise ProvisionError(
            f"the kernel's build takes no path with a blank, as in CC: {shlex.join(words)}; "
            "make a link to it (`ln -s`) and name that"
        )
    return words


def _checked(tools: Toolchain, package: str) -> Toolchain:
    for name in ("ld", "objcopy", "strip"):
        if shutil.which(tools.tool(name)) is None:
            raise ProvisionError(f"there is no {tools.tool(name)}: `apt-get install {package}`")
    return tools
