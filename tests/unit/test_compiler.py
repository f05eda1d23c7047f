"""Which C compiler the engines and the lab's Hosts are built with."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

from pystack.lab.provision import ProvisionError
from pystack.lab.provision.compiler import own_compiler
from pystack.lab.provision.linux import toolchain


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n", encoding="ascii")
    path.chmod(0o755)
    return path


def test_the_best_of_this_machines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for unset in ("", "  "):
        monkeypatch.setenv("CC", unset)
        with pytest.raises(ProvisionError, match="no C compiler: `apt-get install gcc"):
            own_compiler("gcc", "cc")
    second, first = program(tmp_path / "cc"), program(tmp_path / "gcc")
    assert own_compiler("gcc", "cc") == (str(first),)
    assert own_compiler("cc", "gcc") == (str(second),)


def test_one_of_several_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    program(tmp_path / "ccache")
    monkeypatch.setenv("CC", "ccache gcc -m64 '-DNAME=a b'")
    assert own_compiler("gcc") == ("ccache", "gcc", "-m64", "-DNAME=a b")
    for wrong, words in (("none gcc", "there is no none"), ("ccache 'gcc", "No closing quotation")):
        monkeypatch.setenv("CC", wrong)
        with pytest.raises(ProvisionError, match=words):
            own_compiler("gcc")


def test_a_path_with_blanks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = program(tmp_path / "my compilers" / "gcc é")
    for written in (str(path), shlex.quote(str(path))):
        monkeypatch.setenv("CC", written)
        assert own_compiler("gcc") == (str(path),)
    monkeypatch.setenv("CC", shlex.join((str(path), "-m64")))
    assert own_compiler("gcc") == (str(path), "-m64")
    if shutil.which("ld"):  # else that is what is told
        with pytest.raises(ProvisionError, match=r"no path with a blank.*my compilers.*ln -s"):
            toolchain.find()
