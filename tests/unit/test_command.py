"""The command `pystack`, as a user types it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from installed import needs_programs
from namespace import namespace, needs_namespace

from pystack.cli import cli

PROGRAM = [sys.executable, "-c", "from pystack.cli import main; main()"]
AWAY = tempfile.gettempdir()  # not in the source tree, which is not built


def pystack(*words: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, *PROGRAM, *words], capture_output=True, text=True, check=False, cwd=AWAY,
        timeout=300,
    )  # fmt: skip


def test_help_and_version() -> None:
    text = pystack("--help").stdout
    for name in ("demo", "get", "nic", "ping", "serve"):
        assert f"  {name} " in text
        assert pystack(name, "--help").returncode == 0


@pytest.mark.parametrize("name", ["get", "ping", "proxy", "replay", "run", "serve", "socks"])
def test_help_begins_with_the_wire_and_ends_with_its_faults(name: str) -> None:
    text = CliRunner().invoke(cli, [name, "--help"]).output
    options = re.findall(r"^  (?:-\w, )?--?([\w-]+)", text.partition("Options:\n")[2], re.MULTILINE)
    assert options[:3] == ["nic", "address", "gateway"]
    assert options[-4:] == ["jitter", "rate", "seed", "help"]
    assert len(set(options)) == len(options)


def test_every_option_of_every_command_has_words() -> None:
    def look(command: click.Command, path: str) -> int:
        lacking = [
            one.name
            for one in command.params
            if isinstance(one, click.Option) and not one.hidden and not one.help
        ]
        assert not lacking, path
        if not isinstance(command, click.Group):
            return 1
        context = click.Context(command)
        names = command.list_commands(context)
        found = [(command.get_command(context, name), f"{path} {name}") for name in names]
        return sum(look(one, where) for one, where in found if one is not None)

    assert look(cli, "pystack") > 20


def test_run_says_that_it_takes_a_script() -> None:
    text = CliRunner().invoke(cli, ["run", "--help"]).output
    assert text.startswith("Usage: cli run [OPTIONS] [--] SCRIPT [ARGUMENTS]...\n")


def test_nic_list() -> None:
    done = pystack("nic", "list")
    assert done.returncode == 0
    for word in ("tap:NAME", "tun:NAME", "packet:lo", "fd:N"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("ping", "10.0.0.1", "--nic", "fd:99"), "--address"),
        (("ping", "10.0.0.1", "--nic", "odd", "--address", "10.0.0.2/24"), "tap:NAME"),
        (("ping", "10.0.0.1", "--nic", "fd:99", "--address", "10.0.0.2/24"), "file descriptor"),
        (("get", "ftp://x/", "--nic", "fd:99", "--address", "10.0.0.2/24"), "http://"),
        (("nonsense",), "No such command"),
    ],
)
def test_mistakes_are_one_line_and_no_traceback(words: tuple[str, ...], says: str) -> None:
    done = pystack(*words)
    assert done.returncode != 0
    assert says in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "status", "begins"),
    [
        ("ping 10.0.0.1 --nic fd:99 --address 10.0.0.2/24", 1, "pystack ping: [Errno 9]"),
        ("ping 10.0.0.1 --nic fd:x --address 10.0.0.2/24", 2, "pystack ping: Invalid value"),
        ("lab run --host external --case ARP-3.1", 1, "pystack lab run: external is not here: "),
        ("lab run --host nobody", 2, "pystack lab run: no Host 'nobody'"),
        ("gateway --netns /nowhere", 1, "pystack gateway: [Errno 2]"),
        ("manual nothing", 2, "pystack manual: "),
        ("nonsense", 2, "pystack: No such command"),
        ("--odd", 2, "pystack: No such option"),
    ],
)
def test_an_error_begins_with_the_command_s_name(words: str, status: int, begins: str) -> None:
    done = pystack(*words.split())
    assert done.returncode == status, done.stderr
    assert done.stderr.startswith(begins), done.stderr
    assert done.stderr.count("\n") == 1


def test_the_demo_without_the_kernel(tmp_path: Path) -> None:
    empty = {
        **os.environ,
        "PATH": str(tmp_path),
    }  # no unshare(1), so that the second part is left out
    done = subprocess.run(
        [*PROGRAM, "demo", "--mebibytes", "5", "--pcap", str(tmp_path / "d.pcapng")],
        capture_output=True, text=True, check=False, cwd=AWAY, timeout=300, env=empty,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "SHA-256 equal at both ends" in done.stdout
    assert "ESTABLISHED" in done.stdout
    assert "left out" in done.stdout.replace(" \n", " ")
    assert (tmp_path / "d.pcapng").stat().st_size > 100_000


@needs_namespace
def test_the_demo_against_the_kernel(tmp_path: Path) -> None:
    done = pystack("demo", "--mebibytes", "5", "--pcap", str(tmp_path / "d.pcapng"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("SHA-256 equal at both ends") == 3
    if shutil.which("tshark"):
        shown = subprocess.run(
            ["tshark", "-r", str(tmp_path / "d-kernel.pcapng"), "-c", "20"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "Echo (ping) request" in shown.stdout


@needs_namespace
def test_the_demo_inside_a_source_tree_that_is_not_built(tmp_path: Path) -> None:
    """As the README has it: installed from a clone, and begun in there."""
    tree = tmp_path / "pystack"
    tree.mkdir()
    (tree / "__init__.py").write_text("raise ImportError('this is not built')")
    installed = (
        "import sys; sys.path = [*filter(None, sys.path)]; from pystack.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", installed, "demo", "--mebibytes", "2"],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["pystack"]  # nothing is left behind
    assert done.stdout.count("SHA-256 equal at both ends") == 3


def run_program(*words: str) -> subprocess.CompletedProcess[str]:
    """`pystack run` on a wire whose other end nobody listens at."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with left, right:
        options = ("--nic", f"fd:{left.fileno()}", "--address", "10.0.0.2/24")
        return subprocess.run(
            [*PROGRAM, "run", *options, "--", *words],
            capture_output=True, text=True, check=False, cwd=AWAY, timeout=300,
            pass_fds=[left.fileno()],
        )  # fmt: skip


