"""The only importer of the compiled extension.

`ffi` and `lib` are cffi's; `StackHandle` owns one `ps_stack` and turns what its calls return
into results and exceptions.
"""

from __future__ import annotations

try:
    from pystack._native._host import ffi, lib
except ModuleNotFoundError as error:
    raise ImportError(
        f"{__path__[0]} has no compiled parts: it is pystack's source. Start Python outside of the "
        "checkout to get the package that is installed, or build in place (README, Building)"
    ) from error
from pystack._native.handle import StackHandle, check

__all__ = ["StackHandle", "check", "ffi", "lib"]
