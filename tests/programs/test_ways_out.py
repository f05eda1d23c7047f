"""The ways by which a program could leave its Stack: carried onto it, or refused in words.

Each in a namespace with a route for whatever goes by the kernel, and an eye on it; and none of
the kernel's Internet sockets is there when the program is done.
"""

from __future__ import annotations

import ctypes.util
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from installed import needs_programs
from namespace import needs_namespace
from quick import representatives, slow
from watched import OUTSIDE, Done, Watched, watched

pytestmark = needs_namespace

COUNT = """
def kernel_sockets():
    tables = ("tcp", "tcp6", "udp", "udp6", "raw", "raw6")
    return sum(len(open(f"/proc/net/{name}").readlines()) - 1 for name in tables)
"""
# As a program does that is not run by `pystack run`; %s: what it imports before.
INSTALL = """
import pystack, %s
net = pystack.Stack()
block = net.installed(strict=True)
block.__enter__()
"""
SERVE = """
import threading, time, urllib.request, uvicorn
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"by the Stack"})
config = uvicorn.Config(app, port=8000, log_level="warning", lifespan="off")
server = uvicorn.Server(config)
thread = threading.Thread(target=server.run)
thread.start()
deadline = time.monotonic() + 20
while not server.started and time.monotonic() < deadline:
    time.sleep(0.05)
print(urllib.request.urlopen("http://127.0.0.1:8000/", timeout=20).read())
print(type(server.servers[0].get_loop()).__module__, kernel_sockets())
server.should_exit = True
thread.join()
"""


@pytest.fixture
def place() -> Iterator[Watched]:
    with watched() as made:
        yield made


def needs(*names: str) -> pytest.MarkDecorator:
    """Skips where one of these modules isn't installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def works(done: Done, printed: str) -> None:
    assert (done.status, done.stdout) == (0, printed), done.stderr
    assert done.frames == []


def is_refused(done: Done, *texts: str) -> None:
    assert done.status != 0, done.stdout
    for text in texts:
        assert text in done.stderr, done.stderr
    assert done.frames == []


# --- event loops and sockets of libraries' own --------------------------------------------


@needs("uvicorn", "uvloop")
@pytest.mark.parametrize("strict", ["--strict", "--no-strict"])
def test_uvicorn_chooses_a_loop_that_works(place: Watched, tmp_path: Path, strict: str) -> None:
    done = place.run(COUNT + SERVE, strict, folder=tmp_path)
    works(done, "b'by the Stack'\nasyncio.unix_events 0\n")


@needs("uvloop")
@pytest.mark.parametrize(
    "use",
    [
        "uvloop.install(); asyncio.run(serve())",
        slow("uvloop.run(serve())"),
        slow("uvloop.new_event_loop().run_until_complete(serve())"),
        slow("asyncio.set_event_loop_policy(uvloop.EventLoopPolicy()); asyncio.run(serve())"),
    ],
)
def test_uvloop(place: Watched, tmp_path: Path, use: str) -> None:
    serve = f"""
import asyncio, warnings
warnings.simplefilter("ignore")
{COUNT}
async def serve():
    await asyncio.start_server(lambda r, w: None, port=8000)
    print("it serves", kernel_sockets())
"""
    words = "Use asyncio's own event loop."
    done = place.run(f"{serve}\nimport uvloop\n{use}\n", folder=tmp_path)
    is_refused(done, "ImportError: uvloop opens its own sockets on the kernel", words)
    assert done.stdout == ""
    # And where it was imported before.
    for strict in (False, True):
        early = f"import pystack, uvloop\nwith pystack.Stack() as net, net.installed(strict={strict}):\n    {use}\n"  # noqa: E501
        done = place.python(serve + early, folder=tmp_path)
        is_refused(done, "OffStackError", words)
        assert done.stdout == ""


@needs("gevent")
def test_gevent(place: Watched, tmp_path: Path) -> None:
    use = f"""
import gevent.socket
gevent.socket.create_connection(("{OUTSIDE}", 80), timeout=1)
"""
    words = "gevent opens its own sockets on the kernel"
    is_refused(place.run(use, folder=tmp_path), words, "Use threads or asyncio.")
    patched = "from gevent import monkey\nmonkey.patch_all()\n"
    is_refused(place.run(patched + use, folder=tmp_path), words)
    done = place.python(INSTALL % "gevent.socket" + use, folder=tmp_path)
    is_refused(done, "OffStackError", "asked the kernel for an IPv4 socket")
    assert place.run(use, "--no-strict", folder=tmp_path).frames != []


@needs("eventlet")
def test_eventlet(place: Watched, tmp_path: Path) -> None:
    use = f"import eventlet\neventlet.connect(('{OUTSIDE}', 80))\n"
    done = place.run(use, folder=tmp_path)
    is_refused(done, "eventlet opens its own sockets on the kernel", "Use threads or asyncio.")


@needs("zmq")
@pytest.mark.parametrize(
    "call", ["bind('tcp://127.0.0.1:5555')", f"connect('tcp://{OUTSIDE}:5555')"]
)
def test_zmq(place: Watched, tmp_path: Path, call: str) -> None:
    use = f"import zmq\nsocket = zmq.Context().socket(zmq.REQ)\nsocket.linger = 0\nsocket.{call}\n"
    for strict in ("--strict", "--no-strict"):
        is_refused(place.run(use, strict, folder=tmp_path), "OffStackError", "inproc and ipc work")
    is_refused(place.python(INSTALL % "zmq" + use, folder=tmp_path), "OffStackError")


# --- names that were taken before, and other ways in Python -------------------------------


def test_the_module_below(place: Watched, tmp_path: Path) -> None:
    use = f"""
