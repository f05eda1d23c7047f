"""Debian packages by name, from where this machine's apt takes its own.

apt does the work, with its lists and its cache in a folder of ours: nothing is installed, no
root is needed, and apt's configuration is only read.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pystack.lab.provision import ProvisionError
from pystack.lab.provision.tool import run_tool

__all__ = ["Archive", "Package", "unpack"]

TIMEOUT_S = 600
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_FIELD = re.compile(r"^([\w-]+):[ \t]*(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Package:
    """A package that the archive offers.

    Attributes:
        name: As in `apt-get install`.
        version: The one that apt would install.
        depends: The names it can't do without; of alternatives the first.
    """

    name: str
    version: str
    depends: tuple[str, ...]


def _run(command: list[str], folder: Path) -> str:
    return run_tool(command, TIMEOUT_S, marked="E:", cwd=folder)


class Archive:
    """What this machine's apt can reach.

    Args:
        folder: For apt's lists and downloads; may be thrown away afterwards.
        report: Is told of each step, in one line.
        sources: Lines of a sources.list to use in place of the machine's.

    Raises:
        ProvisionError: No apt here, or its archives can't be reached.
    """

    def __init__(
        self, folder: Path, report: Callable[[str], None], sources: str | None = None
    ) -> None:
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise ProvisionError(
                "this machine has no apt: use Debian 12 or a container of it (debian:bookworm)"
            )
        self._folder = folder
        self._report = report
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._options: dict[str, object] = {}
        if sources is not None:
            (folder / "sources.list").write_text(sources, "utf-8")
            (folder / "status").touch()
            self._options = {
                "Dir::Etc::SourceList": folder / "sources.list",
                "Dir::Etc::SourceParts": "/dev/null",
                # Of another suite nothing is installed here.
                "Dir::State::Status": folder / "status",
            }
        report(f"reading the package lists{'' if sources is None else ' of ' + folder.name}")
        self._apt("apt-get", "update")

    def _apt(self, program: str, *arguments: str, folder: Path | None = None) -> str:
        options = {
            "Dir::State::Lists": self._folder / "lists",
            "Dir::Cache": self._folder / "cache",
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
            "APT::Sandbox::User": "",  # it would be a user who can't write into our folder
            "APT::Update::Error-Mode": "any",
            **self._options,
        }
        settings = [f"-o{key}={value}" for key, value in options.items()]
        return _run([program, "-q", *settings, *arguments], folder or self._folder)

    def find(self, name: str) -> Package | None:
        """A package as apt would install it; None: the archives have no such package."""
        try:
            text = self._apt("apt-cache", "show", "--no-all-versions", name)
        except ProvisionError:
            return None
        fields = dict(_FIELD.findall(text))
        if "Version" not in fields:
            return None
        depends = tuple(
            re.split(r"[ (:|]", one.strip(), maxsplit=1)[0]
            for one in fields.get("Depends", "").split(",")
            if one.strip()
        )
        return Package(name, fields["Version"], depends)

    def suite(self, name: str) -> Archive:
        """Another suite of Debian's, from the mirror that this machine's own comes from.

        Raises:
            ProvisionError: The machine's apt has no Debian, or the suite can't be reached.
        """
        told = self._apt(
            "apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(COMPONENT) $(SUITE)",
            "Created-By: Packages",
        )  # fmt: skip
        mirrors = [
            uri
            for uri, origin, component, suite in (
                line.split() for line in told.splitlines() if len(line.split()) == 4
            )
            if (origin, component) == ("Debian", "main") and "-" not in suite
        ]
        if not mirrors:
            raise ProvisionError(f"this machine's apt has no Debian to find the suite {name} at")
        source = f"deb [signed-by={KEYRING}] {mirrors[0]} {name} main\n"
        return Archive(self._folder / name, self._report, source)

    def names(self, pattern: str) -> list[str]:
        """The packages whose names match a regular expression."""
        lines = self._apt("apt-cache", "search", "--names-only", pattern).splitlines()
        return sorted(line.split(" - ", 1)[0] for line in lines)

    def download(self, packages: Iterable[Package], folder: Path) -> list[Path]:
        """Downloads packages into a folder; apt checks their signatures and hashes.

        Raises:
            ProvisionError: One isn't available.
        """
        folder.mkdir(parents=True, exist_ok=True)
        wanted = [f"{package.name}={package.version}" for package in packages]
        self._report(f"downloading {', '.join(wanted)}")
        self._apt("apt-get", "download", *wanted, folder=folder)
        return sorted(folder.glob("*.deb"))


def unpack(files: Iterable[Path], root: Path) -> None:
    """Unpacks packages below a folder, without running anything of theirs.

    Raises:
        ProvisionError: A file is no package, or there is no room.
    """
    root.mkdir(parents=True, exist_ok=True)
    for file in files:
        _run(["dpkg-deb", "--extract", str(file), str(root)], root)
