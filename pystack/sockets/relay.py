"""Datagrams carried between a Stack's socket and one of the kernel's, many in a call."""

from __future__ import annotations

from typing import Any

from pystack._native import ffi, lib
from pystack.sockets.core import CoreSocket

__all__ = ["carry_in", "carry_out"]


def carry_out(inside: CoreSocket, descriptor: int, most: int) -> tuple[int, int]:
    """From the Stack's socket to the kernel's, until none is left; what has no room is lost.

    Where one of the sockets has an error, which is an earlier datagram's, what is there is carried
    all the same.

    Args:
        inside: A connected datagram socket of a Stack's.
        descriptor: Of a connected one of the kernel's.
        most: How many at most.

    Returns:
        How many were taken, and the first errno of the kernel's socket; 0: none.

    Raises:
        OSError: What recv(2) says of the Stack's socket, but EAGAIN.
        StackPanic: The engine has failed.
    """
    return _carry(lib.ps_datagrams_out, inside, descriptor, most)


def carry_in(inside: CoreSocket, descriptor: int, most: int) -> tuple[int, int]:
    """From the kernel's socket to the Stack's: see `carry_out`.

    Args:
        inside: See there.
        descriptor: See there.
        most: See there.

    Raises:
        OSError: What send(2) says of the Stack's socket, but EAGAIN, ENOBUFS and EMSGSIZE.
        StackPanic: The engine has failed.
    """
    return _carry(lib.ps_datagrams_in, inside, descriptor, most)


def _carry(call: Any, inside: CoreSocket, descriptor: int, most: int) -> tuple[int, int]:
    error, handle = ffi.new("int *"), inside._ps_handle
    count = call(handle.pointer, inside._ps_number, descriptor, most, error)
    return handle.check(count), int(error[0])
