"""Closing, garbage, interpreter exit, fork, signals, threads."""

from __future__ import annotations

import errno
import gc
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import weakref
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM

import pytest
from pair import LEFT, RIGHT, pair, whole

import pystack
from pystack._native.engines import engine_path


def open_descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def run_python(program: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "dev", "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=timeout, check=False,
        cwd=tempfile.gettempdir(),  # not the source tree, which is not built
    )  # fmt: skip


# --- closing ---------------------------------------------------------------------------------


def test_closing_gives_everything_back() -> None:
    gc.collect()  # of other tests
    before, threads = open_descriptors(), threading.active_count()
    with pair() as it:
        client, server = it.connected()
        client.fileno()
        client.sendall(b"never read")
    with pytest.raises(OSError, match="closed") as caught:
        client.send(b"x")
    assert caught.value.errno == errno.EBADF
    client.close()
    server.close()
    it.left.close()  # again
    assert it.left.closed
    assert repr(it.left) == "<Stack closed>"
    for use in (it.left.connections, it.left.step, it.left.socket, lambda: it.left.ping(LEFT)):
        with pytest.raises(OSError, match="closed"):
            use()
    gc.collect()
    assert open_descriptors() == before
    assert threading.active_count() == threads


def test_closing_ends_connections_in_order_unless_abrupt() -> None:
    for abrupt in (False, True):
        with pair() as it:
            client, server = it.connected()
            it.left.close(abrupt=abrupt)
            server.settimeout(0.3 if abrupt else 30)
            if abrupt:
                with pytest.raises(TimeoutError):
                    server.recv(1)
            else:
                assert server.recv(1) == b""
            server.close()
            client.close()


def test_closing_wakes_those_who_wait() -> None:
    with pair() as it:
        client, server = it.connected()
        outcomes: list[BaseException | bytes] = []

        def wait() -> None:
            try:
                outcomes.append(client.recv(1))
            except OSError as error:
                outcomes.append(error)

        client.settimeout(None)
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.05)
        it.left.close()
        thread.join(30)
        server.close()
        client.close()
    assert isinstance(outcomes[0], OSError)
    assert outcomes[0].errno == errno.EBADF


def test_closing_a_socket_wakes_those_who_wait_on_it() -> None:
    with pair() as it:
        client, server = it.connected()
        client.settimeout(None)
        outcomes: list[BaseException | bytes] = []

        def wait() -> None:
            try:
                outcomes.append(client.recv(1))
            except OSError as error:
                outcomes.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.05)
        client.close()
        thread.join(30)
        assert not thread.is_alive()
        server.close()
    assert isinstance(outcomes[0], OSError)


def test_a_nic_can_be_attached_again() -> None:
    left, right = pystack.nic.wire()
    for _ in range(3):
        with pystack.Stack() as a, pystack.Stack() as b:
            interface = a.attach(left, f"{LEFT}/24")
            b.attach(right, f"{RIGHT}/24")
            assert a.ping(RIGHT, timeout=30).received == 1
            with pytest.raises(OSError, match="in use"):
                b.attach(left)
            interface.detach()
            assert not left.attached
            with pytest.raises(OSError, match="detached"):
                interface.mtu  # noqa: B018


def test_an_unclosed_stack_is_a_warning_and_is_closed() -> None:
    gc.collect()  # of other tests
    before = open_descriptors()
    net = pystack.Stack()
    net.socket(AF_INET, SOCK_STREAM).close()
    alive = weakref.ref(net)
    with pytest.warns(ResourceWarning, match="unclosed Stack"):
        del net
        gc.collect()
    assert alive() is None
    assert open_descriptors() == before


def test_an_unclosed_socket_is_a_warning_and_is_closed() -> None:
    with pystack.Stack() as net:
        sock = net.socket(AF_INET, SOCK_DGRAM)
        assert len(net.connections()) == 1
        with pytest.warns(ResourceWarning, match="unclosed"):
            del sock
            gc.collect()
        assert net.connections() == []


