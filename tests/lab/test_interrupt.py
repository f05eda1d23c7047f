"""A signal during `pystack lab run`: it ends, all of it, and what was found is reported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from quick import representatives

from pystack.lab.hosts.linux import missing
from pystack.lab.interrupt import TOGETHER_S

AWAY = tempfile.gettempdir()  # not in the source tree, which is not built
SLOW = '''
import os, signal, time
from pystack.lab.case import case

def tell(word):
    with open({fifo!r}, "w") as there:
        there.write(word)

@case("OWN-1.1", "It passes", rfc="RFC 1", section="1")
def quick(lab):
    """Nothing."""

@case("OWN-1.2", "It lasts", rfc="RFC 1", section="1", seconds=3600)
def slow(lab):
    """Wait."""
    word = "begun"
    while True:
        try:
            tell(word)
            time.sleep(3600)
        except BaseException:
            if not {stubborn}:
                raise
            word = "stubborn"

@case("OWN-1.3", "It has no turn", rfc="RFC 1", section="1")
def late(lab):
    """Nothing."""
'''

# Signals that a test sends together are together, however the machine is.
COMMAND = (
    "import pystack.lab.interrupt as one; one.TOGETHER_S = {}; from pystack.cli import main; main()"
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path


def begin(place: Path, host: str, *, stubborn: bool) -> subprocess.Popen[str]:
    path, fifo = place / "slow.py", str(place / "fifo")
    path.write_text(SLOW.format(fifo=fifo, stubborn=stubborn))
    return subprocess.Popen(
        [
            sys.executable, "-c", COMMAND.format(TOGETHER_S if stubborn else 60), "lab", "run",
            "--load", str(path), "--area", "OWN", "--host", host, "--patience", "7200",
            "--json", str(place / "found.json"), "--html", str(place / "found.html"),
            "--junit", str(place / "found.xml"), "--markdown", str(place / "found.md"),
        ],
        cwd=AWAY, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip


@pytest.fixture(params=representatives(["lwip", "linux"], ["lwip"]))
def host(request: pytest.FixtureRequest) -> str:
    if request.param == "linux" and (why := missing()) is not None:
        pytest.skip(why)
    return str(request.param)


def check(
    run: subprocess.Popen[str], place: Path, expected: dict[str, str], status: int = 130
) -> None:
    # Workers and agents have the pipes too: they end when nothing that the run started is left.
    out, err = run.communicate(timeout=60)
    assert run.returncode == status, out + err
    assert "Traceback" not in out + err
    note = f"Partial: the run was interrupted after {len(expected)} of 3 results."
    assert note in err
    found = json.loads((place / "found.json").read_text())
    assert {one["case"]: one["verdict"] for one in found["results"]} == expected
    assert found["partial"] == note
    assert note in (place / "found.md").read_text()
    assert note in (place / "found.xml").read_text()
    assert (place / "found.html").exists()


def test_it_ends_and_keeps_what_was_found(place: Path, host: str) -> None:
    with begin(place, host, stubborn=False) as run:
        try:
            assert (place / "fifo").read_text() == "begun"
            # As timeout(1) does; a terminal sends one, but to the agents too.
            os.kill(run.pid, signal.SIGINT)
            os.killpg(run.pid, signal.SIGINT)
            check(run, place, {"OWN-1.1": "pass"})
        finally:
            run.kill()


def test_a_second_time_ends_a_case_that_does_not(place: Path) -> None:
    with begin(place, "lwip", stubborn=True) as run:
        try:
            assert (place / "fifo").read_text() == "begun"
            os.kill(run.pid, signal.SIGINT)
            assert (place / "fifo").read_text() == "stubborn"
            time.sleep(2 * TOGETHER_S)  # a person's second one
            os.kill(run.pid, signal.SIGINT)
            check(run, place, {})
        finally:
            run.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_end_it_too(place: Path, number: int) -> None:
    with begin(place, "lwip", stubborn=False) as run:
        try:
            assert (place / "fifo").read_text() == "begun"
            os.kill(run.pid, number)
            check(run, place, {"OWN-1.1": "pass"}, 128 + number)
        finally:
            run.kill()


def test_nothing_is_left_of_a_run_that_is_killed(place: Path, host: str) -> None:
    with begin(place, host, stubborn=False) as run:
        assert (place / "fifo").read_text() == "begun"
        run.kill()
        run.communicate(timeout=60)  # until the last that has the pipes is gone
        assert run.returncode == -signal.SIGKILL
