"""Worlds beside simloop and simloom: the same programs, in each with the same fault.

``.venv/bin/python tests/bench/worlds_beside.py [--simloop PYTHON] [--simloom PYTHON]``, where
PYTHON (3.12 or later) has that package installed. The programs are asyncio's and name none of
the three (`beside/programs.py`); `beside/*_side.py` and this file add hosts, faults and what has to
hold. It prints a table: the lines that a side needs, seeds a second of processor time (median of
rounds that take turns), the seeds until the failure, and how much is left of it when shrunk.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "beside"))

import peers  # noqa: E402
import programs  # noqa: E402

from pystack.world import Exploration, Faults, World, explore, run_once  # noqa: E402

SEEDS = 100
Node = Callable[..., Coroutine[Any, Any, Any]]


def run(world: World, seconds: float, *nodes: tuple[Any, Node, Any]) -> None:
    """Starts each program on its host, the first a moment before the others."""

    async def main() -> None:
        for host, node, *arguments in nodes:
            host.service(node, *arguments)
            await asyncio.sleep(0.05)
        await asyncio.sleep(seconds)

    world.run(main())


def star(world: World, *names: str) -> list[Any]:
    """Hosts on one switch: 1 to 50 ms between the first and the others."""
    hosts, lan = [world.host(name) for name in names], world.switch("lan")
    for host in hosts:
        world.link(host, lan, delay="0.5ms", jitter="0ms" if host is hosts[0] else "49ms")
    return hosts


def pair(world: World, *names: str, **conditions: Any) -> list[Any]:
    """Two hosts with a link between them."""
    hosts = [world.host(name) for name in names]
    world.link(*hosts, **{"delay": "25ms", **conditions})
    return hosts


def lost_update(world: World) -> None:
    server, a, b = star(world, "counter", "a", "b")
    count = [0]
    run(world, 5, (server, programs.counter, count), (a, programs.add_one),
        (b, programs.add_one, 0.1))  # fmt: skip
    assert count == [2], "an update is lost"


def lossy_echo(world: World) -> None:
    server, client = pair(world, "tally", "client", loss=0.02)
    total = [0]
    run(world, 15, (server, programs.tally, total), (client, programs.add_three))
    assert total == [programs.ADDED], "added twice"


def exclusive_lease(world: World) -> None:
    server, *tenants = star(world, "landlord", "a", "b")
    held: list[tuple[float, float, str]] = []
    run(world, 15, (server, programs.landlord),
        *((host, programs.tenant, host.name, held) for host in tenants))  # fmt: skip
    assert programs.overlap(held) < 0.5, "two have held it"


def partition(world: World) -> None:
    hosts = star(world, *"abc")
    leaders: set[tuple[int, str]] = set()
    run(world, 10, *((host, programs.elect, host.name, patience, leaders)
                     for host, patience in zip(hosts, (1.0, 1.3, 1.6), strict=True)))  # fmt: skip
    assert not programs.terms_with_two(leaders), "two leaders in one term"


def half_open(world: World) -> None:
    server, client = pair(world, "publisher", "subscriber")
    heard: list[float] = []
    run(world, 90, (server, programs.publisher), (client, programs.subscriber, heard))
    assert programs.longest_silence(heard, 90) < 30, "nothing heard"


def window_stall(world: World) -> None:
    server, client = pair(world, "answerer", "client")
    for host in (server, client):
        for name in ("rmem_default", "wmem_default", "rmem_max", "wmem_max"):
            host.sysctl[f"net.ipv4.tcp_{name}"] = 32768
    answers, lines = [0], world.choose("lines", programs.LINES)
    run(world, 60, (server, programs.answerer), (client, programs.pipeline, lines, answers))
    assert answers == [lines], "it stands still"


def back_off(world: World) -> None:
    server, client = pair(world, "monitor", "sensor")
    heard: list[float] = []
    run(world, 29, (server, programs.monitor, heard), (client, programs.sensor))
    cut = max((fault.lasts for fault in world.tape.faults), default=0.0)
    assert programs.longest_silence(heard, 29) < cut + 1.5, "silent for longer than the cut"


def head_of_line(world: World) -> None:
    server, client = pair(world, "monitor", "sensor", rate="1Mbit/s")
    heard: list[float] = []
    run(world, 29, (server, programs.monitor, heard),
        (client, programs.sensor, world.choose("size", programs.SIZES)))  # fmt: skip
    assert programs.longest_silence(heard, 29) < 3, "a dot waits behind the report"


SCENARIOS: dict[Callable[[World], None], Faults | tuple[()]] = {
    lost_update: (),
    lossy_echo: (),
    exclusive_lease: Faults(cut=["a-lan", "b-lan"], most=1, within=10, lasts=(0.1, 3)),
    partition: Faults(cut=["a-lan", "b-lan", "c-lan"], most=2, within=5, lasts=(0.1, 5)),
    half_open: Faults(crash=["publisher"], most=1, within=30, lasts=(1, 10)),
    window_stall: (),
    back_off: Faults(cut=["monitor-sensor"], most=1, within=10, lasts=(1, 10)),
    head_of_line: (),
}


def look(test: Callable[[World], None], seeds: range = range(SEEDS)) -> Exploration:
    """Explores a scenario on our side."""
    return explore(test, seeds=seeds, faults=SCENARIOS[test], most_tries=150, progress=False)


def _ours(what: str, test: Callable[[World], None], seconds: float) -> Any:
    if what == "speed":
        faults = SCENARIOS[test]
        return peers.speed(
            lambda one, seed: run_once(one, seed=seed, schedule="random", faults=faults),
            test, seconds,
        )  # fmt: skip
    found = look(test)
    if found.failure is None or found.shrunk is None:
        return {"runs": found.runs}
    return {
        "runs": found.runs, "error": found.failure.error,
        "left": len(found.shrunk.tape.entries), "of": len(found.failure.tape.entries),
        "tape": str(found.shrunk.tape),
    }  # fmt: skip


def _theirs(side: str, python: str, what: str, name: str, much: float) -> Any:
    words = [python, "-B", str(HERE / "beside" / f"{side}_side.py"), what, name, str(much)]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=500,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def lines(source: str, name: str) -> int:
    """How many lines a function has, without empty ones and comments."""
    body = re.search(
        rf"^(?:async )?def {name}\(.*?(?=^\S)", source + "\n#", re.MULTILINE | re.DOTALL
    )
    assert body is not None, name
    told = [line.strip() for line in body[0].splitlines()]
    return sum(1 for line in told if line and not line.startswith("#"))


def outcome(told: dict[str, Any]) -> str:
    """What was found, in a cell."""
    if "error" not in told:
        return f"not in {told['runs']} seeds"
    left = "not shrunk" if told["left"] is None else f"{told['of']} to {told['left']}"
    return f"seed {told['runs']}; {left}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simloop", metavar="PYTHON")
    parser.add_argument("--simloom", metavar="PYTHON")
    parser.add_argument("--only", metavar="SCENARIO", action="append")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5, help="a round's, for each side")
    options = parser.parse_args()
    sides = {one: getattr(options, one) for one in ("simloop", "simloom") if getattr(options, one)}
    table = Table("scenario", "side", "lines", "seeds/s", "found", title=_machine())
    for test in SCENARIOS:
        name = test.__name__
        if options.only and name not in options.only:
            continue
        speeds: dict[str, list[float]] = {side: [] for side in ("pystack", *sides)}
        for _round in range(options.rounds):
            speeds["pystack"].append(_ours("speed", test, options.seconds))
            for side, python in sides.items():
                speeds[side].append(_theirs(side, python, "speed", name, options.seconds))
        for side, measured in speeds.items():
            if side == "pystack":
                told, source = _ours("find", test, 0), inspect.getsource(sys.modules[__name__])
            else:
                told = _theirs(side, sides[side], "find", name, SEEDS)
                source = (HERE / "beside" / f"{side}_side.py").read_text()
            speed = f"{statistics.median(measured):.1f}"
            table.add_row(name, side, str(lines(source, name)), speed, outcome(told))
            print(name, side, speed, told, file=sys.stderr, flush=True)
    Console().print(table)


def _machine() -> str:
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return f"{os.cpu_count()} processors, load {load}, Python {sys.version.split()[0]}"


if __name__ == "__main__":
    main()
