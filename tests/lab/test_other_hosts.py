"""Other people's stacks as Hosts, and those of one's own, with the real clock."""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib import resources
from pathlib import Path

import pytest
from lab_hosts import kind_of
from namespace import needs_namespace
from quick import representatives
from scapy.layers.inet import TCP

from pystack.lab.case import catalogue
from pystack.lab.host import Host
from pystack.lab.hosts import hosts
from pystack.lab.packets import arp, icmp, ipv4, payload, tcp, udp
from pystack.lab.plan import Topology
from pystack.lab.run import run_case
from pystack.lab.tcp import connect, open_from_host
from pystack.lab.tester import Tester
from pystack.lab.verdict import HostCrashed, Unable, Verdict

NAMES = ("pytcp", "pytcp-3", "smoltcp", "lwipv6", "slirp", "passt")
QUICK = ("pytcp-3", "slirp")
EXAMPLES = Path(str(resources.files("pystack.examples")))
AWAY = tempfile.gettempdir()  # not in the source tree, which is not built
PYSTACK = [sys.executable, "-c", "from pystack.cli import main; main()"]
# Nobody packages these; who wants them brings them.
NOWHERE = {"external", "seastar", "lkl", "rump", "osv", "ukl", "mtcp", "mirage"}


def test_it_says_what_it_is(lab: Tester) -> None:
    assert lab.host.release
    assert not lab.host.virtual


def test_arp_and_ping(lab: Tester) -> None:
    lab.send(lab.arp_request())
    lab.expect(arp(op=2, psrc=lab.host4, hwsrc=lab.host_mac))
    lab.send(lab.echo(data=b"four"))
    lab.expect(ipv4(src=lab.host4) / icmp(type=0) / payload(b"four"))


def test_a_connection_to_it(lab: Tester) -> None:
    connect(lab).still_works()


def test_a_connection_from_it(lab: Tester) -> None:
    try:
        # passt's last acknowledgement comes with its first data.
        connection = open_from_host(lab, answer=lab.host.name != "passt")
    except Unable as why:
        assert lab.host.name == "smoltcp"
        assert "server" in str(why)
        return
    if lab.host.name != "passt":
        connection.still_works()


def test_datagrams_both_ways(lab: Tester) -> None:
    lab.meet()
    sock = lab.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((lab.host4, 5000))
    assert sock.getsockname()[1] == 5000
    with pytest.raises(BlockingIOError):
        sock.recvfrom(100)
    lab.send(lab.udp(4000, 5000, b"in"))
    data, peer = lab.until(lambda: sock.recvfrom(100))
    assert data == b"in"
    if lab.host.name in ("slirp", "passt"):  # the program sees the way, not who came by it
        assert peer[0] == "127.0.0.1"
        peer = (lab.tester4, 4000)
    assert tuple(peer[:2]) == (lab.tester4, 4000)
    sock.sendto(b"out", peer)
    lab.expect(udp(sport=5000, dport=4000) / payload(b"out"))


def test_every_case_begins_afresh(host: Host) -> None:
    for _ in range(3):
        plan = Topology.HOST.plan()
        host.start(plan)
        lab = Tester(host, plan)
        lab.meet()
        listener = lab.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind((lab.host4, 7777))
        listener.listen()
        # The same four-tuple again, while the last one would be in TIME-WAIT.
        lab.send(lab.ip() / TCP(sport=40001, dport=7777, flags="S", seq=1_000_000))
        lab.expect(tcp(flags="SA", ack=1_000_001))
        lab.finish()


def test_what_it_has_not_does_not_apply(host: Host) -> None:
    with pytest.raises(Unable, match="wire"):
        host.start(Topology.ROUTER.plan())
    if host.name == "smoltcp":
        case = next(one for one in catalogue() if one.area == "ARP")
        result = run_case(host, case)
        assert result.verdict is Verdict.NOT_APPLICABLE
        assert "link layer" in result.reason
    if host.name == "slirp":
        host.start(Topology.HOST.plan())
        lab = Tester(host, Topology.HOST.plan())
        with pytest.raises(Unable, match="IPv6"):
            lab.send(lab.echo6())


def _descriptors() -> set[str]:
    found = set()
    for one in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(f"{one.name}: {one.readlink()}")
    return found


def _children() -> set[int]:
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        found |= set(map(int, (task / "children").read_text().split()))
    return found


