"""`Tunnel`, the base of NICs that carry their frames in datagrams by a protocol in Python."""

from __future__ import annotations

import errno
import itertools
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pystack._native import ffi, lib
from pystack._native.answers import Answers, FrameSink, TunnelSink
from pystack._native.moments import NEVER
from pystack.nic.base import Layer, Nic, made, valid_mtu
from pystack.nic.datagrams import Datagrams, Endpoint

__all__ = ["DatagramCounts", "Tunnel"]

# Receives a turn: others want to use the Stack, too.
_MOST_RECEIVES = 4


@dataclass
class DatagramCounts:
    """A tunnel's datagrams.

    Attributes:
        sent: Datagrams that were sent.
        received: That came.
        unsent: That there was no room for, or no way to.
        overrun: Frames that came faster than the Stack took them.
        last_error: Why the last of `unsent` was not sent; None: there was no room.
    """

    sent: int = 0
    received: int = 0
    unsent: int = 0
    overrun: int = 0
    last_error: OSError | None = None


class Tunnel(Nic):
    """A NIC around `Datagrams`; what is between frames and those is a subclass's.

    `_encapsulate`, `_decapsulate` and `_run` are called under `_lock`, with the Stack's time in
    microseconds, on the thread that is inside the Stack. They send by `_post`.

    Args:
        transport: What carries the datagrams; closed with the NIC.
        layer: The header frames start with.
        mtu: Bytes of IP packet.
        pad_to: Frames are given with zeros behind, up to a multiple of 16 bytes but no more than
            these; 0: they aren't.
        queue_frames: How many incoming frames may wait for the Stack.
    """

    def __init__(
        self,
        transport: Datagrams,
        *,
        layer: Layer,
        mtu: int,
        pad_to: int = 0,
        queue_frames: int = 4096,
    ) -> None:
        self._transport = transport
        self._lock = threading.RLock()
        self._is_closed = False
        self._is_bound = True
        self._counts = DatagramCounts()
        self._waking = threading.Lock()
        self._sink = TunnelSink(self._transmit, self._turn, self._left, pad_to)
        self._user = ffi.new_handle(self._sink)
        error = ffi.new("int *")
        pointer = lib.ps_nic_tunnel(
            self._user,
            lib.ps_python_tunnel_transmit,
            lib.ps_python_tunnel_run,
            transport.descriptor(),
            layer.value,
            valid_mtu(mtu),
            queue_frames,
            error,
        )
        super().__init__(made(pointer, error))
        # A Stack that has it goes on after `close`, and so does what wakes it.
        self._kept: Any = self._held
        transport.bind(self._wake)

    # --- for subclasses ------------------------------------------------------------------------

    def _encapsulate(self, frames: Sequence[memoryview], now_us: int) -> int:
        """Sends frames of the Stack's, which were one packet before; when `_run` is due."""
        raise NotImplementedError

    def _decapsulate(
        self, datagrams: Sequence[bytes | memoryview], source: Endpoint, now_us: int
    ) -> Sequence[bytes | memoryview]:
        """The frames in datagrams that came from one place."""
        raise NotImplementedError

    def _run(self, now_us: int) -> int:
        """Does what is due, after all datagrams; when it is due next."""
        return NEVER

    def _post(self, datagrams: Sequence[bytes | memoryview], to: Endpoint) -> None:
        """Sends datagrams, and counts them."""
        counts = self._counts
        try:
            sent = self._transport.send(datagrams, to)
        except OSError as error:
            sent = 0
            counts.last_error = error
        counts.sent += sent
        counts.unsent += len(datagrams) - sent

    def _wake(self) -> None:
        """Has `_run` called soon; from any thread."""
        with self._waking:
            if self._kept is not None:
                lib.ps_nic_tunnel_wake(self._kept)

    # --- from C --------------------------------------------------------------------------------

    def _transmit(self, frames: Sequence[memoryview], now_us: int) -> int:
        with self._lock:
            return NEVER if not self._is_bound else self._encapsulate(frames, now_us)

    def _turn(self, now_us: int) -> int:
        with self._lock:
            for _each in range(_MOST_RECEIVES):
                if not self._is_bound:
                    return NEVER
                try:
                    come = self._transport.receive()
                except OSError as error:
                    self._counts.last_error = error
                    if error.errno == errno.EBADF:  # closed from outside: as a cable that is pulled
                        return -errno.EBADF
                    break
                if come is None:
                    break
                datagrams, source = come
                self._counts.received += len(datagrams)
                frames = self._decapsulate(datagrams, source, now_us)
                if frames:
                    self._deliver(frames)
            else:
                self._wake()
            return self._run(now_us)

    def _deliver(self, frames: Sequence[bytes | memoryview]) -> None:
        sizes = [len(frame) for frame in frames]
        offsets = list(itertools.accumulate(sizes[:-1], initial=0))
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        taken = lib.ps_nic_tunnel_deliver(
            self._kept, ffi.from_buffer(data), offsets, sizes, len(sizes)
        )
        self._counts.overrun += len(sizes) - taken

    # --- its end -------------------------------------------------------------------------------

    def _sinks(self) -> Iterator[FrameSink]:
        yield self._sink

    def _left(self, answers: Answers | None) -> None:
        """A Stack has taken it, or left it."""
        with self._lock:
            if answers is None and self._is_closed:
                self._end()

    def _end(self) -> None:
        """Under `_lock`."""
        if not self._is_bound:
            return
        self._is_bound = False
        self._transport.close()
        with self._waking:
            kept, self._kept = self._kept, None
        ffi.release(kept)

    def close(self) -> None:
        """Closes it, and its transport with its last holder. May be called again."""
        with self._lock:  # a Stack may leave it just here, and ends it then
            if self._is_closed:
                return
            self._is_closed = True
            attached = self.attached
            self._held = None
            if not attached:
                self._end()

    @property
    def local(self) -> Endpoint:
        """Where its datagrams come from: address and port."""
        return self._transport.local

    def datagrams(self) -> DatagramCounts:
        """What it has sent and received; a snapshot."""
        with self._lock:
            return replace(self._counts)