import _socket
sock = _socket.socket()
sock.settimeout(0.5)
sock.connect(("{OUTSIDE}", 80))
"""
    is_refused(
        place.run(use, folder=tmp_path), "_socket.socket asked the kernel for an IPv4 socket"
    )
    slow = f"import _socket\nsock = _socket.socket()\nsock.settimeout(0.5)\nsock.connect(('{OUTSIDE}', 80))\n"  # noqa: E501
    assert place.run(slow, "--no-strict", folder=tmp_path).frames != []


PROXIED = f"""
{COUNT}
listener = socket.create_server(("127.0.0.1", 0))
client = socks.socksocket()
client.connect(listener.getsockname())
listener.accept()[0].sendall(b"by the Stack")
print(client.recv(20), kernel_sockets())
"""


@needs("socks")
def test_pysocks(place: Watched, tmp_path: Path) -> None:
    works(place.run(f"import socket, socks\n{PROXIED}", folder=tmp_path), "b'by the Stack' 0\n")
    done = place.python(INSTALL % "socket, socks" + PROXIED, folder=tmp_path)
    is_refused(done, "socks.socksocket asked the kernel for", "Import what defines it after")


@needs("dns")
@pytest.mark.parametrize("strict", [False, True])
def test_dnspython(place: Watched, tmp_path: Path, strict: bool) -> None:
    """Its queries hold the class since it was imported."""
    early = f"""
import dns.message, dns.query
try:
    import dns.quic
except ImportError:
    pass
import pystack, socket, threading
net = pystack.Stack()
with net.installed(strict={strict}):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    def answer():
        data, where = server.recvfrom(512)
        server.sendto(dns.message.make_response(dns.message.from_wire(data)).to_wire(), where)
    threading.Thread(target=answer).start()
    question = dns.message.make_query("a.test", "A")
    print(dns.query.udp(question, "127.0.0.1", timeout=10).id == question.id, kernel_sockets())
"""
    works(place.python(COUNT + early, folder=tmp_path), "True 0\n")


@needs("twisted")
@pytest.mark.parametrize("strict", [False, True])
def test_the_resolver_of_twisted(place: Watched, tmp_path: Path, strict: bool) -> None:
    """It holds the function, as a default argument, since it was imported."""
    (tmp_path / "hosts").write_text("127.0.0.9 only-on-the-stack.test\n")
    early = f"""
from twisted.internet import reactor
import pathlib, pystack
net = pystack.Stack()
net.sockets.hosts = pathlib.Path("hosts")
with net.installed(strict={strict}):
    def ask():
        found = reactor.resolve("only-on-the-stack.test")
        found.addBoth(print).addBoth(lambda _: reactor.stop())
    reactor.callWhenRunning(ask)
    reactor.run()
"""
    works(place.python(early, folder=tmp_path), "127.0.0.9\n")


RESOLVE = """
import asyncio, pystack, socket, sys
net = pystack.Stack()
net.sockets.hosts = None
async def main():
    loop = asyncio.get_running_loop()
    for ask in (
        loop.getaddrinfo("nowhere.test", 80),
        loop.getnameinfo(("198.51.100.9", 80), socket.NI_NAMEREQD),
        loop.run_in_executor(None, socket.gethostbyname, "nowhere.test"),
        asyncio.to_thread(socket.gethostbyname, "nowhere.test"),
        asyncio.open_connection("nowhere.test", 80),
    ):
        try:
            print(await ask)
        except OSError as error:
            print(type(error).__name__)
    print(socket.getfqdn("nowhere.test"))
"""


@pytest.mark.parametrize("way", ["installed", slow("active")])
def test_names_are_not_asked_of_the_host(place: Watched, tmp_path: Path, way: str) -> None:
    program = f"{RESOLVE}\nwith net.{way}():\n    asyncio.run(main())\n"
    works(place.python(program, folder=tmp_path), "gaierror\n" * 5 + "nowhere.test\n")
    # And that the question would have been seen.
    done = place.python("import socket\nsocket.getfqdn('nowhere.test')", folder=tmp_path)
    assert done.frames != []


# --- below Python, and in children --------------------------------------------------------


@pytest.mark.skipif(ctypes.util.find_library("pq") is None, reason="no libpq")
def test_libpq(place: Watched, tmp_path: Path) -> None:
    program = f"""
