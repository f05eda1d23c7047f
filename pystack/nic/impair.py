"""A NIC with the faults of a real wire, repeatable by seed."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from pystack._native import check, ffi, lib
from pystack.nic.base import Nic, Wrapper, made


@dataclass(frozen=True)
class Impairment:
    """What happens to the frames of one direction, each by its own chance (as tc-netem(8)).

    Attributes:
        loss: The share of frames that is lost, 0 to 1.
        duplicate: The share that comes twice.
        corrupt: The share in which one bit is flipped.
        reorder: The share that is held back by `reorder_delay`, so that others overtake it.
        delay: Seconds that every frame takes.
        jitter: Seconds by which that differs at most, either way.
        reorder_delay: Seconds.
        rate: Bits a second; 0: no limit.
        queue_frames: How many frames may be on their way; more are lost.

    Raises:
        ValueError: A share is not from 0 to 1, or something is negative.
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
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share from 0 to 1, not {getattr(self, name)}")
        for name in ("delay", "jitter", "reorder_delay", "rate"):
            if not 0 <= getattr(self, name) < 1e12:
                raise ValueError(f"{name} is not negative, and finite: {getattr(self, name)}")
        if self.queue_frames < 1:
            raise ValueError("a queue holds at least one frame")

    def _to_c(self) -> Any:
        out = ffi.new("struct ps_impairment *")
        for name in ("loss", "duplicate", "corrupt", "reorder", "queue_frames"):
            setattr(out, name, getattr(self, name))
        for name in ("delay", "jitter", "reorder_delay"):
            setattr(out, f"{name}_us", round(getattr(self, name) * 1e6))
        out.rate_bits_per_second = self.rate
        return out


NONE = Impairment()


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

    def set(
        self, *, outgoing: Impairment | None = None, incoming: Impairment | None = None
    ) -> None:
        """Changes one direction or both; frames that are on their way keep their fate."""
        out = self._outgoing if outgoing is None else outgoing
        into = self._incoming if incoming is None else incoming
        check(lib.ps_nic_impair_set(self._pointer, out._to_c(), into._to_c()))
        self._outgoing, self._incoming = out, into


def impair(
    inner: Nic,
    outgoing: Impairment = NONE,
    incoming: Impairment = NONE,
    *,
    seed: int | None = None,
) -> Impaired:
    """A NIC around another that loses, delays, repeats and damages frames.

    Args:
        inner: The NIC; nothing else may hold it.
        outgoing: What happens to frames that are sent through it.
        incoming: What happens to frames that are received through it.
        seed: The same seed gives the same frames the same fate; None: a new one, in `seed`.

    Raises:
        OSError: EBUSY, the NIC is held.
    """
    number = secrets.randbits(64) if seed is None else seed & 0xFFFFFFFFFFFFFFFF
    error = ffi.new("int *")
    pointer = lib.ps_nic_impair(inner._pointer, outgoing._to_c(), incoming._to_c(), number, error)
    return Impaired(made(pointer, error), inner, outgoing, incoming, number)
