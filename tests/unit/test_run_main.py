"""What a program sees of itself under `pystack run`: what it sees under python(1), to the end."""

from __future__ import annotations

import py_compile
import socket
import subprocess
import sys
import tempfile
import textwrap
import zipfile
from pathlib import Path

import pytest
from quick import representatives, slow

PROGRAM = [sys.executable, "-c", "from pystack.cli import main; main()"]
AWAY = tempfile.gettempdir()  # not in the source tree, which is not built

ITSELF = """
import builtins, sys
main = sys.modules["__main__"]
print(sorted(set(vars(main)) - {"builtins", "sys", "main"}))
for name in ("__name__", "__doc__", "__package__", "__cached__", "__file__", "__annotations__"):
    print(name, globals().get(name, "none"))
spec = __spec__
print(spec and (spec.name, spec.origin, spec.parent))
print(getattr(__loader__, "__name__", None) or type(__loader__).__name__)
print(__builtins__ is builtins, vars(main) is globals(), sys.argv, sys.orig_argv[1:])
print(sys.path[0])
def hinted(a: 1 + 1): pass
print(hinted.__annotations__)
"""
LATER = """
import atexit, inspect, pickle, sys, threading, time, typing
from dataclasses import dataclass
@dataclass
class Point:
    x: "Point | None" = None
def tell(when):
    there = pickle.loads(pickle.dumps(Point()))
    print(when, there, type(there) is Point, typing.get_type_hints(Point), sys.argv[1:], __name__)
    # python(1) takes __file__ away after the last line of a script; here it stays.
    if sys.argv[1] == "source" and when == "now":
        print(inspect.getsource(Point))
def last(seconds):
    threading.main_thread().join()
    time.sleep(seconds)
    tell("thread")
threading.Thread(target=last, args=(.2,)).start()
atexit.register(tell, "exit")
tell("now")
"""
POOL = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
class Point:
    def __init__(self, x):
        self.x = x
def double(point):
    return Point(2 * point.x)
def main():
    context = multiprocessing.get_context(sys.argv[1])
    with ProcessPoolExecutor(1, context) as pool:
        print([one.x for one in pool.map(double, map(Point, range(3)))])
    process = context.Process(target=print, args=("hello",))
    process.start()
    process.join()
    print(process.exitcode)
if __name__ == "__main__":
    main()
"""


# What an exit handler finds in sys is what a debugger's would.
HOOK = """
import atexit, sys
def last():
    print([getattr(sys, name, None) for name in ("last_type", "last_value")], sys.exc_info())
    print(getattr(sys, "last_traceback", None) is not None)