import ctypes, ctypes.util
libpq = ctypes.CDLL(ctypes.util.find_library("pq"))
libpq.PQconnectdb.restype = ctypes.c_void_p
libpq.PQerrorMessage.restype = ctypes.c_char_p
made = ctypes.c_void_p(libpq.PQconnectdb(b"host={OUTSIDE} connect_timeout=2"))
print(b"Permission denied" in libpq.PQerrorMessage(made))
"""
    done = place.run(program, folder=tmp_path)
    works(done, "True\n")
    assert "C code in the program itself) asked the kernel for an IPv4 socket" in done.stderr


def test_the_c_library_asks_no_name_server(place: Watched, tmp_path: Path) -> None:
    program = """
import ctypes
found = ctypes.c_void_p()
print(ctypes.CDLL(None).getaddrinfo(b"nowhere.test", None, None, ctypes.byref(found)) != 0)
"""
    works(place.run(program, folder=tmp_path), "True\n")
    assert place.run(program, "--no-strict", folder=tmp_path).frames != []


CHILD = f"""
import socket
def go():
    try:
        socket.create_connection(("{OUTSIDE}", 80), timeout=2)
        return "by the kernel"
    except TimeoutError:
        return "by the kernel"
    except OSError as error:
        return type(error).__name__
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing(place: Watched, tmp_path: Path, method: str) -> None:
    """On the Stack, which has no route, or refused."""
    program = f"""
{CHILD}
import multiprocessing
def tell(queue):
    queue.put(go())
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    queue = context.SimpleQueue()
    child = context.Process(target=tell, args=(queue,))
    child.start()
    print(queue.get())
    child.join()
"""
    done = place.run(program, folder=tmp_path)
    assert done.status == 0, done.stderr
    assert done.stdout in ("OSError\n", "PermissionError\n", "OffStackError\n")
    assert done.frames == []


def test_a_python_that_is_started(place: Watched, tmp_path: Path) -> None:
    program = f"""
import subprocess, sys
print(subprocess.run([sys.executable, "-c", {CHILD + "print(go())"!r}]).returncode, flush=True)
"""
    done = place.run(program, folder=tmp_path)
    assert done.stdout in ("OSError\n0\n", "PermissionError\n0\n"), done.stderr
    assert done.frames == []
    assert place.run(program, "--no-strict", folder=tmp_path).stdout in (
        "OSError\n0\n",
        "by the kernel\n0\n",
    )


STARTS = {
    "subprocess": "return subprocess.run(curl).returncode",
    "no close_fds": "return subprocess.run(curl, close_fds=False).returncode",
    "preexec_fn": "return subprocess.run(curl, preexec_fn=os.getpid).returncode",
    "os.system": "return os.waitstatus_to_exitcode(os.system(' '.join(curl)))",
    "os.popen": "return os.waitstatus_to_exitcode(os.popen(' '.join(curl)).close() or 0)",
    "os.posix_spawn": "child = os.posix_spawn('/usr/bin/env', ['env', *curl], os.environ)\n"
    "    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])",
    "os.spawnvp": "return os.spawnvp(os.P_WAIT, 'curl', curl)",
    "asyncio": "async def run():\n"
    "        return await (await asyncio.create_subprocess_exec(*curl)).wait()\n"
    "    return asyncio.run(run())",
    "os.fork": "child = os.fork()\n"
    "    if not child: os.execvp('curl', curl)\n"
    "    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])",
}


@needs_programs("curl")
@pytest.mark.parametrize(
    "how", representatives(STARTS, ["subprocess", "os.posix_spawn", "os.fork"])
)
def test_a_program_that_is_started_by_a_program_of_ones_own(
    place: Watched, tmp_path: Path, how: str
) -> None:
    """Without `pystack run`: children are confined, and the process itself is not."""
    program = f"""
import asyncio, ctypes, os, subprocess
curl = ["curl", "-sS", "--max-time", "0.3", "http://{OUTSIDE}/"]
def go():
    {STARTS[how]}
{INSTALL % "socket"}
print(go())
print(ctypes.CDLL(None).socket(socket.AF_INET, socket.SOCK_STREAM, 0) >= 0)
with pystack.outside() as kernel:
    kernel.socket().close()
"""
    done = place.python(program, folder=tmp_path)
    works(done, "7\nTrue\n")
    assert "asked the kernel for an IPv4 socket: refused (EACCES)" in done.stderr
    outside = program.replace("print(go())", "with pystack.outside(): print(go())")
    assert place.python(outside, folder=tmp_path).stdout == "28\nTrue\n"
    plain = program.replace("strict=True", "strict=False")
    done = place.python(plain, folder=tmp_path)
    assert done.stdout == "28\nTrue\n", done.stderr
    assert done.frames != []
