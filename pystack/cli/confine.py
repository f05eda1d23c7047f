"""How `pystack run` keeps a whole program on its Stack.

C libraries that open their own sockets, and child programs, ask the kernel itself; a system call
filter (seccomp(2), Linux) refuses them IPv4 and IPv6 sockets.
"""

from __future__ import annotations

import errno
import os
import sys

from pystack.sockets import confined
from pystack.sockets.strict import tell_of_refusals

__all__ = ["confine"]

REMEDY = "pystack run --no-strict lets it use the kernel."


def confine() -> None:
    """Keeps this process, its threads and its children from the kernel's network, for ever.

    Refusals, also those by `strict=True` in Python code, are reported once each on standard error;
    so is a system without such a filter.
    """
    tell_of_refusals(lambda text: print(f"pystack: {text}", file=sys.stderr))
    result = confined.confine(REMEDY)
    if result < 0 and -result != errno.ENOSYS:
        why = f"{errno.errorcode.get(-result, -result)}, {os.strerror(-result)}"
        print(
            f"pystack: no seccomp filter available ({why}): Python's sockets are the Stack's or "
            "refused, but C libraries and child programs may use the kernel's",
            file=sys.stderr,
        )
