"""Build pystack's engine without one patch of lwIP, and see what fails.

Each patch names a case of the lab (`Case: TCP-3.2`) or a test (`Test: tests/x.py::test_y`) that
fails without it. `check QUEUE PATCH...` shows that this is so. For a patch that names nothing yet,
`find QUEUE --area TCP --test tests/unit/test_x.py PATCH...` runs whole areas of the lab and whole
files of tests, and lists what fails. QUEUE is the repository that `patchqueue.py open` made; it is
left as it was.

A patch that later ones are built on can't be taken out alone: git says where it conflicts, or the
compiler does, and either is reported. This takes minutes for each few patches, and is run by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

from patchqueue import claims, git
from pin import VendorError

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT_S = 300.0


class NotAloneError(Exception):
    """Other things are built on this patch; the text says which."""


@dataclass
class Bench:
    """A build of the engine from the queue, in a copy of the installed package.

    Attributes:
        queue: The repository of patches.
        build: CMake's directory, which makes the next build a short one.
        site: Where the copy of the package is: what PYTHONPATH begins with.
    """

    queue: Path
    build: Path
    site: Path

    @classmethod
    def set_up(cls, queue: Path, build: Path, site: Path) -> Bench:
        """Configure the build and copy the package that is installed for this Python.

        Raises:
            VendorError: pystack is not installed, or CMake fails.
        """
        installed = Path(sysconfig.get_path("platlib")) / "pystack"
        if not (installed / "_native/engines").is_dir():
            raise VendorError(f"pystack is not installed in {sys.prefix}: run `pip install .`")
        shutil.copytree(installed, site / "pystack")
        bench = cls(queue, build, site)
        bench.cmake(
            "-S", str(ROOT), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release",
            "-DPYSTACK_WERROR=OFF",  # what only the patch calls is unused without it
            f"-DPYSTACK_LWIP_TREE={queue}", f"-DPython_EXECUTABLE={sys.executable}",
        )  # fmt: skip
        return bench

    def cmake(self, *arguments: str) -> None:
        """Run CMake; its first complaints are the error's text."""
        done = subprocess.run(["cmake", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            wrong = re.findall(
                r"^.*(?:error:|undefined reference|CMake Error).*$",
                done.stdout + done.stderr, re.MULTILINE,
            )  # fmt: skip
            raise VendorError("\n".join(wrong[:3]) or done.stderr[-500:])

    def make(self, patch: str | None) -> None:
        """Build the engine of the whole queue, or of all but one patch.

        Raises:
            NotAloneError: The patch can't be taken out, or what is left does not compile.
        """
        git(self.queue, "reset", "-q", "--hard", "queue-tip")
        if patch is not None:
            commit = git(self.queue, "log", "--format=%H", f"--grep=^{patch}$", "queue-tip").strip()
            if not commit:
                raise VendorError(f"{self.queue} has no commit {patch}")
            try:
                git(self.queue, "revert", "--no-commit", commit)
            except VendorError:
                files = git(self.queue, "diff", "--name-only", "--diff-filter=U").split()
                raise NotAloneError(
                    f"later patches change the same lines of {', '.join(files)}"
                ) from None
        try:
            self.cmake("--build", str(self.build), "--target", "lwip_engine")
        except VendorError as error:
            raise NotAloneError(f"does not build: {error}") from None
        shutil.copy(self.build / "lwip.so", self.site / "pystack/_native/engines/lwip.so")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run Python with that engine, outside the source tree."""
        path = os.pathsep.join([str(self.site), os.environ.get("PYTHONPATH", "")]).rstrip(
            os.pathsep
        )
        return subprocess.run(
            [sys.executable, *words],
            cwd=self.site, env={**os.environ, "PYTHONPATH": path}, timeout=TIMEOUT_S,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def lab(self, *choice: str) -> dict[str, str]:
        """What became of each case that was chosen, by its id."""
        report = self.site / "report.json"
        report.unlink(missing_ok=True)
        done = self.run(
            "-c", "from pystack.cli import main; main()",
            "lab", "run", "--host", "lwip", "--no-failures", "--json", str(report), *choice,
        )  # fmt: skip
        if not report.exists():
            raise VendorError(f"the lab did not run: {done.stderr[-500:]}")
        return {row["case"]: row["verdict"] for row in json.loads(report.read_text())["results"]}

    def failing_tests(self, names: list[str]) -> set[str]:
        """Which tests of these files fail with the engine there is now."""
        words = ("-q", "-rfE", "--tb=no", "-p", "no:cacheprovider")
        done = self.run("-m", "pytest", *words, *(str(ROOT / name) for name in names))
        return set(re.findall(r"^(?:FAILED|ERROR) (?:.*/)?(\S+)", done.stdout, re.MULTILINE))

    def fails(self, kind: str, name: str) -> bool:
        """Whether a case or a test fails with the engine there is now."""
        if kind == "Case":
            return self.lab("--case", name)[name] in ("fail", "crash")
        try:
            done = self.run("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(ROOT / name))
        except subprocess.TimeoutExpired:
            return True
        if done.returncode not in (0, 1):
            raise VendorError(f"{name} was not run:\n{done.stdout[-500:]}{done.stderr[-500:]}")
        return done.returncode == 1


def check(bench: Bench, patches: list[Path]) -> bool:
    """Whether all that the patches name fails without them, as far as they can be taken out."""
    good = True
    for patch in patches:
        try:
            bench.make(patch.stem)
        except NotAloneError as why:
            print(f"{patch.stem}: not alone: {why}", flush=True)
            continue
        for kind, name in claims(patch.read_text("utf-8")):
            fails = bench.fails(kind, name)
            good &= fails
            print(f"{patch.stem}: {'fails' if fails else 'PASSES'} without it: {name}", flush=True)
    return good


def find(bench: Bench, patches: list[Path], choice: list[str], tests: list[str]) -> None:
    """Print which cases and tests fail without each patch, and do not fail with it."""

    def found() -> set[str]:
        cases = bench.lab(*choice) if choice else {}
        bad = {name for name, verdict in cases.items() if verdict != "pass"}
        return bad | (bench.failing_tests(tests) if tests else set())

    bench.make(None)
    usual = found()
    for patch in patches:
        try:
            bench.make(patch.stem)
            text = " ".join(sorted(found() ^ usual)) or "nothing fails"
        except NotAloneError as why:
            text = f"not alone: {why}"
        except subprocess.TimeoutExpired:
            text = "does not end"
        print(f"{patch.stem}: {text}", flush=True)


def main() -> int:
    """Run the command line; 1 if a claim is wrong or something could not be run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["check", "find"])
    parser.add_argument("queue", type=Path, help="the repository made by patchqueue.py open")
    parser.add_argument("patches", nargs="*", help="names or numbers; all, if none is given")
    parser.add_argument("--area", action="append", default=[], help="for find: an area of the lab")
    parser.add_argument("--test", action="append", default=[], help="for find: a file of tests")
    parser.add_argument(
        "--build", type=Path, help="a directory to build in, kept for the next time"
    )
    arguments = parser.parse_intermixed_args()
    every = sorted((ROOT / "vendor/patches").glob("*.patch"))
    wanted = arguments.patches
    chosen = [
        one for one in every if not wanted or one.stem in wanted or one.stem[:4] in wanted
    ]  # fmt: skip
    queue = arguments.queue.resolve()
    try:
        if git(queue, "status", "--porcelain"):
            raise VendorError(f"{queue} has changes that are not committed")
        branch = git(queue, "rev-parse", "--abbrev-ref", "HEAD").strip()
        git(queue, "checkout", "-q", "-B", "proof")
        git(queue, "branch", "-q", "-f", "queue-tip")
        with tempfile.TemporaryDirectory() as folder:
            top = Path(folder)
            try:
                bench = Bench.set_up(queue, arguments.build or top / "build", top)
                if arguments.action == "check":
                    return 0 if check(bench, chosen) else 1
                areas = [word for area in arguments.area for word in ("--area", area)]
                find(bench, chosen, areas, arguments.test)
            finally:
                git(queue, "reset", "-q", "--hard", "queue-tip")
                git(queue, "checkout", "-q", branch)
                git(queue, "branch", "-q", "-D", "proof", "queue-tip")
    except VendorError as error:
        print(f"vendor/prove.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
