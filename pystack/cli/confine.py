"""What `pystack run` does so that no part of a program leaves its Stack unseen.

C libraries with sockets of their own and the programs that are started ask the kernel itself; a
filter of system calls (seccomp(2), Linux) refuses them the Internet's sockets.
"""

from __future__ import annotations

import errno
import os
import sys

from pystack.sockets import confined
from pystack.sockets.strict import tell_of_refusals

__all__ = ["confine"]

REMEDY = "pystack run --no-strict lets it go by the kernel."


def confine() -> None:
    """Keeps this process, its threads and its children from the kernel's network, for ever.

    What they are refused, and that they can't be kept from it here, is told on standard error; so
    is what Python code is refused by `strict=True`, once of each.
    """
    tell_of_refusals(lambda text: print(f"pystack: {text}", file=sys.stderr))
    result = confined.confine(REMEDY)
    if result < 0 and -result != errno.ENOSYS:
        why = f"{errno.errorcode.get(-result, -result)}, {os.strerror(-result)}"
        print(
            f"pystack: no seccomp filter can be had here ({why}): Python's sockets are the Stack's "
            "or refused, but C libraries and child programs may go by the kernel",
            file=sys.stderr,
        )
