"""Bring the pinned lwIP source to a directory, checked and patched.

CMake calls this at configure time: ``python vendor/fetch.py --output DIR``. lwIP's own
files are never committed; `lwip.json` pins what they must be. The rules:

* Five places are tried in order: `vendor/lwip/` (a source distribution carries it), the
  archive or directory that `PYSTACK_LWIP_SOURCE` names, this user's cache, Debian's source
  package through the mirror that this machine already uses, upstream's release.
* What is there but wrong is never skipped in silence. If the user put it there (the first two
  places), we stop; if it was downloaded, the reason is reported and the next place is tried.
* Wherever it came from, the tree must have the one pinned hash, and a download must also have
  its archive's hash before it is opened.
* Patches go onto the copy in DIR, in the order of their names, and only where every hunk fits.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import logging
import os
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from download import cache_directory, download_from_debian, download_from_upstream, remember
from pin import (
    Archive,
    Pin,
    Tree,
    VendorError,
    read_archive,
    read_directory,
    verified_archive,
    verified_tree,
)

OUR_PIN = "lwip.json"
SOURCE_VARIABLE = "PYSTACK_LWIP_SOURCE"
STAMP_NAME = ".pystack-stamp"


def obtain(vendor: Path, pin: Pin, environ: Mapping[str, str]) -> tuple[Tree, str]:
    """Bring the pinned tree from the first place that has it.

    Returns:
        The unpatched tree, and where it came from.

    Raises:
        VendorError: What the user put there is wrong, or no place has it; says what to do.
    """
    ours = pin.version == Pin.load(vendor / OUR_PIN).version
    if ours and (vendor / "lwip").is_dir():
        tree = read_directory(vendor / "lwip", pin.roots)
        return verified_tree(tree, pin, str(vendor / "lwip")), "vendor/lwip"
    reasons = [f"{vendor / 'lwip'}: not there"]

    if ours and (named := environ.get(SOURCE_VARIABLE)):
        origin = f"{SOURCE_VARIABLE}={named}"
        try:
            if Path(named).is_dir():
                tree = read_directory(Path(named), pin.roots)
            else:
                tree = read_archive(Path(named).read_bytes(), pin.roots)
        except (OSError, tarfile.TarError, zipfile.BadZipFile) as error:
            raise VendorError(f"{origin}: not a directory or archive to read: {error}") from error
        return verified_tree(tree, pin, origin), origin
    reasons.append(f"{SOURCE_VARIABLE}: not set")

    cache = cache_directory(environ)
    archives = [pin.debian, *([pin.upstream] if pin.upstream else [])]
    cached = [archive for archive in archives if (cache / archive.name).is_file()]
    for archive in cached:
        file = cache / archive.name
        try:
            return verified_archive(file.read_bytes(), archive, pin, str(file)), "the user's cache"
        except VendorError as error:
            reasons.append(f"this user's cache: {error}")
    if not cached:
        reasons.append(f"this user's cache: nothing in {cache}")

    downloads: list[tuple[str, Archive, Callable[[Pin], bytes]]] = [
        ("Debian's source package", pin.debian, download_from_debian),
    ]
    if pin.upstream is not None:
        downloads.append(("upstream's release", pin.upstream, download_from_upstream))
    for origin, archive, download in downloads:
        try:
            content = download(pin)
            tree = verified_archive(content, archive, pin, archive.name)
        except VendorError as error:
            reasons.append(f"{origin}: {error}")
            continue
        remember(content, cache / archive.name)
        return tree, origin

    advice = f"Put {' or '.join(one.name for one in archives)} into {cache}."
    if ours:
        advice = (
            f"Bring {' or '.join(one.name for one in archives)} (or either one unpacked) to this "
            f"machine, and set {SOURCE_VARIABLE} to its path; or build from pystack's source "
            "distribution, which carries it."
        )
    raise VendorError(
        f"lwIP {pin.version} is needed{' to build pystack' if ours else ''}, and no place has it:\n"
        + "".join(f"  - {reason}\n" for reason in reasons)
        + advice
    )


REFRESH = (
    "`python vendor/patchqueue.py open DIR` makes a git repository with one commit a patch: hunks\n"
    "that only moved follow, and it stops at a patch that has to be mended by hand. `save DIR`\n"
    "writes the patches back. vendor/patches/README.md has the whole way."
)


def misfits(patch: Any, top: Path) -> Iterator[str]:
    """Say of each hunk that does not fit where it says: the file, the hunk, and what differs."""
    for item in patch.items:
        path = item.source.decode().removeprefix("a/")
        try:
            lines = (top / path).read_bytes().splitlines()
        except OSError:
            yield f"{path}: no such file"
            continue
        for number, hunk in enumerate(item.hunks, 1):
            place = f"{path}, hunk {number} of {len(item.hunks)}"
            wanted = [line[1:].rstrip(b"\r\n") for line in hunk.text if line[:1] in b" -"]
            there = lines[hunk.startsrc - 1 : hunk.startsrc - 1 + len(wanted)]
            if there == wanted:
                continue
            same = sum(1 for a, b in zip(there, wanted, strict=False) if a == b)
            moved = [
                at for at in range(len(lines)) if lines[at : at + len(wanted)] == wanted
            ]  # fmt: skip
            if moved:
                yield f"{place}: fits at line {moved[0] + 1}, not at {hunk.startsrc}"
                continue
            first = next(
                at for at, line in enumerate(wanted) if at >= len(there) or there[at] != line
            )
            found = there[first].decode(errors="replace") if first < len(there) else "the end"
            yield (
                f"{place}, line {hunk.startsrc + first} ({same} of {len(wanted)} lines fit): "
                f"wanted {wanted[first].decode(errors='replace')!r}, found {found!r}"
            )


def apply_patch(patch: Path, top: Path) -> None:
    """Apply one patch to the tree at `top`, or raise unless every hunk fits where it says."""
    import patch_ng  # noqa: PLC0415 - a build requirement that only a patched tree needs

    # patch-ng reports an "already patched" file or a hunk it does not understand as a mere
    # warning and carries on, so whatever it says from warnings up counts as a failure.
    complaints = io.StringIO()
    handler = logging.StreamHandler(complaints)
    handler.setLevel(logging.WARNING)
    logger = logging.getLogger("patch_ng")
    logger.addHandler(handler)
    try:
        parsed = patch_ng.fromfile(str(patch))
        simple = parsed and all(
            item.hunks and item.mode != "rename" and b"/dev/null" not in (item.source, item.target)
            for item in parsed.items
        )
        if not simple:
            raise VendorError(f"{patch.name} must only change files that are there")
        wrong = list(misfits(parsed, top))
        if wrong:
            raise VendorError(
                f"{patch.name} does not apply:\n"
                + "\n".join(f"  {one}" for one in wrong)
                + f"\n{REFRESH}"
            )
        # strip=0: patch-ng takes away the prefixes a/ and b/ by itself.
        applied = parsed.apply(strip=0, root=str(top))
    finally:
        logger.removeHandler(handler)
    if not applied or complaints.getvalue():
        raise VendorError(f"{patch.name} does not apply:\n{complaints.getvalue().rstrip()}")


def write_tree(tree: Tree, patches: list[Path], stamp: str, output: Path) -> None:
    """Make `output` the patched tree. Until all of it is right, the old one stays."""
    if output.exists() and any(output.iterdir()) and not (output / STAMP_NAME).is_file():
        raise VendorError(f"{output} holds something that this script did not put there")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as name:
        fresh = Path(name) / "tree"
        for path, content in tree.items():
            (fresh / path).parent.mkdir(parents=True, exist_ok=True)
            (fresh / path).write_bytes(content)
        for patch in patches:
            apply_patch(patch, fresh)
        (fresh / STAMP_NAME).write_text(stamp, "utf-8")
        if output.exists():
            shutil.rmtree(output)
        fresh.rename(output)


def bring(
    vendor: Path,
    output: Path,
    environ: Mapping[str, str],
    *,
    pristine: bool = False,
    pin_name: str = OUR_PIN,
) -> str:
    """Make `output` the pinned tree, patched unless `pristine`; do nothing if it is already.

    Returns:
        One line for the build's log.
    """
    pin = Pin.load(vendor / pin_name)
    patches = [] if pristine else sorted((vendor / "patches").glob("*.patch"))
    wanted_tree = [pin.tree_sha256, *(f"{p.name} {p.read_text('utf-8')}" for p in patches)]
    stamp = hashlib.sha256("\0".join(wanted_tree).encode()).hexdigest()
    summary = f"lwIP {pin.version} with {len(patches)} patches"
    stamp_file = output / STAMP_NAME
    if stamp_file.is_file() and stamp_file.read_text("utf-8") == stamp:
        return f"{summary}: up to date"
    tree, origin = obtain(vendor, pin, environ)
    if output.resolve() != (vendor / "lwip").resolve() or not output.exists():
        write_tree(tree, patches, stamp, output)
    return f"{summary}, from {origin}"


def main() -> int:
    """Run the command line; 1 and one message on standard error if it fails."""
    parser = argparse.ArgumentParser(description="Bring the pinned lwIP source to a directory.")
    parser.add_argument("--output", type=Path, required=True, help="the directory to make")
    parser.add_argument("--pristine", action="store_true", help="apply no patches")
    parser.add_argument("--pin", default=OUR_PIN, help="which pin, a file beside this one")
    arguments = parser.parse_args()
    vendor = Path(__file__).resolve().parent
    try:
        print(
            bring(
                vendor,
                arguments.output,
                os.environ,
                pristine=arguments.pristine,
                pin_name=arguments.pin,
            )
        )
    except VendorError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
