"""`pystack lab` itself: what it prints, and its status."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from click.testing import CliRunner

from pystack.cli import cli
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
