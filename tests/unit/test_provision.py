"""Bringing Debian's packages and building from them, with an apt that is a shell script."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import pystack
from pystack._native import engines
from pystack.lab.provision import ProvisionError, gvisor
from pystack.lab.provision.debian import Archive, unpack

SHOW = """Package: golang-go
Version: 2:1.19~1
Depends: golang-1.19-go (>= 1.19), golang-src (>= 2:1.19~1) | golang-other, libc6
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of our own, with an apt that knows one package."""
    folder = tmp_path / "bin"
    folder.mkdir()
    write(folder, "apt-get", 'echo "$@" >> "$0.log"; echo x > golang-go_1_all.deb')
    write(
        folder,
        "apt-cache",
        f'case "$*" in *golang-go) printf "%s" "{SHOW}";; *) echo "E: No packages" >&2; exit 100;;'
        " esac",
    )
    write(folder, "dpkg-deb", "exit 1")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def write(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_packages_are_found_with_what_they_need(programs: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    archive = Archive(tmp_path / "apt", steps.append)
    package = archive.find("golang-go")
    assert package is not None
    assert package.version == "2:1.19~1"
    assert package.depends == ("golang-1.19-go", "golang-src", "libc6")
    assert archive.find("no-such-package") is None
    files = archive.download([package], tmp_path / "debs")
    assert [file.name for file in files] == ["golang-go_1_all.deb"]
    said = (programs / "apt-get.log").read_text()
    assert f"Dir::State::Lists={tmp_path}/apt/lists" in said
    assert f"Dir::Cache={tmp_path}/apt/cache" in said
    assert "download golang-go=2:1.19~1" in said
    assert len(steps) == 2


def test_a_broken_package_is_told(programs: Path, tmp_path: Path) -> None:
    assert programs
    with pytest.raises(ProvisionError, match="dpkg-deb: exit status 1"):
        unpack([tmp_path / "some.deb"], tmp_path / "root")


def test_without_apt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ProvisionError, match="Debian 12"):
        Archive(tmp_path, lambda text: None)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ProvisionError, match="C compiler"):
        gvisor.build(lambda text: None)


def test_a_suite_without_netstack(programs: Path) -> None:
    assert programs
    with pytest.raises(ProvisionError, match="bookworm"):
        gvisor.build(lambda text: None)
    assert not list(engines.cache_folder().glob("build-*"))


def test_another_netstack_is_refused(programs: Path) -> None:
    text = "Package: netstack\nVersion: 0.0~20990101.0-1\n"
    write(programs, "apt-cache", f'printf "%s" "{text}"')
    with pytest.raises(ProvisionError, match="written against"):
        gvisor.build(lambda text: None)


def test_the_place_of_the_library_follows_its_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engines, "ENGINES", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(engines.FOLDERS_VARIABLE, raising=False)
    engines.source_key.cache_clear()
    source = tmp_path / "gvisor-src"
    source.mkdir()
    (source / "engine.go").write_text("package main")
    before = engines.built_path("gvisor")
    (source / "engine.go").write_text("package main\n")
    engines.source_key.cache_clear()
    after = engines.built_path("gvisor")
    assert before != after
    with pytest.raises(OSError, match="pystack engine build gvisor") as caught:
        pystack.Stack(engine="gvisor")
    assert caught.value.errno == errno.ENOENT
    assert gvisor.built() is None
    after.parent.mkdir(parents=True)
    after.touch()
    assert engines.engine_path("gvisor") == gvisor.built() == after
    extra = tmp_path / "extra"
    extra.mkdir()
    (extra / "gvisor.so").touch()
    monkeypatch.setenv(engines.FOLDERS_VARIABLE, f"{os.pathsep}{extra}")
    assert engines.engine_path("gvisor") == extra / "gvisor.so"


def test_the_c_around_go_is_clean(tmp_path: Path) -> None:
    """No part of the wheel's build compiles it."""
    source = engines.source_folder("gvisor")
    warnings = ["-Wall", "-Wextra", "-Werror", "-Wshadow"]
    warnings += ["-Wstrict-prototypes", "-Wmissing-prototypes"]
    subprocess.run(
        ["cc", "-std=c11", "-O1", *warnings, "-c", source / "shim.c", "-o", tmp_path / "shim.o"],
        check=True,
    )
