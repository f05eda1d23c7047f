"""Other projects' own tests of their sockets, on a Stack's: trio, requests, urllib3, anyio.

trio's come with it; the others' are taken from their source distributions. The reference is the
same run on the kernel's sockets, in a namespace that looks like a host with a network: the C
library finds an address only where an interface beside loopback has one (AI_ADDRCONFIG), and
localhost is ::1 too.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest
from namespace import needs_namespace
from quick import representatives

pytestmark = [needs_namespace, pytest.mark.timeout(900)]

WORKER = Path(__file__).with_name("pytest_worker.py")

# Its first argument is the hosts file; the rest is run.
HOST = """
set -e
ip link set lo up
ip tuntap add dev tap0 mode tap
ip address add 192.0.2.1/24 dev tap0
ip address add 2001:db8::1/64 dev tap0 nodad
ip address add fe80::1/64 dev tap0 nodad
ip link set tap0 up
mount --bind "$1" /etc/hosts
shift
exec "$@"
"""
# The last two are names that anyio looks up.
HOSTS = """\
127.0.0.1 localhost
::1 localhost
192.0.2.2 xn--fa-hia.de
192.0.2.3 fass.de
"""


@dataclass(frozen=True)
class Project:
    """Which tests of a project, how many at least, and what else pytest is told."""

    name: str
    tests: tuple[str, ...]
    least: int
    options: tuple[str, ...] = ()
    from_source: bool = True


PROJECTS = (
    Project(
        "trio",
        tuple(
            f"trio._tests.test_{name}"
            for name in (
                "socket",
                "highlevel_socket",
                "highlevel_open_tcp_stream",
                "highlevel_open_tcp_listeners",
                "highlevel_serve_listeners",
                "highlevel_ssl_helpers",
                "ssl",
            )
        ),
        100,
        ("-p", "trio._tests.pytest_plugin", "--pyargs"),
        from_source=False,
    ),
    Project("requests", ("tests/test_lowlevel.py", "tests/test_testserver.py"), 20),
    Project("urllib3", ("test/with_dummyserver/test_socketlevel.py",), 100),
    Project(
        "anyio",
        ("tests/test_sockets.py", "tests/streams/test_tls.py"),
        700,
        ("-k", "not uvloop"),  # its streams are the kernel's, whatever `socket` is
    ),
)


def source(project: Project, folder: Path) -> Path:
    """The project's source distribution, unpacked, of the release that is installed."""
    version = importlib.metadata.version(project.name)
    words = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, f"{project.name}=={version}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"no source of {project.name} to be had: {done.stderr[-300:]}")
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    return next(path for path in folder.iterdir() if path.is_dir())


def passed(project: Project, kind: str, place: Path, folder: Path) -> set[str]:
    """The names of the tests that pass."""
    report = folder / f"{kind}.xml"
    hosts = folder / f"{kind}.hosts"
    hosts.write_text(HOSTS)
    words = ["unshare", "--net", "--mount", "sh", "-c", HOST, "sh", str(hosts)]
    done = subprocess.run(
        [*words, sys.executable, str(WORKER), kind, str(report), "--timeout", "60",
         "-p", "no:asyncio",  # which warns where a project says nothing of it
         *project.options, *project.tests],
        capture_output=True, text=True, check=False, cwd=place, timeout=280,
    )  # fmt: skip
    assert report.exists(), done.stdout[-2000:] + done.stderr[-2000:]
    # Our own report of a run that we started: nobody else's XML.
    cases = ElementTree.parse(report).iter("testcase")
    found = {
        f"{case.get('classname')}.{case.get('name')}" for case in cases if not case.findall("*")
    }
    assert len(found) >= project.least, done.stdout[-3000:] + done.stderr[-2000:]
    return found


@pytest.mark.parametrize(
    "project", representatives(PROJECTS, PROJECTS[:1]), ids=lambda project: project.name
)
def test_their_own_tests_pass_as_on_the_kernel(project: Project, tmp_path: Path) -> None:
    if importlib.util.find_spec(project.name) is None:
        pytest.skip(f"no {project.name} here")
    place = tmp_path
    if project.from_source:
        (tmp_path / "source").mkdir()
        place = source(project, tmp_path / "source")
    with ThreadPoolExecutor() as both:  # each waits most of the time
        kernel, stack = both.map(
            lambda kind: passed(project, kind, place, tmp_path), ("kernel", "stack")
        )
    for _ in range(2):
        if kernel <= stack:
            break
        stack |= passed(project, "stack", place, tmp_path)  # what races may lose once
    assert sorted(kernel - stack) == []
