"""simloom's side: ``PYTHON simloom_side.py find|speed SCENARIO AMOUNT``, see `peers`."""

from __future__ import annotations

import asyncio

import programs
import simloom
from peers import main
from simloom import World


def started(world: World, *names: str) -> list:
    """Hosts on links of 1 to 50 ms."""
    world.net.set_latency(0.001, 0.050)
    return [world.host(name) for name in names]


def drawn(label: str, low: float, high: float) -> float:
    """A time, to the millisecond, from the tape."""
    return low + simloom.draw(label, int((high - low) * 1000)) / 1000


def cut_once(world: World, groups: list, within: float, lasts: tuple[float, float]) -> float:
    """Parts two groups at a time that the seed says; returns for how long."""
    loop, at = asyncio.get_running_loop(), drawn("at", 0, within)
    loop.call_later(at, world.net.partition, *groups)
    loop.call_later(at + (cut := drawn("lasts", *lasts)), world.net.heal)
    return cut


async def lost_update(world: World) -> None:
    server, a, b = started(world, "counter", "a", "b")
    count = [0]
    server.spawn(lambda: programs.counter(count))
    await asyncio.sleep(1)
    # Connecting takes no time here, so the second is to begin earlier.
    await asyncio.gather(a.spawn(programs.add_one), b.spawn(lambda: programs.add_one(0.1)))
    assert count == [2], "an update is lost"


async def lossy_echo(world: World) -> None:
    server, client = started(world, "tally", "client")
    world.net.set_datagram_loss(2)
    total = [0]
    server.spawn(lambda: programs.tally(total))
    await asyncio.sleep(1)
    await client.spawn(programs.add_three)
    assert total == [programs.ADDED], "added twice"


async def exclusive_lease(world: World) -> None:
    server, *tenants = started(world, "landlord", "a", "b")
    held = []
    server.spawn(programs.landlord)
    await asyncio.sleep(1)
    cut_once(world, [[server], [tenants[simloom.draw("who", 2)]]], 10, (0.1, 3))
    for host in tenants:
        host.spawn(lambda host=host: programs.tenant(host.name, held))
    await asyncio.sleep(15)
    assert programs.overlap(held) < 0.5, "two have held it"


async def partition(world: World) -> None:
    hosts = started(world, *"abc")
    leaders = set()
    for host, patience in zip(hosts, (1.0, 1.3, 1.6), strict=True):
        host.spawn(lambda one=host, for_=patience: programs.elect(one.name, for_, leaders))
    for _each in range(2):
        alone = hosts[simloom.draw("who", 3)]
        cut_once(world, [[alone], [host for host in hosts if host is not alone]], 5, (0.1, 5))
    await asyncio.sleep(10)
    assert not programs.terms_with_two(leaders), "two leaders in one term"


async def half_open(world: World) -> None:
    server, client = started(world, "publisher", "subscriber")
    heard, loop = [], asyncio.get_running_loop()
    server.spawn(programs.publisher)
    await asyncio.sleep(0.1)
    client.spawn(lambda: programs.subscriber(heard))
    if simloom.sometimes("crash", 50):
        at = drawn("at", 0, 30)
        loop.call_later(at, server.crash)
        loop.call_later(at + drawn("lasts", 1, 10), server.restart)
    await asyncio.sleep(90)
    assert programs.longest_silence(heard, 90) < 30, "nothing heard"


async def window_stall(world: World) -> None:
    server, client = started(world, "answerer", "client")
    answers, lines = [0], programs.LINES[simloom.draw("lines", 4)]
    server.spawn(programs.answerer)
    await asyncio.sleep(0.1)
    client.spawn(lambda: programs.pipeline(lines, answers))
    await asyncio.sleep(60)
    assert answers == [lines], "it stands still"


async def back_off(world: World) -> None:
    server, client = started(world, "monitor", "sensor")
    heard = []
    server.spawn(lambda: programs.monitor(heard))
    await asyncio.sleep(0.1)
    client.spawn(programs.sensor)
    cut = 0.0
    if simloom.sometimes("cut", 50):
        cut = cut_once(world, [[server], [client]], 10, (1, 10))
    await asyncio.sleep(29)
    assert programs.longest_silence(heard, 29) < cut + 1.5, "silent for longer than the cut"


async def head_of_line(world: World) -> None:
    server, client = started(world, "monitor", "sensor")
    heard, size = [], programs.SIZES[simloom.draw("size", 4)]
    server.spawn(lambda: programs.monitor(heard))
    await asyncio.sleep(0.1)
    client.spawn(lambda: programs.sensor(size))
    await asyncio.sleep(29)
    assert programs.longest_silence(heard, 29) < 3, "a dot waits behind the report"


HOW = {"virtual_time": True, "seed_randomness": True, "world": True}  # as its decorator has it


def find(test: programs.Scenario, seeds: int) -> dict:
    """The first seed that fails, and what is left when it is shrunk."""
    found = simloom.explore(test, runs=seeds, **HOW)
    if not found.failed:
        return {"runs": found.runs}
    shrunk = simloom.shrink(test, found.first_failure, max_runs=150, **HOW)
    error = found.failures[0].message
    return {
        "runs": found.runs, "error": error,
        "left": shrunk.deviations, "of": shrunk.initial_deviations,
    }  # fmt: skip


def once(test: programs.Scenario, seed: int) -> None:
    """A run with one seed."""
    simloom.run(test, seed=seed, raise_on_error=False, **HOW)


if __name__ == "__main__":
    main(globals(), find, once)
