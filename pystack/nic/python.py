"""NICs written in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pystack._native import check, ffi, lib
from pystack._native.answers import FrameSink
from pystack.nic.base import Layer, Nic, NicProtocol, made, member_value, valid_mtu, valid_queue


class PythonNic(Nic):
    """A NIC that passes outgoing frames to a function, and takes incoming ones by `deliver`.

    Args:
        transmit: Called with a copy of each frame; see `NicProtocol.transmit`.
        mtu: Bytes of IP packet.
        layer: The header frames start with.
        queue_frames: How many incoming frames may wait for the Stack.

    Raises:
        ValueError: The MTU or the queue's length is out of range.
    """

    def __init__(
        self,
        transmit: Callable[[bytes], Any],
        mtu: int = 1500,
        *,
        layer: Layer = Layer.ETHERNET,
        queue_frames: int = 1024,
    ) -> None:
        queue_frames = valid_queue(queue_frames)
        self._sink = FrameSink(transmit)
        # C calls back with this; it lives as long as this object, which a Stack keeps alive.
        self._user = ffi.new_handle(self._sink)
        error = ffi.new("int *")
        pointer = lib.ps_nic_python(
            self._user,
            lib.ps_python_nic_transmit,
            member_value(Layer, "the layer", layer),
            valid_mtu(mtu),
            queue_frames,
            error,
        )
        super().__init__(made(pointer, error))

    def _sinks(self) -> Iterator[FrameSink]:
        yield self._sink

    def deliver(self, frame: bytes | bytearray | memoryview) -> None:
        """Takes in a frame, which is copied; callable from any thread.

        Raises:
            OSError: ENOBUFS, the queue is full and the frame is lost; EMSGSIZE; EBADF, closed.
        """
        data = ffi.from_buffer("uint8_t[]", frame)
        check(lib.ps_nic_python_deliver(self._pointer, data, len(data)))


def adapt(nic: Nic | NicProtocol) -> Nic:
    """Turns an object with the protocol into a `Nic`; returns a `Nic` unchanged.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(nic, Nic):
        return nic
    if not isinstance(nic, NicProtocol):
        raise TypeError(
            f"{nic!r} is not a NIC: pass one of `pystack.nic`, or an object with mtu, "
            "transmit(frame) and bind(deliver)"
        )
    made_nic = PythonNic(nic.transmit, nic.mtu, layer=getattr(nic, "layer", Layer.ETHERNET))
    mac = getattr(nic, "mac", None)
    if mac is not None:
        made_nic._mac = mac
    nic.bind(made_nic.deliver)
    return made_nic
