"""Instances of a shared image: many at once, one that fails, none after fork()."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import threading

import pytest

import pystack
from pystack.errors import StackPanic
from pystack.hypercalls import ManualClock


def test_the_engine_says_what_it_is() -> None:
    with pystack.Stack(engine="gvisor", threaded=False) as net:
        name, release = net.engine
    assert name == "gvisor"
    assert release.startswith("0.0~")


def test_many_at_once_and_one_after_the_other() -> None:
    for _round in range(3):
        nets = [pystack.Stack(engine="gvisor", threaded=False) for _ in range(50)]
        for number, net in enumerate(nets):
            net.sysctl["net.ipv4.ip_default_ttl"] = 10 + number
        for number, net in enumerate(nets):
            assert net.sysctl["net.ipv4.ip_default_ttl"] == 10 + number
            net.close()
            assert net.arena.live_blocks == 0


def test_both_engines_side_by_side() -> None:
    """The image that stays must not be taken for the private one that is loaded after it."""
    with pystack.Stack(engine="gvisor", threaded=False) as first:
        for _ in range(3):
            with pystack.Stack(threaded=False) as second:
                assert (first.engine[0], second.engine[0]) == ("gvisor", "lwip")


def test_instances_in_threads_of_their_own() -> None:
    failed: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(5):
                with pystack.Stack(engine="gvisor") as net:
                    with net.sockets.create_server(("127.0.0.1", 0)) as listener:
                        with net.sockets.create_connection(listener.getsockname(), 10) as client:
                            server, _peer = listener.accept()
                            with server:
                                client.sendall(b"x" * 100_000)
                                left = 100_000
                                while left:
                                    left -= len(server.recv(left))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed


def test_a_panic_is_one_stack_s_alone() -> None:
    other = pystack.Stack(engine="gvisor", threaded=False)
    with pystack.Stack(engine="gvisor", threaded=False) as net:
        with pytest.raises(StackPanic, match="on purpose"):
            net.fail("on purpose")
        with pytest.raises(StackPanic, match="on purpose"):
            net.connections()
    assert net.arena.live_blocks == 0
    assert other.connections() == []
    other.close()
    with pystack.Stack(engine="gvisor", threaded=False) as third:
        assert third.interfaces


def test_a_panic_while_a_driver_runs() -> None:
    with pystack.Stack(engine="gvisor") as net:
        with net.sockets.create_server(("127.0.0.1", 0)):
            with pytest.raises(StackPanic):
                net.fail()


def test_after_fork_the_engine_is_refused() -> None:
    program = """
import os, pystack, warnings
warnings.simplefilter("ignore")
net = pystack.Stack(engine="gvisor", threaded=False)
child = os.fork()
if child == 0:
    try:
        net.connections()
    except OSError as error:
        inherited = error.errno
    try:
        pystack.Stack(engine="gvisor")
    except OSError as error:
        os._exit(0 if (inherited, error.errno) == (130, 130) and "fork" in str(error) else 1)
    os._exit(2)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
net.close()
"""
    assert errno.EOWNERDEAD == 130
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False,
        cwd=tempfile.gettempdir(),  # not in the source tree, which is not built
    )  # fmt: skip
    assert done.stdout.strip() == "0", done.stderr


def test_it_has_to_be_built_first(monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("PYSTACK_ENGINES", raising=False)
    with pytest.raises(OSError, match="pystack lab setup gvisor") as caught:
        pystack.Stack(engine="gvisor")
    assert caught.value.errno == errno.ENOENT


def test_a_little_memory_is_refused() -> None:
    with pytest.raises(OSError, match="did not start") as caught:
        pystack.Stack(engine="gvisor", memory_limit=1000)
    assert caught.value.errno == errno.ENOMEM


def test_a_clock_of_python_s() -> None:
    clock = ManualClock()
    with pystack.Stack(engine="gvisor", clock=clock, threaded=False) as net:
        left, _right = pystack.nic.wire()
        net.attach(left, "10.0.0.1/24")
        wait = net.step()
        assert wait is not None
        clock.advance(wait)
        assert net.step() != 0


def test_what_a_hypercall_raises_arrives() -> None:
    class Wrong:
        def frame_out(self, interface: int, frame: bytes) -> bool:
            raise ZeroDivisionError

    left, _right = pystack.nic.wire()
    with pystack.Stack(engine="gvisor", threaded=False, frame_out=Wrong()) as net:
        with pytest.raises(ZeroDivisionError):
            net.attach(left, "10.0.0.1/24")
            net.step()
