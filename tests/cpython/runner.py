"""Watches `worker.py`: starts it in a namespace, collects outcomes, ends what hangs."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

WORKER = Path(__file__).with_name("worker.py")
# A test that says nothing for so long hangs.
PATIENCE = 40.0

Outcomes = dict[str, tuple[str, str]]


def run(
    kind: str, module: str, *, only: Sequence[str] = (), patience: float = PATIENCE
) -> Outcomes:
    """The outcome, and why, of each test of ``test.MODULE``.

    Args:
        kind: "kernel", "stack" or "installed", see `worker.py`; of another engine than lwip with
            its name, as "stack linux-7.2".
        module: As "test_socket".
        only: The tests to run; none named: all.
        patience: Seconds without a word until a test counts as hanging.
    """
    outcomes: Outcomes = {}
    order: list[str] = []
    first = 0
    while True:
        said, ended = attempt(kind, module, first, only, order, outcomes, patience)
        if ended:
            return outcomes
        if not order:
            return {f"{module}": ("fail", f"the module did not start: {said}")}
        # The first without an outcome is the culprit.
        while first < len(order) and order[first] in outcomes:
            first += 1
        if first >= len(order):
            return outcomes
        outcomes[order[first]] = ("fail", said)
        first += 1


def attempt(
    kind: str,
    module: str,
    first: int,
    only: Sequence[str],
    order: list[str],
    outcomes: Outcomes,
    patience: float,
) -> tuple[str, bool]:
    """One worker's life; what it died of, and whether it came to the end."""
    words = ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"]
    kind, _, engine = kind.partition(" ")
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "PYSTACK_ENGINE": engine}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [*words, sys.executable, str(WORKER), kind, module, str(first), *only],
            stdout=subprocess.PIPE, stderr=errors, cwd=folder, env=environment,
        )  # fmt: skip
        assert process.stdout is not None
        ended = False
        said = ""
        with process, selectors.DefaultSelector() as chooser:
            chooser.register(process.stdout, selectors.EVENT_READ)
            pending = b""
            last = time.monotonic()
            while True:
                if not chooser.select(max(0.0, last + patience - time.monotonic())):
                    said = f"no outcome within {patience:.0f} s"
                    process.kill()
                    break
                data = os.read(process.stdout.fileno(), 65536)
                if not data:
                    break
                last = time.monotonic()
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    entry = json.loads(line)
                    if "tests" in entry:
                        order[:] = entry["tests"]
                    elif "end" in entry:
                        ended = True
                    elif outcomes.get(entry["test"], ("", ""))[0] != "fail":
                        outcomes[entry["test"]] = (entry["outcome"], entry["why"])
            process.kill()
        if not ended and not said:
            errors.seek(0)
            said = (
                f"it died ({process.returncode}): {errors.read()[-1500:].decode(errors='replace')}"
            )
        return said, ended


if __name__ == "__main__":
    kinds = sys.argv[1].split(",")
    for name in sys.argv[2:]:
        found = {kind: run(kind, name) for kind in kinds}
        names = sorted(set().union(*found.values()))
        for kind in kinds:
            totals = [outcome for outcome, _why in found[kind].values()]
            print(name, kind, {word: totals.count(word) for word in ("pass", "skip", "fail")})
        if len(kinds) == 2:
            for test in names:
                kernel, stack = (found[kind].get(test, ("none", "")) for kind in kinds)
                if kernel[0] != stack[0]:
                    print("===", test, kernel[0], stack[0])
                    print(stack[1])
