"""Tapes: what chance decides in a World, noted, saved, edited and played again."""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pystack.world import Choice, Fault, Faults, Pct, Tape, World


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read(100))
    writer.close()


async def serve() -> None:
    async with await asyncio.start_server(answer, "", 80) as server:
        await server.serve_forever()


def run(capture: Path | None = None, **options: object) -> tuple[World, list[object]]:
    """Four tasks ask an echo server over a bad link, and two threads sleep."""
    order: list[object] = []
    with World(**options) as world:
        left, right = world.host("left"), world.host("right")
        world.link(
            left, right, capture=capture, delay="5ms", jitter="1ms", loss=0.1, duplicate=0.1,
            corrupt=0.05, reorder=0.1,
        )  # fmt: skip

        async def ask(number: int) -> None:
            await asyncio.sleep(1)
            order.append(number)
            reader, writer = await asyncio.open_connection("right", 80)
            writer.write(b"%d" % number)
            order.append((await reader.read(100), world.now))
            writer.close()

        def tick(name: str) -> None:
            for _each in range(3):
                time.sleep(0.5)
                order.append((name, world.choose("colour", ["red", "green", "blue"])))

        async def main() -> None:
            right.spawn(serve())
            await asyncio.gather(*[left.spawn(ask(number)) for number in range(4)])

        threads = [left.thread(tick, name) for name in ("a", "b", "c")]
        world.run(main())
        for thread in threads:
            thread.join()
    return world, order


@pytest.mark.parametrize("schedule", ["fifo", "random", "pct", Pct(changes=5, steps=20)])
def test_a_tape_gives_the_same_frames_byte_for_byte(tmp_path: Path, schedule: str | Pct) -> None:
    first, order = run(tmp_path / "first.pcapng", seed=3, schedule=schedule)
    tape = first.tape
    kinds = {one.kind for one in tape.choices}
    assert kinds >= {"lost", "corrupt", "twice", "late", "choice"}
    assert ("task" in kinds) == (schedule != "fifo")
    first.tape.save(tmp_path / "tape.json")
    again, replayed = run(tmp_path / "again.pcapng", tape=Tape.load(tmp_path / "tape.json"))
    assert replayed == order
    assert again.tape == tape == Tape.parse(str(tape))
    assert (tmp_path / "again.pcapng").read_bytes() == (tmp_path / "first.pcapng").read_bytes()


@pytest.mark.slow
def test_schedules_are_the_seeds() -> None:
    orders = {str(run(seed=seed, schedule="random")[1]) for seed in range(4)}
    assert len(orders) == 4
    assert run(seed=1, schedule="pct")[1] == run(seed=1, schedule="pct")[1]
    assert run(seed=1, schedule="pct")[1] != run(seed=1, schedule="fifo")[1]


@pytest.mark.slow
def test_what_is_not_on_a_tape_is_ordinary() -> None:
    world, order = run(tape=Tape(3))
    assert world.tape == Tape(3)
    assert order == run(tape=Tape(3))[1]
    assert {one[1] for one in order if isinstance(one, tuple) and one[0] == "a"} == {"red"}


@pytest.mark.sanitize
def test_a_tape_written_by_hand_does_just_that() -> None:
    tape = Tape(3, ["lost:left>right:5"]).including("task:2=1", "choice:colour:1=2")
    world, order = run(tape=tape, trace=True)
    assert sorted(world.tape.entries, key=str) == sorted(tape.entries, key=str)
    ordinary = run(tape=Tape(3))[1]
    assert [one for one in order if isinstance(one, int)] != [
        one for one in ordinary if isinstance(one, int)
    ]
    dropped = world.trace.where(dropped=True).frames
    assert [(one.sender, one.number, one.fate) for one in dropped] == [("left", 5, "lost")]
    assert ("a", "blue") in order
    assert tape.excluding("lost:left>right:5", "task:2=1", "choice:colour:1=2") == Tape(3)


