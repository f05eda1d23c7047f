"""The commands that put a Stack on a wire, as a user or a script types them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner
from namespace import Namespace, namespace, needs_namespace

from pystack import Stack
from pystack.cli import circles, cli
from pystack.cli.circles import Circles, device_towards
from pystack.cli.options import kernel_side
from pystack.nic import Descriptor

PROGRAM = [sys.executable, "-m", "pystack"]
AWAY = tempfile.gettempdir()  # not in the source tree, which is not built
WIRE = ("--nic", "tap:tap0", "--address", "10.1.0.2/24")
KERNEL = "10.1.0.1"


def pystack(
    *words: str, place: Namespace | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix(place), *PROGRAM, *words], capture_output=True, text=True, check=False, cwd=AWAY,
        timeout=300, env={**os.environ, **environment},
    )  # fmt: skip


def prefix(place: Namespace | None) -> list[str]:
    return [] if place is None else ["nsenter", f"--net={place.path}"]


@pytest.fixture
def place() -> Iterator[Namespace]:
    with namespace() as made:
        made.run("ip", "tuntap", "add", "tap0", "mode", "tap")
        made.device("tap0", f"{KERNEL}/24")
        yield made


@needs_namespace
def test_ping_prints_each_answer_as_it_comes_and_the_sum_after_ctrl_c(place: Namespace) -> None:
    process = subprocess.Popen(
        [*prefix(place), *PROGRAM, "ping", KERNEL, "-c", "1000", "-i", "0.3", "-W", "60", *WIRE],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=AWAY,
    )  # fmt: skip
    assert process.stdout is not None
    for number in (1, 2):
        assert f"from {KERNEL}: icmp_seq={number} " in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, said = process.communicate(timeout=300)
    assert f"{KERNEL}: " in rest.splitlines()[-1]
    assert " received, 0% lost, rtt min/avg/max" in rest.splitlines()[-1]
    assert (process.returncode, said.strip()) == (0, "")


@needs_namespace
def test_ping_and_traceroute_for_a_script(place: Namespace) -> None:
    done = pystack("ping", KERNEL, "-c", "2", "-i", "0", "-W", "60", "--json", *WIRE, place=place)
    first, second, total = map(json.loads, done.stdout.splitlines())
    assert (first["sequence"], second["sequence"], first["source"]) == (1, 2, KERNEL)
    assert (total["sent"], total["received"], total["loss"]) == (2, 2, 0.0)
    assert total["rtt_ms"]["min"] <= total["rtt_ms"]["max"]
    done = pystack("traceroute", KERNEL, "-w", "60", *WIRE, place=place)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].startswith(f" 1  {KERNEL}  ")
    done = pystack("traceroute", "10.1.0.9", "-m", "2", "-q", "1", "--json", *WIRE, place=place)
    assert done.returncode == 1
    assert [json.loads(line)["ttl"] for line in done.stdout.splitlines()] == [1, 2]


@needs_namespace
def test_faults_and_the_mtu(place: Namespace) -> None:
    one = ("ping", KERNEL, "-c", "1", "-W", "0.3")
    assert "100% lost" in pystack(*one, "--loss", "100", *WIRE, place=place).stdout
    done = pystack(*one, "-W", "60", "--json", "--delay", "60", *WIRE, place=place)
    assert json.loads(done.stdout.splitlines()[-1])["rtt_ms"]["min"] >= 120
    code = (
        "import socket; s = socket.create_connection(('10.1.0.1', 80)); "
        "print(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))"
    )
    with place.call(socket.create_server, (KERNEL, 80)):
        done = pystack("run", "--mtu", "1300", *WIRE, "--", "-c", code, place=place)
    assert int(done.stdout) <= 1260
    done = pystack(*one, "--mtu", "9", *WIRE, place=place)
    assert done.returncode == 2
    assert "'--mtu': 9 is not in the range" in done.stderr


@needs_namespace
def test_the_kernels_side_is_told_of_if_it_lacks_something() -> None:
    with namespace() as bare:
        done = pystack("run", *WIRE, "--", "-c", "print('runs')", place=bare)
        assert done.stdout == "runs\n"
        assert "tap0 goes away with this command" in done.stderr
        told = [line.strip() for line in done.stderr.splitlines() if line.startswith("  ")]
        assert told == [
            "ip tuntap add dev tap0 mode tap",
            "ip address add 10.1.0.1/24 dev tap0",
            "ip link set tap0 up",
        ]
        for line in told:
            bare.run(*line.split())
        done = pystack("run", *WIRE, "--", "-c", "print('runs')", place=bare)
        assert (done.stdout, done.stderr) == ("runs\n", "")


def test_the_other_ends_address_is_nobody_elses() -> None:
    ours = ("10.1.0.1/24", "10.1.0.2/24", "fd00::1/64", "10.1.1.0/31", "10.1.2.1/32")
    assert kernel_side("none0", ours) == [
        "ip address add 10.1.0.3/24 dev none0",
        "ip address add fd00::2/64 dev none0",
        "ip address add 10.1.1.1/31 dev none0",
        "ip link set none0 up",
    ]


def test_the_device_towards_an_address_is_the_kernel_s() -> None:
    assert device_towards("127.0.0.1") in ("lo", None)  # None: this kernel has no rtnetlink


def begin_to_connect(address: str) -> socket.socket:
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex((address, 80))
    return client


@needs_namespace
def test_a_proxy_whose_flows_would_come_back_says_so() -> None:
    def said(lines: int, *words: str) -> list[str]:
        """What it says until there are so many lines, while a connection is routed into it."""
        with contextlib.ExitStack() as cleanup:
            bare = cleanup.enter_context(namespace())
            bare.run("ip", "tuntap", "add", "dev", "tun0", "mode", "tun")
            bare.device("tun0", "10.9.0.1/24")
            bare.run("ip", "route", "add", "198.51.100.0/24", "dev", "tun0")
            proxy = cleanup.enter_context(
                subprocess.Popen(
                    [*prefix(bare), *PROGRAM, "proxy", "--nic", "tun:tun0", *words],
                    stderr=subprocess.PIPE, text=True, cwd=AWAY,
                )
            )  # fmt: skip
            cleanup.callback(proxy.terminate)
            cleanup.enter_context(bare.call(begin_to_connect, "198.51.100.7"))
            assert proxy.stderr is not None
            return [proxy.stderr.readline() for _ in range(lines)]

    circle = "pystack proxy: the kernel sends to {} by tun0, which is the wire itself: "
    proxying, told = said(2)
    assert proxying.startswith("Proxying")
    assert told.startswith(circle.format("198.51.100.7"))
    told, proxying = said(2, "--upstream", "socks5://198.51.100.9:1080")
    assert told.startswith(circle.format("198.51.100.9"))
    assert proxying.startswith("Proxying")
    (proxying,) = said(1, "--upstream", "socks5://127.0.0.1:1080")
    assert proxying.startswith("Proxying")


@needs_namespace
def test_serve_tells_only_what_is_amiss(place: Namespace) -> None:
    def said(address: str) -> str:
        words = ("serve", AWAY, "--nic", "tap:tap0", "--address", address)
        with subprocess.Popen(
            [*prefix(place), *PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, cwd=AWAY,
        ) as server:  # fmt: skip
            assert server.stdout is not None
            lines = ""
            try:
                for line in server.stdout:
                    lines += line
                    if line.startswith("Serving"):
                        break
            finally:
                server.terminate()
            return lines

    assert said("10.1.0.2/24").startswith("Serving")
    too = "is this machine's own address too"
    assert said(f"{KERNEL}/24").startswith(f"pystack serve: {KERNEL} {too}")
    place.run("ip", "address", "add", "10.1.0.7/24", "dev", "tap0")  # not the device's first
    assert said("10.1.0.7/24").startswith(f"pystack serve: 10.1.0.7 {too}")
    place.run("ip", "address", "add", "fd00::1/64", "dev", "tap0", "nodad")
    assert said("fd00::1/64").startswith(f"pystack serve: fd00::1 {too}")
    place.run("sysctl", "-q", "net.ipv4.ip_nonlocal_bind=1")
    assert said("10.1.0.2/24").startswith("Serving")


@pytest.mark.parametrize("how", ["reset", "Ctrl-C"])
def test_serve_shows_no_traceback_of_a_download_that_breaks_off(tmp_path: Path, how: str) -> None:
    (tmp_path / "big").write_bytes(bytes(5_000_000))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with theirs, Stack() as far:
        far.linger = 0
        far.attach(Descriptor(ours.detach()), f"{KERNEL}/24")
        with subprocess.Popen(
            [*PROGRAM, "serve", str(tmp_path), "--nic", f"fd:{theirs.fileno()}",
             "--address", "10.1.0.2/24"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=AWAY,
            pass_fds=[theirs.fileno()],
        ) as server:  # fmt: skip
            try:
                assert server.stdout is not None
                assert server.stderr is not None
                assert server.stdout.readline().startswith("Serving")
                with far.sockets.create_connection(("10.1.0.2", 8080), 30) as client:
                    client.sendall(b"GET /big HTTP/1.0\r\n\r\n")
                    assert client.recv(100)
                    assert '"GET /big' in server.stderr.readline()
                    if how == "reset":
                        client.setsockopt(
                            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                        )
                        client.close()
                        assert "Connection reset by peer\n" in server.stderr.readline()
                    server.send_signal(signal.SIGINT)
                    if how == "Ctrl-C":  # it waits for the client and says so, or has ended
                        line = server.stderr.readline()
                        assert line == "\n" or line.startswith("pystack: "), line
                rest = server.communicate(timeout=300)[1]
            finally:
                server.kill()
    assert rest.strip() == ""
    assert server.returncode == 130


def test_waiting_for_a_lease_is_told() -> None:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with left, right, subprocess.Popen(
        [*PROGRAM, "ping", KERNEL, "--nic", f"fd:{left.fileno()}", "--dhcp"],
        stderr=subprocess.PIPE, text=True, cwd=AWAY, pass_fds=[left.fileno()],
    ) as asking:  # fmt: skip
        try:
            assert asking.stderr is not None
            assert asking.stderr.readline() == "pystack ping: asking for a lease by DHCP ...\n"
        finally:
            asking.kill()


class Page(BaseHTTPRequestHandler):
    """Sends the first path on to another, which has a body."""

    def do_GET(self) -> None:
        if self.path == "/":
            self.send_response(302)
            self.send_header("Location", "/page")
            self.end_headers()
            return
        self.send_response(200 if self.path == "/page" else 404)
        self.end_headers()
        self.wfile.write(b"by TLS")

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def secure_server(place: Namespace, folder: Path) -> Iterator[Path]:
    """A server of the kernel's; yields the file with its authority."""
    trustme = pytest.importorskip("trustme")
    authority: Any = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(KERNEL).configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    server: HTTPServer = place.call(HTTPServer, (KERNEL, 443), Page)
    with server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield folder / "ca.pem"
        finally:
            server.shutdown()
            thread.join()


