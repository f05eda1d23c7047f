"""A child process goes on reading from its sockets when the Stack's owner is gone."""

from __future__ import annotations

import subprocess
import sys

import pytest
from children import MARKS

pytestmark = MARKS

ORPHAN = """
import asyncio, os, selectors, socket, socketserver, sys, threading, time, pystack
net = pystack.Stack()
way = sys.argv[1]
with net.installed():
    listener = socket.create_server(("127.0.0.1", 0))
    reader, writer = os.pipe()
    if os.fork() == 0:
        ready = lambda: os.write(writer, b"x")
        if way == "asyncio":
            async def serve():
                made = await asyncio.start_server(lambda r, w: w.close(), sock=listener)
                ready()
                await made.serve_forever()
            asyncio.run(serve())
        elif way == "accept":
            ready()
            while True:
                try:
                    listener.accept()
                except OSError as error:
                    print(error, flush=True)
        elif way == "everything caught":
            ready()
            while True:
                try:
                    listener.accept()
                except BaseException as error:
                    print(error, flush=True)
        elif way == "socketserver":
            server = socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler)
            ready()
            server.serve_forever(0.05)
        elif way == "selectors":
            with selectors.DefaultSelector() as selector:
                listener.setblocking(False)
                selector.register(listener, selectors.EVENT_READ)
                ready()
                while True:
                    selector.select(5)
                    try:
                        listener.accept()
                    except OSError as error:
                        print(error, flush=True)
        elif way == "a transfer":
            client = socket.create_connection(listener.getsockname())
            server = listener.accept()[0]
            threading.Thread(target=client.sendall, args=(bytes(1 << 30),), daemon=True).start()
            ready()
            while True:
                try:
                    server.recv(65536)
                except OSError as error:
                    print(error, flush=True)
    os.read(reader, 1)
    time.sleep(0.3)  # so that it waits by now
    os._exit(0)
"""


@pytest.mark.parametrize(
    "way",
    ["asyncio", "accept", "everything caught", "socketserver", "selectors", "a transfer"],
)
def test_a_child_that_reads_on_without_its_owner_ends_in_words(way: str) -> None:
    """Its descriptors are readable for good: it would turn for ever, and fill the log."""
    # It waits for the child, too, which has the other ends of both pipes.
    done = subprocess.run(
        [sys.executable, "-c", ORPHAN, way],
        capture_output=True, text=True, timeout=300, check=True, cwd="/",
    )  # fmt: skip
    line = "on the Stack of another process, which has ended"
    assert done.stderr.count(line) == 1
    assert done.stdout.count("this Stack is another process's, which has ended") <= 1
    assert "pystack: process " in done.stderr  # anywhere: another thread may be writing, too


MASTER = """
import os, signal, socket, sys, time, pystack
net = pystack.Stack()
listener = net.sockets.create_server(("127.0.0.1", 0))
if os.fork():
    time.sleep(0.3)
    os._exit(0)
if sys.argv[1] == "in order":
    def leave(*_):
        print("leaves", flush=True)
        os._exit(0)
    signal.signal(signal.SIGTERM, leave)
elif sys.argv[1] == "never":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
for number in range(100):
    worker = os.fork()
    if worker == 0:
        try:
            if sys.argv[1] == "idle":
                time.sleep(0.01)
            else:
                listener.accept()
        finally:
            os._exit(3)
    os.waitpid(worker, 0)
    print("worker", flush=True)
print("done", flush=True)
"""


@pytest.mark.parametrize(
    ("way", "least", "most", "end"),
    [
        ("by default", 3, 4, "worker"),
        ("in order", 3, 4, "leaves"),
        ("never", 12, 13, "worker"),
        ("idle", 100, 100, "done"),
    ],
)
def test_a_master_makes_no_workers_for_ever(way: str, least: int, most: int, end: str) -> None:
    """Each is told that the owner has gone, and ends; one that asks for nothing needs no owner."""
    done = subprocess.run(
        [sys.executable, "-c", MASTER, way],
        capture_output=True, text=True, timeout=300, check=True, cwd="/",
    )  # fmt: skip
    lines = done.stdout.split()
    assert least <= lines.count("worker") <= most
    assert lines[-1] == end
    assert done.stderr.count("pystack: process") == (way != "idle")
