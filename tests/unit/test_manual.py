"""README and manual: the programs run, the links lead somewhere, the commands exist."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import pytest
from namespace import available, namespace

from pystack._native.engines import engine_path

ROOT = Path(__file__).resolve().parents[2]
MANUAL = ROOT / "pystack" / "manual"
SITE = ROOT / ".ci" / "site"
README = ROOT / "README.md"
PAGES = [README, *sorted(MANUAL.glob("*.md"))]
PROGRAM = [sys.executable, "-c", "from pystack.cli import main; main()"]
AWAY = tempfile.gettempdir()  # not in the source tree, which is not built

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What a page's programs are run by: one after the other, as a reader would type them.
RUN = """
import sys, warnings
warnings.simplefilter("error")
namespace = {"__name__": "__main__"}
for code in sys.stdin.read().split("\\0"):
    exec(compile(code, sys.argv[1], "exec", dont_inherit=True), namespace)
"""


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a language, each at its line of the page."""
    text = page.read_text("utf-8")
    return [
        "\n" * (text[: found.start(2)].count("\n")) + found[2]
        for found in BLOCK.finditer(text)
        if found[1] == language
    ]


def built(program: str) -> bool:
    """Whether the engine that a program names is on this machine."""
    for engine in re.findall(r'engine="(\w+)"', program):
        try:
            engine_path(engine)
        except OSError:
            return False
    return True


def name(page: Path) -> str:
    return page.stem


def test_the_case_shown_is_the_file() -> None:
    shown = [one.lstrip("\n") for one in blocks(MANUAL / "lab.md", "python")]
    assert (ROOT / "pystack" / "examples" / "my_case.py").read_text("utf-8") in shown


@pytest.mark.parametrize("page", [one for one in PAGES if blocks(one, "python")], ids=name)
def test_the_programs_run(page: Path) -> None:
    programs = blocks(page, "python")
    needs_tap = any("nic.Tap(" in one for one in programs)
    if needs_tap and available() is not None:
        programs = [one for one in programs if "nic.Tap(" not in one]
    programs = [one for one in programs if built(one)]
    if not programs:
        pytest.skip("each program needs what isn't here")
    command = [sys.executable, "-c", RUN, str(page)]
    options = {"input": "\0".join(programs), "cwd": AWAY, "capture_output": True, "text": True}
    if needs_tap and available() is None:
        with namespace() as place:
            place.run("ip", "tuntap", "add", "tap0", "mode", "tap")
            place.device("tap0", "10.0.0.1/24")
            done = place.call(lambda: subprocess.run(command, check=False, timeout=300, **options))
    else:
        done = subprocess.run(command, check=False, timeout=300, **options)
    assert done.returncode == 0, done.stderr
    assert not re.search("Traceback|Exception|Warning", done.stderr), done.stderr


