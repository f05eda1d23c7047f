"""Rounds of workloads on ways, interleaved, and what they find."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pystack.bench.ways import Network, Way, opened
from pystack.bench.worker import Here, WorkerError
from pystack.bench.workloads import Metric, Workload

__all__ = ["Result", "measure"]

SLACK_S = 30.0
LEAST_ROUNDS = 3  # a median of fewer is one of them


@dataclass
class Result:
    """What was found.

    Attributes:
        ways: Which were asked for.
        workloads: Which were asked for.
        rounds: How many.
        seconds: How long a client goes on in each.
        values: By way and metric, a value for each round.
        absent: Networks that could not be had, and why.
        failures: Way, workload and what went wrong.
        machine: What it was measured on.
    """

    ways: Sequence[Way]
    workloads: Sequence[Workload]
    rounds: int
    seconds: float
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    machine: str = ""

    @property
    def metrics(self) -> list[Metric]:
        """The columns."""
        return [metric for one in self.workloads for metric in one.metrics]

    def median(self, way: str, metric: str) -> float | None:
        """The median of the rounds; None: there is none."""
        values = self.values.get(way, {}).get(metric)
        return statistics.median(values) if values else None

    def ratios(self, way: Way, metric: str) -> list[float]:
        """Each round's value as a ratio to its base's in the same round; empty: there are none."""
        mine = self.values.get(way.name, {}).get(metric, [])
        base = self.values.get(way.base, {}).get(metric, [])
        if len(mine) != len(base) or not all(base):
            return []
        return [a / b for a, b in zip(mine, base, strict=True)]

    def ratio(self, way: Way, metric: str) -> float | None:
        """The median of the rounds' ratios; None: there is none."""
        found = self.ratios(way, metric)
        return statistics.median(found) if found else None

    @property
    def doubts(self) -> list[str]:
        """Which figures rest on too few samples or rounds, and what would give more."""
        found = []
        if self.values and self.rounds < LEAST_ROUNDS:
            found.append(f"{self.rounds} of at least {LEAST_ROUNDS} rounds: no spread (--rounds)")
        for metric in self.metrics:
            short = {
                way.name: int(min(counts))
                for way in self.ways
                if (counts := self.values.get(way.name, {}).get(metric.samples))
                and min(counts) < metric.needed
            }
            if short:
                worst = ", ".join(f"{name}: {count}" for name, count in short.items())
                found.append(
                    f"{metric.title}: fewer than {metric.needed} samples in a round (--seconds): "
                    f"{worst}"
                )
        return found

    def as_json(self) -> dict[str, Any]:
        """All of it, for `json.dumps`."""
        return {
            "machine": self.machine,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "ways": [
                {
                    "name": way.name,
                    "base": way.base,
                    "values": self.values.get(way.name, {}),
                    "ratios": {one.name: self.ratio(way, one.name) for one in self.metrics},
                }
                for way in self.ways
            ],
            "doubts": self.doubts,
            "absent": self.absent,
            "failures": [list(one) for one in self.failures],
        }


def _congestion_default() -> str | None:
    """The kernel's default congestion control; None: it does not say."""
    try:
        return Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text("ascii").strip()
    except OSError:
        return None


def _machine(congestion: str | None) -> str:
    control = congestion or _congestion_default()
    return (
        f"{platform.system()} {platform.release()}{f' ({control})' if control else ''}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}"
    )


def _once(network: Network, workload: Workload, seconds: float) -> dict[str, float]:
    client, server = network.one, network.two
    if client is server:
        client.tell(Here.both, workload.name, seconds)
        found: dict[str, float] = client.answer(seconds + SLACK_S)
        return found
    address = server.call(Here.open, workload.name)
    server.tell(Here.serve, workload.name, seconds)
    client.tell(Here.ask, workload.name, address, seconds)
    asked: dict[str, float] = client.answer(seconds + SLACK_S)
    served: dict[str, float] = server.answer(SLACK_S)
    return asked | served


def measure(
    ways: Sequence[Way],
    workloads: Sequence[Workload],
    rounds: int = 5,
    seconds: float = 0.5,
    progress: Callable[[str], None] = lambda _text: None,
    *,
    congestion: str | None = None,
) -> Result:
    """Measures; takes about rounds x ways x workloads x seconds.

    Args:
        ways: Which; they must include the base of each.
        workloads: Which.
        rounds: How often each.
        seconds: How long a client goes on each time.
        progress: Is told of each step before it is done.
        congestion: The congestion control of the kernel's sockets; None: the machine's default.
    """
    result = Result(ways, workloads, rounds, seconds, machine=_machine(congestion))
    with opened({way.network for way in ways}, result.absent) as networks:
        if congestion is not None:
            for each in networks.values():
                for worker in (each.one, each.two):
                    worker.call(Here.control, congestion)
        broken: set[str] = set()
        for number in range(rounds):
            for workload in workloads:
                for way in ways:
                    network = networks.get(way.network)
                    if network is None or way.network in broken:
                        continue
                    if way.workloads is not None and workload.name not in way.workloads:
                        continue
                    progress(f"round {number + 1}: {workload.name}: {way.name}")
                    try:
                        found = _once(
                            network.turned() if way.turned else network, workload, seconds
                        )
                    except WorkerError as error:
                        # The two ends are in an unknown state now.
                        broken.add(way.network)
                        result.failures.append((way.name, workload.name, str(error)))
                        continue
                    for metric, value in found.items():
                        result.values.setdefault(way.name, {}).setdefault(metric, []).append(value)
    return result
