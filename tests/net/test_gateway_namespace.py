"""A gateway for a process in a namespace, by a user who may do nothing else."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gateway_place import PATIENCE_S, as_nobody, behind, inside, inside_words, private
from installed import needs_programs
from namespace import needs_namespace
from outside import CLIENT, SERVER, SERVER6, digest, outside

pytestmark = [needs_namespace, needs_programs("setpriv"), pytest.mark.timeout(180)]

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
    return "fd00::" in inside(guest, "ip", "-6", "address", "show", "tap0", "-tentative")


@pytest.mark.parametrize("size", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_a_process_of_an_ordinary_user(size: int, tmp_path: Path) -> None:
    refused = 111
    with outside() as place, behind(place, tmp_path, "-p", f"{SERVER}:8080:8081") as (guest, _):
        deadline = time.monotonic() + PATIENCE_S
        while not has_ipv6(guest):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert "qlen 4000" in inside(guest, "ip", "link", "show", "tap0")
        said = json.loads(inside(guest, sys.executable, "-c", JOB, SERVER, SERVER6, str(size)))
        assert said == {
            "udp": SERVER, "tcp": SERVER, "four": digest(size), "six": digest(size), "echo": "echo",
            "refused": refused, "loopback": refused, "unreachable": refused,
        }  # fmt: skip
        place.run("sh", "-c", "echo 0 65534 > /proc/sys/net/ipv4/ping_group_range")
        assert "1 received" in inside(guest, "ping", "-c1", "-W5", SERVER)
        # What is published leads to it, and shows who the client is.
        serve = (
            "import socket; s = socket.create_server(('', 8081)); print('serves', flush=True); "
            "one, peer = s.accept(); one.sendall(peer[0].encode())"
        )
        with subprocess.Popen(
            inside_words(guest, sys.executable, "-c", serve), stdout=subprocess.PIPE
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
            (str(os.getpid()), b"Permission denied"),
            ("/proc/self/ns/net", b"is the network namespace that this program runs in"),
            ("/dev/null", b"it is no network namespace"),
            ("/nowhere", b"No such file"),
        ):
            process = as_nobody(place, tmp_path, *words, where, stderr=subprocess.PIPE, cwd="/")
            _, said = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 1
            assert said.startswith(b"pystack gateway: ")
            assert text in said, said
            assert said.count(b"\n") == 1
