"""What is carried onto a Stack though it was taken out of `socket` before, and what is refused."""

from __future__ import annotations

import _socket
import asyncio
import concurrent.futures
import errno
import importlib.util
import os
import pickle
import socket
import socket as kernel
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from socket import create_connection as early_create_connection
from socket import getaddrinfo as early_getaddrinfo
from socket import gethostbyname as early_gethostbyname
from socket import socket as early_socket
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import pystack

NAME = "only-on-the-stack.test"
# Out of the reach of a look at modules.
HIDDEN = SimpleNamespace(
    socket=kernel.socket,
    core=_socket.socket,
    gethostbyname=_socket.gethostbyname,
    gethostbyaddr=_socket.gethostbyaddr,
    getnameinfo=_socket.getnameinfo,
)


class Derived(socket.socket):
    """Made of the kernel's class, before any Stack is."""


def by_default(make: Any = socket.socket) -> Any:
    return make()


@pytest.fixture
def net(tmp_path: Path) -> Iterator[pystack.Stack]:
    hosts = tmp_path / "hosts"
    hosts.write_text(f"127.0.0.9 {NAME} short\n")
    with pystack.Stack() as made:
        made.sockets.hosts = hosts
        yield made


def is_of(net: pystack.Stack, sock: Any) -> bool:
    with sock:
        return type(sock) is net.sockets.socket


def refused(match: str) -> Any:
    return pytest.raises(pystack.OffStackError, match=match)


