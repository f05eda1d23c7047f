"""mypy and pyright are content with what users write: tests with Worlds, and the examples."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

USERS = """
from __future__ import annotations

import asyncio
import datetime
import socket

import pystack
from pystack.world import CoDel, Faults, Host, Link, World


@pystack.world_test(seeds=20, faults=Faults(crash=["server"]))
def test_threads(world: World) -> None:
    client, server = world.host("client"), world.host("server")
    link: Link = world.link(client, server, delay="20ms", loss=0.01, queue=CoDel())
    link.down()
    link.up()

    def serve(port: int) -> None:
        with socket.create_server(("", port)) as listener:
            connection, _peer = listener.accept()
            connection.sendall(b"hello")

    server.service(serve, 80)
    client.thread(serve, 81).join(timeout=5)
    world.sleep(5)
    frames = world.trace.where(sender="client", since=1.0).frames
    assert sorted(one.at for one in frames) == [one.at for one in frames]
    assert world.choose("size", [1, 2]).bit_length()


@pystack.world_test()
async def test_tasks(world: World) -> None:
    host: Host = world.router("a")

    async def ask() -> datetime.datetime:
        await asyncio.sleep(1)
        return datetime.datetime.now()

    asked: datetime.datetime = await host.run(ask())
    assert asked < await host.spawn(ask())


def test_fixtures(world: World, stack: pystack.Stack) -> None:
    with stack.sockets.create_server(("127.0.0.1", 0)) as listener:
        assert listener.getsockname()[1]
    assert world.run(asyncio.sleep(1, "x")).upper() == "X"
    found = pystack.world.explore(lambda world: world.sleep(1), seeds=5)
    if found.failure is not None:
        print(found.failure.error, found.shrunk)
    with pystack.Stack() as net, net.installed():
        eth0 = net.attach(pystack.nic.Tap("tap0"), "10.0.0.2/24", gateway="10.0.0.1")
        print(net.ping("10.0.0.1").received, net.connections()[0].local, eth0.up)
    left, right = pystack.nic.wire()
    print(left.mtu + right.mtu)
"""
# Whose types are not in order themselves.
FOREIGN = {"boofuzz_target"}


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """A folder with the user's module, and the examples as if they were the user's."""
    (tmp_path / "test_users.py").write_text(USERS)
    for path in Path(str(resources.files("pystack.examples"))).glob("*.py"):
        if path.stem not in {"__init__", *FOREIGN}:
            shutil.copy(path, tmp_path)
    return tmp_path


def check(folder: Path, *words: str) -> None:
    done = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_mypy(users: Path) -> None:
    pytest.importorskip("mypy")
    check(users, sys.executable, "-m", "mypy", "--strict", "test_users.py")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_pyright(users: Path) -> None:
    pytest.importorskip("pyright")
    pyright = [sys.executable, "-m", "pyright"]
    try:  # it brings its own program at its first run
        subprocess.run([*pyright, "--version"], check=True, capture_output=True, timeout=150)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip("pyright couldn't bring its own program")
    (users / "pyrightconfig.json").write_text("{}")
    check(users, *pyright, "--pythonpath", sys.executable)
