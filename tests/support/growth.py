"""What grows in tests that look for it, and which engines they can have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pystack._native.engines import engine_path

# What may stay, however many there were; a Stack touches 3 MiB at least.
KEPT_BYTES = 2 << 20


def resident_bytes() -> int:
    """How much memory this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def need(engine: str) -> None:
    """Skips where an engine isn't built."""
    try:
        engine_path(engine)
    except OSError as error:
        pytest.skip(str(error.strerror))
