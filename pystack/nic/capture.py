"""A NIC that captures its traffic: pcap (draft-ietf-opsawg-pcap) or pcapng."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from pystack._native import ffi, lib
from pystack._native.values import hinted, number, whole
from pystack.nic.base import Nic, NicProtocol, Wrapper, made
from pystack.nic.python import adapt

_FORMATS = {".pcap": lib.PS_CAPTURE_PCAP, ".pcapng": lib.PS_CAPTURE_PCAPNG}
_MOST_SECONDS = 1e10
_SNAP_LENGTH = 262144  # tcpdump's default, larger than any frame


class Capture(Wrapper):
    """See `capture`."""

    def __init__(self, pointer: Any, inner: Nic, path: str | os.PathLike[str]) -> None:
        super().__init__(pointer, inner)
        self._path = os.fspath(path)

    def flush(self) -> None:
        """Writes buffered frames to the file; by itself it does so every second, and at its close.

        Raises:
            OSError: A write failed, such as with ENOSPC; the frames themselves passed. EBADF, the
                NIC is closed.
        """
        result = lib.ps_nic_capture_flush(self._pointer)
        if result < 0:
            raise OSError(-result, os.strerror(-result), self._path)

    def close(self) -> None:
        """Writes buffered frames to the file, then closes this NIC and the one inside.

        Raises:
            OSError: As `flush` does; it is closed all the same.
        """
        try:
            if self._held is not None:
                self.flush()
        finally:
            super().close()


def capture_format(path: str | os.PathLike[str]) -> int:
    """The format (PS_CAPTURE_...) that a file's suffix says.

    Raises:
        ValueError: Another suffix.
    """
    kind: int | None = _FORMATS.get(Path(path).suffix.lower())
    if kind is None:
        raise ValueError(f"a capture's name ends in .pcap or .pcapng, not as {os.fspath(path)!r}")
    return kind


@hinted
def capture(
    inner: Nic | NicProtocol,
    path: str | os.PathLike[str],
    *,
    snap_length: int = _SNAP_LENGTH,
    epoch: float | None = None,
) -> Capture:
    """Wraps a NIC and writes the frames of both directions to a file for Wireshark.

    Args:
        inner: A `nic.Nic` that nothing else holds, or an object with `nic.NicProtocol`.
        path: The file, which is overwritten; its suffix is ".pcap" or ".pcapng".
        snap_length: How many bytes of each frame to keep.
        epoch: The time written for 0 of the Stack's clock, in seconds since 1970, so that two
            equal runs under a virtual clock give equal files. None: the machine's clock, as it is
            at the first frame.

    Raises:
        TypeError: `inner` is no NIC.
        ValueError: Another suffix; a length that is not positive; an epoch before 1970.
        OSError: The file can't be written; EBUSY, the NIC is held.
    """
    kind = capture_format(path)
    whole(snap_length, "snap_length", 1, 0x7FFFFFFF, "bytes")
    if epoch is not None:
        number(epoch, "epoch", 0, _MOST_SECONDS, "seconds")
    epoch_us = -1 if epoch is None else round(epoch * 1e6)
    wrapped = adapt(inner)
    error = ffi.new("int *")
    name = ffi.new("char[]", os.fsencode(path))
    pointer = lib.ps_nic_capture(wrapped._pointer, name, kind, snap_length, epoch_us, error)
    if pointer == ffi.NULL and error[0] not in (errno.EBUSY, errno.ENOMEM):  # the file's
        raise OSError(error[0], os.strerror(error[0]), os.fspath(path))
    return Capture(made(pointer, error), wrapped, path)
