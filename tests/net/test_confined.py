"""What asks the kernel itself, below Python or in a child: refused, told of, and never sent."""

from __future__ import annotations

import errno
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from installed import needs_programs
from namespace import needs_namespace
from watched import OUTSIDE, PYSTACK, Watched, watched

pytestmark = needs_namespace

ASK = """
import ctypes, errno, threading
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

def ask(family, kind=1):
    made = libc.socket(family, kind, 0)
    return "made" if made >= 0 else errno.errorcode[ctypes.get_errno()]
"""


@pytest.fixture
def place() -> Iterator[Watched]:
    with watched() as made:
        yield made


# A Python that is started is "-I": it doesn't join the Stack of `pystack run`.


def told(stderr: str) -> list[str]:
    """The lines of the teller."""
    return re.findall(r"^pystack: .* \(pid .* asked the kernel for .*$", stderr, re.MULTILINE)


def test_c_code_of_every_thread_gets_no_internet_socket(place: Watched, tmp_path: Path) -> None:
    program = (
        ASK
        + """
before = threading.Event()
print([ask(family) for family in (2, 10, 21, 43, 44)], ask(17, 3))
thread = threading.Thread(target=lambda: print(ask(2)))
thread.start(); thread.join()
print([ask(family) for family in (1,)], ask(16, 3))
print(libc.syscall(425, 1, 0), errno.errorcode[ctypes.get_errno()])
"""
    )
    done = place.run(program, folder=tmp_path)
    assert done.stdout == (
        "['EACCES', 'EACCES', 'EACCES', 'EACCES', 'EACCES'] EACCES\nEACCES\n['made'] made\n"
        "-1 ENOSYS\n"
    ), done.stderr
    (line,) = told(done.stderr)
    assert "C code in the program itself" in line
    assert "an IPv4 socket: refused (EACCES)" in line
    assert "--no-strict" in line


@pytest.mark.skipif(platform.machine() != "x86_64", reason="its system calls of 32 bits")
def test_the_32_bit_door_is_shut_too(place: Watched, tmp_path: Path) -> None:
    program = """
    import ctypes, mmap
    # int call(int number, int first, int second): by the interrupt of 32-bit programs
    code = bytes.fromhex("53 89f8 89f3 89d1 ba00000000 cd80 5b c3")
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    where = ctypes.addressof(ctypes.c_char.from_buffer(page))
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int)(where)
    print(call(20, 0, 0) > 0, [call(359, family, 1) for family in (2, 10, 17)], call(359, 1, 1) > 0)
    print(call(102, 1, 0), call(425, 1, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    print([libc.syscall(0x40000000 | 41, family, 1, 0) for family in (2, 10)])
    """
    done = place.run(program, folder=tmp_path)
    if done.status == -signal.SIGSEGV:
        pytest.skip("this kernel runs no 32-bit programs")
    assert done.stdout == "True [-13, -13, -13] True\n-13 -38\n[-1, -1]\n", done.stderr


@needs_programs("curl")
def test_child_programs_are_refused_and_told_of_once(place: Watched, tmp_path: Path) -> None:
    program = f"""
    import subprocess
    for _ in range(2):
        print(subprocess.run(["curl", "-sS", "--max-time", "2", "http://{OUTSIDE}/"]).returncode)
    """
    done = place.run(program, folder=tmp_path)
    assert done.stdout == "7\n7\n"
    lines = told(done.stderr)
    assert len(lines) == 2, done.stderr  # a line a process
    assert all(re.search(r"curl \(pid \d+\)", line) for line in lines)
    assert done.frames == []
    assert done.stderr.index("pystack: curl") < done.stderr.index("curl: (7)")
    # And that the frame would have been seen.
    done = place.run(program, "--no-strict", folder=tmp_path)
    assert done.stdout == "28\n28\n"
    assert told(done.stderr) == []
    assert {device for device, _frame in done.frames} == {"far0", "out0"}


def test_nothing_hangs_when_the_program_has_ended(place: Watched, tmp_path: Path) -> None:
    """A child that outlives it is refused all the same, and its standard error was let go."""
    child = f"""import os, time
for _ in range(30_000):
    if os.path.exists("ended"):
        break
    time.sleep(0.01)
{ASK}
open("late", "w").write(ask(2))
"""
    program = f"""
    import subprocess, sys
    subprocess.Popen([sys.executable, "-I", "-c", {child!r}], stderr=subprocess.DEVNULL,
                     stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    """
    done = place.run(program, folder=tmp_path)
    assert done.status == 0, done.stderr
    late = tmp_path / "late"
    assert not late.exists(), "the run lasted as long as its child"
    (tmp_path / "ended").touch()
    deadline = time.monotonic() + 60
    while not late.exists() or not late.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert late.read_text() == "EACCES"


