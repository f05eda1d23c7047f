"""How a program under `pystack run` ends, beside the same one on the kernel's sockets.

Whatever way it ends: its peer gets all that was sent and then the end, and its parent the same
status; and threads, pools and exit handlers have the Stack until they are done.
"""

from __future__ import annotations

import hashlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from namespace import Namespace, namespace, needs_namespace
from quick import representatives

pytestmark = needs_namespace

PYSTACK = [sys.executable, "-c", "from pystack.cli import main; main()"]
HERE, STACK = "10.3.0.1", "10.3.0.2"
SIZE = 5_000_000
DATA = random.Random(11).randbytes(SIZE)

PROGRAM = """
    import asyncio, atexit, gc, logging, logging.handlers, os, random, signal, socket, struct, sys
    import threading, time
    HOST, PORT = sys.argv[1], int(sys.argv[2])
    DATA = random.Random(11).randbytes(5_000_000)
    def connect(room=10_000_000):
        sock = socket.create_connection((HOST, PORT))
        if room:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        return sock
    def sent(room=10_000_000):
        sock = connect(room)
        sock.sendall(DATA)
        return sock
"""

SLEEP = "\n    print('sent', flush=True)\n    time.sleep(60)"
WAYS = {
    "close": "sent().close()",
    "close, usual buffer": "sent(0).close()",
    "shutdown": "s = sent(); s.shutdown(socket.SHUT_WR)",
    "nothing": "s = sent()",
    "raise": "s = sent(); raise RuntimeError('x')",
    "sys.exit": "s = sent(); s.close(); sys.exit(3)",
    "sys.exit, text": "s = sent(); sys.exit('no')",
    "linger": (
        "s = connect(); s.setsockopt(1, socket.SO_LINGER, struct.pack('ii', 1, 10))\n"
        "    s.sendall(DATA); s.close()"
    ),
    "garbage": "sent(); gc.collect()",
    "a thread": ("threading.Thread(target=lambda: (time.sleep(.3), sent().close())).start()"),
    "a thread, raise": (
        "threading.Thread(target=lambda: (time.sleep(.3), sent().close())).start()\n"
        "    raise RuntimeError('x')"
    ),
    "atexit": "s = connect(); atexit.register(s.sendall, DATA)",
    "a pool": (
        "import concurrent.futures as f\n"
        "    f.ThreadPoolExecutor(1).submit(lambda: (time.sleep(.3), sent()))"
    ),
    "asyncio": (
        "async def main():\n"
        "        _, w = await asyncio.open_connection(HOST, PORT)\n"
        "        w.get_extra_info('socket').setsockopt(1, socket.SO_SNDBUF, 10_000_000)\n"
        "        w.write(DATA)\n"
        "        while w.transport.get_write_buffer_size():\n"
        "            await asyncio.sleep(.01)\n"
        "    asyncio.run(main())"
    ),
    "os._exit": "s = sent(); os._exit(7)",
    "os.execv": "s = sent(); os.execv('/bin/sh', ['sh', '-c', 'exit 5'])",
    "KeyboardInterrupt": "s = sent(); raise KeyboardInterrupt",
    "raise_signal": "s = sent(); signal.raise_signal(signal.SIGTERM)",
    "os.kill": "s = sent(); os.kill(os.getpid(), signal.SIGHUP); time.sleep(60)",
    "alarm": "s = sent(); signal.alarm(1); time.sleep(60)",
    "SIGTERM": f"s = sent(); {SLEEP}",
    "SIGHUP": f"s = sent(); s.close(); {SLEEP}",
    "SIGTERM, busy": f"s = sent(); {SLEEP.replace('time.sleep(60)', 'sum(range(1 << 40))')}",
    "SIGTERM, receiving": f"s = sent(); {SLEEP.replace('time.sleep(60)', 's.recv(1)')}",
    "SIGTERM, in a thread": (
        f"s = sent(); {SLEEP.replace('time.sleep(60)', '')}\n"
        "    threading.Thread(target=s.recv, args=(1,)).start()"
    ),
    "SIGTERM, restored": (
        "signal.signal(signal.SIGTERM, lambda *_: None)\n"
        f"    signal.signal(signal.SIGTERM, signal.SIG_DFL); s = sent(); {SLEEP}"
    ),
    "SIGTERM, a handler": (
        "def handle(*_):\n        raise SystemExit(9)\n"
        f"    signal.signal(signal.SIGTERM, handler := handle); s = sent(); {SLEEP}"
    ),
    "SIGINT": f"signal.signal(2, signal.default_int_handler); s = sent(); {SLEEP}",
    "SIGINT, by default": f"signal.signal(2, signal.SIG_DFL); s = sent(); {SLEEP}",
}


