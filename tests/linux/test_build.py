"""Building the engine linux: what is unpacked, what is refused, where what was built lies."""

from __future__ import annotations

import errno
import json
import platform
import shutil
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path

import pytest

import pystack
from pystack._native import engines
from pystack.lab.provision import ProvisionError, linux, sole_builder
from pystack.lab.provision.linux import toolchain, tools, tree


def silent(text: str) -> None:
    assert text


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(engines.FOLDERS_VARIABLE, raising=False)
    return engines.cache_folder()


def built_library(series: str) -> Path:
    path = engines.built_path(f"linux-{series}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def source_tree(folder: Path, version: str) -> Path:
    numbers = dict(zip(("VERSION", "PATCHLEVEL", "SUBLEVEL"), version.split("."), strict=True))
    for name in ("arch/x86", "include/linux", "kernel"):
        (folder / name).mkdir(parents=True)
    lines = [f"{name} = {number}\n" for name, number in numbers.items()]
    (folder / "Makefile").write_text("".join(["# SPDX\n", *lines, "EXTRAVERSION =\n"]))
    (folder / "Kconfig").touch()
    return folder


# --- the source ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "Makefile",
        "Kconfig",
        "Documentation/Kconfig",
        "arch/Kconfig",
        "arch/x86/entry/syscalls/syscall_32.tbl",  # by scripts/checksyscalls.sh
        "drivers/gpu/drm/Kconfig",
        "drivers/net/loopback.c",
        "fs/proc/proc_sysctl.c",
        "fs/libfs.c",
        "include/linux/skbuff.h",
        "lib/crc32.c",
        "mm/slub.c",
        "net/ipv4/tcp_input.c",
        "scripts/kconfig/lexer.l",
        "sound/Kconfig",
    ],
)
def test_what_a_build_reads_is_unpacked(path: str) -> None:
    assert tree.needed(path)


@pytest.mark.parametrize(
    "path",
    [
        "Documentation/networking/ip-sysctl.rst",
        "arch/x86/kernel/setup.c",
        "drivers/gpu/drm/drm_drv.c",
        "drivers/net/ethernet/intel/e1000/e1000_main.c",
        "fs/ext4/super.c",
        "sound/core/pcm.c",
        "tools/testing/selftests/net/tls.c",
    ],
)
def test_the_rest_stays_packed(path: str) -> None:
    assert not tree.needed(path)


def test_the_release_is_the_makefiles(tmp_path: Path) -> None:
    source = source_tree(tmp_path / "linux", "6.12.117")
    assert tree.release(source) == "6.12.117"
    assert tree.series("6.12.117") == "6.12"


def test_a_folder_without_a_kernel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match="is no source tree of Linux"):
        linux.build(silent, source=tmp_path)
    (tmp_path / "Makefile").write_text("all:\n")
    with pytest.raises(ProvisionError, match="has no version"):
        linux.build(silent, source=tmp_path)


def test_a_tree_of_another_series_is_refused(tmp_path: Path) -> None:
    source = source_tree(tmp_path / "linux", "5.10.3")
    with pytest.raises(ProvisionError, match=r"no Linux 5\.10: .* 6\.12, 7\.2"):
        linux.build(silent, source=source)
    with pytest.raises(ProvisionError, match=r"is Linux 5\.10\.3, not 6\.12"):
        linux.build(silent, source=source, version="6.12")
    with pytest.raises(ProvisionError, match=r"no Linux 3\.2"):
        linux.build(silent, version="3.2")


def test_the_users_tree_stays_as_it_is(tmp_path: Path) -> None:
    source = source_tree(tmp_path / "linux", "6.12.1")
    (source / ".config").touch()  # from a build of the user's: Kbuild would ask for mrproper
    (source / "include/config").mkdir()
    before = sorted(source.rglob("*"))
    work = tmp_path / "work"
    work.mkdir()
    laid = tree.overlay(work, source)
    assert (laid / "arch/anyk/kernel/loop.c").is_file()
    assert (laid / "arch/x86").is_dir()
    assert (laid / "include/linux").is_dir()
    assert not (laid / ".config").exists()
    assert not (laid / "include/config").exists()
    assert tree.release(laid) == "6.12.1"
    assert sorted(source.rglob("*")) == before


# --- what the machine lacks ----------------------------------------------------------------------


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ProvisionError, match="no C compiler: `apt-get install gcc"):
        linux.build(silent)
    monkeypatch.setenv("CC", "ccache no-such-compiler")
    with pytest.raises(ProvisionError, match="there is no ccache"):
        linux.build(silent)
    assert not list(cache.glob("build-*"))


