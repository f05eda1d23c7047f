"""The rules of the house in C: which room may call which, and no circle between files.

It reads the sources, so that a plain checkout is enough: who includes whom, and who defines what
is called. A macro or an inline function of our headers counts as its caller's own code. What lwIP
itself calls (base/hooks.h) does not count: there it is lwIP that leads upwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

BINDINGS = Path(__file__).resolve().parents[2] / "bindings"

# The rooms of each folder from the bottom up; "" stands for the files right in it. TCP stands on
# the sockets, as tcp_ipv4.c stands on sock.c in Linux: a connection is lwIP's PCB and our socket at
# once (a listener's options rule the handshake, an ICMP error goes to the socket's queue), while
# what all kinds of socket share knows nothing of TCP.
ORDERS: dict[str, list[str]] = {
    "agent": [""],
    "gvisor": [""],
    "host": ["api", "base", "nic", "world", "confine", "stack", "channel", "calls"],
    "include": [""],
    "linux": ["arch", "engine"],
    "lwip": ["base", "link", "ip", "sockets", "tcp", "intercept", "services", "tables", ""],
    "pytest": [""],
    "python": [""],
    "stock": ["arch", ""],
}


def without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/", lambda found: "\n" * found[0].count("\n"), text, flags=re.DOTALL)


def without_strings(text: str) -> str:
    return re.sub(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', " ", text)


def words(text: str) -> set[str]:
    """The identifiers in a piece of code but for names of fields and of structures."""
    text = re.sub(r"\b(?:struct|union|enum)\s+\w+", " ", text)
    found = re.findall(r"(->|(?<!\.)\.)?\s*\b([A-Za-z_]\w*)", text)
    return {word for field, word in found if not field}


def outermost(code: str) -> Iterator[tuple[str, str]]:
    """Each declaration or definition of a file: what stands before its braces, and in them."""
    head, body, depth = "", "", 0
    for character in code:
        if character == "}":
            depth -= 1
        if depth > 0:
            body += character
        elif character == ";" or (character == "}" and not re.search(r"=\s*$", head)):
            if character == ";" or ")" in head:
                yield head.strip(), body
                head, body = "", ""
        elif character not in "{}":
            head += character
        if character == "{":
            depth += 1
    assert depth == 0, head


class Source:
    """What a file of C includes, defines and uses."""

    def __init__(self, path: Path) -> None:
        self.path = path
        text = without_comments(path.read_text("utf-8")).replace("\\\n", " ")
        self.includes = re.findall(r'^\s*#\s*include\s+"([^"]+)"', text, re.MULTILINE)
        self.macros = {
            name: words(without_strings(body))
            for name, body in re.findall(
                r"^\s*#\s*define[ \t]+(\w+)(?:\([^)]*\))?(.*)$", text, re.MULTILINE
            )
        }
        code = without_strings(re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE))
        self.uses = words(code)
        self.defines: set[str] = set()
        self.inlines: dict[str, set[str]] = {}
        for head, body in outermost(code):
            function = re.match(
                r"[^=(]*?(\w+)\s*\((?!\s*\*)", re.sub(r"__attribute__\s*\(\(.*?\)\)", "", head)
            )
            if "typedef" in head or head.startswith("extern"):
                continue
            if function and body:
                if re.match(r"(static\s+inline|inline\s+static)\b", head):
                    self.inlines[function[1]] = words(body)
                elif not re.search(r"\bstatic\b", head):
                    self.defines.add(function[1])
            elif not function and not re.search(r"\bstatic\b", head):
                declared = re.sub(r"\[[^]]*\]|=.*", "", head, flags=re.DOTALL)
                if len(declared.split()) > 1 and not re.fullmatch(
                    r"(struct|union|enum)\s+\w+", declared.strip()
                ):
                    self.defines |= set(re.findall(r"(\w+)\s*(?=,|$)", declared))


@cache
def sources(folder: str) -> dict[Path, Source]:
    paths = sorted([*(BINDINGS / folder).rglob("*.c"), *(BINDINGS / folder).rglob("*.h")])
    return {path: Source(path) for path in paths}


def room(folder: str, path: Path) -> str:
    parts = path.relative_to(BINDINGS / folder).parts
    return parts[0] if len(parts) > 1 else ""


def name(folder: str, path: Path) -> str:
    return str(path.relative_to(BINDINGS / folder))


@cache
def calls(folder: str) -> dict[Path, dict[Path, set[str]]]:
    """For each file of C those whose functions and variables it uses, and which."""
    all_of_it = sources(folder)
    defined = {
        what: path
        for path, source in all_of_it.items()
        if path.suffix == ".c"
        for what in source.defines
    }
    expansions: dict[str, set[str]] = {}
    for path, source in all_of_it.items():
        if path.suffix == ".h":
            expansions |= source.macros | source.inlines
    found: dict[Path, dict[Path, set[str]]] = {}
    for path, source in all_of_it.items():
        if path.suffix != ".c":
            continue
        used, waiting = set(), list(source.uses | set().union(*source.macros.values()))
        while waiting:
            word = waiting.pop()
            if word not in used:
                used.add(word)
                waiting += expansions.get(word, ())
        to: dict[Path, set[str]] = {}
        for word in used - source.defines:
            if word in defined and defined[word] != path:
                to.setdefault(defined[word], set()).add(word)
        found[path] = to
    return found


def circles(graph: dict[Path, Iterable[Path]]) -> list[set[Path]]:
    """The sets of more than one file that lead to each other (Tarjan's components)."""
    order: dict[Path, int] = {}
    low: dict[Path, int] = {}
    stack: list[Path] = []
    found: list[set[Path]] = []

    def visit(path: Path) -> None:
        order[path] = low[path] = len(order)
        stack.append(path)
        for other in graph.get(path, ()):
            if other not in order:
                visit(other)
                low[path] = min(low[path], low[other])
            elif other in stack:
                low[path] = min(low[path], order[other])
        if low[path] == order[path]:
            members = {stack.pop()}
            while path not in members:
                members.add(stack.pop())
            if len(members) > 1:
                found.append(members)

    for path in graph:
        if path not in order:
            visit(path)
    return found


def test_every_folder_has_its_order() -> None:
    assert {
        path.name for path in BINDINGS.iterdir() if path.is_dir() and path.name != "__pycache__"
    } == set(ORDERS)
    for folder, order in ORDERS.items():
        assert {room(folder, path) for path in sources(folder)} <= set(order), folder


@pytest.mark.parametrize("folder", ORDERS)
def test_includes_run_one_way(folder: str) -> None:
    order = ORDERS[folder]
    graph: dict[Path, Iterable[Path]] = {}
    for path, source in sources(folder).items():
        included = [
            one
            for one in (BINDINGS / folder / other for other in source.includes)
            if one in sources(folder)
        ]
        upward = [
            name(folder, one)
            for one in included
            if order.index(room(folder, one)) > order.index(room(folder, path))
        ]
        assert not upward, f"{name(folder, path)} includes {upward}, which stand above it"
        graph[path] = included
    assert not circles(graph)


@pytest.mark.parametrize("folder", ORDERS)
def test_calls_run_one_way(folder: str) -> None:
    order = ORDERS[folder]
    for path, used in calls(folder).items():
        upward = {
            name(folder, other): sorted(what)
            for other, what in used.items()
            if order.index(room(folder, other)) > order.index(room(folder, path))
        }
        assert not upward, f"{name(folder, path)} uses what stands above it: {upward}"


@pytest.mark.parametrize("folder", ORDERS)
def test_no_circle_between_files(folder: str) -> None:
    graph = calls(folder)
    found = [
        {
            f"{name(folder, one)} -> {name(folder, other)}": sorted(graph[one][other])
            for one in sorted(members)
            for other in graph[one]
            if other in members
        }
        for members in circles({path: list(used) for path, used in graph.items()})
    ]
    assert not found, f"circles: {found}"


def test_hooks_name_their_files() -> None:
    """base/hooks.h says before each hook in which file it is."""
    folder = "lwip"
    files = {path.name: source for path, source in sources(folder).items()}
    text = (BINDINGS / folder / "base/hooks.h").read_text("utf-8")
    found = re.findall(r"/\* (\w+\.c): .*?\*/(.*?)(?=/\*|\Z)", text, re.DOTALL)
    assert len(found) > 20
    for file, declarations in found:
        declared = set(re.findall(r"^(?!#)\S.*?\b(hook_\w+)\(", declarations, re.MULTILINE))
        assert declared <= files[file].defines, (file, declared - files[file].defines)


# What comments name beside our own files.
OF_LWIP = {"dns.c", "etharp.c", "init.c", "memp.c", "memp_std.h", "nd6.c", "opt.h", "tcp_out.c"}


def test_comments_name_files_that_exist() -> None:
    paths = [*BINDINGS.rglob("*.c"), *BINDINGS.rglob("*.h")]
    known = {path.name for path in paths} | OF_LWIP
    unknown = {
        f"{path.relative_to(BINDINGS)}: {file}"
        for path in paths
        for comment in re.findall(r"/\*.*?\*/", path.read_text("utf-8"), re.DOTALL)
        for file in re.findall(r"(?<![\w/<])([a-z]\w*\.[ch])\b(?![\w(])", comment)
        if file not in known
    }
    assert not unknown


def test_patches_name_files_that_exist() -> None:
    root = BINDINGS.parent
    patches = sorted((root / "vendor/patches").glob("*.patch"))
    named = {
        (patch.name, file)
        for patch in patches
        for file in re.findall(r"\bbindings/[\w/]+\.[ch]\b", patch.read_text("utf-8"))
    }
    assert named
    assert not {each for each in named if not (root / each[1]).exists()}
