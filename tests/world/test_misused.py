"""Worlds that are used as they are not meant: each gets an error that helps, and none is hurt."""

from __future__ import annotations

import concurrent.futures
import contextlib
import contextvars
import gc
import math
import os
import queue
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pystack.errors import DeadlockError
from pystack.world import Fault, Faults, World, explore


def in_another_process(program: str) -> str:
    """What a program prints that has to end by itself."""
    words = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout + done.stderr


def test_a_world_is_entered_once_and_hurts_no_other() -> None:
    world = World()
    with world, pytest.raises(RuntimeError, match="another"):
        world.__enter__()
    with pytest.raises(RuntimeError, match="entered once"):
        world.__enter__()
    with World() as other:
        time.sleep(5)
        assert other.now == 5


def test_what_is_left_in_threads_does_not_hold_up_the_process() -> None:
    told = in_another_process("""
import concurrent.futures, threading
from pystack.world import World
with World() as world:
    pool = concurrent.futures.ThreadPoolExecutor(2)
    pool.submit(int).result()
    host = world.host("a")
    def leave():
        threading.Thread(target=threading.Event().wait).start()
    host.thread(leave).join()
print("done")
""")
    assert "done" in told


def test_a_deadlock_names_threads_that_threads_have_started() -> None:
    with World() as world:

        def leave() -> None:
            threading.Thread(target=threading.Event().wait, name="grandchild").start()

        world.host("a").thread(leave).join()
        with pytest.raises(DeadlockError, match="'grandchild' waits at"):
            threading.Event().wait()


def test_a_child_leaves_the_parents_names_alone() -> None:
    told = in_another_process("""
import os
from pystack.world import World
with World() as world:
    one, other = world.host("a"), world.host("b")
    world.link(one, other)
    child = os.fork()
    if child == 0:
        world.close()
        os._exit(0)
    os.waitpid(child, 0)
    print(one.ping("b").received)
""")
    assert told == "1\n"


def test_locks_outlive_their_world() -> None:
    with World():
        lock, mailbox = threading.Lock(), queue.Queue[int]()
    lock.acquire()
    with World() as world:
        assert not lock.acquire(timeout=3)
        with pytest.raises(queue.Empty):
            mailbox.get(timeout=4)
        threading.Thread(target=lambda: (time.sleep(5), lock.release())).start()
        assert lock.acquire()
        assert world.now == 12
    assert not lock.acquire(timeout=0.01)
    taker = threading.Thread(target=lambda: mailbox.put(mailbox.get() + 1))
    taker.start()
    mailbox.put(1)
    taker.join()
    assert mailbox.get() == 2
    with pytest.raises(RuntimeError, match="unlocked"):
        threading.Thread.run(threading.Thread(target=lambda: (lock.release(), lock.release())))


def test_a_loop_in_a_loop_is_refused_and_the_outer_one_goes_on() -> None:
    async def inner() -> int:
        return 1

    async def outer(world: World) -> int:
        with pytest.raises(RuntimeError, match="running in this thread"):
            world.run(inner())
        return await world.host("a").run(inner())

    with World() as world:
        assert world.run(outer(world)) == 1


def test_coroutines_and_functions_are_not_mixed_up() -> None:
    async def main() -> None:
        raise AssertionError("nobody runs it")

    async def spawns(world: World) -> None:
        with pytest.raises(TypeError, match="a coroutine is spawned"):
            world.host("b").spawn(main)  # type: ignore[arg-type]

    with World() as world:
        with pytest.raises(TypeError, match="main is a coroutine function"):
            world.host("a").thread(main)
        world.run(spawns(world))
        pytest.importorskip("trio")
        with pytest.raises(TypeError, match="run_trio"):
            world.run_trio(main())  # type: ignore[arg-type]


def test_a_pool_from_before_is_refused() -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert pool.submit(int).result() == 0
        with World():
            with pytest.raises(RuntimeError, match=r"from before the World.*inside of `with World"):
                pool.submit(int)
            with concurrent.futures.ThreadPoolExecutor(2) as inside:
                assert inside.submit(int).result() == 0
        assert pool.submit(int).result() == 0


def test_what_has_no_name_runs_in_a_thread() -> None:
    with World() as world:
        thread = world.host("a").thread(concurrent.futures.Future().set_result, 1)
        thread.join()
        assert not world.failures


def test_after_the_end() -> None:
    with World() as world:
        pass
    with pytest.raises(OSError, match="the World has ended"):
        world.sleep(1)


