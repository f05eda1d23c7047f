"""Other projects' own tests of their sockets, on a Stack's: trio, requests, urllib3.

trio's come with it; the others' are taken from their source distributions. The reference is the
same run on the kernel's sockets.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest
from namespace import needs_namespace

pytestmark = [needs_namespace, pytest.mark.timeout(900)]

WORKER = Path(__file__).with_name("pytest_worker.py")


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
    words = ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"]
    done = subprocess.run(
        [*words, sys.executable, str(WORKER), kind, str(report), "--timeout", "60",
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


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)
def test_their_own_tests_pass_as_on_the_kernel(project: Project, tmp_path: Path) -> None:
    if importlib.util.find_spec(project.name) is None:
        pytest.skip(f"no {project.name} here")
    place = tmp_path
    if project.from_source:
        (tmp_path / "source").mkdir()
        place = source(project, tmp_path / "source")
    kernel = passed(project, "kernel", place, tmp_path)
    stack = passed(project, "stack", place, tmp_path)
    for _ in range(2):
        if kernel <= stack:
            break
        stack |= passed(project, "stack", place, tmp_path)  # what races may lose once
    assert sorted(kernel - stack) == []