def alone(program: str) -> str:
    """What a program prints that is run by itself, and says nothing on standard error."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], check=False, timeout=300, cwd=AWAY,
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), program
    return done.stdout


def test_the_tutorial_s_programs_are_complete() -> None:
    for program in blocks(MANUAL / "tutorial.md", "python"):
        alone(program)


def test_the_readme_shows_the_retransmissions_that_it_says() -> None:
    program = blocks(README, "python")[2]
    said = re.search(r"^print\(.*  # (\d+ [1-9]\d*)$", program, re.MULTILINE)
    assert said
    assert alone("import pystack\n" + program) == said[1] + "\n"


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(BLOCK, "", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_links_lead_somewhere(page: Path) -> None:
    text = re.sub(BLOCK, "", page.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("https://"):
            continue
        where, _, anchor = target.partition("#")
        file = (page.parent / where) if where else page
        assert file.exists(), target
        if page is not README:
            assert file.parent == MANUAL, f"{target} is not in the package"
        if anchor:
            assert anchor in anchors(file.read_text("utf-8")), target


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_files_named_exist(page: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    text = re.sub(BLOCK, "", page.read_text("utf-8"))
    roots = r"(?:bindings|pystack|tests|vendor|\.ci|\.github)/"
    brought = {"vendor/lwip/"}  # by a source distribution
    for path in set(re.findall(rf"`({roots}[\w./-]+)`", text)) - brought:
        assert (ROOT / path).exists(), path


def command_lines(page: Path) -> list[str]:
    """The calls of the command `pystack` in a page's shell blocks and in its text."""
    text = page.read_text("utf-8")
    shell = "\n".join(blocks(page, "sh")).replace("\\\n", " ")
    parts = [part for line in shell.splitlines() for part in re.split(r"&&|\|", line)]
    inline = [one.replace("\n", " ") for one in re.findall(r"`([^`]+)`", re.sub(BLOCK, "", text))]
    return [
        line.strip().partition("#")[0].removeprefix(".venv/bin/").removesuffix("&").strip()
        for line in (*parts, *inline)
        if re.match(r"\s*(?:\.venv/bin/)?pystack (?!-lwip)", line)
    ]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_commands_named_exist(page: Path) -> None:
    from pystack.cli import cli
    from pystack.cli.manual import pages

    for line in command_lines(page):
        words = shlex.split(line)[1:]
        command: click.Command = cli
        while words and isinstance(command, click.Group):
            if words[0].isupper():  # "pystack COMMAND --help"
                break
            found = command.get_command(click.Context(command), words.pop(0))
            assert found is not None, line
            command = found
        known = {option for one in command.params for option in one.opts + one.secondary_opts}
        for word in words:
            if word == "--":
                break
            if word.startswith("-"):
                assert word.partition("=")[0] in known | {"--help"}, f"{line}: {word}"
        if command.name == "manual" and words and words[0].islower():
            assert words[0] in pages(), line


# Settings that the engine linux alone has.
OF_LINUX = {"net.ipv4.conf.eth0", "net.ipv4.route.flush"}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_s_names_exist(page: Path) -> None:
    """`pystack.nic.Tap`, `net.sysctl.describe` and their like, wherever they stand in code."""
    import pystack

    with pystack.Stack(threaded=False) as net:
        named = re.findall(r"`((?:pystack|net|stack)(?:\.\w+)+)", page.read_text("utf-8"))
        for dotted in set(named) - set(net.sysctl) - OF_LINUX:
            first, *rest = dotted.split(".")
            found = pystack if first == "pystack" else net
            for number, word in enumerate(rest):
                if not hasattr(found, word) and first == "pystack":
                    importlib.import_module(".".join(["pystack", *rest[: number + 1]]))
                assert hasattr(found, word), dotted
                found = getattr(found, word)


def call_of(span: str) -> tuple[str, list[str], list[str], bool] | None:
    """A call in a code span: dotted name, positional words, keywords, whether more is left out."""
    text = re.sub(r"=(?=[,)])", "=...", span).replace("**fields", "fields=...")
    try:
        node = ast.parse(text, mode="eval").body
    except SyntaxError:
        return None
    if not isinstance(node, ast.Call):
        return None
    words = [ast.unparse(one) for one in node.args]
    keywords = [one.arg for one in node.keywords if one.arg is not None]
    return ast.unparse(node.func), [one for one in words if one != "..."], keywords, "..." in words


