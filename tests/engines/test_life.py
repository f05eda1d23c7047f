"""Instances of an engine: many at once, one that fails, beside those of another."""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

import pystack
from pystack.errors import StackPanic
from pystack.hypercalls import ManualClock


def test_the_engine_says_what_it_is(engine: str) -> None:
    with pystack.Stack(engine=engine, threaded=False) as net:
        name, release = net.engine
    assert name == engine.partition("-")[0]
    assert release


def test_many_at_once_and_one_after_the_other(engine: str) -> None:
    for _round in range(3):
        nets = [pystack.Stack(engine=engine, threaded=False) for _ in range(50)]
        for number, net in enumerate(nets):
            net.sysctl["net.ipv4.ip_default_ttl"] = 10 + number
        for number, net in enumerate(nets):
            assert net.sysctl["net.ipv4.ip_default_ttl"] == 10 + number
            net.close()
            assert net.arena.live_blocks == 0


def test_both_engines_side_by_side(engine: str) -> None:
    """The image that stays must not be taken for the private one that is loaded after it."""
    with pystack.Stack(engine=engine, threaded=False) as first:
        for _ in range(3):
            with pystack.Stack(threaded=False) as second:
                assert (first.engine[0], second.engine[0]) == (engine.partition("-")[0], "lwip")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what is open and mapped")
def test_what_is_opened_is_closed(engine: str) -> None:
    def held() -> tuple[int, int]:
        mapped = Path("/proc/self/maps").read_text().count("\n")
        return len(list(Path("/proc/self/fd").iterdir())), mapped

    def cycle() -> None:
        left, _right = pystack.nic.wire()
        with pystack.Stack(engine=engine, threaded=False) as net:
            net.attach(left, "10.0.0.1/24")
            net.sockets.create_server(("10.0.0.1", 80)).close()

    for _ in range(10):
        cycle()
    descriptors, mappings = held()
    for _ in range(50):
        cycle()
    now = held()
    # A runtime such as Go's takes some of its own now and then; a Stack's would be 50.
    assert now[0] <= descriptors + 10
    assert now[1] <= mappings + 10


def test_instances_in_threads_of_their_own(engine: str) -> None:
    failed: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(5):
                with pystack.Stack(engine=engine) as net:
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


def test_a_panic_is_one_stack_s_alone(engine: str) -> None:
    other = pystack.Stack(engine=engine, threaded=False)
    with pystack.Stack(engine=engine, threaded=False) as net:
        with pytest.raises(StackPanic, match="on purpose"):
            net.fail("on purpose")
        with pytest.raises(StackPanic, match="on purpose"):
            net.connections()
    assert net.arena.live_blocks == 0
    assert other.connections() == []
    other.close()
    with pystack.Stack(engine=engine, threaded=False) as third:
        assert third.interfaces


def test_a_panic_while_a_driver_runs(engine: str) -> None:
    with pystack.Stack(engine=engine) as net:
        with net.sockets.create_server(("127.0.0.1", 0)):
            with pytest.raises(StackPanic):
                net.fail()


def test_a_little_memory_is_refused(engine: str) -> None:
    with pytest.raises(OSError, match="did not start") as caught:
        pystack.Stack(engine=engine, memory_limit=1000)
    assert caught.value.errno == errno.ENOMEM


def test_a_clock_of_python_s(engine: str) -> None:
    clock = ManualClock()
    with pystack.Stack(engine=engine, clock=clock, threaded=False) as net:
        left, _right = pystack.nic.wire()
        net.attach(left, "10.0.0.1/24")
        wait = net.step()
        assert wait is not None
        clock.advance(wait)
        assert net.step() != 0


def test_what_a_hypercall_raises_arrives(engine: str) -> None:
    class Wrong:
        armed = True

        def frame_out(self, interface: int, frame: bytes) -> bool:
            if self.armed:
                raise ZeroDivisionError
            return True

    wrong = Wrong()
    left, _right = pystack.nic.wire()
    with pystack.Stack(engine=engine, threaded=False, frame_out=wrong) as net:
        with pytest.raises(ZeroDivisionError):
            net.attach(left, "10.0.0.1/24")  # may already tell the neighbours
            with net.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"who has?", ("10.0.0.2", 9))
            net.step()
        wrong.armed = False
        with contextlib.suppress(
            ZeroDivisionError
        ):  # of another frame, which a timer sent at the last
            net.step()
        assert net.connections() == []


class Raising:
    """A `frame_out` that raises when `armed`."""

    armed = False
    raised = 0

    def frame_out(self, interface: int, frame: bytes) -> bool:
        if self.armed:
            self.raised += 1
            raise ZeroDivisionError
        return True


@pytest.mark.parametrize("what", ["socket", "accept", "attach"])
def test_a_call_that_raises_leaves_nothing_made(engine: str, what: str) -> None:
    # The driver's exception comes with the next call, whose result then nobody gets.
    left, right = pystack.nic.wire()
    spare, _other = pystack.nic.wire()
    raising = Raising()
    with (
        pystack.Stack(engine=engine, frame_out=raising) as net,
        pystack.Stack(engine="lwip") as peer,
    ):
        net.attach(left, "10.0.0.1/24")
        peer.attach(right, "10.0.0.2/24")
        server = net.sockets.create_server(("10.0.0.1", 80))
        client = peer.sockets.create_connection(("10.0.0.1", 80), timeout=60)
        calls = {
            "socket": lambda: net.socket(socket.AF_INET, socket.SOCK_DGRAM),
            "accept": server.accept,
            "attach": lambda: net.attach(spare, "10.0.1.1/24"),
        }
        sockets, interfaces = len(net.connections()), len(net.interfaces)
        raising.armed = True
        peer.ping("10.0.0.1", timeout=0.05)
        until = time.monotonic() + 60
        while not raising.raised and time.monotonic() < until:
            time.sleep(0.005)
        raising.armed = False
        with pytest.raises(ZeroDivisionError):
            calls[what]()
        assert len(net.interfaces) == interfaces
        if what == "accept":  # it was accepted, and so is closed
            client.settimeout(60)
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
        else:
            assert len(net.connections()) == sockets
        client.close()
        server.close()
