"""The patch queue as git commits, and back: vendor/patchqueue.py on a small tree."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from installed import needs_programs

pytestmark = needs_programs("git", "patch")

VENDOR = Path(__file__).parents[2] / "vendor"
SOURCE = "".join(f"line {number}\n" for number in range(40))


def diff_of(line: int, text: str, at: int) -> str:
    around = [f" line {number}\n" for number in range(line - 3, line + 4)]
    around[3:4] = [f"-line {line}\n", f"+{text}\n"]
    return f"--- a/src/tcp.c\n+++ b/src/tcp.c\n@@ -{at},7 +{at},7 @@\n{''.join(around)}"


class Queue:
    """A vendor directory with two patches, and the repository that is made of it."""

    def __init__(self, top: Path) -> None:
        self.vendor, self.repository = top / "vendor", top / "queue"
        (self.vendor / "lwip/src").mkdir(parents=True)
        (self.vendor / "lwip/src/tcp.c").write_text(SOURCE)
        for script in ("patchqueue.py", "fetch.py", "download.py", "pin.py"):
            shutil.copy(VENDOR / script, self.vendor)
        tree = self.python(
            "from pin import *; print(tree_sha256(read_directory(Path('lwip'), ['src'])))"
        )
        pins = {
            "version": "9",
            "tree": {"roots": ["src"], "sha256": tree.strip()},
            "debian": {"package": "lwip", "suites": ["x"], "archive": "d.tar.xz", "sha256": "0"},
        }
        (self.vendor / "lwip.json").write_text(json.dumps(pins))
        self.patches = self.vendor / "patches"
        self.patches.mkdir()
        self.write("0010-first", "A first,\nof two lines.\n", diff_of(5, "five", 3))
        self.write("0020-second", "The second.\n", diff_of(30, "thirty", 28))

    def write(self, name: str, reason: str, diff: str) -> None:
        (self.patches / f"{name}.patch").write_text(f"{reason}\n{diff}")

    def python(self, program: str) -> str:
        done = subprocess.run(
            [sys.executable, "-B", "-c", program],
            cwd=self.vendor, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout

    def run(self, action: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-B", "patchqueue.py", action, str(self.repository)],
            cwd=self.vendor, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def git(self, *words: str) -> str:
        identity = ("-c", "user.name=x", "-c", "user.email=x@invalid")
        done = subprocess.run(
            ["git", *identity, *words],
            cwd=self.repository, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout

    def files(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.patches.iterdir()}


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path)


def test_open_and_save_change_nothing(queue: Queue) -> None:
    before = queue.files()
    assert queue.run("open").returncode == 0
    subjects = queue.git("log", "--reverse", "--format=%s").splitlines()
    assert subjects == ["lwIP as it comes", "0010-first", "0020-second"]
    assert queue.run("save").stdout == ""
    assert queue.files() == before


def test_a_new_commit_in_the_middle_moves_the_lines_of_the_next(queue: Queue) -> None:
    assert queue.run("open").returncode == 0
    queue.git("checkout", "-q", "HEAD~", "-b", "work")
    source = queue.repository / "src/tcp.c"
    source.write_text(source.read_text().replace("line 9\n", "line 9\nand a half\n"))
    queue.git("commit", "-qa", "-m", "0015-between", "-m", "Why it is needed.")
    queue.git("cherry-pick", "--allow-empty", "@{-1}")
    assert queue.run("save").stdout.split() == [
        "wrote", "0015-between.patch", "wrote", "0020-second.patch",
    ]  # fmt: skip
    files = queue.files()
    assert files["0015-between.patch"].startswith("Why it is needed.\n\n--- a/src/tcp.c\n")
    assert "@@ -29,7 +29,7 @@\n" in files["0020-second.patch"]


def test_a_patch_whose_lines_have_moved_still_applies(queue: Queue) -> None:
    queue.write("0020-second", "The second.\n", diff_of(30, "thirty", 26))
    assert queue.run("open").returncode == 0
    assert queue.run("save").stdout == "wrote 0020-second.patch\n"
    assert "@@ -28,7 +28,7 @@" in queue.files()["0020-second.patch"]


def test_one_that_does_not_apply_is_mended_by_hand_and_the_queue_goes_on(queue: Queue) -> None:
    third = diff_of(20, "twenty", 18)
    queue.write("0030-third", "The third.\n", third)
    queue.write("0020-second", "The second.\n", third.replace(" line", " another line"))
    stopped = queue.run("open")
    assert stopped.returncode == 1
    assert "0020-second.patch no longer applies" in stopped.stderr
    source = queue.repository / "src/tcp.c"
    source.write_text(source.read_text().replace("line 30\n", "thirty\n"))
    queue.git("commit", "-qa", "-m", "0020-second", "-m", "The second.")
    assert queue.run("resume").returncode == 0
    assert queue.run("save").returncode == 0
    assert "+thirty" in queue.files()["0020-second.patch"]
    assert "+twenty" in queue.files()["0030-third.patch"]


def test_what_is_not_a_patch_of_the_queue_is_refused(queue: Queue) -> None:
    assert queue.run("open").returncode == 0
    source = queue.repository / "src/tcp.c"
    source.write_text(source.read_text() + "more\n")
    assert "not committed" in queue.run("save").stderr
    queue.git("commit", "-qa", "-m", "a quick try")
    assert "'a quick try': a subject like 0110-tcp-what" in queue.run("save").stderr
    assert "already: name another" in queue.run("open").stderr
    queue.git("reset", "-q", "--hard", "HEAD~2")
    assert queue.run("save").stdout == "removed 0020-second.patch\n"
    queue.git("commit", "-q", "--amend", "-m", "0010-first", "-m", "A first.")
    queue.git("update-ref", "refs/heads/other", "HEAD")
    queue.git("checkout", "-q", "--orphan", "alone")
    queue.git("commit", "-q", "-m", "some other repository")
    assert "is no patch queue" in queue.run("save").stderr
    assert list(queue.files()) == ["0010-first.patch"]
