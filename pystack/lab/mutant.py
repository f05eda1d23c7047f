"""`Mutant`: a Host that does one thing wrong, made from a correct one by changing its frames.

A case that no Host fails proves nothing. A mutant changes frames on the way out (a wrong checksum,
a wrong code, nothing at all) or on the way in, hiding what the Host would have refused (a Host
whose checksums are fixed before they arrive doesn't verify them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from scapy.layers.l2 import Ether
from scapy.packet import Packet

from pystack.lab.host import Host
from pystack.lab.plan import Plan

__all__ = ["Change", "Mutant", "MutantHost"]

# A frame's replacement: one frame, several, or None to drop it. Bytes are sent unchanged.
Change = Callable[[Packet], "Packet | bytes | Iterable[Packet | bytes] | None"]


@dataclass(frozen=True)
class Mutant:
    """A deliberate fault of a Host.

    Attributes:
        words: The fault, to follow "a Host that ...".
        outgoing: Replaces each frame it sends. It must not raise, and returns frames it isn't
            about unchanged.
        incoming: Replaces each frame before the Host sees it.
        answer: Extra frames to send when one arrives; None: none.

    A change with state is an object with a method `reset`, called when the Host starts.
    """

    words: str
    outgoing: Change | None = None
    incoming: Change | None = None
    answer: Change | None = None


class MutantHost:
    """A Host seen through a mutant.

    Args:
        inner: The correct Host.
        mutant: The fault.
    """

    def __init__(self, inner: Host, mutant: Mutant) -> None:
        self._inner = inner
        self._mutant = mutant
        self._ready: list[tuple[float, int, bytes]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def start(self, plan: Plan) -> None:
        """See `Host.start`."""
        self._ready.clear()
        for change in (self._mutant.outgoing, self._mutant.incoming, self._mutant.answer):
            reset = getattr(change, "reset", None)
            if reset is not None:
                reset()
        self._inner.start(plan)

    def send(self, port: int, frame: bytes) -> None:
        """See `Host.send`."""
        for one in _changed(self._mutant.answer, frame, unchanged=False):
            self._ready.append((self._inner.now(), port, one))
        for one in _changed(self._mutant.incoming, frame):
            self._inner.send(port, one)

    def wait(self, seconds: float) -> list[tuple[float, int, bytes]]:
        """See `Host.wait`."""
        until = self._inner.now() + seconds
        while not self._ready:
            came = self._inner.wait(max(0.0, until - self._inner.now()))
            for moment, port, frame in came:
                self._ready += [
                    (moment, port, one) for one in _changed(self._mutant.outgoing, frame)
                ]
            if not came:
                break
        ready, self._ready = self._ready, []
        return ready


def _changed(change: Change | None, frame: bytes, *, unchanged: bool = True) -> list[bytes]:
    if change is None:
        return [frame] if unchanged else []
    result = change(Ether(frame))
    if result is None:
        return []
    if isinstance(result, (bytes, Packet)):
        return [bytes(result)]
    return [bytes(one) for one in result]
