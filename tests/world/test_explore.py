"""Looking for what makes a program go wrong: exploring seeds, shrinking tapes."""

from __future__ import annotations

import asyncio
import concurrent.futures
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pystack.examples import election, half_open
from pystack.world import Fault, Faults, Pct, Tape, World, explore, run_once
from pystack.world.explore import find_test, name_of_test
from pystack.world.shrink import shrink

# --- shrinking ---------------------------------------------------------------------------------


def test_shrinking_leaves_what_is_needed_alone() -> None:
    tape = Tape(1, [f"late:a>b:{number}=1000" for number in range(1, 200)])
    tape = tape.including("turn:5=3", "lost:a>b:7", "lost:a>b:9", "crash:a@12.345+60", "task:9=7")
    tried: list[Tape] = []

    def fails(one: Tape) -> Tape | None:
        tried.append(one)
        words = set(map(str, one.entries))
        crash = any(fault.kind == "crash" and fault.lasts > 10 for fault in one.faults)
        task = any(choice.kind == "task" for choice in one.choices)
        return one if {"lost:a>b:9", "late:a>b:100=1000"} <= words and crash and task else None

    best, tries = shrink(tape, fails)
    assert tries == len(tried) < 150
    assert sorted(map(str, best.entries)) == [
        "crash:a@0+15", "late:a>b:100=1000", "lost:a>b:9", "task:9=1",
    ]  # fmt: skip


def test_what_fails_always_is_nobody_s_fault() -> None:
    best, tries = shrink(Tape(1, ["turn:1=1", "crash:a@1+1"]), lambda tape: tape)
    assert (best, tries) == (Tape(1), 1)


def test_shrinking_ends_after_so_many_runs() -> None:
    tape = Tape(1, [f"lost:a>b:{number}" for number in range(1, 300)])
    every = set(tape.entries)
    _best, tries = shrink(tape, lambda one: one if {*one.entries} == every else None, most=40)
    assert tries == 40


# --- exploring ---------------------------------------------------------------------------------


def lost_update(world: World) -> None:
    """Two tasks add to a number that they have read before they waited."""
    host = world.host("one")
    count = 0

    async def add(naps: int) -> None:
        nonlocal count
        for _each in range(naps):
            await asyncio.sleep(0)
        seen = count
        await asyncio.sleep(0)
        count = seen + 1

    async def main() -> None:
        await asyncio.gather(host.spawn(add(1)), host.spawn(add(8)))

    world.run(main())
    assert count == 2, "an update is lost"


def sound(world: World) -> None:
    world.sleep(1)


def stuck(world: World) -> None:
    world.host("one").thread(time.sleep, 1)
    asyncio_event = world.host("two").sockets.socket()
    asyncio_event.bind(("127.0.0.1", 9))
    asyncio_event.listen()
    with asyncio_event:
        asyncio_event.accept()


def fails_in_a_thread(world: World) -> None:
    def work() -> None:
        world.sleep(1)
        raise LookupError("nothing there")

    world.host("one").thread(work).join()


def fails_by_the_clock(world: World) -> None:
    world.sleep(1)
    assert find_test.__dict__.setdefault("runs", []).append(1) or len(find_test.runs) < 5


@pytest.mark.slow
def test_a_schedule_that_loses_an_update_is_found_and_shrunk(capsys) -> None:
    assert run_once(lost_update).error == ""
    found = explore(lost_update, seeds=200)
    assert found.failure is not None
    assert found.shrunk is not None
    assert found.is_repeatable
    assert {one.kind for one in found.shrunk.tape.entries} == {"task"}
    assert len(found.shrunk.tape.entries) <= len(found.failure.tape.entries)
    told = str(found)
    assert "AssertionError: an update is lost" in told
    assert f"seed {found.failure.tape.seed} fails" in told
    assert told.startswith(f"seed {found.failure.tape.seed}: {found.failure.error}\n")
    assert run_once(lost_update, tape=found.shrunk.tape).kind == found.failure.kind
    with pytest.raises(AssertionError, match=r"replay: python -m pystack\.world"):
        found.check()
    assert capsys.readouterr().err == ""  # no terminal, no progress


