"""`Nic`, the base of every NIC, and the protocol of NICs written in Python."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from enum import Enum, Flag
from typing import Any, Protocol, runtime_checkable

from pystack._native import check, ffi, lib
from pystack._native.address import mac_text
from pystack._native.answers import Answers, FrameFunction, FrameSink
from pystack._native.closing import Closing
from pystack._native.values import whole

# The largest frame: 64 KiB of IP packet and its link-layer header.
_LONGEST_QUEUE = 0x7FFFFFFF  # frames
_LARGEST_FRAME = 65536 + 64


class Layer(Enum):
    """The header a frame starts with."""

    ETHERNET = lib.PS_LAYER_ETHERNET
    """An Ethernet header (IEEE 802.3)."""
    IP = lib.PS_LAYER_IP
    """An IPv4 or IPv6 header, as on a TUN device."""


class Offload(Flag):
    """Work on frames that a Stack may leave to the far end of its wire, and vice versa."""

    CHECKSUM = lib.PS_OFFLOAD_CHECKSUM
    """Finishing the checksums of TCP and UDP."""
    TCP4 = lib.PS_OFFLOAD_TCP4
    """Segmenting long TCP packets (TSO), over IPv4."""
    TCP6 = lib.PS_OFFLOAD_TCP6
    """The same over IPv6."""
    UDP = lib.PS_OFFLOAD_UDP
    """Splitting long UDP packets into datagrams (USO), over both; in Linux since 6.2."""
    TCP4_LONGEST = lib.PS_OFFLOAD_TCP4_LONGEST
    """TCP4 for what is sent in packets of 64 to 320 KiB (BIG TCP); in Linux since 6.6."""


@dataclass(frozen=True)
class NicStatistics:
    """A NIC's traffic, from its owner's side; a snapshot.

    Attributes:
        sent_frames: Frames accepted for sending; a long packet that the far end segments is one.
        sent_bytes: Their bytes.
        received_frames: Frames received.
        received_bytes: Their bytes.
        dropped_frames: Frames it could not send, or had no room for.
    """

    sent_frames: int
    sent_bytes: int
    received_frames: int
    received_bytes: int
    dropped_frames: int


@runtime_checkable
class NicProtocol(Protocol):
    """What makes any Python object a NIC; see `adapt`.

    `layer` (a `Layer`; default: Ethernet) and `mac` are optional.
    """

    @property
    def mtu(self) -> int:
        """The largest IP packet it carries, in bytes."""
        ...

    def bind(self, deliver: Callable[[bytes], None]) -> None:
        """Called once, with the function that takes incoming frames, from any thread.

        `deliver` raises `OSError` (ENOBUFS) when its queue is full.
        """
        ...

    def transmit(self, frame: bytes) -> bool | None:
        """Sends one frame. False means no room: the frame is dropped.

        Runs on the thread that is inside the Stack, under the Stack's lock: it must not wait, nor
        use that Stack. An exception it raises propagates from the call in progress, or from the
        next one.
        """
        ...


class Nic(Closing):
    """One end of a wire. Pass it to `Stack.attach`, or use it yourself as the far end.

    While a Stack or another NIC holds it, `close` only gives up your own reference.
    """

    def __init__(self, pointer: Any) -> None:
        self._held: Any = ffi.gc(pointer, lib.ps_nic_release)
        mtu, layer = ffi.new("uint32_t *"), ffi.new("uint8_t *")
        has_mac, mac = ffi.new("_Bool *"), ffi.new("uint8_t[6]")
        lib.ps_nic_describe(self._held, mtu, layer, has_mac, mac, ffi.new("_Bool *"))
        self._mtu = int(mtu[0])
        self._layer = Layer(layer[0])
        self._mac = mac_text(bytes(mac)) if has_mac[0] else None

    @property
    def _pointer(self) -> Any:
        if self._held is None:
            raise OSError(errno.EBADF, "the NIC is closed")
        return self._held

    @property
    def mtu(self) -> int:
        """The largest IP packet it carries, in bytes."""
        return self._mtu

    @property
    def layer(self) -> Layer:
        """The header its frames start with."""
        return self._layer

    @property
    def mac(self) -> str | None:
        """The Ethernet address of its device; None: it has none."""
        return self._mac

    @property
    def offloads(self) -> Offload:
        """The work that a Stack may leave to its far end, and vice versa."""
        return Offload(lib.ps_nic_offloads(self._pointer))

    @property
    def queue(self) -> tuple[int, int]:
        """Which queue of its device it is, and of how many; (0, 1) if it isn't shared."""
        place = ffi.new("unsigned *")
        count = int(lib.ps_nic_queues(self._pointer, place))
        return int(place[0]), count

    @property
    def attached(self) -> bool:
        """Whether a Stack, or a NIC around this one, holds it."""
        attached = ffi.new("_Bool *")
        lib.ps_nic_describe(
            self._pointer,
            ffi.new("uint32_t *"),
            ffi.new("uint8_t *"),
            ffi.new("_Bool *"),
            ffi.new("uint8_t[6]"),
            attached,
        )
        return bool(attached[0])

    def send(self, frame: bytes | bytearray | memoryview) -> None:
        """Sends a frame, which is copied, through a NIC that no Stack holds.

        Raises:
            OSError: ENOBUFS, the wire has no room and the frame is lost; EMSGSIZE; EBUSY, a
                Stack or another NIC holds this one; EBADF, it is closed.
        """
        data = ffi.from_buffer("uint8_t[]", frame)
        self._check(lib.ps_nic_transmit(self._pointer, data, len(data), _now_us()))

    def receive(self, timeout: float | None = None) -> bytes | None:
        """Receives the next frame from a NIC that no Stack holds.

        Args:
            timeout: Seconds to wait; None: for ever, 0: not at all.

        Returns:
            A copy of the frame; None: none came in time.

        Raises:
            OSError: EBUSY, a Stack or another NIC holds this one; EBADF, it is closed; or the
                wire's own error when it is gone.
        """
        pointer = self._pointer
        frame = ffi.new("uint8_t[]", _LARGEST_FRAME)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            result = lib.ps_nic_receive(pointer, frame, len(frame), _now_us())
            if result != -errno.EAGAIN:
                return bytes(ffi.buffer(frame, self._check(result)))
            left = -1.0 if deadline is None else deadline - time.monotonic()
            if deadline is not None and left <= 0:
                return None
            waited = lib.ps_nic_wait(pointer, -1 if deadline is None else round(left * 1e6))
            if waited not in (-errno.EINTR, -errno.EAGAIN):
                self._check(waited)

    def _check(self, result: int) -> int:
        if result == -errno.EBUSY:
            raise OSError(errno.EBUSY, "a Stack, or a NIC around it, holds this NIC")
        for sink in self._sinks():
            if isinstance(sink, FrameFunction) and sink.raised is not None:
                error, sink.raised = sink.raised, None
                raise error
        return check(result)

    def statistics(self) -> NicStatistics:
        """Its traffic so far; a snapshot."""
        raw = ffi.new("struct ps_nic_statistics *")
        check(lib.ps_nic_statistics(self._pointer, raw))
        return NicStatistics(
            *(int(getattr(raw, name)) for name in NicStatistics.__dataclass_fields__)
        )

    def _sinks(self) -> Iterator[FrameSink | FrameFunction]:
        """The Python objects in this NIC, and at its end, through the NICs it wraps."""
        return iter(())

    def _ends(self) -> Iterator[Callable[[], Awaitable[None]]]:
        """What waits for the ends of wires that nobody uses any more, through the NICs it wraps."""
        return iter(())

    def _listen_to(self, answers: Answers | None) -> None:
        """Sets the Stack whose calls raise the exceptions of the Python objects behind this NIC."""
        for sink in self._sinks():
            sink.listen(answers)

    def close(self) -> None:
        """Closes it; its end of the wire goes with the last holder. May be called again."""
        held, self._held = self._held, None
        if held is not None:
            ffi.release(held)

    def __repr__(self) -> str:
        closed = " closed" if self._held is None else ""
        return f"<{type(self).__name__}{closed} mtu={self._mtu} {self._layer.name.lower()}>"


