"""Servers of several processes under `pystack run`; their clients are the kernel's, over a TAP."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from namespace import Namespace, namespace, needs_namespace
from quick import slow

pytestmark = needs_namespace

PYSTACK = [sys.executable, "-c", "from pystack.cli import main; main()"]
STACK = "10.3.0.2"
WHERE = (STACK, 8000)


@pytest.fixture
def place() -> Iterator[Namespace]:
    with namespace() as made:
        made.run("ip", "tuntap", "add", "tap0", "mode", "tap")
        made.device("tap0", "10.3.0.1/24")
        yield made


class Server:
    """A program under `pystack run`, and what it says."""

    def __init__(self, place: Namespace, folder: Path, words: tuple[str, ...]) -> None:
        self.place = place
        self.log = folder / "log"
        self.answered = 0
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["nsenter", f"--net={place.path}", *PYSTACK, "run", "--nic", "tap:tap0",
                 "--address", f"{STACK}/24", "--", *words],
                stdout=log, stderr=log, cwd=folder,
            )  # fmt: skip

    def get(self, path: str = "/", timeout: float = 40) -> bytes:
        """The body that a path has, by a connection of its own."""
        made: socket.socket = self.place.call(socket.create_connection, WHERE, timeout)
        with made, made.makefile("rb") as file:
            made.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            return file.read().partition(b"\r\n\r\n")[2]

    def until(self, path: str = "/", *, other_than: bytes = b"", patience: float = 60) -> bytes:
        """The body as soon as there is one that is not that."""
        deadline = time.monotonic() + patience
        while True:
            try:
                body = self.get(path, 5)
            except OSError:
                body = b""
            if body and body != other_than:
                return body
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def load(self, count: int) -> Counter[bytes]:
        """Many requests from several clients at a time: how often each body came."""

        def get(_: int) -> bytes:
            body = self.get()
            self.answered += 1
            return body

        with ThreadPoolExecutor(8) as pool:
            return Counter(pool.map(get, range(count)))


@contextmanager
def serving(place: Namespace, folder: Path, *words: str) -> Iterator[Server]:
    """A `Server` for the block, which ends when it is told to."""
    server = Server(place, folder, words)
    try:
        yield server
        server.process.terminate()
        server.process.wait(60)
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait(60)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(textwrap.dedent(text))
    return path


WSGI = """
import os, time
def app(environ, start_response):
    if environ["PATH_INFO"] == "/kill":
        os.kill(os.getpid(), 9)
    if environ["PATH_INFO"] == "/hang":
        time.sleep(60)
    data = b"worker %d" % os.getpid()
    start_response("200 OK", [("Content-Length", str(len(data)))])
    return [data]