LEFT = """
import os
from pystack.world import World

World(), World(wires="tap")  # never entered
with World() as world:
    one, other = world.host("one"), world.host("other")
    world.link(one, other)
    print(one.sockets.gethostbyname("other"), flush=True)
    os._exit(0)  # as one that is killed
"""


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", LEFT], env=environment, capture_output=True, check=True, timeout=60
    )
    assert ran.stdout.split() == [b"10.0.0.2"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: World(faults="crash:a@1+1"),
        lambda: World(faults=Fault("crash", "a", 1, 1)),
        lambda: World(tape="seed=8"),
        lambda: World(seed="8"),
        lambda: World(seed=0.5),
        lambda: Fault("crash", "a", None, 1),
        lambda: Faults(crash="server"),
        lambda: Faults(crash=["server"], lasts=5),
        lambda: Faults(crash=["server"], lasts="5s"),
    ],
)
def test_types(make: Callable[[], Any]) -> None:
    with pytest.raises(TypeError):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: World(epoch=math.nan),
        lambda: Fault("crash", "a", math.nan, 1),
        lambda: Fault("crash", "a", 1, math.inf),
        lambda: Faults(crash=["a"], within=math.nan),
        lambda: Faults(crash=["a"], lasts=(5, 1)),
        lambda: Fault("crash", "a", "-1 s", 1),
        lambda: Faults(crash=["a"], most=-1),
    ],
)
def test_values(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=r"nan|inf|\(5, 1\)|-1"):
        make()


@pytest.mark.parametrize(
    ("conditions", "kind"),
    [
        ({"rate": 0.3}, ValueError),
        ({"loss": "1%"}, TypeError),
        ({"back": {"delay": 1}}, TypeError),
        ({"mtu": 10}, ValueError),
        ({"mtu": 100_000}, ValueError),
        ({"mtu": "x"}, TypeError),
        ({"addresses": "10.0.0.1/24"}, ValueError),
    ],
)
def test_conditions(conditions: dict[str, Any], kind: type[Exception]) -> None:
    with World() as world:
        one, other = world.host("a"), world.host("b")
        with pytest.raises(kind, match=f"(?i){next(iter(conditions))}"):
            world.link(one, other, **conditions)
        assert not world.links
        assert [each.name for each in one.interfaces] == ["lo"]


def test_what_is_no_host() -> None:
    with World() as world:
        one, other = world.host("a"), world.host("b")
        with pytest.raises(TypeError, match=r"world\.host"):
            world.link("a", "b")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="list of hosts"):
            world.partition(one, other)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["A", "ürgen", "localhost", "10.0.0.1", "7", "a_b", "a..b", ""])
def test_names_that_nobody_would_find(name: str) -> None:
    with World() as world:
        world.host("a")
        with pytest.raises(ValueError, match=r"name|already"):
            world.host(name)


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf])
def test_sleeps(seconds: float) -> None:
    with World() as world, pytest.raises(ValueError, match="sleep"):
        world.sleep(seconds)


def test_a_link_that_can_t_be_leaves_nothing() -> None:
    with World() as world:
        one, other = world.host("one"), world.host("other")
        for wrong, error in ((("10.9.0.1/24", "10.9.0.300/24"), ValueError), ((), ValueError)):
            with pytest.raises(error):
                world.link(one, other, addresses=wrong)  # type: ignore[arg-type]
        assert [len(host.interfaces) for host in (one, other)] == [1, 1]  # lo
        other.crash()
        with pytest.raises(OSError, match="closed"):
            world.link(one, other)
        other.restart()
        one.restart()
        assert [len(host.interfaces) for host in (one, other)] == [1, 1]
        world.link(one, other, addresses=("10.9.0.1/24", "10.9.0.2/24"))
        assert one.ping("other").received == 1


def test_only_hosts_of_the_world_are_parted() -> None:
    elsewhere = World()
    stranger = elsewhere.host("stranger")
    with contextlib.closing(elsewhere), World() as world:
        one = world.host("one")
        for wrong in ("other", None, stranger):
            with pytest.raises(TypeError, match="this World's hosts"):
                world.partition([one], [wrong])  # type: ignore[list-item]


def test_nothing_is_made_in_a_world_that_has_ended() -> None:
    with World() as world:
        pass
    for make in (world.host, world.router, world.nat, world.switch):
        with pytest.raises(OSError, match="the World has ended"):
            make("late")
    assert not world.hosts


@pytest.mark.parametrize("condition", ["delay", "jitter", "rate"])
def test_a_condition_of_another_type_is_named(condition: str) -> None:
    with World() as world:
        one, other = world.host("one"), world.host("other")
        with pytest.raises(TypeError, match=f"{condition} is a number"):
            world.link(one, other, **{condition: None})
        with pytest.raises(ValueError, match=f"{condition} is .*not negative"):
            world.link(one, other, **{condition: "-1"})


