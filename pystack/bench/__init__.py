"""Measures a Stack's sockets beside the kernel's, in one interleaved run on the user's machine.

A *way* is a client and a server with a network between them: the kernel on both sides of a veth,
a Stack and the kernel over a TAP, two Stacks over a wire in memory. A *workload* is what the two
do, and each has the same code on every way: all that differs is the module of sockets that it is
given. Each end is a process of its own (two ends that share one would share its interpreter's
lock), but for the ways that are about one process. Every round does every workload on every way,
so that what else the machine does hits all of them alike.

What is measured is a ratio: each way has a base, a way over the kernel's sockets, and the figures
are medians over the rounds.
"""

from __future__ import annotations

from pystack.bench.run import Result, measure
from pystack.bench.ways import WAYS, Way
from pystack.bench.workloads import WORKLOADS, Metric, Workload

__all__ = ["WAYS", "WORKLOADS", "Metric", "Result", "Way", "Workload", "measure"]