@pytest.mark.slow
def test_priorities_find_it_too() -> None:
    assert explore(lost_update, seeds=200, schedule=Pct(steps=12)).failure is not None


def test_what_is_sound_is_run_with_every_seed(capsys) -> None:
    found = explore(sound, seeds=range(10, 30), progress=True)
    assert (found.runs, found.failure, found.virtual) == (20, None, pytest.approx(20))
    found.check()
    assert "none failed" in str(found)
    assert "1 runs" in capsys.readouterr().err


def test_a_deadlock_and_a_thread_s_error_are_failures() -> None:
    assert explore(stuck, seeds=1).failure.error.startswith("DeadlockError")
    found = explore(fails_in_a_thread, seeds=1)
    assert found.failure.error == "LookupError: nothing there"
    assert "in work" in found.failure.report
    assert "one: nothing open" in found.failure.tables


def test_what_depends_on_more_than_the_world_is_told() -> None:
    find_test.__dict__["runs"] = []
    found = explore(fails_by_the_clock, seeds=100)
    assert found.runs == 5
    assert found.is_repeatable  # it fails from now on
    find_test.__dict__["runs"] = []

    def odd(world: World) -> None:
        world.sleep(1)
        find_test.runs.append(1)
        assert len(find_test.runs) != 3

    found = explore(odd, seeds=100)
    assert not found.is_repeatable
    assert "something takes part that is no World's" in str(found)
    assert found.shrunk == found.failure


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["processes", "dask"])
def test_other_executors_find_the_same(kind: str) -> None:
    here = explore(half_open.subscription, seeds=20, faults=half_open.FAULTS)
    if kind == "dask":
        distributed = pytest.importorskip("distributed")
        with (
            distributed.LocalCluster(n_workers=2, threads_per_worker=1) as cluster,
            distributed.Client(cluster) as client,
        ):
            there = explore(
                half_open.subscription, seeds=20, faults=half_open.FAULTS,
                executor=client.get_executor(),
            )  # fmt: skip
    else:
        import multiprocessing

        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            there = explore(
                half_open.subscription, seeds=20, faults=half_open.FAULTS, executor=pool
            )
    assert there.failure.tape == here.failure.tape
    assert there.shrunk.tape == here.shrunk.tape
    assert there.shrunk.ladder == here.shrunk.ladder
    assert there.runs == here.runs


@pytest.mark.slow
def test_a_half_open_connection_is_found_and_its_remedy_holds() -> None:
    found = explore(half_open.subscription, seeds=40, faults=half_open.FAULTS)
    assert [one.kind for one in found.shrunk.tape.entries] == ["crash"]
    assert "publisher loses power" in found.shrunk.ladder
    assert "subscriber:" in found.shrunk.tables
    assert "ESTABLISHED" in found.shrunk.tables
    assert explore(half_open.repaired, seeds=10, faults=half_open.FAULTS).failure is None


faults = st.builds(
    Fault,
    kind=st.just("crash"),
    target=st.just("publisher"),
    at=st.sampled_from([5.0, 20.0]),
    lasts=st.sampled_from([1.0, 10.0]),
)


@pytest.mark.slow
def test_hypothesis_draws_plans_and_shrinks_them() -> None:
    failed: list[list[Fault]] = []

    @settings(max_examples=10, deadline=None, database=None, derandomize=True,
              suppress_health_check=[HealthCheck.too_slow])  # fmt: skip
    @given(st.lists(faults, max_size=2))
    def survives(plan: list[Fault]) -> None:
        outcome = run_once(half_open.subscription, faults=plan)
        if outcome.error:
            failed.append(plan)
        assert not outcome.error

    with pytest.raises(AssertionError):
        survives()
    assert failed[-1] == [Fault("crash", "publisher", failed[-1][0].at, 1.0)]


# --- the command -------------------------------------------------------------------------------