@pytest.mark.parametrize("name", representatives(NAMES, QUICK))
def test_a_crash_is_noticed_and_nothing_left_behind(name: str) -> None:
    kind = kind_of(name)
    plan = Topology.HOST.plan()
    gc.collect()  # of other tests
    children, descriptors = _children(), _descriptors()
    host = kind.make()
    try:
        for _ in range(3):
            host.start(plan)
        (program,) = _children() - children
        os.kill(program, signal.SIGKILL)
        with pytest.raises(HostCrashed):
            host.wait(5)
        with pytest.raises(HostCrashed):
            host.socket(socket.AF_INET, socket.SOCK_DGRAM)
        host.start(plan)
        lab = Tester(host, plan)
        lab.send(lab.arp_request())
        lab.expect(arp(op=2))
    finally:
        host.stop()
    host.stop()
    assert _children() == children
    assert _descriptors() == descriptors


# --- those of one's own ----------------------------------------------------------------------


def test_who_is_not_here_is_named() -> None:
    for name in NOWHERE:
        assert hosts()[name].missing()
    assert "external" in str(hosts()["seastar"].missing())


def _lab(*words: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PYSTACK, "lab", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=AWAY,
        **options,  # type: ignore[call-overload]
    )


@pytest.mark.slow
def test_a_case_and_a_host_in_a_file_each(tmp_path: Path) -> None:
    case, host = EXAMPLES / "my_case.py", EXAMPLES / "my_host.py"
    assert len(case.read_text().splitlines()) < 40
    assert len(host.read_text().splitlines()) < 150
    found = tmp_path / "found.json"
    load = ("--load", case, "--load", host)
    ran = _lab(
        "run", *load, "--host", "toy", "--host", "lwip", "--area", "MINE", "--case", "ARP-3.1",
        "--json", found,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    results = json.loads(found.read_text())["results"]
    assert len(results) == 4
    assert {one["verdict"] for one in results} == {"pass"}
    blind = _lab("mutants", "--load", case, "--case", "MINE-1.1")
    assert "1 of 1 cases fail on their mutant" in blind.stdout
    assert "toy" in _lab("hosts", "--load", host).stdout


@pytest.fixture(scope="module")
def agent_in_c(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = Path(str(resources.files("pystack.lab"))) / "agent"
    program = tmp_path_factory.mktemp("agent") / "agent"
    sources = [folder / name for name in ("agent.c", "tables.c", "words.c")]
    for source in (*sources, folder / "agent.py", folder / "tables.py"):
        assert len(source.read_text().splitlines()) < 300
    subprocess.run(
        [compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", "-o", program, *sources], check=True
    )
    return program


IDS = ("ARP-1.1", "ARP-2.6", "ARP-2.8", "ARP-3.1", "UDP-1.2", "UDP-4.1", "UDP-5.1", "TCP-1.1")


@needs_namespace
@pytest.mark.parametrize("language", ["C", "Python"])
def test_the_kernel_as_an_external_host(agent_in_c: Path, tmp_path: Path, language: str) -> None:
    script = Path(str(resources.files("pystack.lab"))) / "agent/agent.py"
    path, found = tmp_path / "socket", tmp_path / "found.json"
    words = {
        "C": [agent_in_c, "labt", f"unix:{path}"],
        "Python": [
            *(sys.executable, "-ESsB", script),
            *("--interfaces", "labt", "--listen", f"unix:{path}"),
        ],
    }[language]
    # The agent, and the lab, in a namespace of their own that ends with them.
    both = '"$@" & agent=$!; exec 3>&1; eval "$RUN"; code=$?; kill $agent; exit $code'
    run = [
        *(*PYSTACK, "lab", "run", "--host", "external", "--external-wire", "tap:labt"),
        *("--external-agent", f"unix:{path}", "--json", str(found)),
        *(word for one in IDS for word in ("--case", one)),
    ]
    ran = subprocess.run(
        ["unshare", "--net", "sh", "-c", both, "sh", *map(str, words)],
        env={**os.environ, "RUN": " ".join(f"'{word}'" for word in run)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=AWAY,
    )
    assert found.exists(), ran.stdout + ran.stderr
    results = json.loads(found.read_text())["results"]
    assert {one["case"] for one in results} == set(IDS)
    assert [one for one in results if one["verdict"] != "pass"] == []
    assert {one["release"] for one in results} == {f"Linux {os.uname().release}"}


def test_the_protocol_is_written_down() -> None:
    text = (resources.files("pystack.lab") / "agent" / "PROTOCOL.md").read_text("utf-8")
    source = (resources.files("pystack.lab") / "agent" / "agent.py").read_text("utf-8")
    source += (resources.files("pystack.lab") / "agent" / "tables.py").read_text("utf-8")
    verbs = set(re.findall(r"def do_(\w+)", source))
    assert len(verbs) > 20
    for verb in verbs:
        assert f"`{verb} " in text or f"`{verb}`" in text, verb
