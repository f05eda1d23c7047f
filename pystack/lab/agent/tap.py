"""TAPs: see Linux's Documentation/networking/tuntap.rst.

It stands alone, so that the agents can use it without the package.
"""

from __future__ import annotations

import fcntl
import os
import struct

__all__ = ["open_tap"]

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x0002, 0x1000


def open_tap(name: str) -> int:
    """The descriptor of a TAP in the namespace that this process is in, made if there is none.

    Raises:
        OSError: It can't be opened; EBUSY, somebody has it.
    """
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(
            descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI)
        )
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
