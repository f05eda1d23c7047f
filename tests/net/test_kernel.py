"""A stack on a TAP against the kernel's ordinary tools, in a network namespace of its own.

What the foundation has to hold: a gibibyte each way over both families, the same over a bad
wire, ping, and names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

GIBIBYTE = 1 << 30
MEBIBYTE = 1 << 20
KERNEL, STACK = "10.0.0.1", "10.0.0.2"
KERNEL6, STACK6 = "fd00::1", "fd00::2"


@pytest.fixture(scope="module")
def big_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A gibibyte that does not repeat within any window, and a small file beside it."""
    folder = tmp_path_factory.mktemp("files")
    block = bytearray(hashlib.shake_256(b"pystack").digest(MEBIBYTE))
    with (folder / "gibibyte").open("wb") as file:
        for number in range(GIBIBYTE // MEBIBYTE):
            block[:8] = number.to_bytes(8, "big")
            file.write(block)
    (folder / "ten").write_bytes((folder / "gibibyte").open("rb").read(10 * MEBIBYTE))
    yield folder
    for file_path in folder.iterdir():
        file_path.unlink()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
