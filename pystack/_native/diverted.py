"""Functions of Python's C library that others answer in a World (bindings/python/divert.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pystack._native import beside

__all__ = ["divert"]

if TYPE_CHECKING:
    from pystack._native._divert import divert
else:
    divert = beside.load("pystack._native._divert").divert
