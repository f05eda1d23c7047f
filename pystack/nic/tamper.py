"""A NIC whose frames pass a Python function, which may change, drop, delay and multiply them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, SupportsBytes, TypeAlias

from pystack._native import check, ffi, lib
from pystack._native.answers import FrameFunction, FrameSink
from pystack._native.values import number
from pystack.nic.base import Layer, Nic, NicProtocol, Wrapper, made, member_value, valid_queue
from pystack.nic.python import adapt

_LONGEST = 1e9  # seconds
_LARGEST = 65536 + 64  # a frame's bytes
_ONE = (bytes, bytearray, memoryview, str)  # which have parts, and are one thing all the same
_MOST_OF_ONE = 65536  # frames: a generator may never end


@dataclass(slots=True)
class Frame:
    """A frame on its way. A function may change its `data` and return it.

    Attributes:
        data: Its bytes, from the header that `layer` says: a copy.
        outgoing: Whether the NIC's owner sends it; otherwise it arrives.
        time: When, in seconds of the Stack's clock.
        layer: What it starts with.
    """

    data: bytes
    outgoing: bool
    time: float
    layer: Layer

    @property
    def packet(self) -> bytes:
        """The IP packet in it, behind VLAN tags too; empty: it carries something else."""
        at = 0
        if self.layer is Layer.ETHERNET:
            at = 14
            while self.data[at - 2 : at] in (b"\x81\x00", b"\x88\xa8"):
                at += 4
            if self.data[at - 2 : at] not in (b"\x08\x00", b"\x86\xdd"):
                return b""
        return self.data[at:]

    def delayed(self, seconds: float) -> Delayed:
        """The frame as it is now, later.

        Raises:
            ValueError: The delay is negative, or not finite.
        """
        return Delayed(seconds, self.data)


@dataclass(frozen=True, slots=True)
class Delayed:
    """A frame that is to go on later.

    Attributes:
        seconds: How much later, by the Stack's clock.
        data: Its bytes.

    Raises:
        ValueError: The delay is negative, or not finite.
    """

    seconds: float
    data: bytes

    def __post_init__(self) -> None:
        number(self.seconds, "a delay", 0, _LONGEST, "seconds")


One: TypeAlias = Frame | Delayed | bytes | bytearray | memoryview | SupportsBytes
Outcome: TypeAlias = One | Iterable[One] | None


def refresh(
    frame: bytes | bytearray | memoryview,
    layer: Layer = Layer.ETHERNET,
    *,
    lengths: bool = False,
) -> bytes:
    """A copy of a frame with right checksums: IPv4's header, TCP, UDP, ICMP and ICMPv6.

    VLAN tags and IPv6's extension headers may stand before them. A fragment gets its header's
    alone, UDP over IPv4 without a checksum stays without, and what is no IP packet, or too short
    for what it says, stays as it is.

    Args:
        frame: The frame.
        layer: What it starts with.
        lengths: Also make the lengths of IP and UDP those of the bytes that are there. An Ethernet
            frame's padding would count.
    """
    data = ffi.new("uint8_t[]", bytes(frame))  # one byte more than the frame: C's strings
    size = len(data) - 1
    lib.ps_frame_refresh(data, size, member_value(Layer, "the layer", layer), lengths)
    return bytes(ffi.buffer(data, size))


def _put(one: Any) -> tuple[int, bytes]:
    """What C is told of a frame: its delay in microseconds, and its bytes."""
    delay_us = 0
    if isinstance(one, Frame):
        one = one.data
    elif isinstance(one, Delayed):
        delay_us, one = round(one.seconds * 1e6), one.data
    if not isinstance(one, (bytes, bytearray, memoryview)) and not hasattr(one, "__bytes__"):
        raise TypeError(
            "a function for nic.tamper returns None, the frame, bytes, frame.delayed(seconds) or "
            f"several of these, not {one!r}"
        )
    data = bytes(one)
    if not 0 < len(data) <= _LARGEST:
        raise ValueError(f"a frame has from 1 to {_LARGEST} bytes, not {len(data)}")
    return delay_us, data


class Tampered(Wrapper):
    """See `tamper`.

    Attributes:
        function: What frames pass; assign another at any time.
    """

    def __init__(self, inner: Nic, function: Callable[[Frame], Outcome], queue_frames: int) -> None:
        self.function = function
        self._decided = FrameFunction(self._decide)
        # C calls back with this; it lives as long as this object, which a Stack keeps alive.
        self._user = ffi.new_handle(self._decided)
        error = ffi.new("int *")
        pointer = lib.ps_nic_tamper(
            inner._pointer, lib.ps_python_nic_tamper, self._user, queue_frames, error
        )
        super().__init__(made(pointer, error), inner)

    def _sinks(self) -> Iterator[FrameSink | FrameFunction]:
        yield self._decided
        yield from self.inner._sinks()

    def _decide(self, outgoing: bool, data: bytes, now_us: int) -> Iterator[tuple[int, bytes]]:
        outcome: Any = self.function(Frame(data, outgoing, now_us / 1e6, self._layer))
        if outcome is None:
            return
        several = isinstance(outcome, Iterable) and not isinstance(outcome, _ONE)
        if several and not hasattr(outcome, "__bytes__"):
            for number, one in enumerate(outcome):
                if number == _MOST_OF_ONE:
                    raise ValueError(f"over {_MOST_OF_ONE} frames come of one: have they an end?")
                yield _put(one)
        else:
            yield _put(outcome)

    def inject(self, frame: bytes | bytearray | memoryview, *, outgoing: bool) -> None:
        """Puts in a frame of your own, which is copied and passes no function; from any thread.

        Args:
            frame: From the header that `layer` says.
            outgoing: Whether it leaves by the wire; otherwise it arrives.

        Raises:
            OSError: ENOBUFS, `queue_frames` wait already; EMSGSIZE; EBADF, it is closed.
        """
        data = ffi.from_buffer("uint8_t[]", frame)
        check(lib.ps_nic_tamper_inject(self._pointer, outgoing, data, len(data)))


def tamper(
    inner: Nic | NicProtocol,
    function: Callable[[Frame], Outcome],
    *,
    queue_frames: int = 10_000,
) -> Tampered:
    """Wraps a NIC and has a function decide on each of its frames, in both directions.

    What the function returns is what becomes of the frame: None drops it; the `Frame`, or bytes
    (also an object that `bytes` takes, as scapy's packets), goes on at once; ``frame.delayed(0.1)``
    later, by the Stack's clock; a list or a generator of these is several frames in that order.
    Frames are ordinary ones, with checksums and within the MTU. What the function has changed gets
    no new checksum by itself: see `refresh`.

    The function runs on the thread that is inside the Stack, under the Stack's lock: it must not
    wait, nor use that Stack (`OSError`, EDEADLK). An exception that it raises propagates from the
    call in progress, or from the next one, and its frame is dropped.

    Args:
        inner: A `nic.Nic` that nothing else holds, or an object with `nic.NicProtocol`.
        function: Called with each `Frame`.
        queue_frames: How many frames may wait in each direction; more are dropped, and counted.

    Raises:
        TypeError: `inner` is no NIC, or `function` can't be called.
        ValueError: The queue's length is out of range.
        OSError: EBUSY, the NIC is held.
    """
    if not callable(function):
        raise TypeError(f"nic.tamper takes a function of a frame, not {function!r}")
    queue_frames = valid_queue(queue_frames)
    return Tampered(adapt(inner), function, queue_frames)