# --- carried ------------------------------------------------------------------------------


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("way", ["installed", "active"])
def test_what_was_taken_early_is_carried(net: pystack.Stack, way: str, strict: bool) -> None:
    before = vars(kernel.socket).copy()
    with getattr(net, way)(strict=strict):
        for make in (early_socket, HIDDEN.socket, by_default, kernel.socket):
            with make() as sock:
                assert type(sock) is net.sockets.socket
                assert isinstance(sock, kernel.socket)
        assert is_of(net, HIDDEN.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        assert early_gethostbyname(NAME) == "127.0.0.9"
        assert _socket.gethostbyname(NAME) == "127.0.0.9"
        assert early_getaddrinfo(NAME, 80, type=socket.SOCK_STREAM)[0][4] == ("127.0.0.9", 80)
        assert _socket.getaddrinfo(NAME, 80, 0, socket.SOCK_STREAM)[0][4] == ("127.0.0.9", 80)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            assert is_of(net, early_create_connection(listener.getsockname()))
        with HIDDEN.socket(socket.AF_UNIX) as local:
            assert type(local) is early_socket
    assert vars(early_socket) == before
    with early_socket() as sock:
        assert type(sock) is early_socket is kernel.socket


def test_the_youngest_block_that_is_left_holds(net: pystack.Stack) -> None:
    with pystack.Stack() as other:
        first, second = net.installed(), other.installed()
        first.__enter__()
        assert is_of(net, early_socket())
        second.__enter__()
        assert is_of(other, early_socket())
        assert is_of(other, HIDDEN.socket())
        first.__exit__(None, None, None)
        assert is_of(other, early_socket())
        assert is_of(other, HIDDEN.socket())
        second.__exit__(None, None, None)
    with early_socket() as sock:
        assert type(sock) is kernel.socket


def test_a_module_that_derives_a_class_keeps_what_it_derives_from(net: pystack.Stack) -> None:
    """For it may call its methods, as PySocks does."""
    module = ModuleType("derives")
    exec(
        "import socket\nbase = socket.socket\nclass Own(base):\n"
        "    def __init__(self, *a):\n        base.__init__(self, *a)\n",
        module.__dict__,
    )
    sys.modules["derives"] = module
    try:
        with net.installed(), module.Own(socket.AF_UNIX) as own:
            assert own.family == socket.AF_UNIX
            assert is_of(net, module.base())
    finally:
        del sys.modules["derives"]


def test_a_module_that_waits_to_be_looked_at_goes_on_waiting(
    net: pystack.Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lazy_one.py").write_text("from socket import socket\nloaded = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = importlib.util.find_spec("lazy_one")
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "lazy_one", module)
    spec.loader.exec_module(module)
    with net.installed():
        assert "loaded" not in object.__getattribute__(module, "__dict__")
        assert is_of(net, module.socket())


def test_getfqdn(net: pystack.Stack) -> None:
    assert net.sockets.getfqdn("127.0.0.9") == NAME
    assert net.sockets.getfqdn("short") == NAME
    assert net.sockets.getfqdn("no-such-name.invalid") == "no-such-name.invalid"
    for empty in ("", " ", "0.0.0.0", "::"):
        assert net.sockets.getfqdn(empty) == net.sockets.getfqdn(socket.gethostname())
    with net.active():
        assert socket.getfqdn("127.0.0.9") == NAME
        assert threading_result(lambda: socket.getfqdn("127.0.0.9")) != NAME


def threading_result(function: Any) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("way", ["installed", "active"])
def test_the_executor_of_a_loop(net: pystack.Stack, way: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(NAME, 80, type=socket.SOCK_STREAM)
        assert found[0][4] == ("127.0.0.9", 80)
        assert await loop.getnameinfo(("127.0.0.9", 9999)) == (NAME, "9999")
        for executor in (None, concurrent.futures.ThreadPoolExecutor(1)):
            assert is_of(net, await loop.run_in_executor(executor, early_socket))
        server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.9", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(NAME, port)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    with getattr(net, way)(strict=True):
        asyncio.run(main())


def test_the_executor_of_a_task_outside(net: pystack.Stack) -> None:
    """Who is not in the block has the kernel's, in the executor too."""

    async def other(begun: asyncio.Event) -> bool:
        await begun.wait()
        loop = asyncio.get_running_loop()
        with await loop.run_in_executor(None, early_socket) as sock:
            return type(sock) is early_socket

    async def main() -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(other(begun))
        with net.active():
            begun.set()
            assert await task

    asyncio.run(main())


def test_processes_are_no_threads(net: pystack.Stack) -> None:
    """What is given to another process must go through a pipe, which a context can't."""

    class Elsewhere(concurrent.futures.Executor):
        def submit(self, work: Any, /, *arguments: Any, **named: Any) -> Any:
            done: concurrent.futures.Future[Any] = concurrent.futures.Future()
            done.set_result(pickle.loads(pickle.dumps(work))(*arguments, **named))
            return done

    async def main() -> int:
        return await asyncio.get_running_loop().run_in_executor(Elsewhere(), abs, -5)

    with net.active():
        assert asyncio.run(main()) == 5


def test_pystack_brings_no_asyncio_with_it() -> None:
    """It takes as long as all of pystack; and the oracle puts the library's upon a Stack's."""
    code = "import sys, pystack; sys.exit('asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd="/").returncode == 0


# --- refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["installed", "active"])
def test_what_leaves_is_refused(net: pystack.Stack, way: str) -> None:
    with getattr(net, way)(strict=True):
        with refused(r"test_strict\.Derived asked the kernel for an IPv4 socket.*Import"):
            Derived()
        with refused("an IPv6 socket"):
            Derived(socket.AF_INET6, socket.SOCK_DGRAM)
        for make in (_socket.socket, HIDDEN.core):
            with refused("_socket.socket asked the kernel for an IPv4 socket"):
                make()
            with refused("IPv4"):
                make(socket.AF_INET, socket.SOCK_STREAM)
            with refused("a packet socket"):
                make(socket.AF_PACKET, socket.SOCK_RAW)
        with refused("a packet socket"):
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        for ask in (HIDDEN.gethostbyname, HIDDEN.gethostbyaddr):
            with refused("the host's resolver"):
                ask(NAME)
        with refused("the host's resolver"):
            HIDDEN.getnameinfo(("127.0.0.9", 80), 0)
        assert HIDDEN.gethostbyname("127.0.0.9") == "127.0.0.9"
        assert issubclass(pystack.OffStackError, PermissionError)
        with pytest.raises(OSError) as caught:
            Derived()
        assert caught.value.errno == errno.EACCES
        assert "--no-strict" in caught.value.remedy  # type: ignore[attr-defined]
    Derived().close()
    _socket.socket().close()
    assert HIDDEN.gethostbyname("localhost") == "127.0.0.1"


def test_without_strict_nothing_of_it_is_refused(net: pystack.Stack) -> None:
    with net.installed():
        Derived().close()
        _socket.socket().close()


def test_strict_is_for_the_task(net: pystack.Stack) -> None:
    with net.active(strict=True):
        threading_result(lambda: Derived().close())
        with refused("Derived"):
            Derived()


def test_what_is_no_way_out_passes(net: pystack.Stack) -> None:
    """Sockets that are open, of the kernel's network too, and other families."""
    with kernel.create_server(("127.0.0.1", 0)) as listener:
        with early_socket() as waiting, net.installed(strict=True):
            for family in (socket.AF_UNIX, socket.AF_NETLINK):
                Derived(family, socket.SOCK_DGRAM).close()
                _socket.socket(family, socket.SOCK_DGRAM).close()
            left, right = socket.socketpair()
            left.close(), right.close()
            waiting.connect(listener.getsockname())
            accepted, _peer = listener.accept()
            with accepted, accepted.dup() as copy:
                copy.sendall(b"still open")
                assert waiting.recv(10) == b"still open"
            with early_socket(fileno=os.dup(waiting.fileno())) as again:
                assert again.family == socket.AF_INET
            with socket.fromfd(waiting.fileno(), socket.AF_INET, socket.SOCK_STREAM) as again:
                assert type(again) is early_socket


@pytest.mark.parametrize("way", ["installed", "active"])
def test_outside(net: pystack.Stack, way: str) -> None:
    with getattr(net, way)(strict=True):
        with pystack.outside() as known:
            with known.create_server(("127.0.0.1", 0)) as listener:
                assert type(listener) is early_socket
                with known.create_connection(listener.getsockname()) as client:
                    assert type(client) is early_socket
            assert type(known.AF_INET) is type(socket.AF_INET)
            assert known.getaddrinfo("localhost", 80)
            assert known.gethostbyname("localhost") == "127.0.0.1"
            for make in (Derived, early_socket, _socket.socket):
                make().close()
        with refused("Derived"):
            Derived()
        assert is_of(net, early_socket())


# --- libraries ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gevent", "eventlet", "pycares", "rloop"])
def test_what_can_not_be_imported(net: pystack.Stack, name: str) -> None:
    if name in sys.modules:
        pytest.skip("it is there already")
    with net.installed(strict=True):
        with pytest.raises(ImportError, match=f"^{name} opens its own sockets on the kernel"):
            importlib.import_module(name)
        assert importlib.util.find_spec(name) is not None
    assert name not in sys.modules
    assert not any("pystack" in type(one).__module__ for one in sys.meta_path)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("way", ["installed", "active"])
@pytest.mark.parametrize("when", ["before", "inside"])
def test_uvloop_refuses_and_auto_is_the_stock_loop(
    net: pystack.Stack, way: str, strict: bool, when: str
) -> None:
    pytest.importorskip("uvloop")
    if when == "inside":
        for name in [one for one in sys.modules if one.partition(".")[0] in ("uvloop", "uvicorn")]:
            if name in ("uvloop", "uvicorn.loops.auto"):
                sys.modules.pop(name)
    else:
        pass

    listener = net.sockets.create_server(("127.0.0.1", 0))

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        for call in (
            lambda: loop.create_server(asyncio.Protocol, "127.0.0.1", 0),
            lambda: loop.create_server(asyncio.Protocol, sock=listener),
            lambda: loop.create_connection(asyncio.Protocol, "127.0.0.1", 1),
            lambda: loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0)),
        ):
            with refused("Use asyncio's own event loop"):
                await call()
        assert await loop.getnameinfo(("127.0.0.1", 80), 3) == ("127.0.0.1", "80")
        where = listener.getsockname()
        [(*_rest, found)] = await loop.getaddrinfo(*where, type=socket.SOCK_STREAM)
        assert found == where
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, where)
            peer, name = listener.accept()
            with peer:
                assert name == client.getsockname()
                await loop.sock_sendall(client, b"over the Stack")
                assert peer.recv(20) == b"over the Stack"
        ours, theirs = socket.socketpair()
        with theirs:
            transport, _protocol = await loop.create_connection(asyncio.Protocol, sock=ours)
            transport.close()

    with getattr(net, way)(strict=strict):
        made = importlib.import_module("uvicorn.loops.auto").auto_loop_factory()()
        assert type(made).__module__.startswith("asyncio")
        made.close()
        if strict and when == "inside":
            with pytest.raises(ImportError, match="Use asyncio's own event loop"):
                import uvloop
        else:
            import uvloop

            if strict:
                for start in (uvloop.new_event_loop, uvloop.Loop):
                    with refused("uvloop's event loop"):
                        start()
            else:
                loop = uvloop.new_event_loop()
                loop.run_until_complete(serve())
                loop.close()
    listener.close()
    uvloop = importlib.import_module("uvloop")
    loop = uvloop.new_event_loop()
    assert loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80))
    loop.close()
    assert not {"__new__", "getaddrinfo"} & set(vars(uvloop.Loop))


