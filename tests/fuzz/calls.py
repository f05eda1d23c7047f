"""Random sequences of socket calls, made on the kernel's sockets and on a Stack's.

Both have to come to the same, call by call. A sequence is named by its seed; what differs is
shrunk to the fewest calls and printed.

    python tests/fuzz/calls.py --sequences 1000
    python tests/fuzz/calls.py --seed 4711

It runs from a checkout against the pystack that is installed, as root, in a network namespace
that it makes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from namespace import namespace
from socket_calls import first_difference, report, sequence, shrunk

import pystack


def compare(first: int, count: int) -> int:
    """How many sequences differ; each is reported."""
    found = 0
    with pystack.Stack() as net:
        for seed in range(first, first + count):
            calls = sequence(seed)
            at = first_difference(net, calls)
            if at is not None:
                found += 1
                print(f"seed {seed}:")
                report(net, shrunk(net, calls, at))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seed", type=int, default=1, help="of the first sequence")
    parser.add_argument("--sequences", type=int, default=1)
    options = parser.parse_args()
    with namespace() as made:
        found = made.call(compare, options.seed, options.sequences)
    print(f"{found} of {options.sequences} sequences differ")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