@pytest.mark.sanitize
def test_frames_are_late_doubled_and_spoilt_as_the_tape_says() -> None:
    words = ["late:a>b:9=30000", "twice:a>b:10", "twin:a>b:10=2000", "corrupt:a>b:11=400"]
    with World(tape=Tape(0, words), trace=True) as world:
        left, right = world.host("a"), world.host("b")
        link = world.link(left, right, delay="1ms")
        left.ping("b", timeout=1)
        while link.counts(left).sent < 8:
            left.ping("b", timeout=1)
        with left.socket(type=socket.SOCK_DGRAM) as sender:
            for _each in range(3):
                sender.sendto(bytes(100), ("b", 9))
                world.sleep(0.1)
        frames = {one.number: one for one in world.trace.where(sender="a").frames}
        took = {
            number: [round((at - one.at) * 1e3, 3) for at in one.arrivals]
            for number, one in frames.items()
        }
        assert [took[number] for number in (8, 9, 10, 11)] == [[1], [31], [1, 3], [1]]
        assert frames[11].corrupted
        assert (link.counts(left).duplicated, link.counts(left).corrupted) == (1, 1)


def test_words_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    for word in ("lost:5", "lots:a>b:5", "turn:0=1", "turn:a>b:3=1", "task:3=-1", "crash:a@x+1"):
        with pytest.raises(ValueError):
            Tape(0, [word])
    with pytest.raises(ValueError, match="a fault is one of"):
        Fault("fire", "a", 1, 1)
    with pytest.raises(ValueError, match="give it alone"):
        World(tape=Tape(3), seed=4)
    with pytest.raises(ValueError, match="a schedule is"):
        World(schedule="lifo")
    with pytest.raises(ValueError, match="0 to 16"):
        Pct(changes=17)
    with pytest.raises(ValueError, match="what may go wrong"):
        Faults()
    (tmp_path / "none.json").write_text('{"seed": 3}')
    with pytest.raises(ValueError, match="no tape of version"):
        Tape.load(tmp_path / "none.json")
    assert str(Choice.parse("lost:a>b#2:5")) == "lost:a>b#2:5"


def test_a_second_link_has_a_name_of_its_own() -> None:
    with World(tape=Tape(0, ["lost:b>a#2:1"]), trace=True) as world:
        left, right = world.host("a"), world.host("b")
        names = [world.link(left, right).name for _each in range(2)]
        world.sleep(1)
        assert names == ["a-b", "a-b#2"]
        assert world.find_link("b>a#2") is world.links[1]
        dropped = world.trace.where(dropped=True).frames
        assert [(one.link, one.sender) for one in dropped] == [("a-b#2", "b")]
        with pytest.raises(ValueError, match="there are a-b, a-b#2"):
            world.find_link("a-c")


def test_faults_happen_and_end_at_their_times() -> None:
    seen: list[tuple[float, str]] = []
    plan = [
        Fault.parse("crash:b@10+5"), Fault("cut", "a-b", 20, 2), Fault("mute", "b>a", 30, 2),
        Fault("partition", "a|b", 40, 2),
    ]  # fmt: skip
    with World(faults=plan, trace=True) as world:
        left, right = world.host("a"), world.host("b")
        world.link(left, right)
        starts: list[float] = []
        right.service(lambda: starts.append(world.now))
        for _each in range(45):
            if left.ping("b", timeout=0.5).received == 0:
                seen.append(int(world.now))
            world.sleep(1 - world.now % 1)
        notes = [str(one).split(maxsplit=1)[1] for one in world.trace if not hasattr(one, "data")]
    assert seen == [10, 11, 12, 13, 14, 20, 21, 30, 31, 40, 41]
    assert starts == pytest.approx([0, 15])
    assert notes == [
        "b loses power", "b starts again", "cut a-b begins", "cut a-b ends", "mute b>a begins",
        "mute b>a ends", "partition a|b begins", "partition a|b ends",
    ]  # fmt: skip
    assert world.failures == ()
    assert world.tape.faults == tuple(plan)


def test_a_service_of_asyncio_starts_again_with_its_host() -> None:
    with World(faults=[Fault("crash", "right", 5, 5)]) as world:
        left, right = world.host("left"), world.host("right")
        world.link(left, right)
        got: list[bytes] = []

        async def ask() -> None:
            for _each in range(3):
                reader, writer = await asyncio.open_connection("right", 80)
                writer.write(b"hello")
                got.append(await reader.read(100))
                writer.close()
                await asyncio.sleep(8)

        async def main() -> None:
            right.service(serve)
            await asyncio.sleep(0)
            await left.run(ask())

        world.run(main())
    assert got == [b"hello"] * 3


