"""scapy and replays beside a Stack on a TAP, against a real web server on the kernel's side."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from installed import needs_library, needs_programs
from namespace import Namespace, namespace, needs_namespace
from scapy.config import conf
from scapy.layers.http import HTTP, HTTPRequest
from scapy.layers.inet import IP, TCP, TCP_client
from scapy.sendrecv import sr1

import pystack
from pystack import nic
from pystack.embed import replay
from pystack.scapy import installed, share

pytestmark = [needs_namespace, needs_programs("nginx")]

PAGE = b"<p>" + bytes(range(48, 58)) * 2000 + b"</p>"
KERNEL, STACK = "10.0.0.1", "10.0.0.2"
CONFIGURATION = """
daemon off; master_process off; user root; pid {0}/pid; error_log {0}/errors;
events {{}}
http {{
    access_log off;
    client_body_temp_path {0}/1; proxy_temp_path {0}/2; fastcgi_temp_path {0}/3;
    uwsgi_temp_path {0}/4; scgi_temp_path {0}/5;
    server {{ listen 80; listen [::]:80; root {0}/www; }}
}}
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Namespace]:
    """A namespace with nginx in it, and the kernel's side of a TAP."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "index.html").write_bytes(PAGE)
    (tmp_path / "nginx.conf").write_text(CONFIGURATION.format(tmp_path))
    with namespace() as made:
        made.run("ip", "tuntap", "add", "tap0", "mode", "tap")
        made.device("tap0", f"{KERNEL}/24", "fd00::1/64")
        server = made.start(
            "nginx", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"),
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            made.call(until_it_listens, server)
            yield made
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


def until_it_listens(server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection((KERNEL, 80), 30).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.01)
    pytest.fail("nginx doesn't listen")


def resets_from_the_kernel(place: Namespace) -> int:
    """How many the kernel has sent in the namespace."""
    shown = place.run("cat", "/proc/net/snmp").stdout
    names, values = (line.split() for line in shown.splitlines() if line.startswith("Tcp:"))
    return int(values[names.index("OutRsts")])


@needs_library("pcap")
def test_scapys_tcp_client_fetches_a_page(place: Namespace) -> None:
    with place.call(nic.Tap, "tap0") as tap, pystack.Stack() as net:
        shared = share(tap)
        net.attach(shared, f"{STACK}/24", "fd00::2/64")
        before, conf.verb = conf.verb, 0
        try:
            with installed(net):
                syn = IP(dst=KERNEL) / TCP(sport=4000, dport=80, flags="S")
                assert str(sr1(syn, timeout=30)[TCP].flags) == "SA"
                client = TCP_client.tcplink(HTTP, KERNEL, 80)
                client.send(HTTP() / HTTPRequest(Host=KERNEL.encode(), Connection=b"close"))
                answer = client.recv()
                client.close()
        finally:
            conf.verb = before
        assert answer.load == PAGE
        assert net.counters()["tcp.out_resets"] == 0
        assert net.ping(KERNEL, timeout=30).received == 1
        shared.close()


@needs_programs("curl", "tcpdump")
@pytest.mark.parametrize("way", [replay.packets, replay.stream], ids=["packets", "stream"])
def test_a_capture_of_curl_is_replayed(place: Namespace, tmp_path: Path, way: object) -> None:
    path = capture_of_curl(place, tmp_path)
    flows = [one for one in replay.read(path) if one.is_tcp]
    assert [":" in one.client.address for one in flows] == [False, True]
    with place.call(nic.Tap, "tap0") as tap, pystack.Stack() as net:
        shared = share(tap)
        net.attach(shared, f"{STACK}/24", "fd00::2/64")
        for flow in flows:
            to = ("fd00::1" if ":" in flow.client.address else KERNEL, 80)
            result = way(net, flow, to)  # type: ignore[operator]
            assert (result.answered, result.ending) == (True, replay.Ending.CLOSED)
            assert result.received.startswith(b"HTTP/1.1 200 OK\r\nServer: nginx")
            assert result.received.endswith(PAGE)
        assert net.counters()["tcp.out_resets"] == 0
        shared.close()


def capture_of_curl(place: Namespace, folder: Path) -> Path:
    """curl's requests by both families, as tcpdump sees them on the namespace's loopback."""
    path = folder / "curl.pcap"
    watching = place.start(
        "tcpdump", "-i", "lo", "-U", "--immediate-mode", "-Z", "root", "-w", str(path), "tcp",
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert watching.stderr is not None
    while "listening on" not in watching.stderr.readline():
        assert watching.poll() is None
    for url in (f"http://{KERNEL}/", "http://[fd00::1]/"):
        assert place.run("curl", "-sS", url).stdout.encode() == PAGE
    deadline = time.monotonic() + 30  # the last FIN's acknowledgement may be on its way
    while sum(has_ended(one) for one in replay.read(path)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=100)
    return path


def has_ended(flow: replay.CapturedFlow) -> bool:
    return sum(one.flags & 1 for one in flow.segments) >= 2


@needs_programs("curl", "tcpdump")
def test_the_command(place: Namespace, tmp_path: Path) -> None:
    path = capture_of_curl(place, tmp_path)
    command = [sys.executable, "-c", "from pystack.cli import main; main()", "replay", str(path)]
    done = place.run(
        *command, "--flow", "1", "--nic", "tap:tap0", "--address", f"{STACK}/24", "-o",
        str(tmp_path / "answer"), cwd="/",
    )  # fmt: skip
    assert (tmp_path / "answer").read_bytes().endswith(PAGE)
    assert "1: " in done.stdout
