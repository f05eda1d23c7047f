"""The patches of lwIP: each names what fails without it, and the queue goes to git and back."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from installed import needs_programs

ROOT = Path(__file__).parents[2]
VENDOR = ROOT / "vendor"
PATCHES = sorted((VENDOR / "patches").glob("*.patch"))
CLAIM = re.compile(r"^(Case|Test|Upstream): (.+)$", re.MULTILINE)
UPSTREAM = re.compile(r"[0-9a-f]{8}, after 2\.2\.1, .+|not sent; .+|an open request there .+")


def claims(patch: Path) -> list[tuple[str, str]]:
    """The lines at the end of a patch's reason."""
    reason = patch.read_text("utf-8").partition("\n--- a/")[0]
    last = reason.rstrip().rpartition("\n\n")[2]
    assert CLAIM.sub("", last).strip() == "", f"more than claims in its last paragraph: {last}"
    return CLAIM.findall(last)


@pytest.fixture(scope="module")
def cases() -> set[str]:
    pytest.importorskip("scapy", reason="the lab needs scapy")
    from pystack.lab.case import catalogue

    return {one.id for one in catalogue()}


@pytest.mark.parametrize("patch", PATCHES, ids=lambda one: one.stem)
def test_a_patch_names_what_fails_without_it(patch: Path, cases: set[str]) -> None:
    found = claims(patch)
    assert [kind for kind, _ in found].count("Upstream") == 1
    tried = [(kind, text) for kind, text in found if kind != "Upstream"]
    assert tried
    for kind, text in tried:
        if kind == "Case":
            assert set(re.split(r", ?", text)) <= cases
            continue
        name, _, function = text.partition("::")
        if name.startswith("none; "):
            continue
        assert (ROOT / name).is_file(), name
        if function:
            tree = ast.parse((ROOT / name).read_text("utf-8"))
            assert function in {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}


@pytest.mark.parametrize("patch", PATCHES, ids=lambda one: one.stem)
def test_a_patch_says_where_it_stands_upstream(patch: Path) -> None:
    (text,) = [text for kind, text in claims(patch) if kind == "Upstream"]
    assert UPSTREAM.fullmatch(text)


def test_hardly_any_patch_has_no_test() -> None:
    without = [one.stem for one in PATCHES if ("\nTest: none; " in one.read_text("utf-8"))]
    assert len(without) <= 14, without


def run(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-B", *words], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files(top: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(top)): path.read_bytes()
        for path in sorted(top.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(top).parts
    }


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[Path]:
    copy = tmp_path / "vendor"
    shutil.copytree(VENDOR, copy)
    yield copy
    shutil.rmtree(tmp_path)


@pytest.mark.slow
@needs_programs("git", "patch")
def test_the_queue_goes_to_a_branch_and_back_without_a_byte_changed(vendor: Path) -> None:
    """The whole queue, on the pinned lwIP."""
    before = files(vendor / "patches")
    queue, fetched, pristine = (vendor.parent / name for name in ("queue", "fetched", "pristine"))
    run(str(vendor / "fetch.py"), "--output", str(fetched))
    run(str(vendor / "fetch.py"), "--pristine", "--output", str(pristine))
    run(str(vendor / "patchqueue.py"), "open", str(queue))
    count = subprocess.check_output(["git", "rev-list", "--count", "HEAD"], cwd=queue)
    assert int(count) == 1 + len(PATCHES)

    def built(top: Path) -> dict[str, bytes]:
        return {name: text for name, text in files(top).items() if not name.startswith(".")}

    assert built(queue) == built(fetched)  # what is built is what the branch's tip has
    assert run(str(vendor / "patchqueue.py"), "save", str(queue)) == ""
    assert files(vendor / "patches") == before
    subprocess.check_call(
        ["git", "checkout", "-q", "--detach", f"HEAD~{len(PATCHES)}"], cwd=queue
    )  # fmt: skip
    assert built(queue) == built(pristine)
