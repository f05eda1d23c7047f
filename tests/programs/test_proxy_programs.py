"""Programs on the kernel whose packets `pystack proxy` forwards: a client's namespace has a TUN and
nothing else, and the proxy's sockets are in the server's."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from installed import need
from namespace import Namespace, needs_namespace

pytestmark = needs_namespace

HOST, HOST6 = "203.0.113.1", "2001:db8:2::1"
DEVICE = "flow0"
BODY = bytes(range(256)) * 400
DIGEST = hashlib.sha256(BODY).hexdigest()
SERVER = """
import asyncio, http.server, socket, sys, threading

class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 512

threading.Thread(target=Server(("::", 80), Handler).serve_forever, daemon=True).start()
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.bind(("::", 7))
print("ready", flush=True)
while True:
    data, peer = udp.recvfrom(65536)
    udp.sendto(data, peer)
"""


@dataclass
class Place:
    client: Namespace
    server: Namespace

    def digests(self, count: int, url: str) -> list[str]:
        """What that many programs download at once."""
        command = ("curl", "-sf", "--max-time", "60", "-g", url)
        programs = [self.client.start(*command, stdout=subprocess.PIPE) for _ in range(count)]
        return [hashlib.sha256(one.communicate()[0]).hexdigest() for one in programs]


def until(true: object, what: str) -> None:
    for _ in range(2400):
        if true():  # type: ignore[operator]
            return
        time.sleep(0.025)  # another process does it
    pytest.fail(f"never: {what}")


@contextlib.contextmanager
def program(place: Namespace, *words: str, **options: object) -> Iterator[subprocess.Popen[str]]:
    running = place.start(*words, text=True, **options)
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(60)
        for stream in (running.stdout, running.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    need("curl")
    folder = tmp_path_factory.mktemp("www")
    (folder / "body").write_bytes(BODY)
    client, server = Namespace(), Namespace()
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(client.close)
        cleanup.callback(server.close)
        for address in (f"{HOST}/24", f"{HOST6}/64"):
            server.run("ip", "address", "add", address, "dev", "lo")
        # To this neighbour packets go, and from it none comes.
        server.run("ip", "link", "add", "quiet", "type", "veth", "peer", "name", "far")
        server.device("far")
        server.device("quiet", "198.51.100.1/24")
        silent = ("198.51.100.9", "lladdr", "02:00:00:00:00:09", "nud", "permanent")
        server.run("ip", "neighbour", "add", *silent, "dev", "quiet")
        server.run("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
        web = cleanup.enter_context(
            program(server, sys.executable, "-c", SERVER, cwd=folder, stdout=subprocess.PIPE)
        )
        assert web.stdout is not None
        assert web.stdout.readline() == "ready\n"
        command = (sys.executable, "-m", "pystack", "proxy", "--nic", f"tun:{DEVICE}")
        proxy = cleanup.enter_context(
            program(server, *command, "--connect-timeout", "20", stderr=subprocess.PIPE)
        )
        assert proxy.stderr is not None
        while "Proxying" not in (line := proxy.stderr.readline()):
            assert line, "the proxy has ended"
        # The TUN goes to the client: its packets leave by sockets of the server's namespace.
        server.run("ip", "link", "set", DEVICE, "netns", str(_holder(client, cleanup)))
        client.device(DEVICE, "192.0.2.1/24", "2001:db8:1::1/64")
        for route in (("ip",), ("ip", "-6")):
            client.run(*route, "route", "add", "default", "dev", DEVICE)
        yield Place(client, server)


def _holder(place: Namespace, cleanup: contextlib.ExitStack) -> int:
    """A process in a namespace, by which ip(8) can name it."""
    holder = cleanup.enter_context(program(place, "sleep", "600"))
    until(lambda: holder.pid in place.processes(), "a process in the namespace")
    return holder.pid


@pytest.mark.parametrize("host", [HOST, f"[{HOST6}]"])
def test_downloads_at_once(place: Place, host: str) -> None:
    assert place.digests(50, f"http://{host}/body") == [DIGEST] * 50


@pytest.mark.slow
def test_two_hundred_downloads(place: Place) -> None:
    assert place.digests(200, f"http://{HOST}/body") == [DIGEST] * 200


def test_nmap_sees_what_is_there(place: Place) -> None:
    need("nmap")
    command = ("nmap", "-sT", "-Pn", "-n", "--max-retries", "0", "-oG", "-")
    # So long it waits for an answer: who never answers is filtered.
    patient = ("--min-rtt-timeout", "30s", "--max-rtt-timeout", "60s")
    for family, host in (((), HOST), (("-6",), HOST6)):
        seen = place.client.run(*command, *patient, *family, "-p", "80,81", host).stdout
        assert "80/open/" in seen
        assert "81/closed/" in seen
    silent = place.client.run(*command, "-p", "80", "198.51.100.9").stdout
    assert "80/filtered/" in silent
    # A port without a program is closed, one with is open: UDP, too.
    words = ("nmap", "-sU", "-Pn", "-n", *patient, "-p", "9", "-oG", "-", HOST)
    seen = place.client.run(*words).stdout
    assert "9/closed/" in seen


def test_ping_is_answered_truthfully(place: Place) -> None:
    need("ping")
    for host in (HOST, HOST6):
        place.client.run("ping", "-c", "2", "-i", "0.2", "-W", "60", host)
    with pytest.raises(subprocess.CalledProcessError):
        place.client.run("ping", "-c", "1", "-W", "1", "198.51.100.9")


def test_datagrams(place: Place) -> None:
    def ask(family: int, host: str) -> None:
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.settimeout(20)
            client.connect((host, 7))
            for size in (1, 1000, 4000):
                client.send(b"x" * size)
                assert client.recv(65536) == b"x" * size

    place.client.call(ask, socket.AF_INET, HOST)
    place.client.call(ask, socket.AF_INET6, HOST6)


def test_dns_over_both(place: Place) -> None:
    need("dig")
    need("dnsmasq")
    words = ("dnsmasq", "-k", "-R", "-h", "-x", "", "--user=root", "--port=5353")
    with program(place.server, *words, "--address=/flow.test/192.0.2.99", stderr=subprocess.PIPE):
        for kind in ("-lun", "-ltn"):
            until(lambda kind=kind: ":5353" in _listening(place.server, kind), "dnsmasq")
        dig = ("dig", "+short", "+tries=2", "+time=30", "-p", "5353", f"@{HOST}", "flow.test")
        assert place.client.run(*dig).stdout.strip() == "192.0.2.99"
        assert place.client.run(*dig, "+tcp").stdout.strip() == "192.0.2.99"


def test_http2(place: Place, tmp_path: Path) -> None:
    need("nghttpd")
    (tmp_path / "body").write_bytes(BODY)
    with program(place.server, "nghttpd", "--no-tls", "-d", str(tmp_path), "8080"):
        command = ("curl", "-sf", "--http2-prior-knowledge", "--retry", "20", "--retry-connrefused")
        words = (*command, "-w", "%{http_version}", "-o", os.devnull, f"http://{HOST}:8080/body")
        assert place.client.run(*words).stdout == "2"


def test_iperf3(place: Place) -> None:
    need("iperf3")
    with program(place.server, "iperf3", "-s", "-1", stdout=subprocess.DEVNULL):
        until(lambda: "5201" in _listening(place.server), "iperf3's server")
        done = place.client.run("iperf3", "-c", HOST, "-t", "1", "-R")
        assert "receiver" in done.stdout


def _listening(place: Namespace, kind: str = "-ltn") -> str:
    return place.run("ss", kind).stdout


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_it_ends_in_order(place: Place, number: int, status: int) -> None:
    with program(
        place.server, sys.executable, "-m", "pystack", "proxy", "--nic", "tun:flow1",
        stderr=subprocess.PIPE,
    ) as running:  # fmt: skip
        assert running.stderr is not None
        while "Proxying" not in running.stderr.readline():
            continue
        running.send_signal(number)
        assert running.wait(60) == status
        assert "Traceback" not in running.stderr.read()