def test_two_links_have_two_captures(tmp_path: Path) -> None:
    with World() as world:
        one, other = world.host("one"), world.host("other")
        world.link(one, other, capture=tmp_path / "one.pcapng")
        with pytest.raises(ValueError, match=r"captured to .* already"):
            world.link(one, other, capture=f"{tmp_path}/../{tmp_path.name}/one.pcapng")
        world.link(one, other, capture=tmp_path / "another.pcapng")


@pytest.mark.parametrize("pace", ["virtual", "real"])
def test_a_world_that_has_ended_is_collected(pace: str) -> None:
    kept = []
    with World(time=pace) as world:
        one, other = world.host("one"), world.host("other")
        world.link(one, other)
        kept.append(threading.Lock())  # as a program's own, that outlives it
        assert one.ping("other").received == 1
    found = weakref.ref(world)
    del world, one, other
    deadline = time.monotonic() + 60
    while gc.collect() >= 0 and found() is not None:  # who looks on from outside has it, until then
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert kept[0].acquire(timeout=1)


def test_a_block_that_was_never_ended_is_collected_in_silence() -> None:
    raised: list[object] = []
    hook, sys.unraisablehook = sys.unraisablehook, raised.append
    try:
        with World() as world:
            block = world.host("one").active()
            contextvars.copy_context().run(block.__enter__)  # as of a task that was given up
        del block
        gc.collect()
    finally:
        sys.unraisablehook = hook
    assert not raised


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda world, a, b: world.link(a, b, latency=1), r"^World.link\(\) .* it takes delay, "),
        (lambda world, a, b: world.link(a, b, dely=1), r"^World.link\(\) .* did you mean 'delay'"),
        (lambda world, a, b: world.link(a, b, adresses=()), "did you mean 'addresses'"),
        (lambda world, a, b: world.link(a, b).change(a, dely=1), "Link.change.* mean 'delay'"),
        (lambda world, a, b: world.host("c", sed=1), r"^World.host\(\) .* did you mean 'seed'"),
        (lambda world, a, b: world.nat("n", limmit=1), r"^World.nat\(\) .* did you mean 'limit'"),
        (lambda world, a, b: world.sleep("1"), "a sleep is a number of seconds, .*not '1'"),
        (lambda world, a, b: World(sed=1), r"^World\(\) .* did you mean 'seed'"),
        (lambda world, a, b: World(seed="x"), "seed is an int, not 'x'"),
        (lambda world, a, b: World(faults=5), "faults are a list of Fault, .*not 5"),
        (lambda world, a, b: Faults(crash=5), "crash is a list of names, .*not 5"),
        (lambda world, a, b: Faults(crashh=["a"]), "did you mean 'crash'"),
        (lambda world, a, b: explore(5), "a test is a function of a World, not 5"),
        (lambda world, a, b: explore(print, seed=1), "did you mean 'seeds'"),
    ],
)
def test_what_is_misspelt_is_named(call: Callable[..., object], words: str) -> None:
    with World() as world:
        one, other = world.host("alpha"), world.host("beta")
        with pytest.raises(TypeError, match=words):
            call(world, one, other)
        assert [*world.hosts] == ["alpha", "beta"]


def test_a_name_that_is_no_host_s() -> None:
    with World() as world:
        one = world.host("alpha")
        world.link(one, world.host("beta"))
        with pytest.raises(socket.gaierror, match=r"'betta': no host .* did you mean 'beta'"):
            one.ping("betta")
        with pytest.raises(socket.gaierror, match=r"'x.org': no host .* server \(alpha, beta\)"):
            one.sockets.create_connection(("x.org", 80))


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        (Faults(crash=["alfa"], most=0), "'alfa', .* did you mean 'alpha'"),
        (Faults(partition=["alpha", "betta"], most=0), "'betta', .* did you mean 'beta'"),
        (Faults(cut=["alpha-betta"], most=0), "'alpha-betta'; .* did you mean 'alpha-beta'"),
        (Faults(mute=["alpha>betta"], most=0), "'alpha>betta'; .* did you mean 'alpha>beta'"),
        ([Fault("crash", "alfa", at=1000, lasts=1)], "'alfa', .* did you mean 'alpha'"),
        ([Fault("partition", "alpha|betta", 1000, 1)], "'betta', .* did you mean 'beta'"),
    ],
)
def test_a_fault_that_could_hit_nothing_is_heard_without_being_drawn(
    faults: Any, words: str
) -> None:
    def run(divisor: int) -> None:
        with World(faults=faults) as world:
            world.link(world.host("alpha"), world.host("beta"))
            world.sleep(1)
            assert 1 // divisor == 1

    with pytest.raises(ValueError, match=words):
        run(1)
    with pytest.raises(ZeroDivisionError):  # what went wrong in the block is not hidden
        run(0)


def test_no_faults() -> None:
    with World(faults=None) as world:
        assert world.tape.faults == ()
    assert explore(lambda world: world.sleep(1), seeds=2, faults=None).failure is None