def test_names_of_tests_lead_back_to_them(tmp_path: Path) -> None:
    assert find_test(name_of_test(election.election)) is election.election
    path = tmp_path / "mine.py"
    path.write_text("def test(world):\n    world.sleep(1)\n")
    assert run_once(find_test(f"{path}:test")).virtual == pytest.approx(1)
    for wrong in ("nothing", f"{path}:other", "pystack.world:nothing"):
        with pytest.raises(ValueError):
            find_test(wrong)


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        ("def test(:\n", 1, "SyntaxError: invalid syntax"),
        ("\nimport nothing_such\n", 2, "ModuleNotFoundError: No module named 'nothing_such'"),
        ("1 / 0\n", 1, "ZeroDivisionError: division by zero"),
        ("raise SystemExit(1)\n", 1, "SystemExit: 1"),
    ],
)
def test_a_test_that_can_t_be_loaded_is_said(
    tmp_path: Path, source: str, line: int, words: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(source)
    with pytest.raises(ValueError) as raised:
        find_test(f"{path}:test")
    assert str(raised.value) == f"{path} can't be loaded: {path}:{line}: {words}"


def command(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *words], capture_output=True, text=True, check=False,
        timeout=100,
    )  # fmt: skip


def test_what_the_command_cannot_run_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import pystack\n\n@pystack.world_test()\ndef test(world):\n    pass\n")
    for words, told in (
        (["explore", f"{path}:test"], "test is a world_test, which makes its Worlds itself"),
        (["explore", f"{path}:other"], "there is no function 'other'"),
        (["explore", "nosuch.module:f"], "No module named 'nosuch'"),
        (["replay", "pystack.examples.half_open:subscription", "seed=x"], "'seed=x'"),
    ):
        done = command(["-m", "pystack.world", *words])
        assert done.returncode == 2
        assert told in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("pace", ["virtual", "real"])
def test_a_file_s_test_is_replayed_by_the_words_it_shows(tmp_path: Path, pace: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "def test(world):\n"
        "    a, b = world.host('a'), world.host('b')\n"
        "    world.link(a, b, loss=0.5)\n"
        "    assert a.ping('b', count=1, timeout=0.01).received\n"
    )
    found = command(["-m", "pystack.world", "explore", "--time", pace, f"{path}:test"])
    assert found.returncode == 1, found.stderr
    words = shlex.split(found.stdout.rpartition("replay: ")[2])
    assert words[:5] == ["python", "-m", "pystack.world", "replay", f"{path}:test"]
    assert "lost:" in words[5]
    again = command([*words[1:], "--time", pace])
    assert (again.returncode, again.stderr) == (1, "")
    assert "AssertionError" in again.stdout


@pytest.mark.slow
def test_the_command_replays_what_was_found(tmp_path: Path) -> None:
    found = command(["-m", "pystack.world", "explore", "pystack.examples.half_open:subscription"])
    assert (found.returncode, found.stderr) == (0, ""), found.stdout  # no faults are given there
    shown = explore(half_open.subscription, seeds=20, faults=half_open.FAULTS)
    words = shlex.split(shown.command)
    assert words.pop(0) == "python"
    tape, frames = tmp_path / "tape.json", tmp_path / "frames.pcapng"
    done = command([*words, "--save", str(tape), "--capture", str(frames)])
    assert (done.returncode, done.stderr) == (1, "")
    assert re.search(r"AssertionError: nothing heard for \d+ s", done.stdout)
    assert Tape.load(tape) == shown.shrunk.tape
    assert frames.stat().st_size > 1000
    went_well = command(["-m", "pystack.world", "replay", words[3], "seed=0"])
    assert (went_well.returncode, went_well.stdout.splitlines()[-1]) == (0, "it went well")


@pytest.mark.slow
def test_an_election_with_two_leaders_is_found() -> None:
    found = explore(election.election, seeds=300, faults=election.FAULTS)
    assert "two leaders in one term" in found.failure.error
    assert 1 <= len(found.shrunk.tape.faults) <= 2
    assert found.coverage["cut"] > 0
    assert isinstance(election.FAULTS, Faults)