@pytest.mark.parametrize("strict", [False, True])
def test_zmq(net: pystack.Stack, strict: bool) -> None:
    zmq = pytest.importorskip("zmq")
    with zmq.Context() as context, context.socket(zmq.PAIR) as one, context.socket(zmq.PAIR) as two:
        with net.installed(strict=strict):
            one.bind("inproc://here")
            two.connect("inproc://here")
            one.send(b"between threads")
            assert two.recv() == b"between threads"
            for call, where in (
                (one.bind, "tcp://127.0.0.1:0"),
                (one.bind, b"tcp://127.0.0.1:0"),
                (two.connect, "tcp://127.0.0.1:1"),
                (two.connect, "udp://127.0.0.1:1"),
            ):
                with refused("inproc and ipc work") as caught:
                    call(where)
                assert "strict" not in str(caught.value)  # it is refused in any block
            with pystack.outside():
                one.bind("tcp://127.0.0.1:0")
                one.unbind(one.last_endpoint)
        one.bind("tcp://127.0.0.1:0")


@pytest.mark.parametrize("way", ["installed", "active"])
def test_a_closed_stack_is_not_installed(way: str) -> None:
    net = pystack.Stack()
    net.close()
    with pytest.raises(OSError, match="the Stack is closed"), getattr(net, way)():
        pass
    assert socket.socket is kernel.socket
