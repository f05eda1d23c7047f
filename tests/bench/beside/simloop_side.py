"""simloop's side: ``PYTHON simloop_side.py find|speed SCENARIO AMOUNT``, see `peers`."""

from __future__ import annotations

import asyncio

import programs
from peers import main
from simloop import SimLoop, explore, sim


def started(*names: str) -> tuple[SimLoop, list]:
    """The loop, and hosts on links of 1 to 50 ms."""
    loop = asyncio.get_running_loop()
    loop.net.set_defaults(latency=(0.001, 0.050))
    return loop, [loop.net.host(name) for name in names]


def cut_once(loop: SimLoop, groups: list, within: float, lasts: tuple[float, float]) -> float:
    """Parts two groups at a time that the seed says; returns for how long."""
    at = sim.random.uniform(0, within)
    loop.call_later(at, loop.net.partition, *groups)
    loop.call_later(at + (cut := sim.random.uniform(*lasts)), loop.net.heal)
    return cut


async def lost_update() -> None:
    _loop, (server, a, b) = started("counter", "a", "b")
    count = [0]
    server.create_task(programs.counter(count))
    await asyncio.sleep(1)
    await asyncio.gather(a.create_task(programs.add_one()), b.create_task(programs.add_one(0.15)))
    assert count == [2], "an update is lost"


async def lossy_echo() -> None:
    loop, (server, client) = started("tally", "client")
    loop.net.set_defaults(drop=0.02)
    total = [0]
    server.create_task(programs.tally(total))
    await asyncio.sleep(1)
    await client.create_task(programs.add_three())
    assert total == [programs.ADDED], "added twice"


async def exclusive_lease() -> None:
    loop, (server, a, b) = started("landlord", "a", "b")
    held = []
    server.create_task(programs.landlord())
    await asyncio.sleep(1)
    cut_once(loop, [["landlord"], [sim.random.choice("ab")]], 10, (0.1, 3))
    for host in (a, b):
        host.create_task(programs.tenant(host.name, held))
    await asyncio.sleep(15)
    assert programs.overlap(held) < 0.5, "two have held it"


async def partition() -> None:
    loop, hosts = started(*"abc")
    leaders = set()
    for host, patience in zip(hosts, (1.0, 1.3, 1.6), strict=True):
        host.create_task(programs.elect(host.name, patience, leaders))
    for _each in range(2):
        alone = sim.random.choice("abc")
        cut_once(loop, [[alone], {*"abc"} - {alone}], 5, (0.1, 5))
    await asyncio.sleep(10)
    assert not programs.terms_with_two(leaders), "two leaders in one term"


async def half_open() -> None:
    loop, (server, client) = started("publisher", "subscriber")
    heard = []
    server.create_task(programs.publisher())
    await asyncio.sleep(0.1)
    client.create_task(programs.subscriber(heard))

    def restart() -> None:
        server.restart()
        server.create_task(programs.publisher())

    if sim.random.random() < 0.5:
        at = sim.random.uniform(0, 30)
        loop.call_later(at, server.crash)
        loop.call_later(at + sim.random.uniform(1, 10), restart)
    await asyncio.sleep(90)
    assert programs.longest_silence(heard, 90) < 30, "nothing heard"


async def window_stall() -> None:
    loop, (server, client) = started("answerer", "client")
    loop.net.set_flow_control()
    answers, lines = [0], sim.random.choice(programs.LINES)
    server.create_task(programs.answerer())
    await asyncio.sleep(0.1)
    client.create_task(programs.pipeline(lines, answers))
    await asyncio.sleep(60)
    assert answers == [lines], "it stands still"


async def back_off() -> None:
    loop, (server, client) = started("monitor", "sensor")
    heard = []
    server.create_task(programs.monitor(heard))
    await asyncio.sleep(0.1)
    client.create_task(programs.sensor())
    cut = 0.0
    if sim.random.random() < 0.5:
        cut = cut_once(loop, [["monitor"], ["sensor"]], 10, (1, 10))
    await asyncio.sleep(29)
    assert programs.longest_silence(heard, 29) < cut + 1.5, "silent for longer than the cut"


async def head_of_line() -> None:
    _loop, (server, client) = started("monitor", "sensor")
    heard = []
    server.create_task(programs.monitor(heard))
    await asyncio.sleep(0.1)
    client.create_task(programs.sensor(sim.random.choice(programs.SIZES)))
    await asyncio.sleep(29)
    assert programs.longest_silence(heard, 29) < 3, "a dot waits behind the report"


def find(test: programs.Scenario, seeds: int) -> dict:
    """The first seed that fails, and what is left when it is shrunk."""
    report = explore(test, range(seeds), shrink=True, shrink_budget=150)
    if report is None:
        return {"runs": seeds}
    left = len(report.shrunk.kept) if report.shrunk else None
    of = report.shrunk.original_len if report.shrunk else None
    return {"runs": report.seed + 1, "error": str(report.exception), "left": left, "of": of}


def once(test: programs.Scenario, seed: int) -> None:
    """A run with one seed."""
    explore(test, [seed])


if __name__ == "__main__":
    main(globals(), find, once)
