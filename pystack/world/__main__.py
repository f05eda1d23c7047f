"""`python -m pystack.world`: runs a test in a World, or looks for a seed with which it fails."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path

from pystack.world.explore import Test, explore, find_test, run_once
from pystack.world.tape import Tape
from pystack.world.wires import PACES, paced

_TEST = "module:function or file.py:function"


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pystack.world", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    replay = commands.add_parser("replay", help="run a test with a tape")
    replay.add_argument("test", help=_TEST)
    replay.add_argument("tape", help="the tape: a file, or its text, as 'seed=7 lost:a>b:5'")
    replay.add_argument("--save", metavar="FILE", help="write the tape that was used")
    replay.add_argument("--capture", metavar="FILE", help="write the frames (pcapng)")
    look = commands.add_parser("explore", help="look for a seed with which a test fails")
    look.add_argument("--seeds", type=int, default=100, help="how many, from --first")
    look.add_argument("--first", type=int, default=0, help="the first of them")
    look.add_argument("--schedule", default="random", choices=["fifo", "random", "pct"])
    look.add_argument("--processes", type=int, default=0, help="0: in this one")
    look.add_argument("test", help=_TEST)
    for one in (replay, look):
        one.add_argument("--time", default="virtual", choices=PACES, help="tap: real, over TAPs")
    return parser


def _tape(given: str) -> Tape:
    return Tape.load(given) if Path(given).is_file() else Tape.parse(given)


def _replay(test: Test, tape: Tape, given: argparse.Namespace) -> int:
    outcome = run_once(test, tape=tape, trace=True, capture=given.capture, **paced(given.time))
    if given.save is not None:
        outcome.tape.save(given.save)
    print(outcome.ladder)
    print(f"{outcome.tables}\n\n{outcome.report}" if outcome.error else "it went well")
    return 1 if outcome.error else 0


def main(words: list[str] | None = None) -> int:
    """Runs the command; 1 if the test failed."""
    parser = _arguments()
    given = parser.parse_args(words)
    try:
        test = find_test(given.test)
        tape = _tape(given.tape) if given.command == "replay" else None
    except (ValueError, OSError) as error:
        parser.error(str(error))
    if tape is not None:
        return _replay(test, tape, given)
    seeds = range(given.first, given.first + given.seeds)
    pool = ProcessPoolExecutor(given.processes) if given.processes else nullcontext()
    with pool as executor:
        found = explore(
            test, seeds=seeds, schedule=given.schedule, executor=executor, **paced(given.time)
        )
    print(found)
    return 1 if found.failure else 0


if __name__ == "__main__":
    sys.exit(main())
