"""A fork in the middle of a connection: the child shares a Stack that moves by itself, and no
other; for the parent nothing has happened."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from typing import Any

from children import HERE, MARKS, Child, connected, in_child
from failing import fails_with
from lockstep import PORT, lockstep

import pystack

pytestmark = MARKS

DATA = hashlib.shake_256(b"fork").digest(2 << 20)


def test_child_and_parent_go_on_with_a_connection(engine: str) -> None:
    with pystack.Stack(engine=engine) as net:
        client, server = connected(net.sockets)
        client.sendall(b"before")
        child = Child(lambda: (server.recv(6), server.sendall(DATA), server.close()))
        server.close()
        got = bytearray()
        while part := client.recv(1 << 18):
            got += part
        assert child.result()[0] == b"before"
        assert got == DATA
        client.close()
        assert net.ping(HERE)


def test_a_child_opens_sockets_of_its_parents_stack(engine: str) -> None:
    with pystack.Stack(engine=engine) as net:
        with net.sockets.create_server((HERE, 0)) as listener:

            def call() -> bytes:
                with net.sockets.create_connection(listener.getsockname(), 10) as mine:
                    mine.sendall(b"from the child")
                    return mine.recv(100)

            child = Child(call)
            accepted, _peer = listener.accept()
            with accepted:
                assert accepted.recv(100) == b"from the child"
                accepted.sendall(b"from the parent")
                assert child.result() == b"from the parent"


def test_a_child_reads_its_parents_settings(engine: str) -> None:
    with pystack.Stack(engine=engine) as net:
        for _ in range(2):  # more of Linux's than one message has room for
            net.attach(pystack.nic.wire()[0])
        ttl = "net.ipv4.ip_default_ttl"
        net.sysctl[ttl] = 33
        assert in_child(lambda: dict(net.sysctl)) == dict(net.sysctl)
        assert in_child(lambda: net.sysctl.describe(ttl)) == net.sysctl.describe(ttl)
        assert in_child(lambda: "net.ipv4.no_such_thing" in net.sysctl) is False


def test_a_child_makes_a_stack_of_its_own(engine: str) -> None:
    def use() -> int:
        with pystack.Stack(engine=engine) as own:
            return own.ping(HERE, timeout=5).received

    with pystack.Stack(engine=engine) as net:
        assert in_child(use) == 1
        assert net.ping(HERE).received == 1


def frames_of(engine: str, forks: bool) -> list[bytes]:
    """What the client sends of an exchange in virtual time, with forks in the middle or without."""
    seen: list[bytes] = []

    class Recorder:
        def frame_out(self, interface: int, frame: bytes) -> bool:
            seen.append(frame)
            return True

    with lockstep(engines=(engine, engine), frame_out=Recorder()) as it:
        listener = it.listen()
        client = it.client.socket()
        client.setblocking(False)
        client.connect_ex(("10.0.0.2", PORT))
        accepted: list[Any] = []

        def come() -> bool:
            try:
                accepted.append(listener.accept()[0])
            except BlockingIOError:
                return False
            return True

        assert it.run(come)
        server = accepted[0]
        server.setblocking(False)
        sent = received = 0

        def move() -> bool:
            nonlocal sent, received
            try:
                sent += client.send(DATA[sent : sent + 30_000])
            except BlockingIOError:
                pass
            try:
                received += len(server.recv(1 << 20))
            except BlockingIOError:
                pass
            return received == len(DATA)

        for _part in range(5):
            it.run(move, seconds=0.2)
            if forks:

                def use() -> int:
                    for call in (it.client.step, it.client.connections, lambda: client.send(b"x")):
                        with fails_with(errno.EOWNERDEAD):
                            call()
                    return 0

                assert in_child(use) == 0
        assert it.run(move)
        for each in (client, server, listener):
            each.close()
        it.run(seconds=1)
    return seen


def test_a_fork_in_virtual_time_changes_nothing(engine: str) -> None:
    assert frames_of(engine, forks=True) == frames_of(engine, forks=False)


def test_forks_while_threads_work(engine: str) -> None:
    """Whatever a thread is doing inside the engine, the child can end and the parent go on."""
    with pystack.Stack(engine=engine) as net:
        client, server = connected(net.sockets)
        over = threading.Event()

        def work() -> None:
            while not over.is_set():
                client.sendall(DATA[:50_000])
                left = 50_000
                while left:
                    left -= len(server.recv(left))

        worker = threading.Thread(target=work)
        worker.start()
        try:
            for _ in range(20):
                pid = os.fork()
                if pid == 0:
                    os._exit(7)
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        finally:
            over.set()
            worker.join(30)
        assert not worker.is_alive()
        client.close()
        server.close()
