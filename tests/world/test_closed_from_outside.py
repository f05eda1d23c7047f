"""Stacks in a World that a thread outside of it closes while the World moves them."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

import pystack
from pystack.world import World

# The thread that moves the World waits for the Stack's lock as the other closes and frees it. Both
# are on one processor, which for two seconds the first gets only when the other has nothing to do:
# so it looks at the Stack when that is gone.
FREED = """
import os, threading, time
import pystack
from pystack.world import World

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
mover, go, over = threading.get_native_id(), threading.Event(), threading.Event()
starves = threading.Event()
closing = []

class Memory:
    def allocate(self, size):
        return bytearray(size)

    def free(self, memory):
        if threading.get_ident() in closing:
            closing.clear()
            time.sleep(0.5)  # real time: the World comes to this Stack meanwhile
            os.sched_setscheduler(mover, os.SCHED_IDLE, os.sched_param(0))
            starves.set()

def relieve():
    starves.wait()
    time.sleep(2)
    os.sched_setscheduler(mover, os.SCHED_OTHER, os.sched_param(0))

def close(stacks):
    go.wait()
    net = stacks.pop()
    closing.append(threading.get_ident())
    net.close(abrupt=True)
    net._handle._finalizer()  # as the collector calls it
    over.set()

stacks = []
thread = threading.Thread(target=close, args=(stacks,))
thread.start()
threading.Thread(target=relieve).start()
with World(seed=1) as world:
    left, right = pystack.nic.wire()
    with pystack.Stack(clock=world.clock) as net:
        net.attach(left, "10.0.0.1/24")
        stacks.append(pystack.Stack(clock=world.clock, memory=Memory()))
        stacks[0].attach(right, "10.0.0.2/24")
        sender = net.socket(2, 2)
        sender.sendto(b"first", ("10.0.0.2", 9))
        world.sleep(1)
        go.set()
        while not over.is_set():
            sender.sendto(b"next", ("10.0.0.2", 9))
            world.sleep(0.001)
        sender.close()
thread.join()
print("over")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="SCHED_IDLE is Linux's")
def test_one_is_freed_when_the_world_has_left_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FREED], capture_output=True, timeout=120, check=False
    )
    assert (done.stdout, done.stderr) == (b"over\n", b"")


@pytest.mark.sanitize
def test_they_come_and_go_while_the_world_goes_on() -> None:

    begin, end = threading.Event(), threading.Event()
    worlds: list[World] = []
    failed: list[BaseException] = []

    def come_and_go() -> None:
        begin.wait()
        try:
            for _ in range(20):
                left, right = pystack.nic.wire()
                one, other = (pystack.Stack(clock=worlds[0].clock) for _ in range(2))
                one.attach(left, "10.0.0.1/24", "fd00::1/64")
                other.attach(right, "10.0.0.2/24", "fd00::2/64")
                with one.socket(2, 2) as sender:
                    sender.setblocking(False)
                    sender.sendto(b"any", ("10.0.0.2", 9))
                    sender.fileno()
                one.close(abrupt=True)
                other.close(abrupt=True)
        except BaseException as error:
            failed.append(error)
        finally:
            end.set()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    with World(seed=1) as world:
        world.link(world.host("a"), world.host("b"))
        worlds.append(world)
        begin.set()
        while not end.is_set():
            world.sleep(0.001)
    thread.join()
    assert failed == []
