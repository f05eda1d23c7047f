"""A gateway for a process in a namespace, by a user who may do nothing else."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from installed import needs_programs
from namespace import Namespace, needs_namespace
from outside import CLIENT, RESOLVER, SERVER, SERVER6, digest, outside

pytestmark = [needs_namespace, needs_programs("setpriv"), pytest.mark.timeout(180)]

PATIENCE_S = 30.0
NOBODY = 65534
# What a container's or an administrator's machine has: a device that everybody may open, and a
# Python that everybody may read. In a mount namespace, which ends with the program.
PLACE = """
set -e
mount --make-rprivate /
mkdir "$1"
mount -t tmpfs -o mode=755 none "$1"
mknod -m 666 "$1/tun" c 10 200
mount --bind "$1/tun" /dev/net/tun
if [ -n "$2" ]; then
    mkdir "$1/python"
    mount --bind "$3" "$1/python"
    mount -t tmpfs -o mode=755 none "$2"
    mkdir -p "$3"
    mount --bind "$1/python" "$3"
fi
shift 3
exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
"""


def hidden() -> str:
    """The first folder above Python's own that others may not look into; empty: there is none."""
    parents = [*reversed(Path(sys.base_prefix).parents), Path(sys.base_prefix)]
    return next((str(one) for one in parents if not one.stat().st_mode & 0o001), "")


def as_nobody(place: Namespace, folder: Path, *words: str, **options: Any) -> subprocess.Popen[Any]:
    """A program of a user without rights."""
    where = str(folder / f"private{len(list(folder.iterdir()))}")
    (folder / f"mark{len(list(folder.iterdir()))}").touch()
    return place.start(
        "unshare",
        "-m",
        "sh",
        "-c",
        PLACE,
        "sh",
        where,
        hidden(),
        sys.base_prefix,
        *words,
        **options,
    )


@contextmanager
def private(place: Namespace, folder: Path) -> Iterator[int]:
    """A process in a user and a network namespace of nobody's."""
    process = as_nobody(place, folder, "unshare", "-Urn", "cat", stdin=subprocess.PIPE)
    try:
        deadline = time.monotonic() + PATIENCE_S
        comm = Path(f"/proc/{process.pid}/comm")
        while comm.read_text() != "cat\n":
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield process.pid
    finally:
        process.communicate()


@contextmanager
def behind(
    place: Namespace, folder: Path, *words: str
) -> Iterator[tuple[int, subprocess.Popen[Any]]]:
    """A private namespace, and the gateway to it."""
    with private(place, folder) as guest:
        ready, theirs = os.pipe()
        process = as_nobody(
            place, folder, sys.executable, "-m", "pystack", "gateway", "--netns", str(guest),
            "--configure", "--nameserver", RESOLVER, "--ready-fd", str(theirs), *words,
            pass_fds=[theirs], stderr=subprocess.PIPE, cwd="/",
        )  # fmt: skip
        os.close(theirs)
        try:
            with os.fdopen(ready, "rb") as stream:
                assert stream.read() == b"1", process.stderr.read()
            yield guest, process
        finally:
            process.terminate()
            _, said = process.communicate(timeout=30)
            assert said == b""
            assert process.returncode == 0


