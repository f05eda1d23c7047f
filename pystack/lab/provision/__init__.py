"""Bringing what Hosts need to this machine: below one cache folder, without root."""

from __future__ import annotations

from pathlib import Path

import platformdirs

__all__ = ["ProvisionError", "cache_folder"]


class ProvisionError(Exception):
    """What a Host needs can't be brought here; says why, and what would help."""


def cache_folder() -> Path:
    """Where what was brought is kept; nothing in it can't be brought again."""
    return Path(platformdirs.user_cache_path("pystack", appauthor=False)) / "lab"
