"""The end of a program that has Stacks loses nothing that was accepted for sending."""

from __future__ import annotations

import hashlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap

import pytest
from quick import representatives

SIZE = 5_000_000
DATA = random.Random(11).randbytes(SIZE)

# The reader is a process of its own, at the other end of a descriptor.
READER = """
    import hashlib, os, sys, time, pystack
    net = pystack.Stack()
    nic = pystack.nic.Descriptor(int(sys.argv[1]))
    net.attach(nic, "10.0.0.2/24")
    listener = net.sockets.create_server(("10.0.0.2", 80))
    os.write(1, b"ready\\n")
    sock = listener.accept()[0]
    time.sleep(0.5)
    digest, size, began = hashlib.sha256(), 0, time.monotonic()
    try:
        while piece := sock.recv(65536):
            digest.update(piece)
            size += len(piece)
            time.sleep(max(0, began + size / 10e6 - time.monotonic()))
        end = "end"
    except OSError as error:
        end = repr(error)
    print(size, digest.hexdigest(), end)
    sock.close()
"""

WRITER = """
    import atexit, asyncio, gc, os, random, signal, socket, struct, sys, threading, time, pystack
    DATA = random.Random(11).randbytes(5_000_000)
    net = pystack.Stack()
    net.attach(pystack.nic.Descriptor(os.dup(int(sys.argv[1]))), "10.0.0.1/24")
    def connect(room=10_000_000):
        sock = net.sockets.create_connection(("10.0.0.2", 80))
        if room:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        return sock
"""

WAYS = {
    "close": "s = connect(); s.sendall(DATA); s.close()",
    "close, usual buffer": "s = connect(0); s.sendall(DATA); s.close()",
    "shutdown": "s = connect(); s.sendall(DATA); s.shutdown(socket.SHUT_WR)",
    "nothing": "s = connect(); s.sendall(DATA)",
    "raise": "s = connect(); s.sendall(DATA); raise RuntimeError('x')",
    "sys.exit": "s = connect(); s.sendall(DATA); sys.exit(3)",
    "linger": (
        "s = connect(); s.setsockopt(1, socket.SO_LINGER, struct.pack('ii', 1, 10));"
        "s.sendall(DATA); s.close()"
    ),
    "garbage": "connect().sendall(DATA); gc.collect()",
    "garbage stack": (
        "def use():\n"
        "        global net\n"
        "        s = connect(); s.sendall(DATA); s.close(); del net\n"
        "    use()"
    ),
    "with": "with net:\n        s = connect(); s.sendall(DATA)",
    "with, raise": "with net:\n        s = connect(); s.sendall(DATA); raise RuntimeError('x')",
    "Stack.close": "s = connect(); s.sendall(DATA); net.close()",
    "a thread": (
        "threading.Thread(target=lambda: (time.sleep(.3), connect().sendall(DATA))).start()"
    ),
    "a daemon's": (
        "s = connect(); t = threading.Thread(target=s.sendall, args=(DATA,), daemon=True);"
        "t.start(); t.join()"
    ),
    "atexit": "s = connect(); atexit.register(s.sendall, DATA)",
    "a pool": (
        "import concurrent.futures as f\n"
        "    f.ThreadPoolExecutor(1).submit(lambda: (time.sleep(.3), connect().sendall(DATA)))"
    ),
    "asyncio": (
        "async def main():\n"
        "        with net.active():\n"
        "            _, w = await asyncio.open_connection('10.0.0.2', 80, limit=1 << 23)\n"
        "            s = w.get_extra_info('socket')\n"
        "            s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000_000)\n"
        "            w.write(DATA)\n"
        "            while w.transport.get_write_buffer_size():\n"
        "                await asyncio.sleep(.01)\n"
        "    asyncio.run(main())"
    ),
    "interrupt": "s = connect(); s.sendall(DATA); raise KeyboardInterrupt",
    "a signal": (
        "pystack.deliver_before(signal.SIGTERM)\n"
        "    s = connect(); s.sendall(DATA); os.kill(os.getpid(), signal.SIGTERM); s.recv(1)"
    ),
    "a signal, with Python inside": (
        "import logging\n"
        "    net.close(); net = pystack.Stack(log=logging.getLogger())\n"
        "    net.attach(pystack.nic.Descriptor(os.dup(int(sys.argv[1]))), '10.0.0.1/24')\n"
        "    pystack.deliver_before(signal.SIGTERM)\n"
        "    s = connect(); s.sendall(DATA); os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)"
    ),
    "a signal that a child has got before": (
        "pystack.deliver_before(signal.SIGTERM)\n"
        "    if os.fork() == 0: signal.raise_signal(signal.SIGTERM)\n"
        "    assert os.waitstatus_to_exitcode(os.wait()[1]) == -signal.SIGTERM\n"
        "    s = connect(); s.sendall(DATA); signal.raise_signal(signal.SIGTERM); time.sleep(60)"
    ),
}
STATUS = {
    "raise": 1, "with, raise": 1, "sys.exit": 3, "interrupt": -2, "a signal": -15,
    "a signal, with Python inside": -15, "a signal that a child has got before": -15,
}  # fmt: skip


def start(program: str, descriptor: int, *, wait: bool = False) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(descriptor)],
        pass_fds=[descriptor], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=tempfile.gettempdir(),
    )  # fmt: skip
    assert process.stdout is not None
    if wait:
        assert process.stdout.readline() == "ready\n"
    return process


