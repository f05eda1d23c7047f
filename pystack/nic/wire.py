"""An in-memory wire and a switch: NICs that need no privilege."""

from __future__ import annotations

import errno
import os
from typing import Any

from pystack._native import check, ffi, lib
from pystack._native.closing import Closing
from pystack.nic.base import Layer, Nic, Offload, made, member_value, valid_mtu, valid_queue


def wire(
    mtu: int = 1500,
    *,
    layer: Layer = Layer.ETHERNET,
    queue_frames: int = 1024,
    checksums: bool = False,
) -> tuple[Nic, Nic]:
    """A wire's two ends: what one sends, the other receives.

    Memory makes no bit errors: two Stacks on one wire exchange TCP without checksums, in packets of
    up to 64 KiB whatever the MTU. Anything that inspects frames, as a NIC around an end or
    `Nic.receive`, sees ordinary ones.

    Args:
        mtu: Bytes of IP packet.
        layer: The header frames start with.
        queue_frames: How many frames may wait at each end; more are lost.
        checksums: Ordinary frames, with checksums, even between two Stacks.

    Raises:
        ValueError: The MTU or the queue's length is out of range.
    """
    queue_frames = valid_queue(queue_frames)
    left, right = ffi.new("ps_nic **"), ffi.new("ps_nic **")
    offloads = Offload(0) if checksums else ~Offload.TCP4_LONGEST
    check(
        lib.ps_nic_wire(
            valid_mtu(mtu),
            member_value(Layer, "the layer", layer),
            queue_frames,
            offloads.value,
            left,
            right,
        )
    )
    return Nic(left[0]), Nic(right[0])


class Switch(Closing):
    """A learning Ethernet switch (IEEE 802.1D): any number of ports, no configuration.

    Args:
        mtu: Bytes of IP packet.
    """

    def __init__(self, mtu: int = 1500) -> None:
        error = ffi.new("int *")
        fabric = lib.ps_switch_create(valid_mtu(mtu), error)
        if fabric == ffi.NULL:
            raise OSError(error[0], os.strerror(error[0]))
        self._mtu = mtu
        self._held: Any = ffi.gc(fabric, lib.ps_switch_release)

    def port(self) -> Nic:
        """A new port, removed when it is closed and nothing holds it."""
        if self._held is None:
            raise OSError(errno.EBADF, "the switch is closed")
        error = ffi.new("int *")
        return Nic(made(lib.ps_switch_port(self._held, error), error))

    def __repr__(self) -> str:
        return f"<Switch{' closed' if self._held is None else ''} mtu={self._mtu}>"

    def close(self) -> None:
        """Allows no more ports; existing ones keep working. May be called again."""
        held, self._held = self._held, None
        if held is not None:
            ffi.release(held)
