"""The extension's face, made from the headers: what is read of them, and that Python fits it."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pystack._native import ffi, lib

ROOT = Path(__file__).resolve().parents[2]
BINDINGS = ROOT / "bindings"

GUARDED = """\
/* What it is. */
#ifndef A_H
#define A_H
{}
#endif
"""


@pytest.fixture(scope="module")
def declarations() -> ModuleType:
    spec = importlib.util.spec_from_file_location("declarations", BINDINGS / "declarations.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def read(declarations: ModuleType, tmp_path: Path) -> Any:
    """The lines and texts, with single spaces, that are read of a header's inside."""

    def of(inside: str) -> list[tuple[int, str]]:
        (tmp_path / "a.h").write_text(GUARDED.format(inside), "utf-8")
        found = declarations.Headers([tmp_path]).declarations("a.h")
        return [(one.line, " ".join(one.text.split())) for one in found]

    return of


def test_a_declaration_has_its_line(read: Any) -> None:
    inside = (
        '#include <stdint.h>\n#define A_SIZE 0x10 /* in\n  bytes */\n#define A_NAME "a"\n'
        "// a line's end\nstruct a {\n    char name[A_SIZE]; /* } */\n    int b;\n};\n\n"
        "enum e { E_1 = 1, E_2 }; enum f { F };\nint first(void);\nint second(int a,\n   int b);"
    )
    assert read(inside) == [
        (5, "#define A_SIZE 0x10"),
        (9, "struct a { char name[A_SIZE]; int b; };"),
        (14, "enum e { E_1 = 1, E_2 };"),
        (14, "enum f { F };"),
        (15, "int first(void);"),
        (16, "int second(int a, int b);"),
    ]


def test_what_is_hidden_is_not_read(read: Any) -> None:
    inside = "int a;\n#ifndef PYSTACK_FOR_PYTHON\n#define F(x) x\nint b\n#endif\nint c;"
    assert read(inside) == [(4, "int a;"), (9, "int c;")]


def test_each_header_is_read_once_and_first(declarations: ModuleType, tmp_path: Path) -> None:
    for name, inside in {
        "a.h": '#include "b.h"\n#include "c.h"\nint a;', "b.h": '#include "c.h"\nint b;',
        "c.h": "int c;",
    }.items():  # fmt: skip
        (tmp_path / name).write_text(GUARDED.format(inside), "utf-8")
    headers = declarations.Headers([tmp_path / "nothing", tmp_path])
    assert [one.text for one in headers.declarations("a.h")] == ["int c;", "int b;", "int a;"]
    assert [path.name for path in headers.read] == ["a.h", "b.h", "c.h"]


@pytest.mark.parametrize(
    ("inside", "line", "why"),
    [
        ("int a;\n#if 1", 5, "only #include, macros"),
        ("int a;\n#define F(x) x", 5, "only #include, macros"),
        ("#define A (1 + 2)", 4, "only #include, macros"),
        ("int a;\n#include 'b.h'\nint b;\n/* never", 7, "the comment has no end"),
        ("int a;\n\nint b", 6, "no semicolon ends it before line 7"),
        ("#ifndef PYSTACK_FOR_PYTHON", 2, "the condition has no #endif"),
        ("#ifndef PYSTACK_FOR_PYTHON\n#ifdef B\n#endif\n#endif", 5, "conditions within"),
        (
            "int a;\ninline int b(void)\n{\n    return 1;\n}",
            5,
            "no semicolon ends it before line 9",
        ),
        ("int a;\n#endif\nint b;", 6, "after the end of the include guard"),
    ],
)
def test_what_is_not_read_is_named(
    read: Any, declarations: ModuleType, tmp_path: Path, inside: str, line: int, why: str
) -> None:
    where = re.escape(f"{tmp_path / 'a.h'}:{line}: ")
    with pytest.raises(declarations.DeclarationError, match=f"^{where}.*{re.escape(why)}"):
        read(inside)


