"""Python started in a checkout: its `pystack` uses the extension that is installed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pystack

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = Path(pystack.__file__).resolve().parents[1]

if INSTALLED == ROOT:
    pytest.skip("pystack was built in place", allow_module_level=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source tree as a checkout has it, with no compiled parts."""
    made = tmp_path / "checkout"
    skip = shutil.ignore_patterns("__pycache__", "lab", "*.so")
    shutil.copytree(ROOT / "pystack", made / "pystack", ignore=skip)
    shutil.copytree(ROOT / "bindings", made / "bindings", ignore=skip)
    shutil.copy(ROOT / "pyproject.toml", made)
    return made


def python(folder: Path, code: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """Python, started in a folder, with those options."""
    environment = {**os.environ, "PYTHONPATH": ""}
    return subprocess.run(
        [sys.executable, *options, "-c", code], cwd=folder, env=environment, capture_output=True,
        text=True, check=False, timeout=300,
    )  # fmt: skip


def refusal(ran: "subprocess.CompletedProcess[str]") -> str:
    """What the ImportError says that ended it."""
    assert ran.returncode == 1, ran
    return ran.stderr.splitlines()[-1]


def test_the_installed_extension_serves_the_tree(tree: Path) -> None:
    ran = python(
        tree,
        "import pystack\n"
        "with pystack.Stack() as net:\n"
        "    net.ping('127.0.0.1')\n"
        "from pystack._native import _host\n"
        "print(pystack.__file__, _host.__file__, sep='\\n')",
    )
    assert ran.returncode == 0, ran.stderr
    package, extension = map(Path, ran.stdout.splitlines())
    assert package.is_relative_to(tree)
    assert extension.is_relative_to(INSTALLED)


def test_without_an_installed_one_it_says_what_to_do(tree: Path) -> None:
    text = refusal(python(tree, "import pystack", "-S"))
    assert text == (
        f"ImportError: {tree} is pystack's source, without compiled parts, and no pystack is "
        f"installed for {sys.executable}: run `{sys.executable} -m pip install .` there, or build "
        "in place (pystack/manual/building.md)"
    )


def test_another_version_is_refused(tree: Path) -> None:
    project = tree / "pyproject.toml"
    changed, count = re.subn(r'(?m)^version = ".*"', 'version = "99.1"', project.read_text("utf-8"))
    assert count == 1
    project.write_text(changed, "utf-8")
    text = refusal(python(tree, "import pystack"))
    assert text.startswith(
        f"ImportError: {tree} is pystack's source, version 99.1, and version {pystack.__version__} "
        f"is installed in {INSTALLED}: run `{sys.executable} -m pip install .` there again"
    )


def test_other_headers_are_refused_each_time(tree: Path) -> None:
    header = tree / "bindings/host/api/nic_api.h"
    before = header.read_text("utf-8")
    header.write_text(before.replace("/*", "/* More of it. ", 1), "utf-8")
    assert python(tree, "import pystack").returncode == 0
    header.write_text(before.replace("ps_nic_release(ps_nic *nic)", "ps_nic_let_go(void)"), "utf-8")
    twice = "try:\n    import pystack\nexcept ImportError:\n    import pystack"
    text = refusal(python(tree, twice))
    assert text.startswith(
        f"ImportError: {tree} is pystack's source, whose headers declare other calls than those of "
        f"the extension installed in {INSTALLED}: run "
    )