@pytest.mark.parametrize("way", ["exec", "fork"])
def test_after_exec_and_fork(place: Watched, tmp_path: Path, way: str) -> None:
    begin = {
        "exec": "os.execv(sys.executable, [sys.executable, '-I', '-c', rest])",
        "fork": "child = os.fork()\nif child: sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\nexec(rest)",  # noqa: E501
    }[way]
    program = (
        f"import os, sys\nrest = {ASK + 'print(ask(2), ask(10), ask(1), flush=True)'!r}\n{begin}\n"
    )
    done = place.run(program, folder=tmp_path)
    assert (done.status, done.stdout) == (0, "EACCES EACCES made\n"), done.stderr
    assert len(told(done.stderr)) == 1


def test_the_teller_is_no_child_and_ends_with_the_program(place: Watched, tmp_path: Path) -> None:
    program = """
    import os
    from pathlib import Path
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        print("no child")
    for one in Path("/proc").glob("[0-9]*"):
        try:
            if (one / "comm").read_text() == "pystack-tell\\n" and os.readlink(one / "cwd"):
                link = os.readlink(f"/proc/self/ns/net")
                print(one.name, os.readlink(one / "ns/net") == link)
        except OSError:
            pass
    """
    done = place.run(program, folder=tmp_path)
    first, *tellers = done.stdout.splitlines()
    assert first == "no child", done.stderr
    mine = [line.split()[0] for line in tellers if line.endswith("True")]
    assert len(mine) == 1
    deadline = time.monotonic() + 60
    cwd = Path(f"/proc/{mine[0]}/cwd")
    while True:  # a zombie has none, if nobody here waits for orphans
        try:
            cwd.readlink()
        except OSError:
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("way", ["the first process", "a reaper of orphans"])
def test_it_is_no_child_either_of_who_gets_orphans(
    place: Watched, tmp_path: Path, way: str
) -> None:
    """As in a container: what waits for any child must not wait for the teller."""
    (tmp_path / "program.py").write_text(
        ASK + "import os, signal\n"
        "try:\n    os.wait()\nexcept ChildProcessError:\n    print('no child', ask(2))\n"
        "print(signal.SIGCHLD in signal.sigpending())\n"
    )
    if way == "the first process":
        words = ["unshare", "--pid", "--fork", "--mount-proc", *PYSTACK]
    else:
        begin = (
            "import ctypes; ctypes.CDLL(None).prctl(36, 1); from pystack.cli import main; main()"
        )
        words = [sys.executable, "-c", begin]
    done = place.place.run(
        *words, "run", "--nic", "tap:tap0", "--address", "10.3.0.2/24", "--",
        str(tmp_path / "program.py"), cwd=tmp_path, timeout=30,
    )  # fmt: skip
    assert done.stdout == "no child EACCES\nFalse\n"
    assert len(told(done.stderr)) == 1


def test_a_reader_who_does_not_read_holds_nobody_up(place: Watched, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        f"import fcntl, os, subprocess, sys\n{ASK}\n"
        "os.set_blocking(2, False)\n"
        "try:\n    while True: os.write(2, b'x' * 4096)\nexcept BlockingIOError: pass\n"
        "os.set_blocking(2, True)\n"
        "print(ask(2), flush=True)\n"
        f"child = {ASK + 'print(ask(2), flush=True)'!r}\n"
        "subprocess.run([sys.executable, '-I', '-c', child])\n"
        "os.close(2)\n"
    )
    running = place.place.start(
        *PYSTACK, "run", "--nic", "tap:tap0", "--address", "10.3.0.2/24", "--", str(program),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=tmp_path,
    )  # fmt: skip
    assert running.stdout is not None
    assert running.stderr is not None
    try:
        assert [running.stdout.readline() for _ in range(2)] == ["EACCES\n", "EACCES\n"]
        assert running.wait(30) == 0
    finally:
        running.kill()
        running.wait()
        running.stdout.close()
        running.stderr.close()


def test_a_program_may_make_its_own_nic(place: Watched, tmp_path: Path) -> None:
    place.place.run("ip", "tuntap", "add", "tap2", "mode", "tap")
    program = """
import pystack
with pystack.Stack() as net:
    net.attach(pystack.nic.Tap("tap2", mtu=1400), "10.9.0.2/24")
    print(net.interfaces[1].mtu)
    try:
        pystack.nic.Packet("out0")
    except PermissionError as error:
        print(error.strerror)
"""
    done = place.run(program, folder=tmp_path)
    mtu, words = done.stdout.splitlines()
    assert mtu == "1400"
    assert "--no-strict" in words
    assert place.run(program, "--no-strict", folder=tmp_path).stdout == "1400\n"


