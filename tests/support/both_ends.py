"""Programs at both ends of a TAP in a namespace: one on the kernel, one by `pystack run`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from namespace import Namespace, namespace

PYSTACK = [sys.executable, "-c", "from pystack.cli import main; main()"]
# The kernel's address, and the Stack's.
SERVER, STACK = "10.3.0.1", "10.3.0.2"


def _until_it_listens(
    place: Namespace, host: str, port: int, process: subprocess.Popen[bytes]
) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            place.call(socket.create_connection, (host, port), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                assert process.stderr is not None
                process.kill()
                raise AssertionError(process.stderr.read().decode()) from None
            time.sleep(0.1)


@contextmanager
def serving(place: Namespace, port: int, *words: str) -> Iterator[None]:
    """A server on the kernel, from when it takes connections to the block's end."""
    process = place.start(*words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/")
    try:
        _until_it_listens(place, SERVER, port, process)
        yield
    finally:
        process.terminate()
        process.wait(60)
        if process.stderr is not None:
            process.stderr.close()


@contextmanager
def behind_tap() -> Iterator[Namespace]:
    """A namespace with the kernel's side of a TAP in it."""
    with namespace() as made:
        made.run("ip", "tuntap", "add", "tap0", "mode", "tap")
        made.device("tap0", f"{SERVER}/24")
        yield made


def _run_words(place: Namespace, words: tuple[str, ...]) -> list[str]:
    return ["nsenter", f"--net={place.path}", *PYSTACK, "run", "--nic", "tap:tap0", "--address",
            f"{STACK}/24", "--", *words]  # fmt: skip


def pystack_run(place: Namespace, *words: str, folder: str) -> str:
    """What ``pystack run`` prints, with a Stack at the other end of the TAP."""
    done = subprocess.run(
        _run_words(place, words),
        capture_output=True, text=True, check=False, cwd=folder, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def written(folder: Path, name: str, program: str) -> str:
    """A program in a file."""
    script = folder / name
    script.write_text(textwrap.dedent(program))
    return str(script)


def run(place: Namespace, folder: Path, program: str) -> str:
    """What a program prints that `pystack run` runs."""
    script = written(folder, "program.py", program)
    return pystack_run(place, script, SERVER, folder=tempfile.gettempdir())


@contextmanager
def serving_on_stack(place: Namespace, folder: Path, port: int, program: str) -> Iterator[None]:
    """A program that `pystack run` runs, from when it takes connections; Ctrl-C ends it."""
    script = written(folder, "server.py", program)
    process = subprocess.Popen(
        _run_words(place, (script, STACK)),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=tempfile.gettempdir(),
    )  # fmt: skip
    assert process.stderr is not None
    try:
        _until_it_listens(place, STACK, port, process)
        yield
        assert process.poll() is None, process.stderr.read().decode()
        process.send_signal(signal.SIGINT)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def on_kernel(place: Namespace, folder: Path, program: str) -> str:
    """What a program prints that runs on the kernel's network, with the Stack's address."""
    script = written(folder, "client.py", program)
    done = subprocess.run(
        ["nsenter", f"--net={place.path}", sys.executable, script, STACK],
        capture_output=True, text=True, check=False, cwd=tempfile.gettempdir(), timeout=300,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
