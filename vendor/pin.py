"""What lwIP must be: the pins in `lwip.json`, and source trees to hold against them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

Tree = dict[str, bytes]
"""The files of a source tree: the path relative to its top, and the content."""


class VendorError(Exception):
    """The source could not be brought, or is not what was pinned."""


@dataclass(frozen=True)
class Archive:
    """One archive that holds the source, and what it must hash to."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Pin:
    """What `lwip.json` says."""

    version: str
    roots: tuple[str, ...]
    tree_sha256: str
    debian: Archive
    debian_package: str
    debian_suites: tuple[str, ...]
    upstream: Archive | None
    upstream_url: str

    @classmethod
    def load(cls, path: Path) -> Pin:
        """Read the pins from the JSON file at `path`."""
        raw = json.loads(path.read_text("utf-8"))
        debian, upstream = raw["debian"], raw.get("upstream")
        return cls(
            version=raw["version"],
            roots=tuple(raw["tree"]["roots"]),
            tree_sha256=raw["tree"]["sha256"],
            debian=Archive(debian["archive"], debian["sha256"]),
            debian_package=debian["package"],
            debian_suites=tuple(debian["suites"]),
            upstream=Archive(upstream["archive"], upstream["sha256"]) if upstream else None,
            upstream_url=upstream["url"] if upstream else "",
        )


def unix_lines(content: bytes) -> bytes:
    """Undo CRLF line ends, which upstream's zip has and its repository has not."""
    return content if b"\0" in content else content.replace(b"\r\n", b"\n")


def wanted(path: str, roots: Iterable[str]) -> bool:
    """Tell whether `path` is one of the roots or below one, and does not climb out of it."""
    return ".." not in PurePosixPath(path).parts and any(
        path == root or path.startswith(f"{root}/") for root in roots
    )


def read_directory(top: Path, roots: Iterable[str]) -> Tree:
    """Read the files below `top` that the pins speak of."""
    files = (file for root in roots for file in (top / root, *(top / root).rglob("*")))
    return {
        file.relative_to(top).as_posix(): unix_lines(file.read_bytes())
        for file in files
        if file.is_file()
    }


def read_archive(content: bytes, roots: Iterable[str]) -> Tree:
    """Read the same from a zip or tar archive, whose one top directory is dropped.

    Nothing is unpacked by name, so an archive cannot write outside of its place.
    """
    members: dict[str, bytes] = {}
    stream = io.BytesIO(content)
    if zipfile.is_zipfile(stream):
        with zipfile.ZipFile(stream) as archive:
            members = {n: archive.read(n) for n in archive.namelist() if not n.endswith("/")}
    else:
        stream.seek(0)
        with tarfile.open(fileobj=stream) as tar:
            for member in tar:
                if member.isreg() and (file := tar.extractfile(member)):
                    members[member.name] = file.read()
    relative = ((name.removeprefix("./").partition("/")[2], data) for name, data in members.items())
    return {path: unix_lines(data) for path, data in relative if wanted(path, roots)}


def tree_sha256(tree: Tree) -> str:
    """Hash a tree: SHA-256 over the sorted lines "<SHA-256 of the file>  <path>"."""
    lines = (f"{hashlib.sha256(tree[path]).hexdigest()}  {path}\n" for path in sorted(tree))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def verified_tree(tree: Tree, pin: Pin, origin: str) -> Tree:
    """Return `tree` if it is the pinned one, else raise."""
    found = tree_sha256(tree)
    if found != pin.tree_sha256:
        raise VendorError(
            f"{origin} is not lwIP {pin.version} as published: the {len(tree)} files in "
            f"{', '.join(pin.roots)} hash to {found}, pinned is {pin.tree_sha256}"
        )
    return tree


def verified_archive(content: bytes, archive: Archive, pin: Pin, origin: str) -> Tree:
    """Return the tree in a download if both are the pinned ones, else raise."""
    found = hashlib.sha256(content).hexdigest()
    if found != archive.sha256:
        raise VendorError(f"{origin}: SHA-256 is {found}, pinned is {archive.sha256}")
    return verified_tree(read_archive(content, pin.roots), pin, origin)