def test_the_name_of_a_process_is_no_command_to_a_terminal(place: Watched, tmp_path: Path) -> None:
    program = (
        ASK
        + """
import pathlib
pathlib.Path("/proc/self/comm").write_text("\\x1b[2J\\x07evil")
print(ask(2))
"""
    )
    (line,) = told(place.run(program, folder=tmp_path).stderr)
    assert line.startswith("pystack: ?[2J?evil (pid ")


@needs_programs("setpriv")
def test_without_the_right_to(place: Watched, tmp_path: Path) -> None:
    """Who lacks CAP_SYS_ADMIN gives up gaining rights instead."""
    program = tmp_path / "program.py"
    program.write_text(
        ASK + "print(ask(2), ask(1))\n"
        "print([line for line in open('/proc/self/status') if 'NoNewPrivs' in line])\n"
    )
    for drop, given_up in (("-sys_ptrace", 0), ("-sys_admin", 1)):
        done = place.place.run(
            "setpriv", f"--bounding-set={drop}", *PYSTACK, "run", "--nic", "tap:tap0",
            "--address", "10.3.0.2/24", "--", str(program), cwd="/",
        )  # fmt: skip
        assert done.stdout == f"EACCES made\n['NoNewPrivs:\\t{given_up}\\n']\n"
        assert len(told(done.stderr)) == 1


def test_where_a_filter_has_a_listener_already(place: Watched, tmp_path: Path) -> None:
    """One inside another: the outer refuses, and tells of it."""
    inner = ASK + "print(ask(2), ask(1))"
    place.place.run("ip", "tuntap", "add", "tap1", "mode", "tap")
    place.place.device("tap1")
    words = ["run", "--nic", "tap:tap1", "--address", "10.4.0.2/24", "--", "-c", inner]
    program = f"""
    import subprocess, sys
    done = subprocess.run({[*PYSTACK, *words]!r})
    sys.exit(done.returncode)
    """
    done = place.run(program, folder=tmp_path)
    assert (done.status, done.stdout) == (0, "EACCES made\n"), done.stderr
    assert len(told(done.stderr)) == 1


def without(number: int, code: int) -> list[str]:
    """Words before a command, so that one system call fails for it."""
    program = f"""
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
code = struct.pack(
    "HBBI" * 4, 0x20, 0, 0, 0, 0x15, 0, 1, {number}, 6, 0, 0, {0x00050000 | code},
    6, 0, 0, 0x7fff0000)
room = ctypes.create_string_buffer(code)
filter = struct.pack("HxxxxxxQ", 4, ctypes.addressof(room))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.create_string_buffer(filter)) == 0, ctypes.get_errno()
os.execvp(sys.argv[1], sys.argv[1:])
"""
    return [sys.executable, "-c", program]


SECCOMP = {"x86_64": 317, "aarch64": 277}.get(platform.machine(), 0)
PIDFD_OPEN = 434


@pytest.mark.skipif(SECCOMP == 0, reason="no filter for this machine")
@pytest.mark.parametrize("place_to_be", ["no filter", "no teller"])
def test_where_the_kernel_does_not_allow_all(
    place: Watched, tmp_path: Path, place_to_be: str
) -> None:
    """As in containers and on kernels before 5.9."""
    program = (
        ASK
        + """
import _socket
try:
    _socket.socket()
except OSError as error:
    print(type(error).__name__)
print(ask(2), ask(1))
"""
    )
    (tmp_path / "program.py").write_text(program)
    number, code = {
        "no filter": (SECCOMP, errno.EPERM),
        "no teller": (PIDFD_OPEN, errno.ENOSYS),
    }[place_to_be]
    done = place.place.run(
        *without(number, code), *PYSTACK, "run", "--nic", "tap:tap0", "--address", "10.3.0.2/24",
        "--", str(tmp_path / "program.py"), cwd=tmp_path,
    )  # fmt: skip
    assert told(done.stderr) == []
    if place_to_be == "no filter":
        assert done.stdout == "OffStackError\nmade made\n"
        assert "no seccomp filter available (EPERM" in done.stderr
        assert "C libraries and child programs may use the kernel's" in done.stderr
    else:
        assert done.stdout == "OffStackError\nEACCES made\n"
