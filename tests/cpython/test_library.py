"""The standard library's own tests, which no one here wrote, on a Stack's sockets.

The reference is the same run on the kernel's, on the same machine. What differs is named in
`table.json`, with its reason; anything else that differs fails, and so does a named difference
that is none any more.
"""

from __future__ import annotations

import importlib.util
import sys

import pytest
from namespace import needs_namespace
from quick import representatives

from pystack._native.engines import engine_path

pytest.importorskip("test.test_socket", reason="this Python comes without its own tests")

spec = importlib.util.spec_from_file_location(
    "cpython_table", __file__.replace("test_library", "table")
)
assert spec is not None
assert spec.loader is not None
table_module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(table_module)
TABLE = table_module.read()
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"

pytestmark = [
    needs_namespace,
    pytest.mark.timeout(900),
    pytest.mark.skipif(TABLE["python"] != HERE, reason=f"the table is of Python {TABLE['python']}"),
]


# The calls of select and of asyncio; test_socket takes minutes, the rest are programs on them, and
# the second way is much the same again.
QUICK = {
    "stack": ["test_select", "test_poll", "test_epoll", "test_timeout", "test_ssl",
              "test_asyncio.test_sock_lowlevel", "test_asyncio.test_streams"],
    "installed": ["test_asyncio.test_streams"],
}  # fmt: skip
# A way may have been measured in some files only.
BOTH = [(way, module) for way in table_module.WAYS for module, row in TABLE["modules"].items()
        if way in row]  # fmt: skip


def built(way: str) -> None:
    """Skips a way whose engine isn't built here."""
    engine = way.partition(" ")[2]
    try:
        engine_path(engine or "lwip")
    except OSError as error:
        pytest.skip(str(error.strerror))


@pytest.mark.parametrize(
    ("way", "module"),
    representatives(BOTH, [(way, module) for way in QUICK for module in QUICK[way]]),
)
def test_as_on_the_kernels_sockets(way: str, module: str) -> None:
    built(way)
    named = TABLE["modules"][module][way]["differences"]
    kernel, stack = table_module.run_both(way, module, named)
    assert table_module.count(kernel, "pass") > 0
    found = table_module.differences(way, kernel, stack)
    new = {name: why for name, why in found.items() if name not in named}
    assert not new, "\n".join(f"{name}: {why}" for name, why in new.items())
    passes = {name for name in named if stack.get(name, ("", ""))[0] == "pass"}
    assert not passes, f"named as different, and yet as the kernel: {sorted(passes)}"


def test_every_difference_has_a_reason() -> None:
    for module, row in TABLE["modules"].items():
        for way in set(table_module.WAYS) & set(row):
            for name, reason in row[way]["differences"].items():
                assert len(reason) > 10, (module, way, name, reason)


def totals(way: str) -> tuple[int, int]:
    """How many tests pass in this way, and how many differ."""
    rows = [row[way] for row in TABLE["modules"].values() if way in row]
    return sum(row["passes"] for row in rows), sum(len(row["differences"]) for row in rows)


@pytest.mark.parametrize("way", table_module.WAYS)
def test_few_differ(way: str) -> None:
    passes, differ = totals(way)
    assert differ < passes / 100


def test_the_manual_has_the_totals() -> None:
    from pathlib import Path

    page = Path(__file__).resolve().parents[2] / "pystack" / "manual" / "sockets.md"
    flat = page.read_text("utf-8").replace("\n", " ")
    (under, few), (installed, some), (linux, different) = map(totals, table_module.WAYS)
    files = sum("stack linux-7.2" in row for row in TABLE["modules"].values())
    assert f"{under} tests of {len(TABLE['modules'])} files pass on a stack's, {few} differ" in flat
    assert f"with `installed()`, as users run it, {installed} pass and {some} differ" in flat
    rows = [row.get("stack linux-7.2", {}) for row in TABLE["modules"].values()]
    absent = sum(row.get("absent", 0) for row in rows)
    tried = f"{linux} tests of the {files} files tried pass, {different} differ; {absent} more"
    assert f"On Linux 7.2 in the process, {tried}" in flat
