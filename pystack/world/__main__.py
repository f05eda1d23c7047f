"""`python -m pystack.world`: runs a test in a World, or looks for a seed with which it fails."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path

from pystack.world.explore import explore, find_test, run_once
from pystack.world.tape import Tape

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
    return parser


def _replay(test: str, tape: str, save: str | None, capture: str | None) -> int:
    given = Tape.load(tape) if Path(tape).is_file() else Tape.parse(tape)
    outcome = run_once(find_test(test), tape=given, trace=True, capture=capture)
    if save is not None:
        outcome.tape.save(save)
    print(outcome.ladder)
    print(f"{outcome.tables}\n\n{outcome.report}" if outcome.error else "it went well")
    return 1 if outcome.error else 0


def main(words: list[str] | None = None) -> int:
    """Runs the command; 1 if the test failed."""
    given = _arguments().parse_args(words)
    if given.command == "replay":
        return _replay(given.test, given.tape, given.save, given.capture)
    seeds = range(given.first, given.first + given.seeds)
    pool = ProcessPoolExecutor(given.processes) if given.processes else nullcontext()
    with pool as executor:
        found = explore(
            find_test(given.test), seeds=seeds, schedule=given.schedule, executor=executor
        )
    print(found)
    return 1 if found.failure else 0


if __name__ == "__main__":
    sys.exit(main())
