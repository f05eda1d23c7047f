"""The only importer of the compiled extension.

`ffi` and `lib` are cffi's; `StackHandle` owns one `ps_stack` and turns what its calls return
into results and exceptions; `WorldClock` owns one `ps_world`; `Transfer` is the part of a socket
that is written in C.
"""

from __future__ import annotations

try:
    from pystack._native._host import ffi, lib
except ModuleNotFoundError as error:
    if error.name != "pystack._native._host":
        raise
    from pystack._native import elsewhere

    elsewhere.use_installed(__path__)
    from pystack._native._host import ffi, lib
from pystack._native.handle import StackHandle, check
from pystack._native.transfer import Transfer
from pystack._native.world import (
    OUTSIDE_WORDS,
    HostLostError,
    TurnBell,
    WorldClock,
    note_thread_of_world,
)

__all__ = [
    "OUTSIDE_WORDS",
    "HostLostError",
    "StackHandle",
    "Transfer",
    "TurnBell",
    "WorldClock",
    "check",
    "ffi",
    "lib",
    "note_thread_of_world",
]