class Wrapper(Nic):
    """A NIC around another one, which it holds."""

    def __init__(self, pointer: Any, inner: Nic) -> None:
        super().__init__(pointer)
        self.inner = inner

    def _sinks(self) -> Iterator[FrameSink | FrameFunction]:
        return self.inner._sinks()

    def _ends(self) -> Iterator[Callable[[], Awaitable[None]]]:
        return self.inner._ends()

    def close(self) -> None:
        """Closes it and the NIC inside."""
        super().close()
        self.inner.close()


def _now_us() -> int:
    return time.monotonic_ns() // 1000


def made(pointer: Any, error: Any, messages: dict[int, str] | None = None) -> Any:
    """A NIC's pointer, or its constructor's error as an exception.

    Raises:
        OSError: With the message for its errno from `messages`, if there is one.
    """
    if pointer != ffi.NULL:
        return pointer
    code = int(error[0])
    raise OSError(code, (messages or {}).get(code) or os.strerror(code))


def member_value(kind: type[Enum], what: str, given: Any) -> Any:
    """The value of an enumeration's member.

    Raises:
        TypeError: It is no member.
    """
    if not isinstance(given, kind):
        members = ", ".join(map(str, kind))
        raise TypeError(f"{what} is a member of nic.{kind.__name__} ({members}), not {given!r}")
    return given.value


def valid_mtu(mtu: int, most: int = lib.PS_MTU_MAXIMUM) -> int:
    """Checks an MTU.

    Raises:
        ValueError: Below IPv4's minimum (68, RFC 791), or larger than a frame, or than `most`.
    """
    return whole(mtu, "an MTU", 68, most, "bytes")


def valid_queue(frames: int) -> int:
    """Checks a queue's length, in frames.

    Raises:
        ValueError: It has no room for one, or more than memory could hold.
    """
    return whole(frames, "a queue's length", 1, _LONGEST_QUEUE, "frames")