"""


@pytest.mark.parametrize(
    "options", [slow(("-w", "2")), ("-w", "4", "-k", "gthread", "--threads", "3")]
)
def test_gunicorn(place: Namespace, tmp_path: Path, options: tuple[str, ...]) -> None:
    pytest.importorskip("gunicorn")
    write(tmp_path, "wsgi.py", WSGI)
    words = ("-m", "gunicorn", "-b", f"{STACK}:8000", "-t", "100", *options, "wsgi:app")
    with serving(place, tmp_path, *words) as server:
        server.until()
        answers = server.load(600)
        assert sum(answers.values()) == 600
        deadline = time.monotonic() + 60
        while len(answers) < 2:  # the second may be slow to start
            assert time.monotonic() < deadline, server.log.read_text()
            answers += server.load(100)
        assert all(body.startswith(b"worker ") for body in answers)
        # One that is killed loses its connection alone, and has a successor.
        assert server.get("/kill") == b""
        assert server.get().startswith(b"worker ")
        # A reload under load loses nothing.
        with ThreadPoolExecutor(1) as pool:
            server.answered = 0
            loading = pool.submit(server.load, 600)
            while server.answered < 50 and not loading.done():
                time.sleep(0.01)
            server.process.send_signal(signal.SIGHUP)
            after = loading.result()
        assert all(body.startswith(b"worker ") for body in after), after
    assert server.process.returncode == 0, server.log.read_text()


def test_gunicorn_replaces_a_worker_that_hangs(place: Namespace, tmp_path: Path) -> None:
    """Its time is short here, so that others may be thought to hang on a busy machine."""
    pytest.importorskip("gunicorn")
    write(tmp_path, "wsgi.py", WSGI)
    words = ("-m", "gunicorn", "-b", f"{STACK}:8000", "-t", "2", "-w", "1", "wsgi:app")
    with serving(place, tmp_path, *words) as server:
        first = server.until()
        with suppress(ConnectionResetError):
            assert not server.get("/hang").startswith(b"worker ")
        assert server.until(other_than=first).startswith(b"worker ")
        assert "WORKER TIMEOUT" in server.log.read_text()


def test_gunicorn_executes_itself_anew(place: Namespace, tmp_path: Path) -> None:
    """SIGUSR2: a second master takes the listener by its number, of whatever family."""
    pytest.importorskip("gunicorn")
    write(tmp_path, "wsgi.py", WSGI)
    words = ("-m", "gunicorn", "-b", f"{STACK}:8000", "-w", "1", "wsgi:app")
    with serving(place, tmp_path, *words) as server:
        server.until()
        first = set(server.load(50))
        assert len(first) == 1
        server.process.send_signal(signal.SIGUSR2)
        deadline = time.monotonic() + 60
        while not (second := set(server.load(20)) - first):
            assert time.monotonic() < deadline, server.log.read_text()
        assert all(body.startswith(b"worker ") for body in second)
        assert "Traceback" not in server.log.read_text()
    # Its Stack is gone with the first, and it doesn't start workers for ever that can't use it.
    deadline = time.monotonic() + 60
    while place.processes():
        if time.monotonic() > deadline:
            for left in place.processes():  # the second master is nobody's child
                os.kill(left, signal.SIGKILL)
            pytest.fail(server.log.read_text()[-4000:])
        time.sleep(0.1)
    assert server.log.read_text().count("pystack: process") == 1


ASGI = """
import os
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    data = b"worker %d" % os.getpid()
    headers = [(b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": data})
"""


def test_uvicorn_with_workers(place: Namespace, tmp_path: Path) -> None:
    write(tmp_path, "asgi.py", ASGI)
    words = ("-m", "uvicorn", "--host", STACK, "--port", "8000", "--workers", "2", "asgi:app")
    with serving(place, tmp_path, *words) as server:
        server.until()
        answers = server.load(400)
        assert sum(answers.values()) == 400
        assert all(body.startswith(b"worker ") for body in answers), answers
    assert server.process.returncode in (0, -signal.SIGTERM), server.log.read_text()


@pytest.mark.parametrize(
    "words",
    [
        slow(("-m", "gunicorn", "-b", f"{STACK}:8000", "-w", "2", "wsgi:app")),
        slow(("-m", "gunicorn", "-b", f"{STACK}:8000", "-w", "2", "-k", "gthread", "wsgi:app")),
        ("-m", "uvicorn", "--host", STACK, "--port", "8000", "--workers", "2", "asgi:app"),
    ],
    ids=["sync", "gthread", "uvicorn"],
)
def test_workers_end_with_their_owner(
    place: Namespace, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """It is killed, by what gives it no time for a word to them."""
    pytest.importorskip(words[1])
    write(tmp_path, "wsgi.py", WSGI)
    write(tmp_path, "asgi.py", ASGI)
    with serving(place, tmp_path, *words) as server:
        server.until()
        workers = [int(body.split()[1]) for body in server.load(100)]
        os.kill(server.process.pid, signal.SIGSTOP)  # no worker minds, and serves on after it
        time.sleep(0.2)
        os.kill(server.process.pid, signal.SIGCONT)
        workers += [int(body.split()[1]) for body in server.load(20)]
        server.process.kill()
        server.process.wait(60)
        deadline = time.monotonic() + 60
        while any(Path(f"/proc/{one}").exists() for one in workers):
            assert time.monotonic() < deadline, server.log.read_text()
            time.sleep(0.1)
    assert len(server.log.read_text().splitlines()) < 200


FLASK = """
import os
from flask import Flask
app = Flask(__name__)
@app.route("/")
def index():
    return "first"
if __name__ == "__main__":
    app.run(%r, 8000, debug=True, threaded=True)
"""
DJANGO = """
import os, sys
from django.conf import settings
from django.http import HttpResponse
from django.urls import path
settings.configure(DEBUG=True, SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__)
urlpatterns = [path("", lambda request: HttpResponse("first"))]
if __name__ == "__main__":
    from django.core.management import execute_from_command_line
    execute_from_command_line(sys.argv)
"""


@pytest.mark.parametrize(
    ("needed", "name", "text", "words"),
    [
        slow("flask", "site.py", FLASK % STACK, ("site.py",)),
        slow("flask", "app.py", FLASK % STACK,
         ("-m", "flask", "--app", "app", "--debug", "run", "-h", STACK, "-p", "8000")),
        ("django", "manage.py", DJANGO, ("manage.py", "runserver", f"{STACK}:8000")),
        ("uvicorn", "asgi.py", ASGI.replace("b\"worker %d\" % os.getpid()", "b\"first\""),
         ("-m", "uvicorn", "--host", STACK, "--port", "8000", "--reload", "asgi:app")),
    ],
    ids=["flask", "flask-command", "django", "uvicorn"],
)  # fmt: skip
def test_reloaders(
    place: Namespace, tmp_path: Path, needed: str, name: str, text: str, words: tuple[str, ...]
) -> None:
    pytest.importorskip(needed)
    script = write(tmp_path, name, text)
    with serving(place, tmp_path, *words) as server:
        assert server.until() == b"first"
        changed = script.read_text().replace("first", "second")
        body = b"first"
        # What a reloader sees first of a file it takes for old: it may not have looked yet.
        for _ in range(30):
            script.write_text(changed)
            with suppress(AssertionError):
                body = server.until(other_than=b"first", patience=6)
            if body == b"second":
                break
        assert body == b"second", server.log.read_text()


FORKING = """
import http.server, os, socketserver, sys
kind = sys.argv[1]
if kind == "udp":
    class Echo(socketserver.BaseRequestHandler):
        def handle(self):
            data, sock = self.request
            sock.sendto(b"%d " % os.getpid() + data, self.client_address)
    server = socketserver.ForkingUDPServer((sys.argv[2], 8000), Echo)
else:
    class Serve(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"worker %d" % os.getpid())
    class Server(socketserver.ForkingMixIn, http.server.HTTPServer):
        pass
    server = Server((sys.argv[2], 8000), Serve)
server.serve_forever()
"""


def test_forking_servers(place: Namespace, tmp_path: Path) -> None:
    script = str(write(tmp_path, "forking.py", FORKING))
    with serving(place, tmp_path, script, "tcp", STACK) as server:
        server.until()
        answers = server.load(100)
        assert len(answers) == 100  # a process each
        assert all(body.startswith(b"worker ") for body in answers), answers
    with serving(place, tmp_path, script, "udp", STACK) as server:
        client: Any = place.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
        with client:
            client.settimeout(1)
            who = set()
            for number in range(20):
                text = b"number %d" % number
                while True:
                    client.sendto(text, WHERE)
                    try:
                        pid, _space, back = client.recv(100).partition(b" ")
                    except TimeoutError:  # not there yet
                        assert server.process.poll() is None, server.log.read_text()
                        continue
                    if back == text:
                        break
                who.add(pid)
            assert len(who) == 20


def python(place: Namespace, folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    """How a program ends under `pystack run`."""
    script = write(folder, "program.py", program)
    return subprocess.run(
        ["nsenter", f"--net={place.path}", *PYSTACK, "run", "--nic", "tap:tap0", "--address",
         f"{STACK}/24", "--", str(script)],
        capture_output=True, text=True, timeout=60, check=False, cwd=folder,
    )  # fmt: skip


def test_a_python_that_is_started_is_on_the_stack(place: Namespace, tmp_path: Path) -> None:
    done = python(
        place,
        tmp_path,
        """
        import socket, subprocess, sys
        listener = socket.create_server(("10.3.0.2", 0))
        child = subprocess.Popen([sys.executable, "-c",
            "import socket, sys; c = socket.create_connection(('10.3.0.2', int(sys.argv[1])));"
            "c.sendall(b'hello'); print(type(c))", str(listener.getsockname()[1])])
        connection, peer = listener.accept()
        print(peer[0], connection.recv(10), child.wait())
        """,
    )
    printed = sorted(done.stdout.splitlines())
    assert printed == ["10.3.0.2 b'hello' 0", "<class 'pystack.sockets.socket'>"], done.stderr


def test_a_descriptor_that_a_started_python_inherits(place: Namespace, tmp_path: Path) -> None:
    """As reloaders and gunicorn's upgrade hand on their listeners."""
    done = python(
        place,
        tmp_path,
        """
        import socket, subprocess, sys
        listener = socket.create_server(("10.3.0.2", 0))
        listener.set_inheritable(True)
        child = subprocess.Popen([sys.executable, "-c", '''if True:
            import socket, sys
            fd = int(sys.argv[1])
            listener = socket.socket(fileno=fd)
            copy = socket.fromfd(fd, socket.AF_INET, socket.SOCK_STREAM)
            for one in (listener, copy):
                connection, peer = one.accept()
                connection.sendall(b"by %d" % (one is copy))
                connection.close()
            print(listener.getsockname()[0], listener.family.name)
            ''', str(listener.fileno())], pass_fds=[listener.fileno()])
        came = []
        for _ in range(2):
            with socket.create_connection(listener.getsockname(), 10) as made:
                came.append(made.recv(10))
        print(child.wait(), *came, sep=chr(10))  # not while the child prints
        """,
    )
    printed = sorted(done.stdout.splitlines())
    assert printed == ["0", "10.3.0.2 AF_INET", "b'by 0'", "b'by 1'"], done.stderr


# A program that works without the network, then asks for it.
LATE = "print('works', flush=True); import socket; socket.create_server(('10.3.0.2', 0))"
REFUSED = "this Stack is another process's, which has ended, become another program by exec"


def test_what_has_lost_its_stack_is_refused_in_words(place: Namespace, tmp_path: Path) -> None:
    """A program that another becomes by exec, and one that a daemon starts."""
    replaced = python(
        place,
        tmp_path,
        f"""
        import os, sys
        os.execv(sys.executable, [sys.executable, "-c", {LATE!r}])
        """,
    )
    assert (replaced.returncode, replaced.stdout) == (1, "works\n")
    assert REFUSED in replaced.stderr.splitlines()[-1]
    daemon = python(
        place,
        tmp_path,
        f"""
        import os, socket, subprocess, sys, time
        listener = socket.create_server(("10.3.0.2", 0))
        parent = os.getpid()
        if os.fork():
            os._exit(0)
        os.setsid()
        while os.getppid() == parent:
            time.sleep(0.01)
        try:
            listener.accept()
        except OSError as error:
            print(error, file=sys.stderr, flush=True)
        os._exit(subprocess.run([sys.executable, "-c", {LATE!r}]).returncode)
        """,
    )
    warning, first, *_, last = daemon.stderr.splitlines()
    assert "run servers in the foreground, not as daemons" in warning
    assert REFUSED in first
    assert REFUSED in last
    assert daemon.stdout == "works\n"
