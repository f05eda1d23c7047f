"""Worlds whose links are TAP devices, and programs of the machine's on a World's network."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from installed import needs_programs
from namespace import namespace, needs_namespace

from pystack import nic
from pystack.world import DeadlockError, World

SCENARIO = """
import sys
from pystack.world import World
try:
    with World(wires="tap") as world:
        world.link(world.host("a"), world.host("b"))
except OSError as error:
    sys.exit(f"{type(error).__name__} {error}")
"""


def inside(world: World, *words: str) -> str:
    """What a program says in the network namespace of a World's devices."""
    command = ["nsenter", f"--net={world.namespace}", *words]
    done = world.outside(
        lambda: subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    )
    return str(done.stdout)


class Page(BaseHTTPRequestHandler):
    """A page of 300 kB."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "300000")
        self.end_headers()
        self.wfile.write(bytes(300_000))

    def log_message(self, *_arguments: Any) -> None:
        """Says nothing."""


def serve() -> None:
    with HTTPServer(("", 80), Page) as server:
        server.serve_forever()


@needs_namespace
@pytest.mark.sanitize
@pytest.mark.parametrize("wires", ["memory", "tap"])
def test_the_same_scenario_over_tap(wires: str) -> None:
    with World(wires=wires, time="real", seed=3, trace=True) as world:
        client, server = world.host("client"), world.router("server")
        link = world.link(client, server, delay="10ms", rate="100Mbit/s", loss=0.02)
        world.link(server, world.host("third"), delay="1ms")
        server.thread(serve)
        client.ping("server")
        reply = client.ping("server").replies[0]
        assert reply.rtt_ms >= 20
        assert reply.rtt_ms < 21 or wires == "tap"  # a part of whose way is the kernel's
        with client.active(), urllib.request.urlopen("http://server/") as page:
            assert len(page.read()) == 300_000
        counts = link.counts(server)
        assert counts.lost > 0
        sent = world.trace.where(link=link.name, sender="server")
        assert (len(sent), len(sent.where(dropped=True))) == (counts.sent, counts.lost)
        link.down()
        assert client.ping("server", count=1, timeout=0.05).received == 0
        assert (link.devices is None) == (wires == "memory")
    assert world.namespace is None


@needs_namespace
def test_the_devices_are_there_and_go_with_the_world() -> None:
    before = set(Path("/sys/class/net").iterdir())
    with World(wires="tap") as world:
        a, b = world.host("a"), world.host("b")
        link = world.link(a, b, mtu=1400)
        a.ping("b")
        shown = inside(world, "ip", "-o", "link", "show", "master", "link0")
        assert sorted(re.findall(r"(link0-\w+)", shown)) == ["link0-left", "link0-right"]
        assert link.devices == ("link0-left", "link0-right")
        assert shown.count("mtu 1400") == 2
        before_b, before_a = link.counts(b).sent, link.counts(a).sent
        counted = json.loads(inside(world, "ip", "-s", "-j", "link", "show", "link0-right"))
        passed = counted[0]["stats64"]
        # What the right one gets is from b; and nothing is the kernel's.
        assert 0 < before_b <= passed["rx"]["packets"] <= link.counts(b).sent
        assert 0 < before_a <= passed["tx"]["packets"] <= link.counts(a).sent
        assert not Path(str(world.namespace)).samefile("/proc/self/ns/net")
        with pytest.raises(OSError, match="not supported"):
            world.snapshot()
    assert set(Path("/sys/class/net").iterdir()) == before


@needs_namespace
def test_crash_and_restart_over_tap() -> None:
    with World(wires="tap") as world:
        a, b = world.host("a"), world.host("b")
        world.link(a, b)
        assert a.ping("b").received
        b.crash()
        assert not a.ping("b", count=1, timeout=0.05).received
        b.restart()
        assert a.ping("b").received


@needs_namespace
@needs_programs("ping")
def test_programs_of_the_machines_reach_a_host() -> None:
    with namespace() as lan, lan.call(nic.Tap, "world0") as tap:
        lan.device("world0", "10.0.0.9/24")
        with World(time="real") as world:
            server, switch = world.host("server"), world.switch("lan")
            world.link(server, switch, delay="5ms")
            switch.attach(tap)
            server.thread(serve)
            said = world.outside(lan.run, "ping", "-c", "2", "-i", "0.2", "10.0.0.1").stdout
            # Less on a busy machine, whose World is behind the frame that comes.
            assert max(float(each) for each in re.findall(r"time=([\d.]+)", said)) > 9

            def fetch() -> int:
                with urllib.request.urlopen("http://10.0.0.1/", timeout=10) as page:
                    return len(page.read())

            assert world.outside(lan.call, fetch) == 300_000

            def listen() -> bytes:
                with socket.create_server(("10.0.0.9", 8080)) as listener:
                    ready.append(1)
                    connection, _peer = listener.accept()
                    with connection:
                        return connection.recv(100)

            ready: list[int] = []
            heard: list[bytes] = []
            thread = threading.Thread(target=lambda: heard.append(world.outside(lan.call, listen)))
            thread.start()
            while not ready:
                world.sleep(0.005)
            with server.sockets.create_connection(("10.0.0.9", 8080), 5) as sock:
                sock.sendall(b"hello")
            thread.join()
            assert heard == [b"hello"]


@needs_namespace
@needs_programs("ping")
def test_a_host_has_a_device() -> None:
    with namespace() as lan, lan.call(nic.Tap, "world0") as tap:
        lan.device("world0", "192.0.2.2/24")
        with World(time="real") as world:
            host = world.host("a")
            host.attach(tap, "192.0.2.1/24")
            reached = world.outside(lan.run, "ping", "-c", "1", "192.0.2.1").stdout
            assert " 0% packet loss" in reached
            assert host.ping("192.0.2.2").received == 1
            host.restart()
            assert [each.name for each in host.interfaces] == ["lo"]  # the links alone come back
            host.attach(tap, "192.0.2.1/24")
            assert host.ping("192.0.2.2").received == 1


@needs_namespace
def test_a_device_that_goes_is_waited_for_no_more() -> None:
    with namespace() as lan, lan.call(nic.Tap, "world0") as tap, World(time="real") as world:
        world.outside(lan.device, "world0")
        host, switch = world.host("a"), world.switch("lan")
        world.link(host, switch)
        switch.attach(tap)
        world.outside(lan.run, "ip", "link", "delete", "world0")
        began = world.now
        world.sleep(0.05)
        events, _frames = world.counts()
        world.sleep(0.05)
        assert world.counts()[0] - events < 100  # it doesn't spin
        assert world.now - began < 60


def with_words(*words: str) -> tuple[int, str]:
    """How the scenario ends as another user, and what it says."""
    done = subprocess.run(
        [*words, sys.executable, "-c", SCENARIO],
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    return done.returncode, done.stderr


@needs_namespace
def test_without_root_the_remedy_is_told_and_helps() -> None:
    if subprocess.run(["unshare", "--user", "true"], capture_output=True, check=False).returncode:
        pytest.skip("user namespaces are not allowed")
    status, said = with_words("unshare", "--user")  # a user with no rights
    assert status == 1
    assert said.startswith("PermissionError [Errno 1]")
    remedy = "unshare --map-root-user --net python ..."
    assert remedy in said
    assert with_words(*remedy.split()[:-2]) == (0, "")


@needs_namespace
def test_tap_wires_end_a_deadlock() -> None:
    with World(wires="tap") as world, pytest.raises(DeadlockError):
        threading.Event().wait()  # there is no device that something could come by
    assert world.namespace is None
