"""Moments of a Stack's clock, in microseconds."""

from __future__ import annotations

__all__ = ["NEVER", "SECOND_US"]

SECOND_US = 1_000_000
NEVER = (1 << 64) - 1
