"""A peer that fights back: run it by hand against an installed pystack.

    python tests/fuzz/hostile.py --seed 1 --frames 10000000
    python tests/fuzz/hostile.py --seed 4711 --steps 1234 --trace
    python tests/fuzz/hostile.py --seed 1 --engine gvisor

A seed is one run of so many actions against a new Stack. What breaks a promise ends the command
with status 1; it names the seed and the step, and writes a short script that does it again. In a
trace, > goes to the Stack and < comes from it.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from adversary import episode, guard, known, show, shrink
from adversary.violation import Violation

from pystack._native.engines import engine_path


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seed", type=int, default=1, help="of the first run")
    parser.add_argument(
        "--frames", type=int, default=0, help="seed after seed until so many were sent"
    )
    parser.add_argument("--steps", type=int, default=3000, help="actions of each run")
    parser.add_argument("--engine", default="lwip")
    parser.add_argument(
        "--patience", type=float, default=guard.PATIENCE_S, help="seconds for one action"
    )
    parser.add_argument(
        "--tolerate", action="append", default=[], help="an invariant not to look at"
    )
    parser.add_argument("--trace", action="store_true", help="show actions and frames of one run")
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("hostile-found.py"))
    given = parser.parse_args()
    if given.steps < 1 or given.frames < 0:
        parser.error("--steps is at least 1, --frames at least 0")
    try:
        engine_path(given.engine)  # and no Stack: of Go's engine a child can make none then
    except (OSError, ValueError) as error:
        parser.error(f"--engine {given.engine}: {error}")
    return given


def trace(
    todo: list[episode.Action], engine: str, seed: int, tolerated: frozenset[str]
) -> tuple[str, bool]:
    """What a run looks like, and whether it found something."""
    lines: list[str] = []
    outcome = episode.run(
        todo,
        engine=engine,
        seed=seed,
        tolerated=tolerated,
        trace=lambda way, frame: lines.append(f"  {way} {show.line(frame)}"),
        tell=lambda step, action: lines.append(f"{step} {action[0]} {action[1]:#x}"),
    )
    lines.append(str(outcome.found or "nothing found"))
    return "\n".join(lines), outcome.found is not None


def main() -> int:
    given = arguments()
    tolerated = known.faults(given.engine) | frozenset(given.tolerate)
    if given.trace:
        actions = episode.seeded(given.seed, given.steps)
        story, something = trace(actions, given.engine, given.seed, tolerated)
        print(story)
        return int(something)
    begin = time.monotonic()
    sent = got = 0
    seed = given.seed
    found: Violation | None = None

    def report(seed: int, frames: int) -> None:
        if seed % 100 == 0:
            rate = (sent + frames) / (time.monotonic() - begin)
            print(f"seed {seed}: {sent + frames} frames, {rate:.0f}/s", flush=True)

    while sent < max(given.frames, 1) and found is None:
        more, answers, found, seed, step = guard.campaign(
            seed,
            max(given.frames, 1) - sent,
            given.steps,
            engine=given.engine,
            tolerated=tolerated,
            patience=given.patience,
            report=report,
        )
        sent, got = sent + max(more, 1), got + answers
        if found is not None and found.invariant in tolerated:  # the run ended with it all the same
            seed, found = seed + 1, None
    spent = time.monotonic() - begin
    print(f"{sent} frames sent, {got} got, {spent:.1f} s, {sent / spent:.0f} frames/s")
    if found is None:
        print("every promise was kept")
        return 0
    command = shlex.join(
        [
            "python",
            "tests/fuzz/hostile.py",
            "--engine",
            given.engine,
            "--seed",
            str(seed),
            "--steps",
            str(step),
        ]
    )
    print(f"{found}\nagain: {command}")
    if given.no_shrink:
        return 1
    todo = episode.seeded(seed, step)

    def fails(trial: list[episode.Action]) -> bool:
        again: Violation | None = guard.try_out(
            trial, engine=given.engine, seed=seed, tolerated=tolerated, patience=5.0
        )
        return again is not None and again.invariant == found.invariant

    if not fails(todo):
        print("not found again: it may be one of time")
        return 1
    least = shrink.shrink(todo, fails)
    story = ""
    if found.invariant not in ("hang", "crash"):
        story, _ = trace(least, given.engine, seed, tolerated)
    given.output.write_text(
        shrink.script(
            least, engine=given.engine, seed=seed, what=str(found), command=command, trace=story
        )
    )
    print(f"{len(least)} of {step} actions: {given.output}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
