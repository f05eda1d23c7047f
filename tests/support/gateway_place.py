"""Namespaces of a user who may do nothing else, and a gateway to them of the same user's."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from installed import need
from namespace import Namespace
from outside import RESOLVER

PATIENCE_S = 30.0
NOBODY = 65534
# What a container's or an administrator's machine has: a device that everybody may open, and a
# Python that everybody may read. In a mount namespace, which ends with the program.
PLACE = """
set -e
ulimit -n 65536 2>/dev/null || true
mount --make-rprivate /
mount -t tmpfs -o mode=755 none "$1"
mknod -m 666 "$1/tun" c 10 200
mount --bind "$1/tun" /dev/net/tun
if [ -n "$2" ]; then
    mkdir "$1/python"
    mount --bind "$3" "$1/python"
    mount -t tmpfs -o mode=755 none "$2"
    mkdir -p "$3"
    mount --bind "$1/python" "$3"
fi
shift 3
exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
"""


def hidden() -> str:
    """The first folder above Python's own that others may not look into; empty: there is none."""
    parents = [*reversed(Path(sys.base_prefix).parents), Path(sys.base_prefix)]
    return next((str(one) for one in parents if not one.stat().st_mode & 0o001), "")


def as_nobody(place: Namespace, folder: Path, *words: str, **options: Any) -> subprocess.Popen[Any]:
    """A program of a user without rights."""
    where = tempfile.mkdtemp(dir=folder)
    begin = ("unshare", "-m", "sh", "-c", PLACE, "sh", where, hidden(), sys.base_prefix)
    return place.start(*begin, *words, **options)


@contextmanager
def private(place: Namespace, folder: Path) -> Iterator[int]:
    """A process in a user and a network namespace of nobody's."""
    process = as_nobody(place, folder, "unshare", "-Urn", "cat", stdin=subprocess.PIPE)
    try:
        deadline = time.monotonic() + PATIENCE_S
        comm = Path(f"/proc/{process.pid}/comm")
        while comm.read_text() != "cat\n":
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield process.pid
    finally:
        process.communicate()


@contextmanager
def behind(
    place: Namespace, folder: Path, *words: str
) -> Iterator[tuple[int, subprocess.Popen[Any]]]:
    """A private namespace, and the gateway to it."""
    with private(place, folder) as guest:
        ready, theirs = os.pipe()
        process = as_nobody(
            place, folder, sys.executable, "-m", "pystack", "gateway", "--netns", str(guest),
            "--configure", "--nameserver", RESOLVER, "--ready-fd", str(theirs), *words,
            pass_fds=[theirs], stderr=subprocess.PIPE, cwd="/",
        )  # fmt: skip
        os.close(theirs)
        try:
            with os.fdopen(ready, "rb") as stream:
                assert stream.read() == b"1", process.stderr.read()
            yield guest, process
        finally:
            process.terminate()
            _, said = process.communicate(timeout=30)
            assert said == b""
            assert process.returncode == 0


def inside_words(guest: int, *words: str) -> list[str]:
    """A command that runs in the guest's network. Skips where it isn't installed."""
    need(words[0])
    return ["nsenter", f"--net=/proc/{guest}/ns/net", *words]


def inside(guest: int, *words: str) -> str:
    """Runs a program there to its end; what it prints."""
    return subprocess.run(
        inside_words(guest, *words), stdout=subprocess.PIPE, text=True, check=True, timeout=150
    ).stdout
