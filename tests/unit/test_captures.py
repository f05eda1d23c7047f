"""Captures are whole however their program ends: `nic.capture`, and every command's `--capture`."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
from pair import LEFT, RIGHT
from quick import representatives

import pystack
from pystack import nic
from pystack.cli import cli
from pystack.hypercalls import ManualClock
from pystack.world import World

PROGRAM = [sys.executable, "-m", "pystack"]
AWAY = tempfile.gettempdir()  # not in the source tree, which is not built
PATIENCE_S = 100.0
PCAP_HEADER, RECORD_HEADER = 24, 16


def frames(path: Path) -> list[bytes]:
    """The frames of a pcap file, which has to end with the last one."""
    data, at, found = path.read_bytes(), PCAP_HEADER, []
    assert data[:4] == struct.pack("=I", 0xA1B23C4D)
    while at < len(data):
        kept = struct.unpack_from("=8xI4x", data, at)[0]
        at += RECORD_HEADER + kept
        found.append(data[at - kept : at])
    assert at == len(data)
    return found


# --- the library -------------------------------------------------------------------------------


def test_frames_are_in_the_file_a_second_later(tmp_path: Path) -> None:
    path, clock = tmp_path / "f.pcap", ManualClock()
    left, right = nic.wire()
    with nic.capture(left, path) as watched, pystack.Stack(clock=clock) as net:
        net.attach(watched, f"{LEFT}/24")
        with net.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, right:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            clock.advance(1)
            sock.sendto(b"first", ("255.255.255.255", 9))
            sent = len(frames(path))
            assert sent > 0
            sock.sendto(b"second", ("255.255.255.255", 9))
            assert len(frames(path)) == sent
            clock.advance(1)
            sock.sendto(b"third", ("255.255.255.255", 9))
            assert [one[-5:] for one in frames(path)[-2:]] == [b"econd", b"third"]


def test_a_child_writes_nothing_of_its_parents(tmp_path: Path) -> None:
    path = tmp_path / "f.pcap"
    code = """
        import os, sys
        from pystack import nic
        left, right = nic.wire()
        watched = nic.capture(left, sys.argv[1])
        for number in range(3):
            watched.send(bytes(60))
            child = os.fork()
            if child == 0:
                watched.close()
                sys.exit(0)  # exit(3) writes what stdio has buffered
            os.waitpid(child, 0)
        watched.close()
    """
    run_code(code, path)
    assert frames(path) == [bytes(60)] * 3


@pytest.mark.parametrize(
    "end",
    [
        "pass",
        "os._exit(0)",
        "os.execv('/bin/true', ['true'])",
        "os.kill(os.getpid(), 15), signal.pause()",
    ],
)
def test_whatever_ends_a_program(tmp_path: Path, end: str) -> None:
    """The last three as under `pystack run`."""
    path = tmp_path / "f.pcap"
    code = f"""
        import os, signal, sys
        from pystack import nic
        from pystack.cli.ending import end_last
        end_last(lambda: None)
        watched = nic.capture(nic.wire()[0], sys.argv[1])
        for number in range(3):
            watched.send(bytes(60))
        {end}
    """
    run_code(code, path, -signal.SIGTERM if "kill" in end else 0)
    assert frames(path) == [bytes(60)] * 3


def run_code(code: str, path: Path, status: int = 0) -> None:
    lines = "\n".join(line[8:] for line in code.splitlines())
    done = subprocess.run(
        [sys.executable, "-c", lines, str(path)], capture_output=True, text=True, check=False,
        cwd=AWAY, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (status, "")


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A file on a disk that is full."""
    path = tmp_path / "full.pcap"
    path.symlink_to("/dev/full")
    return path


def test_a_full_disk_is_told_of_at_the_close(full: Path) -> None:
    left, right = nic.wire()
    with right:
        watched = nic.capture(left, full)
        watched.send(bytes(60))  # which passes
        with pytest.raises(OSError, match="No space left on device") as raised:
            watched.flush()
        assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(full))
        with pytest.raises(OSError, match="No space left on device"):
            watched.close()
        watched.close()  # it is closed
        with pytest.raises(OSError, match="closed"):
            watched.flush()
        assert right.receive(0) == bytes(60)


