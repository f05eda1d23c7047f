"""The ratios that we hold ourselves to, measured in one run: which are met, and which are not.

``.venv/bin/python tests/bench/targets.py [--rounds N] [--congestion NAME] [--floods]``. It measures
nothing by itself: it is `pystack bench` and a list. It ends with 1 when something is missed. Growth
is measured with twice the connections that the bound is for (instructions.py counts instructions
instead of time). With ``--floods`` it is about those alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from pystack.bench import WAYS, WORKLOADS, Result, measure
from pystack.bench.floods import HOSTS, Outcome, floods
from pystack.bench.http import http
from pystack.bench.queues import CORES, queues
from pystack.bench.report import flood_table
from pystack.bench.scale import Figure, scale


@dataclass(frozen=True)
class Target:
    """A ratio to the base of a way, or a figure of scale, queues or http when there is no way.

    Attributes:
        way: A name of `WAYS`, or "".
        metric: What is measured.
        bound: At least so much if more is better, else at most.
        more: More is better.
    """

    way: str
    metric: str
    bound: float
    more: bool

    def found(self, result: Result, figures: dict[str, Figure]) -> float | None:
        if not self.way:
            return figures[self.metric].value if self.metric in figures else None
        return result.ratio(next(one for one in WAYS if one.name == self.way), self.metric)


IN, OUT = "kernel to Stack, TAP", "Stack to kernel, TAP"
TARGETS = (
    Target(IN, "bulk", 0.95, more=True),
    Target(OUT, "bulk", 0.95, more=True),
    Target(IN, "p50", 1.15, more=False),
    Target(OUT, "p50", 1.15, more=False),
    Target(IN, "connections", 1.0, more=True),
    Target(OUT, "connections", 1.0, more=True),
    Target(IN, "datagrams", 0.8, more=True),
    Target(OUT, "datagrams", 0.8, more=True),
    Target("Stack to Stack, MTU 65500, one process", "bulk", 2.0, more=True),
    Target("Stack to Stack, MTU 1500, one process", "bulk", 0.5, more=True),
    Target("", "growth", 1.3, more=False),
    Target("", "memory", 4.0, more=False),
    Target("", "opened", 100_000, more=True),
    Target("", "create", 3.0, more=False),
    Target("", "stack", 600.0, more=False),
    Target("", "stacks", 1000, more=True),
    Target("", "aiohttp_cpu", 1.2, more=False),
    Target("", "uvicorn_cpu", 1.2, more=False),
    # Of the two the one that this machine has cores for.
    Target("", "queues" if (os.cpu_count() or 1) >= CORES else "queues_own", 1.6, more=True),
)


# Of a flood: the least of the flow that is kept, and the most that a frame costs, as a multiple of
# an ordinary one. All new connections have to succeed.
KEPT, COST = 0.9, 4.0


def endured(one: Outcome, ordinary: Outcome) -> bool:
    """Whether a Stack came through a flood as it should."""
    if one.failures or not one.kept or one.succeeded < one.tried:
        return False
    most = COST * statistics.median(ordinary.cost_us)
    return statistics.median(one.kept) >= KEPT and statistics.median(one.cost_us) <= most


def judge_floods(rounds: int) -> int:
    """Measures the floods; how many a Stack did not come through."""
    outcomes = floods(rounds)
    ordinary, *others = (one for one in outcomes if one.host == HOSTS[0])
    missed = [one.flood for one in others if not endured(one, ordinary)]
    Console(width=120).print(flood_table(outcomes), f"missed: {', '.join(missed) or 'none'}")
    return len(missed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=100_000)
    parser.add_argument("--congestion", help="as of `pystack bench`")
    parser.add_argument("--floods", action="store_true", help="the floods alone")
    arguments = parser.parse_args()
    if arguments.floods:
        return 1 if judge_floods(max(1, arguments.rounds // 5)) else 0
    names = {one.way for one in TARGETS}
    ways = [one for one in WAYS if one.name in names or one.name == one.base]
    workloads = [WORKLOADS[name] for name in ("bulk", "latency", "connections", "udp")]
    result = measure(ways, workloads, arguments.rounds, congestion=arguments.congestion)
    found = scale(arguments.connections) + queues(arguments.rounds) + http(arguments.rounds)
    figures = {one.name: one for one in found}
    table = Table("what", "of", "bound", "found", title=result.machine)
    missed = 0
    for one in TARGETS:
        value = one.found(result, figures)
        met = value is not None and (value >= one.bound if one.more else value <= one.bound)
        missed += not met
        table.add_row(
            one.metric,
            one.way or "-",
            f"{'at least' if one.more else 'at most'} {one.bound:g}",
            "not measured" if value is None else f"{value:.2f}",
            style=None if met else "red",
        )
    Console().print(table)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
