"""A NIC that a Stack shares with others, each of whom has flows that are left to it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pystack.nic import Frame, Nic, NicProtocol, Tampered, adapt
from pystack.scapy.flows import Flow, flow_of

__all__ = ["Alone", "Shared", "share", "shared_of"]

_MOST_CLAIMS = 65536
_QUEUE_FRAMES = 10_000

Listener = Callable[[Frame], Any]


class Shared(Tampered):
    """See `share`.

    Attributes:
        asked: MACs of neighbours that the Stack didn't know, and until when each is good.
    """

    def __init__(self, inner: Nic) -> None:
        super().__init__(inner, self._pass, _QUEUE_FRAMES)
        self._lock = threading.Lock()
        self._claims: OrderedDict[Flow, None] = OrderedDict()  # as they arrive; oldest use first
        # Without the lock: the garbage collector closes what listens, in a thread that may have it.
        self._listeners: list[Listener] = []
        # What was asked for beside the Stack: a MAC, and until when it is good (monotonic).
        self.asked: dict[str, tuple[str, float]] = {}

    def give_back(self) -> None:
        """Lets go of the NIC inside, which stays open."""
        Nic.close(self)

    def claim(self, flow: Flow) -> None:
        """Keeps what arrives of a flow from the Stack, which would answer it with a reset.

        It stays so until `release`, until the Stack itself sends on that flow, or until 65,536
        later ones have been claimed.

        Args:
            flow: As its packets arrive, or as they leave: either direction means both.
        """
        with self._lock:
            for one in (flow, flow.back):
                self._claims[one] = None
                self._claims.move_to_end(one)  # it is never out: `_pass` looks without the lock
            while len(self._claims) > 2 * _MOST_CLAIMS:
                self._claims.popitem(last=False)

    def release(self, flow: Flow | None = None) -> None:
        """Gives a flow back to the Stack; None: all of them."""
        with self._lock:
            if flow is None:
                self._claims.clear()
                return
            for one in (flow, flow.back):
                self._claims.pop(one, None)

    @property
    def claims(self) -> int:
        """How many flows are kept from the Stack."""
        return len(self._claims) // 2

    def listen(self, listener: Listener) -> None:
        """Has a function called with a `nic.Frame` for each frame that passes, in both directions.

        It runs on the thread that is inside the Stack: it must not wait, nor use that Stack.
        """
        self._listeners.append(listener)

    def unlisten(self, listener: Listener) -> None:
        """Ends that; what doesn't listen is ignored."""
        with suppress(ValueError):
            self._listeners.remove(listener)

    def send_beside(
        self, data: bytes, *, claim: bool = True, sender: Listener | None = None
    ) -> None:
        """Sends a frame beside the Stack.

        Args:
            data: From the header that `layer` says.
            claim: Leave its flow to the listeners, if it is of TCP or UDP.
            sender: A listener that doesn't want to see it.

        Raises:
            OSError: ENOBUFS, too many wait; EMSGSIZE; EBADF, the NIC is closed.
        """
        frame = Frame(data, True, 0.0, self._layer)
        flow = flow_of(frame.packet) if claim else None
        if flow is not None:
            self.claim(flow)
        # First: an answer may be here before `inject` returns.
        for listener in tuple(self._listeners):
            if listener != sender:
                listener(frame)
        self.inject(data, outgoing=True)

    def _pass(self, frame: Frame) -> Frame | None:
        for listener in tuple(self._listeners):
            listener(frame)
        if not self._claims:
            return frame
        flow = flow_of(frame.packet)
        if flow is None or flow not in self._claims:
            return frame
        if frame.outgoing:  # then it is a flow of the Stack's own
            self.release(flow)
            return frame
        return None


class Alone(Shared):
    """A NIC whose owner neither sees nor sends anything: all of it is the listeners'."""

    def _pass(self, frame: Frame) -> None:
        if not frame.outgoing:
            for listener in tuple(self._listeners):
                listener(frame)


def share(inner: Nic | NicProtocol) -> Shared:
    """Wraps a NIC for a Stack, so that scapy can work beside it on the same addresses.

    Args:
        inner: A `nic.Nic` that nothing else holds, or an object with `nic.NicProtocol`.

    Raises:
        TypeError: `inner` is no NIC.
        OSError: EBUSY, the NIC is held.
    """
    return Shared(adapt(inner))


def shared_of(nic: Any) -> Shared | None:
    """The shared NIC that a NIC is, or has inside; None: there is none."""
    while nic is not None and not isinstance(nic, Shared):
        nic = getattr(nic, "inner", None)
    return nic
