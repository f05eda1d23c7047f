"""Private copies of an engine's file: what is copied, and what is mapped from the original."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pystack
from pystack._native.engines import engine_path

# What an image says with its version, which is refused, and quoted.
PLAIN = """
static const char text[1 << 16] = "constants";
struct { unsigned version, size; const char *name; } ps_engine_table = {%s, 8, text};
"""
CONSTRUCTED = (
    PLAIN % 0
    + """
__attribute__((constructor)) static void start(void) { ps_engine_table.version = 77; }
"""
)
INDIRECT = """
static int seventy(void) { return 70; }
static int (*choose(void))(void) { return seventy; }
int chosen(void) __attribute__((ifunc("choose"), visibility("hidden")));
int (*table[])(void) = {chosen};
struct { unsigned version, size; const char *name; } ps_engine_table = {78, 8, "odd"};
"""
CALLED = (
    INDIRECT
    + """
__attribute__((constructor)) static void start(void) { ps_engine_table.version = table[0](); }
"""
)

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ELF and memfds")


@pytest.mark.parametrize(
    ("source", "version"),
    [(PLAIN % 76, 76), (CONSTRUCTED, 77), (INDIRECT, 78), (CALLED, 70)],
    ids=["plain", "constructor", "indirect", "indirect and called"],
)
@pytest.mark.parametrize("options", [[], ["-nostartfiles"], ["-Wl,-z,noseparate-code"]], ids=str)
def test_code_that_runs_at_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, version: int, options: list[str]
) -> None:
    (tmp_path / "odd.c").write_text(source)
    subprocess.run(
        ["cc", "-shared", "-fPIC", *options, "-o", tmp_path / "odd.so", tmp_path / "odd.c"],
        check=True,
    )
    monkeypatch.setenv("PYSTACK_ENGINES", str(tmp_path))
    with pytest.raises(OSError, match=f"version {version} "):
        pystack.Stack(engine="odd")


@pytest.mark.parametrize("size", [0, 1, 63, 64, 100, 4096, 100_000])
def test_a_file_that_is_cut_off_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    (tmp_path / "cut.so").write_bytes(engine_path("lwip").read_bytes()[:size])
    monkeypatch.setenv("PYSTACK_ENGINES", str(tmp_path))
    with pytest.raises(OSError, match="engine"):
        pystack.Stack(engine="cut")


def test_two_copies_behave_alike_after_their_file_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is mapped from the original stays, as with any library."""
    copy = tmp_path / "other.so"
    copy.write_bytes(engine_path("lwip").read_bytes())
    monkeypatch.setenv("PYSTACK_ENGINES", str(tmp_path))
    with pystack.Stack(engine="other") as one, pystack.Stack(engine="other") as two:
        copy.unlink()
        for net in (one, two):
            with net.sockets.create_server(("127.0.0.1", 80)) as listener:
                net.sockets.create_connection(listener.getsockname(), 30).close()