def test_a_fault_at_the_very_beginning_finds_its_host() -> None:
    with World(faults=[Fault("crash", "b", 0, 1)]) as world:
        one, other = world.host("a"), world.host("b")
        world.link(one, other, delay="1ms")
        assert one.ping("b", timeout=0.5).received == 0
        world.sleep(1)
        assert one.ping("b", timeout=0.5).received == 1
        assert world.failures == ()


@pytest.mark.sanitize
def test_what_a_host_without_power_was_sent_is_cut_off_at_once() -> None:
    with World(trace=True) as world:
        one, other = world.host("a"), world.host("b")
        link = world.link(one, other, delay="50ms")
        with one.sockets.socket(type=socket.SOCK_DGRAM) as sock:
            for _each in range(3):
                sock.sendto(b"to be learnt first", ("b", 9))
                world.sleep(1)
            sock.sendto(b"on its way", ("b", 9))
            world.sleep(0.01)
            other.crash()
            before = link.counts(one).cut_off
            sock.sendto(b"later", ("b", 9))
            world.sleep(0.045)
            fates = [frame.fate for frame in world.trace.where(protocol="udp").frames]
            assert fates[-2:] == ["cut off", "on its way"]
            assert link.counts(one).cut_off == before + 1
            world.sleep(0.01)
    fates = [frame.fate for frame in world.trace.where(protocol="udp").frames]
    assert fates[-3:] == ["arrived", "cut off", "cut off"]


@pytest.mark.sanitize
def test_what_arrives_without_power_is_lost() -> None:
    with World(trace=True) as world:
        one, other = world.host("a"), world.host("b")
        link = world.link(one, other, delay="1ms")
        one.ping("b")
        other.crash()
        before = link.counts(one).cut_off
        assert one.ping("b", timeout=0.5).received == 0
        restarted = world.now
        other.restart()
        world.sleep(1)
        dropped = world.trace.where(sender="a", protocol="icmp", dropped=True).frames
        assert [one.fate for one in dropped if one.at < restarted][-1] == "cut off"
        assert link.counts(one).cut_off == before + len(dropped)
        assert one.ping("b").received == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault("crash", "nobody", 1, 1),
        Fault("cut", "a-nobody", 1, 1),
        Fault("partition", "a|nobody", 1, 1),
    ],
)
def test_a_fault_of_something_that_is_not_there_is_told(
    fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    with World(faults=[fault]) as world:
        world.link(world.host("a"), world.host("b"))
        world.sleep(5)
        (error,) = world.failures
    assert isinstance(error, ValueError)
    assert "nobody" in str(error)
    assert str(error).endswith(("it has a, b", "there are a-b"))
    assert [one.exc_value for one in told] == [error]


def test_plans_are_drawn_from_what_may_go_wrong() -> None:
    faults = Faults(crash=["a"], cut=["a-b"], partition=["a", "b", "c"], most=5, within=10)
    plans = [faults.draw(random.Random(seed)) for seed in range(50)]
    every = [one for plan in plans for one in plan]
    assert {one.kind for one in every} == {"crash", "cut", "partition"}
    assert max(map(len, plans)) == 5
    assert all(one.at <= 10 and 0.1 <= one.lasts <= 30 for one in every)
    assert all(Fault.parse(str(one)) == one for one in every)
    with World(seed=4, faults=faults) as first, pytest.raises(RuntimeError):
        first.trace  # noqa: B018
    with World(seed=4, faults=faults) as second:
        pass
    assert first.tape == second.tape


@pytest.mark.sanitize
def test_pools_end_in_the_same_order_in_every_run() -> None:
    def once() -> Tape:
        with World(seed=3, schedule="random") as world:
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                list(pool.map(time.sleep, [1] * 8))
            return world.tape

    assert len({str(once()) for _each in range(8)}) == 1
