"""The part of a socket that is written in C (bindings/python/transfer.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pystack._native import beside

__all__ = ["Transfer"]

if TYPE_CHECKING:
    from pystack._native._transfer import Transfer
else:
    Transfer = beside.load("pystack._native._transfer").Transfer