def test_the_interpreter_exits_with_stacks_open() -> None:
    done = run_python(
        """
        import threading, pystack
        left, right = pystack.nic.wire()
        class Clock:
            def now_us(self):
                import time
                return time.monotonic_ns() // 1000
        a, b = pystack.Stack(clock=Clock()), pystack.Stack()
        a.attach(left, "10.0.0.1/24")
        b.attach(right, "10.0.0.2/24")
        s = b.sockets.create_server(("10.0.0.2", 80))
        threading.Thread(target=s.accept, daemon=True).start()
        c = a.sockets.create_connection(("10.0.0.2", 80))
        print("end")
        """
    )
    assert done.stdout == "end\n"
    assert done.returncode == 0, done.stderr


# --- signals ---------------------------------------------------------------------------------

BLOCKED = {
    "recv_timeout": "client.settimeout(60); client.recv(1)",
    "resolve": "a.resolve('example.test', timeout=60)",
    "ping": "a.ping('10.0.0.77', timeout=60)",
    "dhcp": "a.attach(pystack.nic.wire()[0]).dhcp(timeout=60)",
    "nic": "pystack.nic.wire()[0].receive()",
}


@pytest.mark.parametrize("call", BLOCKED.values(), ids=BLOCKED.keys())
def test_control_c_interrupts(call: str) -> None:
    program = f"""
    import os, signal, threading, time, pystack
    # A shell's background jobs, of which these tests may be one, are started with it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    left, right = pystack.nic.wire()
    a, b = pystack.Stack(), pystack.Stack()
    a.attach(left, "10.0.0.1/24")
    b.attach(right, "10.0.0.2/24")
    a.nameservers = ["10.0.0.2"]
    silent = b.socket(2, 2)
    silent.bind(("10.0.0.2", 53))
    listener = a.sockets.create_server(("10.0.0.1", 80))
    taker = b.sockets.create_server(("10.0.0.2", 80))
    client = a.sockets.create_connection(("10.0.0.2", 80))
    client.settimeout(None)
    def interrupt():
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)
    started = time.monotonic()
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        {call}
    except KeyboardInterrupt:
        print("interrupted", time.monotonic() - started < 30)
    """
    done = run_python(program)
    assert done.stdout == "interrupted True\n", done.stderr


# --- threads ---------------------------------------------------------------------------------


def test_several_threads_use_one_socket() -> None:
    writers, pieces, size = 4, 200, 5000
    with pair() as it:
        client, server = it.connected()
        client.settimeout(None)
        server.settimeout(None)
        got: list[bytes] = []
        lock = threading.Lock()
        left_over = writers * pieces * size

        def write(mark: int) -> None:
            for _ in range(pieces):
                client.sendall(bytes([mark]) * size)

        def read() -> None:
            nonlocal left_over
            while True:
                piece = server.recv(3000)
                with lock:
                    got.append(piece)
                    left_over -= len(piece)
                if not piece:
                    return

        threads = [threading.Thread(target=write, args=(mark,)) for mark in range(writers)]
        readers = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads + readers:
            thread.start()
        for thread in threads:
            thread.join(60)
        client.shutdown(1)
        for thread in readers:
            thread.join(60)
        counts = [0] * writers
        for piece in got:
            for mark in range(writers):
                counts[mark] += piece.count(mark)
        assert counts == [pieces * size] * writers
        client.close()
        server.close()


