"""Measures a Stack's sockets beside the kernel's, in one interleaved run on the user's machine.

A *way* is a client and a server with a network between them: the kernel on both sides of a veth,
a Stack and the kernel over a TAP, two Stacks over a wire in memory. A *workload* is what the two
do, with the same code on every way: only the module of sockets it is given differs. Each end is a
separate process (two ends in one would share the interpreter's lock), except on the ways that are
about one process. Every round runs every workload on every way, so that other load on the machine
hits all of them alike.

The result is a ratio: each way has a base, a way over the kernel's sockets, and the figures are
medians over the rounds.
"""

from __future__ import annotations

from pystack.bench.run import Result, measure
from pystack.bench.ways import WAYS, Way, of_engine
from pystack.bench.workloads import WORKLOADS, Metric, Workload

__all__ = ["WAYS", "WORKLOADS", "Metric", "Result", "Way", "Workload", "measure", "of_engine"]