def inside(guest: int, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs a program in the guest's namespaces to its end."""
    return subprocess.run(
        ["nsenter", "-t", str(guest), "-U", "-n", "--preserve-credentials", *words],
        capture_output=True, text=True, check=True, timeout=100, **options,
    )  # fmt: skip


JOB = """
import hashlib, json, socket, struct, sys, urllib.request

server, server6, size = sys.argv[1:]
found = {}
name = b"".join(bytes((len(one),)) + one.encode() for one in "big.example.org".split(".")) + b"\\0"
query = struct.pack(">6H", 5, 0x100, 1, 0, 0, 0) + name + b"\\0\\1\\0\\1"
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.settimeout(10)
    one.connect(("10.0.2.3", 53))
    one.send(query)
    found["udp"] = socket.inet_ntoa(one.recv(1000)[-4:])
with socket.create_connection(("10.0.2.3", 53), 10) as one:
    one.sendall(len(query).to_bytes(2, "big") + query)
    found["tcp"] = socket.inet_ntoa(one.makefile("rb").read(2 + len(query) + 16)[-4:])
for key, host in (("four", server), ("six", f"[{server6}]")):
    with urllib.request.urlopen(f"http://{host}/{size}", timeout=60) as page:
        whole = hashlib.sha256()
        while piece := page.read(1 << 20):
            whole.update(piece)
    found[key] = whole.hexdigest()
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.settimeout(10)
    one.connect((server, 7))
    one.send(b"echo")
    found["echo"] = one.recv(100).decode()
for key, port in (("refused", 9), ("loopback", 80)):
    try:
        socket.create_connection(("127.0.0.1" if key == "loopback" else server, port), 10)
    except OSError as error:
        found[key] = error.errno
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.settimeout(10)
    one.connect((server, 9))
    one.send(b"nobody")
    try:
        one.recv(1)
    except OSError as error:
        found["unreachable"] = error.errno
print(json.dumps(found))
"""


def has_ipv6(guest: int) -> bool:
    return (
        "fd00::" in inside(guest, "ip", "-6", "address", "show", "dev", "tap0", "-tentative").stdout
    )


@pytest.mark.parametrize("size", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_a_process_of_an_ordinary_user(size: int, tmp_path: Path) -> None:
    refused = 111
    with outside() as place, behind(place, tmp_path, "-p", f"{SERVER}:8080:80") as (guest, _):
        deadline = time.monotonic() + PATIENCE_S
        while not has_ipv6(guest):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        said = json.loads(
            inside(guest, sys.executable, "-c", JOB, SERVER, SERVER6, str(size)).stdout
        )
        assert said == {
            "udp": SERVER, "tcp": SERVER, "four": digest(size), "six": digest(size), "echo": "echo",
            "refused": refused, "loopback": refused, "unreachable": refused,
        }  # fmt: skip
        assert "1 received" in inside(guest, "ping", "-c1", "-W5", SERVER).stdout
        # What is published leads to it, and shows who the client is.
        serve = (
            "import socket; s = socket.create_server(('', 80)); print('serves', flush=True); "
            "one, peer = s.accept(); one.sendall(peer[0].encode())"
        )
        with subprocess.Popen(
            ["nsenter", "-t", str(guest), "-U", "-n", "--preserve-credentials", sys.executable,
             "-c", serve],
            stdout=subprocess.PIPE,
        ) as server:  # fmt: skip
            assert server.stdout is not None
            assert server.stdout.readline() == b"serves\n"

            def ask() -> bytes:
                with socket.create_connection((SERVER, 8080), 10, (CLIENT, 0)) as one:
                    return one.makefile("rb").read()

            assert place.call(ask) == CLIENT.encode()


def test_it_ends_with_its_guest_and_with_its_owner(tmp_path: Path) -> None:
    with outside() as place:
        with private(place, tmp_path) as guest:
            words = [sys.executable, "-m", "pystack", "gateway", "--netns", str(guest)]
            ready, theirs = os.pipe()
            process = as_nobody(
                place, tmp_path, *words, "--ready-fd", str(theirs), pass_fds=[theirs], cwd="/"
            )
            os.close(theirs)
            with os.fdopen(ready, "rb") as stream:
                assert stream.read() == b"1"
        assert process.wait(PATIENCE_S) == 0
        with private(place, tmp_path) as guest:
            ready, theirs = os.pipe()
            alive, ours = os.pipe()
            words = [sys.executable, "-m", "pystack", "gateway", "--netns", str(guest)]
            process = as_nobody(
                place, tmp_path, *words, "--ready-fd", str(theirs), "--exit-fd", str(alive),
                pass_fds=[theirs, alive], cwd="/",
            )  # fmt: skip
            os.close(theirs)
            os.close(alive)
            with os.fdopen(ready, "rb") as stream:
                assert stream.read() == b"1"
            os.close(ours)
            assert process.wait(PATIENCE_S) == 0


def test_what_is_not_this_users_is_refused(tmp_path: Path) -> None:
    with outside() as place:
        words = [sys.executable, "-m", "pystack", "gateway", "--netns"]
        for where, text in (
            (str(os.getpid()), b"/ns/net"),
            ("/proc/self/ns/net", b"namespace"),
            ("/dev/null", b"it is no network namespace"),
            ("/nowhere", b"No such file"),
        ):
            process = as_nobody(place, tmp_path, *words, where, stderr=subprocess.PIPE, cwd="/")
            _, said = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 1
            assert said.startswith(b"pystack: ")
            assert text in said, said
            assert said.count(b"\n") == 1


def raise_limit(count: int) -> bool:
    """Lets this process have so many descriptors; False: it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count <= hard or hard == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= count
