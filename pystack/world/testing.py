"""Tests that run in Worlds: `pystack.world_test`, and what the plugin for pytest needs."""

from __future__ import annotations

import functools
import inspect
import os
import shlex
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pystack.world.explore import LAST_FRAMES, explore, run_once, tables
from pystack.world.faults import Fault, Faults
from pystack.world.schedule import Pct
from pystack.world.tape import Tape
from pystack.world.wires import paced
from pystack.world.world import World

__all__ = ["given_tape", "given_world", "told_world", "world_test"]

_SEED, _TAPE, _TIME = "PYSTACK_WORLD_SEED", "PYSTACK_WORLD_TAPE", "PYSTACK_WORLD_TIME"


def _given_seed() -> int | None:
    text = os.environ.get(_SEED)
    return None if text is None else int(text)


def given_tape() -> Tape | None:
    """That of `--world-tape`, or None."""
    text = os.environ.get(_TAPE)
    if text is None:
        return None
    return Tape.load(text) if Path(text).is_file() else Tape.parse(text)


def _given_time() -> dict[str, Any]:
    """What `--world-time` says to a World."""
    return paced(os.environ.get(_TIME, "virtual"))


def given_world() -> World:
    """A World as the command line wants it, with a trace."""
    tape = given_tape()
    seed = None if tape is not None else _given_seed()
    return World(seed=seed, tape=tape, trace=True, **_given_time())


def _place_for(name: str) -> Path:
    return Path(tempfile.mkdtemp(prefix="pystack-world-")) / name


def told_world(world: World) -> str:
    """What a failed test's report says of its World; writes its frames to a file."""
    path = _place_for("frames.pcapng")
    world.save_trace(path)
    return "\n".join(
        [
            f"seed {world.seed}, at {world.now:g} s; the frames are in {path}",
            tables(world),
            "",
            world.sequence(last=LAST_FRAMES),
        ]
    )


def _node() -> str:
    """The running test's, for pytest's command line."""
    return os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]


def world_test(
    *,
    seeds: Iterable[int] | int = 100,
    schedule: str | Pct = "random",
    faults: Faults | Iterable[Fault] | None = (),
    shrink: bool = True,
) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Makes a test of a function or coroutine function whose first argument is a World.

    In a test class it is the one behind `self`, or `cls`.

    It runs in a new World with each seed; a failure is shrunk, and its message has the seed, the
    connections, the last frames and how to run just this again. Other arguments are fixtures, of
    which all runs get the same. With pytest's `--world-seed N` it runs with that seed alone, with
    `--world-tape` with that tape; with `--world-time` in real time, or over TAP devices.

    Args:
        seeds: Which; or how many, from 0.
        schedule: As `World` has it.
        faults: What may go wrong, or what does.
        shrink: Whether to look for a smaller failure.

    Raises:
        TypeError: The function has no such argument.
    """
    options = {"schedule": schedule, "faults": faults, "shrink": shrink}

    def decorate(function: Callable[..., Any]) -> Callable[..., None]:
        signature = inspect.signature(function)

        def run(*owner: Any, **fixtures: Any) -> None:
            __tracebackhide__ = True

            def once(world: World) -> None:
                found = function(*owner, world, **fixtures)
                if inspect.iscoroutine(found):
                    world.run(found)

            _run(once, seeds, options)

        functools.update_wrapper(run, function)
        del run.__dict__["__wrapped__"]
        run.__dict__["is_world_test"] = True
        # pytest is to see the fixtures alone, and a function where there is a coroutine function.
        others = list(signature.parameters.values())
        worlds_place = bool(others) and others[0].name in ("self", "cls")
        if len(others) <= worlds_place:
            raise TypeError(f"a world_test has a World: def {function.__name__}(world)")
        del others[worlds_place]
        run.__dict__["__signature__"] = signature.replace(parameters=others)
        return run

    return decorate


def _run(
    once: Callable[[World], None], seeds: Iterable[int] | int, options: dict[str, Any]
) -> None:
    __tracebackhide__ = True  # pytest shows the test, and not this
    tape, seed, time = given_tape(), _given_seed(), _given_time()
    if tape is not None:
        outcome = run_once(once, tape=tape, trace=True, **time)
        if outcome.error:
            told = [
                f"fails again: {outcome.error}",
                outcome.report,
                outcome.tables,
                outcome.ladder,
                str(tape),
            ]
            raise AssertionError("\n\n".join(told))
        return
    chosen = seeds if seed is None else [seed]
    found = explore(once, seeds=chosen, progress=False, **options, **time)
    if found.shrunk is None:
        return
    path = _place_for("frames.pcapng")
    run_once(once, tape=found.shrunk.tape, capture=path, **time)
    words = ["pytest", _node(), "--world-tape", str(found.shrunk.tape)]
    told = [str(found).rpartition("\nreplay: ")[0], found.shrunk.tables]
    told += [f"the frames are in {path}", f"replay: {shlex.join(words)}"]
    raise AssertionError("\n".join(told))
