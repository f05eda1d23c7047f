"""Randomness in a World follows its seed, and is the process's again afterwards."""

from __future__ import annotations

import os
import random
import secrets
import subprocess
import sys
import tempfile
import threading
import uuid

import pytest

from pystack.world import World


def drawn(seed: int) -> list[object]:
    with World(seed=seed) as world:
        found: list[object] = []

        def draw() -> None:
            found.extend(
                [
                    random.random(), random.SystemRandom().random(), os.urandom(8),
                    secrets.token_hex(8), uuid.uuid4(), uuid.uuid1(), uuid.uuid1(),
                ]
            )  # fmt: skip

        draw()
        world.host("a").thread(draw)
        world.sleep(1)
    return found


def test_one_seed_draws_the_same() -> None:
    first, again, other = drawn(1), drawn(1), drawn(2)
    assert first == again
    assert not set(map(str, first)) & set(map(str, other))
    assert len(set(map(str, first))) == len(first) == 14


def test_afterwards_it_is_the_processs_again() -> None:
    random.seed(7)
    expected = [random.random() for _ in range(3)]
    random.seed(7)
    assert random.random() == expected[0]
    drawn(1)
    assert [random.random() for _ in range(2)] == expected[1:]
    assert drawn(1) == drawn(1)
    assert os.urandom(16) != os.urandom(16)
    assert os.urandom is os.urandom
    assert uuid.getnode() == uuid.getnode()
    assert uuid.uuid1() != uuid.uuid1()


def test_a_generator_without_a_seed_follows_the_worlds() -> None:
    def draw(seed: int) -> tuple[float, float]:
        with World(seed=seed):
            made = random.Random()
            first = made.random()
            made.seed()
            return first, made.random()

    assert draw(1) == draw(1) != draw(2)
    assert len({*draw(1), random.Random().random(), random.Random().random()}) == 4
    expected = random.Random(5).random()
    with World():
        assert random.Random(5).random() == expected


def test_threads_outside_have_the_kernels() -> None:
    outside: list[bytes] = []
    begin, end = threading.Event(), threading.Event()

    def draw() -> None:
        begin.wait()
        outside.append(os.urandom(16))
        end.set()

    threading.Thread(target=draw).start()
    with World(seed=1):
        inside = os.urandom(16)
        begin.set()
    end.wait()
    with World(seed=1):
        assert os.urandom(16) == inside
    assert outside[0] != inside


def test_bad_sizes_and_temporary_names() -> None:
    with World():
        with pytest.raises(ValueError, match="negative argument"):
            os.urandom(-1)
        with pytest.raises(TypeError):
            os.urandom("1")  # type: ignore[arg-type]
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
            assert one != two


def test_what_is_imported_first_in_a_world_draws_nothing() -> None:
    """In a process that has imported little: the second World is as the first."""
    program = """
import os
from pystack.world import World

def drawn():
    with World(seed=5):
        import multiprocessing, concurrent.futures.process, tempfile, ssl, http.cookiejar
        return os.urandom(8)

assert drawn() == drawn()
"""
    subprocess.run([sys.executable, "-c", program], check=True)