QUICK = ("sys.exit", "garbage stack", "with, raise", "a pool", "asyncio", "interrupt", "a signal")


@pytest.mark.parametrize("way", representatives(WAYS, QUICK))
def test_a_program_s_end_delivers_all(way: str) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        reader = start(READER, theirs.fileno(), wait=True)
        writer = start(f"{WRITER}\n    {WAYS[way]}\n", ours.fileno())
    for process in (writer, reader):
        out, err = process.communicate(timeout=300)
        if process is writer:
            assert process.returncode == STATUS.get(way, 0), err
    assert out == f"{SIZE} {hashlib.sha256(DATA).hexdigest()} end\n", err


def run_python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=300, check=False, cwd=tempfile.gettempdir(),
    )  # fmt: skip


@pytest.mark.parametrize("threaded", [True, False])
def test_two_stacks_of_one_program_end_together(threaded: bool) -> None:
    """Each waits for what the other would have to read: nobody will."""
    done = run_python(
        f"""
        import pystack
        left, right = pystack.nic.wire()
        a, b = pystack.Stack(threaded={threaded}), pystack.Stack()
        a.attach(left, "10.0.0.1/24")
        b.attach(right, "10.0.0.2/24")
        a.linger = b.linger = 1e6
        listener = b.sockets.create_server(("10.0.0.2", 80))
        client = a.sockets.create_connection(("10.0.0.2", 80))
        server = listener.accept()[0]
        for each in (client, server):
            each.setsockopt(1, 7, 10_000_000)
            each.sendall(bytes(5_000_000))
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_control_c_gives_up_at_exit() -> None:
    done = run_python(
        """
        import os, signal, threading, time, pystack
        signal.signal(signal.SIGINT, signal.default_int_handler)
        left, right = pystack.nic.wire()
        a = pystack.Stack()
        a.attach(left, "10.0.0.1/24")
        a.neighbours.add("10.0.0.2", "02:00:00:00:00:02", interface=a.interfaces[1])
        def answer():  # a peer that shakes hands, takes 1000 bytes, and then nothing
            b = pystack.Stack()
            b.attach(right, "10.0.0.2/24")
            sock = b.socket()
            sock.setsockopt(1, 8, 4096)
            sock.bind(("10.0.0.2", 80))
            sock.listen()
            listening.set()
            keep.append((b, sock, sock.accept()))
            b.linger = 1e9
        keep, listening = [], threading.Event()
        thread = threading.Thread(target=answer)
        thread.start()
        listening.wait()
        client = a.sockets.create_connection(("10.0.0.2", 80))
        client.sendall(bytes(500_000))
        thread.join()
        def interrupt():
            time.sleep(.5)
            print("interrupting", flush=True)
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=interrupt, daemon=True).start()
        began = time.monotonic()
        try:
            a.close()
        except KeyboardInterrupt:
            print(a.closed, time.monotonic() - began < 30)
        """
    )
    assert done.stdout == "interrupting\nTrue True\n", done.stderr
    assert done.returncode == 0


DAEMONS = """
import asyncio, os, selectors, socket, socketserver, sys, threading, time, pystack
net = pystack.Stack()
HERE = "127.0.0.1"
sockets = net.sockets
listener = sockets.create_server((HERE, 0))
client = sockets.create_connection(listener.getsockname())
server = listener.accept()[0]
full = sockets.create_connection(listener.getsockname())
unread = listener.accept()[0]
datagrams = net.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind((HERE, 0))
begun = []
def accept():
    listener.accept()
def receive():
    server.recv(1)
def receive_in_turn():
    while True:
        try:
            client.recv(1)
        except OSError as error:
            print(error)
def send():
    full.sendall(bytes(50_000_000))
def datagram():
    datagrams.recvfrom(1)
def select():
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.select()
        listener.accept()
def connect_again_and_again():
    while True:
        with net.socket() as made:
            made.settimeout(1)
            made.connect_ex((HERE, 9))
def turn():
    async def serve():
        with net.active():
            server = await asyncio.start_server(lambda reader, writer: None, HERE, 0)
            await server.serve_forever()
    asyncio.run(serve())
for each in (accept, receive, receive_in_turn, send, datagram, select, turn,
             connect_again_and_again):
    threading.Thread(target=each, daemon=True).start()
time.sleep(.5)
"""


@pytest.mark.parametrize("end", ["", "sys.exit(0)", "os._exit(0)", "threading.Thread("
                                 "target=time.sleep, args=(.2,)).start()"])  # fmt: skip
def test_daemon_threads_end_without_a_word(end: str) -> None:
    """As the kernel's sockets keep them waiting until the process is gone."""
    done = run_python(f"{DAEMONS}net.linger = 0\n{end}\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_program_that_ends_itself_by_a_signal_does_no_more() -> None:
    program = (
        "import os, signal, sys, pystack\n"
        "with pystack.Stack() as net:\n"
        "    pystack.deliver_before(signal.SIGTERM)\n"
        "    os.write(1, b'before')\n"
        "    if sys.argv[1] == 'kill': os.kill(os.getpid(), signal.SIGTERM)\n"
        "    else: signal.raise_signal(signal.SIGTERM)\n"
        "    while True: os.write(1, b', after')\n"
    )
    for how in ("kill", "raise"):
        ended = subprocess.run(
            [sys.executable, "-c", program, how], capture_output=True, check=False, timeout=30
        )
        assert ended.stdout == b"before"
        assert ended.returncode == -signal.SIGTERM
