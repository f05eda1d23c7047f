"""`pystack.examples`: each runs as it stands, and prints what it is there to show."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

import pytest
from installed import needs_library, needs_programs
from namespace import namespace, needs_namespace

AWAY = tempfile.gettempdir()  # not in the source tree, which is not built
FOLDER = Path(str(resources.files("pystack.examples")))
PYTHON = [sys.executable, "-X", "dev", "-W", "error"]


def run(name: str, *words: str | Path, folder: str | Path = AWAY) -> str:
    done = subprocess.run(
        [*PYTHON, "-m", f"pystack.examples.{name}", *map(str, words)],
        capture_output=True, text=True, check=False, cwd=folder, timeout=300,
    )  # fmt: skip
    # Development mode has asyncio tell of steps that take long, as on a busy machine.
    told = re.sub(r"^Executing <.*> took [\d.]+ seconds\n", "", done.stderr, flags=re.MULTILINE)
    assert (done.returncode, told) == (0, ""), done.stdout
    return done.stdout


@pytest.mark.parametrize(
    ("name", "shows"),
    [
        ("first_socket", "127.0.0.1 says 'hello'\n<Stack lwip 2.2.1"),
        ("two_stacks", "HELLO OVER THERE\nProto"),
        ("tunnel", "hello, 10.0.0.1\n"),
        ("intercept", "you asked 2001:db8::7\nport 25: Permission denied\nport 81: Connection"),
        ("forwarder", "HELLO\nport 1: Connection refused\n1 accepted, 1 refused\n"),
        ("socks_server", "hello, 10.0.0.1\n"),
        ("asyncio_stacks", "".join(f"you said hello {number}\n" for number in range(5))),
        (
            "gateway",
            "the guest is 10.0.2.100/24, its router 10.0.2.2\ngateway.internal is 10.0.2.2\n"
            "to the guest: hello, 127.0.0.1\nfrom the guest: hello, 10.0.2.2\n",
        ),
        ("python_nic", "HELLO THROUGH PYTHON\n"),
        ("device_tunnel", "1 answer to a ping\nthe device got hello, red\n"),
        ("wireguard", "hello, 10.9.0.2\n"),
        ("ping", "1  10.0.1.1"),
        ("crash_and_retry", "59.80 s  'half and half'\n"),
        ("chat", "6.0 s  Ann hears 'Hi Ann.'\n"),
        ("chat", "s  Bob hears 'Anybody?'\n"),
        ("real_time", "the same frames: True\n"),
        ("http_threads", "3202016 bytes in "),
        (
            "http_clients",
            "  5.70 s  http://server/20 by httpx: ReadTimeout\n"
            " 20.56 s  http://server/20 by aiohttp: here it is\n",
        ),
        (
            "hole_punching",
            "port-restricted, both: alice hears bob, bob hears alice\n"
            "restricted and symmetric: alice hears bob, bob hears alice\n"
            "port-restricted and symmetric: they don't reach each other\n",
        ),
        (
            "black_hole",
            "400 bytes: the server has got 400\n"
            "40,000 bytes: no answer, and 7 segments sent again\n"
            "<Switch near> dropped 18 frames in silence\n"
            "with the tunnel's MTU: the server has got 40000\n",
        ),
        (
            "bufferbloat",
            "FIFO: 235 ms a ping, 10.3 Mbit/s\n"
            "CoDel: 24 ms a ping, 9.6 Mbit/s\n"
            "FQ-CoDel: 21 ms a ping, 9.6 Mbit/s\n",
        ),
        (
            "fuzz_server",
            "seed 0: IndexError('index out of range') after b'SET 9  ello\\n'\n",
        ),
        ("week_of_keepalive", "ESTABLISHED\nConnection timed out after 0.19 hours\n"),
    ],
)
def test_what_it_shows(name: str, shows: str) -> None:
    assert shows in run(name)


@needs_library("pcap")
def test_scapy_is_not_reset() -> None:
    pytest.importorskip("scapy")
    assert run("scapy_beside") == (
        "{22: 'RA', 80: 'SA'}\nthe server acknowledges 101 with SA\nb'hello'\n0 resets\n"
    )


def test_boofuzz_drives_a_server_through_tamper(tmp_path: Path) -> None:
    pytest.importorskip("boofuzz")
    assert run("boofuzz_target", folder=tmp_path) == "40 cases, 7 names were too long\n"


def test_bufferbloat_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run("bufferbloat", tmp_path / "plot.svg")
    assert b"FQ-CoDel" in (tmp_path / "plot.svg").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shows"),
    [
        ("loss_and_round_trip", " 10 ms, loss  1.0%: 15.12 Mbit/s, 1.07"),
        ("election", "AssertionError: two leaders in one term: "),
        ("half_open", "40 runs, 8000 s of virtual time in "),
    ],
)
def test_what_it_shows_after_a_while(name: str, shows: str) -> None:
    assert shows in run(name)


@pytest.mark.slow
def test_virtual_time_is_repeatable() -> None:
    shown = run("virtual_time")
    # SYN, ACK, and a probe for each ten minutes without one: the sixth is due at the very end.
    assert "3600.0 s: idle for an hour, 7 segments sent" in shown
    # That one goes unanswered, and so do eight more, 75 s apart; 75 s after the last it is over,
    # and within a second the program sees it.
    assert "4276.0 s: the peer is found to be gone\n" in shown
    assert run("virtual_time") == shown


def test_the_capture_shows_what_was_sent_again(tmp_path: Path) -> None:
    path = tmp_path / "lossy.pcapng"
    shown = run("capture", folder=tmp_path)
    again = re.search(r"1048576 bytes arrived, (\d+) segments were sent again", shown)
    assert again
    assert int(again[1]) > 0
    assert path.stat().st_size > 1 << 20


@needs_namespace
def test_ping_on_a_nic() -> None:
    with namespace() as place:
        place.run("ip", "tuntap", "add", "tap0", "mode", "tap")
        place.device("tap0", "10.0.0.1/24")
        shown = place.run(
            *PYTHON, "-m", "pystack.examples.ping", "10.0.0.1", "--nic", "tap:tap0", cwd=AWAY
        ).stdout
        assert "2: 10.0.0.1: 1 sent, 1 received" in shown


@needs_namespace
def test_a_download_over_tap() -> None:
    assert "{'wires': 'tap'}: 500000 bytes in " in run("real_time", "tap")


@needs_namespace
@needs_programs("curl")
def test_the_web_server_on_a_tap() -> None:
    with namespace() as place:
        place.run("ip", "tuntap", "add", "tap0", "mode", "tap")
        place.device("tap0", "10.0.0.1/24")
        server = place.start(
            *PYTHON, "-m", "pystack.examples.web_server", cwd=FOLDER,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            assert server.stdout is not None
            assert b"Serving" in server.stdout.readline()
            got = place.run("curl", "-sS", "http://10.0.0.2/web_server.py").stdout
            assert got == (FOLDER / "web_server.py").read_text("utf-8")
        finally:
            server.send_signal(signal.SIGINT)
            out, err = server.communicate(timeout=300)
        assert (server.returncode, out) == (0, b"Bye\n"), err


def test_the_case_of_one_s_own(tmp_path: Path) -> None:
    pytest.importorskip("scapy")
    found = tmp_path / "found.json"
    done = subprocess.run(
        [
            sys.executable, "-c", "from pystack.cli import main; main()", "lab", "run",
            "--load", str(FOLDER / "my_case.py"), "--load", str(FOLDER / "my_host.py"),
            "--host", "lwip", "--host", "toy", "--case", "MINE-1.1", "--json", str(found),
        ],
        capture_output=True, text=True, check=False, cwd=AWAY, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = {one["host"]: one["verdict"] for one in json.loads(found.read_text())["results"]}
    assert verdicts == {"lwip": "pass", "toy": "pass"}


LARGEST = 59  # lines: what is read at a glance
LARGER = {"boofuzz_target", "my_host", "python_nic", "scapy_beside"}  # another's interface, whole


def test_every_example_is_short() -> None:
    sizes = {path.stem: len(path.read_text("utf-8").splitlines()) for path in FOLDER.glob("*.py")}
    assert {name for name, lines in sizes.items() if lines > LARGEST} == LARGER


def test_every_example_is_named_and_tried() -> None:
    import pystack.examples

    tried = Path(__file__).read_text("utf-8")
    for path in FOLDER.glob("*.py"):
        if path.stem != "__init__":
            assert f"`{path.stem}`" in str(pystack.examples.__doc__)
            assert f'"{path.stem}"' in tried or f"{path.stem}" in tried
