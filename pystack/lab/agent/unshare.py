"""Namespaces of a process's own: unshare(2), setns(2), user_namespaces(7).

It stands alone, so that the agents can use it without the package.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

__all__ = ["CLONE_NEWNET", "CLONE_NEWUSER", "become_root", "enter", "unshare"]

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def _check(call: str, result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{call}: {os.strerror(code)}")


def unshare(what: int) -> None:
    """See unshare(2); `os.unshare` is there from Python 3.12 on.

    Raises:
        OSError: It is not allowed.
    """
    _check("unshare", _libc.unshare(what))


def become_root() -> None:
    """Goes into a user namespace where we may do as we like with networks of our own.

    Raises:
        OSError: It is not allowed; in a process with threads it never is.
    """
    user, group = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def enter(process: int, what: int) -> None:
    """Goes into a namespace of another process.

    Args:
        process: Its number.
        what: `CLONE_NEWNET` or `CLONE_NEWUSER`.

    Raises:
        OSError: It is not allowed, or there is no such process.
    """
    kind = "net" if what == CLONE_NEWNET else "user"
    descriptor = os.open(f"/proc/{process}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check("setns", _libc.setns(descriptor, what))
    finally:
        os.close(descriptor)
