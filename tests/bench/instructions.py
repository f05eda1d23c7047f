"""Instructions of a request and its answer with few connections open and with many (callgrind).

``.venv/bin/python tests/bench/instructions.py [--connections N]``. What else the machine does has
no say in that, and so it is the measure for growth where processor time is a poor one. The Stacks'
clocks stand still: timers cost by the second, not by the packet, and seconds are long under
valgrind (`pystack bench scale` has what they cost). With 50,000 connections it takes some minutes.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

FEW, TURNS, LISTENERS = 50, 200, 8


def _control(*words: str) -> None:
    subprocess.run(
        ["callgrind_control", *words, str(os.getpid())], check=True, capture_output=True, timeout=60
    )


def _turns(pairs: list[tuple[Any, Any]]) -> None:
    for number in range(TURNS):
        client, server = pairs[number % FEW]
        client.send(bytes(64))
        server.recv(64)
        server.send(bytes(64))
        client.recv(64)


def _inside(count: int) -> None:
    """What runs under callgrind: a dump with few open, and one with many."""
    import pystack

    with ExitStack() as kept:
        nets = []
        for number, wire in enumerate(pystack.nic.wire(1500), 1):
            clock = pystack.hypercalls.ManualClock()
            net = kept.enter_context(pystack.Stack(clock=clock))
            net.attach(wire, f"192.0.2.{number}/24")
            nets.append(net.sockets)
        client, server = nets
        listeners = [
            kept.enter_context(server.create_server(("192.0.2.2", 0))) for _ in range(LISTENERS)
        ]
        pairs: list[tuple[Any, Any]] = []
        for wanted in (FEW, count):
            while len(pairs) < wanted:
                listener = listeners[len(pairs) % LISTENERS]
                made = client.create_connection(listener.getsockname())
                pairs.append((made, listener.accept()[0]))
            _turns(pairs)
            _control("-i", "on")
            _turns(pairs)
            _control("-i", "off")
            _control(f"--dump={wanted}")
        os._exit(0)  # closing them all would take as long again


def measure(count: int) -> tuple[float, float]:
    """Instructions a turn, both ends and their interpreter included: with few open, with many."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no"]
        inside = [sys.executable, __file__, "--inside", str(count)]
        subprocess.run(
            [*valgrind, f"--callgrind-out-file={out}", *inside], check=True, capture_output=True
        )
        found = []
        for path in sorted(Path(folder).iterdir(), key=lambda one: one.stat().st_mtime_ns):
            match = re.search(r"^totals: (\d+)", path.read_text("utf-8"), re.MULTILINE)
            if match and int(match[1]) > 0:
                found.append(int(match[1]) / TURNS)
    few, many = found[:2]
    return few, many


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=50_000)
    parser.add_argument("--inside", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside is not None:
        _inside(arguments.inside)
    if shutil.which("valgrind") is None:
        print("no valgrind here")
        return 1
    few, many = measure(arguments.connections)
    print(f"{few:,.0f} instructions a turn with {FEW} connections open")
    print(f"{many:,.0f} with {arguments.connections:,}: {many / few:.3f} times as many")
    return 0 if many / few <= 1.3 else 1


if __name__ == "__main__":
    sys.exit(main())