def test_a_header_that_is_nowhere(declarations: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.h").write_text(GUARDED.format('#include "b.h"'), "utf-8")
    with pytest.raises(
        declarations.DeclarationError, match=re.escape(f"b.h is in none of {tmp_path}")
    ):
        list(declarations.Headers([tmp_path]).declarations("a.h"))


def bindings(folder: Path, headers: dict[str, str]) -> Path:
    """Makes a folder like `bindings`, with these headers of the host's; gives theirs."""
    (folder / "host/api").mkdir(parents=True)
    for name, inside in headers.items():
        (folder / "host/api" / name).write_text(GUARDED.format(inside), "utf-8")
    (folder / "python.cdef").write_text("", "utf-8")
    return folder / "host/api"


def generate(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-B", str(BINDINGS / "build_cffi.py"), *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("inside", "line"),
    [
        ("int a(void);\nint b(a_type_t c);", 5),
        ("struct a {\n    int b;\n};\nstruct a {\n    int c;\n};", 7),
        ("int a(void)\n    __attribute__((cold));", 4),
        ("int a(void);\nstruct b {\n    char c[A_SIZE];\n};", 5),
    ],
)
def test_what_cffi_does_not_take_is_named(tmp_path: Path, inside: str, line: int) -> None:
    header = bindings(tmp_path, {"host_api.h": inside}) / "host_api.h"
    output = tmp_path / "out.c"
    ran = generate("--bindings", tmp_path, "--output", output)
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"{header}:{line}: cffi can't take this: ")
    assert "Traceback" not in ran.stderr
    assert not output.exists()


def test_the_depfile_names_what_it_was_made_from(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    bindings(folder, {"host_api.h": '#include "api/b.h"', "b.h": "int b(void);"})
    output, depfile = tmp_path / "out.c", tmp_path / "out.d"
    ran = generate("--bindings", folder, "--output", output, "--depfile", depfile)
    assert ran.returncode == 0, ran.stderr
    escaped = str(folder).replace(" ", r"\ ")
    assert depfile.read_text("utf-8") == (
        f"{output}: {escaped}/host/api/host_api.h {escaped}/host/api/b.h {escaped}/python.cdef\n"
    )


def test_the_fingerprint_is_of_what_is_declared(declarations: ModuleType, tmp_path: Path) -> None:
    def of(name: str, inside: str) -> int:
        folder = tmp_path / name
        bindings(folder, {"host_api.h": inside})
        fingerprint: int = declarations.fingerprint(declarations.of_extension(folder)[0])
        return fingerprint

    first = of("first", "int a(void);")
    assert of("commented", "/* What it does. */\nint a(\n    void);") == first
    assert of("other", "int a(int b);") != first
    assert first < 1 << 60


def test_the_extension_has_its_fingerprint(declarations: ModuleType) -> None:
    assert declarations.fingerprint(declarations.of_extension(BINDINGS)[0]) == lib.PS_DECLARATIONS


# --- Python against the headers --------------------------------------------------------------


def python_type(ctype: Any) -> str:
    """The type that mypy knows for one of C's."""
    if ctype.kind == "primitive":
        return {"_Bool": "bool", "double": "float"}.get(ctype.cname, "int")
    return {"enum": "int", "void": "None"}.get(ctype.kind, "Any")


def stub() -> str:
    """The extension as mypy would see it, if it could read the headers."""
    lines = ["from typing import Any", "ffi: Any", "class _Library:"]
    for name in dir(lib):
        value = getattr(lib, name)
        if isinstance(value, int):
            lines.append(f"    {name}: int")
        elif (ctype := ffi.typeof(value)).kind == "function":
            arguments = (f"a{n}: {python_type(each)}" for n, each in enumerate(ctype.args))
            signature = ", ".join(["self", *arguments, "/"])
            lines.append(f"    def {name}({signature}) -> {python_type(ctype.result)}: ...")
        else:
            lines.append(f"    {name}: Any")
    return "\n".join([*lines, "lib: _Library\n"])


@pytest.mark.slow  # mypy on half the package
@pytest.mark.timeout(1800)
def test_calls_of_the_library_fit_the_headers(tmp_path: Path) -> None:
    made, misuse = tmp_path / "_host.pyi", tmp_path / "misuse.py"
    made.write_text(stub(), "utf-8")
    misuse.write_text(
        "from pystack._native import lib\n"
        "lib.ps_ready(None)\n"
        "lib.ps_ready(None, '1')\n"
        "lib.ps_never_declared\n"
        "lib.PS_NEVER_DECLARED\n",
        "utf-8",
    )
    users = [
        path
        for path in (ROOT / "pystack").rglob("*.py")
        if re.search(r"\blib\b", path.read_text("utf-8"))
    ]
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), "--no-error-summary",
         "--shadow-file", "pystack/_native/_host.pyi", str(made), *map(str, users), str(misuse)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = [
        line.partition(": ")[0].rpartition("/")[2]
        for line in ran.stdout.splitlines()
        if ": error: " in line
    ]
    assert found == [f"misuse.py:{line}" for line in (2, 3, 4, 5)], ran.stdout + ran.stderr


def test_every_function_is_called() -> None:
    """What Python doesn't call has no place in its headers."""
    words = {
        word
        for path in (ROOT / "pystack").rglob("*.py")
        for word in re.findall(r"\w+", path.read_text("utf-8"))
    }
    functions = {name for name in dir(lib) if not isinstance(getattr(lib, name), int)}
    assert functions - words == set()