@dataclass
class Sink:
    """Takes one connection, and reads it slowly after a pause: what came, and how it ended.

    The pause is that many seconds, or until an event.
    """

    listener: socket.socket
    pause: float | threading.Event = 0.3
    rate: float = 20e6
    patience_s: float = 100
    end: str = ""
    got: int = 0
    digest: str = ""
    accepted: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        digest = hashlib.sha256()
        try:
            with self.listener.accept()[0] as sock:
                self.accepted.set()
                sock.settimeout(self.patience_s)
                if isinstance(self.pause, threading.Event):
                    self.pause.wait()
                else:
                    time.sleep(self.pause)
                began = time.monotonic()
                while piece := sock.recv(65536):
                    digest.update(piece)
                    self.got += len(piece)
                    time.sleep(max(0, began + self.got / self.rate - time.monotonic()))
            self.end = "end"
        except OSError as error:
            self.end = repr(error)
        self.digest = digest.hexdigest()


@pytest.fixture(scope="module")
def place() -> Iterator[Namespace]:
    with namespace() as made:
        made.run("ip", "tuntap", "add", "tap0", "mode", "tap")
        made.device("tap0", f"{HERE}/24")
        yield made


def listening(place: Namespace) -> socket.socket:
    listener: socket.socket = place.call(socket.create_server, (HERE, 0))
    listener.settimeout(100)
    return listener


def start(
    place: Namespace, program: str, *words: str, on_stack: bool, run: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".py", delete=False) as file:
        file.write(textwrap.dedent(program))
    command = [sys.executable]
    if on_stack:
        command = [*PYSTACK, "run", "--nic", "tap:tap0", "--address", f"{STACK}/24", *run, "--"]
    return place.start(
        *command, file.name, *words, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        cwd=tempfile.gettempdir(),
    )  # fmt: skip


def outcome(place: Namespace, way: str, *, on_stack: bool) -> tuple[int, str, int, bool]:
    """What the peer got and how it ended for it; the program's status; whether it told why."""
    with listening(place) as listener:
        sink = Sink(listener)
        port = str(listener.getsockname()[1])
        process = start(place, f"{PROGRAM}\n    {WAYS[way]}\n", HERE, port, on_stack=on_stack)
        number = way.split(",", maxsplit=1)[0]
        if "print(" in WAYS[way]:
            assert process.stdout is not None
            assert process.stdout.readline() == "sent\n", process.stderr
            process.send_signal(getattr(signal, number))
        _out, err = process.communicate(timeout=100)
        sink.thread.join()
    whole = sink.digest == hashlib.sha256(DATA).hexdigest()
    told = "Error" in err or "Interrupt" in err
    assert not on_stack or "ending.py" not in err, err
    return sink.got, sink.end if whole else f"not whole: {sink.end} {err}", process.returncode, told


QUICK = ("close", "nothing", "sys.exit", "asyncio", "os._exit", "SIGTERM", "KeyboardInterrupt")


@pytest.mark.parametrize("way", representatives(WAYS, QUICK))
def test_the_peer_gets_all_and_the_end(place: Namespace, way: str) -> None:
    on_kernel = outcome(place, way, on_stack=False)
    assert on_kernel[:2] == (SIZE, "end")
    assert outcome(place, way, on_stack=True) == on_kernel


@pytest.mark.slow
def test_who_waits_is_told_and_a_second_signal_does_not_wait(place: Namespace) -> None:
    with listening(place) as listener:
        # It reads when the program has ended, which gave up and so says no end.
        sink = Sink(listener, pause=(ended := threading.Event()), patience_s=0.5)
        port = str(listener.getsockname()[1])
        process = start(place, f"{PROGRAM}\n    s = sent(); {SLEEP}", HERE, port, on_stack=True)
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "sent\n"
        process.terminate()
        line = process.stderr.readline()
        assert line.endswith(" bytes to 1 peer are not acknowledged yet (Ctrl-C gives them up)\n")
        assert 1_000_000 < int(line.split()[1]) < SIZE
        assert process.poll() is None
        process.terminate()
        try:
            process.communicate(timeout=100)  # the peer reads nothing before
        finally:
            process.kill()
            ended.set()
        assert process.returncode == -signal.SIGTERM
        sink.thread.join()
        assert sink.got < SIZE