@needs_namespace
def test_get_by_https(place: Namespace, tmp_path: Path) -> None:
    with secure_server(place, tmp_path) as authority:
        trusted = {"SSL_CERT_FILE": str(authority), "https_proxy": "http://127.0.0.1:9"}
        done = pystack("get", f"https://{KERNEL}/", *WIRE, place=place, **trusted)
        assert (done.stdout, done.stderr, done.returncode) == ("by TLS", "", 0)
        file = tmp_path / "file"
        pystack("get", f"https://{KERNEL}/", "-o", str(file), *WIRE, place=place, **trusted)
        assert file.read_text() == "by TLS"
        done = pystack("get", f"https://{KERNEL}/no", *WIRE, place=place, **trusted)
        assert done.returncode == 1
        assert "404" in done.stderr
        done = pystack("get", f"https://{KERNEL}/", *WIRE, place=place)
        assert done.returncode == 1
        assert "CERTIFICATE_VERIFY_FAILED" in done.stderr


@pytest.mark.parametrize(
    ("answer", "printed", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody", "body", ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbody", "body", "body ended 5 bytes early"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nbody", "", "IncompleteRead"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "", "BadStatusLine('SSH-2.0-OpenSSH_9.2"),
        (b"", "", "Remote end closed connection"),
    ],
    ids=["whole", "cut", "chunk cut", "no http", "nothing"],
)
def test_get_from_a_server_that_breaks_off(answer: bytes, printed: str, said: str) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with theirs, Stack() as far:
        far.attach(Descriptor(ours.detach()), f"{KERNEL}/24")
        with far.sockets.create_server((KERNEL, 80)) as listener:

            def serve() -> None:
                with listener.accept()[0] as sock:
                    assert sock.recv(4096)
                    sock.sendall(answer)

            thread = threading.Thread(target=serve)
            thread.start()
            done = subprocess.run(
                [*PROGRAM, "get", f"http://{KERNEL}/", "--nic", f"fd:{theirs.fileno()}",
                 "--address", "10.1.0.2/24"],
                capture_output=True, text=True, check=False, cwd=AWAY, timeout=300,
                pass_fds=[theirs.fileno()],
            )  # fmt: skip
            thread.join()
    assert done.stdout == printed
    assert said in done.stderr
    assert (done.returncode, len(done.stderr.splitlines())) == ((1, 1) if said else (0, 0))


def test_a_file_that_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    for words in (
        ("lab", "run", "--html", str(tmp_path / "none" / "page.html")),
        ("lab", "run", "--json", str(tmp_path)),
        ("bench", "--json", str(tmp_path / "none" / "file")),
        ("get", "http://10.1.0.1/", "-o", str(tmp_path / "none" / "file"), *WIRE),
        ("ping", "10.1.0.1", "--capture", str(tmp_path / "none" / "file"), *WIRE),
    ):
        done = pystack(*words)
        assert done.returncode == 2, words
        assert done.stderr.startswith(f"pystack {words[0]}")
        assert len(done.stderr.splitlines()) == 1
        assert str(tmp_path) in done.stderr


def test_lists_for_a_script() -> None:
    wires = json.loads(pystack("nic", "list", "--json").stdout)
    assert {"wire", "about", "here"} == set(wires[0])
    pytest.importorskip("scapy")
    hosts = json.loads(pystack("lab", "hosts", "--json").stdout)
    assert next(one for one in hosts if one["name"] == "lwip")["missing"] is None
    cases = json.loads(pystack("lab", "list", "--json", "--area", "ARP").stdout)
    assert {one["area"] for one in cases} == {"ARP"}
    rows = json.loads(pystack("lab", "index", "--json", "--missing").stdout)
    assert all(one["cases"] == [] and one["unseen"] for one in rows)
    done = pystack("lab", "diff", "--json", "lwip", "lwip", "--case", cases[0]["id"])
    assert json.loads(done.stdout) == []


def test_a_terminal_that_knows_ascii_alone() -> None:
    done = pystack("nic", "list", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "tap:NAME" in done.stdout
    assert done.stdout.isascii()


def test_a_device_that_is_not_there_is_refused_first() -> None:
    done = pystack("proxy", "--nic", "fd:99", "--device", "none7")
    assert done.returncode == 2
    assert "Invalid value for '--device': there is no device 'none7'" in done.stderr


def test_mistakes_have_one_form() -> None:
    for words, status in (
        (("ping",), 2),
        (("nonsense",), 2),
        (("lab", "show", "NONE-1"), 2),
        (("ping", "10.1.0.1", "--nic", "fd:99", "--address", "10.0.0.2/24"), 1),
    ):
        done = pystack(*words)
        assert done.returncode == status
        assert done.stdout == ""
        assert done.stderr.startswith("pystack")
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [(), ("nic",), ("lab",)])
def test_a_group_alone_shows_its_help(words: tuple[str, ...]) -> None:
    done = pystack(*words)
    shown = done.stdout + done.stderr  # where, and the status: as this click has it
    assert shown.startswith("Usage: pystack")
    assert shown == pystack(*words, "--help").stdout
    assert done.returncode == (2 if done.stderr else 0)


def test_an_unknown_option_before_the_program_is_named() -> None:
    for words in (
        ("--adress", "10.0.0.2/24", "--nic", "fd:99", "script.py"),
        ("--nic", "fd:99", "--adress=10.0.0.2/24", "script.py"),
        ("--adress", "10.0.0.2/24", "script.py"),  # before what is missing
        ("--adress", "10.0.0.2/24", "--nic", "fd:99", "-m", "platform"),
        ("--nic", "fd:99", "--adress=10.0.0.2/24", "-c", "print('ran')", "--other"),
    ):
        done = pystack("run", *words)
        assert done.returncode == 2
        assert done.stderr.startswith("pystack run: No such option")
        assert "--adress" in done.stderr
        assert "--address" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    code = "import sys; print(sys.argv)"
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with left, right:
        done = subprocess.run(
            [*PROGRAM, "run", "--nic", f"fd:{left.fileno()}", "--address", "10.0.0.2/24",
             "-c", code, "--adress"],
            capture_output=True, text=True, check=False, cwd=AWAY, timeout=300,
            pass_fds=[left.fileno()],
        )  # fmt: skip
    assert done.stdout == "['-c', '--adress']\n"


@pytest.mark.parametrize("command", [("ping", KERNEL), ("run", "script.py"), ("serve", AWAY)])
@pytest.mark.parametrize(
    ("option", "value", "remedy"),
    [
        ("--nic", "tap0", "tap:NAME"),
        ("--nic", "tap:a-name-that-is-too-long", "15 bytes"),
        ("--nic", "fd:3,mtu=9", "from 68"),
        ("--nic", "fd:99999999999", "2147483647"),
        ("--address", "10.0.0.2", "10.0.0.2/24"),
        ("--address", "10.0.0.300/24", "as 10.0.0.2/24"),
        ("--gateway", "10.0.0.300", "as 10.0.0.1"),
        ("--nameserver", "one", "as 10.0.0.1"),
        ("--engine", "none", "lwip"),
        ("--capture", "x.txt", ".pcapng"),
        ("--delay", "nan", "finite"),
        ("--loss", "nan", "finite"),
    ],
)
def test_a_value_that_cannot_be_one_is_a_mistake_of_the_command_line(
    command: tuple[str, ...], option: str, value: str, remedy: str
) -> None:
    others = {"--nic": "fd:99", "--address": "10.0.0.2/24"}
    rest = [word for name, text in others.items() if name != option for word in (name, text)]
    ran = CliRunner().invoke(cli, [*command, *rest, option, value], prog_name="pystack")
    assert ran.exit_code == 2
    assert f"Invalid value for '{option}': " in ran.output
    assert re.split("[:=]", value)[-1] in ran.output
    assert remedy in ran.output


@pytest.mark.parametrize("name", sorted({*cli.list_commands(click.Context(cli))} - {"lab"}))
def test_every_option_says_what_it_is(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    inner = command.commands.values() if isinstance(command, click.Group) else [command]
    for option in (one for each in inner for one in each.params if isinstance(one, click.Option)):
        assert option.hidden or option.help, option.opts


def options_of(command: click.Command) -> Iterator[click.Parameter]:
    """All options of a command and of those below it."""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from options_of(inner)
    yield from command.params


def test_nan_is_no_number_anywhere() -> None:
    commands = [
        cli.get_command(click.Context(cli), name) for name in cli.list_commands(click.Context(cli))
    ]
    numbers = [
        one.type
        for command in commands
        if command is not None
        for one in options_of(command)
        if isinstance(one.type, click.types.FloatParamType)
    ]
    assert len(numbers) > 8
    for one in numbers:
        with pytest.raises(click.BadParameter, match="nan"):
            one.convert("nan", None, None)


def test_a_circle_is_seen_after_any_number_of_flows_that_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, asked, said = [0.0], [0], list[str]()

    def towards(address: str) -> str:
        asked[0] += 1
        return "tun0" if address == "2001:db8::1" else "eth0"

    monkeypatch.setattr(circles, "device_towards", towards)
    monkeypatch.setattr(circles.time, "monotonic", lambda: now[0])
    leads = Circles("tun0", None, said.append)
    for _ in range(10_000):
        assert leads(SimpleNamespace(destination=("192.0.2.1", 80))) == ("192.0.2.1", 80)
    assert asked[0] <= 100, "the kernel is not asked about each flow"
    assert not said
    for _ in range(10):  # it comes back again and again
        now[0] += 1
        leads(SimpleNamespace(destination=("2001:db8::1", 53, 0, 0)))
    assert len(said) == 1
    assert "2001:db8::1 by tun0" in said[0]
    count = asked[0]
    now[0] += 10
    leads(SimpleNamespace(destination=("192.0.2.1", 80)))
    assert asked[0] == count
