"""The only importer of the compiled extension.

`ffi` and `lib` are cffi's; `StackHandle` owns one `ps_stack` and turns what its calls return
into results and exceptions.
"""

from __future__ import annotations

from pystack._native._host import ffi, lib
from pystack._native.handle import StackHandle, check

__all__ = ["StackHandle", "check", "ffi", "lib"]
