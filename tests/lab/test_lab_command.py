"""`pystack lab` itself: what it prints, and its status."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner

from pystack.cli import cli
from pystack.lab.expected import expectations
from pystack.lab.hosts import hosts
from pystack.lab.provision import ProvisionError


def test_a_host_that_is_named_has_to_be_here(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = hosts()
    kinds["lwip"] = replace(kinds["lwip"], missing=lambda: "run this first: pystack lab setup lwip")
    monkeypatch.setattr("pystack.lab.hosts.hosts", lambda: kinds)
    for words in (["run", "--host", "lwip"], ["diff", "lwip", "linux"], ["mutants"]):
        result = CliRunner().invoke(cli, ["lab", *words, "--case", "ARP-3.1"])
        assert result.exit_code == 1, words
        assert "lwip is not here: run this first: pystack lab setup lwip" in result.output


def test_setup_prints_each_step_as_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def fetched(report: Callable[[str], None]) -> None:
        report("downloading")
        report("compiling")
        seen.append("a")

    def failed(report: Callable[[str], None]) -> None:
        report("reading the package lists")
        raise ProvisionError("no network: [try] again")

    plain = hosts()["lwip"]
    kinds = {
        "a": replace(plain, name="a", setup=fetched),
        "plain": replace(plain, name="plain", setup=None),
        "b": replace(plain, name="b", setup=failed),
    }
    monkeypatch.setattr("pystack.lab.hosts.hosts", lambda: kinds)
    result = CliRunner().invoke(cli, ["lab", "setup"])
    assert result.exit_code == 1
    assert [line for line in result.output.splitlines() if line] == [
        "[1/2] a: downloading",
        "[1/2] a: compiling",
        "[2/2] b: reading the package lists",
        "[2/2] b: no network: [try] again",
    ]
    assert seen == ["a"]
    result = CliRunner().invoke(cli, ["lab", "setup", "plain"])
    assert (result.exit_code, result.output.strip()) == (0, "plain: there is nothing to bring")


BAD_CASE = """from pystack.lab.case import case

@case("a", "t", rfc="RFC 1", section="1")
def f(lab):
    "Method."
"""


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        ("x = 1\ndef f(:\n", 2, "SyntaxError: invalid syntax"),
        ("import nothing_such\n", 1, "ModuleNotFoundError: No module named 'nothing_such'"),
        ("def f():\n    raise OSError('a\\nb')\n\nf()\n", 2, "OSError: a b"),
        ("import sys\nsys.exit(3)\n", 2, "SystemExit: 3"),
        (BAD_CASE, 3, "ValueError: an id is AREA-group.number, not 'a'"),
    ],
)
def test_a_file_that_can_t_be_loaded_is_one_line(
    tmp_path: Path, source: str, line: int, words: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(source)
    for command in ("list", "show ARP-3.1", "hosts", "index", "run", "trace ARP-3.1"):
        result = CliRunner().invoke(cli, ["lab", *command.split(), "--load", str(path)])
        assert (result.exit_code, type(result.exception)) == (2, SystemExit), command
        told = f"Error: {path} can't be loaded: {path}:{line}: {words}\n"
        assert result.output == told


def test_a_file_of_another_kind_is_no_case(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("")
    result = CliRunner().invoke(cli, ["lab", "list", "--load", str(path)])
    assert result.exit_code == 2
    assert f"{path} is no Python file" in result.output


def test_the_summary_and_the_page_say_what_they_are_about(tmp_path: Path) -> None:
    """As a run of a case that passes, and a failure that is declared."""
    failing = next(one for one in expectations() if one.host == "lwip")
    page = tmp_path / "page.html"
    words = ["--host", "lwip", "--case", "ARP-3.1", "--case", failing.case, "--html", str(page)]
    began = date.today().isoformat()
    result = CliRunner().invoke(cli, ["lab", "run", *words])
    assert result.exit_code == 0, result.output
    assert "lwip: 1 pass, 1 fail (1 expected) (" in result.output
    title = page.read_text("utf-8").split("<title>")[1].split("</title>")[0]
    assert title.startswith("pystack lab: lwip (ARP")
    assert title.endswith((began, date.today().isoformat()))
