"""Read C headers as declarations that cffi takes: the subset of C that our public headers keep to.

Comments go, `#include "..."` is followed, integer macros stay, and a part between
``#ifndef PYSTACK_FOR_PYTHON`` and ``#endif`` is C's alone. Anything else of the preprocessor's is
refused, by file and line.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "HEADER",
    "HIDDEN",
    "Declaration",
    "DeclarationError",
    "Headers",
    "fingerprint",
    "of_extension",
]

HIDDEN = "PYSTACK_FOR_PYTHON"
# What Python calls, and where it and what it includes are; and what Python answers.
HEADER, FOLDERS, ANSWERS = "api/host_api.h", ("include", "host"), "python.cdef"

_COMMENT_OR_STRING = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/|/\*', re.DOTALL)
_DIRECTIVE = re.compile(r"\s*#\s*(\w+)\s*(.*)")
_INTEGER_MACRO = re.compile(r"\w+\s+(?:0[xX][0-9a-fA-F]+|\d+)")
_STRING_MACRO = re.compile(r'\w+\s+"[^"]*"')


class DeclarationError(Exception):
    """A header contains something other than the declarations understood here."""


class Declaration(NamedTuple):
    """One declaration at the top level of a header, up to its semicolon, or one macro."""

    path: Path
    line: int
    text: str

    def error(self, why: object) -> DeclarationError:
        """An error that names the header, the line and the declaration."""
        return DeclarationError(f"{self.path}:{self.line}: {why}\n    {self.text.strip()}")


class Headers:
    """Headers and all that they include, each read once.

    Attributes:
        read: The files read so far.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = list(folders)
        self.read: list[Path] = []

    def declarations(self, name: str) -> Iterator[Declaration]:
        """What a header declares, after what those that it includes do.

        Raises:
            DeclarationError: It goes beyond what is read here; the message names file and line.
        """
        path = next((each / name for each in self._folders if (each / name).exists()), None)
        if path is None:
            raise DeclarationError(f"{name} is in none of {', '.join(map(str, self._folders))}")
        if path not in self.read:
            self.read.append(path)
            yield from self._of_file(path)

    def _of_file(self, path: Path) -> Iterator[Declaration]:
        text = _without_comments(path)
        guard = re.match(r"\s*#ifndef (\w+)\n#define \1\n", text)
        if guard is None:
            raise Declaration(path, 1, text.lstrip().partition("\n")[0]).error(
                "the header doesn't begin with an include guard"
            )
        first = guard.end()
        pending, began, depth = "", 0, 0
        hidden = 0  # the line of the #ifndef that hides what follows
        ended = False
        for number, line in enumerate(text[first:].splitlines(), text.count("\n", 0, first) + 1):
            here = Declaration(path, number, line)
            if ended and line.strip():
                raise here.error("it stands after the end of the include guard")
            directive = _DIRECTIVE.fullmatch(line.rstrip())
            if directive and pending.strip():
                raise Declaration(path, began, pending).error(
                    f"no semicolon ends it before line {number}"
                )
            if directive and directive[1] == "endif":
                ended, hidden = not hidden, 0
            elif directive and directive.groups() == ("ifndef", HIDDEN):
                if hidden:
                    raise here.error(f"it is hidden already, since line {hidden}")
                hidden = number
            elif hidden:
                if directive and directive[1] in ("if", "ifdef", "ifndef"):
                    raise here.error("conditions within conditions are not read")
            elif directive:
                yield from self._of_directive(here, *directive.groups())
            else:
                for piece in re.split(r"(?<=[;{}])", line):
                    if piece.strip() and not pending.strip():
                        began = number
                    pending += piece
                    depth += piece.count("{") - piece.count("}")
                    if depth == 0 and piece.endswith(";"):
                        yield Declaration(path, began, pending)
                        pending = ""
                pending += "\n" if pending.strip() else ""
        if pending.strip():
            raise Declaration(path, began, pending).error("no semicolon ends it")
        if hidden or not ended:
            opening = text[:first].count("\n") - 1
            raise Declaration(path, hidden or opening, "#ifndef").error(
                "the condition has no #endif"
            )

    def _of_directive(self, here: Declaration, word: str, rest: str) -> Iterator[Declaration]:
        if word == "include":
            if rest.startswith('"'):
                yield from self.declarations(rest.strip('"'))
        elif word == "define" and _INTEGER_MACRO.fullmatch(rest):
            yield here
        elif not (word == "define" and _STRING_MACRO.fullmatch(rest)):
            raise here.error(
                f"only #include, macros that are one integer or one string, and #ifndef {HIDDEN} "
                "are read"
            )


def _without_comments(path: Path) -> str:
    text = path.read_text("utf-8")

    def blank(match: re.Match[str]) -> str:
        if match[0].startswith('"'):
            return match[0]
        if match[0] == "/*":
            line = text.count("\n", 0, match.start()) + 1
            raise Declaration(path, line, text[match.start() :].partition("\n")[0]).error(
                "the comment has no end"
            )
        return " " + "\n" * match[0].count("\n")

    return _COMMENT_OR_STRING.sub(blank, text)


def of_extension(bindings: Path) -> tuple[list[Declaration], list[Path]]:
    """All that cffi is told of the extension, and the files that say it.

    Raises:
        DeclarationError: As of `Headers.declarations`.
    """
    headers = Headers(bindings / each for each in FOLDERS)
    answers = bindings / ANSWERS
    declared = [*headers.declarations(HEADER), Declaration(answers, 1, answers.read_text("utf-8"))]
    return declared, [*headers.read, answers]


def fingerprint(declarations: Iterable[Declaration]) -> int:
    """A number of 60 bits that is another as soon as one of them is."""
    words = (re.findall(r"\w+|\S", each.text) for each in declarations)
    text = "\n".join(map(" ".join, words))
    return int(hashlib.sha256(text.encode()).hexdigest()[:15], 16)