def test_a_full_disk_is_told_of_by_a_world(full: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pcap"
    world = World(seed=1)
    one, two = world.host("one"), world.host("two")
    world.link(one, two, capture=str(full))
    world.link(one, two, capture=str(other))
    with pytest.raises(OSError, match="No space left on device"):
        world.close()
    frames(other)


# --- the commands ------------------------------------------------------------------------------


def page(net: pystack.Stack, cleanup: ExitStack) -> Callable[[], None]:
    """A server that takes a connection and never answers."""
    listener = cleanup.enter_context(net.sockets.create_server((LEFT, 80)))
    listener.settimeout(PATIENCE_S)
    return lambda: cleanup.push(listener.accept()[0])


def echoed(net: pystack.Stack, cleanup: ExitStack) -> Callable[[], None]:
    """Requests of ours, once the command's Stack is there."""

    def ask() -> None:
        assert net.ping(RIGHT, count=1, timeout=PATIENCE_S).received == 1

    return ask


def nothing(net: pystack.Stack, cleanup: ExitStack) -> Callable[[], None]:
    return lambda: None


# What to type, the line after which a frame was captured or the far end may begin, what the far end
# does until the signal comes, and the statuses after SIGTERM and SIGINT.
COMMANDS: dict[str, tuple[list[str], str, Any, int, int]] = {
    "get": (["get", f"http://{LEFT}/"], "", page, -15, 130),
    "ping": (["ping", LEFT, "-c", "1000", "-W", "60"], "icmp_seq=2", nothing, -15, 0),
    "proxy": (["proxy"], "Proxying", echoed, 0, 130),
    "replay": (["replay", "asked.pcap", "--to", f"{LEFT}:80", "--level", "stream"], "", page,
               -15, 130),
    "run": (["run"], "runs", echoed, -15, -2),
    "serve": (["serve", AWAY], "Serving", echoed, -15, 130),
    "socks": (["socks", "--port", "0"], "SOCKS5", echoed, 0, 130),
    "traceroute": (["traceroute", "10.0.9.9", "--gateway", LEFT, "-w", "0.05"], " 2  *", nothing,
                   -15, 130),
}  # fmt: skip
RUNS = ["--", "-c", "print('runs', flush=True); import time; time.sleep(1000)"]
ELSEWHERE = {"demo", "gateway"}  # below


def takes_a_capture(name: str) -> bool:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return any({"--capture", "--pcap"} & {*one.opts} for one in command.params)


def test_all_commands_with_a_capture_are_tried() -> None:
    names = cli.list_commands(click.Context(cli))
    assert {one for one in names if takes_a_capture(one)} == {*COMMANDS} | ELSEWHERE


@contextmanager
def started(words: list[str], descriptor: int, folder: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        cwd=folder, pass_fds=[descriptor],
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    said = ""
    while text and text not in said.rpartition("\n")[0]:
        line = process.stdout.readline()
        assert line, said
        said += line


QUICK = [("ping", signal.SIGTERM), ("proxy", signal.SIGTERM), ("serve", signal.SIGTERM),
         ("run", signal.SIGTERM), ("get", signal.SIGINT)]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "number"),
    representatives(itertools.product(COMMANDS, [signal.SIGTERM, signal.SIGINT]), QUICK),
)
def test_a_command_that_is_ended_has_captured(
    tmp_path: Path, name: str, number: signal.Signals
) -> None:
    words, told, far_end, *statuses = COMMANDS[name]
    if name == "replay":
        made = pytest.importorskip("captures").talk([("c", b"asked"), ("s", b"answered")])
        pytest.importorskip("scapy.utils").wrpcap(str(tmp_path / "asked.pcap"), made)
    path = tmp_path / "f.pcap"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ExitStack() as cleanup, theirs:
        net = cleanup.enter_context(pystack.Stack())
        net.linger = 0
        net.attach(nic.Descriptor(ours.detach()), f"{LEFT}/24")
        act = far_end(net, cleanup)
        wire = ["--nic", f"fd:{theirs.fileno()}", "--address", f"{RIGHT}/24"]
        words = [*words, *wire, "--capture", str(path), *(RUNS if name == "run" else [])]
        with started(words, theirs.fileno(), tmp_path) as process:
            read_until(process, told)
            act()
            process.send_signal(number)
            said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == statuses[number is signal.SIGINT], said
    captured = frames(path)
    assert len(captured) >= 2  # who has the address, and an answer, at the least
    assert {one[12:14] for one in captured} >= {b"\x08\x00", b"\x08\x06"}, captured


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_gateways(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "f.pcap"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ready, told = os.pipe()
    with theirs, pystack.Stack() as guest:
        guest.attach(nic.Descriptor(ours.detach()), "10.0.2.15/24", gateway="10.0.2.2")
        words = ["gateway", "--fd", str(theirs.fileno()), "--capture", str(path)]
        with subprocess.Popen(
            [*PROGRAM, *words, "--ready-fd", str(told)], cwd=AWAY, pass_fds=[theirs.fileno(), told],
        ) as process:  # fmt: skip
            try:
                os.close(told)
                assert os.read(ready, 1) == b"1"
                os.close(ready)
                assert guest.ping("10.0.2.2", count=1, timeout=PATIENCE_S).received == 1
                process.send_signal(number)
                process.wait(PATIENCE_S)
            finally:
                process.kill()
    assert process.returncode == (0 if number is signal.SIGTERM else -number)
    assert b"\x08\x00" in {one[12:14] for one in frames(path)}


def test_the_demos(tmp_path: Path) -> None:
    path = tmp_path / "f.pcap"
    words = ["demo", "--mebibytes", "4096", "--pcap", str(path)]
    with started(words, 0, tmp_path) as process:
        read_until(process, "received")
        process.terminate()
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == -signal.SIGTERM
    assert len(frames(path)) >= 2


def test_a_full_disk_is_told_of_by_a_command(full: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with pystack.Stack() as net, theirs:
        net.attach(nic.Descriptor(ours.detach()), f"{LEFT}/24")
        words = ["ping", LEFT, "-c", "1", "--address", f"{RIGHT}/24", "--capture", str(full)]
        done = subprocess.run(
            [*PROGRAM, *words, "--nic", f"fd:{theirs.fileno()}"], capture_output=True, text=True,
            check=False, cwd=AWAY, timeout=300, pass_fds=[theirs.fileno()],
        )  # fmt: skip
    assert "1 sent, 1 received" in done.stdout
    assert done.stderr == f"pystack ping: [Errno 28] No space left on device: '{full}'\n"
    assert done.returncode == 1
