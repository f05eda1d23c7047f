"""multiprocessing's managers and connections, which read and write descriptors, over TCP."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from both_ends import SERVER, behind_tap, on_kernel, run, serving, serving_on_stack, written
from namespace import Namespace, needs_namespace

pytestmark = needs_namespace


@pytest.fixture
def place() -> Iterator[Namespace]:
    with behind_tap() as made:
        yield made


def test_multiprocessing_managers(place: Namespace, tmp_path: Path) -> None:
    common = """
        import sys
        from multiprocessing.managers import BaseManager

        class Manager(BaseManager):
            pass
        """
    server = """
        class Store:
            def __init__(self):
                self.values = {}
            def put(self, key, value):
                self.values[key] = value
                return len(self.values)
            def get(self, key):
                return self.values[key]

        store = Store()
        Manager.register("store", lambda: store)
        Manager((sys.argv[1], 50000), b"secret").get_server().serve_forever()
        """
    client = """
        import multiprocessing, threading
        Manager.register("store")

        def ask(key, authkey=b"secret"):
            manager = Manager((sys.argv[1], 50000), authkey)
            manager.connect()
            return manager.store().put(key, bytes(300_000))

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(ask("last"))
        try:
            ask("x", b"wrong")
        except multiprocessing.AuthenticationError:
            print("refused")
        manager = Manager((sys.argv[1], 50000), b"secret")
        manager.connect()
        print(len(manager.store().get(3)))
        """
    with serving_on_stack(place, tmp_path, 50000, common + server):
        printed = on_kernel(place, tmp_path, common + client)
    assert printed == "9\nrefused\n300000\n"


def test_multiprocessing_connections_from_the_stack(place: Namespace, tmp_path: Path) -> None:
    server = written(
        tmp_path,
        "listener.py",
        """
        import sys
        from multiprocessing.connection import Listener
        with Listener((sys.argv[1], 6000), authkey=b"secret") as listener:
            while True:
                try:
                    with listener.accept() as connection:
                        while True:
                            connection.send(connection.recv()[::-1])
                except (EOFError, OSError):
                    pass
        """,
    )
    with serving(place, 6000, sys.executable, server, SERVER):
        printed = run(
            place,
            tmp_path,
            """
            import sys
            from multiprocessing.connection import Client, wait
            with Client((sys.argv[1], 6000), authkey=b"secret") as connection:
                print(connection.poll(0.1))
                for value in [1, 2, 3], "abc", bytes(range(256)) * 5000:
                    connection.send(value)
                    print(wait([connection], 20) == [connection], connection.recv() == value[::-1])
            """,
        )
    assert printed == "False\n" + "True True\n" * 3
