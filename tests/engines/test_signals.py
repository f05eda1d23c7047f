"""Signals while a call waits: Ctrl-C ends it, any other handler runs and it goes on (PEP 475)."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from typing import Any

import pytest
from pair import pair

BLOCKED = {
    "recv": "client.recv(1)",
    "accept": "listener.accept()",
    "send": "client.sendall(bytes(1 << 26))",
    "connect": "a.sockets.create_connection(('10.0.0.77', 1))",
    "recvfrom": "d = a.socket(2, 2); d.bind(('10.0.0.1', 0)); d.recvfrom(1)",
    "step": "n = pystack.Stack(engine=engine, threaded=False)\n        while True: n.step(60)",
}


@pytest.mark.parametrize("call", BLOCKED.values(), ids=BLOCKED.keys())
def test_control_c_interrupts(engine: str, call: str) -> None:
    program = f"""
    import os, signal, threading, time, pystack
    # A shell's background jobs, of which these tests may be one, are started with it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    engine = {engine!r}
    left, right = pystack.nic.wire()
    a, b = pystack.Stack(engine=engine), pystack.Stack(engine=engine)
    a.attach(left, "10.0.0.1/24")
    b.attach(right, "10.0.0.2/24")
    listener = a.sockets.create_server(("10.0.0.1", 80))
    taker = b.sockets.create_server(("10.0.0.2", 80))
    client = a.sockets.create_connection(("10.0.0.2", 80))
    client.settimeout(None)
    def interrupt():
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        {call}
    except KeyboardInterrupt:
        print("interrupted")
    client.settimeout(60)
    server, _peer = taker.accept()
    server.sendall(b"it goes on")
    print(client.recv(100))
    """
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=100, check=False,
        cwd=tempfile.gettempdir(),  # not the source tree, which is not built
    )  # fmt: skip
    assert done.stdout == "interrupted\nb'it goes on'\n", done.stderr


def handled(engine: str, wait: Any, calls: list[int]) -> None:
    """Adds a call for each time that a timer's handler runs while `wait` does, on two ends."""
    before = signal.signal(signal.SIGALRM, lambda *_arguments: calls.append(1))
    try:
        with pair(engines=(engine, engine)) as it:
            client, server = it.connected()
            signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
            wait(client, server)
            signal.setitimer(signal.ITIMER_REAL, 0)
            client.close()
            server.close()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_signals_handler_runs_and_the_call_goes_on(engine: str) -> None:
    calls: list[int] = []

    def wait(client: Any, server: Any) -> None:
        def send() -> None:
            while len(calls) < 3:
                time.sleep(0.01)
            server.sendall(b"late")

        thread = threading.Thread(target=send)
        thread.start()
        assert client.recv(4) == b"late"
        thread.join()

    handled(engine, wait, calls)


def test_signals_while_much_is_sent(engine: str) -> None:
    data = bytes(range(256)) * 80_000

    def wait(client: Any, server: Any) -> None:
        got = bytearray()

        def read() -> None:
            while part := server.recv(20_000):
                got.extend(part)

        reader = threading.Thread(target=read)
        reader.start()
        client.settimeout(60)
        client.sendall(data)
        client.shutdown(1)
        reader.join(60)
        assert got == data

    handled(engine, wait, [])


def test_a_timeout_is_kept_among_signals(engine: str) -> None:
    calls: list[int] = []

    def wait(client: Any, _server: Any) -> None:
        client.settimeout(0.3)
        while len(calls) < 3:
            with pytest.raises(TimeoutError):
                client.recv(1)

    handled(engine, wait, calls)


def test_what_a_handler_raises_ends_the_call(engine: str) -> None:
    def wait(client: Any, server: Any) -> None:
        raised = False

        def give_up(*_arguments: object) -> None:
            nonlocal raised
            if not raised:  # the timer goes on
                raised = True
                raise ZeroDivisionError

        signal.signal(signal.SIGALRM, give_up)
        with pytest.raises(ZeroDivisionError):
            client.recv(1)
        signal.setitimer(signal.ITIMER_REAL, 0)
        server.sendall(b"x")
        assert client.recv(1) == b"x"

    handled(engine, wait, [])