def test_many_threads_use_one_stack() -> None:
    with pair() as it, it.right.sockets.create_server((RIGHT, 80), backlog=64) as listener:
        failures: list[BaseException] = []

        def serve() -> None:
            try:
                for _ in range(40):
                    sock, _peer = listener.accept()
                    with sock:
                        sock.sendall(sock.recv(100)[::-1])
            except BaseException as error:
                failures.append(error)

        def ask(number: int) -> None:
            try:
                for turn in range(10):
                    with it.left.sockets.create_connection((RIGHT, 80), 30) as sock:
                        message = f"{number} {turn}".encode()
                        sock.sendall(message)
                        assert sock.recv(100) == message[::-1]
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=serve) for _ in range(4)]
        threads += [threading.Thread(target=ask, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failures == []


# --- without a driver ------------------------------------------------------------------------


def test_whoever_waits_drives() -> None:
    with pystack.Stack(threaded=False) as net:
        assert net.ping("127.0.0.1", timeout=30).received == 1
        with net.sockets.create_server(("127.0.0.1", 0)) as listener:
            client = net.sockets.create_connection(listener.getsockname(), 30)
            server, _peer = listener.accept()
            with client, server:
                client.sendall(b"x" * 300_000)
                assert len(whole(server, 300_000)) == 300_000  # MSG_WAITALL


def test_two_drivers_are_refused() -> None:
    with pystack.Stack() as net, pytest.raises(OSError, match="drives") as caught:
        net.step()
    assert caught.value.errno == errno.EBUSY


# --- engines ---------------------------------------------------------------------------------


def test_an_image_is_private_though_a_descriptor_s_number_comes_again() -> None:
    hole = os.open(os.devnull, os.O_RDONLY)
    with pystack.Stack(threaded=False) as first:
        os.close(hole)  # what the second opens falls one place further down than the first's
        with pystack.Stack(threaded=False) as second:
            first.sysctl["net.ipv4.ip_default_ttl"] = 33
            assert second.sysctl["net.ipv4.ip_default_ttl"] == 64


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc/self/maps")
def test_copies_have_the_code_in_common() -> None:
    code = re.compile(rf"^\S+ r-xp .* {re.escape(str(engine_path('lwip')))}$", re.MULTILINE)

    def mapped() -> int:
        return len(code.findall(Path("/proc/self/maps").read_text("utf-8")))

    before = mapped()
    with pystack.Stack() as one, pystack.Stack() as two:
        assert mapped() == before + 2
        # Not so what they write.
        one.sysctl["net.ipv4.ip_default_ttl"] = 9
        assert two.sysctl["net.ipv4.ip_default_ttl"] == 64
    assert mapped() == before


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ValueError, match=r"there is .*lwip"):
        pystack.Stack(engine="nosuch")


SHORT = 'struct { unsigned version, size; const char *name; } ps_engine_table = {99, 8, "odd"};'
EMPTY = """
#include "engine.h"
const struct ps_engine_table ps_engine_table = {
    .version = PS_ENGINE_VERSION, .size = sizeof ps_engine_table, .name = "odd", %s
};
"""
LIFE = ", ".join(
    f".{name} = (void *)1" for name in ("open", "close", "enter", "leave", "run", "fail")
)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param(SHORT, "version 99", id="version"),
        pytest.param("int nothing;", "not an engine", id="no table"),
        pytest.param(EMPTY % "", "lacks .*: open", id="no life"),
        pytest.param(EMPTY % LIFE, "lacks .*: interface_add", id="no calls"),
    ],
)
def test_an_engine_that_does_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    (tmp_path / "odd.c").write_text(source)
    headers = Path(__file__).resolve().parents[2] / "bindings/include"
    subprocess.run(
        ["cc", "-shared", "-fPIC", f"-I{headers}", "-o", tmp_path / "odd.so", tmp_path / "odd.c"],
        check=True,
    )
    monkeypatch.setattr("pystack._native.engines.ENGINES", tmp_path)
    with pytest.raises(OSError, match=message):
        pystack.Stack(engine="odd")


def test_the_manuals_engine_compiles_and_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).resolve().parents[2]
    page = (root / "pystack/manual/engines.md").read_text("utf-8")
    _, _, rest = page.partition("```c\n")
    (tmp_path / "empty.c").write_text(rest.partition("```\n")[0])
    subprocess.run(
        ["cc", "-Wall", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden",
         f"-I{root}/bindings/include", "-o", tmp_path / "empty.so", tmp_path / "empty.c"],
        check=True,
    )  # fmt: skip
    monkeypatch.setenv("PYSTACK_ENGINES", str(tmp_path))
    with pystack.Stack(engine="empty", threaded=False) as net:
        assert repr(net).startswith("<Stack empty 0")
        with pytest.raises(OSError, match="not supported"):
            net.sockets.socket()
        with pytest.raises(pystack.StackPanic, match="on purpose"):
            net.fail("on purpose")