def test_run_a_script_a_module_or_code(tmp_path: Path) -> None:
    text = "import socket, sys; print(sys.argv, socket.socket.__module__, __name__)\n"
    (tmp_path / "script.py").write_text(text)
    script = str(tmp_path / "script.py")
    told = run_program(script, "one").stdout
    assert told == f"{[script, 'one']} pystack.sockets __main__\n"
    assert run_program("-c", text, "-x").stdout == "['-c', '-x'] pystack.sockets __main__\n"
    assert run_program("-m", "platform").stdout.startswith("Linux")
    assert "not both" in pystack("run", "--nic", "fd:9", "-m", "a", "-c", "b").stderr


@pytest.mark.parametrize("raises", ["OSError(5, 'x')", "ValueError('x')", "KeyError('x')"])
def test_what_a_program_raises_is_told_as_by_python(tmp_path: Path, raises: str) -> None:
    (tmp_path / "script.py").write_text(f"def deep():\n    raise {raises}\ndeep()\n")
    done = run_program(str(tmp_path / "script.py"))
    alone = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (alone.returncode, alone.stderr)
    assert "in deep" in done.stderr
    assert run_program("-c", "raise SystemExit(7)").returncode == 7


def test_a_script_that_can_t_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["run", "--nic", "fd:99", "--address", "10.0.0.2/24"]
    script = tmp_path / "script.py"
    script.write_text("")
    for path in (tmp_path / "nothing.py", script / "inside.py"):
        done = CliRunner().invoke(cli, [*words, str(path)])
        assert (done.exit_code, f"there is no script {path}" in done.output) == (2, True)
    monkeypatch.setattr(os, "access", lambda path, mode: path != str(script))  # root may read all
    done = CliRunner().invoke(cli, [*words, str(script)])
    assert done.exit_code == 2
    assert f"can't read the script {script}: Permission denied" in done.output


@needs_namespace
@needs_programs("curl")
def test_serve_get_and_ping(tmp_path: Path) -> None:
    (tmp_path / "page").write_text("served by a stack")
    with namespace() as place:
        server = place.start(
            *PROGRAM, "serve", str(tmp_path), "--nic", "tap:tap0", "--address", "10.0.0.2/24",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=AWAY,
        )  # fmt: skip
        try:
            assert server.stdout is not None
            said = b""
            while b"http://[fe80:" not in said:
                line = server.stdout.readline()
                assert line, said
                said += line
            assert b"ip address add 10.0.0.1/24 dev tap0" in said
            place.device("tap0", "10.0.0.1/24")
            got = place.run("curl", "-sS", "http://10.0.0.2:8080/page").stdout
            assert got == "served by a stack"
            # The link-local one as it is printed; both ends may still ask whether theirs is unique.
            (url,) = [one for one in said.decode().split() if one.startswith("http://[fe80:")]
            assert url.endswith("%25tap0]:8080/")
            again = ("--retry", "20", "--retry-all-errors", "--retry-delay", "1")
            got = place.run("curl", "-gsS", *again, f"{url}page", timeout=120).stdout
            assert got == "served by a stack"
        finally:
            server.terminate()
            server.wait(20)
            server.stdout.close()
        place.run("ip", "tuntap", "add", "tap1", "mode", "tap")
        place.device("tap1", "10.1.0.1/24")
        web = place.start(
            sys.executable, "-m", "http.server", "80", "--directory", str(tmp_path),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wire = ("--nic", "tap:tap1", "--address", "10.1.0.2/24")
            place.call(time.sleep, 0.5)
            enter = ("nsenter", f"--net={place.path}")
            done = pystack("ping", "10.1.0.1", "-c", "2", "-i", "0.1", *wire, prefix=enter)
            assert (done.returncode, done.stderr) == (0, "")
            assert "2 sent, 2 received" in done.stdout
            done = pystack("get", "http://10.1.0.1/page", *wire, prefix=enter)
            assert (done.stdout, done.stderr) == ("served by a stack", "")
            done = pystack("get", "http://10.1.0.1/none", *wire, prefix=enter)
            assert done.returncode == 1
            assert "404" in done.stderr
            done = pystack("ping", "10.1.0.9", "-c", "1", "-W", "0.1", *wire, prefix=enter)
            assert done.returncode == 1
        finally:
            web.terminate()
            web.wait(20)