def test_the_tester_s_signatures() -> None:
    """What the page says of `Tester` and `Host` is all that has to be given, and by its names."""
    pytest.importorskip("scapy")
    from pystack.lab.host import Host
    from pystack.lab.tester import Tester

    section = (MANUAL / "lab.md").read_text("utf-8").partition("## The Tester")[2]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `lab.")]
    seen = 0
    for first, second in ((row[0], row[-1]) for row in rows):
        owner, cell = (Host, second) if first == "| `lab.host`" else (Tester, first)
        for found in filter(None, map(call_of, re.findall(r"`([^`]+)`", cell))):
            name, words, keywords, more = found
            method = inspect.signature(getattr(owner, name.removeprefix("lab.")))
            given = {**dict.fromkeys(words), **dict.fromkeys(keywords)}
            assert not more, name
            assert words == [one for one in method.parameters if one != "self"][: len(words)], name
            method.bind(None, **given)  # nothing is missing, nothing unknown
            seen += 1
    assert seen > 20


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_calls_are_as_the_signatures_say(page: Path) -> None:
    """`net.attach(nic, mtu=)` and its like: such arguments may be given."""
    import pystack

    with pystack.Stack(threaded=False) as net:
        for span in re.findall(r"`((?:pystack|net|stack)\.[^`]+)`", page.read_text("utf-8")):
            found = call_of(span)
            if found is None:
                continue
            dotted, words, keywords, _more = found
            first, *rest = dotted.split(".")
            call: Any = pystack if first == "pystack" else net
            for number, word in enumerate(rest):
                if first == "pystack" and not hasattr(call, word):
                    importlib.import_module(".".join(["pystack", *rest[: number + 1]]))
                call = getattr(call, word)
            positional = [word for word in words if not word.startswith("*")]
            signature = inspect.signature(call)
            signature.bind_partial(*positional, **dict.fromkeys(keywords))


def test_the_readme_is_short() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= 150


def test_the_readme_names_every_page() -> None:
    linked = set(re.findall(r"pystack/manual/(\w+)\.md\)", README.read_text("utf-8")))
    assert linked == {one.stem for one in PAGES} - {"README"}, "link it from README.md"


def test_the_site_has_every_page_and_every_public_name() -> None:
    import pystack

    if not SITE.exists():
        pytest.skip("not the whole repository")
    index = (SITE / "index.md").read_text("utf-8")
    linked = set(re.findall(r"^\.\./\.\./pystack/manual/(\w+)$", index, re.MULTILINE))
    assert linked == {one.stem for one in PAGES} - {"README"}, "add it to .ci/site/index.md"
    own = {one.stem for one in SITE.glob("*.md")} - {"index"}
    assert own == set(re.findall(r"^(\w+)$", index, re.MULTILINE))
    reference = "".join((SITE / f"{one}.md").read_text("utf-8") for one in own)
    directive = r"auto(?:class|function|exception|module):: (\S+)$"
    named = set(re.findall(directive, reference, re.MULTILINE))
    for name in pystack.__all__:
        thing = getattr(pystack, name)
        home = getattr(thing, "__module__", name)
        places = {f"pystack.{name}", home, f"{home}.{name}"}
        assert places & named, f"{name}: add it to a page of .ci/site"


def manual(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, "manual", *words], capture_output=True, text=True, check=False, cwd=AWAY,
        timeout=300,
    )  # fmt: skip


def test_the_manual_lists_its_pages() -> None:
    lines = manual().stdout.splitlines()
    assert lines[0] == "tutorial         Tutorial"
    assert {line.split()[0] for line in lines} == {one.stem for one in PAGES} - {"README"}


def test_the_manual_prints_a_page() -> None:
    assert manual("nics").stdout == (MANUAL / "nics.md").read_text("utf-8")
    assert manual("Not-Implemented.md").stdout.startswith("# What is not implemented")


def test_the_manual_knows_what_was_meant() -> None:
    done = manual("setings")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no page 'setings'; did you mean settings" in done.stderr
    assert "there are tutorial, commands" in manual("xyzzy").stderr.replace("\n", " ")


def test_the_manual_on_a_terminal_goes_through_the_pager() -> None:
    import os
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "PAGER": "cat", "COLUMNS": "60", "TERM": "xterm"}
    process = subprocess.Popen(
        [*PROGRAM, "manual", "endings"], stdin=theirs, stdout=theirs, stderr=theirs, cwd=AWAY,
        env=environment,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # EIO: nobody holds the other end any more
            break
        if not data:
            break
        shown += data
    os.close(ours)
    assert process.wait(30) == 0
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown.decode()).splitlines()
    assert any("How programs end" in line for line in plain)
    assert not any(line.startswith("# ") for line in plain)
    assert max(map(len, plain)) <= 60
