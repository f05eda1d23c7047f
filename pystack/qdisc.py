"""Queueing disciplines: how packets wait for an interface, as tc(8) has it."""

from __future__ import annotations

import errno
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pystack._native import StackHandle, ffi, lib

__all__ = ["Qdisc", "QdiscCounts"]

_ALWAYS = 0xFFFFFFFF
_MOST = 1 << 62
_KINDS = {
    "default": lib.PS_QDISC_DEFAULT,
    "fq": lib.PS_QDISC_FQ,
    "fq_codel": lib.PS_QDISC_FQ_CODEL,
    "netem": lib.PS_QDISC_NETEM,
    "tbf": lib.PS_QDISC_TBF,
}
# What each takes.
_PARAMETERS: Mapping[str, frozenset[str]] = {
    "default": frozenset(),
    "fq": frozenset({"limit", "flow_limit", "rate"}),
    "fq_codel": frozenset({"limit", "flows", "target", "interval", "ecn"}),
    "netem": frozenset(
        {"limit", "delay", "jitter", "loss", "duplicate", "corrupt", "reorder", "gap", "rate",
         "ecn"}
    ),
    "tbf": frozenset({"rate", "burst", "latency", "limit"}),
}  # fmt: skip
_SHARES = ("loss", "duplicate", "corrupt", "reorder")


@dataclass(frozen=True)
class QdiscCounts:
    """What a queueing discipline has done so far.

    Attributes:
        sent_bytes: With their link layer's header.
        sent_packets: As many.
        dropped: Packets.
        queued_packets: That wait now.
        queued_bytes: That they have.
    """

    sent_bytes: int
    sent_packets: int
    dropped: int
    queued_packets: int
    queued_bytes: int


@dataclass(frozen=True)
class Qdisc:
    """The queueing discipline of an interface; a snapshot.

    Attributes:
        kind: Linux's name of it, as "netem"; "noqueue": packets don't wait.
        own: Whether it was set. False: Linux's own choice, which has no parameters here.
        limit: Packets that may wait; tbf: bytes.
        flow_limit: fq: packets of one flow.
        flows: fq_codel: how many queues.
        rate: Bits per second (fq: of one flow; tbf; netem); 0: unlimited.
        burst: tbf: bytes that may go at once.
        delay: netem: seconds each packet takes.
        jitter: netem: the most by which that varies, either way, in seconds.
        loss: netem: probability that a packet is lost, 0 to 1; so the next three.
        duplicate: That it goes twice.
        corrupt: That one bit of it is flipped.
        reorder: That it goes at once, and overtakes those that are delayed.
        gap: netem: only each so-manieth packet may overtake.
        target: fq_codel: seconds that packets may wait without end; RFC 8289.
        interval: fq_codel: seconds within which they must have waited less once.
        ecn: fq_codel, netem: packets that know ECN are marked instead of dropped (RFC 3168).
        counts: What it has done.
    """

    kind: str
    own: bool
    counts: QdiscCounts
    limit: int = 0
    flow_limit: int = 0
    flows: int = 0
    rate: int = 0
    burst: int = 0
    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    reorder: float = 0.0
    gap: int = 0
    target: float = 0.0
    interval: float = 0.0
    ecn: bool = False

    @property
    def latency(self) -> float:
        """tbf: seconds that a packet waits at most."""
        return (self.limit - self.burst) * 8 / self.rate if self.kind == "tbf" else 0.0

    def __repr__(self) -> str:
        told = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields(self)
            if field.name not in ("kind", "own", "counts") and getattr(self, field.name)
        ]
        return f"Qdisc({', '.join([repr(self.kind), *told])})"


def _words(index: int) -> dict[int, str]:
    return {
        errno.ENODEV: f"the interface {index} is detached",
        errno.EINVAL: "the kernel refuses these parameters of a queueing discipline",
    }


def _check(handle: StackHandle, result: int, index: int) -> None:
    if result == -errno.ENOSYS:
        raise OSError(
            errno.EOPNOTSUPP,
            'this engine has no queueing disciplines: use Stack(engine="linux"), '
            "or pystack.nic.impair on any engine's NIC",
        )
    handle.check(result, _words(index))


