"""A NIC that writes down what passes: pcap (draft-ietf-opsawg-pcap) or pcapng."""

from __future__ import annotations

import os
from pathlib import Path

from pystack._native import check, ffi, lib
from pystack.nic.base import Nic, Wrapper, made

_FORMATS = {".pcap": lib.PS_CAPTURE_PCAP, ".pcapng": lib.PS_CAPTURE_PCAPNG}
_SNAP_LENGTH = 262144  # as tcpdump's default: more than any frame


class Capture(Wrapper):
    """See `capture`."""

    def flush(self) -> None:
        """Writes out what is still in memory; closing does it too.

        Raises:
            OSError: What the file's writes said, ENOSPC for one; the frames themselves passed.
        """
        check(lib.ps_nic_capture_flush(self._pointer))


def capture(
    inner: Nic, path: str | os.PathLike[str], *, snap_length: int = _SNAP_LENGTH
) -> Capture:
    """A NIC around another that writes both directions' frames to a file for Wireshark.

    Args:
        inner: The NIC; nothing else may hold it.
        path: The file, which is replaced; its suffix is ".pcap" or ".pcapng".
        snap_length: How many bytes of each frame to keep.

    Raises:
        ValueError: Another suffix; the length is not positive.
        OSError: The file can't be written; EBUSY, the NIC is held.
    """
    kind = _FORMATS.get(Path(path).suffix.lower())
    if kind is None:
        raise ValueError(f"a capture's name ends in .pcap or .pcapng, not as {os.fspath(path)!r}")
    if not 0 < snap_length <= 0x7FFFFFFF:
        raise ValueError("a capture keeps at least one byte of each frame")
    error = ffi.new("int *")
    name = ffi.new("char[]", os.fsencode(path))
    pointer = lib.ps_nic_capture(inner._pointer, name, kind, snap_length, error)
    return Capture(made(pointer, error), inner)
