"""The rules of the house: who may import whom, and how large a room may be."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "pystack"

# From the bottom up; a module may import its own level's siblings and what is below. Each name is
# a module or package right under pystack.
LEVELS = [
    {"errors"},
    {"hypercalls"},
    {"_native"},
    {"nic"},
    {"serving"},
    {"leases", "local_names", "names", "qdisc", "tables", "sysctl", "services", "snapshot"},
    {"sockets", "interface"},
    {"dial", "intercept", "probe"},
    {"stack"},
    {"embed", "scapy", "world"},
    {"__init__"},
    {"lab"},
    {"bench"},
    {"cli"},
    {"__main__"},
    {"examples"},
]
LEVEL = {name: number for number, names in enumerate(LEVELS) for name in names}
LARGEST = 600  # lines


def room(path: Path) -> str:
    """The module or package right under pystack that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """The rooms that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where they lead"
            base = node.module or ""
            names = (
                [f"{base}.{alias.name}" for alias in node.names] if base == "pystack" else [base]
            )
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "pystack":
                inside = parts[1] if len(parts) > 1 and parts[1] in LEVEL else "__init__"
                found.add(inside)
    return found - {room(path)}


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_every_module_has_its_place() -> None:
    assert {room(path) for path in sources()} == set(LEVEL)


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    upward = {name for name in imports(path) if LEVEL[name] > LEVEL[room(path)]}
    assert not upward, f"{path.relative_to(PACKAGE)} imports {upward}, which stand above it"


def modules_imported() -> dict[str, set[str]]:
    """Each module's imports within pystack, wherever they stand: in functions, for types alone."""
    named = {}
    for path in sources():
        parts = path.relative_to(ROOT).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    found: dict[str, set[str]] = {}
    for name, path in named.items():
        wanted: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                inside = {f"{base}.{alias.name}" for alias in node.names}
                wanted |= {one if one in named else base for one in inside}
        found[name] = wanted & named.keys() - {name}
    return found


def test_no_modules_import_each_other() -> None:
    sorter = graphlib.TopologicalSorter(modules_imported())
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_native_knows_the_extension(path: Path) -> None:
    if room(path) != "_native":
        assert "_native._host" not in path.read_text("utf-8")
        assert not re.search(r"^import cffi|^from cffi", path.read_text("utf-8"), re.MULTILINE)


def test_no_file_is_two_rooms() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    long = {}
    for name in listed.stdout.split():
        path = ROOT / name
        if path.suffix in (".py", ".c", ".h", ".cdef", ".md", ".txt") and path.exists():
            lines = len(path.read_text("utf-8").splitlines())
            if lines > LARGEST and path.name != "test_misuse.py":  # a table, a row a function
                long[name] = lines
    assert not long


def test_no_name_of_an_lwip_source_is_ours() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "vendor"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    ours = (".py", ".json", ".patch", "vendor/patches/README.md")
    assert all(name.endswith(ours) for name in listed.stdout.split()), (
        "lwIP's own files are never committed"
    )


def test_the_manual_lists_every_setting() -> None:
    import pystack

    text = (PACKAGE / "manual" / "settings.md").read_text("utf-8")
    with pystack.Stack(threaded=False) as net:
        for name in net.sysctl:
            one = net.sysctl.describe(name)
            row = (
                f"| `{name}` | {one.initial} | {one.minimum} to {one.maximum} | {one.description} |"
            )
            assert row in text