@pytest.mark.parametrize("interrupt", [False, True], ids=["linger", "Ctrl-C"])
@pytest.mark.slow
def test_a_peer_that_reads_nothing_is_given_up(place: Namespace, interrupt: bool) -> None:
    with listening(place) as listener:
        sink = Sink(listener, pause=(ended := threading.Event()))
        port = str(listener.getsockname()[1])
        program = (
            f"{PROGRAM}\n    signal.signal(2, signal.default_int_handler); s = sent(); sys.exit(4)"
        )
        options = () if interrupt else ("--linger", "1.5")
        process = start(place, program, HERE, port, on_stack=True, run=options)
        assert sink.accepted.wait(100)
        if interrupt:
            assert process.stderr is not None
            assert "not acknowledged yet" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
        try:
            _out, err = process.communicate(timeout=100)
        finally:
            process.kill()
            ended.set()
        assert process.returncode == 4
        wanted = "peer are given up\n" if interrupt else "unacknowledged: no peer takes them\n"
        assert err.endswith(wanted)
        sink.thread.join()
        assert "ConnectionReset" in sink.end


def test_a_server_s_thread_goes_on_after_the_main_thread(place: Namespace, tmp_path: Path) -> None:
    program = """
        import http.server as h, threading
        server = h.ThreadingHTTPServer(("0.0.0.0", 8000), h.SimpleHTTPRequestHandler)
        threading.Thread(target=server.serve_forever).start()
        print("serving", flush=True)
    """
    process = start(place, program, on_stack=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "serving\n"
    time.sleep(0.5)
    for _ in range(2):
        with place.call(socket.create_connection, (STACK, 8000), 60) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert client.recv(15) == b"HTTP/1.0 200 OK"
    process.terminate()
    process.communicate(timeout=100)
    assert process.returncode == -signal.SIGTERM


# What a program does after its main thread's end, with an echo server.
LATE = {
    "threads": (
        "def work():\n"
        "        for i in range(5):\n"
        "            ask(i)\n"
        "            time.sleep(.1)\n"
        "    threading.Thread(target=work).start()"
    ),
    "atexit": "atexit.register(ask, 1); atexit.register(ask, 2)",
    "a pool": (
        "import concurrent.futures as f\n"
        "    p = f.ThreadPoolExecutor(1)\n"
        "    for i in range(5): p.submit(ask, i)"
    ),
    "log": (
        "log = logging.getLogger('x')\n"
        "    class Handler(logging.Handler):\n"
        "        def emit(self, record): pass\n"
        "        def close(self): ask(3)\n"
        "    log.addHandler(Handler()); log.warning('x')"
    ),
    "multiprocessing": (
        "import multiprocessing\n"
        "    context = multiprocessing.get_context('fork')\n"
        "    p = context.Process(target=ask, args=(4,)); p.start(); p.join(); ask(5)"
    ),
}


@pytest.mark.parametrize("what", representatives(LATE, ["threads", "multiprocessing"]))
def test_what_comes_after_the_main_thread_has_the_stack(place: Namespace, what: str) -> None:
    ask = """
    def ask(i):
        s = socket.create_connection((HOST, PORT), timeout=60)
        s.sendall(b"%4d" % i); print(s.recv(4), flush=True); s.close()
    """
    peers: list[str] = []

    def echo() -> None:
        while True:
            try:
                sock, peer = listener.accept()
            except OSError:
                return
            with sock:
                peers.append(peer[0])
                while piece := sock.recv(100):
                    sock.sendall(piece)

    printed = []
    for on_stack in (False, True):
        with listening(place) as listener:
            thread = threading.Thread(target=echo)
            thread.start()
            port = str(listener.getsockname()[1])
            program = f"{PROGRAM}{ask}\n    {LATE[what]}\n"
            process = start(place, program, HERE, port, on_stack=on_stack)
            out, err = process.communicate(timeout=100)
            assert process.returncode == 0, err
            printed.append(out)
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
    assert printed[0] == printed[1] != ""
    assert set(peers[len(peers) // 2 :]) == {STACK}


def test_a_capture_is_whole_after_a_signal(place: Namespace, tmp_path: Path) -> None:
    file = tmp_path / "frames.pcap"
    with listening(place) as listener:
        sink = Sink(listener, pause=0)
        port = str(listener.getsockname()[1])
        options = ("--capture", str(file))
        program = f"{PROGRAM}\n    s = sent(); {SLEEP}"
        process = start(place, program, HERE, port, on_stack=True, run=options)
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        process.communicate(timeout=100)
        sink.thread.join()
    assert process.returncode == -signal.SIGTERM
    assert file.stat().st_size > SIZE