atexit.register(last)
"""
HOOKED = "sys.excepthook = hook\nraise KeyError('lost')"


def both(
    folder: Path, *words: str, fed: str = ""
) -> tuple[subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
    """How a program goes under python(1) and under `pystack run`."""
    plain = subprocess.run(
        [sys.executable, *words], input=fed,
        capture_output=True, text=True, check=False, cwd=folder, timeout=300,
    )  # fmt: skip
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with left, right:
        options = ("--nic", f"fd:{left.fileno()}", "--address", "10.0.0.2/24")
        ours = subprocess.run(
            [*PROGRAM, "run", *options, "--", *words], input=fed,
            capture_output=True, text=True, check=False, cwd=folder, timeout=300,
            pass_fds=[left.fileno()],
        )  # fmt: skip
    return plain, ours


def place(folder: Path, text: str) -> dict[str, tuple[str, ...]]:
    """The ways to name a program on a command line, by what they are."""
    (folder / "script.py").write_text(text)
    (folder / "module.py").write_text(text)
    for name in ("package", "folder"):
        (folder / name).mkdir()
        (folder / name / "__main__.py").write_text(text)
    (folder / "package" / "__init__.py").write_text("")
    with zipfile.ZipFile(folder / "zipped.pyz", "w") as archive:
        archive.writestr("__main__.py", text)
    (folder / "away").mkdir()
    (folder / "away" / "linked.py").write_text(text)
    (folder / "link.py").symlink_to(folder / "away" / "linked.py")
    (folder / "name.pyc").write_bytes(
        Path(py_compile.compile(str(folder / "script.py"), str(folder / "c"))).read_bytes()  # type: ignore[arg-type]
    )
    return {
        "script": ("script.py",),
        "absolute": (str(folder / "script.py"),),
        "link": ("link.py",),
        "compiled": ("name.pyc",),
        "module": ("-m", "module"),
        "package": ("-m", "package"),
        "inside": ("-m", "package.__main__"),
        "folder": ("folder",),
        "zip": ("zipped.pyz",),
        "code": ("-c", text),
    }


WAYS = ("script", "absolute", "link", "compiled", "module", "package", "inside", "folder", "zip",
        "code")  # fmt: skip


@pytest.mark.parametrize("way", representatives(WAYS, ["script", "module", "zip", "code"]))
def test_what_it_is(tmp_path: Path, way: str) -> None:
    plain, ours = both(tmp_path, *place(tmp_path, ITSELF)[way], "one", "-x")
    assert plain.returncode == 0, plain.stderr
    assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, plain.stderr, 0)


@pytest.mark.parametrize(
    "way", representatives(["script", "compiled", "package", "zip", "code"], ["script", "code"])
)
def test_what_it_is_after_its_last_line(tmp_path: Path, way: str) -> None:
    sourced = "source" if way not in ("code", "compiled") else "none"
    plain, ours = both(tmp_path, *place(tmp_path, LATER)[way], sourced)
    assert plain.stdout.count("True") == 3, plain.stderr
    assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, plain.stderr, 0)


@pytest.mark.parametrize(
    ("way", "method"),
    [
        ("script", "spawn"),
        slow("script", "forkserver"),
        slow("script", "fork"),
        slow("module", "spawn"),
    ],
)
def test_its_other_processes_find_it(tmp_path: Path, way: str, method: str) -> None:
    plain, ours = both(tmp_path, *place(tmp_path, POOL)[way], method)
    assert plain.stdout == "[0, 2, 4]\nhello\n0\n", plain.stderr
    assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, plain.stderr, 0)


@pytest.mark.parametrize(
    "words",
    [
        ("-m", "http.server", "--help"),
        ("-m", "json.tool", "--help"),
        ("-m", "absent"),
        ("-m", "email"),
        ("-c", "1 +"),
        ("-c", "def f():\n  raise KeyError(1)\nf()"),
        ("-c", "import sys; sys.exit('with a word')"),
        ("-c", "raise SystemExit(7)"),
        ("-c", f"{HOOK}\ndef hook(kind, value, trace): print(value, sys.last_value)\n{HOOKED}"),
        ("-c", f"{HOOK}\ndef hook(kind, value, trace): deep = 1 / 0\n{HOOKED}"),
        ("-c", f"{HOOK}\ndef hook(kind, value, trace): sys.exit(5)\n{HOOKED}"),
        ("-c", f"{HOOK}\nhook = None\ndel sys.excepthook\nraise KeyError('lost')"),
    ],
    ids=lambda words: " ".join(words[1:])[:20],
)
def test_what_it_says_and_how_it_ends(tmp_path: Path, words: tuple[str, ...]) -> None:
    plain, ours = both(tmp_path, *words)
    assert (ours.stdout, ours.stderr, ours.returncode) == (
        plain.stdout, plain.stderr, plain.returncode,
    )  # fmt: skip


@pytest.mark.parametrize("text", [ITSELF, "def f():\n  raise KeyError(1)\nf()", "1 +", ""])
def test_a_script_on_standard_input(tmp_path: Path, text: str) -> None:
    more = "print(repr(sys.stdin.read()))\n" if text == ITSELF else ""
    plain, ours = both(tmp_path, "-", "one", "-x", fed=text + more)
    assert (ours.stdout, ours.stderr, ours.returncode) == (
        plain.stdout, plain.stderr, plain.returncode,
    )  # fmt: skip


def test_a_name_that_is_no_script_is_told_of() -> None:
    def run(word: str) -> str:
        done = subprocess.run(
            [*PROGRAM, "run", "--nic", "fd:9", "--address", "10.0.0.2/24", "--", word],
            capture_output=True, text=True, check=False, cwd=AWAY, timeout=300,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (2, "")
        return done.stderr

    assert "`-- -m pytest`" in run("pytest")
    assert "by that path" in run("env")
    assert textwrap.shorten(run("nothing-of-the-kind"), 60).startswith("pystack run: there is no")
