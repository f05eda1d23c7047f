"""A NIC with a real wire's faults, repeatable by seed."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, fields
from typing import Any

from pystack._native import check, ffi, lib
from pystack._native.values import hinted, number, seed_bits
from pystack.nic.base import Nic, NicProtocol, Wrapper, made, valid_queue
from pystack.nic.python import adapt

_MOST = 1e12  # of a time or a rate


@hinted
@dataclass(frozen=True)
class Impairment:
    """What happens to the frames of one direction, each independently, as in tc-netem(8).

    Attributes:
        loss: Probability that a frame is lost, 0 to 1.
        duplicate: Probability that it arrives twice.
        corrupt: Probability that one bit is flipped.
        reorder: Probability that it is held back by `reorder_delay`, so that others overtake it.
        delay: Seconds each frame takes.
        jitter: By how many seconds it may be longer, evenly distributed.
        reorder_delay: Seconds.
        rate: Bits per second; 0: unlimited.
        queue_frames: How many frames may be in transit; more are lost.

    Raises:
        ValueError: A probability is not from 0 to 1, or a value is negative.
    """

    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    reorder: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0
    reorder_delay: float = 0.001
    rate: int = 0
    queue_frames: int = 10_000

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "corrupt", "reorder"):
            number(getattr(self, name), name, 0, 1)
        for name in ("delay", "jitter", "reorder_delay"):
            number(getattr(self, name), name, 0, _MOST, "seconds")
        number(self.rate, "rate", 0, _MOST, "bits per second")
        valid_queue(self.queue_frames)

    def _to_c(self) -> Any:
        out = ffi.new("struct ps_impairment *")
        for name in ("loss", "duplicate", "corrupt", "reorder", "queue_frames"):
            setattr(out, name, getattr(self, name))
        for name in ("delay", "jitter", "reorder_delay"):
            setattr(out, f"{name}_us", round(getattr(self, name) * 1e6))
        out.rate_bits_per_second = self.rate
        return out


NONE = Impairment()


def _told(impairment: Impairment) -> str:
    """What of it isn't as by default."""
    values = [
        f"{field.name}={getattr(impairment, field.name)!r}"
        for field in fields(impairment)
        if getattr(impairment, field.name) != getattr(NONE, field.name)
    ]
    return f"({', '.join(values)})"


class Impaired(Wrapper):
    """See `impair`."""

    def __init__(
        self, pointer: Any, inner: Nic, outgoing: Impairment, incoming: Impairment, seed: int
    ) -> None:
        super().__init__(pointer, inner)
        self._outgoing, self._incoming = outgoing, incoming
        self.seed = seed

    @property
    def outgoing(self) -> Impairment:
        """What happens to frames that are sent."""
        return self._outgoing

    @property
    def incoming(self) -> Impairment:
        """What happens to frames that are received."""
        return self._incoming

    def __repr__(self) -> str:
        ways = (("outgoing", self._outgoing), ("incoming", self._incoming))
        told = "".join(f" {way}={_told(what)}" for way, what in ways if what != NONE)
        return f"{super().__repr__()[:-1]}{told}>"

    def set(
        self, *, outgoing: Impairment | None = None, incoming: Impairment | None = None
    ) -> None:
        """Changes one direction or both; frames in transit keep their fate."""
        out = self._outgoing if outgoing is None else outgoing
        into = self._incoming if incoming is None else incoming
        check(lib.ps_nic_impair_set(self._pointer, out._to_c(), into._to_c()))
        self._outgoing, self._incoming = out, into


@hinted
def impair(
    inner: Nic | NicProtocol,
    outgoing: Impairment = NONE,
    incoming: Impairment = NONE,
    *,
    seed: int | None = None,
) -> Impaired:
    """Wraps a NIC and loses, delays, duplicates and corrupts its frames.

    Args:
        inner: A `nic.Nic` that nothing else holds, or an object with `nic.NicProtocol`.
        outgoing: What happens to frames sent through it.
        incoming: What happens to frames received through it.
        seed: Frames meet the same fate under the same seed; None: a random one, kept in `seed`.

    Raises:
        TypeError: `inner` is no NIC, or a direction no Impairment.
        OSError: EBUSY, the NIC is held.
    """
    drawn = secrets.randbits(64) if seed is None else seed_bits(seed)
    for what in (outgoing, incoming):
        if not isinstance(what, Impairment):
            raise TypeError(f"expected an Impairment, such as Impairment(loss=0.1), not {what!r}")
    wrapped = adapt(inner)
    error = ffi.new("int *")
    pointer = lib.ps_nic_impair(wrapped._pointer, outgoing._to_c(), incoming._to_c(), drawn, error)
    return Impaired(made(pointer, error), wrapped, outgoing, incoming, drawn)