def _number(name: str, value: Any, *, least: float = 0) -> Any:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name} is a number, not {value!r}")
    if not math.isfinite(value) or not least <= value < _MOST:
        raise ValueError(f"{name} is finite and at least {least}, not {value!r}")
    return value


def _checked(kind: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    if kind not in _KINDS:
        raise ValueError(f"no queueing discipline {kind!r} here: one of {', '.join(_KINDS)}")
    known = _PARAMETERS[kind]
    for name in parameters:
        if name not in known:
            takes = ", ".join(sorted(known)) or "nothing"
            raise TypeError(f"{kind} has no parameter {name!r}: it takes {takes}")
    values = {name: value for name, value in parameters.items() if value is not None}
    for name, value in values.items():
        if name == "ecn":
            continue
        _number(name, value)
        if name in _SHARES and value > 1:
            raise ValueError(f"{name} is a probability from 0 to 1, not {value!r}")
        if name in ("limit", "flow_limit", "flows", "gap", "burst") and (
            not isinstance(value, int) or value > _ALWAYS
        ):
            raise ValueError(f"{name} is an int of 32 bits, not {value!r}")
    if kind == "tbf":
        for name in ("rate", "burst"):
            if not values.get(name):
                raise ValueError(f"tbf needs a {name}")
        if ("latency" in values) == ("limit" in values):
            raise ValueError("tbf needs either a latency or a limit")
    if values.get("reorder") and not values.get("delay"):
        raise ValueError("netem's reorder needs a delay, which others then overtake")
    return values


def set_qdisc(handle: StackHandle, index: int, kind: str, parameters: Mapping[str, Any]) -> None:
    """See `Interface.qdisc`."""
    values = _checked(kind, parameters)
    out = ffi.new("struct ps_qdisc *")
    out.kind = _KINDS[kind]
    out.rate = round(values.get("rate", 0)) // 8
    out.burst_bytes = values.get("burst", 0)
    out.limit = values.get("limit", 0)
    if "latency" in values:
        out.limit = min(round(out.rate * values["latency"]) + out.burst_bytes, _ALWAYS)
    for name in ("flow_limit", "flows", "gap"):
        setattr(out, name, values.get(name, 0))
    for name in _SHARES:
        setattr(out, name, round(values.get(name, 0) * _ALWAYS))
    for name, unit, scale in (
        ("delay", "ns", 1e9), ("jitter", "ns", 1e9), ("target", "us", 1e6), ("interval", "us", 1e6),
    ):  # fmt: skip
        setattr(out, f"{name}_{unit}", round(values.get(name, 0) * scale))
    out.ecn = bool(values.get("ecn", kind == "fq_codel"))
    _check(handle, lib.ps_qdisc_set(handle.pointer, index, out), index)


def get_qdisc(handle: StackHandle, index: int) -> Qdisc:
    """See `Interface.qdisc`."""
    raw = ffi.new("struct ps_qdisc *")
    _check(handle, lib.ps_qdisc_get(handle.pointer, index, raw), index)
    return Qdisc(
        kind=ffi.string(raw.name).decode(),
        own=raw.kind != lib.PS_QDISC_DEFAULT,
        counts=QdiscCounts(
            raw.sent_bytes, raw.sent_packets, raw.dropped, raw.queued_packets, raw.queued_bytes
        ),
        limit=raw.limit,
        flow_limit=raw.flow_limit,
        flows=raw.flows,
        rate=raw.rate * 8,
        burst=raw.burst_bytes,
        delay=raw.delay_ns / 1e9,
        jitter=raw.jitter_ns / 1e9,
        loss=raw.loss / _ALWAYS,
        duplicate=raw.duplicate / _ALWAYS,
        corrupt=raw.corrupt / _ALWAYS,
        reorder=raw.reorder / _ALWAYS,
        gap=raw.gap,
        target=raw.target_us / 1e6,
        interval=raw.interval_us / 1e6,
        ecn=raw.ecn,
    )
