"""pytest's plugin: fixtures, `world_test`, and what is shown of a failure."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOM = """
import pytest, pystack, socket, time

def transfer(world, **conditions):
    left, right = world.host("left"), world.host("right")
    world.link(left, right, delay="10ms", **conditions)
    def serve():
        with socket.create_server(("", 80)) as listener:
            listener.accept()[0].close()
    right.thread(serve)
    return left, right
"""


def pytest_in(folder: Path, text: str, *words: str) -> tuple[int, str]:
    (folder / "test_it.py").write_text(ROOM + text)
    environment = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "pytest_pystack", "-p", "no:cacheprovider",
         "-W", "error", *words, "test_it.py"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=100, env=environment,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_a_failure_shows_the_seed_the_tables_and_the_ladder(tmp_path: Path) -> None:
    text = """
def test_fails(world):
    left, right = transfer(world)
    with left.sockets.create_connection(("right", 80)) as sock:
        assert world.seed == 0
"""
    assert pytest_in(tmp_path, text)[0] == 0
    status, told = pytest_in(tmp_path, text, "--world-seed", "7")
    assert status == 1, told
    assert "- pystack world -" in told
    found = re.search(r"seed 7, at [\d.]+ s; the frames are in (.*)", told)
    assert found
    assert Path(found[1]).stat().st_size > 500
    assert "SYN seq=0" in told
    assert re.search(r"^left:", told, re.MULTILINE)


def test_the_same_tests_in_real_time(tmp_path: Path) -> None:
    text = """
import pystack

def test_the_fixture(world):
    world.sleep(0.01)
    assert world.clock.is_real == REAL

@pystack.world_test(seeds=2)
def test_of_seeds(world):
    world.sleep(0.01)
    assert world.clock.is_real == REAL
"""
    for words, is_real in [((), False), (("--world-time", "virtual"), False),
                           (("--world-time", "real"), True)]:  # fmt: skip
        status, told = pytest_in(tmp_path, text.replace("REAL", str(is_real)), *words)
        assert status == 0, told
    status, told = pytest_in(tmp_path, "", "--world-time", "later")
    assert status != 0
    assert "virtual" in told


@pytest.mark.slow
def test_a_seed_that_fails_is_found_and_its_command_replays_it(tmp_path: Path) -> None:
    text = """
@pystack.world_test(seeds=50)
def test_unlucky(world, tmp_path):
    assert tmp_path.is_dir()
    left, right = transfer(world, loss=0.1)
    with left.sockets.create_connection(("right", 80)) as sock:
        sock.recv(1)
    if world.now > 0.9:
        pytest.fail("too slow")

@pystack.world_test(seeds=3)
async def test_of_asyncio(world):
    import asyncio
    await asyncio.sleep(3600)
    assert world.now >= 3600
"""
    status, told = pytest_in(tmp_path, text)
    assert status == 1, told
    assert "1 failed, 1 passed" in told
    assert re.search(r"seed \d+ fails: Failed: too slow", told)
    assert re.search(r"shrunk in \d+ runs from \d+ surprises to 1:", told)
    tape = re.search(r"replay: pytest test_it.py::test_unlucky --world-tape '(.*)'", told)
    assert tape
    assert re.fullmatch(r"seed=\d+ lost:\w+>\w+:\d+", tape[1])
    status, told = pytest_in(tmp_path, text, "--world-tape", tape[1], "-k", "unlucky")
    assert (status, "too slow" in told) == (1, True)
    assert pytest_in(tmp_path, text, "--world-tape", "seed=1", "-k", "unlucky")[0] == 0


def test_methods_of_a_test_class_and_what_has_no_world(tmp_path: Path) -> None:
    text = """
import asyncio
seen = []
class TestInAClass:
    @pystack.world_test(seeds=3)
    def test_of_seeds(self, world, tmp_path):
        seen.append((type(self), world.seed, tmp_path.is_dir()))
    @pystack.world_test(seeds=3)
    async def test_of_asyncio(self, world):
        await asyncio.sleep(3600)
        assert world.now == 3600
    @classmethod
    @pystack.world_test(seeds=3)
    def test_of_the_class(cls, world):
        assert cls is TestInAClass
    def test_they_have_run(self):
        assert seen == [(TestInAClass, seed, True) for seed in range(3)]
def test_without():
    with pytest.raises(TypeError, match="def nothing.world"):
        @pystack.world_test()
        def nothing():
            pass
"""
    status, told = pytest_in(tmp_path, text)
    assert status == 0, told
    assert "5 passed" in told


def test_a_stack_and_a_thread_s_error(tmp_path: Path) -> None:
    status, told = pytest_in(
        tmp_path,
        """
@pytest.fixture
def listener(stack):
    with stack.sockets.create_server(("127.0.0.1", 80)) as made:
        yield made

def test_listener(stack, listener):
    assert False

def test_thread(world):
    def work():
        assert 0, "in a thread"
    with pytest.warns(pytest.PytestUnhandledThreadExceptionWarning):
        world.host("one").thread(work).join()
        import gc; gc.collect()
""",
    )
    assert status == 1, told
    assert "- pystack stack -" in told
    assert "LISTEN" in told
    assert "in a thread" in told


@pytest.mark.parametrize("other", ["pytest_asyncio", "anyio", "xdist"])
def test_it_works_beside_others(tmp_path: Path, other: str) -> None:
    pytest.importorskip(other)
    mark = {"pytest_asyncio": "asyncio", "anyio": "anyio"}.get(other, "skipif('')")
    made = """
@pystack.world_test(seeds=4)
async def test_in_a_world(world):
    import asyncio
    await asyncio.sleep(1000)

@pystack.world_test(seeds=4)
def test_in_another(world):
    time.sleep(1000)

def test_fixture(world, stack):
    time.sleep(1000)
"""
    if other != "xdist":
        made += f"""
@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.{mark}
async def test_of_theirs():
    import asyncio
    await asyncio.sleep(0)
"""
    words = ["-p", "xdist.plugin", "-n", "2"] if other == "xdist" else []
    if other == "anyio":
        words += ["-p", "anyio.pytest_plugin"]
    if other == "pytest_asyncio":
        words += ["-p", "pytest_asyncio.plugin"]
        words += ["-o", "asyncio_default_fixture_loop_scope=function"]
    status, told = pytest_in(tmp_path, made, *words)
    assert status == 0, told
    assert f"{3 if other == 'xdist' else 4} passed" in told


def test_a_test_s_time_is_the_machine_s(tmp_path: Path) -> None:
    """Though the World is open when pytest looks at its clock, after a fixture and a test."""
    conftest = """
import pytest
@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    print("took", call.when, report.start > 1.7e9, 0 <= report.duration < 1000)
    print("ended", call.when, abs(report.stop - report.start - report.duration) < 0.001)
    return report
"""
    (tmp_path / "conftest.py").write_text(conftest)
    text = """
@pytest.fixture
def late(world):
    world.sleep(1e6)
    return world

def test_sleeps(late):
    late.sleep(1e6)
"""
    status, told = pytest_in(tmp_path, text, "-s")
    assert status == 0, told
    for part in ("setup", "call", "teardown"):
        assert f"took {part} True True" in told, told
        assert f"ended {part} True" in told, told


def test_it_costs_nothing_where_it_is_not_used(tmp_path: Path) -> None:
    script = (
        "import sys, pytest; before = set(sys.modules); import pytest_pystack;"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "pytest_pystack\n"