def test_a_folder_with_a_blank(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cache = tmp_path / "my cache"
    cache.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    with pytest.raises(ProvisionError, match=r"no folder with a blank.*my cache.*XDG_CACHE_HOME"):
        linux.build(silent)
    assert not list(cache.rglob("build-*"))


def test_no_room(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(9, 9, 5 << 20))
    with pytest.raises(ProvisionError, match=r"has 5 MiB free, .* XDG_CACHE_HOME"):
        linux.build(silent)
    assert not list(cache.glob("build-*"))


def test_no_binutils(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "objcopy" else f"/{name}")
    with pytest.raises(ProvisionError, match="there is no objcopy: `apt-get install binutils`"):
        toolchain.find()


def test_another_machine_needs_its_compiler(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    other = next(one for one in toolchain.MACHINES if one != platform.machine().lower())
    monkeypatch.setattr(shutil, "which", lambda name: None)
    install = f"`apt-get install gcc-{other.replace('_', '-')}-linux-gnu"
    with pytest.raises(ProvisionError, match=f"no {other}-linux-gnu-gcc: {install}"):
        linux.build(silent, machine=other)
    monkeypatch.setattr(shutil, "which", lambda name: f"/{name}")
    chain = toolchain.find(other)
    assert chain.compiler == (f"/{other}-linux-gnu-gcc",)
    assert chain.tool("ld") == f"{other}-linux-gnu-ld"
    assert not list(cache.glob("build-*"))


def test_a_machine_whose_stacks_cannot_be_switched() -> None:
    with pytest.raises(ProvisionError, match="written for x86_64 and aarch64, not for riscv64"):
        toolchain.find("riscv64")


def test_what_is_for_another_machine_is_not_loaded_here(cache: Path) -> None:
    other = next(one for one in toolchain.MACHINES if one != platform.machine().lower())
    path = engines.built_path("linux-6.12", other)
    path.parent.mkdir(parents=True)
    path.touch()
    assert linux.build(silent, machine=other) == path
    assert linux.built("6.12", other) == path
    assert linux.built("6.12", platform.machine().lower()) is None
    assert engines.built_libraries("linux") == {}
    with pytest.raises(OSError, match="has not been built"):
        engines.engine_path("linux")
    assert cache in path.parents


def test_no_flex_and_no_apt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    absent = {"flex", "apt-get"}
    monkeypatch.setattr(shutil, "which", lambda name: None if name in absent else f"/{name}")
    with pytest.raises(ProvisionError, match="there is no flex: `apt-get install flex`"):
        tools.bring(tmp_path, silent, apt=False)


# --- where the libraries are ---------------------------------------------------------------------


def test_the_engine_is_the_newest_that_was_built(cache: Path) -> None:
    with pytest.raises(OSError, match="pystack engine build linux") as caught:
        pystack.Stack(engine="linux")
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(OSError, match=r"pystack engine build linux --version 7\.2"):
        engines.engine_path("linux-7.2")
    assert linux.built("6.12") is None
    for series in ("6.12", "7.10", "7.2"):
        path = built_library(series)
        assert engines.engine_path(f"linux-{series}") == path
        assert path.is_relative_to(cache)
    assert list(engines.built_libraries("linux")) == ["linux-6.12", "linux-7.2", "linux-7.10"]
    assert engines.engine_path("linux") == engines.built_path("linux-7.10")
    assert linux.built("6.12") == engines.built_path("linux-6.12")
    with pytest.raises(ValueError, match="no engine 'linux-of-old'"):
        engines.engine_path("linux-of-old")


def test_what_was_built_already_is_not_built_again(cache: Path) -> None:
    path = built_library("6.12")
    steps: list[str] = []
    assert linux.build(steps.append, version="6.12") == path
    assert steps == [f"already built: {path}"]
    assert cache in path.parents


def test_who_comes_second_waits_and_finds_it_built(cache: Path) -> None:
    path = built_library("6.12")
    assert path.is_relative_to(cache)
    ahead, said, ended = threading.Event(), threading.Event(), threading.Event()
    steps: list[str] = []

    def report(text: str) -> None:
        steps.append(text)
        said.set()

    def build() -> None:
        assert ahead.wait(60)
        assert linux.build(report, version="6.12") == path
        ended.set()

    second = threading.Thread(target=build)
    second.start()
    with sole_builder(path.parent, "linux-6.12", silent):
        ahead.set()
        assert said.wait(60)
        assert not ended.wait(0.1)
    second.join(60)
    assert steps == [
        "another process is building linux-6.12: waiting for it",
        f"already built: {path}",
    ]


def test_the_list_has_what_is_here_and_what_could_be(cache: Path) -> None:
    path = engines.built_path("linux-6.12")
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(1000))
    path.with_suffix(".json").write_text('{"release": "6.12.117"}')
    command = [sys.executable, "-m", "pystack", "engine", "list", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=cache.parent)
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows["lwip"]["path"].endswith("lwip.so")
    assert rows["linux-6.12"] == {
        "name": "linux-6.12",
        "release": "6.12.117",
        "bytes": 1000,
        "path": str(path),
        "build": "pystack engine build linux",
    }
    assert rows["linux-7.2"]["path"] is None
    assert rows["linux-7.2"]["build"] == "pystack engine build linux --version 7.2"
    assert rows["gvisor"]["build"] == "pystack engine build gvisor"
    assert cache.exists()


def test_only_the_table_is_exported(engine: str) -> None:
    """The kernel has names of the C library's, as snprintf: they must serve nobody else."""
    done = subprocess.run(
        ["nm", "-D", "--defined-only", str(engines.engine_path(engine))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["ps_engine_table"]


def test_only_linux_is_built_for_another_machine() -> None:
    command = [sys.executable, "-m", "pystack", "engine", "build", "gvisor", "--arch", "aarch64"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "are for linux, not for gvisor" in done.stderr
