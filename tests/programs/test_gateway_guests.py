"""Guests that nobody here wrote behind `pystack gateway`: QEMU's and User-Mode Linux's."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from guests import BUSYBOX, cloud_kernel, initramfs, qemu, uml
from installed import needs_programs
from namespace import Namespace, needs_namespace
from outside import RESOLVER, SERVER, digest, outside

from pystack.lab.provision.uml import found

pytestmark = [needs_namespace, needs_programs("busybox"), pytest.mark.timeout(300)]

SIZE = 100  # MiB
BOOT_S = 120.0


@contextmanager
def gateway(place: Namespace, *words: str) -> Iterator[subprocess.Popen[Any]]:
    """The command in the namespace, once it is ready."""
    ready, theirs = os.pipe()
    process = place.start(
        sys.executable, "-m", "pystack", "gateway", "--nameserver", RESOLVER, *words,
        "--ready-fd", str(theirs), pass_fds=[theirs], stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(theirs)
    try:
        with os.fdopen(ready, "rb") as stream:
            assert stream.read() == b"1", process.stderr.read()
        yield process
    finally:
        process.terminate()
        _, said = process.communicate(timeout=30)
        assert (process.returncode, said) == (0, b"")


def finds(place: Namespace, guest: subprocess.Popen[str], size: int) -> None:
    """Follows the guest's job, and does this side's part of it."""
    said: dict[str, str] = {}
    ender = threading.Timer(BOOT_S, guest.kill)
    ender.start()
    try:
        assert guest.stdout is not None
        lines = []
        for line in guest.stdout:
            lines.append(line)
            word, _, rest = line.strip().partition(" ")
            if word == "GUEST":
                name, _, value = rest.partition(" ")
                said[name] = value
            if "serves" in said:
                assert place.call(fetched) == b"hello from the guest\n"
                break
        assert said["address"] == "10.0.2.100/24", lines
        assert (said["resolved"], said["ping"]) == (SERVER, "1"), lines
        assert said["hash"].split()[0] == digest(size)
    finally:
        ender.cancel()
        guest.kill()
        guest.communicate()


def fetched() -> bytes:
    """What the guest serves at the forwarded port, once it does."""
    deadline = time.monotonic() + 20
    while True:
        try:
            with socket.create_connection((SERVER, 8080), timeout=20) as one:
                one.shutdown(socket.SHUT_WR)
                got = b""
                while piece := one.recv(1000):
                    got += piece
                return got
        except ConnectionResetError:  # it doesn't listen yet
            assert time.monotonic() < deadline


@pytest.mark.slow
@needs_programs("qemu-system-x86_64")
@pytest.mark.skipif(cloud_kernel() is None, reason="not installed: linux-image-cloud-amd64")
@pytest.mark.parametrize("kind", ["stream", "dgram"])
def test_a_virtual_machine(kind: str, tmp_path: Path) -> None:
    kernel = cloud_kernel()
    assert kernel is not None
    size = SIZE if kind == "stream" else 5
    initramfs(tmp_path / "initrd", kernel[1], size)
    wire = tmp_path / "wire"
    far = {
        "stream": f"stream,id=n,server=off,addr.type=unix,addr.path={wire}",
        "dgram": "dgram,id=n,local.type=unix,remote.type=unix,"
        f"local.path={tmp_path / 'far'},remote.path={wire}",
    }
    with (
        outside() as place,
        gateway(place, "--socket", str(wire), "--socket-kind", kind, "-p", f"{SERVER}:8080:80"),
    ):
        finds(place, qemu(kernel[0], tmp_path / "initrd", "-netdev", far[kind]), size)


@pytest.mark.slow
@pytest.mark.skipif(found() is None, reason="no User-Mode Linux: pystack lab setup uml")
def test_a_user_mode_linux(tmp_path: Path) -> None:
    assert BUSYBOX is not None
    wire = tmp_path / "wire"
    with (
        outside() as place,
        gateway(
            place, "--socket", str(wire), "--socket-kind", "seqpacket", "-p", f"{SERVER}:8080:80"
        ),
    ):
        finds(place, uml(tmp_path, wire, SIZE), SIZE)
    shutil.rmtree(tmp_path, ignore_errors=True)
